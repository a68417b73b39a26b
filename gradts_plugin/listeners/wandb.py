"""A run as a run of Weights & Biases: in the project `WANDB_PROJECT`, or gradts."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradts_plugin.errors import StoreError
from gradts_plugin.listeners.tracking import Values


class WandbTracker:
    """Its config, a row of its history for each trial, the ranking as a table, and a summary.

    What wandb writes itself lies in `wandb/` of the output folder.
    """

    name = "wandb"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run: Any = None

    def begin(self, run_id: str | None, title: str, settings: Mapping[str, str]) -> str:
        """Begins a run, or goes on with one."""
        import wandb

        run_id = run_id or secrets.token_hex(4)
        try:
            self._run = wandb.init(
                id=run_id,
                resume="allow",
                project=os.environ.get("WANDB_PROJECT", "gradts"),
                name=title,
                config=dict(settings),
                dir=str(self._folder),
                reinit="create_new",  # a run of the user's own is left alone
                settings=wandb.Settings(console="off", silent=True),
            )
        except (wandb.Error, OSError) as error:
            said = str(error).splitlines() or [type(error).__name__]
            raise StoreError(
                f"wandb: {said[0].rstrip('.')}; type wandb login, or set WANDB_MODE=offline"
            ) from error
        self._run.define_metric("trial")
        self._run.define_metric("*", step_metric="trial")
        return run_id

    def add_trial(self, trials: Sequence[Values]) -> None:
        """Adds the last trial, at its number."""
        last = trials[-1]
        told = {f"{last['phase']}/{name}": value for name, value in last.items()}
        self._run.log({"trial": len(trials) - 1, **told})

    def set_ranking(self, measure: str, candidates: Sequence[Values]) -> None:
        """Sets the ranking: its table, and what each candidate is ranked by."""
        import wandb

        columns = list(dict.fromkeys(name for candidate in candidates for name in candidate))
        rows = [[candidate.get(name) for name in columns] for candidate in candidates]
        self._run.log({"ranking": wandb.Table(columns=columns, data=rows)})
        ranked = [each for each in candidates if measure in each]
        self._run.summary.update({f"{measure}/{each['task']}": each[measure] for each in ranked})

    def set_results(self, results: Values) -> None:
        """Sets what the run came to."""
        self._run.summary.update(dict(results))

    def end(self, *, failed: bool) -> None:
        """Writes everything out."""
        self._run.finish(exit_code=1 if failed else 0)
