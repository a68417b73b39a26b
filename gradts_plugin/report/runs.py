"""The runs below a folder: what each selected, what that gained and cost; two of them in detail."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.json_forms import from_json
from gradts_plugin.opening import RUN_RECORD
from gradts_plugin.records import Cost
from gradts_plugin.run import RESULT, REWRITTEN_CONFIG
from gradts_plugin.scores import Gain, Score, mean_score
from gradts_plugin.settings.reading import read_json


@dataclass(frozen=True)
class FinishedRun:
    """A run's outcome in short.

    Attributes:
        folder: its output folder, as seen from the folder that was searched.
        primary_task: the task to help.
        method: that selected.
        ranker: that ranked; None where nothing was ranked.
        auxiliary_tasks: the selection.
        score: mean dev score of the selection; None where nothing was trained.
        alone: that of the primary alone.
        gain: on the dev set; None where nothing was selected or trained.
        test_gain: on the test set; None also where it was not scored.
        cost: to know the selection, with nothing stored.
        finished: when its result was written, in UTC, to the second.
    """

    folder: str
    primary_task: str
    method: str
    ranker: str | None
    auxiliary_tasks: tuple[str, ...]
    score: Score
    alone: Score
    gain: Gain | None
    test_gain: Gain | None
    cost: Cost
    finished: str


def finished_runs(folder: Path) -> list[FinishedRun]:
    """All finished runs below a folder, by primary, best gain first.

    Args:
        folder: is searched, links to folders left out.

    Raises:
        ConfigError: it is no folder, or holds no finished run; or a result is damaged.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    found = [_read(path, folder) for path in _results(folder)]
    if not found:
        raise ConfigError(
            f"{folder} holds no finished run (a folder with {RESULT} and {RUN_RECORD})"
        )
    return sorted(found, key=_order)


def settings_that_differ(
    folder: Path, runs: list[FinishedRun], names: tuple[str, str]
) -> list[tuple[str, Any, Any]]:
    """The keys in which two runs differ, and what each says; None where one does not say it.

    Args:
        folder: that was searched.
        runs: that were found there.
        names: the folders of two of them.

    Raises:
        ConfigError: there is no such run.
    """
    known = [run.folder for run in runs]
    for name in names:
        if name not in known:
            raise ConfigError(f"{folder} holds no run {name!r}; {nearest(name, known)}")
    one, other = (dict(_flat(_settings(folder / name))) for name in names)
    return [
        (key, one.get(key), other.get(key))
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key)
    ]


def _results(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders.sort()
        if RESULT in files and RUN_RECORD in files:
            folders.clear()  # what lies in an output folder is that run's own
            yield Path(place) / RESULT


def _read(path: Path, searched: Path) -> FinishedRun:
    values = read_json(path)
    try:
        selection, ranking = values["selection"], values["ranking"]
        selected, alone = values["selected"], values["alone"]
        return FinishedRun(
            folder=str(path.parent.relative_to(searched)),
            primary_task=selection["primary_task"],
            method=selection["method"],
            ranker=None if ranking is None else ranking["ranker"],
            auxiliary_tasks=tuple(selection["auxiliary_tasks"]),
            score=None if selected is None else mean_score(selected["scores"]),
            alone=None if alone is None else mean_score(alone["scores"]),
            gain=_gain(values.get("gain"), path),
            test_gain=_gain(values.get("test_gain"), path),
            cost=from_json(Cost, values["cost"], where=str(path)),
            finished=datetime.datetime.fromtimestamp(
                int(path.stat().st_mtime), datetime.UTC
            ).isoformat(),
        )
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged: it is not what a run writes") from error


def _gain(values: Any, path: Path) -> Gain | None:
    return None if values is None else from_json(Gain, values, where=str(path))


def _order(run: FinishedRun) -> tuple[str, float, str]:
    gain = None if run.gain is None else run.gain.gain
    return run.primary_task, -(gain or 0.0), run.folder


def _settings(folder: Path) -> dict[str, Any]:
    """What a run was given, as far as its folder says it."""
    found: dict[str, Any] = {}
    config = folder / REWRITTEN_CONFIG
    if config.exists():
        block = read_json(config).get("gradts", {})
        found |= {key: value for key, value in block.items() if key != "selection"}
    record = {**read_json(folder / RUN_RECORD)}
    for unneeded in ("format_version", "output_dir"):
        record.pop(unneeded, None)
    return {**record, **found}


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{key}.")
        else:
            yield above + key, value
