"""Where the data of a task lie, and what their fields are called."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, model_validator

from gradts_plugin.settings.parsing import Settings
from gradts_plugin.tasks.kinds import Split


def _inside_its_folder(path: str) -> str:
    """Refuses relative paths that climb out of the folder they start from."""
    if not path:
        raise ValueError("the path is empty")
    if not PurePath(path).is_absolute() and PurePath(os.path.normpath(path)).parts[:1] == ("..",):
        raise ValueError("the path leaves its folder; write it in full if that is meant")
    return path


DataPath = Annotated[str, AfterValidator(_inside_its_folder)]


#: The name of a field, or the number of its column: from 0, or from -1 at the end.
FieldName = str | StrictInt


class Fields(Settings):
    """What the fields (columns) of a row are called; a role left out has its own name.

    Columns of tables also have numbers: 0 is the first, -1 the last.

    Attributes:
        text_a: the text; of a multiple-choice task: what comes before the choices.
        text_b: the second text; only used where it is named, except for pairs, which have one.
        label: the label, score or right choice.
        tokens: list of words.
        labels: list of labels, one per word.
        choices: one field with the list of choices, or one field per choice.
    """

    text_a: FieldName | None = None
    text_b: FieldName | None = None
    label: FieldName | None = None
    tokens: FieldName | None = None
    labels: FieldName | None = None
    choices: FieldName | tuple[FieldName, ...] | None = None

    def given(self) -> dict[str, FieldName | tuple[FieldName, ...]]:
        """The roles that were named."""
        return self.model_dump(exclude_none=True)


DataFiles = DataPath | Annotated[tuple[DataPath, ...], Field(min_length=1)]


class Paths(Settings):
    """The data files of each split; relative paths start at the data folder.

    A list of files is read side by side: the first row of each is one row, and so on.
    """

    train: DataFiles
    val: DataFiles | None = None
    test: DataFiles | None = None

    def of(self, split: Split) -> tuple[str, ...]:
        """The files of a split, side by side; none where the split is not named."""
        files: str | tuple[str, ...] | None = getattr(self, split)
        return (files,) if isinstance(files, str) else files or ()


class Columns(Settings):
    """Names of the columns of each split; a split left out has a header line."""

    train: tuple[str, ...] | None = None
    val: tuple[str, ...] | None = None
    test: tuple[str, ...] | None = None


class SkippedRows(Settings):
    """Lines before the data of each split."""

    train: Annotated[int, Field(ge=0)] = 0
    val: Annotated[int, Field(ge=0)] = 0
    test: Annotated[int, Field(ge=0)] = 0


Share = Annotated[float, Field(gt=0, lt=1)]


class HeldOut(Settings):
    """Splits that are taken from the training data, where there are no others.

    Attributes:
        val: share of the training rows that become the dev split.
        test: share of the training rows that become the test split.
        seed: which rows those are.
        drawn_first: which of both is drawn first, from all rows.
    """

    val: Share | None = None
    test: Share | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    drawn_first: Literal["val", "test"] = "test"

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.val is None and self.test is None:
            raise ValueError("say how large the dev split is: {'val': 0.2}")
        if (self.val or 0) + (self.test or 0) >= 1:
            raise ValueError("val and test leave no rows for training")
        return self

    def share(self, split: Split) -> float | None:
        """The share of the training rows that a split takes; None: it is not taken from them."""
        return {"train": None, "val": self.val, "test": self.test}[split]


class Division(Settings):
    """How one field is divided into several.

    Attributes:
        field: what is divided; a line of a text file is called `line`.
        separator: what stands between the parts.
        into: names of the parts, in order. The last one takes what is left; one that a row lacks is
            missing there.
        from_end: divide at the last separators instead of the first.
    """

    field: str = "line"
    separator: Annotated[str, Field(min_length=1)]
    into: Annotated[tuple[str, ...], Field(min_length=2)]
    from_end: bool = False


class Splits(Settings):
    """What a dataset calls its splits; slices such as `train[:90%]` work."""

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
