"""What a finished run prints."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gradts_plugin.ranking.intervals import agreement_notes
from gradts_plugin.records import Outcome, RankedTask, Ranking, Selection, Trial
from gradts_plugin.scores import mean_score, score_difference, shown_duration, shown_score
from gradts_plugin.terminal.words import describe_tasks, shown_path


def ranking_table(ranking: Ranking) -> Table:
    """The ranking, one row per candidate."""
    percent = f"{ranking.confidence:.0%}"
    with_intervals = any(candidate.interval for candidate in ranking.candidates)
    unranked = [candidate for candidate in ranking.candidates if candidate.note]
    table = Table(
        title=f"Candidates for {ranking.primary_task}, best first",
        title_justify="left",
        caption="\n".join(f"{each.task_name}: {escape(each.note or '')}" for each in unranked),
        caption_justify="left",
    )
    table.add_column("#", justify="right")
    table.add_column("task")
    table.add_column(ranking.measure, justify="right")
    if not with_intervals:
        for position, candidate in enumerate(ranking.candidates, start=1):
            table.add_row(str(position), candidate.task_name, _figure(candidate))
        return table
    table.add_column(f"{percent} interval", justify="center")
    table.add_column("P(above next)", justify="right")
    for position, candidate in enumerate(ranking.candidates, start=1):
        low, high = candidate.interval or (math.nan, math.nan)
        above = candidate.probability_above_next
        interval = f"[{low:.3f}, {high:.3f}]".replace("[", r"\[") if candidate.interval else ""
        table.add_row(
            str(position),
            candidate.task_name,
            _figure(candidate),
            interval,
            "" if above is None else f"{above:.2f}",
        )
    return table


def _figure(candidate: RankedTask) -> str:
    return "-" if candidate.note else f"{candidate.tau:.3f}"


def coverage_note(ranking: Ranking) -> str:
    """What the intervals cover, and what they miss; how far a task agrees with itself."""
    if not ranking.covers:
        return f"The ranker {ranking.ranker!r} gives no intervals."
    return " ".join([_covered(ranking), *agreement_notes(ranking)])


def _covered(ranking: Ranking) -> str:
    if ranking.num_seeds == 0:
        return (
            "The intervals cover which instances were probed. The encoder was frozen, so there is "
            "no fine-tuning seed to vary."
        )
    if ranking.num_seeds == 1:
        return (
            "The intervals cover which instances were probed. One fine-tuning seed: the seed's "
            "part, usually the larger one, is missing; set seeds: 2 or more."
        )
    return (
        f"The intervals cover the probed instances and the fine-tuning seed "
        f"({ranking.num_seeds} seeds)."
    )


def print_selection(console: Console, selection: Selection) -> None:
    """The selection and its reason."""
    chosen = ", ".join(selection.auxiliary_tasks) or "none"
    console.print(Text.assemble((f"Selected for {selection.primary_task}:", "bold"), f" {chosen}"))
    console.print(selection.reason, highlight=False, markup=False)
    for name, ids in selection.kept_instances.items():
        console.print(f"  {name}: {len(ids)} training instances kept", highlight=False)


def print_outcome(
    console: Console,
    outcome: Outcome,
    *,
    files: Mapping[str, Path] | None = None,
    next_commands: Sequence[str] = (),
) -> None:
    """Everything a finished run has to say.

    Args:
        console: where it goes.
        outcome: of the run.
        files: further files the run wrote: what -> where.
        next_commands: what can be typed next.
    """
    console.print()
    if outcome.ranking is not None:
        console.print(ranking_table(outcome.ranking))
        console.print(coverage_note(outcome.ranking), style="dim", highlight=False)
        console.print()
    print_selection(console, outcome.selection)
    console.print()
    console.print(summary_table(outcome))
    console.print()
    print_notes(console, outcome.notes)
    for what, path in (
        ("Rewritten jiant configuration", outcome.config_path),
        *(("Trained weights", weights) for weights in outcome.weights[:1]),
        *(files or {}).items(),
    ):
        console.print(f"{what}: {shown_path(path)}", highlight=False, markup=False, soft_wrap=True)
    print_next(console, next_commands)


def summary_table(outcome: Outcome) -> Table:
    """What a run came to, one row per figure."""
    table = Table(title="Summary", title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    selection, ranking = outcome.selection, outcome.ranking
    ranker = f", ranked by {ranking.ranker}" if ranking is not None else ""
    table.add_row("method", Text(f"{selection.method}{ranker}"))
    table.add_row("selected", Text(", ".join(selection.auxiliary_tasks) or "none"))
    if outcome.selected is not None and outcome.alone is not None:
        primary = selection.primary_task
        table.add_row(
            "dev score",
            Text(f"{primary} alone: {outcome.alone.shown}"),
        )
        if selection.auxiliary_tasks:
            together = describe_tasks(primary, selection.auxiliary_tasks)
            difference = score_difference(outcome.selected.score, outcome.alone.score)
            gained = shown_score(difference, "+.4f")
            table.add_row(
                "",
                Text(f"{together}: {outcome.selected.shown} ({gained})"),
            )
        _add_test_scores(table, outcome.selected, outcome.alone, primary)
    for what, gain in (("gain", outcome.gain), ("test gain", outcome.test_gain)):
        if gain is not None:
            table.add_row(what, Text(gain.shown_short))
    done = outcome.done
    if done.training_steps == 0 and done.probes == 0:
        nothing = "Nothing was trained or probed: all was found stored."
        table.add_row("done", Text(nothing))
    else:
        table.add_row(
            "done",
            Text(
                f"{done.training_steps} training steps in {done.training_runs} runs, "
                f"{done.probes} probes"
            ),
        )
    table.add_row("reused", Text(f"{done.training_runs_reused} runs, {done.probes_reused} probes"))
    times = ", ".join(
        f"{name} {shown_duration(seconds)}" for name, seconds in outcome.seconds.items()
    )
    table.add_row("time", Text(times))
    return table


def _add_test_scores(table: Table, selected: Trial, alone: Trial, primary: str) -> None:
    """Both test scores, where they were asked for."""
    if not alone.test_scores:
        return
    scored = mean_score(alone.test_scores)
    table.add_row("test score", Text(f"{primary} alone: {shown_score(scored)}"))
    if selected.auxiliary_tasks:
        together, own = mean_score(selected.test_scores), selected.auxiliary_tasks
        gained = shown_score(score_difference(together, scored), "+.4f")
        described = describe_tasks(primary, own)
        table.add_row("", Text(f"{described}: {shown_score(together)} ({gained})"))


def print_notes(console: Console, notes: Sequence[str]) -> None:
    """What has to be known before numbers are trusted."""
    for note in notes:
        console.print(Text.assemble(("Note: ", "bold yellow"), note))
    if notes:
        console.print()


def print_next(console: Console, commands: Sequence[str]) -> None:
    """The commands to type next; they are never broken, so that they can be copied."""
    if not commands:
        return
    console.print()
    console.print("Next:", style="bold")
    for command in commands:
        for line in command.splitlines():
            console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
