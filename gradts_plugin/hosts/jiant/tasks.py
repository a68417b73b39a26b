"""Custom tasks as jiant tasks, and the two places where jiant learns of them.

Rows, batches and featurisation are jiant's own, so that caches of custom tasks look like any
other. What is new are the examples (from `readers`) and labels that belong to the task object,
not to its class.
"""

# No `from __future__ import annotations`: jiant looks at the types of a batch's fields.
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from gradts_plugin import readers
from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.settings.reading import read_json
from gradts_plugin.task_configs import Split, TaskConfig, is_custom, parse_task_config

apply_mends()

# The mends come first: jiant cannot be imported without them.
from jiant.tasks import evaluate, retrieval  # noqa: E402
from jiant.tasks.core import BaseExample, BaseTokenizedExample, Task, TaskTypes  # noqa: E402
from jiant.tasks.lib import sst, stsb, udpos  # noqa: E402
from jiant.tasks.lib.templates import multiple_choice  # noqa: E402
from jiant.tasks.lib.templates.shared import (  # noqa: E402
    double_sentence_featurize,
    labels_to_bimap,
    single_sentence_featurize,
)
from jiant.utils.python import io as py_io  # noqa: E402

from gradts_plugin.hosts.jiant.evaluation import (  # noqa: E402
    CorrelationScheme,
    LabelScheme,
    TagScheme,
)

LoadTask = Callable[[Mapping[str, Any], Path], Any | None]

#: What an unlabelled test row is given; jiant's rows cannot be without a label.
_NO_LABEL = 0


def _regression_row(label_id: float, **values: Any) -> Any:
    # jiant's featurisation calls every target label_id; its regression rows call it label.
    return stsb.DataRow(label=label_id, **values)


@dataclass
class TokenizedText(BaseTokenizedExample):  # type: ignore[misc]  # jiant is untyped
    """One text or two, cut into word pieces.

    Attributes:
        target: label id, or score.
        row_class: makes the data row.
    """

    guid: str
    text_a: list[str]
    text_b: list[str] | None
    target: int | float
    row_class: Callable[..., Any]

    def featurize(self, tokenizer: Any, feat_spec: Any) -> Any:
        """Adds special tokens, cuts and pads as jiant does."""
        shared = {
            "guid": self.guid,
            "label_id": self.target,
            "tokenizer": tokenizer,
            "feat_spec": feat_spec,
            "data_row_class": self.row_class,
        }
        if self.text_b is None:
            return single_sentence_featurize(input_tokens=self.text_a, **shared)
        return double_sentence_featurize(
            input_tokens_a=self.text_a, input_tokens_b=self.text_b, **shared
        )


@dataclass
class TextExample(BaseExample):  # type: ignore[misc]  # jiant is untyped
    """One text or two, with a label id (or a score)."""

    guid: str
    text_a: str
    text_b: str | None
    target: int | float
    row_class: Callable[..., Any]

    def tokenize(self, tokenizer: Any) -> TokenizedText:
        """Cuts the texts into word pieces."""
        return TokenizedText(
            guid=self.guid,
            text_a=tokenizer.tokenize(self.text_a),
            text_b=None if self.text_b is None else tokenizer.tokenize(self.text_b),
            target=self.target,
            row_class=self.row_class,
        )


@dataclass
class TaggingExample(BaseExample):  # type: ignore[misc]  # jiant is untyped
    """Words with one label id each."""

    guid: str
    tokens: tuple[str, ...]
    label_ids: tuple[int, ...]

    def tokenize(self, tokenizer: Any) -> Any:
        """Cuts each word into pieces, the first of which carries the label.

        As in jiant's udpos: a word that cannot be cut, or into more than 100 pieces (addresses of
        the web, mostly), becomes one unknown token.
        """
        pieces: list[str] = []
        labels: list[int | None] = []
        for word, label_id in zip(self.tokens, self.label_ids, strict=True):
            cut = tokenizer.tokenize(word)
            if not 0 < len(cut) <= udpos.ARBITRARY_OVERLY_LONG_WORD_CONSTRAINT:
                cut = [tokenizer.unk_token]
            pieces += cut
            labels += [label_id] + [None] * (len(cut) - 1)
        return udpos.TokenizedExample(
            guid=self.guid,
            tokens=pieces,
            labels=labels,
            label_mask=[int(label is not None) for label in labels],
        )


@dataclass
class ChoiceExample(BaseExample):  # type: ignore[misc]  # jiant is untyped
    """A text and the choices that may go with it."""

    guid: str
    prompt: str
    choices: tuple[str, ...]
    label_id: int

    def tokenize(self, tokenizer: Any) -> Any:
        """Cuts the text and the choices into word pieces."""
        return multiple_choice.TokenizedExample(
            guid=self.guid,
            prompt=tokenizer.tokenize(self.prompt),
            choice_list=[tokenizer.tokenize(choice) for choice in self.choices],
            label_id=self.label_id,
        )


class CustomTask(Task):  # type: ignore[misc]  # jiant is untyped
    """A task from a task config.

    Attributes:
        config: the task config.
        data_folder: where its relative paths start.
        LABELS: the labels, in the order of their ids.
    """

    def __init__(self, config: TaskConfig, data_folder: Path) -> None:
        paths = config.paths.model_dump(exclude_none=True) if config.paths else {}
        absolute = {split: str(data_folder.absolute() / path) for split, path in paths.items()}
        super().__init__(name=config.name, path_dict=absolute)
        self.config = config
        self.data_folder = data_folder
        self.LABELS = list(readers.task_labels(config, data_folder))
        self.LABEL_TO_ID, self.ID_TO_LABEL = labels_to_bimap(self.LABELS)

    @property
    def num_labels(self) -> int:
        """Number of labels."""
        return len(self.LABELS)

    def get_train_examples(self) -> list[Any]:
        """The training split."""
        return self._examples("train")

    def get_val_examples(self) -> list[Any]:
        """The dev split."""
        return self._examples("val")

    def get_test_examples(self) -> list[Any]:
        """The test split; rows without a label get label id 0 (score 0)."""
        return self._examples("test")

    def evaluation_scheme(self) -> Any:
        """How the task is scored."""
        raise NotImplementedError

    def _examples(self, split: Split) -> list[Any]:
        examples = readers.read_examples(
            self.config, split, self.data_folder, labels=tuple(self.LABELS)
        )
        return [self._example(f"{split}-{example.index}", example) for example in examples]

    def _example(self, guid: str, example: readers.Example) -> Any:
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

    def _example(self, guid: str, example: readers.Example) -> TextExample:
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

    def _example(self, guid: str, example: readers.Example) -> TextExample:
        target = float(_NO_LABEL if example.label is None else example.label)
        return TextExample(guid, example.text_a, example.text_b, target, _regression_row)


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

    def _example(self, guid: str, example: readers.Example) -> TaggingExample:
        ids = tuple(self.LABEL_TO_ID[label] for label in example.labels)
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

    def _example(self, guid: str, example: readers.Example) -> ChoiceExample:
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


def create_task(config: Mapping[str, Any], base_path: Path) -> CustomTask:
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


# --- attaching -----------------------------------------------------------------------------------


def _no_task(config: Mapping[str, Any], base_path: Path) -> None:
    """Leaves every config to others."""
    del config, base_path


def attach(load_task: LoadTask = _no_task) -> None:
    """Lets jiant load custom tasks and score them. Attaching again replaces `load_task`.

    Args:
        load_task: asked first for each task config; None: not its own. A task it returns is scored
            by its method `evaluation_scheme`, where it has one, else as jiant scores its class.
    """
    detach()
    create, score = retrieval.create_task_from_config, evaluate.core.get_evaluation_scheme_for_task

    def create_task_from_config(
        config: Any, base_path: str | None = None, verbose: bool = False
    ) -> Any:
        folder = Path(base_path or ".")
        task = load_task(config, folder)
        if task is not None:
            return task
        if is_custom(config):
            return create_task(config, folder)
        _check_host_task(config)
        return create(config, base_path=base_path, verbose=verbose)

    def get_evaluation_scheme_for_task(task: Any) -> Any:
        scheme = getattr(task, "evaluation_scheme", None)
        return score(task) if scheme is None else scheme()

    create_task_from_config.jiant_original = create  # type: ignore[attr-defined]
    get_evaluation_scheme_for_task.jiant_original = score  # type: ignore[attr-defined]
    _install(create_task_from_config, get_evaluation_scheme_for_task)
    retrieval.read_json = lambda path: read_json(Path(path))  # says file and line of a mistake


def detach() -> None:
    """Gives jiant its own functions back; does nothing where nothing is attached."""
    create, score = retrieval.create_task_from_config, evaluate.core.get_evaluation_scheme_for_task
    _install(getattr(create, "jiant_original", create), getattr(score, "jiant_original", score))
    retrieval.read_json = py_io.read_json


def _install(create: Callable[..., Any], score: Callable[..., Any]) -> None:
    retrieval.create_task_from_config = create
    # jiant's modules call the name of the package, which has copied it from core.
    evaluate.core.get_evaluation_scheme_for_task = score
    evaluate.get_evaluation_scheme_for_task = score


def _check_host_task(config: Any) -> None:
    """Explains what jiant would answer with a KeyError.

    Raises:
        ConfigError: neither a custom task nor one that jiant knows.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"a task config is a JSON object, not {type(config).__name__}")
    for key in ("task", "name", "paths"):
        if key not in config:
            raise ConfigError(
                f"task config {config.get('name', '')!r}: key {key!r} is missing; a custom task "
                "names its 'kind', one of jiant's own its 'task', 'name' and 'paths'"
            )
    if config["task"] not in retrieval.TASK_DICT:
        raise ConfigError(
            f"task config {config['name']!r}: jiant has no task {config['task']!r}; "
            f"{nearest(str(config['task']), retrieval.TASK_DICT)}"
        )
