"""Tokenised instances as MT-DNN's preprocessing writes them, one JSON object a line."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradts_plugin.export.definitions import class_id
from gradts_plugin.export.finished import FinishedSelection
from gradts_plugin.json_forms import JsonObject

if TYPE_CHECKING:
    from gradts_plugin.hosts.jiant.cached import TokenizedRow, TokenizedTask


def mtdnn_row(task: TokenizedTask, row: TokenizedRow) -> JsonObject:
    """An instance as MT-DNN's preprocessing writes it."""
    label: Any = row.target
    if isinstance(label, tuple):
        continuation, first, last = (len(task.labels) + index for index in range(3))
        label = [continuation if tag is None else tag for tag in label]
        label[0], label[-1] = first, last
    elif isinstance(label, int):
        label = class_id(task, label)
    values = {
        "uid": str(row.example_id),
        "label": label,
        "token_id": list(row.token_ids),
        "type_id": list(row.type_ids),
    }
    if task.kind != "tagging":  # MT-DNN's tagging rows have none
        values["attention_mask"] = [1] * len(row.token_ids)
    return values


def lines_of(task: TokenizedTask, phase: Any) -> Iterator[str]:
    """Yields a task's rows as lines."""
    for row in task.rows(phase):
        yield json.dumps(mtdnn_row(task, row)) + "\n"


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Writes lines; returns their number."""
    count = 0
    with path.open("w", encoding="utf-8") as stream:
        for line in lines:
            stream.write(line)
            count += 1
    return count


def write_train(run: FinishedSelection, task: TokenizedTask, path: Path) -> tuple[int, int]:
    """Writes a training file; returns the number of its rows and the longest one's tokens."""
    longest = 0

    def measured() -> Iterator[str]:
        nonlocal longest
        for row in task.rows("train"):
            longest = max(longest, len(row.token_ids))
            yield json.dumps(mtdnn_row(task, row)) + "\n"

    path = path.with_name(f"{path.name}_train.json")
    ratios = run.mixing_ratios
    if not ratios:
        return write_lines(path, measured()), longest
    wanted = _batches_of(run, task.name, ratios) * run.batch_size
    lines = list(measured())
    return write_lines(path, repeated(lines, wanted, seed=run.settings.seed)), longest


def _batches_of(run: FinishedSelection, task: str, ratios: Mapping[str, int]) -> int:
    return max(1, round(run.num_batches * ratios.get(task, 0) / sum(ratios.values())))


def repeated(lines: Sequence[str], count: int, *, seed: int) -> Iterator[str]:
    """Passes over the lines until there are `count`, each pass in an order of its own."""
    stream = random.Random(seed)  # noqa: S311
    while count > 0:
        taken = stream.sample(lines, min(count, len(lines)))
        yield from taken
        count -= len(taken)
