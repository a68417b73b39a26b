"""`gradts-select plan`: what a run or compare file trains, how long that takes, what it stores."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from gradts_plugin.commands import options


@click.command(cls=options.Command)
@options.argument("run_file", "YAML run file, or compare file")
@click.option("--no-measure", is_flag=True, help="measure no time")
@options.takes(options.Shown, options.Changed)
def command(
    shown: options.Shown, changed: options.Changed, *, run_file: Path, no_measure: bool
) -> int:
    """Plans a run file, or a compare file."""
    from gradts_plugin.settings.reading import read_yaml

    values = read_yaml(run_file)
    is_comparison = isinstance(values, dict) and "primaries" in values
    make = plan_compare_file if is_comparison else plan_run_file
    return make(run_file, shown, changed, no_measure=no_measure)


def plan_run_file(
    path: Path, shown: options.Shown, changed: options.Changed, *, no_measure: bool
) -> int:
    """Prints what a run file would do; nothing is written but tokenised tasks."""
    from gradts_plugin.commands.reading import read_checked

    run_file = read_checked(path, changed.changes)
    from gradts_plugin.commands.showing import print_plan, progress_shown
    from gradts_plugin.opening import run_file_to_plan
    from gradts_plugin.stores.files import size_on_disk

    with (
        progress_shown(shown) as (manager, _),
        run_file_to_plan(run_file, manager) as engine,
    ):
        print_plan(
            engine,
            shown,
            f"gradts-select run {shlex.quote(str(path))}{changed.typed}",
            final_training=True,
            no_measure=no_measure,
            prepared_bytes=size_on_disk(engine.session.output_dir),
        )
    return 0


def plan_compare_file(
    path: Path, shown: options.Shown, changed: options.Changed, *, no_measure: bool
) -> int:
    """Prints what a compare file would do; nothing is written but tokenised tasks."""
    from gradts_plugin.settings.compare_file import read_compare_file

    compare_file = read_compare_file(path, changed.changes)
    import functools

    from rich.console import Console

    from gradts_plugin.commands.showing import print_json, progress_shown
    from gradts_plugin.comparison.compare import checked_settings, of_all_tasks
    from gradts_plugin.comparison.methods import check_tasks
    from gradts_plugin.comparison.planning import plan_comparison
    from gradts_plugin.opening import run_file_to_plan
    from gradts_plugin.planning.rates import measure
    from gradts_plugin.terminal.plan_table import print_comparison_plan

    with progress_shown(shown) as (manager, _):
        settings = checked_settings(compare_file, manager)
        check = functools.partial(check_tasks, compare_file, settings)
        with run_file_to_plan(
            of_all_tasks(compare_file), manager, check_task_names=check
        ) as engine:
            rates = None if no_measure else measure(engine.session)
            plan = plan_comparison(compare_file, engine.session, settings, rates)
    if shown.as_json:
        print_json(plan)
    else:
        typed = f"gradts-select compare {shlex.quote(str(path))}{changed.typed}"
        print_comparison_plan(Console(), plan, next_commands=[typed])
    return 0
