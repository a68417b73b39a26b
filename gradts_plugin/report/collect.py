"""Collects a report's numbers from a finished run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

import numpy as np

from gradts_plugin.engine.context import Context
from gradts_plugin.engine.engine import Engine
from gradts_plugin.ranking.correlation import layer_normal
from gradts_plugin.ranking.rds import instance_similarities
from gradts_plugin.records import FloatArray, IntArray, Outcome, Selection
from gradts_plugin.report.record import (
    HeadMap,
    InstanceExample,
    InstancesInfo,
    InstanceTaus,
    ProbeInfo,
    RunReport,
)
from gradts_plugin.stores.importances import StoredImportance

_NUM_BINS = 40
_NUM_EXAMPLES = 3
# Texts are examples, not the data: a long document is cut.
_TEXT_LENGTH = 300


def collect(engine: Engine, outcome: Outcome) -> RunReport:
    """Everything a report shows of a finished run; nothing is trained or probed for it.

    Args:
        engine: the run, after its last phase.
        outcome: what it came to.

    Raises:
        StoreError: a stored probe went away or is damaged.
    """
    kept = outcome.selection.kept_instances
    session, sources = engine.session, engine.probes.known
    infos = session.tasks
    (method, _), (ranker, _) = session.method, session.ranker
    rewritten = json.loads(outcome.config_path.read_text(encoding="utf-8"))
    return RunReport(
        outcome=dataclasses.replace(
            outcome, selection=dataclasses.replace(outcome.selection, kept_instances={})
        ),
        method_title=method.title,
        method_summary=method.summary,
        ranker_title=ranker.title,
        num_kept={name: len(ids) for name, ids in kept.items()},
        tasks=tuple(infos.values()),
        head_maps=tuple(_head_map(name, of_task) for name, of_task in sources.items()),
        probes=tuple(
            _probe_info(name, source) for name, of_task in sources.items() for source in of_task
        ),
        instances=_instances_info(engine, outcome, sources),
        shares_before=session.host.task_shares(),
        shares_after=session.host.task_shares(rewritten, kept),
        settings=session.settings.model_dump(mode="json"),
        provenance={
            **session.host.provenance,
            "encoder_fingerprint": session.host.encoder_fingerprint,
            "task_fingerprints": {name: info.fingerprint for name, info in infos.items()},
        },
    )


def _head_map(name: str, sources: Sequence[StoredImportance]) -> HeadMap:
    matrices = layer_normal(np.stack([source.task_matrix() for source in sources]))
    return HeadMap(name, _rows(np.round(matrices.mean(axis=0), 6)))


def _probe_info(name: str, source: StoredImportance) -> ProbeInfo:
    return ProbeInfo(
        task=name,
        seed=source.seed,
        num_instances=source.shape[0],
        dev_score=source.metadata.preparation.score,
        seconds=source.cost.seconds,
    )


def _instances_info(
    engine: Engine, outcome: Outcome, sources: Mapping[str, Sequence[StoredImportance]]
) -> InstancesInfo | None:
    selection = outcome.selection
    if selection.instance_measure == "tau":
        judged = _taus(engine, outcome, sources)
    else:
        judged = instance_similarities(Context(engine), selection.auxiliary_tasks)
    if not judged:
        return None
    every = np.concatenate([values for _, values in judged.values()])
    edges = np.linspace(every.min(), max(every.max(), every.min() + 1e-6), _NUM_BINS + 1)
    return InstancesInfo(
        threshold=selection.instance_threshold,
        edges=tuple(edges.tolist()),
        tasks=tuple(
            _instance_taus(engine, selection, name, *found, edges=edges)
            for name, found in judged.items()
        ),
        measure=selection.instance_measure,
    )


def _taus(
    engine: Engine, outcome: Outcome, sources: Mapping[str, Sequence[StoredImportance]]
) -> Mapping[str, tuple[IntArray, FloatArray]]:
    """Taus of the candidates' probed instances, auxiliaries first."""
    selection = outcome.selection
    order = outcome.ranking.task_order if outcome.ranking else tuple(sources)
    chosen = selection.auxiliary_tasks
    names = [
        name
        for name in (*chosen, *(name for name in order if name not in chosen))
        if name in sources and name != selection.primary_task
    ]
    # GradTS-fg has probed all instances of what it filtered, the ranking perhaps a sample.
    return {
        name: engine.instance_taus(name, complete=name in selection.kept_instances)
        for name in names
    }


def _instance_taus(
    engine: Engine,
    selection: Selection,
    name: str,
    ids: IntArray,
    taus: FloatArray,
    *,
    edges: FloatArray,
) -> InstanceTaus:
    info = InstanceTaus(
        task=name,
        num_instances=len(ids),
        median=float(np.median(taus)),
        counts=_counts(taus, edges),
        kept_counts=None,
    )
    if name not in selection.kept_instances:
        return info
    is_kept = np.isin(ids, selection.kept_instances[name])
    order = np.argsort(-taus, kind="stable")
    highest = order[is_kept[order]][:_NUM_EXAMPLES]
    lowest = order[~is_kept[order]][::-1][:_NUM_EXAMPLES]
    shown = [int(ids[place]) for place in (*highest, *lowest)]
    texts = engine.session.host.instance_texts(name, shown)

    def examples(places: IntArray) -> tuple[InstanceExample, ...]:
        return tuple(
            InstanceExample(int(ids[place]), float(taus[place]), _cut(texts.get(int(ids[place]))))
            for place in places
        )

    return InstanceTaus(
        task=name,
        num_instances=info.num_instances,
        median=info.median,
        counts=info.counts,
        kept_counts=_counts(taus[is_kept], edges),
        kept=examples(highest),
        dropped=examples(lowest),
    )


def _counts(taus: FloatArray, edges: FloatArray) -> tuple[int, ...]:
    return tuple(np.histogram(taus, bins=edges)[0].tolist())


def _cut(text: str | None) -> str:
    if text is None or len(text) <= _TEXT_LENGTH:
        return text or ""
    return text[:_TEXT_LENGTH].rstrip() + "…"


def _rows(matrix: FloatArray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())
