"""A task config for files: looked at, guessed, and read as a run will read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gradts_plugin.errors import DataError, GradTSError
from gradts_plugin.tasks.formats.datasets import dataset_split_names
from gradts_plugin.tasks.formats.rows import Source, read_bytes
from gradts_plugin.tasks.kinds import NO_LABELS, SUFFIXES, Kind, Split, label_name
from gradts_plugin.tasks.reading import READERS, read_split, task_labels
from gradts_plugin.tasks.sources import DatasetSource
from gradts_plugin.tasks.starting.columns import columns_of
from gradts_plugin.tasks.starting.folders import FoundTask
from gradts_plugin.tasks.starting.guessing import Guess, guess
from gradts_plugin.tasks.starting.peeking import (
    FEW,
    NO_COLUMN,
    Peek,
    checked_rows,
    encoding_of,
    looking,
    peek_table,
    read_rows,
    suffix_format,
)
from gradts_plugin.tasks.starting.peeking_text import guess_conll, guess_lines, lines_of
from gradts_plugin.tasks.task_configs import SPLITS, TaskConfig, parse_task_config

#: Share of the training rows that become the dev split, where there is none.
HELD_OUT: Final = 0.2

#: What datasets call their splits.
_DATASET_SPLITS: Final[Mapping[Split, tuple[str, ...]]] = {
    "train": ("train",),
    "val": ("validation", "val", "dev", "valid", "validation_matched"),
    "test": ("test",),
}


@dataclass(frozen=True)
class GuessedConfig:
    """A task config, and why it is as it is.

    Attributes:
        values: as they are written.
        config: the same, parsed.
        reasons: a line each.
    """

    values: dict[str, Any]
    config: TaskConfig
    reasons: tuple[str, ...]


@dataclass
class _Draft:
    """A config in the making."""

    form: dict[str, Any]
    guess: Guess
    reasons: list[str]
    labels: set[str]
    some_unlabelled: bool = False


def guess_config(found: FoundTask) -> GuessedConfig:
    """Makes a task config for files that belong together, and reads them with it.

    Args:
        found: the files; the paths of the config are theirs, in full.

    Raises:
        GradTSError: they cannot be read, or nobody can tell what they are; one line.
    """
    draft = _of_dataset(found.dataset) if found.dataset else _of_files(found.files)
    values: dict[str, Any] = {"name": found.name, "kind": draft.guess.kind}
    if found.files:
        values["paths"] = {
            split: _written([str(path.absolute()) for path in found.files[split]])
            for split in SPLITS
            if split in found.files
        }
    values |= draft.form
    fields = _needed(draft.guess, draft.form)
    values |= {"fields": fields} if fields else {}
    values["metric"] = draft.guess.metric
    reasons = [*draft.reasons, *draft.guess.reasons]
    if "encoding" in values:
        reasons.insert(0, f"is no UTF-8 text, but can be read as {values['encoding']}")
    values |= _no_label(draft, reasons)
    if "val" not in found.files and not (values.get("dataset") or {}).get("splits", {}).get("val"):
        values["held_out"] = {"val": HELD_OUT, "seed": 0}
        reasons.append(f"no dev split: {100 * HELD_OUT:g} % of the training rows are held out")
    return _that_reads(values, reasons, found)


def _written(paths: list[str]) -> str | list[str]:
    return paths[0] if len(paths) == 1 else paths


def _needed(guess: Guess, form: Mapping[str, Any]) -> dict[str, Any]:
    """The fields whose names are not those of their roles."""
    if "fields" in form:
        return dict(form["fields"])
    optional = {"text_b"} if guess.kind != "pair" else set()
    return {
        role: list(name) if isinstance(name, tuple) else name
        for role, name in guess.fields.items()
        if name != role or role in optional
    }


# --- what was found -------------------------------------------------------------------------------


def _of_dataset(folder: Path) -> _Draft:
    source = DatasetSource(path=str(folder.absolute()))
    there = dataset_split_names(source)
    splits = {
        split: next(name for name in names if name in there)
        for split, names in _DATASET_SPLITS.items()
        if {*names} & {*there}
    }
    if "train" not in splits:
        raise DataError(f"{folder}: no split 'train', but {', '.join(there)}; rename one")
    form = {"dataset": {"path": source.path, "splits": splits}}
    config = parse_task_config(
        {
            "name": "look",
            "kind": "single",
            "metric": "accuracy",
            "fields": {"text_a": NO_COLUMN, "label": NO_COLUMN},
            **form,
        },
        where=str(folder),
    )
    rows = READERS["dataset"](Source(config, "train", splits["train"], None))
    return _of_rows(checked_rows(rows, str(folder)), form, str(folder))


def _of_files(files: Mapping[Split, tuple[Path, ...]]) -> _Draft:
    path = files["train"][0]
    if len(files["train"]) > 1:
        return _of_texts_and_labels(files["train"])
    kind = suffix_format(path)
    if kind in ("parquet", "arrow"):
        return _of_rows(read_rows(path, {}), {}, str(path))
    encoding = _encoding(files)
    if kind in ("jsonl", "json"):
        return _of_rows(read_rows(path, encoding), dict(encoding), str(path))
    if kind == "conllu":
        return _of_rows(_sentences(path, encoding), dict(encoding), str(path))
    if kind is None and b"\0" in read_bytes(str(path), 1000) and "encoding" not in encoding:
        raise DataError(f"{path}: is no text; known files are {', '.join(SUFFIXES)}")
    found = _of_text(path, encoding)
    if found is not None:
        return found
    draft = _of_table(files, encoding)
    if draft is None:
        raise DataError(
            f"{path}: its lines have no columns, and no label before or behind the text; save it "
            "as CSV with a header line (text,label)"
        )
    return draft


def _encoding(files: Mapping[Split, tuple[Path, ...]]) -> dict[str, str]:
    """The encoding of the first file that needs one."""
    needed = [encoding_of(path) for paths in files.values() for path in paths]
    return next((each for each in needed if each), {})


def _of_texts_and_labels(paths: Sequence[Path]) -> _Draft:
    """Files side by side: a text and a label a line."""
    encoding = _encoding({"train": tuple(paths)})
    labels = {label_name(line) for line in lines_of(paths[1], encoding) if line.strip()}
    reasons = (
        "single: the lines of two files belong together, text and label",
        "accuracy: the usual metric of classes",
    )
    kind = {} if suffix_format(paths[0]) == "lines" else {"format": "lines"}
    form = {"columns": ["text_a", "label"], **kind, **encoding}
    made = Guess("single", {"text_a": "text_a", "label": "label"}, "accuracy", reasons)
    return _Draft(form, made, [], labels)


def _sentences(path: Path, encoding: Mapping[str, str]) -> list[Mapping[Any, Any]]:
    config = looking(path, encoding, "tagging")
    found = READERS["conllu"](Source(config, "train", str(path), None))
    rows = checked_rows(found, str(path))
    return [{"tokens": row["form"], "labels": row["upos"]} for row in rows]


def _of_text(path: Path, encoding: Mapping[str, str]) -> _Draft | None:
    """Words with tags, or lines with a label; None: a table, or nothing that is known."""
    kind = suffix_format(path)
    if kind == "csv":
        return None
    lines = lines_of(path, encoding)
    text = guess_conll(lines, sure=kind == "conll")
    known = "conll"
    if text is None and kind != "tsv" and not _is_regular(lines):
        text, known = guess_lines(lines), "lines"
    if text is None:
        return None
    form = {**({} if kind == known else {"format": known}), **encoding, **text.form}
    return _Draft(form, text.guess, [], set())


def _is_regular(lines: Sequence[str]) -> bool:
    """Whether tabs divide all lines into as many columns."""
    return len({line.count("\t") for line in lines if line.strip()} | {0}) == 2


def _of_rows(rows: Sequence[Mapping[Any, Any]], form: dict[str, Any], where: str) -> _Draft:
    columns = columns_of(rows)
    try:
        made = guess(columns)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    name = made.fields["labels" if made.kind == "tagging" else "label"]
    (column,) = [each for each in columns if each.name == name]
    values: Iterable[Any] = column.values
    if made.kind == "tagging":
        values = [item for row in column.values for item in row]
    labels = {label_name(value) for value in values}
    return _Draft(form, made, [], labels, len(column.values) < column.num_rows)


# --- tables ---------------------------------------------------------------------------------------


def _of_table(
    files: Mapping[Split, tuple[Path, ...]], encoding: Mapping[str, str]
) -> _Draft | None:
    """A table; its splits may have a header line each, or none."""
    looks = {}
    for split, (path, *_) in files.items():
        look = peek_table(path, "csv" if suffix_format(path) == "csv" else "tsv", encoding)
        if look is not None:
            looks[split] = look
    train = looks.get("train")
    if train is None:
        return None
    draft = _of_rows(train.rows, dict(train.form), str(files["train"][0]))
    draft.reasons += train.reasons
    if "columns" in train.form:
        return draft
    if train.header is not None:
        bare = [split for split, look in looks.items() if look.header is None]
        if bare:
            draft.form["columns"] = {split: list(train.header) for split in bare}
        return draft
    return _with_names(draft, train, looks)


def _with_names(draft: _Draft, train: Peek, looks: Mapping[Split, Peek]) -> _Draft:
    """Names columns that have none: by another split's header, else by their roles."""
    named = {split: look for split, look in looks.items() if look.header is not None}
    roles = {place: role for role, place in draft.guess.fields.items()}
    names = [str(roles.get(place, f"column{place}")) for place in range(train.width)]
    for look in named.values():
        try:
            theirs = guess(columns_of([*look.rows])).fields
        except DataError:  # a test split without labels
            theirs = {"text_a": _longest(look)}
        for place, role in roles.items():
            if role in theirs:
                names[int(str(place))] = str(theirs[role])
    draft.form["columns"] = (
        {split: names for split in looks if split not in named} if named else names
    )
    fields = {
        role: names[place] if isinstance(place, int) else tuple(names[int(p)] for p in place)
        for role, place in draft.guess.fields.items()
        if not isinstance(place, str)
    }
    draft.guess = Guess(draft.guess.kind, {**fields}, draft.guess.metric, draft.guess.reasons)
    return draft


def _longest(look: Peek) -> str:
    """The column of a header whose texts are longest."""
    columns = [each for each in columns_of(look.rows) if not each.is_numeric]
    return str(max(columns, key=lambda each: each.words).name) if columns else "text_a"


# --- labels, and whether it reads -----------------------------------------------------------------


def _no_label(draft: _Draft, reasons: list[str]) -> dict[str, Any]:
    """The key `no_label`, where the data have values that may be none."""
    kind: Kind = draft.guess.kind
    unclear = sorted({*NO_LABELS[kind]} & draft.labels)
    empty = [""] if draft.some_unlabelled else []
    if not unclear and not empty:
        return {}
    if unclear == ["-1"] and "1" in draft.labels and len(draft.labels) <= 3 and not empty:
        reasons.append("-1 is taken for a class, the opposite of 1")
        return {"no_label": []}
    none = [*unclear, *empty]
    shown = ", ".join(repr(value) if value else "an empty cell" for value in none)
    reasons.append(f"{shown} is taken for 'no label': such rows are left out")
    return {"no_label": none}


def _that_reads(values: dict[str, Any], reasons: list[str], found: FoundTask) -> GuessedConfig:
    """The config with the fewest changes that reads all splits; at last without the test split."""
    attempts: list[tuple[dict[str, Any], str]] = [({}, "")]
    if values["kind"] in ("single", "pair", "tagging"):
        attempts.append(
            ({"labels": "infer_all"}, "the other splits have labels that train has not")
        )
    attempts.append(({"on_bad_rows": "skip"}, "rows whose form is broken are left out"))
    where = f"{values['name']}.json"
    first: GradTSError | None = None
    for without_test in (False, True):
        base = _without_test(values) if without_test else values
        if without_test and base == values:
            break
        for changes, why in attempts:
            try:
                config = parse_task_config({**base, **changes}, where=where)
                _read(config)
            except GradTSError as error:
                first = first or error
                continue
            more = [why] if why else []
            if without_test:
                more.append(f"the test split is left out: {first}")
            return GuessedConfig({**base, **changes}, config, (*reasons, *more))
    raise first or DataError(f"{found.name}: cannot be read")


def _without_test(values: Mapping[str, Any]) -> dict[str, Any]:
    kept = dict(values)
    if "paths" in kept:
        kept["paths"] = {key: path for key, path in kept["paths"].items() if key != "test"}
    return kept


def _read(config: TaskConfig) -> None:
    """Reads every split.

    Raises:
        GradTSError: one cannot be read, or more than a few of its rows are broken.
    """
    labels = task_labels(config, Path())
    held = [split for split in SPLITS if config.is_held_out(split)]
    named = [split for split in SPLITS if config.paths and config.paths.of(split)]
    if config.dataset:
        named = [split for split in SPLITS if getattr(config.dataset.splits, split)]
    for split in dict.fromkeys([*named, *held]):
        found = read_split(config, split, Path(), labels=labels)
        num_rows = sum(1 for _ in found)
        if found.bad.count > FEW * (num_rows + found.bad.count):
            raise DataError(found.bad.first)
