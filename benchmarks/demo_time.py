"""What the demo takes, in CPU seconds by phase, so that what else the machine does hardly matters.

    python benchmarks/demo_time.py

Counted from the start of the process, so that imports are in it, and children, too. `--steps 6`
makes each training a tenth as long; what the demo's own length takes then follows from the cost of
a step, and is said apart.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from provenance import markdown_table, provenance, write_results

from gradts_plugin import run
from gradts_plugin.demo.run import run_file_values
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.records import Outcome, TrainingPlan
from gradts_plugin.report.writing import write_report
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile


class Watching:
    """Notes what each phase took, and each training within."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self.trainings: list[dict[str, Any]] = []
        self._phase_began = self._training_began = self.last_end = 0.0

    @hookimpl
    def before_phase(self) -> None:
        """Notes when it began."""
        self._phase_began = cpu_seconds()

    @hookimpl
    def after_phase(self, phase: str) -> None:
        """Notes what it took."""
        self.phases[phase] = cpu_seconds() - self._phase_began

    @hookimpl
    def before_training(self) -> None:
        """Notes when it began."""
        self._training_began = cpu_seconds()

    @hookimpl
    def after_training(self, plan: TrainingPlan, result: Any) -> None:
        """Notes what it took."""
        seconds = cpu_seconds() - self._training_began
        told = {"tasks": list(plan.train_tasks), "steps": result.num_steps, "seconds": seconds}
        self.trainings.append(told)


def cpu_seconds() -> float:
    """Of this process and its children so far."""
    return sum(os.times()[:4])


def main() -> None:
    parser = argparse.ArgumentParser(description="What the demo takes.")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results", help="folder"
    )
    parser.add_argument("--steps", type=int, default=60, help="of the primary; the demo's: 60")
    arguments = parser.parse_args()
    source = provenance()
    imported = cpu_seconds()
    watching = Watching()
    with tempfile.TemporaryDirectory() as folder:
        values = run_file_values(Path(folder))
        values["training"] = {**values["training"], "max_steps": arguments.steps}
        run_file = parse_settings(RunFile, values, where="demo")
        with open_run_file(run_file, make_plugin_manager([watching])) as engine:
            outcome: Outcome = run.run(engine)
            before = cpu_seconds()
            write_report(engine, outcome)
    phases = watching.phases
    rows = {"start and imports": imported, **phases, "report": cpu_seconds() - before}
    rows["what is between"] = cpu_seconds() - sum(rows.values())
    total = sum(rows.values())
    rows["all"] = total
    times = 60 / arguments.steps
    if times != 1:
        # What a training takes beside its steps is counted with them: the estimate is too high.
        trained = sum(each["seconds"] for each in watching.trainings)
        rows["all, with 60 steps (estimated)"] = total + (times - 1) * trained
    results = {"seconds": rows, "trainings": watching.trainings}
    text = "\n\n".join(
        [
            "# What the demo takes",
            "CPU seconds. Two quiet cores have 480 in four minutes; where all of it is done one "
            "after the other on a single core, it takes as long as it says here.",
            markdown_table(
                ("phase", "CPU seconds"), [(name, f"{value:.1f}") for name, value in rows.items()]
            ),
            "Its trainings:",
            markdown_table(
                ("tasks", "steps", "CPU seconds", "a step"),
                [
                    (
                        ", ".join(each["tasks"]),
                        each["steps"],
                        f"{each['seconds']:.1f}",
                        f"{each['seconds'] / each['steps']:.3f}",
                    )
                    for each in watching.trainings
                ],
            ),
        ]
    )
    print(text)
    write_results(arguments.output, "demo_time", source=source, results=results, text=text)


if __name__ == "__main__":
    main()
