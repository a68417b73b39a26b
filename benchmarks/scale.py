"""What many tasks, many workers and many writers of one store cost, on the fake host.

    python benchmarks/scale.py stores     operations a second, by the number of writers
    python benchmarks/scale.py tasks      CPU time and memory of a run, by the number of tasks
    python benchmarks/scale.py workers    a run with a thousand tasks, by the number of workers

The workers are simulated, the rest is real: an executor gives each job a length, makes what it asks
for in no time, and puts it at the end of the worker that is free first. The clock of the run is the
CPU time that the coordinator really took for planning, keys, look-ups, ranking and selection, and
the time until the last job of each batch has ended.
"""

from __future__ import annotations

import argparse
import heapq
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from provenance import markdown_table, provenance, write_results

from gradts_plugin import run
from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import Job, ProbeRequest
from gradts_plugin.opening import open_session
from gradts_plugin.planning.plan import make_plan
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.records import Counters, TrainingResult
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores.claims import Claims
from gradts_plugin.stores.importances import GradientStore
from gradts_plugin.stores.keys import ProbeKey
from gradts_plugin.stores.trainings import TrialLedger
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTask

RESULTS = Path(__file__).parent / "results"

#: Seconds of a probe and of a training, as with an encoder of base size on one GPU.
PROBE_SECONDS, TRAINING_SECONDS = 30.0, 300.0

#: Numbers of workers.
WORKERS = (1, 10, 100, 1000)

METHODS: dict[str, Any] = {
    "thres": "thres",
    "designed, budget 200": {"name": "designed", "budget": 200},
    "race, budget 200": {"name": "race", "budget": 200},
    "trial": "trial",
}


def main() -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["stores", "tasks", "workers"])
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of tasks")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each kind of operation")
    arguments = parser.parse_args()
    source = provenance()
    if arguments.what == "stores":
        measure_stores(source, arguments.seconds)
    elif arguments.what == "tasks":
        measure_tasks(source, arguments.sizes or [10, 30, 100, 300])
    else:
        measure_workers(source, (arguments.sizes or [1000])[0])


def alone(work: Callable[..., Any], *given: Any) -> Any:
    """The answer of a process of its own, so that its peak of memory is its own, too."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, given)


# --- stores ---------------------------------------------------------------------------------------


def claim(root: Path, name: str) -> None:
    """Claims something that nobody has, makes it in no time and gives the claim back."""
    Claims(root / "claims").attempt(name, lambda: None, lambda: 1)


def ask(root: Path, name: str) -> None:
    """Asks whether somebody makes something; nobody does."""
    Claims(root / "claims").is_free(name)


def record(root: Path, name: str) -> None:
    """Claims a training and writes it down."""
    result = TrainingResult(0.5, {"score": 0.5}, (0.5,), 100, 1600, 10.0, None)
    ledger = TrialLedger(root / "trainings")
    Claims(root / "claims").attempt(name, lambda: None, lambda: ledger.record({"n": name}, result))


def find(root: Path, name: str) -> None:
    """Finds the training that `record` wrote under the same name."""
    if TrialLedger(root / "trainings").find({"n": name}) is None:
        raise RuntimeError(f"{name} is not there")


def miss(root: Path, name: str) -> None:
    """Looks for a training that is not there."""
    TrialLedger(root / "trainings").find({"missing": name})


def probe(root: Path, name: str) -> None:
    """Writes a probe of 1,000 instances and 144 heads."""
    ids = np.arange(1000)
    importances = np.ones((1000, 12, 12), dtype=np.float32)
    store = _STORES.setdefault(root, GradientStore(root / "importances"))
    store.write(ProbeKey("encoder", name, "data", {}, {}, 0), [(ids, importances)], {})


_STORES: dict[Path, GradientStore] = {}

OPERATIONS = (claim, ask, record, find, miss, probe)


def write(root: Path, work: Callable[[Path, str], None], seconds: float, barrier: Any) -> int:
    """Does one kind of operation for so long; how often it was done."""
    barrier.wait()
    end, done = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        # Finding reads what was recorded, again and again.
        name = f"{os.getpid() if work is not find else 'all'}-{done if work is not find else 0}"
        work(root, name)
        done += 1
    return done


def measure_stores(source: dict[str, Any], seconds: float) -> None:
    """Operations a second of all writers together."""
    found: dict[str, dict[str, float]] = {}
    with multiprocessing.Manager() as shared:
        for work in OPERATIONS:
            for writers in (1, 8):
                with tempfile.TemporaryDirectory() as folder:
                    root = Path(folder)
                    record(root, "all-0")
                    barrier = shared.Barrier(writers)
                    with multiprocessing.get_context("fork").Pool(writers) as pool:
                        given = [(root, work, seconds, barrier)] * writers
                        done = pool.starmap(write, given, chunksize=1)
                found.setdefault(work.__name__, {})[str(writers)] = round(sum(done) / seconds, 1)
                print(work.__name__, writers, found[work.__name__][str(writers)], flush=True)
    rows = [
        (
            work.__doc__.split(".")[0],
            *(f"{number:,.0f}" for number in found[work.__name__].values()),
        )
        for work in OPERATIONS
        if work.__doc__
    ]
    text = (
        "# Operations of a store\n\nA second, all writers together, on a local disk; what is "
        "written is forced to the disk.\n\n"
        f"{markdown_table(('', '1 writer', '8 writers'), rows)}\n"
    )
    write_results(RESULTS, "scale_stores", source=source, results=found, text=text)


# --- tasks ----------------------------------------------------------------------------------------


@dataclass
class Clock:
    """CPU time of the coordinator, and what was given to workers.

    Attributes:
        batches: seconds of the jobs that were given to workers together.
        made: CPU time of making jobs in this process, which is nobody's.
    """

    batches: list[list[float]] = field(default_factory=list)
    made: float = 0.0
    _began: float = field(default_factory=time.process_time)

    @property
    def coordinator(self) -> float:
        """CPU time of everything but jobs."""
        return time.process_time() - self._began - self.made

    def waited(self, num_workers: int) -> float:
        """Seconds until the last job of every batch has ended, with so many workers."""
        total = 0.0
        for batch in self.batches:
            free = [0.0] * num_workers
            for seconds in batch:
                heapq.heappush(free, heapq.heappop(free) + seconds)
            total += max(free)
        return total


class Simulated:
    """An `engine.jobs.Executor` whose workers take simulated time; how many is looked at later."""

    num_workers = max(WORKERS)

    def __init__(self, clock: Clock) -> None:
        self.engine: Engine | None = None
        self._clock = clock

    def make(self, jobs: Sequence[Job]) -> Iterator[Counters]:
        """Makes jobs here, and tells the clock how long workers would have taken."""
        if self.engine is None:
            raise RuntimeError("there is no engine yet")
        lengths = (PROBE_SECONDS, TRAINING_SECONDS)
        self._clock.batches.append(
            [lengths[not isinstance(job.work, ProbeRequest)] for job in jobs]
        )
        for job in jobs:
            began = time.process_time()
            session = self.engine.session.with_settings(job.settings, output_dir=job.output_dir)
            engine = Engine.of(session)
            if isinstance(job.work, ProbeRequest):
                engine.probes.make(job.work)
            else:
                engine.trainings.make(job.work)
            self._clock.made += time.process_time() - began
            yield session.accounts.counters

    def close(self) -> None:
        """There is nothing to let go."""


def opened(num_tasks: int, method: Any, folder: Path, executor: Any = None) -> Engine:
    """A run with so many tasks on the fake host."""
    tasks = [FakeTask("goal", topic="goal", num_train=100)]
    tasks += [
        FakeTask(f"task{place:04d}", topic=f"topic{place % 7}", num_train=100)
        for place in range(num_tasks - 1)
    ]
    given = {
        "primary_task": "goal",
        "method": method,
        "training": {"max_steps": 10},
        "probing": {"model": "frozen"},
    }
    return open_session(
        FakeHost(tasks),
        parse_settings(GradTSSettings, given, where="benchmark"),
        make_plugin_manager([], entry_points=False),
        output_dir=folder,
        executor=executor,
    )


def run_of(num_tasks: int, method: Any) -> dict[str, float]:
    """CPU seconds of each part of a run that this process makes alone, and its peak of memory."""
    found = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        began = time.process_time()
        answer = work()
        found[name] = round(time.process_time() - began, 3)
        return answer

    with tempfile.TemporaryDirectory() as folder:
        engine = opened(3, "thres", Path(folder) / "first")
        run.run(engine)  # imports, and what is made once
        peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        engine = opened(num_tasks, method, Path(folder) / "out")
        timed("plan", lambda: make_plan(engine, final_training=True))
        timed("probe", engine.probes.of_tasks)
        ranking = timed("rank", lambda: run.rank(engine))
        timed("plan again", lambda: make_plan(engine, final_training=True))
        timed("select", lambda: run.select(engine, ranking))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found["MiB more"] = round((peak - peak_before) / 1024, 1)
    return found


def measure_tasks(source: dict[str, Any], sizes: Sequence[int]) -> None:
    """A run of each size."""
    found: dict[int, dict[str, float]] = {}
    for size in sizes:
        found[size] = alone(run_of, size, {"name": "designed", "budget": 24})
        print(size, found[size], flush=True)
        _write_tasks(source, found)


def _write_tasks(source: dict[str, Any], found: dict[int, dict[str, float]]) -> None:
    names = list(next(iter(found.values())))
    rows = [(name, *(of_size[name] for of_size in found.values())) for name in names]
    header = ("CPU seconds", *(f"{size} tasks" for size in found))
    text = (
        "# A run by the number of its tasks\n\nOn the fake host, whose probes and trainings take "
        "milliseconds, 100 rows a task, `designed` with a budget of 24, all in one process: what "
        f"is left is what the plugin itself takes.\n\n{markdown_table(header, rows)}\n"
    )
    write_results(RESULTS, "scale_tasks", source=source, results=found, text=text)


# --- workers --------------------------------------------------------------------------------------


def run_with(num_tasks: int, method: Any) -> dict[str, Any]:
    """What the clocks say of a run, by the number of workers."""
    with tempfile.TemporaryDirectory() as folder:
        run.run(opened(3, "thres", Path(folder) / "first"))
        clock = Clock()
        executor = Simulated(clock)
        engine = opened(num_tasks, method, Path(folder) / "out", executor)
        executor.engine = opened(num_tasks, method, Path(folder) / "out")
        done = run.run(engine).done
        coordinator = clock.coordinator
    worked = sum(sum(batch) for batch in clock.batches)
    serial = done.training_runs * TRAINING_SECONDS + done.probes * PROBE_SECONDS
    own = serial - worked  # by the coordinator itself, where there was one thing to make
    walls = {number: clock.waited(number) + coordinator + own for number in WORKERS}
    return {
        "jobs": sum(len(batch) for batch in clock.batches),
        "trainings": done.training_runs,
        "coordinator_seconds": round(coordinator, 1),
        "hours": {number: round(wall / 3600, 3) for number, wall in walls.items()},
        "busy": {number: round(serial / (number * wall), 3) for number, wall in walls.items()},
    }


def measure_workers(source: dict[str, Any], num_tasks: int) -> None:
    """Each method with a few numbers of workers."""
    found: dict[str, dict[str, Any]] = {}
    for name, method in METHODS.items():
        found[name] = alone(run_with, num_tasks, method)
        print(name, found[name], flush=True)
        _write_workers(source, num_tasks, found)


def _write_workers(source: dict[str, Any], num_tasks: int, found: dict[str, Any]) -> None:
    rows = [
        (
            name,
            it["jobs"],
            it["coordinator_seconds"],
            *(f"{it['hours'][number]:.2f} ({it['busy'][number]:.0%})" for number in WORKERS),
        )
        for name, it in found.items()
    ]
    header = ("", "jobs", "coordinator, CPU s", *(f"{number:,} workers" for number in WORKERS))
    text = (
        f"# {num_tasks:,} tasks and many workers, simulated\n\nHours of a run, and the share of "
        f"the workers' time that is work. A probe takes {PROBE_SECONDS:.0f} s and a training "
        f"{TRAINING_SECONDS:.0f} s of a worker; keys, look-ups, claims, ranking and selection are "
        f"real and take the coordinator's time.\n\n{markdown_table(header, rows)}\n"
    )
    write_results(RESULTS, "scale_workers", source=source, results=found, text=text)


if __name__ == "__main__":
    main()
