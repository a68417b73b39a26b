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

METHODS: dict[str, Any] = {
    "thres": "thres",
    "trial": "trial",
    "designed, budget 200": {"name": "designed", "budget": 200},
    "race, budget 200": {"name": "race", "budget": 200},
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
                    with multiprocessing.get_context("spawn").Pool(writers) as pool:
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
    """CPU time of the coordinator, and the simulated time of its workers.

    Attributes:
        waited: until jobs had ended.
        worked: by all workers.
        made: CPU time of making jobs in this process, which is nobody's.
    """

    waited: float = 0.0
    worked: float = 0.0
    made: float = 0.0
    num_jobs: int = 0
    _began: float = field(default_factory=time.process_time)

    @property
    def coordinator(self) -> float:
        """CPU time of everything but jobs."""
        return time.process_time() - self._began - self.made


class Simulated:
    """An `engine.jobs.Executor` whose workers take simulated time."""

    def __init__(self, num_workers: int, clock: Clock) -> None:
        self.num_workers = num_workers
        self.engine: Engine | None = None
        self._clock = clock

    def make(self, jobs: Sequence[Job]) -> Iterator[Counters]:
        """Makes jobs here, and tells the clock when workers would have."""
        if self.engine is None:
            raise RuntimeError("there is no engine yet")
        free = [0.0] * self.num_workers
        for job in jobs:
            is_probe = isinstance(job.work, ProbeRequest)
            seconds = PROBE_SECONDS if is_probe else TRAINING_SECONDS
            end = heapq.heappop(free) + seconds
            heapq.heappush(free, end)
            self._clock.worked += seconds
        self._clock.waited += max(free)
        self._clock.num_jobs += len(jobs)
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
    found = {}
    for size in sizes:
        found[size] = alone(run_of, size, {"name": "designed", "budget": 24})
        print(size, found[size], flush=True)
    names = list(found[sizes[0]])
    rows = [(name, *(found[size][name] for size in sizes)) for name in names]
    header = ("CPU seconds", *(f"{size} tasks" for size in sizes))
    text = (
        "# A run by the number of its tasks\n\nOn the fake host, whose probes and trainings take "
        "milliseconds, 100 rows a task, `designed` with a budget of 24, all in one process: what "
        f"is left is what the plugin itself takes.\n\n{markdown_table(header, rows)}\n"
    )
    write_results(RESULTS, "scale_tasks", source=source, results=found, text=text)


# --- workers --------------------------------------------------------------------------------------


def run_with(num_tasks: int, method: Any, num_workers: int) -> dict[str, float]:
    """What the clocks say of a run with simulated workers."""
    with tempfile.TemporaryDirectory() as folder:
        run.run(opened(3, "thres", Path(folder) / "first"))
        clock = Clock()
        executor = Simulated(num_workers, clock)
        engine = opened(num_tasks, method, Path(folder) / "out", executor)
        executor.engine = opened(num_tasks, method, Path(folder) / "out")
        outcome = run.run(engine)
        coordinator = clock.coordinator
    done = outcome.done
    serial = done.training_runs * TRAINING_SECONDS + done.probes * PROBE_SECONDS
    own = serial - clock.worked  # by the coordinator itself, where there was one thing to make
    wall = clock.waited + coordinator + own
    return {
        "jobs": clock.num_jobs,
        "coordinator": round(coordinator, 1),
        "wall": round(wall, 1),
        "busy": round((clock.worked + own) / (num_workers * wall), 3),
    }


def measure_workers(source: dict[str, Any], num_tasks: int) -> None:
    """Each method with one, ten and a hundred workers."""
    found: dict[str, dict[str, Any]] = {}
    for name, method in METHODS.items():
        for workers in (10, 100):
            found.setdefault(name, {})[str(workers)] = alone(run_with, num_tasks, method, workers)
            print(name, workers, found[name][str(workers)], flush=True)
    rows = [
        (
            f"{name}, {workers} workers",
            f"{it['jobs']:,}",
            f"{it['wall'] / 3600:.2f}",
            f"{it['busy']:.0%}",
            it["coordinator"],
        )
        for name, by_workers in found.items()
        for workers, it in by_workers.items()
    ]
    header = ("", "jobs", "hours", "workers busy", "coordinator, CPU s")
    text = (
        f"# {num_tasks:,} tasks and a hundred workers, simulated\n\nA probe takes "
        f"{PROBE_SECONDS:.0f} s and a training {TRAINING_SECONDS:.0f} s of a worker; keys, "
        "look-ups, claims, ranking and selection are real and take the coordinator's time.\n\n"
        f"{markdown_table(header, rows)}\n"
    )
    write_results(RESULTS, "scale_workers", source=source, results=found, text=text)


if __name__ == "__main__":
    main()
