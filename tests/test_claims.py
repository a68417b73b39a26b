"""Several processes on one store: each thing is made by one of them, and the dead are noticed."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_runs import TASKS, compare_file, fake_file, fake_manager, settings_of

from gradts_plugin import run
from gradts_plugin.commands.refusals import warnings_told
from gradts_plugin.comparison.compare import compare
from gradts_plugin.engine import session
from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.errors import StoreError, WaitingWarning
from gradts_plugin.opening import open_run_file, open_session
from gradts_plugin.planning.plan import make_plan
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.stores import claims
from gradts_plugin.stores.claims import Claims, Seen, is_dead, look, take
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_opening import FakeHostPlugin

FORK = multiprocessing.get_context("fork")

ELSEWHERE = {"process": "00000000-1-1", "host": "elsewhere", "since": "2026-01-01", "token": "a"}


def started(work, *arguments):
    process = FORK.Process(target=work, args=arguments)
    process.start()
    return process


def ended(process):
    process.join(120)
    return process.exitcode


@pytest.fixture
def fast(monkeypatch):
    """Heartbeats of milliseconds, also in processes that are started."""
    monkeypatch.setattr(claims, "BEAT", 0.02)


def claim_of_another_machine(path):
    path.write_text(json.dumps(ELSEWHERE))


# --- one claim ------------------------------------------------------------------------------------


def test_what_another_process_has_is_not_taken(tmp_path):
    receiver, sender = FORK.Pipe(duplex=False)

    def work():
        work.claim = take(tmp_path / "it")
        sender.send(work.claim is not None)
        signal.pause()

    process = started(work)
    assert receiver.recv()
    assert take(tmp_path / "it") is None
    process.kill()
    process.join()
    claim = take(tmp_path / "it")  # at once: its process is gone
    assert claim is not None
    claim.release()
    claim.release()
    assert list(tmp_path.iterdir()) == []


def test_an_owner_that_beats_is_alive_whatever_its_clock_says(tmp_path, fast):
    path = tmp_path / "it"
    claim_of_another_machine(path)
    for look_number in range(5 * claims.MISSED):
        days = (-1) ** look_number * look_number
        os.utime(path, (1e9 + 86_400 * days,) * 2)
        assert take(path) is None
        time.sleep(claims.BEAT)


@pytest.mark.parametrize("when", [0, 4e9])
def test_an_owner_that_does_not_beat_is_dead_whatever_its_clock_says(tmp_path, fast, when):
    path = tmp_path / "it"
    claim_of_another_machine(path)
    os.utime(path, (when, when))
    looks = 0
    while (claim := take(path)) is None:
        looks += 1
        time.sleep(claims.BEAT)
    assert looks >= claims.MISSED
    claim.release()


def test_looks_in_a_row_and_a_server_that_hangs_are_one_look(tmp_path):
    path = tmp_path / "it"
    claim_of_another_machine(path)
    for _ in range(3 * claims.MISSED):
        assert not is_dead(path, look(path))
    claims._WATCHED[path].last_look -= 1000 * claims.BEAT  # so long the last one took
    assert not is_dead(path, look(path))


def take_over(path, answers):
    while (claim := take(path)) is None:
        seen = look(path)
        if seen is not None and seen.owner is not None and seen.owner.token != "a":
            answers.put("lost")
            return
        time.sleep(0.001)
    answers.put("taken")
    signal.pause()
    claim.release()


def test_of_many_that_take_over_from_another_machine_one_does(tmp_path, fast):
    path = tmp_path / "it"
    claim_of_another_machine(path)
    answers = FORK.SimpleQueue()
    processes = [started(take_over, path, answers) for _ in range(8)]
    try:
        assert sorted(answers.get() for _ in processes) == ["lost"] * 7 + ["taken"]
    finally:
        for process in processes:
            process.kill()


def test_nobody_removes_a_claim_that_was_just_taken_over(tmp_path, monkeypatch):
    claim = take(tmp_path / "it")
    gone = f"{claims.Process.current()}9"  # a number that began at another time
    stale = Seen(claims.Owner(gone, "here", "2026-01-01", "b"), 1)
    read, seen = claims.look, iter([stale])  # what a slow process saw before
    monkeypatch.setattr(claims, "look", lambda path: next(seen, None) or read(path))
    before = (tmp_path / "it").read_bytes()
    assert take(tmp_path / "it") is None
    assert (tmp_path / "it").read_bytes() == before
    claim.release()
    assert list(tmp_path.iterdir()) == []


def test_an_owner_that_was_taken_for_dead_leaves_the_new_one_alone(tmp_path, fast):
    path = tmp_path / "it"
    claim = take(path)
    claim_of_another_machine(path)  # took it over
    before = path.stat().st_mtime_ns
    time.sleep(4 * claims.BEAT)
    assert path.stat().st_mtime_ns == before  # no heart beats for two
    claim.release()
    assert path.exists()


def test_a_claim_beats(tmp_path, fast):
    claim = take(tmp_path / "it")
    first = look(tmp_path / "it")
    while look(tmp_path / "it") == first:
        time.sleep(claims.BEAT)
    claim.release()


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_is_in_the_way_of_claims_is_said(tmp_path, what):
    if what == "folder":
        (tmp_path / "claims" / "it").mkdir(parents=True)
    else:
        (tmp_path / "claims").touch()
    with pytest.raises(StoreError, match=f"{tmp_path / 'claims'}"):
        Claims(tmp_path / "claims").once("it", lambda: None, lambda: 1)


def test_claims_of_the_dead_are_swept(tmp_path):
    root = tmp_path / "claims"
    root.mkdir()

    def work():
        work.claim = take(root / "one")
        os.kill(os.getpid(), signal.SIGKILL)

    assert ended(started(work)) == -signal.SIGKILL
    own = take(root / "own")
    claim_of_another_machine(root / "other")
    Claims(root).sweep()
    assert sorted(path.name for path in root.iterdir()) == ["other", "own"]
    own.release()


def test_the_command_line_says_once_who_is_waited_for(capsys):
    with warnings_told():
        for _ in range(2):
            warnings.warn(WaitingWarning("waiting for the probe of mnli"), stacklevel=1)
    assert capsys.readouterr().err == "gradts-select: waiting for the probe of mnli\n"


# --- eight writers, some of which are killed ------------------------------------------------------


def write_all(folder, seed):
    """Makes forty things, in an order of its own."""
    store = Claims(folder / "claims")
    names = [str(number) for number in range(40)]
    random.Random(seed).shuffle(names)
    for name in names:
        path = folder / "made" / name

        def find(path=path):
            return path.exists() or None

        def make(name=name, path=path):
            with (folder / "begun").open("a") as stream:
                stream.write(f"{name}\n")
            time.sleep(0.005)
            temporary = path.with_name(f"{name}-{os.getpid()}")
            temporary.touch()
            temporary.rename(path)
            with (folder / "ended").open("a") as stream:
                stream.write(f"{name}\n")
            return True

        assert store.once(name, find, make)[0]


def test_eight_writers_make_each_thing_once_though_some_are_killed(tmp_path):
    (tmp_path / "made").mkdir()
    processes = [started(write_all, tmp_path, seed) for seed in range(8)]
    for process in processes[:3]:
        time.sleep(0.03)
        process.kill()
    assert [ended(process) for process in processes[3:]] == [0] * 5
    begun, done = (
        Counter((tmp_path / name).read_text().splitlines()) for name in ("begun", "ended")
    )
    assert set(begun) == {str(number) for number in range(40)}
    assert max(done.values()) == 1
    assert sum(begun.values()) <= 40 + 3  # what the killed ones were making
    # Who is killed once a thing is made leaves its claim, and nobody waits for that.
    left = {path.name for path in (tmp_path / "claims").iterdir() if path.is_file()}
    assert len(left) <= 3
    assert left <= {path.name for path in (tmp_path / "made").iterdir()}


# --- two coordinators -----------------------------------------------------------------------------


@dataclass
class SlowHost(FakeHost):
    """Says in a folder what it trains, takes its time, and dies if it is asked to."""

    folder: Path = Path()
    dies_at: int = -1

    def train(self, plan, output_dir, schedule=None):
        what = f"{'-'.join(sorted(plan.train_tasks))}-{plan.seed}-{plan.recipe.max_steps}"
        (self.folder / f"{what}.{os.getpid()}").touch()
        time.sleep(0.1)
        if len(self.trained) == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train(plan, output_dir, schedule)


def ran(folder, name, *, dies_at=-1, **values):
    """A run on the store in a folder; writes down what it made and selected."""
    given = {"primary_task": "goal", "method": {"name": "designed", "budget": 12}, **values}
    file = fake_file(folder, output_dir=folder / name, store=folder / "store", **given)
    plugin = FakeHostPlugin(SlowHost(TASKS, folder=folder / "made", dies_at=dies_at))
    manager = make_plugin_manager([plugin], entry_points=False)
    with open_run_file(parse_settings(RunFile, file, where="test"), manager) as engine:
        outcome = run.run(engine)
    told = [outcome.done.training_runs, *outcome.selection.auxiliary_tasks]
    (folder / f"{name}.json").write_text(json.dumps(told))


def trained(folder):
    """What was trained -> how often; and by how many processes."""
    names = [path.name for path in (folder / "made").iterdir()]
    counts = Counter(name.rpartition(".")[0] for name in names)
    return counts, len({name.rpartition(".")[2] for name in names})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "made").mkdir()
    return tmp_path


def test_two_coordinators_share_the_work_and_make_nothing_twice(folder):
    assert [ended(each) for each in [started(ran, folder, name) for name in "ab"]] == [0, 0]
    counts, processes = trained(folder)
    assert max(counts.values()) == 1
    assert processes == 2
    (made_a, *selected_a), (made_b, *selected_b) = (
        json.loads((folder / f"{name}.json").read_text()) for name in "ab"
    )
    assert selected_a == selected_b
    assert min(made_a, made_b) > 0
    assert made_a + made_b == len(counts)
    assert list((folder / "store" / "claims").iterdir()) == []


def probed(folder, name):
    given = {"store": folder / "store", "method": "thres"}
    engine = opened(folder / name, **given)
    engine.probes.of_tasks()
    (folder / f"{name}.json").write_text(json.dumps(engine.session.accounts.counters.probes))


def test_two_coordinators_share_probes(folder):
    assert [ended(each) for each in [started(probed, folder, name) for name in "ab"]] == [0, 0]
    made = [json.loads((folder / f"{name}.json").read_text()) for name in "ab"]
    assert sum(made) == len(TASKS)


def test_of_two_coordinators_one_is_killed_and_the_other_ends(folder):
    killed = started(lambda: ran(folder, "b", dies_at=1))
    while not list((folder / "made").iterdir()):
        time.sleep(0.01)
    other = started(ran, folder, "a")
    assert [ended(killed), ended(other)] == [-signal.SIGKILL, 0]
    counts, _ = trained(folder)
    assert sorted(counts.values())[-2:] == [1, 2]  # what it was making
    assert list((folder / "store" / "claims").iterdir()) == []


def compared(folder):
    methods = {"all": {"method": "all"}, "alone": {"method": "alone"}}
    given = {"primaries": ["goal"], "methods": methods, "seed": 0, "evaluation_seeds": 2}
    given["store"] = folder / "store"
    host = SlowHost(TASKS, folder=folder / "made")
    manager = make_plugin_manager([FakeHostPlugin(host)], entry_points=False)
    compare(compare_file(folder, output_dir=folder / "c", **given), manager)


def test_a_run_and_a_comparison_make_nothing_twice(folder):
    assert [ended(each) for each in (started(ran, folder, "a"), started(compared, folder))] == [
        0,
        0,
    ]
    counts, processes = trained(folder)
    assert processes == 2
    _, *selected = json.loads((folder / "a.json").read_text())
    counts[f"{'-'.join(sorted(['goal', *selected]))}-0-4"] = (
        1  # the comparison may have kept no weights
    )
    assert max(counts.values()) == 1


# --- in a run, what others have -------------------------------------------------------------------


def opened(folder, **values):
    manager = make_plugin_manager([], entry_points=False)
    host = FakeHost(TASKS)
    return open_session(host, settings_of(values), manager, output_dir=folder)


def digest_of(engine, request):
    training = engine.trainings._training(engine.trainings.trial_plan(request, 0, "trial"))
    return training.digest


def test_what_another_process_makes_is_left_for_last_and_waited_for(tmp_path, fast):
    engine = opened(tmp_path)
    requests = [TrialRequest((name,), range(1)) for name in ("related", "words", "degree")]
    root = tmp_path / "store" / "claims"
    root.mkdir(parents=True)
    claim_of_another_machine(root / digest_of(engine, requests[0])[:32])  # and dies
    with pytest.warns(WaitingWarning, match="the training of goal, related: it is being made si"):
        trials = engine.trainings.score_all(requests)
    trained_tasks = [plan.train_tasks[1] for plan in engine.session.host.trained]
    assert trained_tasks == ["words", "degree", "related"]
    assert [trial.auxiliary_tasks[0] for trial in trials] == ["related", "words", "degree"]
    assert engine.session.accounts.counters.training_runs == 3


def test_a_plan_waits_for_nobody(tmp_path):
    engine = opened(tmp_path, method="all", ranking={"ranker": "size"})
    alone = TrialRequest((), range(1), longer=False)
    root = tmp_path / "store" / "claims"
    root.mkdir(parents=True)
    claim_of_another_machine(root / digest_of(engine, alone)[:32])
    assert not make_plan(engine, final_training=True).nothing_to_do
    assert [path.name for path in root.iterdir()] == [digest_of(engine, alone)[:32]]


def test_a_worker_watches_what_a_dead_one_of_another_machine_had(tmp_path, fast):
    engine = opened(tmp_path)
    request = TrialRequest(("related",), range(1))
    root = tmp_path / "store" / "claims"
    root.mkdir(parents=True)
    claim_of_another_machine(root / digest_of(engine, request)[:32])
    engine.trainings.make(request)
    assert len(engine.session.host.trained) == 1


class OneWorker:
    """Makes jobs in this process, on an engine of its own."""

    num_workers = 1

    def __init__(self, folder):
        self.engine = opened(folder)
        self.asked = []

    def make(self, jobs):
        for job in jobs:
            self.asked.append(job.shown)
            own = self.engine.session.with_settings(job.settings, output_dir=job.output_dir)
            Engine.of(own).trainings.make(job.work)
            yield own.accounts.counters


def test_workers_are_given_what_others_have_once_those_are_dead(tmp_path, fast, monkeypatch):
    monkeypatch.setattr(session, "_WAIT", 0.01)
    worker = OneWorker(tmp_path)
    engine = open_session(
        FakeHost(TASKS), settings_of(), fake_manager(), output_dir=tmp_path, executor=worker
    )
    requests = [TrialRequest((name,), range(1)) for name in ("related", "words")]
    root = tmp_path / "store" / "claims"
    root.mkdir(parents=True)
    claim_of_another_machine(root / digest_of(engine, requests[0])[:32])
    with pytest.warns(WaitingWarning, match="waiting for what other runs on"):
        engine.trainings.score_all(requests)
    names = [name.rpartition(" ")[2] for name in worker.asked]
    assert names == ["words", "related"]
    assert engine.session.host.trained == []  # all by the worker
    assert engine.session.accounts.counters.training_runs == 2
