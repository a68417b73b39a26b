"""Selection on a bed of small primaries: does it help, and does it know how sure it is?

    python benchmarks/low_resource.py lengths --data FOLDER     # alone, by steps and learning rate
    python benchmarks/low_resource.py train --data FOLDER       # what every candidate is worth

FOLDER holds TASK/train.jsonl, val.jsonl and, for some, test.jsonl (see `bed.py`). Trainings are
found where their records are committed; killed, it goes on where it stopped, on any machine.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bed
from rich.console import Console

from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.trainings import TrialRequest
from gradts_plugin.gains.gain import gain_of
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.records import Trial
from gradts_plugin.scores import shown_score

CONSOLE = Console(stderr=True)


def main() -> None:
    """Does one part of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--primaries", nargs="*", choices=bed.BED, default=list(bed.BED))
    parser.add_argument("--seeds", type=int, default=3, help="that score subsets")
    parser.add_argument("--work", type=Path, default=Path("runs"))
    arguments = parser.parse_args()
    PARTS[arguments.part](arguments)


@contextmanager
def opened(arguments: argparse.Namespace, primary: str, **changes: Any) -> Iterator[Engine]:
    """A run on a primary's bed; its trainings are found, and kept."""
    run_file = bed.run_file(arguments.data, arguments.work.absolute(), primary, **changes)
    assert run_file.store is not None
    bed.restore(run_file.store, primary)
    try:
        yield open_run_file(run_file, make_plugin_manager())
    finally:
        bed.keep(run_file.store, primary)


def scored(engine: Engine, request: TrialRequest) -> Trial:
    """A trial whose trainings are written down as soon as they end, and whose weights are not."""
    trial = engine.trainings.score(request)
    engine.trainings.weights.remove_all()
    bed.keep(engine.session.stores.root, engine.session.settings.primary_task)
    return trial


def say(text: str) -> None:
    """A line on standard error."""
    CONSOLE.print(text, markup=False, highlight=False, soft_wrap=True)


# --- how long, and at which learning rate ---------------------------------------------------------


def lengths(arguments: argparse.Namespace) -> None:
    """Scores each primary alone, by steps and learning rate."""
    for primary in arguments.primaries:
        ways = itertools.product((100, 200, 400), (5e-5, 1e-4, 2e-4))
        for number, (steps, rate) in enumerate(ways):
            training = {**bed.TRAINING, "max_steps": steps, "learning_rate": rate}
            folder = arguments.work.absolute() / "lengths" / f"{primary}-{number}"
            with opened(arguments, primary, training=training, output_dir=folder) as engine:
                seeds = engine.trainings.trial_seeds(arguments.seeds)
                trial = scored(engine, TrialRequest((), seeds, longer=False))
                scores = ", ".join(shown_score(score) for score in trial.scores)
                say(f"{primary}: {steps} steps at {rate:g}: dev {scores}; {trial.seconds:.0f} s")


# --- what every candidate is worth ----------------------------------------------------------------


def train(arguments: argparse.Namespace) -> None:
    """Scores each primary alone and with every single candidate, a seed of all at a time."""
    for number in range(1, arguments.seeds + 1):
        for primary in arguments.primaries:
            with opened(arguments, primary) as engine:
                seeds = engine.trainings.trial_seeds(number)
                alone = scored(engine, TrialRequest((), seeds))
                say(f"{primary}: alone {shown_score(alone.score)} (longer: {alone.longer})")
                for candidate in bed.candidates_of(primary):
                    trial = scored(engine, TrialRequest((candidate,), seeds))
                    gain = gain_of(trial, alone)
                    say(f"{primary} with {candidate}: {gain.shown}; {trial.seconds:.0f} s")


PARTS = {"lengths": lengths, "train": train}

if __name__ == "__main__":
    main()
