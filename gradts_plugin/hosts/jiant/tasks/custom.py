"""Custom tasks as jiant tasks."""

# No `from __future__ import annotations`: jiant looks at the types of fields.
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from gradts_plugin.errors import ConfigError
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.tasks.evaluation import CorrelationScheme, LabelScheme, TagScheme
from gradts_plugin.hosts.jiant.tasks.examples import (
    ChoiceExample,
    TaggingExample,
    TextExample,
    TokenizedText,
    regression_row,
)
from gradts_plugin.tasks import examples as task_data
from gradts_plugin.tasks import reading
from gradts_plugin.tasks.kinds import Split
from gradts_plugin.tasks.task_configs import (
    SPLITS,
    TaskConfig,
    TaskValues,
    parse_task_config,
)

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.tasks.core import Task, TaskTypes
from jiant.tasks.lib import sst, stsb, udpos
from jiant.tasks.lib.templates import multiple_choice
from jiant.tasks.lib.templates.shared import labels_to_bimap

#: What an unlabelled test row is given; jiant's rows cannot be without a label.
_NO_LABEL = 0


class CustomTask(Task):  # type: ignore[misc]  # jiant is untyped
    """A task from a task config.

    Attributes:
        config: the task config.
        data_folder: where its relative paths start.
        LABELS: the labels, in the order of their ids.
    """

    def __init__(self, config: TaskConfig, data_folder: Path) -> None:
        files = {split: config.paths.of(split) for split in SPLITS} if config.paths else {}
        absolute = {
            split: str(data_folder.absolute() / paths[0]) for split, paths in files.items() if paths
        }
        super().__init__(name=config.name, path_dict=absolute)
        self.config = config
        self.data_folder = data_folder
        self.LABELS = list(reading.task_labels(config, data_folder))
        self.LABEL_TO_ID, self.ID_TO_LABEL = labels_to_bimap(self.LABELS)

    @property
    def num_labels(self) -> int:
        """Number of labels."""
        return len(self.LABELS)

    def get_train_examples(self) -> Iterator[Any]:
        """The training split, one row at a time; jiant itself goes through it once."""
        return self._examples("train")

    def get_val_examples(self) -> Iterator[Any]:
        """The dev split, one row at a time."""
        return self._examples("val")

    def get_test_examples(self) -> Iterator[Any]:
        """The test split, one row at a time; rows without a label get label id 0 (score 0)."""
        return self._examples("test")

    def evaluation_scheme(self) -> Any:
        """How the task is scored."""
        raise NotImplementedError

    def _examples(self, split: Split) -> Iterator[Any]:
        labels = tuple(self.LABELS)
        for example in reading.each_example(self.config, split, self.data_folder, labels=labels):
            yield self._example(f"{split}-{example.index}", example)

    def _example(self, guid: str, example: task_data.Example) -> Any:
        raise NotImplementedError


class ClassificationTask(CustomTask):
    """Kinds single and pair."""

    TASK_TYPE = TaskTypes.CLASSIFICATION
    Example = TextExample
    TokenizedExample = TokenizedText
    DataRow = sst.DataRow
    Batch = sst.Batch

    def evaluation_scheme(self) -> LabelScheme:
        """How the task is scored."""
        positive = self.config.positive_label
        positive_id = None if positive is None else self.LABEL_TO_ID[positive]
        return LabelScheme(self.config.metric, positive_id)

    def _example(self, guid: str, example: task_data.Example) -> TextExample:
        target = _NO_LABEL if example.label is None else self.LABEL_TO_ID[example.label]
        return TextExample(guid, example.text_a, example.text_b, target, sst.DataRow)


class RegressionTask(CustomTask):
    """Kind regression."""

    TASK_TYPE = TaskTypes.REGRESSION
    Example = TextExample
    TokenizedExample = TokenizedText
    DataRow = stsb.DataRow
    Batch = stsb.Batch

    def evaluation_scheme(self) -> CorrelationScheme:
        """How the task is scored."""
        return CorrelationScheme(self.config.metric)

    def _example(self, guid: str, example: task_data.Example) -> TextExample:
        target = float(_NO_LABEL if example.label is None else example.label)
        return TextExample(guid, example.text_a, example.text_b, target, regression_row)


class TaggingTask(CustomTask):
    """Kind tagging."""

    TASK_TYPE = TaskTypes.TAGGING
    Example = TaggingExample
    TokenizedExample = udpos.TokenizedExample
    DataRow = udpos.DataRow
    Batch = udpos.Batch

    def evaluation_scheme(self) -> TagScheme:
        """How the task is scored."""
        return TagScheme(self.config.metric)

    def _example(self, guid: str, example: task_data.Example) -> TaggingExample:
        ids = tuple(None if label is None else self.LABEL_TO_ID[label] for label in example.labels)
        return TaggingExample(guid, example.tokens, ids or (_NO_LABEL,) * len(example.tokens))


class MultipleChoiceTask(CustomTask):
    """Kind multiple_choice."""

    TASK_TYPE = TaskTypes.MULTIPLE_CHOICE
    Example = ChoiceExample
    TokenizedExample = multiple_choice.TokenizedExample
    DataRow = multiple_choice.DataRow
    Batch = multiple_choice.Batch

    def __init__(self, config: TaskConfig, data_folder: Path) -> None:
        super().__init__(config, data_folder)
        self.NUM_CHOICES = len(self.LABELS)
        self.CHOICE_KEYS = self.LABELS
        self.CHOICE_TO_ID, self.ID_TO_CHOICE = self.LABEL_TO_ID, self.ID_TO_LABEL

    def evaluation_scheme(self) -> LabelScheme:
        """How the task is scored."""
        return LabelScheme(self.config.metric, None)

    def _example(self, guid: str, example: task_data.Example) -> ChoiceExample:
        prompt = " ".join(text for text in (example.text_a, example.text_b) if text)
        target = _NO_LABEL if example.label is None else int(example.label)
        return ChoiceExample(guid, prompt, example.choices, target)


_TASK_CLASSES: Mapping[str, type[CustomTask]] = {
    "single": ClassificationTask,
    "pair": ClassificationTask,
    "regression": RegressionTask,
    "tagging": TaggingTask,
    "multiple_choice": MultipleChoiceTask,
}


def create_task(config: TaskValues, base_path: Path) -> CustomTask:
    """Makes a jiant task from a task config.

    Args:
        config: the task config's JSON values, with a `kind`; not changed.
        base_path: where its relative paths start.

    Returns:
        The task. Its labels are known; its data are read when its examples are asked for.

    Raises:
        ConfigError: the config is wrong, or torch cannot have a module of the task's name.
        DataError: labels are to be inferred, and the training split cannot be read.
    """
    settings = parse_task_config(config, where=f"task config {config.get('name', '')!r}")
    name = settings.name
    # jiant keeps the tasks' heads in a ModuleDict under the tasks' names.
    if "." in name or hasattr(nn.ModuleDict(), name):
        raise ConfigError(f"task name {name!r}: torch has no module of that name; use another")
    return _TASK_CLASSES[settings.kind](settings, base_path)
