"""Real tasks for a comparison: rows that leak into another task's dev or test set are left out."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gradts_plugin.tasks.shipped import shipped_task_configs

SPLITS = ("train", "val", "test")


def prepare_tasks(
    source: Path, folder: Path, tasks: Sequence[str], *, eval_rows: int
) -> dict[str, Any]:
    """Writes leak-free copies of tasks with capped dev and test sets, and their task configs.

    A training row is left out where its texts (letters and digits only, in lower case) are a row
    of any task's dev or test split.

    Args:
        source: holds TASK/train.jsonl, val.jsonl and, for some, test.jsonl.
        folder: the copies go to TASK/ in it, with TASK.json beside.
        tasks: names of shipped task configs.
        eval_rows: cap on dev and on test rows, a seeded sample.

    Returns:
        Task name -> its task config's `path`, `removed` training rows, `has_test`.
    """
    rows = {
        (task, split): read_rows(source / task / f"{split}.jsonl")
        for task in tasks
        for split in SPLITS
    }
    held_out = {
        texts_of(row) for (_, split), found in rows.items() if split != "train" for row in found
    }
    prepared = {}
    for task in tasks:
        train = rows[task, "train"]
        kept = {
            "train": [row for row in train if texts_of(row) not in held_out],
            "val": sample_rows(rows[task, "val"], eval_rows),
            "test": sample_rows(rows[task, "test"], eval_rows),
        }
        for split, found in kept.items():
            if found:
                path = folder / task / f"{split}.jsonl"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
        config = json.loads(shipped_task_configs()[task].read_text())
        config.pop("dataset", None)
        config.pop("$schema", None)
        config["paths"] = {
            split: str((folder / task / f"{split}.jsonl").absolute())
            for split, found in kept.items()
            if found
        }
        config_path = folder / f"{task}.json"
        config_path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        prepared[task] = {
            "path": str(config_path.absolute()),
            "removed": len(train) - len(kept["train"]),
            "has_test": bool(kept["test"]),
        }
    return prepared


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file; none where there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def sample_rows(rows: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """A seeded sample, in the rows' own order."""
    if len(rows) <= limit:
        return rows
    kept = sorted(random.Random(0).sample(range(len(rows)), limit))
    return [rows[index] for index in kept]


def texts_of(row: dict[str, Any]) -> frozenset[str]:
    """A row's texts in lower case, letters and digits only; in whichever order."""
    texts = row["tokens"] if "tokens" in row else [row["text_a"], row.get("text_b", "")]
    if "tokens" in row:
        texts = [" ".join(texts)]
    plain = ("".join(filter(str.isalnum, text)).lower() for text in texts)
    return frozenset(text for text in plain if text)
