"""The first run file over some tasks, with what each line is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from gradts_plugin.settings.training import DEFAULT_EPOCHS

#: The encoder of a run file that was not asked for another.
DEFAULT_MODEL: Final = "bert-base-cased"

#: Lengths at which texts are cut, of which the first is taken that is long enough.
_LENGTHS: Final = (64, 128, 256, 512)

#: English words have so many tokens, with room for longer ones.
_TOKENS_OF_A_WORD: Final = 1.4

#: Training steps of the primary: fewer teach little, more take long.
_FEWEST, _MOST = 200, 2000

_BATCH_SIZE: Final = 32

#: Trainings of a first search.
_BUDGET: Final = 12

#: Candidates of a folder with one task, by whether it is a tagging task.
SHIPPED_CANDIDATES: Final[Mapping[bool, tuple[str, ...]]] = {
    True: ("pos", "ner", "sc"),
    False: ("mnli", "qqp", "sst2", "stsb"),
}


@dataclass(frozen=True)
class RunTask:
    """A task of the run file.

    Attributes:
        name: its name.
        entry: how the run file names it: a path from its folder, or a shipped name.
        num_rows: training rows; None: a shipped task's, which are not here yet.
        longest: 95 of 100 rows have no more words, or tokens.
    """

    name: str
    entry: str
    num_rows: int | None = None
    longest: int = 0


def run_file_text(
    tasks: Sequence[RunTask],
    *,
    primary: str,
    was_given: bool,
    model: str,
    counts_tokens: bool,
    max_length: int,
) -> str:
    """Writes a run file.

    Args:
        tasks: its tasks.
        primary: name of the one that is to be helped.
        was_given: whether the user named the primary.
        model: the encoder's name or folder.
        counts_tokens: lengths are of the encoder's tokens, not of words.
        max_length: positions of the encoder.

    Returns:
        YAML, valid as a run file.
    """
    (rows,) = (task.num_rows or 0 for task in tasks if task.name == primary)
    why = "as you named it" if was_given else "the one with the fewest training rows"
    entries = "\n".join(f"  - {_quoted(task.entry)}{_rows_comment(task)}" for task in tasks)
    text = _TEXT.format(
        model=_quoted(model),
        length=_max_length(tasks, counts_tokens=counts_tokens, limit=max_length),
        entries=entries,
        primary=_quoted(primary),
        why=why,
        budget=_BUDGET,
        batch_size=_BATCH_SIZE,
        training=_training(rows),
    )
    if any(task.num_rows is None for task in tasks):
        text = text.replace("# Those of the folder,", _SHIPPED + "# Those of the folder,")
    return text


def _quoted(text: str) -> str:
    """As YAML takes it, whatever is in it."""
    flow = yaml.safe_dump([text], default_flow_style=True, allow_unicode=True, width=10_000)
    return flow.strip()[1:-1]


def _rows_comment(task: RunTask) -> str:
    return "" if task.num_rows is None else f"  # {task.num_rows:,} training rows"


def _max_length(tasks: Sequence[RunTask], *, counts_tokens: bool, limit: int) -> int:
    longest = max(task.longest for task in tasks)
    needed = longest if counts_tokens else longest * _TOKENS_OF_A_WORD + 3
    fitting = [length for length in _LENGTHS if length <= limit] or [limit]
    return next((length for length in fitting if length >= needed), fitting[-1])


def _training(num_rows: int) -> str:
    """The length, as a line of the file."""
    steps = DEFAULT_EPOCHS * num_rows / _BATCH_SIZE
    if steps < _FEWEST:
        return f"max_steps: {_FEWEST}"
    return f"max_steps: {_MOST}" if steps > _MOST else f"epochs: {DEFAULT_EPOCHS}"


_SHIPPED = """\
# The folder holds one task, and a run needs others to choose from: the ones without a path come
# with gradts-select, and their data from the hub (or from a data_dir, see `gradts-select data`).
"""

_TEXT = """\
# Which of the other tasks help the primary? Before it runs: gradts-select plan run.yaml
# Paths start at this file's folder. Every other key, with its default: docs/settings.md

# The encoder: a name on the hub, or a folder. Change it for texts in another language or of a
# special field, or for a smaller one that trains faster.
model:
  name_or_path: {model}
  max_seq_length: {length}  # longer texts are cut; raise it where `gradts-select task` says so

# Those of the folder, and whatever else may help: further task configs, shipped names (rte, mnli).
tasks:
{entries}

# The task to be helped: {why}. Name another one to help that.
primary_task: {primary}

# `race` makes up to `budget` trainings, and finds "none of these" too. Raise it where the intervals
# are too wide to decide; `trial` tries the ranking from its top, `thres` trains nothing.
method:
  name: race
  budget: {budget}

# Every training, in batches of the primary; auxiliaries get as many before. Train longer where the
# primary alone still gets better at the end; take smaller batches where memory does not last.
training:
  {training}
  batch_size: {batch_size}
  learning_rate: 5.0e-5

# Everything the run writes. Another primary needs another one; a common `store` shares the probes.
output_dir: run
"""
