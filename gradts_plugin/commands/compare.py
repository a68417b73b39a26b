"""`gradts-select compare`: selection methods side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradts_plugin.commands import options
from gradts_plugin.commands.plan import plan_compare_file

if TYPE_CHECKING:
    from gradts_plugin.engine.session import Session


@click.command(cls=options.Command)
@options.argument("compare_file", "YAML compare file")
@options.takes(options.Shown, options.Changed, options.Executed, options.Planned)
def command(
    shown: options.Shown,
    changed: options.Changed,
    executed: options.Executed,
    planned: options.Planned,
    *,
    compare_file: Path,
) -> int:
    """Compares, writes the page, and prints the tables; or only plans that."""
    if planned.dry_run:
        return plan_compare_file(compare_file, shown, changed, no_measure=planned.no_measure)
    from gradts_plugin.settings.compare_file import read_compare_file

    read = executed.applied_to(read_compare_file(compare_file, changed.changes))
    from rich.console import Console

    from gradts_plugin.commands.showing import print_json, progress_shown, training_command
    from gradts_plugin.comparison.compare import compare, of_all_tasks
    from gradts_plugin.comparison.results import COMPARISON
    from gradts_plugin.comparison.tables import COMPARISON_TABLES
    from gradts_plugin.report.writing import write_comparison_report
    from gradts_plugin.run import REWRITTEN_CONFIG
    from gradts_plugin.terminal.comparison_progress import ComparisonProgress
    from gradts_plugin.terminal.comparison_tables import print_comparison
    from gradts_plugin.workers.making import executor_of

    opened: list[Session] = []
    executor = executor_of(of_all_tasks(read))
    with progress_shown(shown, ComparisonProgress) as (manager, progress):
        if executor is not None:
            progress.num_at_once = executor.num_workers
            progress.say(executor.shown)
        compared = compare(
            read,
            manager,
            report=progress.say,
            expect=progress.expect_trainings,
            on_opened=opened.append,
            executor=executor,
        )
    folder = read.output_dir
    page = write_comparison_report(folder)
    if shown.as_json:
        print_json(compared)
        return 0
    chosen = folder / "methods" / read.primaries[0] / compared.best_method
    files = [folder / COMPARISON_TABLES, folder / COMPARISON]
    print_comparison(
        Console(),
        compared,
        files=files if page is None else [page, *files],
        next_commands=[training_command(opened[0], chosen / REWRITTEN_CONFIG, chosen)],
    )
    return 0
