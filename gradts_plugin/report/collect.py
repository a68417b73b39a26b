"""Collects a report's numbers from a finished run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradts_plugin.pipeline import Outcome, Session, candidate_instance_taus, tasks_of
from gradts_plugin.ranking.correlation import layer_normal
from gradts_plugin.records import FloatArray, IntArray, Ranking, Selection, Trial
from gradts_plugin.report.data import (
    Candidate,
    CorrelationInfo,
    HeadMap,
    InstanceExample,
    InstancesInfo,
    InstanceTaus,
    ProbeInfo,
    RankingInfo,
    ReportInfo,
    SamplerInfo,
    TaskSize,
    TrialInfo,
)
from gradts_plugin.stores.importances import StoredImportance

__all__ = ["cluster_order", "collect"]

_NUM_BINS = 40
_NUM_EXAMPLES = 3
# Texts are examples, not the data: a long document is cut.
_TEXT_LENGTH = 300


def collect(session: Session, outcome: Outcome) -> ReportInfo:
    """Everything a report shows of a finished run; nothing is trained or probed for it.

    Args:
        session: the run, after its last phase.
        outcome: what it came to.

    Raises:
        StoreError: a stored probe went away or is damaged.
    """
    ranking, selection = outcome.ranking, outcome.selection
    sources = session.sources or {}
    infos = tasks_of(session)
    return ReportInfo(
        primary_task=selection.primary_task,
        method=selection.method,
        auxiliary_tasks=selection.auxiliary_tasks,
        reason=selection.reason,
        num_kept={name: len(ids) for name, ids in selection.kept_instances.items()},
        mixing_ratios=dict(selection.mixing_ratios),
        selected=None if outcome.selected is None else _trial_info(outcome.selected),
        alone=None if outcome.alone is None else _trial_info(outcome.alone),
        cost=outcome.cost,
        seconds=dict(outcome.seconds),
        done=dict(vars(outcome.counters)),
        tasks=tuple(TaskSize(info.name, info.kind, info.num_train) for info in infos.values()),
        ranking=None if ranking is None else _ranking_info(ranking, selection),
        correlations=None if ranking is None else _correlation_info(ranking),
        head_maps=tuple(_head_map(name, of_task) for name, of_task in sources.items()),
        probes=tuple(
            _probe_info(name, source) for name, of_task in sources.items() for source in of_task
        ),
        trials=tuple(_trial_info(trial) for trial in selection.trials),
        instances=_instances_info(session, outcome, sources) if sources else None,
        sampler=_sampler_info(session, outcome),
        settings=session.settings.model_dump(mode="json"),
        provenance={
            **session.host.provenance,
            "encoder_fingerprint": session.host.encoder_fingerprint,
            "task_fingerprints": {name: info.fingerprint for name, info in infos.items()},
        },
    )


def cluster_order(taus: FloatArray) -> list[int]:
    """An order in which similar tasks are neighbours.

    Args:
        taus: symmetric, shape (T, T).

    Returns:
        A permutation of range(T): the leaves of an average-linkage clustering of 1 - tau, in the
        optimal leaf order (neighbours are as similar as the tree allows).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(taus) < 3:
        return list(range(len(taus)))
    rows, columns = np.triu_indices(len(taus), 1)
    tree = linkage(1 - taus[rows, columns], method="average", optimal_ordering=True)
    order: list[int] = leaves_list(tree).tolist()
    return order


# --- ranking and probes ---------------------------------------------------------------------------


def _ranking_info(ranking: Ranking, selection: Selection) -> RankingInfo:
    between_heads = ranking.task_taus is not None and ranking.num_heads_total > 1
    return RankingInfo(
        ranker=ranking.ranker,
        measure=ranking.measure,
        confidence=ranking.confidence,
        num_seeds=ranking.num_seeds,
        covers=ranking.covers,
        null_sd=ranking.null_sd if between_heads else None,
        null_taus=ranking.null_taus,
        threshold=selection.threshold if selection.method == "thres" else None,
        candidates=tuple(
            Candidate(
                candidate.task_name,
                candidate.tau,
                candidate.interval,
                candidate.probability_above_next,
            )
            for candidate in ranking.candidates
        ),
    )


def _correlation_info(ranking: Ranking) -> CorrelationInfo | None:
    if ranking.task_taus is None:
        return None
    order = cluster_order(ranking.task_taus)
    return CorrelationInfo(
        task_names=tuple(ranking.task_names[place] for place in order),
        taus=_rows(ranking.task_taus[np.ix_(order, order)]),
        num_heads=ranking.num_heads_total,
        null_sd=ranking.null_sd,
    )


def _head_map(name: str, sources: Sequence[StoredImportance]) -> HeadMap:
    matrices = layer_normal(np.stack([source.task_matrix() for source in sources]))
    return HeadMap(name, _rows(np.round(matrices.mean(axis=0), 6)))


def _probe_info(name: str, source: StoredImportance) -> ProbeInfo:
    made = source.provenance
    return ProbeInfo(
        task=name,
        seed=int(source.metadata["fingerprint"]["seed"]),
        num_instances=source.shape[0],
        dev_score=_defined(float(made.get("dev_score_after_fine_tuning", math.nan))),
        seconds=float(made.get("fine_tuning_seconds", 0.0)) + float(source.metadata["seconds"]),
    )


def _trial_info(trial: Trial) -> TrialInfo:
    return TrialInfo(
        auxiliary_tasks=trial.auxiliary_tasks,
        score=_defined(trial.score),
        spread=None if trial.spread is None else _defined(trial.spread),
        scores=tuple(_defined(score) for score in trial.scores),
        test_scores=tuple(_defined(score) for score in trial.test_scores),
        num_kept=dict(trial.num_kept),
        mixing_ratios=dict(trial.mixing_ratios),
        num_steps=trial.num_steps,
        seconds=trial.seconds,
        reused=trial.reused,
    )


# --- instances ------------------------------------------------------------------------------------


def _instances_info(
    session: Session, outcome: Outcome, sources: Mapping[str, Sequence[StoredImportance]]
) -> InstancesInfo:
    selection = outcome.selection
    order = outcome.ranking.task_order if outcome.ranking else tuple(sources)
    chosen = selection.auxiliary_tasks
    names = [
        name
        for name in (*chosen, *(name for name in order if name not in chosen))
        if name in sources and name != selection.primary_task
    ]
    # GradTS-fg has probed all instances of what it filtered, the ranking perhaps a sample.
    taus = {
        name: candidate_instance_taus(session, name, complete=name in selection.kept_instances)
        for name in names
    }
    every = np.concatenate([values for _, values in taus.values()])
    edges = np.linspace(every.min(), max(every.max(), every.min() + 1e-6), _NUM_BINS + 1)
    return InstancesInfo(
        threshold=selection.threshold if selection.method == "fg" else None,
        edges=tuple(edges.tolist()),
        tasks=tuple(
            _instance_taus(session, selection, name, *taus[name], edges=edges) for name in names
        ),
    )


def _instance_taus(
    session: Session,
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
    texts = session.host.instance_texts(name, shown)

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


# --- the sampler ----------------------------------------------------------------------------------


def _sampler_info(session: Session, outcome: Outcome) -> SamplerInfo | None:
    """The samplers of jiant's original and rewritten config; None where they are not jiant's."""
    try:
        config = json.loads(Path(outcome.config_path).read_text(encoding="utf-8"))
        original = config["gradts"]["selection"]["original"]
        sizes = {info.name: info.num_train for info in session.host.tasks()}
        shares = [
            _shares(source["sampler_config"], source["task_run_config"]["train_task_list"], counts)
            for source, counts in (
                (original, sizes),
                (
                    config,
                    {**sizes, **{n: len(i) for n, i in outcome.selection.kept_instances.items()}},
                ),
            )
        ]
        before, after = (
            str(source["sampler_config"]["sampler_type"]) for source in (original, config)
        )
    except (KeyError, TypeError):
        return None
    names = dict.fromkeys((*shares[1], *shares[0]))
    return SamplerInfo(
        before=before,
        after=after,
        shares={name: (shares[0].get(name), shares[1].get(name)) for name in names},
    )


def _shares(
    sampler: Mapping[str, Any], names: Sequence[str], sizes: Mapping[str, int]
) -> dict[str, float | None]:
    """The share of the steps that each task gets, where the sampler's shares stay the same."""
    kind = sampler["sampler_type"]
    weights: Mapping[str, float]
    if kind == "UniformMultiTaskSampler":
        weights = dict.fromkeys(names, 1.0)
    elif kind == "ProportionalMultiTaskSampler":
        weights = {name: sizes[name] for name in names}
    elif kind == "SpecifiedProbMultiTaskSampler":
        weights = {name: sampler["task_to_unweighted_probs"][name] for name in names}
    elif kind == "TemperatureMultiTaskSampler":
        cap = sampler["examples_cap"] or max(sizes.values())
        weights = {name: min(sizes[name], cap) ** (1 / sampler["temperature"]) for name in names}
    else:
        return dict.fromkeys(names)
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _rows(matrix: FloatArray) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in matrix.tolist())


def _defined(value: float) -> float | None:
    """None for what JSON does not have: NaN and infinities."""
    return value if math.isfinite(value) else None
