"""The fake host for run files: `host: fake`, and `tasks` that name planted ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from pathlib import Path
from typing import Any

from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.records import TrainingPlan, TrainStep
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.testing.fake_host import FakeHost

#: What a run file calls this host.
HOST_NAME = "fake"


class FakeHostPlugin:
    """A plugin that opens run files which say `host: fake`; it counts them in `host.asked`.

    Attributes:
        host: knows every task that a run file can name; what is opened shares its notes.
    """

    def __init__(self, host: FakeHost) -> None:
        self.host = host

    @hookimpl
    def open_host(self, run_file: RunFile, hook: Any) -> FakeOpening | None:
        """Opens the tasks of a run file."""
        if run_file.host != HOST_NAME:
            return None
        self.host.asked["open"] += 1
        return FakeOpening(self.host, run_file.tasks, hook)


class FakeOpening:
    """A fake host that is not prepared yet (see `protocols.HostOpening`)."""

    def __init__(self, host: FakeHost, task_names: tuple[str, ...], hook: Any) -> None:
        known = {task.name: task for task in host.planted_tasks}
        for name in task_names:
            if name not in known:
                raise ConfigError(f"tasks: unknown task {name!r}; {nearest(name, known)}")
        self._host = dataclasses.replace(
            host, planted_tasks=[known[name] for name in task_names], on_step=self._told
        )
        self._on_step = host.on_step
        self._hook = hook

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the run file."""
        return tuple(task.name for task in self._host.planted_tasks)

    def check(self) -> None:
        """Reads nothing: nothing can be wrong."""

    @property
    def unprepared_tasks(self) -> tuple[str, ...]:
        """None: nothing is prepared."""
        return ()

    def prepare_task(self, task_name: str, *, log_file: Path) -> None:
        """Is not asked."""

    def prepare(
        self,
        *,
        log_file: Path,  # noqa: ARG002  # the fake host says nothing
        prepared_in: Path | None = None,  # noqa: ARG002  # and prepares nothing
        made_now: Collection[str] = (),  # noqa: ARG002
    ) -> FakeHost:
        """The host; the hooks are told of its tasks, and of each step."""
        for info in self._host.tasks():
            self._hook.before_task_prepared(task_name=info.name)
            self._hook.after_task_prepared(
                task_name=info.name, num_train=info.num_train, reused=False
            )
        return self._host

    def _told(self, plan: TrainingPlan, step: TrainStep) -> None:
        self._on_step(plan, step)
        self._hook.after_train_step(plan=plan, step=step)
