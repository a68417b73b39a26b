"""The files of reports: `report.json` and `comparison.json`, written and read as records."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from gradts_plugin.comparison.results import COMPARISON, Comparison
from gradts_plugin.errors import ConfigError
from gradts_plugin.json_forms import from_json, to_json
from gradts_plugin.report.record import RunReport
from gradts_plugin.settings.reading import read_json
from gradts_plugin.stores.checksums import check_sum, write_summed
from gradts_plugin.stores.files import json_bytes

REPORT_JSON = "report.json"
REPORT_HTML = "report.html"

#: Of the layout of report.json.
FORMAT_VERSION = 2


def write_report_json(report: RunReport, folder: Path) -> Path:
    """Writes the numbers to `report.json`, whole or not at all; the comparison stays apart.

    Raises:
        StoreError: the disk refused.
    """
    path = folder / REPORT_JSON
    write_summed(path, json_bytes({"format_version": FORMAT_VERSION, **to_json(report)}))
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
    check_sum(path, "run the run file again to write it anew")
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a report, found {type(values).__name__}")
    version = values.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise ConfigError(
            f"{path} has format version {version}, this version reads {FORMAT_VERSION}; run the "
            "run file again to write it anew"
        )
    report = from_json(RunReport, values, where=str(path))
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
    values = read_json(path)
    check_sum(path, "run the compare file again to write it anew")
    comparison = from_json(Comparison, values, where=str(path))
    if not any(result.methods for result in comparison.primaries.values()):
        raise ConfigError(f"{path} compares nothing: it names no method of any primary")
    return comparison


def holds_comparison(folder: Path) -> bool:
    """True for the output folder of a comparison, False for a run's."""
    return (folder / COMPARISON).exists() and not (folder / REPORT_JSON).exists()
