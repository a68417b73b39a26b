"""What the plugin costs jiant's steps, switched off and on, and what trimming gives.

    python benchmarks/host_speed.py --data FOLDER

FOLDER holds one folder per task with the splits of the shipped task configs. jiant's own run script
trains each task alone, in short runs that take turns: as it is (with what lets it be imported at
all); through `gradts-select run` with `enabled: false`; through it with the plugin on and batches
left as long as jiant pads them; and with the defaults, which trim. A step's cost is the CPU time
that the process took for it, so that what else the machine does hardly matters.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from provenance import markdown_table, provenance, write_results

from gradts_plugin.demo.run import run_file_values
from gradts_plugin.hosts.jiant import runs
from gradts_plugin.hosts.jiant.lookup import module_named
from gradts_plugin.hosts.jiant.opening import attach_tasks
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.settings.selection import GradTSSettings

GLUE = ("cola", "sst2", "mrpc", "qqp", "mnli", "qnli", "rte", "wnli")
MAX_LENGTH = 128

#: Name -> how a run is started.
CONTENDERS = ("jiant", "switched off", "on, untrimmed", "on")


def main() -> None:
    parser = argparse.ArgumentParser(description="What the plugin costs, and what trimming gives.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the shipped tasks")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results", help="folder"
    )
    parser.add_argument("--steps", type=int, default=5, help="of each run; the first is left out")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each kind and task")
    parser.add_argument("--tasks", nargs="+", default=GLUE, help="on which trimming is measured")
    parser.add_argument("--off-task", default="mrpc", help="on which switched off is measured")
    parser.add_argument("--off-rounds", type=int, default=6, help="runs of each kind for that")
    parser.add_argument("--batch_size", type=int, default=32)
    arguments = parser.parse_args()
    size = arguments.batch_size
    source = provenance()
    with tempfile.TemporaryDirectory() as folder:
        tasks = tuple(dict.fromkeys([*arguments.tasks, arguments.off_task]))
        setup = Setup(Path(folder), arguments.data, tasks, arguments.steps, size)
        off = setup.seconds(arguments.off_task, CONTENDERS[:2], arguments.off_rounds)
        trimming = {
            task: setup.seconds(task, ("jiant", *CONTENDERS[2:]), arguments.rounds)
            for task in arguments.tasks
        }
    results = {"batch_size": size, "max_length": MAX_LENGTH, "steps": arguments.steps}
    results |= {"off_task": arguments.off_task, "off": off, "trimming": trimming}
    text = as_text(results)
    print(text)
    name = "host_speed" if size == 32 else f"host_speed_{size}"
    write_results(arguments.output, name, source=source, results=results, text=text)


class Setup:
    """Prepared tasks, and runs of jiant's run script on them."""

    def __init__(
        self, folder: Path, data: Path, tasks: Sequence[str], num_steps: int, batch_size: int
    ) -> None:
        self._folder = folder
        self._num_steps = num_steps
        encoder = run_file_values(folder / "demo")["model"]["name_or_path"]
        values = {
            "model": {"name_or_path": encoder, "max_seq_length": MAX_LENGTH},
            "tasks": tasks,
            "primary_task": tasks[0],
            "data_dir": str(data),
            "output_dir": str(folder / "out"),
            "max_train_examples": batch_size * num_steps,
            "training": {"max_steps": num_steps, "batch_size": batch_size},
        }
        manager = make_plugin_manager(entry_points=False)
        attach_tasks(manager.hook)
        with open_run_file(parse_settings(RunFile, values, where="benchmark"), manager):
            pass
        self._config = json.loads((folder / "out" / "container_config.json").read_text())
        self._weights = folder / "out" / "encoder" / "model" / "model.p"
        self._encoder = encoder

    def seconds(
        self, task: str, contenders: Sequence[str], rounds: int
    ) -> dict[str, list[list[float]]]:
        """Contender -> round -> CPU seconds of each step but the first; they take turns."""
        found: dict[str, list[list[float]]] = {name: [] for name in contenders}
        for number in range(rounds):
            order = contenders if number % 2 == 0 else contenders[::-1]
            for name in order:
                with step_times() as seconds, contextlib.redirect_stdout(io.StringIO()):
                    self._run(task, name)
                found[name].append(seconds[1:])
        return found

    def _run(self, task: str, contender: str) -> None:
        path = self._folder / "container.json"
        path.write_text(json.dumps(self._alone(task, enabled=contender.startswith("on"))))
        given = [
            *("--jiant_task_container_config_path", str(path)),
            *("--output_dir", str(self._folder / "jiant"), "--force_overwrite"),
            *("--hf_pretrained_model_name_or_path", self._encoder),
            *("--model_path", str(self._weights), "--seed", "0", "--do_train", "--no_cuda"),
            *("--model_config_path", str(self._weights.with_name("config.json"))),
        ]
        if contender == "jiant":
            runs.runscript.run_loop(runs.parse_run_arguments(given))
        elif contender == "switched off":
            from gradts_plugin.commands.main import run

            if run(["run", *given]) != 0:
                raise RuntimeError("the command failed")
        else:
            settings = GradTSSettings(primary_task=task, trim_batches=contender == "on")
            configuration = runs.parse_run_arguments(given)
            runs.run_mended(
                "run",
                configuration,
                container_config_path=path,
                settings=settings,
                observe=lambda _: None,
            )

    def _alone(self, task: str, *, enabled: bool) -> dict[str, Any]:
        config = {key: value for key, value in self._config.items() if key != "gradts"}
        lists = {key: [task] * (key == "train_task_list") for key in config["task_run_config"]}
        steps = {**config["global_train_config"], "max_steps": self._num_steps}
        flag = {} if enabled else {"gradts": {"enabled": False}}
        return {**config, "task_run_config": lists, "global_train_config": steps, **flag}


@contextlib.contextmanager
def step_times() -> Iterator[list[float]]:
    """CPU seconds of each optimiser step that jiant takes."""
    seconds: list[float] = []
    runner = module_named("jiant.proj.main.runner").JiantRunner
    original: Callable[..., None] = runner.run_train_step

    def timed(*arguments: Any, **keywords: Any) -> None:
        start = time.process_time()
        original(*arguments, **keywords)
        seconds.append(time.process_time() - start)

    runner.run_train_step = timed
    try:
        yield seconds
    finally:
        runner.run_train_step = original


def as_text(results: Mapping[str, Any]) -> str:
    off = {
        name: [step for steps in found for step in steps] for name, found in results["off"].items()
    }
    ratios = [a / b for a, b in zip(off["switched off"], off["jiant"], strict=True)]
    rows = []
    for task, found in results["trimming"].items():
        medians = {
            name: statistics.median(step for steps in seconds for step in steps)
            for name, seconds in found.items()
        }
        rows.append((task, medians["jiant"], medians["on, untrimmed"], medians["on"]))
    totals = [sum(row[column] for row in rows) for column in (1, 2, 3)]
    rows.append(("all", *totals))
    return "\n\n".join(
        [
            "# What the plugin costs jiant's steps",
            "CPU seconds of an optimiser step of jiant's own run script (batches of "
            f"{results['batch_size']}, {results['max_length']} tokens at most, the demo's "
            "encoder), medians of runs that take turns.",
            f"Switched off, on {results['off_task']}: the same step takes "
            f"{100 * (statistics.median(ratios) - 1):+.2f} % (median of {len(ratios)} pairs of the "
            "same step of the same run, one with `enabled: false`, one without the plugin's "
            "command; wanted: at most 1 %; half of all pairs are within "
            f"{100 * (statistics.quantiles(ratios)[0] - 1):+.1f} and "
            f"{100 * (statistics.quantiles(ratios)[2] - 1):+.1f} %).",
            "Trimming; wanted: at least 2 times over GLUE-length text.",
            markdown_table(
                ("task", "jiant", "on, untrimmed", "on", "untrimmed / jiant", "jiant / on"),
                [
                    (
                        task,
                        *(f"{value:.3f}" for value in (jiant, untrimmed, trimmed)),
                        f"{untrimmed / jiant:.3f}",
                        f"{jiant / trimmed:.2f}",
                    )
                    for task, jiant, untrimmed, trimmed in rows
                ],
            ),
        ]
    )


if __name__ == "__main__":
    main()
