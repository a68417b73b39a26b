"""The demo's tasks: which there are, what they are to each other, and how they are written.

The truth is planted: every candidate either shares what the primary needs (comparing two notes
detail by detail), or needs something else, or has labels that mean nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from gradts_plugin.demo import grammar, words
from gradts_plugin.errors import ConfigError
from gradts_plugin.stores.files import write_bytes_atomic, write_json_atomic
from gradts_plugin.tasks.kinds import Kind, Metric

Role = Literal["primary", "related", "unrelated", "random"]

# Rows that repeat a text are drawn again; this many repeats in a row mean there are none left.
_MAX_REPEATS: Final = 1000


@dataclass(frozen=True)
class _Task:
    """A task of the demo.

    Attributes:
        name: of the task and its files.
        role: what it is to the primary.
        kind: as in task configs.
        metric: as in task configs.
        labels: what rows are asked for in turn: labels, scores, or None (tagging).
        make_row: draws a row for one of `labels`.
        share: training rows, as a share of what is asked for; real tasks differ in size.
    """

    name: str
    role: Role
    kind: Kind
    metric: Metric
    labels: Sequence[str] | Sequence[float] | Sequence[None]
    make_row: Callable[..., grammar.Row]
    share: float


_TASKS: Final = (
    _Task("same_note", "primary", "pair", "accuracy", ("yes", "no"), grammar.same_row, 0.3),
    _Task("coin", "random", "single", "accuracy", ("heads", "tails"), grammar.coin_row, 0.9),
    _Task("topic", "unrelated", "single", "accuracy", tuple(words.TOPICS), grammar.topic_row, 0.85),
    _Task("difference", "related", "pair", "accuracy", grammar.COMPARED, grammar.difference_row, 1),
    _Task("parts", "unrelated", "tagging", "macro_f1", (None,), grammar.parts_row, 0.8),
    _Task("overlap", "related", "regression", "pearson", grammar.SHARES, grammar.overlap_row, 0.95),
    _Task("mood", "unrelated", "single", "f1", tuple(words.JUDGEMENTS), grammar.mood_row, 0.9),
)


@dataclass(frozen=True)
class DemoTruth:
    """What is true of the demo's tasks by construction.

    Attributes:
        primary: the task to help; it has the fewest training rows.
        related: candidates that share what the primary needs.
        unrelated: candidates that need something else.
        random_label: the candidate whose labels were drawn without looking at its texts.
        config_paths: task name -> its task config, the primary first.
    """

    primary: str
    related: tuple[str, ...]
    unrelated: tuple[str, ...]
    random_label: str
    config_paths: Mapping[str, Path]

    @property
    def candidates(self) -> tuple[str, ...]:
        """All tasks but the primary, in an order that gives nothing away."""
        return tuple(name for name in self.config_paths if name != self.primary)


def write_demo_tasks(
    folder: Path, *, seed: int = 0, train_rows: int = 320, val_rows: int = 200
) -> DemoTruth:
    """Writes the demo's tasks: `<task>.json`, `<task>/train.jsonl` and `<task>/val.jsonl`.

    The same arguments always write the same bytes. No text appears twice, within a task or across.

    Args:
        folder: where they go; made if missing, files of these names are replaced.
        seed: everything is drawn from it.
        train_rows: training rows of the largest task; the primary has 30 % of that.
        val_rows: validation rows of each task.

    Returns:
        The planted truth, with the paths of the task configs.

    Raises:
        ConfigError: there are not that many different rows, or less than one.
        StoreError: the disk refused.
    """
    if min(train_rows * 3 // 10, val_rows) < 1:
        raise ConfigError(f"train_rows {train_rows}, val_rows {val_rows}: 4 and 1 at least")
    seen: set[str] = set()
    for task in _TASKS:
        rng = random.Random(f"{seed}/{task.name}")  # noqa: S311  # no secrets here
        for split, num_rows in (("train", int(train_rows * task.share)), ("val", val_rows)):
            rows = _draw_rows(rng, task, num_rows, seen)
            text = "".join(json.dumps(row) + "\n" for row in rows)
            write_bytes_atomic(folder / task.name / f"{split}.jsonl", text.encode())
        write_json_atomic(folder / f"{task.name}.json", _task_config(task))
    return _truth(folder)


def _draw_rows(rng: random.Random, task: _Task, num_rows: int, seen: set[str]) -> list[grammar.Row]:
    """Rows with each label equally often, in random order, without the texts seen before."""
    rows: list[grammar.Row] = []
    repeats = 0
    while len(rows) < num_rows:
        label = task.labels[len(rows) % len(task.labels)]
        row = task.make_row(rng, label)
        texts = _texts(row)
        if texts & seen:
            repeats += 1
            if repeats > _MAX_REPEATS:
                raise ConfigError(f"task {task.name!r} has no {num_rows} more different rows")
            continue
        repeats = 0
        seen |= texts
        rows.append(row if label is None else {**row, "label": label})
    rng.shuffle(rows)
    return rows


def _texts(row: grammar.Row) -> set[str]:
    """A row's texts without white space, so that a tokenised text equals the text itself."""
    texts = (row[field] for field in ("text_a", "text_b", "tokens") if field in row)
    return {"".join(text).replace(" ", "") for text in texts}


def _task_config(task: _Task) -> dict[str, object]:
    fields = ("tokens", "labels") if task.kind == "tagging" else ("text_a", "text_b", "label")
    config: dict[str, object] = {
        "name": task.name,
        "kind": task.kind,
        "paths": {split: f"{task.name}/{split}.jsonl" for split in ("train", "val")},
        "fields": {field: field for field in fields if task.kind != "single" or field != "text_b"},
        "metric": task.metric,
    }
    if task.kind == "tagging":
        config["labels"] = list(grammar.TAGS)
    elif task.kind != "regression":
        config["labels"] = list(task.labels)
    if task.metric == "f1":
        config["positive_label"] = task.labels[0]
    return config


def _truth(folder: Path) -> DemoTruth:
    names: dict[Role, tuple[str, ...]] = {
        role: tuple(task.name for task in _TASKS if task.role == role)
        for role in ("primary", "related", "unrelated", "random")
    }
    return DemoTruth(
        primary=names["primary"][0],
        related=names["related"],
        unrelated=names["unrelated"],
        random_label=names["random"][0],
        config_paths={task.name: folder / f"{task.name}.json" for task in _TASKS},
    )
