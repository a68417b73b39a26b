"""`gradts-select run <jiant's arguments>`: trains as jiant's run script does, phases added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradts_plugin.commands import options
from gradts_plugin.errors import ConfigError

if TYPE_CHECKING:
    import pluggy

    from gradts_plugin.engine.engine import Engine
    from gradts_plugin.hosts.jiant.container import ContainerConfig
    from gradts_plugin.records import Outcome, TrainStep
    from gradts_plugin.settings.selection import GradTSSettings
    from gradts_plugin.terminal.progress import ProgressPlugin


@click.command(cls=options.UnreadCommand, add_help_option=False)
def command(*, arguments: tuple[str, ...]) -> int:
    """Selects and trains, writes the report, and prints what it came to."""
    for flag in ("--dry-run", "--json", "--no-measure"):
        if flag in arguments:
            raise ConfigError(
                f"{flag} needs a run file; for a jiant set-up: gradts-select select {flag} "
                "with the same arguments"
            )
    from gradts_plugin.commands.showing import print_result, progress_shown

    shown = options.Shown(quiet="--quiet" in arguments, plain="--plain" in arguments)
    logged = options.Logged(**{flag[2:]: flag in arguments for flag in options.LOGGED})
    own = ("--quiet", "--plain", *options.LOGGED)
    given = [each for each in arguments if each not in own]
    with progress_shown(shown) as (manager, progress):
        ran = _run(given, manager, progress, logged)
    if ran is not None:
        print_result(ran.engine, ran.outcome, shown, ran.following)
    return 0


@dataclass(frozen=True)
class _Ran:
    """A selection that jiant trained.

    Attributes:
        engine: the run.
        outcome: what it came to.
        following: what to type next; None where no weights were kept.
    """

    engine: Engine
    outcome: Outcome
    following: str | None


def _run(
    arguments: Sequence[str],
    manager: pluggy.PluginManager,
    progress: ProgressPlugin,
    logged: options.Logged,
) -> _Ran | None:
    """Selects and trains; None where nothing was selected: plain jiant, or a continued run."""
    from gradts_plugin import run
    from gradts_plugin.commands.jiant_setup import open_setup, require_folder
    from gradts_plugin.commands.showing import expect
    from gradts_plugin.hosts.jiant import runs
    from gradts_plugin.hosts.jiant.opening import attach_tasks
    from gradts_plugin.hosts.jiant.original_config import require_other_file

    mode, rest, gradts_config = runs.split_arguments(arguments)
    attach_tasks(manager.hook)
    if mode == "continue":
        configuration, checkpoint_path = runs.checkpointed_run(rest)
    else:
        configuration, checkpoint_path = runs.parse_run_arguments(rest), None
    config_path = Path(configuration.jiant_task_container_config_path)
    config, settings = _read(config_path, gradts_config, logged)
    if settings is None:
        runs.run_plainly(mode, rest)
        return None
    if checkpoint_path is not None:
        runs.resume_mended(configuration, checkpoint_path, settings=settings)
        return None
    folder = Path(configuration.output_dir).absolute() / "gradts"
    require_folder(folder)
    require_other_file(config_path, folder / run.REWRITTEN_CONFIG)
    arguments_of_host = runs.host_arguments(configuration)
    with open_setup(config, arguments_of_host, settings, manager, folder) as engine:
        expect(progress, engine, "probe", "rank", "select")
        outcome = run.choose(engine)
        plan = run.final_plan(engine, outcome.selection)
        steps: list[int] = []

        def observe(step: TrainStep) -> None:
            steps.append(step.global_step)
            manager.hook.after_train_step(plan=plan, step=step)

        with engine.session.phase("train", 1):
            runs.run_mended(
                mode,
                configuration,
                container_config_path=outcome.config_path,
                settings=settings,
                observe=observe,
            )
        if steps:  # none where run_with_continue found a finished run
            engine.session.accounts.training_ran(len(steps))
        run.write_result(engine.session, outcome)  # its steps and times are complete now
    return _Ran(engine, outcome, runs.following(configuration, outcome.config_path))


def _read(
    path: Path, gradts_config: Path | None, logged: options.Logged
) -> tuple[ContainerConfig, GradTSSettings | None]:
    """A container config, and its settings; None where the plugin is not enabled."""
    from gradts_plugin.hosts.jiant.original_config import read_container_config
    from gradts_plugin.settings.block import merge_settings

    config, block = read_container_config(path)
    if gradts_config is None and not block.get("enabled", bool(block)):
        return config, None
    settings = merge_settings(block, gradts_config, logged.flags, where=f"{path}: gradts")
    return config, settings if settings.enabled else None
