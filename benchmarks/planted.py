"""Which rankings find a planted truth: the demo's tasks, whose relations are known by construction.

    python benchmarks/planted.py [--seeds 0 1 2] [--rankings NAME ...]

Two of six candidates need what the primary needs, three need something else, one has random labels.
For every ranking: whether the two related ones come first, by how much, and what it cost. Killed,
it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from provenance import markdown_table, provenance, write_results

from gradts_plugin.demo.run import run_file_values
from gradts_plugin.demo.tasks import write_demo_tasks
from gradts_plugin.engine.engine import Engine
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.ranking.correlation import kendall
from gradts_plugin.ranking.heads import rank_candidates
from gradts_plugin.run import rank
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile

FINE_TUNED = {"model": "fine-tuned", "max_instances": 256}
FROZEN = {"model": "frozen", "max_instances": 256}

#: Each candidate's tau less its mean tau with shuffled labels: what its labels add.
LESS_SHUFFLED = "heads, frozen, rows, less shuffled labels"

RANKINGS: dict[str, dict[str, Any]] = {
    "embedding": {"ranking": {"ranker": "embedding"}},
    **{
        f"heads, frozen, {importance}{', common removed' if common == 'remove' else ''}": {
            "probing": {**FROZEN, "importance": importance},
            "ranking": {"common": common},
        }
        for importance, common in itertools.product(("rows", "columns", "gate"), ("keep", "remove"))
    },
    LESS_SHUFFLED: {"probing": {**FROZEN, "shuffled_controls": 2}},
    "heads, fine-tuned, rows": {"probing": FINE_TUNED},
    "heads, fine-tuned, columns": {"probing": {**FINE_TUNED, "importance": "columns"}},
    "gradients": {"ranking": {"ranker": {"name": "gradients", "max_instances": 120}}},
    "logme": {"ranking": {"ranker": {"name": "logme", "max_instances": 120}}},
}


def main() -> None:
    """Ranks and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="*", type=int, default=(0, 1, 2))
    parser.add_argument("--rankings", nargs="*", default=list(RANKINGS), choices=RANKINGS)
    parser.add_argument("--steps", type=int, default=60, help="of every fine-tuning")
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    rows = []
    for name, seed in itertools.product(arguments.rankings, arguments.seeds):
        rows.append(rank_one(name, seed, arguments.steps, arguments.work.absolute()))
        print(rows[-1], flush=True)
    text = "\n\n".join(
        [
            "# Rankings of tasks with a planted truth",
            "`found`: runs in which the two related candidates come first. `gap`: the lower of "
            "their figures less the best of the others, as a share of the range of all figures; "
            "below 0 where one of the others is in between. `coin`: mean place of the random-label "
            f"task, of 6. Fine-tunings of {arguments.steps} steps; cost of one ranking.",
            markdown_table(
                ["ranking", "found", "gap, mean (lowest)", "coin", "steps", "examples", "seconds"],
                [
                    summary(name, [row for row in rows if row["ranking"] == name])
                    for name in arguments.rankings
                ],
            ),
        ]
    )
    write_results(arguments.output, "planted", source=source, results=rows, text=text)


def rank_one(name: str, seed: int, steps: int, work: Path) -> dict[str, Any]:
    """One ranking of one seed's tasks."""
    folder = work / f"planted-{seed}"
    truth = write_demo_tasks(folder / "truth", seed=seed)
    values = {
        **run_file_values(folder, seed=seed),
        "output_dir": folder / "runs" / name.replace(", ", "-").replace(" ", "-"),
        "store": folder / "store",
        "method": "thres",
        **RANKINGS[name],
    }
    training = {**values["training"], "max_steps": steps}
    values["fine_tuning"] = training
    run_file = parse_settings(RunFile, values, where="benchmark")
    engine = open_run_file(run_file, make_plugin_manager())
    ranking = rank(engine)
    cost = engine.session.accounts.cost
    taus = {candidate.task_name: candidate.tau for candidate in ranking.candidates}
    if name == LESS_SHUFFLED:
        taus = {task: tau - null for task, tau, null in with_null_taus(engine, taus)}
    order = sorted(taus, key=lambda task: -taus[task])
    related = [taus[task] for task in truth.related]
    others = [tau for task, tau in taus.items() if task not in truth.related]
    return {
        "ranking": name,
        "seed": seed,
        "order": order,
        "figures": taus,
        "found": set(order[: len(related)]) == set(truth.related),
        "gap": (min(related) - max(others)) / (max(taus.values()) - min(taus.values())),
        "coin": order.index(truth.random_label) + 1,
        "steps": cost.num_steps,
        "examples": cost.num_examples,
        "seconds": cost.seconds,
    }


def with_null_taus(engine: Engine, taus: dict[str, float]) -> Iterator[tuple[str, float, float]]:
    """(candidate, tau, mean tau with its labels shuffled)."""
    probes, controls = engine.probes.of_tasks(), engine.probes.controls()
    primary, *candidates = probes
    for place, task in enumerate(candidates):
        nulls = [
            rank_candidates(
                primary,
                {primary: probes[primary], task: [control]},
                correlation=kendall,
                bootstrap=100,
                confidence=0.95,
                seed=0,
            )
            for control in controls[place :: len(candidates)]
        ]
        yield task, taus[task], float(np.mean([null.candidates[0].tau for null in nulls]))


def summary(name: str, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """One line of the table."""
    gaps = [row["gap"] for row in rows]
    return (
        name,
        f"{sum(row['found'] for row in rows)} of {len(rows)}",
        f"{np.mean(gaps):+.2f} ({min(gaps):+.2f})",
        f"{np.mean([row['coin'] for row in rows]):.1f}",
        f"{np.mean([row['steps'] for row in rows]):.0f}",
        f"{np.mean([row['examples'] for row in rows]):.0f}",
        f"{np.mean([row['seconds'] for row in rows]):.0f}",
    )


if __name__ == "__main__":
    main()
