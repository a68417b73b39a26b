"""Which ranking foretells best what an auxiliary adds: probes and profiles against measured gains.

    python benchmarks/rankings.py --data FOLDER --comparison results/comparison.json

Each task is probed on the frozen encoder and on fine-tuned ones (two seeds), by every head
importance measure. Each way of ranking is then compared with the gain of each single auxiliary that
`benchmarks/compare.py` measured, with itself on another seed or another half of the instances, and
with itself on a quarter of the instances. Killed, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from compare import POOL, PRIMARIES, compare_values
from provenance import markdown_table, provenance, write_results
from rich.console import Console
from scipy.stats import kendalltau

from gradts_plugin import pipeline, sessions
from gradts_plugin.config import CompareFile, parse_settings
from gradts_plugin.console import ProgressPlugin
from gradts_plugin.correlation import kendall, layer_shares, without_common
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.probing.convex import fit_head, fitted_batches
from gradts_plugin.probing.prober import frozen, probe
from gradts_plugin.records import FloatArray, ProbeBatch, ProbeTarget

MEASURES = ("rows", "columns", "gate")
MODELS = ("frozen", "frozen, shuffled labels", "fine-tuned 0", "fine-tuned 1")
LAYERS = {"all layers": slice(None), "early half": slice(0, 3), "late half": slice(3, None)}

#: (model, task, measure) -> importances (N, L, H); and (model, task) -> seconds.
Probes = dict[tuple[str, str, str], FloatArray]


@dataclass(frozen=True)
class Way:
    """A way of ranking.

    Attributes:
        model: frozen or fine-tuned.
        measure: head importance measure.
        common: keep or remove the profile all tasks share.
        layers: which layers are correlated.
    """

    model: str
    measure: str
    common: str
    layers: str


def main() -> None:
    """Probes, ranks and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--comparison", type=Path, help="comparison.json of benchmarks/compare.py")
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--instances", type=int, default=400, help="probed instances per task")
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    probes, seconds = probe_all(arguments)
    gains = {}
    if arguments.comparison is not None:
        gains = single_gains(json.loads(arguments.comparison.read_text()))
    ways = [
        Way(model, measure, common, layers)
        for model, measure, common, layers in itertools.product(
            ("frozen", "fine-tuned"), MEASURES, ("keep", "remove"), LAYERS
        )
        if set(models_of(Way(model, measure, common, layers))) <= set(arguments.models)
    ]
    rows = [describe(way, probes, gains) for way in ways]
    null = shuffled_labels(probes) if set(MODELS[:2]) <= set(arguments.models) else []
    text = "\n\n".join(
        [
            "# Ways of ranking",
            f"Pool: {', '.join(POOL)}; gains of: {', '.join(gains) or 'none'}; "
            f"{arguments.instances} probed "
            "instances a task. `gain`: Kendall's tau between the ranking and the measured gains of "
            "single auxiliaries, mean over the primaries (lowest). `regret@1`: what the top-ranked "
            "auxiliary scores less than the best single one. `again`: tau between the candidate "
            "orders of two seeds (fine-tuned) or two disjoint halves of the instances (frozen). "
            "`quarter`: tau between the orders from 25 % and all of the instances.",
            markdown_table(
                [
                    "model",
                    "measure",
                    "common profile",
                    "layers",
                    "gain",
                    "regret@1",
                    "again",
                    "quarter",
                ],
                [
                    (
                        row["model"],
                        row["measure"],
                        row["common"],
                        row["layers"],
                        f"{row['gain']:+.2f} ({row['gain_lowest']:+.2f})" if gains else "",
                        f"{row['regret_at_1']:.4f}" if gains else "",
                        f"{row['again']:+.2f}",
                        f"{row['quarter']:+.2f}",
                    )
                    for row in rows
                ],
            ),
            "## Seconds per task, fine-tuning or fit included",
            markdown_table(
                ["model", "all tasks (s)"],
                [
                    (
                        model,
                        f"{sum(s for (of, _), s in seconds.items() if of == model):.0f}",
                    )
                    for model in arguments.models
                ],
            ),
            "## Shuffled labels (frozen, rows)",
            markdown_table(
                ["primary", "candidate", "tau", "tau with the candidate's labels shuffled"],
                [
                    (row["primary"], row["candidate"], f"{row['tau']:.2f}", f"{row['null']:.2f}")
                    for row in null
                ],
            ),
        ]
    )
    write_results(
        arguments.output,
        "rankings",
        source=source,
        results={
            "ways": rows,
            "seconds": {f"{model}/{task}": value for (model, task), value in seconds.items()},
            "shuffled_labels": null,
            "gains": gains,
        },
        text=text,
    )


# --- probes -----------------------------------------------------------------------------------


def probe_all(arguments: argparse.Namespace) -> tuple[Probes, dict[tuple[str, str], float]]:
    """Makes every probe, or reads it from the work folder."""
    folder = arguments.work.absolute() / "rankings"
    folder.mkdir(parents=True, exist_ok=True)
    manager = make_plugin_manager([ProgressPlugin(Console(stderr=True))])
    values = compare_values(arguments.data, arguments.work.absolute())
    compare_file = parse_settings(
        CompareFile,
        {**values, "primary_task": POOL[0], "output_dir": folder / "run", "methods": {}},
        where="benchmark",
    )
    session: pipeline.Session | None = None
    probes: Probes = {}
    seconds = {}
    for model, task in itertools.product(arguments.models, POOL):
        path = folder / f"{model.replace(' ', '_').replace(',', '')}-{task}.npz"
        if not path.exists():
            session = session or sessions.open_run_file(compare_file, manager)
            start = time.perf_counter()
            found = probe_one(session, model, task, arguments.instances)
            np.savez(path, seconds=time.perf_counter() - start, **found)
        stored = np.load(path)
        seconds[model, task] = float(stored["seconds"])
        for measure in MEASURES:
            probes[model, task, measure] = stored[measure]
    return probes, seconds


def probe_one(
    session: pipeline.Session, model: str, task: str, instances: int
) -> dict[str, FloatArray]:
    """Measure -> importances (N, L, H) of one task."""
    if model.startswith("frozen"):
        with session.host.untrained((task,), 0) as target:
            batches = list(target.batches(batch_size=32, max_instances=instances, seed=0))
            shuffle_seed = 1 if "shuffled" in model else None
            with frozen(target.model):
                head = fit_head(batches, shuffle_seed=shuffle_seed)
            return measured(
                session, target, list(fitted_batches(batches, head, shuffle_seed=shuffle_seed))
            )
    seed = int(model.rsplit(maxsplit=1)[-1])
    plan = pipeline._fine_tuning_plan(session, task, seed)
    with session.host.fine_tuned(plan) as target:
        return measured(
            session, target, list(target.batches(batch_size=32, max_instances=instances, seed=0))
        )


def measured(
    session: pipeline.Session, target: ProbeTarget, batches: list[ProbeBatch]
) -> dict[str, FloatArray]:
    """Every measure on the same model and instances."""
    found = {}
    for name in MEASURES:
        parts = probe(
            target.model,
            target.encoder,
            batches,
            session.registry.measure(name),
            train_mode=False,
            precision="fp32",
        )
        found[name] = np.concatenate([raw for _, raw in parts])
    return found


# --- ranking ----------------------------------------------------------------------------------


def taus(way: Way, matrices: dict[str, FloatArray], primary: str) -> dict[str, float]:
    """Candidate -> tau with the primary, from task -> mean importance (L, H)."""
    shares = {
        task: layer_shares(matrix)[LAYERS[way.layers]].ravel() for task, matrix in matrices.items()
    }
    if way.common == "remove":
        common = np.mean(list(shares.values()), axis=0)
        shares = {task: without_common(values, common) for task, values in shares.items()}
    others = [task for task in matrices if task != primary]
    found = kendall(shares[primary], np.stack([shares[task] for task in others]))
    return dict(zip(others, found.tolist(), strict=True))


def models_of(way: Way) -> tuple[str, ...]:
    return ("frozen",) if way.model == "frozen" else ("fine-tuned 0", "fine-tuned 1")


def matrices(way: Way, probes: Probes, model: str, rows: slice) -> dict[str, FloatArray]:
    return {task: probes[model, task, way.measure][rows].mean(axis=0) for task in POOL}


def ranking_values(way: Way, probes: Probes, primary: str) -> dict[str, float]:
    """As the pipeline ranks: taus averaged over pairs of seeds (here: equal and unequal ones)."""
    of_models = [matrices(way, probes, model, slice(None)) for model in models_of(way)]
    totals: dict[str, list[float]] = {}
    for first, second in itertools.product(of_models, of_models):
        mixed = {**second, primary: first[primary]}
        for task, tau in taus(way, mixed, primary).items():
            totals.setdefault(task, []).append(tau)
    return {task: float(np.mean(values)) for task, values in totals.items()}


def describe(way: Way, probes: Probes, gains: dict[str, dict[str, float]]) -> dict[str, Any]:
    """One way of ranking, over all primaries."""
    agreement, regrets = [], []
    for primary, of_single in gains.items():
        values = ranking_values(way, probes, primary)
        tasks = list(of_single)
        agreement.append(
            float(kendalltau([values[t] for t in tasks], [of_single[t] for t in tasks]).statistic)
        )
        top = max(values, key=lambda task: values[task])
        regrets.append(max(of_single.values()) - of_single[top])
    return {
        "model": way.model,
        "measure": way.measure,
        "common": way.common,
        "layers": way.layers,
        "gain": float(np.mean(agreement)) if gains else None,
        "gain_lowest": float(np.min(agreement)) if gains else None,
        "gain_by_primary": dict(zip(gains, agreement, strict=True)),
        "regret_at_1": float(np.mean(regrets)) if gains else None,
        "again": float(np.mean(list(order_again(way, probes)))),
        "quarter": float(np.mean(list(order_of_quarter(way, probes)))),
    }


def order_again(way: Way, probes: Probes) -> Iterator[float]:
    """Tau between candidate orders of two seeds, or of two halves of the instances."""
    for primary in PRIMARIES:
        if way.model == "frozen":
            pairs = [
                taus(way, matrices(way, probes, "frozen", slice(start, None, 2)), primary)
                for start in (0, 1)
            ]
        else:
            pairs = [
                taus(way, matrices(way, probes, model, slice(None)), primary)
                for model in models_of(way)
            ]
        yield float(kendalltau(list(pairs[0].values()), list(pairs[1].values())).statistic)


def order_of_quarter(way: Way, probes: Probes) -> Iterator[float]:
    """Tau between the candidate orders of a quarter of the instances and of all."""
    for primary, model in itertools.product(PRIMARIES, models_of(way)):
        whole = taus(way, matrices(way, probes, model, slice(None)), primary)
        quarter = taus(way, matrices(way, probes, model, slice(0, None, 4)), primary)
        yield float(kendalltau(list(whole.values()), list(quarter.values())).statistic)


def shuffled_labels(probes: Probes) -> list[dict[str, Any]]:
    """Taus of each primary with each candidate, and with the candidate's labels shuffled."""
    way = Way("frozen", "rows", "keep", "all layers")
    real = matrices(way, probes, "frozen", slice(None))
    null = matrices(way, probes, "frozen, shuffled labels", slice(None))
    return [
        {"primary": primary, "candidate": task, "tau": tau, "null": nulls[task]}
        for primary in PRIMARIES
        for nulls in [taus(way, {**null, primary: real[primary]}, primary)]
        for task, tau in taus(way, real, primary).items()
    ]


def single_gains(comparison: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Primary -> candidate -> mean score with that candidate less the mean score alone."""
    primaries = comparison["results"]["primaries"]
    return {
        primary: {
            subset["auxiliary_tasks"][0]: subset["score"] - found["alone"]["score"]
            for subset in found["subsets"]
            if len(subset["auxiliary_tasks"]) == 1
        }
        for primary, found in primaries.items()
    }


if __name__ == "__main__":
    main()
