"""Custom tasks as JSON: what a task config may say.

A task config names a kind of task, where its data lie, which fields hold what, its labels and its
metric; `reading` turns it into examples and the host turns those into a task of its own. The
host's own task configs, which have no `kind`, are none of this module's business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from gradts_plugin.errors import nearest
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.settings.parsing import Settings, parse_settings
from gradts_plugin.settings.reading import read_json
from gradts_plugin.tasks.kinds import (
    COMPRESSED,
    METRICS,
    NAMED_FIELDS,
    NUMBERED_COLUMNS,
    ROLES,
    SUFFIXES,
    Format,
    Kind,
    Metric,
    Split,
    label_name,
)
from gradts_plugin.tasks.sources import (
    Columns,
    DatasetSource,
    Division,
    FieldName,
    Fields,
    HeldOut,
    Paths,
    SkippedRows,
)

SPLITS: tuple[Split, ...] = get_args(Split)

#: A task config as it is read and written, JSON values: one of ours, whose keys `TaskConfig` names,
#: or one of the host's own.
TaskValues = Mapping[str, Any]


def _label_names(value: object) -> object:
    if isinstance(value, (list, tuple)):
        return tuple(label_name(item) for item in value)
    if value not in ("infer", "infer_all", "text"):
        raise ValueError("a list of labels, 'infer', 'infer_all' or 'text' is needed")
    return value


def _known_encoding(name: str) -> str:
    try:
        "a".encode(name)
    except LookupError as error:
        near = nearest(name, ("utf-8", "utf-16", "latin-1", "cp1252", "gb18030", "shift_jis"))
        raise ValueError(f"no encoding of texts; {near}") from error
    return name


LabelName = Annotated[str, BeforeValidator(label_name)]
NoLabel = Annotated[str, BeforeValidator(lambda value: "" if value is None else label_name(value))]


class TaskConfig(Settings):
    """A custom task.

    Attributes:
        schema_url: for editors; not used.
        name: unique within a run; letters, digits, `_`, `.` and `-`.
        kind: single, pair, regression, tagging or multiple_choice.
        paths: data files; they are used where the training file exists.
        dataset: a dataset of the hub or a folder; it is used where there are no `paths`, or where
            their training file does not exist.
        format: of the files; found by their suffix when left out.
        encoding: of the files; UTF-8, or UTF-16 where a file begins with its mark, when left out.
        skip_rows: lines before the data (and before the header line), which are not read; one
            number, or one for each split.
        on_bad_rows: `error`, or `skip`: rows whose form is broken (too many or too few columns,
            quotes in the wrong place, no JSON) are left out, and counted.
        columns: names of the columns, for files without a header line (csv, tsv, conll); one list,
            or one for each split. Of text files side by side: a name for each.
        separator: between columns; default: comma (csv), tab (tsv, conllu), white space (conll).
        comment: lines of a conll file that start with this are skipped.
        split: divides a field into several: `{"separator": " ", "into": ["label", "text_a"]}`; a
            list of such divisions is done in order.
        fields: what the fields of a row are called.
        labels: the labels in the order of their ids; `infer`: the sorted labels of the training
            split; `infer_all`: of all splits that are named. Multiple choice: names of the choices
            in their order; `infer`: the choices' own text, numbers from 0, or letters from A;
            `text`: only the choices' own text.
        label_map: names for values found in the data, where they differ from `labels`.
        no_label: values that mean "no label", `""` an empty cell or null. Such training and dev
            rows are left out and counted, such tags are ignored. Default: -100, an empty label of
            a row, and -1, - and _ (tags) where they are no label of the task.
        metric: the score of the task.
        positive_label: the label that the metric `f1` is computed for.
        held_out: splits that are taken from the training data: `{"val": 0.2, "seed": 0}`; each
            class keeps its share, and no text is in two splits.
        max_train_examples: cap on training rows, a seeded sample in file order.
        sample_seed: seed of that sample.
    """

    model_config = ConfigDict(title="GradTS task config")

    schema_url: str | None = Field(default=None, alias="$schema")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
    kind: Kind
    paths: Paths | None = None
    dataset: DatasetSource | None = None
    format: Format | None = None
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = None
    skip_rows: Annotated[int, Field(ge=0)] | SkippedRows = 0
    on_bad_rows: Literal["error", "skip"] = "error"
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | Columns | None = None
    separator: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    comment: Annotated[str, Field(min_length=1)] | None = None
    split: Division | tuple[Division, ...] = ()
    fields: Fields = Fields()
    labels: Annotated[
        Literal["infer", "infer_all", "text"] | tuple[str, ...], BeforeValidator(_label_names)
    ] = "infer"
    label_map: Mapping[str, LabelName] = {}
    no_label: tuple[NoLabel, ...] | None = None
    metric: Metric
    positive_label: LabelName | None = None
    held_out: HeldOut | None = None
    max_train_examples: Annotated[int, Field(gt=0, le=10**9)] | None = None
    sample_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @field_validator("name", mode="before")
    @classmethod
    def _safe_name(cls, name: object) -> object:
        # Names become folders: this message says more than pydantic's "does not match pattern".
        if isinstance(name, str) and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            raise ValueError(
                "a task name has letters, digits, _ . - and starts with no dot or dash"
            )
        return name

    @model_validator(mode="after")
    def _has_data(self) -> Self:
        if self.paths is None and self.dataset is None:
            raise ValueError("no data: give 'paths' (files) or 'dataset' (hub name or folder)")
        return self

    @model_validator(mode="after")
    def _has_dev_split(self) -> Self:
        for split in ("val", "test"):
            named = [f"paths.{split}"] if self.paths and self.paths.of(split) else []
            if self.dataset and split in self.dataset.splits.model_fields_set:
                named.append(f"dataset.splits.{split}")
            if self.is_held_out(split) and named:
                raise ValueError(f"held_out.{split}: there is {named[0]} already; leave one out")
        if self.paths and not self.paths.of("val") and not self.is_held_out("val"):
            raise ValueError(
                "paths: key 'val' is missing; 'held_out': {'val': 0.2} takes it from the training "
                "data"
            )
        return self

    @model_validator(mode="after")
    def _fields_fit_kind(self) -> Self:
        roles = [role.strip("[]") for role in ROLES[self.kind]]
        sources = [("fields", self.fields)]
        if self.dataset is not None:
            sources.append(("dataset.fields", self.dataset.fields))
        for place, fields in sources:
            for role in fields.given():
                if role not in roles:
                    raise ValueError(
                        f"{place}.{role}: a task of kind {self.kind!r} has no such field; "
                        f"{nearest(role, roles)}"
                    )
        return self

    @model_validator(mode="after")
    def _format_fits_kind(self) -> Self:
        for split, path in self._named_files():
            file_format = self.file_format(path)
            if file_format in ("conll", "conllu") and self.kind != "tagging":
                raise ValueError(f"paths.{split}: conll files hold tagging tasks, not {self.kind}")
            if file_format in ("csv", "tsv", "lines") and self.kind == "tagging":
                raise ValueError(f"paths.{split}: tagging tasks come as jsonl or conll files")
            numbers = [number for number in self.used_fields() if isinstance(number, int)]
            if numbers and file_format not in NUMBERED_COLUMNS:
                raise ValueError(
                    f"fields: {file_format} rows have no column {numbers[0]}, but names"
                )
        return self

    @model_validator(mode="after")
    def _columns_fit_files(self) -> Self:
        if self.paths is None:
            return self
        for split in SPLITS:
            files, columns = self.paths.of(split), self.columns_of(split)
            formats = {self.file_format(file) for file in files}
            if isinstance(self.columns, tuple) and split == "train" and formats <= {*NAMED_FIELDS}:
                raise ValueError(f"columns: {formats.pop()} rows name their own fields")
            lines = [file for file in files if self.file_format(file) == "lines"]
            if len(files) > 1 and lines and len(columns or ()) != len(files):
                raise ValueError(
                    f"columns: {len(files)} files side by side (paths.{split}) need a name for each"
                )
        return self

    def _named_files(self) -> Iterator[tuple[str, str]]:
        """(split, path) of every file."""
        for split in SPLITS:
            yield from ((split, path) for path in (self.paths.of(split) if self.paths else ()))

    @model_validator(mode="after")
    def _metric_fits_kind(self) -> Self:
        if self.metric not in METRICS[self.kind]:
            raise ValueError(
                f"metric: {self.metric!r} does not fit kind {self.kind!r}; "
                f"{nearest(self.metric, METRICS[self.kind])}"
            )
        if (self.metric == "f1") != (self.positive_label is not None):
            raise ValueError(
                "metric 'f1' needs 'positive_label'"
                if self.metric == "f1"
                else "positive_label belongs to metric 'f1' alone"
            )
        return self

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        listed = {*self.labels} if isinstance(self.labels, tuple) else set()
        for value in self.no_label or ():
            if value in listed | {*self.label_map.values()}:
                raise ValueError(f"no_label: {value!r} is a label")
        if self.labels == "text" and self.kind != "multiple_choice":
            raise ValueError("labels: 'text' is for multiple choice; give a list or 'infer'")
        if self.kind == "regression" and (self.labels != "infer" or self.label_map):
            raise ValueError("labels: a regression task has none")
        if isinstance(self.labels, str):
            return self
        if len(self.labels) < 2:
            raise ValueError("labels: at least two are needed")
        repeated = [name for name in self.labels if self.labels.count(name) > 1]
        if repeated:
            raise ValueError(f"labels: {repeated[0]!r} is given twice")
        for name in (*self.label_map.values(), self.positive_label):
            if name is not None and name not in self.labels:
                raise ValueError(f"unknown label {name!r}; {nearest(name, self.labels)}")
        return self

    def file_format(self, path: str) -> Format:
        """The format of a data file: what the config says, else by its suffix.

        Raises:
            ValueError: neither says.
        """
        if self.format is not None:
            return self.format
        name = PurePath(path.lower())
        suffix = (name.with_suffix("") if name.suffix in COMPRESSED else name).suffix
        if suffix not in SUFFIXES:
            formats = ", ".join(get_args(Format))
            raise ValueError(f"{path}: no known suffix; say the format ({formats})")
        return SUFFIXES[suffix]

    def field_names(self) -> dict[str, FieldName | tuple[FieldName, ...]]:
        """Role -> field name(s), defaults filled in, in the source that `settled_paths` left."""
        named = self.fields.given()
        if self.paths is None and self.dataset is not None:
            named |= self.dataset.fields.given()
        own: Mapping[str, str] = {}
        if self.paths and self.columns is None and self._format_of_train() == "conllu":
            own = {"tokens": "form", "labels": "upos"}
        return named | {
            role: own.get(role, role)
            for role in ROLES[self.kind]
            if role[0] != "[" and role not in named
        }

    def used_fields(self) -> list[FieldName]:
        """The fields of a row that are read."""
        names = self.field_names().values()
        return [
            name for given in names for name in (given if isinstance(given, tuple) else (given,))
        ]

    def columns_of(self, split: Split) -> tuple[str, ...] | None:
        """Names of a split's columns; None where its files name them."""
        if isinstance(self.columns, Columns):
            found: tuple[str, ...] | None = getattr(self.columns, split)
            return found
        return self.columns

    def is_held_out(self, split: Split) -> bool:
        """Whether a split is taken from the training data."""
        return self.held_out is not None and self.held_out.share(split) is not None

    def skipped_rows(self, split: Split) -> int:
        """Lines before a split's data."""
        skipped = self.skip_rows
        return skipped if isinstance(skipped, int) else int(getattr(skipped, split))

    @property
    def divisions(self) -> tuple[Division, ...]:
        """How fields are divided, in order."""
        return (self.split,) if isinstance(self.split, Division) else self.split

    def _format_of_train(self) -> Format | None:
        return self.file_format(self.paths.of("train")[0]) if self.paths else None


def is_custom(config: TaskValues) -> bool:
    """True for a task config of this module, False for one of the host's own."""
    return "kind" in config


def parse_task_config(values: Any, *, where: str) -> TaskConfig:
    """Checks a task config.

    Args:
        values: what was read.
        where: file or place, for the message.

    Raises:
        ConfigError: one line with the key, what was found and the nearest valid choice.
    """
    return parse_settings(TaskConfig, values, where=where)


def read_task_config(path: Path) -> TaskConfig:
    """Reads and checks a task config file.

    Raises:
        ConfigError: the file is missing, broken or wrong.
    """
    return parse_task_config(read_json(path), where=str(path))


def settled_paths(config: TaskConfig, data_folder: Path) -> TaskConfig:
    """A copy of a task config that can be put anywhere: one source of data, its path absolute.

    Args:
        config: the task config.
        data_folder: where its relative paths start.

    Returns:
        The config with `paths` alone where the training file exists (or there is no `dataset`), and
        with `dataset` alone otherwise.
    """
    folder = data_folder.absolute()
    if config.paths is not None and (
        config.dataset is None or (folder / config.paths.of("train")[0]).exists()
    ):
        paths = {
            split: str(folder / path)
            if isinstance(path, str)
            else tuple(str(folder / part) for part in path)
            for split, path in config.paths.model_dump(exclude_none=True).items()
        }
        update = {"paths": Paths(**paths), "dataset": None, "schema_url": None}
        return config.model_copy(update=update)
    source = config.dataset
    if source is not None and (folder / source.path).is_dir():
        source = source.model_copy(update={"path": str(folder / source.path)})
    return config.model_copy(update={"paths": None, "dataset": source, "schema_url": None})


def to_json_values(config: TaskConfig) -> TaskValues:
    """A task config as plain JSON values, defaults left out; parsing them gives the config back."""
    return config.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True)


def task_config_schema() -> JsonObject:
    """The JSON Schema of task configs, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **TaskConfig.model_json_schema(by_alias=True),
    }
