"""The script of the SLURM page, run by stand-ins for the queue and `srun`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from fake_runs import fake_file

PAGE = Path(__file__).resolve().parents[1] / "docs" / "slurm.md"

#: A `gradts-select` that knows the fake host, whose trainings take their time and leave a trace.
PROGRAM = """#!{python}
import os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from fake_runs import TASKS
from gradts_plugin import plugins
from gradts_plugin.commands.main import main
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_opening import FakeHostPlugin

class SlowHost(FakeHost):
    def train(self, plan, output_dir, schedule=None):
        what = "-".join([*sorted(plan.train_tasks), str(plan.seed)])
        Path("made", what + "." + os.environ["SLURM_ARRAY_TASK_ID"]).touch()
        time.sleep(0.3)
        return super().train(plan, output_dir, schedule)

make = plugins.make_plugin_manager
plugins.make_plugin_manager = lambda given=(), **options: make(
    [FakeHostPlugin(SlowHost(TASKS)), *given], entry_points=False
)
main()
"""


class Queue:
    """What `sbatch` does with an array: each member runs the script with its own number."""

    def __init__(self, script, folder):
        self.options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", script, re.MULTILINE))
        self._folder = folder
        (folder / "gradts.sh").write_text(script)

    @property
    def members(self):
        first, last = self.options["array"].split("-")
        return range(int(first), int(last) + 1)

    def start(self, member):
        cpus = self.options["cpus-per-task"]
        environment = {
            **os.environ,
            "PATH": f"{self._folder / 'bin'}:{os.environ['PATH']}",
            "SLURM_ARRAY_TASK_ID": str(member),
            "SLURM_CPUS_PER_TASK": cpus,
        }
        return subprocess.Popen(
            ["bash", "gradts.sh"],
            cwd=self._folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def folder(tmp_path):
    programs = {
        "srun": '#!/bin/bash\n[ -n "$SLURM_ARRAY_TASK_ID" ] && exec "$@"\n',
        "gradts-select": PROGRAM.format(python=sys.executable, tests=str(Path(__file__).parent)),
    }
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "made").mkdir()
    values = fake_file(tmp_path, primary_task="goal", method={"name": "designed", "budget": 12})
    values["output_dir"] = "out"  # the script says where
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    return tmp_path


def test_an_array_of_commands_shares_the_work_though_one_is_killed(folder):
    script, *_ = re.findall(r"```bash\n(#!.*?)```", PAGE.read_text(), re.DOTALL)
    queue = Queue(script, folder)
    assert list(queue.members) == [0, 1, 2, 3]
    started = {member: queue.start(member) for member in queue.members}
    try:
        while not list((folder / "made").glob("*.1")):
            assert started[1].poll() is None, started[1].stderr.read()
            time.sleep(0.02)
        os.killpg(started[1].pid, signal.SIGKILL)
        started[1].wait()
        started[1] = queue.start(1)  # --requeue
        told = {member: process.communicate()[1] for member, process in started.items()}
    finally:
        for process in started.values():
            process.kill()
    failed = {
        member: told[member][-800:] for member, process in started.items() if process.returncode
    }
    assert not failed
    results = [
        json.loads((folder / "runs" / f"rte-{member}" / "result.json").read_text())
        for member in queue.members
    ]
    answers = [
        [found["selection"]["auxiliary_tasks"], found["selected"]["scores"]] for found in results
    ]
    assert answers == [answers[0]] * 4
    for member, found in enumerate(results):
        (weights,) = found["weights"]
        assert Path(weights).is_relative_to(folder / "runs" / f"rte-{member}")
        assert Path(weights).exists()
    times_made = Counter(path.name.rpartition(".")[0] for path in (folder / "made").iterdir())
    assert sorted(times_made.values())[:-1] == [1] * (len(times_made) - 1)  # but what was lost
    assert sum(found["done"]["training_runs"] > 0 for found in results) > 1
