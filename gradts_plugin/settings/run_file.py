"""The run file: the settings, and what the host has to be prepared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from gradts_plugin.settings.changes import changed
from gradts_plugin.settings.executor import ExecutorSettings
from gradts_plugin.settings.parsing import Affects, Settings, parse_settings
from gradts_plugin.settings.reading import read_yaml
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.settings.training import DEFAULT_EPOCHS, TrainingSettings

_RUN = Affects(("run",))


class ModelSettings(Settings):
    """The encoder of a run file: a hub name or a local folder."""

    name_or_path: str
    max_seq_length: Annotated[int, Field(ge=8, le=8192)] = 128


class RunFile(GradTSSettings):
    """`gradts-select run run.yaml`: the settings, and what the host has to be prepared with.

    Attributes:
        host: the multi-task framework that loads and trains: jiant, or one that a plugin opens.
        model: the encoder; its name or folder alone is enough.
        training: as in the settings; with 3 epochs where no length is given, and equal exposure
            unless it says otherwise, `faithful` is set, or the recipe is MT-DNN's.
        tasks: shipped task names or paths of task config JSON files.
        data_dir: folder that relative data paths of shipped task configs start from.
        output_dir: everything the run writes.
        max_train_examples: cap on training rows per task (a seeded sample); None: all.
        executor: who makes probes and trainings, and how many at a time.
        score_test: also score the primary's labelled test split after each training; it is
            reported, and never used to select.
    """

    training: Annotated[
        TrainingSettings, Field(validate_default=True), Affects(("run", "trainings"))
    ] = TrainingSettings()
    host: Annotated[str, _RUN] = "jiant"
    model: Annotated[ModelSettings, _RUN]
    tasks: Annotated[tuple[str, ...], Field(min_length=2), _RUN]
    data_dir: Annotated[Path | None, _RUN] = None
    output_dir: Annotated[Path, _RUN]
    max_train_examples: Annotated[Annotated[int, Field(gt=0, le=10**9)] | None, _RUN] = None
    score_test: Annotated[bool, _RUN] = False
    executor: ExecutorSettings = ExecutorSettings()

    @field_validator("model", mode="before")
    @classmethod
    def _model_alone(cls, given: Any) -> Any:
        return {"name_or_path": given} if isinstance(given, str) else given

    @property
    def store_folder(self) -> Path:
        """Where probes, trials and tokenised tasks are stored."""
        return self.store or self.output_dir / "store"

    @property
    def scored_tasks(self) -> tuple[str, ...]:
        """The tasks whose dev (and test) sets are scored."""
        return (self.primary_task,)

    @field_validator("training")
    @classmethod
    def _has_a_length_and_exposure(
        cls, training: TrainingSettings, info: ValidationInfo
    ) -> TrainingSettings:
        update: dict[str, Any] = {}
        # There is no container config yet that could say how long to train.
        if training.epochs is None and training.max_steps is None:
            update["epochs"] = DEFAULT_EPOCHS
        is_published = info.data.get("faithful") or training.recipe == "mt-dnn"
        if "exposure" not in training.model_fields_set and not is_published:
            update["exposure"] = "equal"
        return training.model_copy(update=update)


def read_run_file(path: Path, changes: Sequence[str] = ()) -> RunFile:
    """Reads a run file; relative paths in it start at its folder.

    Args:
        path: the file.
        changes: `key=value` each, as if they stood in it (`settings.changes`).

    Raises:
        ConfigError: it is missing, broken or wrong.
    """
    run_file = parse_settings(RunFile, changed(read_yaml(path), changes), where=str(path))
    return with_absolute_paths(run_file, path.absolute().parent)


RunFileT = TypeVar("RunFileT", bound=RunFile)


def with_absolute_paths(run_file: RunFileT, base: Path) -> RunFileT:
    """A copy of a run file whose relative paths start at a folder.

    Args:
        run_file: the run.
        base: an absolute path.
    """
    model = run_file.model.name_or_path
    if _is_there(base / model, Path.is_dir):
        run_file = run_file.model_copy(
            update={"model": run_file.model.model_copy(update={"name_or_path": str(base / model)})}
        )
    tasks = tuple(
        str(base / name) if _is_there(base / name, Path.is_file) else name
        for name in run_file.tasks
    )
    update: dict[str, Any] = {"tasks": tasks, "output_dir": base / run_file.output_dir}
    if run_file.data_dir is not None:
        update["data_dir"] = base / run_file.data_dir
    if run_file.store is not None:
        update["store"] = base / run_file.store
    return run_file.model_copy(update=update)


def _is_there(path: Path, is_kind: Callable[[Path], bool]) -> bool:
    try:
        return is_kind(path)
    except OSError:  # no name of a file, too long say
        return False
