"""Selection on a bed of small primaries: does it help, and does it know how sure it is?

    python benchmarks/low_resource.py lengths --data FOLDER     # alone, by steps and learning rate
    python benchmarks/low_resource.py train --data FOLDER       # what every candidate is worth
    python benchmarks/low_resource.py report                    # of the committed records

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
import numpy as np
from provenance import markdown_table, provenance, write_results
from rich.console import Console

from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.trainings import TrialRequest
from gradts_plugin.gains.gain import dev_and_test_gain, gain_of
from gradts_plugin.json_forms import to_json
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.records import Trial
from gradts_plugin.scores import Gain, mean_score, shown_score

CONSOLE = Console(stderr=True)


def main() -> None:
    """Does one part of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, help="not needed for a report")
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


# --- report ---------------------------------------------------------------------------------------


SUMMARY = (
    *("primary", "rows", "alone", "best single", "its test gain", "P(helps)"),
    *("gain of shuffled", "reliability"),
)


def report(arguments: argparse.Namespace) -> None:
    """Writes what committed records say of the bed."""
    found = {name: bed.trials_of(name) for name in arguments.primaries}
    complete = {
        name: trials
        for name, trials in found.items()
        if {((), False), ((), True), *(((one,), False) for one in bed.candidates_of(name))}
        <= trials.keys()
    }
    sections = {name: primary_report(name, trials) for name, trials in complete.items()}
    summary = markdown_table(
        SUMMARY,
        [section["summary"] for section in sections.values()],
    )
    text = [
        "# Small primaries, and what candidates add to them",
        "Dev chooses, test reports; equal exposure (the primary's own "
        f"{bed.TRAINING['max_steps']} steps, and as many of the auxiliary); gains over the better "
        "of the primary alone at both lengths, with 95 % intervals over seeds and instances. "
        "Reliability: correlation of the candidates' gains between seeds.",
        summary,
    ]
    for name, section in sections.items():
        text += [f"## {name}", section["text"]]
    write_results(
        Path(__file__).parent / "results",
        "low_resource",
        source=provenance(),
        results={name: section["results"] for name, section in sections.items()},
        text="\n\n".join(text),
    )


def primary_report(primary: str, trials: dict[bed.Set, Trial]) -> dict[str, Any]:
    """A primary's tables."""
    alone = bed.alone_of(trials)
    singles = {
        name: (trial, *dev_and_test_gain(trial, alone, list(trials.values())))
        for name in bed.candidates_of(primary)
        if (trial := trials.get(((name,), False))) is not None
    }
    ordered = sorted(singles, key=lambda name: -(singles[name][1].gain or 0.0))
    best = ordered[0]
    reliability = seed_reliability([singles[name][0] for name in ordered], alone)
    rows = [
        (
            name,
            *(shown_score(score, ".3f") for score in (trial.score, mean_score(trial.test_scores))),
            *(cell for gain in (dev, test) for cell in gain_cells(gain)),
        )
        for name, (trial, dev, test) in ((name, singles[name]) for name in ordered)
    ]
    shuffled = bed.candidates_of(primary)[-1]
    lengths_alone = ", ".join(
        f"{shown_score(trials[(), longer].score, '.3f')} dev and "
        f"{shown_score(mean_score(trials[(), longer].test_scores), '.3f')} test after "
        f"{bed.TRAINING['max_steps'] * (1 + longer)} steps"
        for longer in (False, True)
    )
    test_gain = singles[best][2]
    return {
        "summary": (
            primary,
            bed.BED[primary].rows,
            shown_score(alone.score, ".3f"),
            best,
            *(gain_cells(test_gain) if test_gain else ("", "")),
            shown_score(singles[shuffled][1].gain, "+.3f"),
            "" if reliability is None else f"{reliability:+.2f}",
        ),
        "text": f"Alone: {lengths_alone}; {len(alone.scores)} seeds.\n\n"
        + markdown_table(
            ["with", "dev", "test", "dev gain", "P(helps)", "test gain", "P(helps)"], rows
        ),
        "results": {
            "alone": {
                str(bed.TRAINING["max_steps"] * (1 + longer)): {
                    "dev": trials[(), longer].scores,
                    "test": trials[(), longer].test_scores,
                }
                for longer in (False, True)
            },
            "singles": {
                name: {
                    "dev": trial.scores,
                    "test": trial.test_scores,
                    "dev_gain": to_json(dev),
                    "test_gain": to_json(test),
                }
                for name, (trial, dev, test) in singles.items()
            },
            "reliability": reliability,
        },
    }


def gain_cells(gain: Gain | None) -> tuple[str, str]:
    """A gain with its interval, and P(helps)."""
    if gain is None:
        return "", ""
    return f"{shown_score(gain.gain, '+.3f')} {gain.shown_interval}", gain.shown_p_helps


def seed_reliability(singles: list[Trial], alone: Trial) -> float | None:
    """Mean correlation of the candidates' dev scores between seeds; what seeds share drops out."""
    number = min(len(trial.scores) for trial in (*singles, alone))
    columns = np.array([trial.scores[:number] for trial in singles], dtype=float).T
    if number < 2 or not np.isfinite(columns).all():
        return None
    pairs = itertools.combinations(columns, 2)
    return float(np.mean([np.corrcoef(one, other)[0, 1] for one, other in pairs]))


PARTS = {"lengths": lengths, "train": train, "report": report}

if __name__ == "__main__":
    main()
