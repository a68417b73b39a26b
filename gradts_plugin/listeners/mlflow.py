"""A run as a run of MLflow: at `MLFLOW_TRACKING_URI`, in `MLFLOW_EXPERIMENT_NAME` (or gradts)."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from gradts_plugin.errors import StoreError
from gradts_plugin.listeners.tracking import Values

#: So many parameters MLflow takes at a time, and so long values.
_MOST_PARAMETERS, _LONGEST = 100, 500


class MLflowTracker:
    """Parameters, a metric for each score, `ranking.csv` and `trials.csv`; words become tags.

    MLflow's own global run is left alone.
    """

    name = "mlflow"

    def __init__(self) -> None:
        self._client: Any = None
        self._run_id = ""

    def begin(self, run_id: str | None, title: str, settings: Mapping[str, str]) -> str:
        """Begins a run, or goes on with one."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        with _errors():
            self._client = MlflowClient()
        if run_id is not None:
            where = f"{self._client.tracking_uri} has no run {run_id}"
            remedy = "set MLFLOW_TRACKING_URI as before, or remove mlflow.json to begin another"
            with _errors(f"{where}; {remedy}: "):
                self._client.update_run(run_id, status="RUNNING")
            self._run_id = run_id
            return run_id
        with _errors():
            made = self._client.create_run(self._experiment(), run_name=title)
            self._run_id = str(made.info.run_id)
            told = [Param(key, value[:_LONGEST]) for key, value in settings.items()]
            for first in range(0, len(told), _MOST_PARAMETERS):
                some = told[first : first + _MOST_PARAMETERS]
                self._client.log_batch(self._run_id, params=some)
        return self._run_id

    def add_trial(self, trials: Sequence[Values]) -> None:
        """Adds the last trial's numbers, at its number."""
        last = trials[-1]
        numbers = {f"{last['phase']}/{name}": value for name, value in last.items()}
        self._log(numbers, step=len(trials) - 1)
        self._table("trials.csv", trials)

    def set_ranking(self, measure: str, candidates: Sequence[Values]) -> None:
        """Sets the ranking: its table, and what each candidate is ranked by."""
        ranked = [each for each in candidates if measure in each]
        self._log({f"{measure}/{each['task']}": each[measure] for each in ranked})
        self._table("ranking.csv", candidates)

    def set_results(self, results: Values) -> None:
        """Sets what the run came to."""
        self._log(results)
        with _errors():
            for name, value in results.items():
                if isinstance(value, str):
                    self._client.set_tag(self._run_id, name, value)

    def end(self, *, failed: bool) -> None:
        """Says how the run ended."""
        with _errors():
            self._client.set_terminated(self._run_id, "FAILED" if failed else "FINISHED")

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "gradts")
        found = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if found is None else found.experiment_id)

    def _log(self, values: Values, *, step: int = 0) -> None:
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        told = [
            Metric(re.sub(r"[^\w\-. /]", "_", name), value, now, step)
            for name, value in values.items()
            if not isinstance(value, str)
        ]
        with _errors():
            self._client.log_batch(self._run_id, metrics=told)

    def _table(self, name: str, rows: Sequence[Values]) -> None:
        columns = list(dict.fromkeys(column for row in rows for column in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(rows)
        with _errors():
            self._client.log_text(self._run_id, text.getvalue(), name)


@contextmanager
def _errors(what: str = "") -> Iterator[None]:
    """Turns what MLflow refuses, or cannot reach, into one line."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        said = str(error).splitlines() or [type(error).__name__]
        raise StoreError(f"mlflow: {what}{said[0]}") from error
