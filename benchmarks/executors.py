"""What a job costs beside its own work, with each kind of worker.

    python benchmarks/executors.py
    python benchmarks/executors.py --workers 4 --jobs 1 8 64 512

Jobs of a host that sleeps: more workers than cores stand for a larger machine. Overhead: seconds of
a worker that a job takes beside its sleep, which is looking up, handing out, writing the training
down and finding it again. The start of the workers is apart: it comes once a run.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import small_ray
from provenance import markdown_table, provenance, write_results

from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import Job, TrialRequest
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTask
from gradts_plugin.testing.fake_opening import FakeHostPlugin
from gradts_plugin.workers.making import executor_of

TASKS = (FakeTask("goal", topic="goal"), FakeTask("related", topic="goal"))

KINDS = ("local", "processes", "ray", "ray, two nodes")

#: Kind -> the cores of each node; with two of them the one of this process makes nothing.
NODES = {
    "ray": lambda workers: [workers],
    "ray, two nodes": lambda workers: [0, workers // 2, workers - workers // 2],
}

#: The share of a job that its overhead may be.
SMALL = 0.05


@dataclass
class SleepingHost(FakeHost):
    """Trains for a while, by the clock.

    Attributes:
        seconds: that long.
    """

    seconds: float = 0.0

    def train(self, plan: Any, output_dir: Path, schedule: Any = None) -> Any:
        """Sleeps first."""
        time.sleep(self.seconds)
        return super().train(plan, output_dir, schedule)


@contextlib.contextmanager
def opened(kind: str, workers: int, seconds: float) -> Iterator[Engine]:
    """A run whose trainings sleep."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if kind in NODES:
            stack.enter_context(small_ray.started(*NODES[kind](workers)))
        values = {
            "host": "fake",
            "model": {"name_or_path": "fake"},
            "tasks": [task.name for task in TASKS],
            "primary_task": "goal",
            "output_dir": Path(folder) / "out",
            "training": {"max_steps": 1, "exposure": "total"},
            "executor": {"kind": kind.partition(",")[0], "jobs": workers, "threads": 1},
        }
        run_file = parse_settings(RunFile, values, where="benchmark")
        plugin = FakeHostPlugin(SleepingHost(TASKS, seconds=seconds))
        manager = make_plugin_manager([plugin], entry_points=False)
        executor = executor_of(run_file, [plugin])
        yield stack.enter_context(open_run_file(run_file, manager, executor=executor))


def seconds_of(engine: Engine, seeds: range) -> float:
    """How long trainings of the primary with so many seeds take, one job each."""
    started = time.perf_counter()
    session = engine.session
    requests = [TrialRequest((), range(seed, seed + 1)) for seed in seeds]
    if session.executor is None:
        for request in requests:
            engine.trainings.make(request)
    else:
        jobs = [Job(session.settings, session.output_dir, request) for request in requests]
        assert len(list(session.executor.make(jobs))) == len(jobs)
    for request in requests:
        assert engine.trainings.stored(request)
    return time.perf_counter() - started


def measured(kind: str, numbers: list[int], workers: int, seconds: float) -> dict[str, Any]:
    """One kind of worker."""
    number_at_once = 1 if kind == "local" else workers
    found: dict[str, Any] = {"kind": kind, "workers": number_at_once, "jobs": []}
    with opened(kind, workers, seconds) as engine:
        found["start"] = seconds_of(engine, range(number_at_once)) - seconds
        first = 1000
        for number in numbers:
            wall = seconds_of(engine, range(first, first + number))
            first += number
            at_once = min(number_at_once, number)
            overhead = wall * at_once / number - seconds
            found["jobs"].append(
                {"jobs": number, "wall": wall, "overhead": overhead, "small_from": overhead / SMALL}
            )
            print(kind, found["jobs"][-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 8, 64, 512])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    results = [
        measured(kind, arguments.jobs, arguments.workers, arguments.seconds)
        for kind in arguments.kinds
    ]
    rows = [
        (
            found["kind"],
            each["jobs"],
            f"{each['wall']:.2f}",
            f"{1000 * each['overhead']:.0f}",
            f"{each['small_from']:.1f}",
        )
        for found in results
        for each in found["jobs"]
    ]
    starts = ", ".join(f"{found['kind']} {found['start']:.1f} s" for found in results)
    table = markdown_table(("workers", "jobs", "seconds in all", "ms a job", "5 % from s"), rows)
    write_results(
        arguments.output,
        "executors",
        source=source,
        results=results,
        text=(
            "# What a job costs beside its work\n\n"
            f"Jobs of a host that sleeps {arguments.seconds:g} s, {arguments.workers} workers at a "
            "time (local: this process). ms a job: time of a worker beside the sleep. 5 % from s: "
            "the length of a job from which that is less than 5 % of it.\n\n"
            f"{table}\n\nUntil the first job of every worker was done: {starts}.\n"
        ),
    )


if __name__ == "__main__":
    main()
