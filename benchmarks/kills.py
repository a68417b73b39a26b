"""Whether runs whose workers and nodes are killed at random moments end with the same answer.

    python benchmarks/kills.py
    python benchmarks/kills.py --runs 50 --kills 2

Each run is made whole on the fake host, whose trainings take a moment, with workers of one kind. A
moment after so many trainings began, SIGKILL ends a worker, or on a Ray of two nodes a raylet,
which takes its workers along; another node comes in its place. Same: selection, scores, gains and
final scores, bit by bit. Again: trainings that were begun more than once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import small_ray
from provenance import markdown_table, provenance, write_results

from gradts_plugin import run
from gradts_plugin.json_forms import to_json
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.records import Outcome
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import ONE_OF_EACH
from gradts_plugin.testing.fake_opening import FakeHostPlugin
from gradts_plugin.workers.making import executor_of

#: What is killed -> who works.
KINDS = {
    "a process": {"kind": "processes", "jobs": 2, "threads": 1},
    "a worker of Ray": {"kind": "ray", "jobs": 2},
    "a raylet": {"kind": "ray", "jobs": 2},
}


@dataclass
class NotingHost(FakeHost):
    """Notes in a folder what it trains, and takes a moment for it.

    Attributes:
        folder: a file for each training that began.
    """

    folder: Path = Path()

    def train(self, plan: Any, output_dir: Path, schedule: Any = None) -> Any:
        """Sleeps first."""
        note = f"{'-'.join(plan.train_tasks)}-{plan.seed}-{plan.recipe.max_steps}"
        (self.folder / f"{note}+{os.getpid()}-{time.time_ns()}").touch()
        time.sleep(0.3)
        return super().train(plan, output_dir, schedule)


def ran(folder: Path, executor: Any) -> Outcome:
    """A whole run."""
    (folder / "notes").mkdir(parents=True)
    values = {
        "host": "fake",
        "model": {"name_or_path": "fake"},
        "tasks": [task.name for task in ONE_OF_EACH],
        "primary_task": "goal",
        "method": {"name": "designed", "budget": 12},
        "output_dir": folder / "out",
        "training": {"max_steps": 4},
        "ranking": {"bootstrap": 100},
        **({"executor": executor} if executor else {}),
    }
    run_file = parse_settings(RunFile, values, where="benchmark")
    plugin = FakeHostPlugin(NotingHost(ONE_OF_EACH, folder=folder / "notes"))
    manager = make_plugin_manager([plugin], entry_points=False)
    with open_run_file(run_file, manager, executor=executor_of(run_file, [plugin])) as engine:
        return run.run(engine)


def answer_of(outcome: Outcome) -> Any:
    """What must not depend on who made it."""
    found: Any = to_json(outcome)
    trials = [*found["selection"]["trials"], found["selected"], found["alone"]]
    return {
        "selection": {**found["selection"], "trials": None},
        "scores": [(trial["auxiliary_tasks"], trial["scores"]) for trial in trials],
        "gain": found["gain"],
        "test_gain": found["test_gain"],
        "ranking": found["ranking"],
    }


# --- what is killed -------------------------------------------------------------------------------


def kill_process(_: str) -> bool:
    """Kills a worker that is a process of ours."""
    return _kill([child.pid for child in multiprocessing.active_children() if child.pid])


def kill_ray_worker(_: str) -> bool:
    """Kills a worker of Ray's."""
    return _kill([number for number, title in small_ray.titles() if title.startswith("ray::_work")])


def kill_raylet(address: str) -> bool:
    """Kills a node that is not ours, and lets another one come in its place."""
    import ray

    sockets = [
        node["RayletSocketName"]
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU")
    ]
    titles = [
        number
        for number, title in small_ray.titles()
        if "raylet/raylet" in title and any(name in title for name in sockets)
    ]
    killed = _kill(titles)
    if killed:
        small_ray.add_node(address, 1)
    return killed


def _kill(numbers: list[int]) -> bool:
    if numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(random.choice(numbers), signal.SIGKILL)
    return bool(numbers)


def killing(
    kill: Callable[[str], bool], address: str, notes: Path, after: list[int]
) -> Callable[[], int]:
    """Kills a moment after so many trainings began; what is returned ends it and counts."""
    ended, done = threading.Event(), []

    def kill_all() -> None:
        for number in after:
            while len(list(notes.glob("*"))) < number:
                if ended.wait(0.02):
                    return
            ended.wait(random.uniform(0, 0.5))
            while not kill(address):  # nobody is there yet
                if ended.wait(0.1):
                    return
            done.append(number)

    thread = threading.Thread(target=kill_all)
    thread.start()

    def stop() -> int:
        ended.set()
        thread.join()
        return len(done)

    return stop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--killed", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    kills = dict(zip(KINDS, (kill_process, kill_ray_worker, kill_raylet), strict=True))
    results = earlier(arguments.output)
    done = {found["run"] for found in results}
    nodes = [0, 1, 1] if any(KINDS[what]["kind"] == "ray" for what in arguments.killed) else []
    with (
        tempfile.TemporaryDirectory() as folder,
        small_ray.started(*nodes) if nodes else contextlib.nullcontext("") as address,
    ):
        expected = answer_of(ran(Path(folder) / "alone", None))
        for number in sorted(set(range(arguments.runs)) - done):
            what = list(KINDS)[number % len(KINDS)]
            if what not in arguments.killed:
                continue
            random.seed(number)
            after = sorted(random.choices(range(12), k=arguments.kills))
            here = Path(folder) / str(number)
            stop = killing(kills[what], address, here / "notes", after)
            started = time.perf_counter()
            try:
                found = answer_of(ran(here, KINDS[what]))
                ended = "same" if found == expected else "another answer"
            except Exception as error:
                ended = f"{type(error).__name__}: {error}"
            notes = Counter(path.name.split("+")[0] for path in here.glob("notes/*"))
            results.append(
                {
                    "killed": what,
                    "run": number,
                    "kills": stop(),
                    "ended": ended,
                    "seconds": round(time.perf_counter() - started, 1),
                    "trainings": len(notes),
                    "again": sum(notes.values()) - len(notes),
                }
            )
            print(results[-1], flush=True)
            write(arguments.output, source, results)


def earlier(folder: Path) -> list[dict[str, Any]]:
    """The runs that are known already."""
    path = folder / "kills.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())["results"] if path.exists() else []
    return found


def write(folder: Path, source: Any, results: list[dict[str, Any]]) -> None:
    """What is known so far."""
    rows = []
    for what in KINDS:
        own = [found for found in results if found["killed"] == what]
        rows.append(
            (
                what,
                len(own),
                sum(found["kills"] for found in own),
                sum(found["ended"] == "same" for found in own),
                sum(found["trainings"] for found in own),
                sum(found["again"] for found in own),
            )
        )
    explained = (__doc__ or "").partition("--kills 2")[2].strip()
    table = markdown_table(("killed", "runs", "kills", "same", "trainings", "again"), rows)
    write_results(
        folder,
        "kills",
        source=source,
        results=results,
        text=f"# Runs whose workers are killed\n\n{explained}\n\n{table}\n",
    )


if __name__ == "__main__":
    main()
