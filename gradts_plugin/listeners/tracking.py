"""What a tracker of experiments is told of a run, and which of its runs that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.json_forms import JsonObject, from_json, to_json
from gradts_plugin.records import Outcome, Ranking, Trial
from gradts_plugin.scores import Gain, mean_score
from gradts_plugin.settings.reading import read_json
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores.files import write_json_atomic

#: A row of a table, or values by name; what is not known is left out.
Values = Mapping[str, str | float]

#: Where and how a run is made and told of; it is the same run with others.
_NOT_TOLD = frozenset(
    {"enabled", "executor", "mlflow", "output_dir", "store", "tensorboard", "wandb"}
)


class Tracker(Protocol):
    """A tracker of experiments, and one run that is tracked there at a time."""

    name: str

    def begin(self, run_id: str | None, title: str, settings: Mapping[str, str]) -> str:
        """Begins a run, or goes on with one.

        Args:
            run_id: what it was called when it was begun; None: a new one.
            title: for people.
            settings: dotted key -> value.

        Returns:
            What it is called from now on.
        """
        ...

    def add_trial(self, trials: Sequence[Values]) -> None:
        """Adds the last of the trials so far; each has its `phase` and `auxiliary_tasks`."""
        ...

    def set_ranking(self, measure: str, candidates: Sequence[Values]) -> None:
        """Sets the ranking, best first; each has its `task`, and what it is ranked by."""
        ...

    def set_results(self, results: Values) -> None:
        """Sets what the run came to."""
        ...

    def end(self, *, failed: bool) -> None:
        """Writes everything out, and says how the run ended."""
        ...


@dataclass(frozen=True)
class TrackedRun:
    """Which tracked run is that of an output folder, written into it.

    Attributes:
        run_id: what the tracker calls it.
        settings: with other ones it would be another run.
        num_trials: so many are told already.
    """

    run_id: str
    settings: Mapping[str, str]
    num_trials: int = 0


class TrackingLog:
    """Tells a tracker of a run; resumed, the run goes on as the same tracked run.

    Attributes:
        path: says which tracked run it is.
    """

    def __init__(self, tracker: Tracker, folder: Path, settings: GradTSSettings) -> None:
        """Begins the tracked run, or goes on with that of the folder."""
        self.path = folder / f"{tracker.name}.json"
        self._tracker = tracker
        given = told_settings(settings)
        found = None
        if self.path.exists():
            found = from_json(TrackedRun, read_json(self.path), where=str(self.path))
        known = found is not None and found.settings == given
        title = f"{settings.primary_task} by {settings.method.name}"
        run_id = tracker.begin(found.run_id if found and known else None, title, given)
        self._run = found if found and known else TrackedRun(run_id, given)
        self._write()
        self._phase = ""
        self._trials: list[Values] = []
        self._in_phase = False

    def close(self) -> None:
        """Ends the tracked run; within a phase, it failed."""
        self._tracker.end(failed=self._in_phase)

    @hookimpl
    def before_phase(self, phase: str) -> None:
        """Remembers what trials are for."""
        self._phase, self._in_phase = phase, True

    @hookimpl
    def after_phase(self) -> None:
        """Remembers that the phase ended well."""
        self._in_phase = False

    @hookimpl
    def after_candidates_ranked(self, ranking: Ranking) -> None:
        """Tells of the ranking."""
        rows: list[Values] = []
        for candidate in ranking.candidates:
            low, high = candidate.interval or (None, None)
            values = {
                "task": candidate.task_name,
                ranking.measure: None if candidate.note else candidate.tau,
                "low": low,
                "high": high,
                "probability_above_next": candidate.probability_above_next,
            }
            rows.append(_known(values))
        self._tracker.set_ranking(ranking.measure, rows)

    @hookimpl
    def after_trial(self, trial: Trial) -> None:
        """Tells of a trial, unless the process that this one goes on for has done so."""
        values = {
            "phase": self._phase,
            "auxiliary_tasks": " + ".join(trial.auxiliary_tasks) or "none",
            "score": trial.score,
            "test_score": mean_score(trial.test_scores),
            "num_seeds": len(trial.scores),
            "num_steps": trial.num_steps,
            "seconds": trial.seconds,
        }
        self._trials.append(_known(values))
        if len(self._trials) > self._run.num_trials:
            self._tracker.add_trial(self._trials)
            self._run = replace(self._run, num_trials=len(self._trials))
            self._write()

    @hookimpl
    def after_result_written(self, outcome: Outcome) -> None:
        """Tells of selection, gain and cost."""
        self._tracker.set_results(told_results(outcome))

    def _write(self) -> None:
        write_json_atomic(self.path, to_json(self._run))


def told_settings(settings: GradTSSettings) -> dict[str, str]:
    """Dotted key -> value, of all settings that decide what a run comes to."""
    return dict(_flat(settings.model_dump(mode="json", exclude=set(_NOT_TOLD))))


def told_results(outcome: Outcome) -> Values:
    """What a run came to, by name."""
    selected, alone = outcome.selected, outcome.alone
    return _known(
        {
            "selected": ", ".join(outcome.selection.auxiliary_tasks) or "none",
            "reason": outcome.selection.reason,
            "score": None if selected is None else selected.score,
            "score_alone": None if alone is None else alone.score,
            **_told_gain("gain", outcome.gain),
            **_told_gain("test_gain", outcome.test_gain),
            "cost_steps": outcome.cost.num_steps,
            "cost_examples": outcome.cost.num_examples,
            "cost_seconds": outcome.cost.seconds,
            "seconds": sum(outcome.seconds.values()),
        }
    )


def _told_gain(name: str, gain: Gain | None) -> dict[str, float | None]:
    if gain is None:
        return {}
    return {
        name: gain.gain,
        f"{name}_low": gain.low,
        f"{name}_high": gain.high,
        f"{name}_p_helps": gain.p_helps,
    }


def _known(values: Mapping[str, str | float | None]) -> Values:
    return {name: value for name, value in values.items() if value is not None}


def _flat(values: JsonObject, before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        key = before if name == "name" and before else f"{before}.{name}".lstrip(".")
        if isinstance(value, Mapping):
            yield from _flat(value, key)
        elif isinstance(value, list):
            yield key, ", ".join(map(str, value))
        else:
            yield key, "none" if value is None else str(value)
