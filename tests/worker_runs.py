"""Runs on the fake host with workers of each kind, and a host that notes who worked."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from fake_runs import TASKS, fake_file

from gradts_plugin import run
from gradts_plugin.errors import TrainingError
from gradts_plugin.json_forms import to_json
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_opening import FakeHostPlugin
from gradts_plugin.workers.making import executor_of

DESIGNED = {"name": "designed", "budget": 12}


@dataclass
class WorkersHost(FakeHost):
    """Says in a folder which process trained, and dies there, fails or waits if it is asked to.

    Attributes:
        folder: where it says so.
        dies: so many workers die in a training.
        fails: in the training with so many auxiliaries; None: in none.
        waits: seconds that a training with as many auxiliaries takes.
    """

    folder: Path = Path()
    dies: int = 0
    fails: int | None = None
    waits: tuple[float, ...] = ()
    owner: int = field(default_factory=os.getpid)

    def train(self, plan, output_dir, schedule=None):
        beside = "-".join(plan.train_tasks[1:]) or "alone"
        (self.folder / f"{os.getpid()}-{beside}-{plan.seed}-{plan.recipe.max_steps}").touch()
        if os.getpid() != self.owner and len(list(self.folder.glob("died-*"))) < self.dies:
            (self.folder / f"died-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        number = len(plan.train_tasks) - 1
        time.sleep(self.waits[number] if number < len(self.waits) else 0)
        if self.fails == number:
            sys.stdout.write("what jiant says before it fails\n")
            raise TrainingError(f"the loss of {beside} is NaN in step 3")
        return super().train(plan, output_dir, schedule)


def made_by(folder):
    """Process -> how many trainings it made."""
    numbers = [path.name.split("-")[0] for path in folder.glob("[0-9]*")]
    return {int(number): numbers.count(number) for number in numbers}


def run_file_of(folder, executor=None, **values):
    """A run file on the fake host."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"primary_task": "goal", "method": DESIGNED, "training": {"max_steps": 4}, **values}
    if executor:
        given["executor"] = executor
    return parse_settings(RunFile, {**fake_file(folder), **given}, where="test")


def ran(folder, executor=None, *, host=None, plugins=(), **values):
    """A run, with workers or in this process."""
    run_file = run_file_of(folder, executor, **values)
    plugin = FakeHostPlugin(host or FakeHost(TASKS))
    manager = make_plugin_manager([plugin, *plugins], entry_points=False)
    with open_run_file(run_file, manager, executor=executor_of(run_file, [plugin])) as engine:
        return run.run(engine)


def without_times(outcome):
    """What a run came to, without times and folders."""
    found = to_json(outcome)
    for key in ("seconds", "cost", "config_path", "weights", "earlier_weights"):
        del found[key]
    for trial in (*found["selection"]["trials"], found["selected"], found["alone"]):
        del trial["seconds"], trial["output_dirs"]
    return found
