"""What a plan prints."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradts_plugin.comparison.planning import ComparisonPlan
from gradts_plugin.planning.plan import Plan
from gradts_plugin.scores import shown_duration
from gradts_plugin.terminal.tables import print_next, print_notes
from gradts_plugin.terminal.words import format_bytes


def print_plan(
    console: Console,
    plan: Plan,
    *,
    prepared_bytes: int | None = None,
    next_commands: Sequence[str] = (),
) -> None:
    """What a run will do.

    Args:
        console: where it goes.
        plan: the plan.
        prepared_bytes: size of what jiant's preparation adds; None: there is none.
        next_commands: what can be typed next.
    """
    table = Table(
        title=f"What selecting for {plan.primary_task} by {plan.method} takes",
        title_justify="left",
    )
    for name in ("", "needed", "stored", "to do", "steps", "time"):
        table.add_column(name, justify="right" if name else "left")
    for part in plan.parts:
        at_most = "≤ " if part.upper_bound else ""
        unknown = part.num_to_do is None
        time_needed = "" if part.seconds is None else shown_duration(part.seconds)
        table.add_row(
            Text(part.what),
            "?" if unknown else f"{at_most}{part.num_needed}",
            str(part.num_stored),
            "?" if unknown else f"{at_most}{part.num_to_do}",
            "?" if unknown else f"{at_most}{part.num_steps:,}" if part.num_steps else "",
            "?" if unknown else f"{at_most}{time_needed}" if time_needed else "",
        )
    console.print(table)
    if plan.nothing_to_do:
        console.print("Nothing is to be trained or probed: all of it is stored.")
    elif not plan.measured:
        console.print("Time: not measured.")
    else:
        known = sum(part.seconds or 0.0 for part in plan.parts)
        bounds = " or more" * plan.unknown or " or less" * plan.upper_bound
        console.print(
            f"Time: about {shown_duration(known)}{bounds}; measured: {plan.measured}.",
            highlight=False,
            markup=False,
        )
    sizes = {
        "importances": plan.importance_bytes,
        "weights (at most)": plan.weight_bytes,
        "tokenised tasks and encoder": prepared_bytes,
    }
    known_sizes = [
        f"{what} {format_bytes(size)}" for what, size in sizes.items() if size is not None
    ]
    if known_sizes:
        console.print(f"Disk: {', '.join(known_sizes)}.", highlight=False, markup=False)
    if plan.auxiliary_tasks is not None:
        chosen = ", ".join(plan.auxiliary_tasks) or "none"
        console.print(f"The selection is known already: {chosen}.", markup=False, highlight=False)
    print_notes(console, plan.notes)
    print_next(console, next_commands)


def print_comparison_plan(
    console: Console, plan: ComparisonPlan, *, next_commands: Sequence[str] = ()
) -> None:
    """What a comparison will do at most.

    Args:
        console: where it goes.
        plan: the plan.
        next_commands: what can be typed next.
    """
    table = Table(title="What comparing takes at most", title_justify="left")
    for name in ("primary", "method", "trainings", "probes", "steps", "time"):
        table.add_column(name, justify="left" if name in ("primary", "method") else "right")
    for part in plan.parts:
        table.add_row(
            Text(part.primary_task),
            Text(part.part),
            "?" if part.num_trainings is None else str(part.num_trainings),
            str(part.num_probes),
            f"{part.num_steps:,}",
            "" if part.seconds is None else shown_duration(part.seconds),
        )
    console.print(table)
    if plan.seconds is None:
        console.print("Time: not measured.")
    else:
        console.print(
            f"Time: about {shown_duration(plan.seconds)} or less; measured: {plan.measured}.",
            highlight=False,
            markup=False,
        )
    print_notes(console, ["What methods share is stored, and made once: all of it is less."])
    print_next(console, next_commands)
