"""`GradTS`: the keys of a run file as Python arguments, and results that show themselves.

The same parts as behind `gradts-select run`; nothing here computes.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from gradts_plugin import run as phases
from gradts_plugin.engine.engine import Engine
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.records import Cost, Counters, Outcome, Ranking, Selection, Trial
from gradts_plugin.report.notebook import html_of, pictures_html
from gradts_plugin.report.writing import write_report
from gradts_plugin.scores import Gain
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile, read_run_file, with_absolute_paths
from gradts_plugin.terminal.progress import ProgressPlugin
from gradts_plugin.terminal.tables import coverage_note, ranking_table
from gradts_plugin.workers.making import executor_of

if TYPE_CHECKING:
    import pandas as pd

_Answer = TypeVar("_Answer")


class _Shown(ABC):
    """Shows itself as the command line would: in a terminal, a notebook, or as plain text."""

    @abstractmethod
    def __rich__(self) -> Any:
        """What rich prints."""

    def __repr__(self) -> str:
        out = Console(file=io.StringIO(), width=100, color_system=None, force_jupyter=False)
        with out.capture() as captured:
            out.print(self)
        return captured.get().rstrip()

    def _repr_html_(self) -> str:
        return html_of(self.__rich__())


class RankingResult(_Shown, Ranking):
    """The candidates, best first: a `records.Ranking` that shows itself."""

    def __rich__(self) -> Group:
        """The table that `gradts-select rank` prints."""
        return Group(ranking_table(self), Text(coverage_note(self), style="dim"))

    def to_pandas(self) -> pd.DataFrame:
        """One row per candidate: task, tau (or none), low, high, probability_above_next."""
        import pandas as pd

        rows = []
        for candidate in self.candidates:
            low, high = candidate.interval or (None, None)
            tau = None if candidate.note else candidate.tau
            rows.append((candidate.task_name, tau, low, high, candidate.probability_above_next))
        columns = ["task", "tau", "low", "high", "probability_above_next"]
        numbers = dict.fromkeys(columns[1:], float)
        return pd.DataFrame(rows, columns=columns).astype(numbers)


class Trials(_Shown, tuple[Trial, ...]):
    """The training runs a selection rests on, in the order they were made."""

    __slots__ = ()

    def __rich__(self) -> Table:
        """One row per trial."""
        table = Table(title="Trials", title_justify="left")
        table.add_column("auxiliary tasks")
        table.add_column("dev score", justify="right")
        table.add_column("steps", justify="right")
        for trial in self:
            table.add_row(
                ", ".join(trial.auxiliary_tasks) or "none",
                trial.shown,
                str(trial.num_steps),
            )
        return table

    def to_pandas(self) -> pd.DataFrame:
        """One row per trial: auxiliary_tasks, score, spread, scores, num_steps, seconds, reused."""
        import pandas as pd

        rows = [
            (
                trial.auxiliary_tasks,
                trial.score,
                trial.spread,
                trial.scores,
                trial.num_steps,
                trial.seconds,
                trial.reused,
            )
            for trial in self
        ]
        columns = [
            "auxiliary_tasks",
            "score",
            "spread",
            "scores",
            "num_steps",
            "seconds",
            "reused",
        ]
        return pd.DataFrame(rows, columns=columns).astype({"score": float, "spread": float})


class SelectionResult(_Shown, Selection):
    """What was selected, and why: a `records.Selection` that shows itself."""

    def __rich__(self) -> Text:
        """The tasks, the reason, and how many instances are kept."""
        lines = [f"Selected for {self.primary_task}: {', '.join(self.auxiliary_tasks) or 'none'}"]
        lines.append(self.reason)
        lines += [
            f"  {name}: {len(ids)} training instances kept"
            for name, ids in self.kept_instances.items()
        ]
        return Text("\n".join(lines))


@dataclass(frozen=True, repr=False)
class Result(_Shown):
    """What a run came to.

    Attributes:
        ranking: the candidates, best first; None where the method needs no ranking.
        selection: the auxiliaries, and why.
        trials: the training runs that the selection rests on.
        score: the primary's dev score, trained with the selection; None where only selected, or
            where the metric is undefined.
        score_alone: its dev score, trained alone; None likewise.
        gain: of the selection over the primary alone, with its interval; None where nothing was
            selected or trained.
        test_gain: the same on the test set; None also where it was not scored.
        notes: what has to be known before the scores are trusted.
        config_path: jiant's task-container config that trains exactly the selection.
        weights_paths: trained weights in jiant's format, one file per training seed.
        report_path: the report; its numbers (JSON) where the page's packages are missing.
        cost: what it takes to know the selection with nothing stored.
        counters: what this call did itself, and what it found stored.
    """

    ranking: RankingResult | None
    selection: SelectionResult
    trials: Trials
    score: float | None
    score_alone: float | None
    config_path: Path
    weights_paths: tuple[Path, ...]
    report_path: Path
    cost: Cost
    counters: Counters
    gain: Gain | None = None
    test_gain: Gain | None = None
    notes: tuple[str, ...] = ()

    def __rich__(self) -> Group:
        """Ranking, selection, trials and scores, one below the other."""
        parts: list[Any] = [self.selection]
        if self.score is not None and self.score_alone is not None:
            parts.append(
                Text(f"Dev score {self.score:.4f}; the primary alone {self.score_alone:.4f}")
            )
        if self.gain is not None:
            parts.append(Text(f"Dev {self.gain.shown}"))
        if self.test_gain is not None:
            parts.append(Text(f"Test {self.test_gain.shown}"))
        parts += [Text(f"Note: {note}") for note in self.notes]
        if self.ranking is not None:
            parts += [Text(), self.ranking]
        if self.trials:
            parts += [Text(), self.trials]
        return Group(*(part.__rich__() if isinstance(part, _Shown) else part for part in parts))

    def _repr_html_(self) -> str:
        return super()._repr_html_() + pictures_html(self.report_path.parent, self.selection)


class GradTS:
    """A run: what would stand in a run file, as arguments.

    Nothing is read or written before `run`, `select` or `rank` is called; each of them finds
    stored what another has computed in the same `output_dir` (or `store`).
    """

    def __init__(
        self,
        *,
        model: str | Path | Mapping[str, Any],
        tasks: Iterable[str | Path],
        primary_task: str,
        output_dir: str | Path,
        progress: bool | None = None,
        plugins: Iterable[object] = (),
        **settings: Any,
    ) -> None:
        """Checks the settings.

        Args:
            model: hub name or folder of the encoder, or both of a run file's keys:
                `{"name_or_path": ..., "max_seq_length": ...}`.
            tasks: shipped task names and paths of task config files.
            primary_task: the task to help.
            output_dir: everything the run writes.
            progress: True shows it, False does not; None: only in a terminal.
            plugins: objects with hook implementations, beside the installed plugins.
            **settings: every other key of a run file.

        Raises:
            ConfigError: a key or value is wrong; one line with the nearest valid choice.
        """
        values = {
            "model": model if isinstance(model, Mapping) else {"name_or_path": str(model)},
            "tasks": [str(task) for task in tasks],
            "primary_task": primary_task,
            "output_dir": str(output_dir),
            **settings,
        }
        run_file = parse_settings(RunFile, values, where="GradTS")
        self._begin(with_absolute_paths(run_file, Path.cwd()), progress, plugins)

    @classmethod
    def from_run_file(
        cls, path: str | Path, *, progress: bool | None = None, plugins: Iterable[object] = ()
    ) -> GradTS:
        """The run of a YAML run file; relative paths in it start at its folder.

        Raises:
            ConfigError: it is missing, broken or wrong.
        """
        run = cls.__new__(cls)
        run._begin(read_run_file(Path(path)), progress, plugins)
        return run

    def _begin(self, run_file: RunFile, progress: bool | None, plugins: Iterable[object]) -> None:
        self.settings = run_file
        self._progress = progress
        self._plugins = tuple(plugins)

    def __repr__(self) -> str:
        """The arguments that were given."""
        given = self.settings.model_dump(mode="json", exclude_unset=True)
        return f"GradTS({', '.join(f'{key}={value!r}' for key, value in given.items())})"

    def rank(self) -> RankingResult:
        """Ranks the candidates.

        Raises:
            GradTSError: settings, data or the host are at fault; one line.
        """
        ranking = self._with_engine(phases.rank)
        return RankingResult(**vars(ranking))

    def select(self) -> Result:
        """Ranks and selects; the selection's own training is left to the caller.

        Raises:
            GradTSError: settings, data or the host are at fault; one line.
        """
        return self._with_engine(lambda engine: _reported(engine, phases.choose(engine)))

    def run(self) -> Result:
        """Ranks, selects, trains the selection, and the primary alone for comparison.

        Raises:
            GradTSError: settings, data or the host are at fault; one line.
        """
        return self._with_engine(lambda engine: _reported(engine, phases.run(engine)))

    def _with_engine(self, work: Callable[[Engine], _Answer]) -> _Answer:
        terminal = Console(stderr=True)
        shown = terminal.is_terminal if self._progress is None else self._progress
        progress = ProgressPlugin(terminal, quiet=not shown)
        manager = make_plugin_manager([progress, *self._plugins])
        try:
            executor = executor_of(self.settings, self._plugins)
            with open_run_file(self.settings, manager, executor=executor) as engine:
                return work(engine)
        finally:
            progress.close()


def _reported(engine: Engine, outcome: Outcome) -> Result:
    """An outcome as a result, its report written."""
    selected, alone = outcome.selected, outcome.alone
    return Result(
        ranking=RankingResult(**vars(outcome.ranking)) if outcome.ranking else None,
        selection=SelectionResult(**vars(outcome.selection)),
        trials=Trials(outcome.selection.trials),
        score=selected.score if selected else None,
        score_alone=alone.score if alone else None,
        config_path=outcome.config_path,
        weights_paths=outcome.weights,
        report_path=write_report(engine, outcome),
        cost=outcome.cost,
        counters=outcome.done,
        gain=outcome.gain,
        test_gain=outcome.test_gain,
        notes=outcome.notes,
    )
