"""The files of reports: `report.json` and `comparison.json`, written and read as records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from gradts_plugin.comparison import COMPARISON, Comparison
from gradts_plugin.errors import ConfigError
from gradts_plugin.report.record import RunReport
from gradts_plugin.settings.reading import read_json
from gradts_plugin.stores.files import write_json_atomic

REPORT_JSON = "report.json"
REPORT_HTML = "report.html"

# In comparison.json results stand under their names, which the records hold themselves.
_PLACES = (("primaries", "primary_task"), ("methods", "method"))

#: Of the layout of report.json.
FORMAT_VERSION = 2


def write_report_json(report: RunReport, folder: Path) -> Path:
    """Writes the numbers to `report.json`, whole or not at all; the comparison stays apart.

    Raises:
        StoreError: the disk refused.
    """
    values = TypeAdapter(RunReport).dump_python(
        report, mode="json", exclude={"comparison"}, fallback=np.ndarray.tolist
    )
    path = folder / REPORT_JSON
    write_json_atomic(path, {"format_version": FORMAT_VERSION, **values})
    return path


def read_report(folder: Path) -> RunReport:
    """Reads `report.json`, and `comparison.json` where it lies beside it.

    Args:
        folder: a run's output folder.

    Raises:
        ConfigError: a file is missing, broken or of another version.
    """
    path = folder / REPORT_JSON
    if folder.is_dir() and not path.exists():
        raise ConfigError(f"{folder} holds no {REPORT_JSON}; run the run file again to write it")
    values = read_json(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a report, found {type(values).__name__}")
    version = values.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise ConfigError(
            f"{path} has format version {version}, this version reads {FORMAT_VERSION}; run the "
            "run file again to write it anew"
        )
    report = _parse(RunReport, _with_arrays(values), path)
    if not (folder / COMPARISON).exists():
        return report
    return dataclasses.replace(report, comparison=read_comparison(folder))


def read_comparison(folder: Path) -> Comparison:
    """Reads `comparison.json`.

    Args:
        folder: the output folder of a comparison.

    Raises:
        ConfigError: it is missing, broken or holds nothing.
    """
    path = folder / COMPARISON
    comparison = _parse(Comparison, _named_in(read_json(path), _PLACES), path)
    if not any(result.methods for result in comparison.primaries):
        raise ConfigError(f"{path} compares nothing: it names no method of any primary")
    return comparison


def holds_comparison(folder: Path) -> bool:
    """True for the output folder of a comparison, False for a run's."""
    return (folder / COMPARISON).exists() and not (folder / REPORT_JSON).exists()


def _named_in(values: Any, places: Sequence[tuple[str, str]]) -> Any:
    """Mappings at the places as lists of what they hold, each with its name; others as they are."""
    if not places or not isinstance(values, Mapping):
        return values
    (key, name), *within = places
    held = values.get(key)
    if not isinstance(held, Mapping):
        return values
    found = [{name: known, **_named_in(of, within)} for known, of in held.items()]
    return {**values, key: found}


def _with_arrays(values: dict[str, Any]) -> dict[str, Any]:
    """The one array of a report, where it has one, as an array."""
    ranking = (values.get("outcome") or {}).get("ranking")
    if ranking and ranking.get("task_taus") is not None:
        ranking["task_taus"] = np.array(ranking["task_taus"])
    return values


RecordT = TypeVar("RecordT")


def _parse(record: type[RecordT], values: Any, path: Path) -> RecordT:
    try:
        return TypeAdapter(record).validate_python(values)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the whole file"
        message = problem["msg"][:1].lower() + problem["msg"][1:]
        raise ConfigError(f"{path} is damaged: {place}: {message}") from error
