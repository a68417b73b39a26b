"""What jiant's tasks and their caches hold, as the rest of the plugin knows it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from gradts_plugin.errors import DataError
from gradts_plugin.hosts.jiant.caches import hash_cache, open_cache
from gradts_plugin.records import TaskInfo
from gradts_plugin.tasks.spans import span_tags


def describe_task(task: Any, caches: Mapping[str, str], *, trimmed: bool = True) -> TaskInfo:
    """A task's sizes and fingerprints.

    Args:
        task: jiant's task.
        caches: phase -> folder, from the container config.
        trimmed: whether batches are trimmed to their longest row.

    Raises:
        DataError: a cache is missing, or the training split is empty.
    """
    name = str(task.name)
    for phase in ("train", "val", "val_labels"):
        if phase not in caches:
            raise DataError(
                f"task {name!r} has no {phase} cache in task_cache_config_dict; "
                f"tokenise its {phase.removesuffix('_labels')} split first"
            )
    train_cache = open_cache(name, "train", caches["train"])
    if not len(train_cache):
        raise DataError(f"task {name!r}: the train split is empty")
    has_test = "test_labels" in caches
    return TaskInfo(
        name=name,
        kind=task.TASK_TYPE.value,
        num_train=len(train_cache),
        num_dev=len(open_cache(name, "val", caches["val"])),
        fingerprint=hash_cache(caches["train"]),
        dev_fingerprint=_hash_text(
            hash_cache(caches["val"], caches["val_labels"]), _metric_of(task)
        ),
        test_fingerprint=hash_cache(caches["test"], caches["test_labels"]) if has_test else "",
        batch_tokens=_batch_tokens(train_cache, trimmed=trimmed),
    )


def _batch_tokens(cache: Any, *, trimmed: bool) -> float:
    """Tokens of an instance in a batch of 32, whose longest row is about the longest of 33."""
    try:
        masks = [np.atleast_2d(row["data_row"].input_mask) for row in cache.load_chunk(0)]
        lengths = [mask.sum(axis=1).max() if trimmed else mask.shape[1] for mask in masks]
        return float(np.quantile(lengths, 32 / 33) * len(masks[0]))
    except Exception:  # other rows, or damaged ones, which is told where they are read to be used
        return 1.0


def read_texts(cache: Any, example_ids: Sequence[int], encoder: str) -> dict[int, str]:
    """Decodes some rows of a cache; a bar sets texts of a pair, or choices, apart.

    Args:
        cache: from `open_cache`.
        example_ids: which rows.
        encoder: hub name or folder of the tokenizer.
    """
    wanted = set(example_ids)
    texts: dict[int, str] = {}
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    for row in cache.iter_all():
        if len(texts) == len(wanted):
            break
        example_id = int(row["metadata"]["example_id"])
        if example_id in wanted:
            texts[example_id] = _decode(tokenizer, row["data_row"].input_ids)
    return texts


def _decode(tokenizer: Any, input_ids: Any) -> str:
    """The text of token ids of shape (T,) or (C, T)."""
    parts: list[str] = []
    for ids in np.atleast_2d(input_ids):
        text = tokenizer.decode(ids[ids != tokenizer.pad_token_id])
        for mark in (tokenizer.cls_token, tokenizer.sep_token):
            text = text.replace(mark, "\n")
        parts += [part.strip() for part in text.split("\n") if part.strip()]
    return " | ".join(parts)


def _metric_of(task: Any) -> str:
    """What a task is scored by: our tasks say it in their config, jiant's own by their class."""
    config = getattr(task, "config", None)
    if config is None:
        return type(task).__name__
    # Spans of tags in other schemes than IOBES were once scored word by word, or never found.
    others = config.metric == "seqeval_f1" and any(
        tag != label for label, tag in span_tags(task.LABELS).items()
    )
    spans = " spans" if others else ""
    return f"{config.metric} {config.positive_label}{spans}"


def _hash_text(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
