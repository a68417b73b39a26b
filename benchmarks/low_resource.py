"""Selection on a bed of small primaries: does it help, and does it know how sure it is?

    python benchmarks/low_resource.py lengths --data FOLDER     # alone, by steps and learning rate
    python benchmarks/low_resource.py train --data FOLDER       # what every candidate is worth
    python benchmarks/low_resource.py rank --data FOLDER        # what rankings foretell of it
    python benchmarks/low_resource.py select --data FOLDER      # what methods select
    python benchmarks/low_resource.py report                    # of the committed records

FOLDER holds TASK/train.jsonl, val.jsonl and, for some, test.jsonl (see `bed.py`). Trainings are
found where their records are committed; killed, it goes on where it stopped, on any machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import bed
import bed_budget
import bed_methods
import bed_replay
import numpy as np
from provenance import markdown_table, provenance, write_results
from rich.console import Console
from scipy.stats import kendalltau

from gradts_plugin import run
from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.gains.gain import dev_and_test_gain, gain_of
from gradts_plugin.json_forms import to_json
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.records import Trial
from gradts_plugin.scores import Gain, mean_score, shown_score
from gradts_plugin.stores.files import write_json_atomic

CONSOLE = Console(stderr=True)

RESULTS = Path(__file__).parent / "results"

#: Instances of a task that a ranking looks at.
PROBED = 160


def main() -> None:
    """Does one part of the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, help="not needed for a report")
    parser.add_argument("--primaries", nargs="*", choices=bed.BED, default=list(bed.BED))
    parser.add_argument("--seeds", type=int, default=3, help="that score subsets")
    parser.add_argument("--rankings", nargs="*", choices=RANKINGS, default=list(RANKINGS))
    parser.add_argument(
        "--methods", nargs="*", choices=bed_methods.METHODS, default=list(bed_methods.METHODS)
    )
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
        # What was prepared for a run on this bed serves the others.
        prepared = bed.output_dir(arguments.work.absolute(), primary)
        there = prepared if prepared.is_dir() and prepared != run_file.output_dir else None
        plugins = make_plugin_manager([bed_methods.RecordedRankings()])
        with open_run_file(run_file, plugins, prepared_in=there) as engine:
            yield engine
    finally:
        bed.keep(run_file.store, primary)


def scored(engine: Engine, primary: str, request: TrialRequest) -> Trial:
    """A trial whose trainings are written down as soon as they end, and whose weights are not."""
    trial = engine.trainings.score(request)
    engine.trainings.weights.remove_all()
    bed.keep(engine.session.stores.root, primary)
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
            training = {**bed.training_of(primary), "max_steps": steps, "learning_rate": rate}
            folder = arguments.work.absolute() / "lengths" / f"{primary}-{number}"
            with opened(arguments, primary, training=training, output_dir=folder) as engine:
                seeds = engine.trainings.trial_seeds(arguments.seeds)
                trial = scored(engine, primary, TrialRequest((), seeds, longer=False))
                scores = ", ".join(shown_score(score) for score in trial.scores)
                say(f"{primary}: {steps} steps at {rate:g}: dev {scores}; {trial.seconds:.0f} s")


# --- what every candidate is worth ----------------------------------------------------------------


def train(arguments: argparse.Namespace) -> None:
    """Scores each primary alone and with every single candidate, a seed of all at a time."""
    for number in range(1, arguments.seeds + 1):
        for primary in arguments.primaries:
            with opened(arguments, primary) as engine:
                seeds = engine.trainings.trial_seeds(number)
                alone = scored(engine, primary, TrialRequest((), seeds))
                say(f"{primary}: alone {shown_score(alone.score)} (longer: {alone.longer})")
                for candidate in bed.candidates_of(primary):
                    trial = scored(engine, primary, TrialRequest((candidate,), seeds))
                    gain = gain_of(trial, alone)
                    say(f"{primary} with {candidate}: {gain.shown}; {trial.seconds:.0f} s")


# --- what rankings foretell -----------------------------------------------------------------------

#: Name -> what its run changes. Each ranks from what it sees of 160 instances of a task.
RANKINGS: dict[str, dict[str, Any]] = {
    "heads": {},
    "heads, common removed": {"ranking": {"common": "remove"}},
    **{
        name: {"ranking": {"ranker": {"name": name, "max_instances": PROBED}}}
        for name in ("embedding", "matching", "transfer", "task-vectors", "logme", "gradients")
    },
    "size": {"ranking": {"ranker": "size"}},
}

#: Of a task alone, for rankings that need it.
FINE_TUNING = {**bed.TRAINING, "max_steps": 60, "exposure": "total"}


def rank(arguments: argparse.Namespace) -> None:
    """Ranks each primary's candidates; what is ranked already is not ranked again."""
    for primary in arguments.primaries:
        path = bed.rankings_path(primary)
        found = json.loads(path.read_text()) if path.exists() else {}
        for number, (name, changes) in enumerate(RANKINGS.items()):
            if name in found or name not in arguments.rankings:
                continue
            probing = {"model": "frozen", "max_instances": PROBED}
            folder = arguments.work.absolute() / "rankings" / f"{primary}-{number}"
            values = {
                "probing": probing,
                "fine_tuning": FINE_TUNING,
                "output_dir": folder,
                **changes,
            }
            with opened(arguments, primary, **values) as engine:
                ranking = run.rank(engine)
            cost = engine.session.accounts.cost
            found[name] = {
                "values": {each.task_name: each.tau for each in ranking.candidates},
                "cost": to_json(cost),
            }
            write_json_atomic(path, found)
            say(f"{primary}, {name}: {', '.join(ranking.task_order)}; {cost.seconds:.0f} s")


def judged(values: dict[str, float], gains: dict[str, float]) -> dict[str, float]:
    """How well a ranking foretells gains.

    Returns:
        `tau` between both; `regret`: what the first-ranked gains less than the best, none of them
        among the choices; `ndcg` of gains above 0.
    """
    names = sorted(gains, key=lambda name: -values[name])
    useful = np.maximum([gains[name] for name in names], 0.0)
    discounts = 1 / np.log2(np.arange(2, len(names) + 2))
    ideal = float(np.sort(useful)[::-1] @ discounts)
    return {
        "tau": kendall_tau([values[name] for name in names], [gains[name] for name in names]),
        "regret": float(useful.max() - gains[names[0]]),
        "ndcg": float(useful @ discounts) / ideal if ideal else float("nan"),
    }


def kendall_tau(values: Sequence[float], others: Sequence[float]) -> float:
    """Kendall's tau-b."""
    return float(kendalltau(values, others).statistic)


# --- what methods select --------------------------------------------------------------------------


def select(arguments: argparse.Namespace) -> None:
    """Lets every method select on each primary, and scores what it selected."""
    for primary in arguments.primaries:
        for name in arguments.methods:
            work = arguments.work.absolute()
            open_bed = partial(opened, arguments, primary)
            for line in bed_methods.select(primary, work, open_bed, arguments.seeds, [name]):
                say(line)


# --- report ---------------------------------------------------------------------------------------


SUMMARY = (
    *("primary", "rows", "steps", "alone", "best single", "its test gain", "P(helps)"),
    *("gain of shuffled", "reliability"),
)


def report(arguments: argparse.Namespace) -> None:
    """Writes what committed records say of the bed."""
    found = {name: bed.trials_of(name) for name in arguments.primaries}
    complete = {
        name: with_equal_seeds(trials, needed)
        for name, trials in found.items()
        if (needed := sets_of(name)) <= trials.keys()
    }
    sections = {name: primary_report(name, trials) for name, trials in complete.items()}
    summary = markdown_table(
        SUMMARY,
        [section["summary"] for section in sections.values()],
    )
    text = [
        "# Small primaries, and what candidates add to them",
        "Dev chooses, test reports; equal exposure (the primary's own steps, and those of the "
        "auxiliary on top); gains over the better of the primary alone at both lengths, with 95 % "
        "intervals over seeds and instances. Reliability: correlation of the candidates' gains "
        "between seeds.",
        summary,
        helped(sections),
        *orders(complete),
    ]
    rankings = rankings_report({name: each["results"] for name, each in sections.items()})
    by_order: dict[str, dict[str, Any]] = {"methods": {}, "budget": {}, "races": {}}
    for order in ("sequential", "mixed"):
        of_order = {name: trials for name, trials in complete.items() if in_order(name, order)}
        methods = bed_methods.report(of_order, order)
        budget = bed_budget.report(of_order, order, RESULTS)
        raced = bed_replay.report(of_order, order, bed_budget.WAYS, RESULTS)
        text += [*budget["text"], *raced["text"], *methods["text"]]
        by_order["methods"][order] = methods["results"]
        by_order["budget"][order] = budget["results"]
        by_order["races"][order] = raced["results"]
    text += rankings["text"]
    for name, section in sections.items():
        text += [f"## {name}", section["text"]]
    write_results(
        RESULTS,
        "low_resource",
        source=provenance(),
        results={
            "primaries": {name: section["results"] for name, section in sections.items()},
            "rankings": rankings["results"],
            **by_order,
        },
        text="\n\n".join(text),
    )


def in_order(primary: str, order: str) -> bool:
    """Whether a primary's trainings go so."""
    return bed.BED[primary].order == order


def helped(sections: dict[str, Any]) -> str:
    """Says which primaries have a candidate that surely helps, and which have none that may."""
    ways: dict[tuple[str, int], dict[str, Any]] = {}
    for name, each in sections.items():
        ways.setdefault((bed.BED[name].order, bed.BED[name].ratio), {})[name] = each
    return "\n\n".join(
        f"{order.capitalize()}, with {ratio} step{'s' * (ratio > 1)} of the auxiliary for each of "
        f"the primary's: {_helped(ways[order, ratio])}"
        for order, ratio in sorted(ways)
    )


def orders(found: dict[str, dict[bed.Set, Trial]]) -> list[str]:
    """What the same candidates gain mixed with the primary, and before it; seeds that both have."""
    rows, differences = [], []
    for name, sequential in found.items():
        other = bed.BED[name].alone
        if other not in found:
            continue
        number = min(len(sequential[(), True].scores), len(found[other][(), True].scores))
        alone = bed.alone_of(found[other])
        base = np.mean(alone.test_scores[:number])
        gains = np.array(
            [
                [
                    np.mean(trials[(candidate,), False].test_scores[:number]) - base
                    for candidate in bed.candidates_of(name)
                ]
                for trials in (found[other], sequential)
            ]
        )
        mixed, after = gains[:, :-1]  # without the shuffled one
        differences += (after - mixed).tolist()
        cells = [mixed.mean(), after.mean(), mixed.max(), after.max(), *gains[:, -1]]
        better = f"{(after > mixed).sum()} of {len(mixed)}"
        rows.append((other, number, *(f"{cell:+.3f}" for cell in cells), better))
    if not rows:
        return []
    mean = float(np.mean(differences))
    error = float(np.std(differences, ddof=1) / np.sqrt(len(differences)))
    header = ("primary", "seeds", "mixed, mean", "sequential, mean", "mixed, best")
    header += ("sequential, best", "mixed, shuffled", "sequential, shuffled", "sequential better")
    return [
        "## Mixed, or auxiliaries first",
        "Test gains of the same candidates with the same steps, mixed with the primary's or before "
        "them, over the same training of the primary alone. Over all real candidates the sequence "
        f"gains {mean:+.3f} more (standard error {error:.3f} over candidates).",
        markdown_table(header, rows),
    ]


def _helped(sections: dict[str, Any]) -> str:
    """Of those with two seeds or more: the error of one seed is that of the instances alone."""
    surely, none = [], []
    judged = {
        name: section
        for name, section in sections.items()
        if len(next(iter(section["results"]["singles"].values()))["dev"]) > 1
    }
    for name, section in judged.items():
        gains = [each["test_gain"] for each in section["results"]["singles"].values()]
        if any(gain["gain"] > 2 * gain["standard_error"] for gain in gains):
            surely.append(name)
        elif all(gain["gain"] < gain["standard_error"] for gain in gains):
            none.append(name)
    return (
        "primaries with two seeds or more, and with a candidate that gains more than two standard "
        f"errors on test rows: {len(surely)} of {len(judged)}{_in_brackets(surely)}; without one "
        "that gains even one: "
        f"{len(none)}{_in_brackets(none)}."
    )


def _in_brackets(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def sets_of(primary: str) -> set[bed.Set]:
    """What `train` trains: the primary alone at both lengths, and with every single candidate."""
    singles: set[bed.Set] = {((one,), False) for one in bed.candidates_of(primary)}
    return singles | {((), False), ((), True)}


def with_equal_seeds(trials: dict[bed.Set, Trial], needed: set[bed.Set]) -> dict[bed.Set, Trial]:
    """Trials with the seeds that all needed ones have; others are left out where they lack some."""
    number = min(len(trials[what].scores) for what in needed)
    return {
        what: replace(
            trial,
            scores=trial.scores[:number],
            test_scores=trial.test_scores[:number],
            predictions=trial.predictions[:number],
        )
        for what, trial in trials.items()
        if len(trial.scores) >= number
    }


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
        f"{bed.steps_of(primary, longer=longer)} steps"
        for longer in (False, True)
    )
    test_gain = singles[best][2]
    return {
        "summary": (
            primary,
            bed.BED[primary].rows,
            f"{bed.steps_of(primary)} + {bed.BED[primary].ratio * bed.steps_of(primary)}",
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
                str(bed.steps_of(primary, longer=longer)): {
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


def rankings_report(primaries: dict[str, Any]) -> dict[str, Any]:
    """How well rankings foretell the test gains of single candidates, beside their ceiling."""
    results: dict[str, dict[str, Any]] = {}
    for primary, found in primaries.items():
        path = bed.rankings_path(primary)
        gains = {name: each["test_gain"]["gain"] for name, each in found["singles"].items()}
        on_dev = {name: each["dev_gain"]["gain"] for name, each in found["singles"].items()}
        ways = (
            {name: each["values"] for name, each in json.loads(path.read_text()).items()}
            if (path.exists())
            else {}
        )
        for name, values in {**ways, "gains on dev": on_dev}.items():
            first = max(gains, key=values.__getitem__)
            results.setdefault(name, {})[primary] = {
                **judged(values, gains),
                "first": first,
                "shuffled_first": first.endswith(bed.SHUFFLED),
            }
    rows = [
        (
            name,
            len(of_primary),
            *(
                f"{np.nanmean([each[what] for each in of_primary.values()]):.3f}"
                for what in ("tau", "regret", "ndcg")
            ),
            sum(each["shuffled_first"] for each in of_primary.values()),
        )
        for name, of_primary in results.items()
    ]
    text = [
        "## Rankings",
        "Against the test gains of single candidates, means over primaries: Kendall's tau, what "
        "the first-ranked candidate gains less than the best one (regret@1), NDCG of gains above "
        "0, and how often a candidate with shuffled labels comes first. `gains on dev` are what "
        "the same trainings gain on dev: no ranking can be expected to do better.",
        markdown_table(["ranking", "primaries", "tau", "regret@1", "NDCG", "shuffled"], rows),
    ]
    return {"text": text, "results": results}


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


PARTS = {"lengths": lengths, "train": train, "rank": rank, "select": select, "report": report}

if __name__ == "__main__":
    main()
