"""Tasks as MT-DNN defines them: names, types, classes and metrics."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from gradts_plugin.errors import ConfigError
from gradts_plugin.json_forms import JsonObject

if TYPE_CHECKING:
    from gradts_plugin.hosts.jiant.cached import TokenizedTask


#: MT-DNN's own tags of word pieces that carry no label, and of the first and last token.
SPECIAL_TAGS: Final = ("X", "CLS", "SEP")

#: kind -> MT-DNN's task type and losses.
_TYPES: Final = {
    "classification": ("Classification", "CeCriterion", "SymKlCriterion"),
    "regression": ("Regression", "MseCriterion", "MseCriterion"),
    "tagging": ("SeqenceLabeling", "SeqCeCriterion", "SymKlCriterion"),
}

_METRICS: Final = {"f1": "F1", "mcc": "MCC", "pearson": "Pearson", "spearman": "Spearman"}


def mtdnn_names(tasks: Iterable[str]) -> dict[str, str]:
    """What tasks are called in MT-DNN, which reads `_` as the end of a name and `,` as a list.

    Raises:
        ConfigError: two tasks would have one name.
    """
    names: dict[str, str] = {}
    for task in tasks:
        name = re.sub(r"[^A-Za-z0-9.-]", "-", task)
        if name in names.values():
            other = next(task for task, taken in names.items() if taken == name)
            raise ConfigError(
                f"tasks {other!r} and {task!r} would both be {name!r} in MT-DNN, whose names have "
                "no underscore; rename one"
            )
        names[task] = name
    return names


def task_definition(task: TokenizedTask) -> JsonObject:
    """A task's entry in MT-DNN's task definition file."""
    task_type, loss, adversarial_loss = _TYPES[task.kind]
    one_text = "Seqence" if task.kind == "tagging" else "PremiseOnly"
    labels = _class_names(task)
    return {
        "data_format": "PremiseAndOneHypothesis" if task.is_pair else one_text,
        "task_type": task_type,
        "n_class": len(labels) or 1,
        **({"labels": list(labels)} if labels else {}),
        "metric_meta": _metrics(task),
        "enable_san": False,
        "dropout_p": 0.1,
        "loss": loss,
        "kd_loss": "MseCriterion",
        "adv_loss": adversarial_loss,
        "split_names": ["train", "dev"],
    }


def check_kind(task: TokenizedTask) -> None:
    """Refuses what MT-DNN has no task type for.

    Raises:
        ConfigError: says which it has.
    """
    if task.kind not in _TYPES:
        kind = task.kind.replace("_", " ")
        raise ConfigError(
            f"task {task.name!r} cannot be exported: MT-DNN has no task type for {kind}; "
            f"it has {', '.join(_TYPES)}"
        )


def _class_names(task: TokenizedTask) -> tuple[str, ...]:
    """Class names in the order of MT-DNN's ids."""
    if task.kind == "classification":
        names = {class_id(task, index): name for index, name in enumerate(task.labels)}
        return tuple(names[index] for index in range(len(names)))
    if task.kind == "tagging":
        # A tag of the task that is called like one of MT-DNN's own would be taken for it.
        own = tuple(f"{name}-tag" if name in SPECIAL_TAGS else name for name in task.labels)
        return own + SPECIAL_TAGS
    return ()


def class_id(task: TokenizedTask, label: int) -> int:
    """MT-DNN's id of a class: its F1 is that of class 1."""
    swapped = (
        task.metric == "f1" and len(task.labels) == 2 and task.labels[0] == task.positive_label
    )
    return 1 - label if swapped else label


def _metrics(task: TokenizedTask) -> list[str]:
    """The task's metric first, where MT-DNN has it."""
    if task.kind == "tagging":
        return ["SeqEval"]
    both = ["Pearson", "Spearman"] if task.kind == "regression" else ["ACC"]
    own = _METRICS.get(task.metric or "")
    if own is None or (own == "F1" and len(task.labels) != 2):
        return both
    return [own, *(metric for metric in both if metric != own)]
