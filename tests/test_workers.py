"""Several processes make what a run needs, and it selects what it would have selected alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_runs import TASKS, compare_file, fake_file

from gradts_plugin import run
from gradts_plugin.comparison.compare import compare, of_all_tasks
from gradts_plugin.errors import HostError, TrainingError
from gradts_plugin.json_forms import to_json
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.testing.fake_host import WEIGHTS_FILE, FakeHost
from gradts_plugin.testing.fake_opening import FakeHostPlugin
from gradts_plugin.workers.making import executor_of
from gradts_plugin.workers.processes import Processes

DESIGNED = {"name": "designed", "budget": 12}


@dataclass
class WorkersHost(FakeHost):
    """Says in a folder which process trained, and dies there or fails if it is asked to."""

    folder: Path = Path()
    dies: int = 0
    fails: bool = False
    owner: int = field(default_factory=os.getpid)

    def train(self, plan, output_dir, schedule=None):
        beside = "-".join(plan.train_tasks[1:]) or "alone"
        (self.folder / f"{os.getpid()}-{beside}-{plan.seed}-{plan.recipe.max_steps}").touch()
        if os.getpid() != self.owner and len(list(self.folder.glob("died-*"))) < self.dies:
            (self.folder / f"died-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fails:
            raise TrainingError("the loss is NaN in step 3")
        return super().train(plan, output_dir, schedule)


def made_by(folder):
    """Process -> how many trainings it made."""
    numbers = [path.name.split("-")[0] for path in folder.glob("[0-9]*")]
    return {int(number): numbers.count(number) for number in numbers}


def ran(folder, *, jobs=None, host=None, **values):
    """A run, with several processes or in this one."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"primary_task": "goal", "method": DESIGNED, "training": {"max_steps": 4}, **values}
    if jobs:
        given["executor"] = {"kind": "processes", "jobs": jobs, "threads": 1}
    run_file = parse_settings(RunFile, {**fake_file(folder), **given}, where="test")
    plugin = FakeHostPlugin(host or FakeHost(TASKS))
    manager = make_plugin_manager([plugin], entry_points=False)
    executor = executor_of(run_file, [plugin])
    with open_run_file(run_file, manager, executor=executor) as engine:
        return run.run(engine)


def without_times(outcome):
    """What a run came to, without times and folders."""
    found = to_json(outcome)
    for key in ("seconds", "cost", "config_path", "weights", "earlier_weights"):
        del found[key]
    for trial in (*found["selection"]["trials"], found["selected"], found["alone"]):
        del trial["seconds"], trial["output_dirs"]
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return ran(tmp_path_factory.mktemp("alone"), training_seeds=2)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The same run with two workers; what it came to, and its folder."""
    folder = tmp_path_factory.mktemp("shared")
    host = WorkersHost(TASKS, folder=folder)
    return ran(folder / "run", jobs=2, host=host, training_seeds=2), folder


def test_the_same_is_selected_bit_by_bit(shared, alone):
    assert without_times(shared[0]) == without_times(alone)


def test_workers_make_what_can_be_made_apart(shared):
    outcome, folder = shared
    by = made_by(folder)
    assert outcome.done.training_runs == sum(by.values())
    assert sum(number for process, number in by.items() if process != os.getpid()) > 8
    assert len(by.keys() - {os.getpid()}) == 2  # the same two processes all the time


def test_no_weights_are_left_but_those_delivered(shared):
    outcome, folder = shared
    left = {path.parent for path in (folder / "run").rglob(WEIGHTS_FILE)}
    assert left == {path.parent for path in outcome.weights}
    assert len(left) == 2


def test_what_workers_made_is_found(shared, alone):
    _, folder = shared
    before = made_by(folder)
    again = ran(folder / "run", training_seeds=2)
    assert made_by(folder) == before
    assert again.done.training_runs == 0
    assert again.selection.auxiliary_tasks == alone.selection.auxiliary_tasks


def test_a_worker_that_dies_costs_its_job(tmp_path, alone):
    host = WorkersHost(TASKS, folder=tmp_path, dies=1)
    found = ran(tmp_path / "run", jobs=2, host=host, training_seeds=2)
    assert without_times(found) == without_times(alone)
    assert len(list(tmp_path.glob("died-*"))) == 1


def test_workers_that_die_again_and_again_end_the_run(tmp_path):
    host = WorkersHost(TASKS, folder=tmp_path, dies=100)
    with pytest.raises(HostError, match="workers died 3 times over the training of goal"):
        ran(tmp_path / "run", jobs=2, host=host)


def test_a_job_that_fails_for_its_own_reason_says_so(tmp_path):
    host = WorkersHost(TASKS, folder=tmp_path, fails=True)
    with pytest.raises(TrainingError, match="the loss is NaN in step 3"):
        ran(tmp_path / "run", jobs=2, host=host)


def test_a_comparison_goes_through_workers(tmp_path):
    methods = {"all": {"method": "all"}, "alone": {"method": "alone"}}
    given = {"primaries": ["goal"], "methods": methods, "evaluation_seeds": 2}
    expected = compare(
        compare_file(tmp_path / "one", **given),
        make_plugin_manager([FakeHostPlugin(FakeHost(TASKS))], entry_points=False),
    )
    plugin = FakeHostPlugin(WorkersHost(TASKS, folder=tmp_path))
    executor = {"kind": "processes", "jobs": 2, "threads": 1}
    file = compare_file(tmp_path / "other", **given, executor=executor)
    found = compare(
        file,
        make_plugin_manager([plugin], entry_points=False),
        executor=executor_of(of_all_tasks(file), [plugin]),
    )
    assert [trial.scores for trial in found.primaries["goal"].subsets] == [
        trial.scores for trial in expected.primaries["goal"].subsets
    ]
    assert os.getpid() not in made_by(tmp_path)


COORDINATOR = """
import multiprocessing, time
from gradts_plugin.workers.processes import end_with_parent

def wait():
    end_with_parent()
    time.sleep(600)

if __name__ == "__main__":
    worker = multiprocessing.get_context("spawn").Process(target=wait)
    worker.start()
    print(worker.pid, flush=True)
    worker.join()
"""


def test_workers_end_with_a_coordinator_that_was_killed(tmp_path):
    script = tmp_path / "coordinator.py"
    script.write_text(COORDINATOR)
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as coordinator:
        worker = int(coordinator.stdout.readline())
        coordinator.kill()
    for _ in range(600):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return  # nobody asks for its code here
        time.sleep(0.1)
    raise AssertionError("the worker is still there")


def test_without_workers_there_is_no_executor(tmp_path):
    values = {**fake_file(tmp_path), "primary_task": "goal"}
    assert executor_of(parse_settings(RunFile, values, where="x")) is None
    several = {**values, "executor": {"kind": "processes", "jobs": 3}}
    found = executor_of(parse_settings(RunFile, several, where="x"))
    assert isinstance(found.crew, Processes)
    assert found.num_workers == 3
    one = {**values, "executor": {"kind": "processes", "jobs": 1}}
    assert executor_of(parse_settings(RunFile, one, where="x")) is None
