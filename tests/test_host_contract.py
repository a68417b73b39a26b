"""Both hosts keep what the contract says: the fake one, and jiant with a task of each kind."""

from __future__ import annotations

import pytest
from tiny_encoders import save_tiny_encoder
from tiny_runs import write_run_file

from gradts_plugin import sessions
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTask
from gradts_plugin.testing.host_checks import OpenedHost
from gradts_plugin.testing.host_contract import HostContract

TASKS = (
    FakeTask("first"),
    FakeTask("second", "tagging", num_train=9),
    FakeTask("third", "regression", topic="first"),
    FakeTask("fourth", "multiple_choice"),
)


def fake(**changes):
    steps = []
    host = FakeHost(TASKS, on_step=lambda plan, step: steps.append(step), **changes)
    return OpenedHost(host, steps)


class TestFakeHost(HostContract):
    @pytest.fixture
    def opened(self):
        return fake()

    @pytest.fixture
    def reopened(self):
        return FakeHost(TASKS)

    @pytest.fixture
    def undefined(self):
        return fake(score=lambda training: None)


class StepTimes:
    def __init__(self):
        self.steps = []

    @hookimpl
    def after_train_step(self, step):
        self.steps.append(step)


@pytest.fixture(scope="module")
def jiant(tmp_path_factory):
    """A jiant session over a task of each kind, and the steps it tells of."""
    folder = tmp_path_factory.mktemp("jiant")
    encoder = save_tiny_encoder("bert", folder / "encoder")
    path = write_run_file(folder, encoder, ("topic", "words", "degree", "ending"))
    listener = StepTimes()
    manager = make_plugin_manager([listener])
    return sessions.open_run_file(sessions.read_run_file(path), manager), listener.steps


class TestJiantHost(HostContract):
    @pytest.fixture
    def opened(self, jiant):
        session, steps = jiant
        steps.clear()
        return OpenedHost(session.host, steps)

    @pytest.fixture
    def reopened(self, jiant, tmp_path):
        session, _ = jiant
        return sessions.reopen(session, session.settings, output_dir=tmp_path / "other").host
