"""Where the data of a task lie, and what their fields are called."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Annotated

from pydantic import AfterValidator

from gradts_plugin.settings.parsing import Settings


def _inside_its_folder(path: str) -> str:
    """Refuses relative paths that climb out of the folder they start from."""
    if not path:
        raise ValueError("the path is empty")
    if not PurePath(path).is_absolute() and PurePath(os.path.normpath(path)).parts[:1] == ("..",):
        raise ValueError("the path leaves its folder; write it in full if that is meant")
    return path


DataPath = Annotated[str, AfterValidator(_inside_its_folder)]


class Fields(Settings):
    """What the fields (columns) of a row are called; a role left out has its own name.

    Attributes:
        text_a: the text; of a multiple-choice task: what comes before the choices.
        text_b: the second text; only used where it is named, except for pairs, which have one.
        label: the label, score or right choice.
        tokens: list of words.
        labels: list of labels, one per word.
        choices: one field with the list of choices, or one field per choice.
    """

    text_a: str | None = None
    text_b: str | None = None
    label: str | None = None
    tokens: str | None = None
    labels: str | None = None
    choices: str | tuple[str, ...] | None = None

    def given(self) -> dict[str, str | tuple[str, ...]]:
        """The roles that were named."""
        return self.model_dump(exclude_none=True)


class Paths(Settings):
    """The data files, one per split; relative paths start at the data folder."""

    train: DataPath
    val: DataPath
    test: DataPath | None = None


class Splits(Settings):
    """What a dataset calls its splits; slices such as `train[:90%]` work for hub datasets."""

    train: str = "train"
    val: str = "validation"
    test: str | None = None


class DatasetSource(Settings):
    """Data that the `datasets` library loads.

    Attributes:
        path: name on the hub, or a folder (relative ones start at the data folder).
        name: subset of the dataset.
        revision: branch, tag or commit on the hub.
        splits: what the splits are called.
        fields: field names, where they differ from the config's own `fields`.
    """

    path: DataPath
    name: str | None = None
    revision: str | None = None
    splits: Splits = Splits()
    fields: Fields = Fields()

    def place(self, split: str) -> str:
        """A split, as error messages name it."""
        subset = f" ({self.name})" if self.name else ""
        return f"dataset {self.path}{subset}, split {split!r}"
