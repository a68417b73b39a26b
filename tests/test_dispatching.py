"""Jobs are handed out to workers that answer, fail and are lost as a test says."""

from __future__ import annotations

import pytest
from fake_runs import settings_of
from worker_runs import run_file_of

from gradts_plugin.engine.jobs import Job, TrialRequest
from gradts_plugin.errors import HostError, TrainingError
from gradts_plugin.records import Counters
from gradts_plugin.workers.dispatching import Dispatcher, WorkerLostError
from gradts_plugin.workers.worker import Failure, Start, WorkerTraceback


class ScriptedCrew:
    """Answers in the order in which it is told to.

    Attributes:
        ends: job -> what becomes of it, attempt by attempt: "done", "fails" or "lost".
        order: which of those that run ends first, by the numbers of the jobs.
    """

    num_workers = 2
    shown = "of a test"

    def __init__(self, ends, order=()):
        self.ends, self.order = {number: list(all_of) for number, all_of in ends.items()}, order
        self.given, self.most, self.running, self.is_closed = [], 0, set(), False

    def give(self, job, log_file):
        number = job.work.seeds[0]
        self.given.append(number)
        self.running.add(number)
        self.most = max(self.most, len(self.running))
        return number

    def wait(self, handles):
        assert handles
        return min(handles, key=lambda each: (each not in self.order, self.order.index(each)))

    def answer(self, handle):
        self.running.discard(handle)
        end = self.ends[handle].pop(0)
        if end == "lost":
            raise WorkerLostError("by a test")
        if end == "fails":
            return Failure(TrainingError(f"job {handle}"), WorkerTraceback("where"))
        return Counters(training_runs=handle)

    def close(self):
        self.is_closed = True


def made(tmp_path, crew):
    jobs = [
        Job(settings_of(), tmp_path, TrialRequest((), range(number, number + 1)))
        for number in crew.ends
    ]
    dispatcher = Dispatcher(crew, Start(run_file_of(tmp_path)))
    return [counters.training_runs for counters in dispatcher.make(jobs)]


def test_answers_come_in_the_order_of_the_jobs(tmp_path):
    crew = ScriptedCrew({number: ["done"] for number in range(5)}, order=[1, 2, 3, 4, 0])
    assert made(tmp_path, crew) == [0, 1, 2, 3, 4]
    assert crew.given == [0, 1, 2, 3, 4]
    assert (crew.most, crew.is_closed) == (2, False)


def test_a_lost_job_is_made_again_before_others(tmp_path):
    ends = {0: ["lost", "lost", "done"], 1: ["done"], 2: ["done"], 3: ["done"]}
    crew = ScriptedCrew(ends, order=[0, 1, 2, 3])
    assert made(tmp_path, crew) == [0, 1, 2, 3]
    assert crew.given == [0, 1, 0, 0, 2, 3]


def test_a_job_that_loses_three_workers_ends_it(tmp_path):
    crew = ScriptedCrew({0: ["lost"] * 3, 1: ["done"]}, order=[0, 1])
    with pytest.raises(HostError, match=r"died 3 times over the training of goal alone, by a test"):
        made(tmp_path, crew)
    assert crew.is_closed


def test_after_a_failure_only_what_comes_before_it_is_made(tmp_path):
    """Also where that loses its worker then."""
    ends = {0: ["lost", "done"], 1: ["fails"], 2: ["done"], 3: ["done"]}
    crew = ScriptedCrew(ends, order=[1, 0, 2, 3])
    with pytest.raises(TrainingError, match="job 1") as raised:
        made(tmp_path, crew)
    assert crew.given == [0, 1, 0]
    assert "where" in str(raised.value.__cause__)
    assert crew.is_closed


def test_the_first_failure_is_told(tmp_path):
    crew = ScriptedCrew({0: ["done"], 1: ["fails"], 2: ["fails"]}, order=[0, 2, 1])
    with pytest.raises(TrainingError, match="job 1"):
        made(tmp_path, crew)
