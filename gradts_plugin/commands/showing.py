"""What commands that compute show: the progress on stderr, the result on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gradts_plugin import plugins
from gradts_plugin.commands.options import Shown
from gradts_plugin.engine.notes import candidates_note
from gradts_plugin.errors import GradTSError
from gradts_plugin.json_forms import to_json
from gradts_plugin.planning.plan import make_plan
from gradts_plugin.terminal.progress import ProgressPlugin
from gradts_plugin.terminal.words import shown_path

if TYPE_CHECKING:
    import pluggy

    from gradts_plugin.engine.engine import Engine
    from gradts_plugin.engine.session import Session
    from gradts_plugin.records import Outcome, Ranking


@contextlib.contextmanager
def progress_shown(
    shown: Shown, kind: type[ProgressPlugin] = ProgressPlugin
) -> Iterator[tuple[pluggy.PluginManager, Any]]:
    """Gives the plugins with the progress among them, and in the end the terminal back."""
    # Bound to the stream of now: what jiant prints is sent to the log by exchanging sys.stderr.
    # And never a moving bar in a file, whatever FORCE_COLOR says.
    console = Console(file=sys.stderr, force_interactive=None if sys.stderr.isatty() else False)
    progress = kind(console, quiet=shown.quiet, plain=shown.plain)
    try:
        yield plugins.make_plugin_manager([progress]), progress
    finally:
        progress.close()


def expect(progress: ProgressPlugin, engine: Engine, *phases: str) -> None:
    """Tells the progress what these phases will do, where that can be told."""
    if progress.quiet:
        return
    if engine.session.executor is not None:
        progress.say(engine.session.executor.shown)
    with contextlib.suppress(GradTSError):  # the run itself says it, where it belongs
        if note := candidates_note(engine):
            progress.say(f"Note: {note}")
        planned = make_plan(engine, final_training="train" in phases, look_ahead=False)
        parts = [part for part in planned.parts if part.phase in phases]
        unknown = any(part.num_to_do is None for part in parts)
        at_most = any(part.upper_bound for part in parts)
        progress.expect(
            {phase: tokens for phase, tokens in planned.tokens.items() if phase in phases},
            bound="≥" if unknown else "≤" if at_most else "",
        )


def print_plan(
    engine: Engine,
    shown: Shown,
    next_command: str,
    *,
    final_training: bool,
    no_measure: bool,
    **sizes: int,
) -> None:
    """Prints what a run would do, with measured times where something has to be trained."""
    from gradts_plugin.planning.rates import measure
    from gradts_plugin.terminal import plan_table

    plan = make_plan(engine, final_training=final_training)
    if not plan.nothing_to_do:
        rates = measure(engine.session, steps=not no_measure)
        plan = make_plan(engine, final_training=final_training, rates=rates)
    if shown.as_json:
        print_json({**to_json(plan), **sizes})
    else:
        plan_table.print_plan(Console(), plan, **sizes, next_commands=[next_command])


def print_json(values: Any) -> None:
    """Prints a record, or anything made of records and plain values, as JSON."""
    sys.stdout.write(json.dumps(to_json(values), indent=2) + "\n")


def print_result(
    engine: Engine, outcome: Outcome, shown: Shown, following: str | None = None
) -> None:
    """Writes the report of a run or selection, and prints what it came to.

    Args:
        engine: the run, after its last phase.
        outcome: what it came to.
        shown: how.
        following: what to type next; None: what trains the rewritten configuration.
    """
    from gradts_plugin.report.writing import write_report
    from gradts_plugin.terminal.tables import print_outcome

    report = write_report(engine, outcome)
    if shown.as_json:
        print_json(outcome)
    else:
        session = engine.session
        following = following or training_command(session, outcome.config_path, session.output_dir)
        print_outcome(Console(), outcome, files={"Report": report}, next_commands=[following])


def show_ranking(ranking: Ranking, folder: Path, shown: Shown, next_command: str) -> None:
    """Writes a ranking to `ranking.json` in a folder, and prints it."""
    from gradts_plugin.run import RANKING
    from gradts_plugin.stores.files import write_json_atomic
    from gradts_plugin.terminal import tables

    path = folder / RANKING
    write_json_atomic(path, to_json(ranking))
    if shown.as_json:
        print_json(ranking)
        return
    out = Console()
    out.print(tables.ranking_table(ranking))
    out.print(tables.coverage_note(ranking), style="dim", highlight=False)
    out.print(f"Ranking: {shown_path(path)}", highlight=False, markup=False, soft_wrap=True)
    tables.print_next(out, [next_command])


def training_command(session: Session, config_path: Path, folder: Path) -> str:
    """What to type to train a rewritten configuration with the host itself."""
    return session.host.training_command(
        Path(shown_path(config_path)),
        session.settings.training,
        seed=session.settings.seed,
        output_dir=Path(shown_path(folder / "jiant")),
        shown=shown_path,
    )
