"""One run in an output folder at a time, and what is left of runs that were killed."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from fake_runs import fake_file, fake_manager, open_fake

from gradts_plugin import run
from gradts_plugin.errors import StoreError, WaitingWarning
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.opening import open_run_file
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.stores import claims
from gradts_plugin.stores.files import (
    file_in_the_making,
    folder_in_the_making,
    remove_abandoned,
    temporary_path,
)
from gradts_plugin.stores.locks import LOCK, FolderLock, refuse_if_held
from gradts_plugin.stores.processes import Process

FORK = multiprocessing.get_context("fork")


def in_another_process(work, *arguments):
    """Runs work in a process that then waits to be killed; returns the process and its answer."""
    receiver, sender = FORK.Pipe(duplex=False)

    def main():
        sender.send(work(*arguments))
        signal.pause()

    process = FORK.Process(target=main)
    process.start()
    assert receiver.poll(60)
    return process, receiver.recv()


def take(folder):
    """Takes a folder for good; what was said instead."""
    try:
        take.kept = FolderLock(folder)
    except StoreError as error:
        return str(error)
    return "taken"


def kill(*processes):
    for process in processes:
        process.kill()
        process.join()


def test_a_second_process_is_told_who_is_in_the_folder(tmp_path):
    folder = tmp_path / "out"
    first, answer = in_another_process(take, folder)
    try:
        assert answer == "taken"
        since = json.loads((folder / LOCK).read_text())["since"]
        expected = f"in progress here since {since}, by process {first.pid} on "
        with pytest.raises(StoreError, match="wait for it, or give another output_dir") as told:
            FolderLock(folder)
        assert expected in str(told.value)
        assert "remove" not in str(told.value)
        with pytest.raises(StoreError, match="in progress here since"):
            refuse_if_held(folder)
    finally:
        kill(first)
    refuse_if_held(folder)
    FolderLock(folder).release()  # its process is gone
    assert not folder.exists() or list(folder.iterdir()) == []


def test_of_many_that_take_over_one_gets_the_folder(tmp_path):
    first, _ = in_another_process(take, tmp_path)
    kill(first)
    started = [in_another_process(take, tmp_path) for _ in range(12)]
    try:
        answers = [answer for _, answer in started]
        assert answers.count("taken") == 1
        assert all("in progress here" in answer for answer in answers if answer != "taken")
    finally:
        kill(*(process for process, _ in started))
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_a_killed_takeover_stands_in_nobodys_way(tmp_path):
    first, _ = in_another_process(take, tmp_path)
    kill(first)
    stale = (tmp_path / LOCK).read_bytes()
    (tmp_path / f"{LOCK}.taken-over").write_bytes(stale)
    FolderLock(tmp_path).release()
    assert list(tmp_path.iterdir()) == []


def test_a_process_may_take_its_folder_again(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.release()
    first.release()
    other, answer = in_another_process(take, tmp_path)
    kill(other)
    assert "in progress here" in answer
    second.release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_given_back_when_nobody_refers_to_it(tmp_path):
    FolderLock(tmp_path)
    assert list(tmp_path.iterdir()) == []


def of_another_machine(folder):
    holder = {"process": "00000000-1-1", "host": "elsewhere", "since": "2026-01-01"}
    (folder / LOCK).write_text(json.dumps(holder))


def test_a_run_on_another_machine_is_seen_by_its_heartbeat(tmp_path, monkeypatch):
    of_another_machine(tmp_path)
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 2:
            os.utime(tmp_path / LOCK, (0, 0))  # its clock may say whatever it likes

    monkeypatch.setattr(claims.time, "sleep", sleep)
    with (
        pytest.warns(WaitingWarning, match="looking whether it still goes on"),
        pytest.raises(StoreError, match="in progress here since 2026-01-01, by process 1 on elsew"),
    ):
        FolderLock(tmp_path)
    assert len(waits) == 2


@pytest.mark.parametrize("content", ["of another machine", ""])
def test_a_run_on_another_machine_that_died_is_taken_over(tmp_path, monkeypatch, content):
    of_another_machine(tmp_path)
    if not content:
        (tmp_path / LOCK).write_text("")  # what a full disk may leave
    monkeypatch.setattr(claims, "BEAT", 0.01)
    with pytest.warns(WaitingWarning):
        FolderLock(tmp_path).release()
    assert list(tmp_path.iterdir()) == []


def test_without_hard_links_a_folder_is_still_taken_once(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", no_links)
    lock = FolderLock(tmp_path)
    other, answer = in_another_process(take, tmp_path)
    kill(other)
    assert "in progress here since" in answer
    lock.release()


def test_a_number_that_another_process_has_now_is_no_sign_of_life():
    now = Process.current()
    assert Process.read(str(now)) == now
    assert not now.is_gone
    assert Process(now.machine, now.number, now.start + 1).is_gone
    assert Process(now.machine, 2**30, 1).is_gone
    assert not Process("00000000", 2**30, 1).is_gone
    assert Process.read("something else") is None


def test_a_process_that_ended_and_was_not_waited_for_is_gone():
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=lambda: sender.send(str(Process.current())))
    process.start()
    found = Process.read(receiver.recv())
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert found.is_gone
    process.join()


def leave_temporary(folder):
    temporary_path(folder).write_text("half")
    temporary_path(folder / "below").mkdir(parents=True)
    return True


def test_what_killed_writers_left_is_removed_and_what_others_write_is_not(tmp_path):
    killed, _ = in_another_process(leave_temporary, tmp_path)
    kill(killed)
    other, _ = in_another_process(leave_temporary, tmp_path)
    try:
        with folder_in_the_making(tmp_path), file_in_the_making(tmp_path / "file") as file:
            file.write_text("whole")
            remove_abandoned(tmp_path)
        assert len(list(tmp_path.rglob(".writing-*"))) == 2  # the other's
    finally:
        kill(other)
    remove_abandoned(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["below", "file"]


def run_file(folder):
    return parse_settings(RunFile, fake_file(folder, primary_task="goal"), where="test")


def open_for_good(folder):
    try:
        open_for_good.engine = open_run_file(run_file(folder), fake_manager())
    except StoreError as error:
        return str(error)
    return "opened"


def test_of_simultaneous_runs_in_a_new_folder_one_goes_on(tmp_path):
    started = [in_another_process(open_for_good, tmp_path) for _ in range(6)]
    try:
        answers = [answer for _, answer in started]
        assert answers.count("opened") == 1
        assert all("in progress here since" in answer for answer in answers if answer != "opened")
    finally:
        kill(*(process for process, _ in started))
    with open_run_file(run_file(tmp_path), fake_manager()):
        assert (tmp_path / "out" / LOCK).exists()
    assert not (tmp_path / "out" / LOCK).exists()


def test_a_refused_start_leaves_no_folder(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise StoreError("broken")

    monkeypatch.setattr("gradts_plugin.opening.check_output_dir", broken)
    with pytest.raises(StoreError, match="broken"):
        open_run_file(run_file(tmp_path), fake_manager())
    assert list(Path(tmp_path).iterdir()) == []


class LeavesWeights:
    """After each training, weights are in the folder that a killed run did not remove."""

    def __init__(self, folder):
        self.path = folder / "trials" / "stray" / "best_model.p"

    @hookimpl
    def after_training(self, plan, result):
        """Writes them again."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("weights")


def test_nothing_of_killed_runs_is_left_when_a_run_has_ended(tmp_path):
    for folder in (tmp_path / "trials" / "some", tmp_path / "store" / "trainings"):
        folder.mkdir(parents=True)
        killed, _ = in_another_process(leave_temporary, folder)
        kill(killed)
    plugin = LeavesWeights(tmp_path)
    values = {"method": {"name": "top", "k": 1}, "ranking": {"bootstrap": 100}}
    outcome = run.run(open_fake(tmp_path, values, plugins=[plugin]))
    assert outcome.selection.auxiliary_tasks  # so that the primary alone is trained last
    assert sorted(tmp_path.rglob("best_model.p")) == sorted(outcome.weights)
    assert list(tmp_path.rglob(".writing-*")) == []
