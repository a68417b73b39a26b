"""Which ranking foretells best what an auxiliary adds: probes and profiles against measured gains.

    python benchmarks/rankings.py --data FOLDER --comparison results/comparison.json
    ... --primaries qqp pos --steps 120     # gains for more primaries, measured first

Each task is probed on the frozen encoder, and on encoders fine-tuned for 15 and for 60 steps (two
seeds; for 60 steps also from heads that start at zero), by every head importance measure. Each way
of ranking is then compared with the measured gain of each single auxiliary, with itself on another
seed or another half of the instances, and with itself on fewer instances. The gains come from
`benchmarks/compare.py`; for other primaries they are measured in the same way. Killed, it goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compare import METHODS, POOL, PRIMARIES, STEPS, compare_values
from provenance import markdown_table, provenance, write_results
from rich.console import Console
from scipy.stats import kendalltau

from gradts_plugin.comparison.compare import evaluate_subset
from gradts_plugin.comparison.methods import settings_of
from gradts_plugin.engine.engine import Engine
from gradts_plugin.hosts.jiant.training import runner as host_runner
from gradts_plugin.offers import HeadImportanceMeasure
from gradts_plugin.opening import open_run_file, reopen
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.probing import importance
from gradts_plugin.probing.convex import fit_head, fitted_batches
from gradts_plugin.probing.prober import frozen, probe
from gradts_plugin.protocols import ProbeTarget
from gradts_plugin.ranking.correlation import kendall, layer_shares, without_common
from gradts_plugin.records import FloatArray, ProbeBatch, Ranking
from gradts_plugin.run import rank
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.terminal.progress import ProgressPlugin

MEASURES: dict[str, HeadImportanceMeasure] = {
    "rows": importance.rows,
    "columns": importance.columns,
    "gate": importance.gate,
    "signed gate": importance.gate_gradient,
}
#: Fine-tuning before a probe: an epoch, and a quarter of one.
FINE_TUNING_STEPS = 60
SHORT_STEPS = 15

#: What is probed: the last digit is a fine-tuning seed.
MODELS = (
    "frozen",
    "frozen, shuffled labels",
    "fine-tuned 0",
    "fine-tuned 1",
    f"{SHORT_STEPS} steps 0",
    f"{SHORT_STEPS} steps 1",
    "zero heads 0",
    "zero heads 1",
)

LESS_SHUFFLED = "frozen less shuffled"

#: How a way of ranking uses them: for each seed, the models whose importances are averaged.
USES: dict[str, tuple[tuple[str, ...], ...]] = {
    "frozen": (("frozen",),),
    # Each candidate's tau less its tau with shuffled labels: what its labels add.
    LESS_SHUFFLED: (("frozen",),),
    f"{SHORT_STEPS} steps": ((MODELS[4],), (MODELS[5],)),
    "fine-tuned": (("fine-tuned 0",), ("fine-tuned 1",)),
    "zero heads": (("zero heads 0",), ("zero heads 1",)),
    "snapshots": (("frozen", MODELS[4], "fine-tuned 0"), ("frozen", MODELS[5], "fine-tuned 1")),
}
FEWER_INSTANCES = (64, 128, 256, 512)
SAMPLES = (0, 1)
LAYERS = {"all layers": slice(None), "early half": slice(0, 3), "late half": slice(3, None)}

#: (model, task, measure) -> importances (N, L, H); and (model, task) -> seconds.
Probes = dict[tuple[str, str, str], FloatArray]

#: (primary, which trainings) -> candidate -> what it adds alone.
Gains = dict[tuple[str, str], dict[str, float]]

#: A ranking, and the seconds its probes take.
Answer = tuple[Ranking, float]


@dataclass(frozen=True)
class Way:
    """A way of ranking.

    Attributes:
        model: one of `USES`.
        measure: one of `MEASURES`; a signed one is compared by the cosine, others by tau.
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
    parser.add_argument(
        "--comparison",
        type=Path,
        nargs="*",
        default=(),
        help="comparison*.json of benchmarks/compare.py",
    )
    parser.add_argument(
        "--primaries",
        nargs="*",
        default=(),
        choices=POOL,
        help="more primaries, to measure gains",
    )
    parser.add_argument("--seeds", type=int, default=3, help="training seeds of their scores")
    parser.add_argument("--steps", type=int, default=STEPS, help="of their trainings")
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--instances", type=int, default=240, help="probed instances per task")
    parser.add_argument("--models", nargs="*", default=MODELS, choices=MODELS)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    probes, seconds = probe_all(arguments)
    gains = measured_gains(arguments)
    for path in arguments.comparison:
        gains |= single_gains(json.loads(path.read_text()), path.stem)
    # A primary that nothing moves (it was not learned) orders nothing.
    gains = {name: found for name, found in gains.items() if len(set(found.values())) > 1}
    ways = [
        Way(model, measure, common, layers)
        for model, measure, common, layers in itertools.product(
            USES, MEASURES, ("keep", "remove"), LAYERS
        )
        if set(itertools.chain(*USES[model])) <= set(arguments.models)
        and (model != LESS_SHUFFLED or MODELS[1] in arguments.models)
        # There is no profile that signed gradients of all tasks share.
        and (measure != "signed gate" or common == "keep")
    ]
    rows = [describe(way, probes, gains) for way in ways]
    answers = rank_fewer(arguments) if "frozen" in arguments.models else {}
    fewer = list(of_fewer_instances(answers, gains)) if answers else []
    stopping = list(stopping_when_settled(answers)) if answers else []
    null = shuffled_labels(probes) if set(MODELS[:2]) <= set(arguments.models) else []
    text = "\n\n".join(
        [
            "# Ways of ranking",
            f"Pool: {', '.join(POOL)}; gains of: {_listed(gains) or 'none'}; "
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
            "## Fewer instances (the default ranking)",
            "`order`: tau between the candidate orders from so many instances, heads fitted to "
            f"these, and from all; mean (lowest) over {len(PRIMARIES)} primaries and "
            f"{len(SAMPLES)} samples. Seconds: all tasks.",
            markdown_table(
                ["instances", "order", "gain", "regret@1", "seconds"],
                [
                    (
                        row["instances"],
                        f"{row['order']:+.2f} ({row['lowest']:+.2f})",
                        f"{row['gain']:+.2f}" if gains else "",
                        f"{row['regret_at_1']:.4f}" if gains else "",
                        f"{row['seconds']:.0f}",
                    )
                    for row in fewer
                ],
            ),
            "## Stopping when the ranking is settled (the default ranking)",
            f"Instances {', '.join(map(str, FEWER_INSTANCES))}, all, until the first or every "
            "place is above the next one with this probability. `same`: of the runs that stopped "
            "early, those with the order (the first place) that all instances give. Seconds: share "
            "of probing all at once, earlier attempts included.",
            markdown_table(
                ["settled", "probability", "stopped early", "same", "seconds"],
                [
                    (
                        row["settled"],
                        row["probability"],
                        f"{row['stopped_early']} of {row['runs']}",
                        f"{row['same_as_all']} of {row['stopped_early']}",
                        f"{row['share_of_seconds']:.2f}",
                    )
                    for row in stopping
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
            "fewer_instances": fewer,
            "stopping_when_settled": stopping,
            "gains": {", ".join(key): of_single for key, of_single in gains.items()},
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
        {**values, "output_dir": folder / "run", "methods": {"alone": METHODS["alone"]}},
        where="benchmark",
    ).model_copy(update={"primary_task": POOL[0]})
    engine: Engine | None = None
    probes: Probes = {}
    seconds = {}
    for model, task in itertools.product(arguments.models, POOL):
        path = folder / f"{model.replace(' ', '_').replace(',', '')}-{task}.npz"
        if not path.exists():
            engine = engine or open_run_file(compare_file, manager)
            start = time.perf_counter()
            found = probe_one(engine, model, task, arguments.instances)
            np.savez(path, seconds=time.perf_counter() - start, **found)
        stored = np.load(path)
        seconds[model, task] = float(stored["seconds"])
        for measure in MEASURES:
            probes[model, task, measure] = stored[measure]
    return probes, seconds


def probe_one(engine: Engine, model: str, task: str, instances: int) -> dict[str, FloatArray]:
    """Measure -> importances (N, L, H) of one task."""
    session = engine.session
    if model.startswith("frozen"):
        with session.host.untrained((task,), 0) as target:
            batches = list(target.batches(batch_size=32, max_instances=instances, seed=0))
            shuffle_seed = 1 if "shuffled" in model else None
            with frozen(target.model):
                head = fit_head(batches, shuffle_seed=shuffle_seed)
            return measured(target, list(fitted_batches(batches, head, shuffle_seed=shuffle_seed)))
    kind, seed = model.rsplit(maxsplit=1)
    plan = engine.trainings.fine_tuning_plan((task,), int(seed))
    steps = SHORT_STEPS if kind.endswith("steps") else FINE_TUNING_STEPS
    fine_tuning = session.settings.fine_tuning.model_copy(update={"max_steps": steps})
    plan = dataclasses.replace(plan, recipe=session.host.recipe(fine_tuning, (task,), {}))
    start = zero_heads() if kind == "zero heads" else contextlib.nullcontext()
    with start, session.host.fine_tuned(plan) as target:
        return measured(
            target, list(target.batches(batch_size=32, max_instances=instances, seed=0))
        )


@contextlib.contextmanager
def zero_heads() -> Iterator[None]:
    """The last layer of every head starts from zero: its initialisation draws nothing."""
    original = host_runner.runscript.setup_runner

    def with_zero_heads(**own: Any) -> Any:
        runner = original(**own)
        for model in runner.jiant_model.taskmodels_dict.values():
            last = list(model.head.modules())[-1]
            for parameter in last.parameters():
                torch.nn.init.zeros_(parameter)
        return runner

    host_runner.runscript.setup_runner = with_zero_heads
    try:
        yield
    finally:
        host_runner.runscript.setup_runner = original


def measured(target: ProbeTarget, batches: list[ProbeBatch]) -> dict[str, FloatArray]:
    """Every measure on the same model and instances."""
    found = {}
    for name, measure in MEASURES.items():
        parts = probe(
            target.model,
            target.encoder,
            batches,
            measure,
            train_mode=False,
            precision="fp32",
        )
        found[name] = np.concatenate([raw for _, raw in parts])
    return found


# --- ranking ----------------------------------------------------------------------------------


def taus(way: Way, matrices: dict[str, FloatArray], primary: str) -> dict[str, float]:
    """Candidate -> tau (or cosine) with the primary, from task -> mean importance (L, H)."""
    others = [task for task in matrices if task != primary]
    layers = LAYERS[way.layers]
    if way.measure == "signed gate":
        signed = {task: matrix[layers].ravel() for task, matrix in matrices.items()}
        unit = {task: values / np.linalg.norm(values) for task, values in signed.items()}
        return {task: float(unit[task] @ unit[primary]) for task in others}
    shares = {task: layer_shares(matrix)[layers].ravel() for task, matrix in matrices.items()}
    if way.common == "remove":
        common = np.mean(list(shares.values()), axis=0)
        shares = {task: without_common(values, common) for task, values in shares.items()}
    found = kendall(shares[primary], np.stack([shares[task] for task in others]))
    return dict(zip(others, found.tolist(), strict=True))


def matrices(
    way: Way, probes: Probes, models: tuple[str, ...], rows: slice = slice(None)
) -> dict[str, FloatArray]:
    """Task -> mean importance (L, H) over some instances and the models, equally weighted."""
    found = {}
    for task in POOL:
        means = [probes[model, task, way.measure][rows].mean(axis=0) for model in models]
        found[task] = np.mean([mean / np.abs(mean).sum() for mean in means], axis=0)
    return found


def figures(
    way: Way, probes: Probes, models: tuple[str, ...], primary: str, rows: slice = slice(None)
) -> dict[str, float]:
    """Candidate -> what one seed's probes rank it by."""
    real = matrices(way, probes, models, rows)
    found = taus(way, real, primary)
    if way.model != LESS_SHUFFLED:
        return found
    null = {**matrices(way, probes, (MODELS[1],), rows), primary: real[primary]}
    return {task: found[task] - tau for task, tau in taus(way, null, primary).items()}


def ranking_values(way: Way, probes: Probes, primary: str) -> dict[str, float]:
    """As the pipeline ranks: taus averaged over pairs of seeds (here: equal and unequal ones)."""
    if len(USES[way.model]) == 1:
        return figures(way, probes, USES[way.model][0], primary)
    of_seeds = [matrices(way, probes, models) for models in USES[way.model]]
    totals: dict[str, list[float]] = {}
    for first, second in itertools.product(of_seeds, of_seeds):
        mixed = {**second, primary: first[primary]}
        for task, tau in taus(way, mixed, primary).items():
            totals.setdefault(task, []).append(tau)
    return {task: float(np.mean(values)) for task, values in totals.items()}


def against_gains(values: dict[str, float], of_single: dict[str, float]) -> tuple[float, float]:
    """Kendall's tau between a ranking and measured gains, and what its top costs."""
    tasks = list(of_single)
    found = kendalltau([values[t] for t in tasks], [of_single[t] for t in tasks]).statistic
    top = max(tasks, key=lambda task: values[task])
    return float(found), max(of_single.values()) - of_single[top]


def describe(way: Way, probes: Probes, gains: Gains) -> dict[str, Any]:
    """One way of ranking, over all primaries."""
    agreement, regrets = [], []
    for (primary, _), of_single in gains.items():
        tau, regret = against_gains(ranking_values(way, probes, primary), of_single)
        agreement.append(tau)
        regrets.append(regret)
    return {
        "model": way.model,
        "measure": way.measure,
        "common": way.common,
        "layers": way.layers,
        "gain": float(np.mean(agreement)) if gains else None,
        "gain_lowest": float(np.min(agreement)) if gains else None,
        "gain_by_primary": dict(zip(map(", ".join, gains), agreement, strict=True)),
        "regret_at_1": float(np.mean(regrets)) if gains else None,
        "again": float(np.mean(list(order_again(way, probes)))),
        "quarter": float(np.mean(list(order_of_quarter(way, probes)))),
    }


def same_order(first: dict[str, float], second: dict[str, float]) -> float:
    """Kendall's tau between two rankings of the same candidates."""
    return float(kendalltau(list(first.values()), list(second.values())).statistic)


def order_again(way: Way, probes: Probes) -> Iterator[float]:
    """Tau between candidate orders of two seeds, or of two halves of the instances."""
    seeds = USES[way.model]
    for primary in PRIMARIES:
        if len(seeds) == 1:
            halves = [slice(start, None, 2) for start in (0, 1)]
            pair = [figures(way, probes, seeds[0], primary, half) for half in halves]
        else:
            pair = [figures(way, probes, models, primary) for models in seeds]
        yield same_order(*pair)


def order_of_quarter(way: Way, probes: Probes) -> Iterator[float]:
    """Tau between the candidate orders of a quarter of the instances and of all."""
    for primary, models in itertools.product(PRIMARIES, USES[way.model]):
        whole = figures(way, probes, models, primary)
        quarter = figures(way, probes, models, primary, slice(0, None, 4))
        yield same_order(whole, quarter)


def rank_fewer(arguments: argparse.Namespace) -> dict[tuple[str, int | None, int], Answer]:
    """The default ranking from fewer instances, heads fitted to those, as the product makes it.

    Returns:
        (primary, instances; None: all, sample) -> ranking, and the seconds its probes take.
    """
    names = {f"{count} {seed}": (count, seed) for count in FEWER_INSTANCES for seed in SAMPLES}
    methods: dict[str, dict[str, Any]] = {"all": {"method": "thres"}}
    for name, (count, seed) in names.items():
        methods[name] = {"method": "thres", "probing": {"max_instances": count, "seed": seed}}
    folder = arguments.work.absolute() / "fewer-instances"
    values = {
        **compare_values(arguments.data, arguments.work.absolute()),
        "methods": methods,
        "output_dir": folder,
    }
    compare_file = parse_settings(CompareFile, values, where="benchmark")
    opened = open_run_file(
        compare_file.model_copy(update={"primary_task": PRIMARIES[0]}),
        make_plugin_manager([ProgressPlugin(Console(stderr=True), quiet=True)]),
    ).session

    def answer(name: str, primary: str) -> Answer:
        settings = settings_of(compare_file, primary, name)
        engine = reopen(opened, settings, output_dir=folder / primary)
        return rank(engine), engine.session.accounts.cost.seconds

    answers: dict[tuple[str, int | None, int], Answer] = {}
    for primary in PRIMARIES:
        for name, (count, seed) in names.items():
            answers[primary, count, seed] = answer(name, primary)
        whole = answer("all", primary)
        answers |= {(primary, None, seed): whole for seed in SAMPLES}
    return answers


def taus_of(ranking: Ranking) -> dict[str, float]:
    """Candidate -> tau, in an order that does not depend on the ranking."""
    found = {candidate.task_name: candidate.tau for candidate in ranking.candidates}
    return {task: found[task] for task in sorted(found)}


def of_fewer_instances(
    answers: dict[tuple[str, int | None, int], Answer], gains: Gains
) -> Iterator[dict[str, Any]]:
    """How well the default ranking holds when fewer instances are probed."""
    for count in (*FEWER_INSTANCES, None):
        orders, found, seconds = [], [], []
        for primary, seed in itertools.product(PRIMARIES, SAMPLES):
            ranking, took = answers[primary, count, seed]
            whole, _ = answers[primary, None, seed]
            orders.append(same_order(taus_of(ranking), taus_of(whole)))
            seconds.append(took)
            found += [
                against_gains(taus_of(ranking), of_single)
                for (name, _), of_single in gains.items()
                if name == primary
            ]
        means = np.mean(found, axis=0).tolist() if found else (None, None)
        yield {
            "instances": count or "all",
            "order": float(np.mean(orders)),
            "lowest": float(np.min(orders)),
            "seconds": float(np.mean(seconds)),
            "gain": means[0],
            "regret_at_1": means[1],
        }


def stopping_when_settled(
    answers: dict[tuple[str, int | None, int], Answer],
) -> Iterator[dict[str, Any]]:
    """What doubling the instances until the ranking is settled would save, and what it would cost.

    Settled: the top candidate, or every candidate, stands above the next one in so many of the
    bootstrap's draws. Every attempt is paid for, since the heads are fitted anew each time.
    """
    for what, settled in itertools.product(("first place", "every place"), (0.9, 0.95, 0.99)):
        shares, early, same = [], [], []
        for primary, seed in itertools.product(PRIMARIES, SAMPLES):
            whole, all_seconds = answers[primary, None, seed]
            spent = 0.0
            for count in (*FEWER_INSTANCES, None):
                ranking, took = answers[primary, count, seed]
                spent += took
                above = [c.probability_above_next or 0.0 for c in ranking.candidates[:-1]]
                if min(above[:1] if what == "first place" else above) >= settled:
                    break
            shares.append(spent / all_seconds)
            if count is not None:
                early.append((primary, count, seed))
                length = 1 if what == "first place" else None
                same.append(ranking.task_order[:length] == whole.task_order[:length])
        yield {
            "settled": what,
            "probability": settled,
            "runs": len(shares),
            "stopped_early": len(early),
            "same_as_all": sum(same),
            "share_of_seconds": float(np.mean(shares)),
        }


def shuffled_labels(probes: Probes) -> list[dict[str, Any]]:
    """Taus of each primary with each candidate, and with the candidate's labels shuffled."""
    way = Way("frozen", "rows", "keep", "all layers")
    real = matrices(way, probes, ("frozen",))
    null = matrices(way, probes, ("frozen, shuffled labels",))
    return [
        {"primary": primary, "candidate": task, "tau": tau, "null": nulls[task]}
        for primary in PRIMARIES
        for nulls in [taus(way, {**null, primary: real[primary]}, primary)]
        for task, tau in taus(way, real, primary).items()
    ]


def measured_gains(arguments: argparse.Namespace) -> Gains:
    """Gains of single auxiliaries for primaries that were not compared, from equal trainings."""
    if not arguments.primaries:
        return {}
    folder = arguments.work.absolute() / "-".join(["singles", *arguments.primaries])
    values = {
        **compare_values(arguments.data, arguments.work.absolute(), arguments.steps),
        "primaries": arguments.primaries,
        "methods": {"alone": METHODS["alone"]},
        "evaluation_seeds": arguments.seeds,
        "output_dir": folder,
    }
    compare_file = parse_settings(CompareFile, values, where="benchmark")
    opened = open_run_file(
        compare_file.model_copy(update={"primary_task": arguments.primaries[0]}),
        make_plugin_manager([ProgressPlugin(Console(stderr=True), quiet=True)]),
    ).session
    gains: Gains = {}
    for primary in arguments.primaries:
        settings = settings_of(compare_file, primary, None)
        engine = reopen(opened, settings, output_dir=folder / primary)
        alone = evaluate_subset(engine, ()).comparable()
        gains[primary, f"{arguments.steps} steps"] = {
            task: evaluate_subset(engine, (task,)).comparable() - alone
            for task in POOL
            if task != primary
        }
    return gains


def _listed(gains: Gains) -> str:
    return ", ".join(f"{primary} ({which})" for primary, which in gains)


def single_gains(compared: dict[str, Any], name: str) -> Gains:
    """The mean score with each candidate less the mean score alone, from a comparison."""
    primaries = compared["results"]["primaries"]
    return {
        (primary, name): {
            subset["auxiliary_tasks"][0]: subset["score"] - found["alone"]["score"]
            for subset in found["subsets"]
            if len(subset["auxiliary_tasks"]) == 1
        }
        for primary, found in primaries.items()
    }


if __name__ == "__main__":
    main()
