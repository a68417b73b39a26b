"""What `gradts-select task` prints."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from gradts_plugin.tasks.overview import SplitOverview, TaskOverview

#: So many labels of a split are listed.
_LABELS = 40


def print_task(task: TaskOverview) -> None:
    """Prints a task, split by split."""
    labels = f", {len(task.labels)} labels" if task.labels else ""
    lines = [f"{task.name}: {task.kind}, {task.metric}{labels}"]
    for split in task.splits:
        lines += ["", *_split_lines(split, task.unit)]
    print_lines(*lines)


def print_lines(*lines: str) -> None:
    """Prints lines as they are, never broken."""
    console = Console(highlight=False)
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _split_lines(split: SplitOverview, unit: str) -> Iterable[str]:
    yield f"{split.split}  {split.source}"
    if split.problem is not None:
        yield f"  CANNOT BE READ: {split.problem}"
        return
    kept = f" ({split.num_trained} of them are trained on)" if _is_capped(split) else ""
    yield f"  rows      {split.num_rows:,}{kept}"
    for words in split.left_out:
        yield f"            {words}"
    if split.labels is not None:
        yield f"  labels    {_counts(split)}"
    if split.scores is not None:
        low, mean, high = split.scores
        yield f"  scores    from {low:g} to {high:g}, mean {mean:g}"
    if split.lengths is not None:
        yield f"  {unit:9} {_lengths(split)}"
    for number, row in enumerate(split.rows, start=1):
        yield f"  row {number}     {' '.join(row.split())}"


def _is_capped(split: SplitOverview) -> bool:
    return 0 < split.num_trained < split.num_rows


def _counts(split: SplitOverview) -> str:
    counts = list((split.labels or {}).items())
    shown = [f"{label or '(none)'} {count:,}" for label, count in counts[:_LABELS]]
    more = f", and {len(counts) - _LABELS} more" if len(counts) > _LABELS else ""
    return ", ".join(shown) + more


def _lengths(split: SplitOverview) -> str:
    found = split.lengths
    if found is None:
        return ""
    cut = f"; {found.num_cut} rows are cut" if found.num_cut else ""
    seen = f" (of {found.num_rows:,} rows)" if found.num_rows < split.num_rows else ""
    return (
        f"{found.shortest} to {found.longest}, median {found.median}, 95 % up to {found.most}"
        f"{seen}{cut}"
    )
