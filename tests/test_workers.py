"""Workers that are processes: who makes what, and how they begin and end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_runs import TASKS, fake_file
from worker_runs import WorkersHost, made_by, ran

from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.workers.making import executor_of
from gradts_plugin.workers.processes import Processes

TWO = {"kind": "processes", "jobs": 2, "threads": 1}


def test_the_same_two_processes_make_everything_and_it_is_found(tmp_path):
    host = WorkersHost(TASKS, folder=tmp_path)
    outcome = ran(tmp_path / "run", TWO, host=host, training_seeds=2)
    before = made_by(tmp_path)
    assert len(before) == 2
    again = ran(tmp_path / "run", training_seeds=2)
    assert made_by(tmp_path) == before
    assert again.done.training_runs == 0
    assert again.selection.auxiliary_tasks == outcome.selection.auxiliary_tasks


def is_gone(worker):
    """Whether a process ends within a minute."""
    for _ in range(600):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True  # nobody asks for its code here
        time.sleep(0.1)
    return False


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
    assert is_gone(worker)


INTERRUPTED = """
import sys
from pathlib import Path
from fake_runs import TASKS
from worker_runs import WorkersHost, ran

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    host = WorkersHost(TASKS, folder=folder, waits=(60.0,) * 5)
    try:
        ran(folder / "run", {"kind": "processes", "jobs": 2}, host=host)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("times", [1, 2])
def test_interrupts_end_a_run_and_its_workers(tmp_path, times):
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    here = Path(__file__).parent
    paths = {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env={**os.environ, **paths}
    ) as coordinator:
        while len(made_by(tmp_path)) < 2:
            assert coordinator.poll() is None
            time.sleep(0.1)
        for _ in range(times):
            coordinator.send_signal(signal.SIGINT)
        assert coordinator.wait() in (130, -signal.SIGINT)
    for worker in made_by(tmp_path):
        assert is_gone(worker)


LEAVING = """
import sys
from pathlib import Path
from fake_runs import TASKS
from tqdm import tqdm
from worker_runs import WorkersHost, ran

class BarsHost(WorkersHost):
    def train(self, plan, output_dir, schedule=None):
        for _ in tqdm([1], disable=True):
            return super().train(plan, output_dir, schedule)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    ran(folder / "run", {"kind": "processes", "jobs": 2}, host=BarsHost(TASKS, folder=folder))
"""


def test_workers_with_progress_bars_leave_nothing_that_python_complains_of(tmp_path):
    script = tmp_path / "leaving.py"
    script.write_text(LEAVING)
    here = Path(__file__).parent
    paths = {"PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert made_by(tmp_path)
    assert done.stderr == ""


def test_without_workers_there_is_no_executor(tmp_path):
    values = {**fake_file(tmp_path), "primary_task": "goal"}
    assert executor_of(parse_settings(RunFile, values, where="x")) is None
    several = {**values, "executor": {"kind": "processes", "jobs": 3}}
    found = executor_of(parse_settings(RunFile, several, where="x"))
    assert isinstance(found.crew, Processes)
    assert found.num_workers == 3
    one = {**values, "executor": {"kind": "processes", "jobs": 1}}
    assert executor_of(parse_settings(RunFile, one, where="x")) is None
