"""What a second question costs: a candidate more, another primary, the same run again.

    python benchmarks/reuse.py --data FOLDER [--work runs]

Each method has a store of its own and answers four questions, one after the other: which of rte,
cola, stsb and qqp help mrpc; the same again; the same with mnli among the candidates; and which of
the others help rte. An answer's price is what was computed for it and not found stored. Killed, it
goes on where it stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from compare import METHODS, TRAINING, compare_values, methods_of
from provenance import markdown_table, provenance, write_results
from rich.console import Console

from gradts_plugin.comparison.methods import settings_of
from gradts_plugin.engine.session import Session
from gradts_plugin.opening import open_run_file, open_session
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.records import Cost
from gradts_plugin.run import choose
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.terminal.progress import ProgressPlugin

#: A question: what it is called, the primary, the candidates.
QUESTIONS = (
    ("first answer", "mrpc", ("rte", "cola", "stsb", "qqp")),
    ("the same again", "mrpc", ("rte", "cola", "stsb", "qqp")),
    ("a candidate more", "mrpc", ("rte", "cola", "stsb", "qqp", "mnli")),
    ("another primary", "rte", ("mrpc", "cola", "stsb", "qqp", "mnli")),
)

COMPARED = tuple(
    name
    for name in METHODS
    if name not in ("alone", "all", "random 2", "largest 2")
    and not name.endswith(("256 instances", "patience 1", "not confirmed"))
)

STEPS = 60


def main() -> None:
    """Asks every method every question and writes what that took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=COMPARED)
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    work = arguments.work.absolute() / "reuse"
    training = {**TRAINING, "max_steps": STEPS}
    compare_file = parse_settings(
        CompareFile,
        {
            **compare_values(arguments.data, work),
            "output_dir": work / "prepared",
            "methods": methods_of(arguments.methods, STEPS),
            "primaries": ("mrpc", "rte"),
            "training": training,
            "fine_tuning": training,
        },
        where="benchmark",
    )
    manager = make_plugin_manager([ProgressPlugin(Console(stderr=True), quiet=True)])
    first = compare_file.model_copy(update={"primary_task": "mrpc"})
    prepared = open_run_file(first, manager).session
    results = {}
    for name in arguments.methods:
        results[name] = prices(prepared, compare_file, name, work / name.replace(", ", "-"))
        Console(stderr=True).print(name, results[name], markup=False)
    text = "\n\n".join(
        [
            "# What a second question costs",
            f"Optimiser steps / examples through the encoder / seconds that were computed and not "
            f"found stored. A training has {STEPS} steps of {TRAINING['batch_size']} rows; each "
            "method has a store of its own.",
            markdown_table(
                ["method", *(question for question, _, _ in QUESTIONS)],
                [(name, *map(_cell, found.values())) for name, found in results.items()],
            ),
        ]
    )
    write_results(arguments.output, "reuse", source=source, results=results, text=text)


def prices(
    prepared: Session, compare_file: CompareFile, name: str, folder: Path
) -> dict[str, dict[str, Any]]:
    """Question -> what was computed for it, by one method with a store of its own."""
    known: set[str] = set()
    found = {}
    for question, primary, candidates in QUESTIONS:
        settings = settings_of(
            compare_file.model_copy(update={"candidate_tasks": candidates}), primary, name
        )
        engine = open_session(
            prepared.host,
            settings.model_copy(update={"store": folder / "store"}),
            prepared.manager,
            output_dir=folder / f"{primary}-{len(candidates)}",
        )
        outcome = choose(engine)
        costs = engine.session.accounts.costs
        new = {digest: cost for digest, cost in costs.items() if digest not in known}
        known |= set(new)
        found[question] = {
            **asdict(sum(new.values(), Cost())),
            "selected": list(outcome.selection.auxiliary_tasks),
        }
    return found


def _cell(price: dict[str, Any]) -> str:
    if not price["num_steps"] and not price["num_examples"]:
        return "0"
    return f"{price['num_steps']} / {price['num_examples']} / {price['seconds']:.0f} s"


if __name__ == "__main__":
    main()
