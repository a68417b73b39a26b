"""Opens jiant: for a run file, whose tasks are prepared first, or on a set-up that is there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.container import ContainerConfig
from gradts_plugin.hosts.jiant.container_schema import ModelArguments
from gradts_plugin.hosts.jiant.encoder import check_encoder
from gradts_plugin.hosts.jiant.faults.mending import FaultSwitches
from gradts_plugin.hosts.jiant.host import JiantHost
from gradts_plugin.hosts.jiant.memory import keep_freed_memory
from gradts_plugin.hosts.jiant.preparing.checking import check_data
from gradts_plugin.hosts.jiant.preparing.export import is_exported
from gradts_plugin.hosts.jiant.preparing.prepare import (
    link_prepared,
    prepare,
    prepare_task,
    unprepared,
)
from gradts_plugin.hosts.jiant.preparing.sharing import SharedCaches
from gradts_plugin.hosts.jiant.preparing.task_values import read_task_configs
from gradts_plugin.hosts.jiant.rehearsal import rehearse, rehearse_setup
from gradts_plugin.hosts.jiant.tasks.attaching import attach
from gradts_plugin.hosts.jiant.training.starts import Starts
from gradts_plugin.records import Selection, TrainingPlan, TrainStep
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.tasks.task_configs import TaskValues


class JiantOpening:
    """A run file's jiant, not prepared yet (see `protocols.HostOpening`)."""

    def __init__(
        self,
        run_file: RunFile,
        task_configs: Mapping[str, Path],
        hook: Any,
    ) -> None:
        attach_tasks(hook)
        self._run_file = run_file
        self._hook = hook
        self._encoder = check_encoder(run_file.model.name_or_path)
        self._tasks = read_task_configs(run_file, task_configs)

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the run file."""
        return tuple(self._tasks)

    def check(self) -> None:
        """Reads the data of each task that is not tokenised yet, and tries the encoder on it.

        Where all of that was prepared here before, the encoder was tried then, and is not again.
        """
        samples = check_data(self._run_file, self._tasks)
        if samples or not is_exported(self._run_file.output_dir):
            rehearse(self._encoder, self._run_file.model.max_seq_length, samples)

    @property
    def unprepared_tasks(self) -> tuple[str, ...]:
        """Those that are not tokenised yet."""
        return unprepared(self._run_file, self._tasks)

    def prepare_task(self, task_name: str, *, log_file: Path) -> None:
        """Tokenises and caches a task."""
        shared = SharedCaches.of(self._run_file)
        prepare_task(task_name, self._tasks[task_name], self._run_file, log_file, shared)

    def prepare(
        self,
        *,
        log_file: Path,
        prepared_in: Path | None = None,
        made_now: Collection[str] = (),
    ) -> JiantHost:
        """Exports the encoder, tokenises and caches the tasks, and writes a container config."""
        run_file = self._run_file
        if prepared_in is not None:
            link_prepared(prepared_in, run_file, self._tasks)
        config, arguments = prepare(
            run_file,
            self._tasks,
            encoder=self._encoder,
            hook=self._hook,
            log_file=log_file,
            made_now=made_now,
            shared=SharedCaches.of(run_file),
        )
        return open_host(
            config,
            arguments,
            run_file,
            self._hook,
            work_dir=run_file.output_dir,
            store=run_file.store_folder,
            log_file=log_file,
        )


def open_host(
    container_config: ContainerConfig,
    arguments: HostArguments,
    settings: GradTSSettings,
    hook: Any,
    *,
    work_dir: Path,
    log_file: Path | None,
    store: Path | None = None,
) -> JiantHost:
    """jiant on a task-container config.

    Args:
        container_config: the config, without its `gradts` block's record of an earlier selection.
        arguments: jiant's own.
        settings: say which of jiant's faults are mended, and which tasks are used.
        hook: the hooks.
        work_dir: where filtered data goes.
        log_file: where jiant's output goes; None: nowhere.
        store: where starts of trainings are kept, if that is asked for; None: nowhere.
    """
    attach_tasks(hook)
    keep_freed_memory()

    def on_step(plan: TrainingPlan, step: TrainStep) -> None:
        hook.after_train_step(plan=plan, step=step)

    def rewrite(config: ContainerConfig, selection: Selection, folder: Path) -> ContainerConfig:
        rewritten: ContainerConfig = hook.rewrite_config(
            config=config, selection=selection, output_dir=folder
        )
        return rewritten

    most_gib = settings.keep_starts
    starts = Starts(store.absolute() / "starts", most_gib) if store and most_gib else None
    return JiantHost(
        container_config,
        arguments,
        switches=FaultSwitches.of(settings),
        further_tasks=(settings.primary_task, *(settings.candidate_tasks or ())),
        work_dir=work_dir,
        on_step=on_step,
        rewrite_config=rewrite,
        log_file=log_file,
        starts=starts,
    )


def open_given(
    container_config: ContainerConfig,
    arguments: HostArguments,
    settings: GradTSSettings,
    hook: Any,
    *,
    work_dir: Path,
    log_file: Path | None,
) -> JiantHost:
    """jiant on a set-up that others made: as `open_host`, and all of it is tried before.

    Raises:
        GradTSError: the config, an argument, a task, a cache or the encoder is wrong.
    """
    parse_settings(ModelArguments, vars(arguments), where="jiant's arguments")
    host = open_host(
        container_config,
        arguments,
        settings,
        hook,
        work_dir=work_dir,
        store=settings.store or work_dir / "store",
        log_file=log_file,
    )
    rehearse_setup(container_config, arguments, alone=settings.primary_task)
    return host


def attach_tasks(hook: Any) -> None:
    """Lets jiant load the tasks that plugins know, and custom task configs, in this process."""

    def load_task(config: TaskValues, base_path: Path) -> Any:
        return hook.load_task(config=config, base_path=base_path)

    attach(load_task)
