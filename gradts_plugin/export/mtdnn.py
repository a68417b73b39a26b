"""A finished selection as MT-DNN trains it (Liu et al. 2019, github.com/namisan/mt-dnn).

MT-DNN is what the GradTS authors trained with. Written are its task definition, its data after its
own preprocessing (one JSON object per line: uid, label, token_id, type_id, attention_mask), an
encoder checkpoint where it cannot name one, and a script with the command line. The token ids are
those that the selection was made with.
"""

from __future__ import annotations

import json
import math
import random
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from gradts_plugin.errors import ConfigError, HostError
from gradts_plugin.pipeline import REWRITTEN_CONFIG
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.reading import read_json
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores.files import disk_errors, folder_in_the_making, publish_folder

if TYPE_CHECKING:
    from gradts_plugin.hosts.jiant.cached import TokenizedRow, TokenizedTask

#: MT-DNN's numbers of the encoder architectures both it and jiant have (its EncoderModelType).
ENCODER_TYPES: Final = {"bert": 1, "roberta": 2, "xlm-roberta": 5}

#: MT-DNN's own tags of word pieces that carry no label, and of the first and last token.
SPECIAL_TAGS: Final = ("X", "CLS", "SEP")

#: kind -> MT-DNN's task type and losses.
_TYPES: Final = {
    "classification": ("Classification", "CeCriterion", "SymKlCriterion"),
    "regression": ("Regression", "MseCriterion", "MseCriterion"),
    "tagging": ("SeqenceLabeling", "SeqCeCriterion", "SymKlCriterion"),
}

_METRICS: Final = {"f1": "F1", "mcc": "MCC", "pearson": "Pearson", "spearman": "Spearman"}

#: MT-DNN's learning rate, where the settings give none.
_LEARNING_RATE: Final = 5e-5

#: MT-DNN leaves out longer training instances.
_MAX_SEQ_LEN: Final = 512


@dataclass(frozen=True)
class MTDNNExport:
    """What was written.

    Attributes:
        folder: everything.
        script: the command line, to be run.
        names: task -> what it is called in MT-DNN, whose names have no underscore.
        num_train: training rows written per task, repetitions included.
    """

    folder: Path
    script: Path
    names: Mapping[str, str]
    num_train: Mapping[str, int]


@dataclass(frozen=True)
class _Run:
    """A finished selection, read from a rewritten container config."""

    config: Mapping[str, Any]
    selection: Mapping[str, Any]
    settings: GradTSSettings

    @property
    def tasks(self) -> tuple[str, ...]:
        return (self.selection["primary_task"], *self.selection["auxiliary_tasks"])

    @property
    def batch_size(self) -> int:
        """MT-DNN has one for all tasks: the primary's, where they differ."""
        own = self.config["task_specific_configs_dict"][self.tasks[0]]
        return int(self.settings.training.batch_size or own["train_batch_size"])

    @property
    def accumulation(self) -> int:
        own = self.config["task_specific_configs_dict"][self.tasks[0]]
        given = self.settings.training.gradient_accumulation_steps
        return int(given or own["gradient_accumulation_steps"])

    @property
    def num_batches(self) -> int:
        """Batches of the whole training."""
        return int(self.config["global_train_config"]["max_steps"]) * self.accumulation


def export_selection(
    run: Path, output_dir: Path, *, init_checkpoint: str | None = None
) -> MTDNNExport:
    """Writes a finished selection for MT-DNN.

    Args:
        run: a run's folder, or the container config that a selection wrote.
        output_dir: where it goes; must not exist, or be empty.
        init_checkpoint: what MT-DNN shall start from in place of the run's encoder: a hub name, or
            a checkpoint of its own.

    Raises:
        ConfigError: there is no finished selection, or MT-DNN has no such task or encoder.
        DataError: cached data is missing or damaged.
        StoreError: the disk refused; nothing half is left.
    """
    from gradts_plugin.hosts.jiant.cached import tokenized_tasks

    finished = _read(run)
    encoder_type = _encoder_type(finished)
    if output_dir.exists() and (output_dir.is_file() or any(output_dir.iterdir())):
        raise ConfigError(f"{output_dir} holds other files; choose an empty or new folder")
    tasks = tokenized_tasks(finished.config, finished.tasks)
    for task in tasks:
        _check_kind(task)
    names = mtdnn_names(finished.tasks)
    output_dir = output_dir.absolute()
    with (
        folder_in_the_making(output_dir.parent) as folder,
        disk_errors("write in", output_dir),
    ):
        (folder / "data").mkdir()
        num_train, longest = {}, _MAX_SEQ_LEN
        for task in tasks:
            path = folder / "data" / names[task.name]
            num_train[task.name], length = _write_train(finished, task, path)
            _write_lines(path.with_name(f"{path.name}_dev.json"), _lines(task, "val"))
            longest = max(longest, length)
        definition = {names[task.name]: task_definition(task) for task in tasks}
        (folder / "task_def.yml").write_text(
            yaml.safe_dump(definition, sort_keys=False), encoding="utf-8"
        )
        start = init_checkpoint or _start(finished, folder)
        script = folder / "train.sh"
        script.write_text(
            _script(finished, names, num_train, encoder_type, start, longest), encoding="utf-8"
        )
        script.chmod(0o755)
        if output_dir.is_dir():
            output_dir.rmdir()
        if not publish_folder(folder, output_dir):
            raise ConfigError(f"{output_dir} holds other files; choose an empty or new folder")
    return MTDNNExport(output_dir, output_dir / script.name, names, num_train)


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


def task_definition(task: TokenizedTask) -> dict[str, Any]:
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


def _check_kind(task: TokenizedTask) -> None:
    if task.kind not in _TYPES:
        kind = task.kind.replace("_", " ")
        raise ConfigError(
            f"task {task.name!r} cannot be exported: MT-DNN has no task type for {kind}; "
            f"it has {', '.join(_TYPES)}"
        )


def _read(run: Path) -> _Run:
    path = run / REWRITTEN_CONFIG if run.is_dir() else run
    if run.is_dir() and not path.exists():
        raise ConfigError(f"{run} holds no finished selection: there is no {REWRITTEN_CONFIG}")
    config = read_json(path)
    block = config.get("gradts") if isinstance(config, dict) else None
    if not isinstance(block, dict) or not isinstance(block.get("selection"), dict):
        raise ConfigError(f"{path} holds no selection; select first, or give the run's folder")
    selection = block.pop("selection")
    missing = {"primary_task", "auxiliary_tasks", "encoder", "encoder_architecture"} - {*selection}
    if missing:
        raise ConfigError(f"{path}: gradts.selection: key {min(missing)!r} is missing")
    settings = parse_settings(GradTSSettings, block, where=f"{path}: gradts")
    return _Run(config=config, selection=selection, settings=settings)


# --- the encoder ----------------------------------------------------------------------------------


def _encoder_type(run: _Run) -> int:
    architecture = run.selection["encoder_architecture"]
    if architecture not in ENCODER_TYPES:
        raise ConfigError(
            f"MT-DNN has no encoder type for {architecture!r}; it has {', '.join(ENCODER_TYPES)}"
        )
    return ENCODER_TYPES[architecture]


def _start(run: _Run, folder: Path) -> str | None:
    """The hub name that MT-DNN starts from; None where a checkpoint of its own was written."""
    name, architecture = run.selection["encoder"], run.selection["encoder_architecture"]
    if not Path(name).is_absolute() and not Path(name).is_dir():
        return str(name)
    if architecture != "bert":
        raise ConfigError(
            f"MT-DNN cannot start from the folder {name}: of {architecture} it reads hub names and "
            "fairseq's files; name one with --init_checkpoint"
        )
    _write_checkpoint(Path(name), folder / "encoder.pt")
    return None


def _write_checkpoint(encoder: Path, path: Path) -> None:
    """A BERT as MT-DNN loads it: {"state": weights under "bert.", "config": the architecture}."""
    import torch
    from transformers import AutoModel

    from gradts_plugin.hosts.jiant.host import silence_transformers

    restore = silence_transformers()
    try:
        model = AutoModel.from_pretrained(str(encoder))
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise HostError(f"encoder {encoder} cannot be read: {first_line}") from error
    finally:
        restore()
    state = {f"bert.{name}": weights for name, weights in model.state_dict().items()}
    # By way of JSON: MT-DNN writes the config out again, and loads without trust in pickles.
    config = json.loads(model.config.to_json_string(use_diff=False))
    torch.save({"state": state, "config": config}, str(path))


# --- the data -------------------------------------------------------------------------------------


def _class_names(task: TokenizedTask) -> tuple[str, ...]:
    """Class names in the order of MT-DNN's ids."""
    if task.kind == "classification":
        names = {_class_id(task, index): name for index, name in enumerate(task.labels)}
        return tuple(names[index] for index in range(len(names)))
    if task.kind == "tagging":
        # A tag of the task that is called like one of MT-DNN's own would be taken for it.
        own = tuple(f"{name}-tag" if name in SPECIAL_TAGS else name for name in task.labels)
        return own + SPECIAL_TAGS
    return ()


def _class_id(task: TokenizedTask, label: int) -> int:
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


def mtdnn_row(task: TokenizedTask, row: TokenizedRow) -> dict[str, Any]:
    """An instance as MT-DNN's preprocessing writes it."""
    label: Any = row.target
    if isinstance(label, tuple):
        continuation, first, last = (len(task.labels) + index for index in range(3))
        label = [continuation if tag is None else tag for tag in label]
        label[0], label[-1] = first, last
    elif isinstance(label, int):
        label = _class_id(task, label)
    values = {
        "uid": str(row.example_id),
        "label": label,
        "token_id": list(row.token_ids),
        "type_id": list(row.type_ids),
    }
    if task.kind != "tagging":  # MT-DNN's tagging rows have none
        values["attention_mask"] = [1] * len(row.token_ids)
    return values


def _lines(task: TokenizedTask, phase: Any) -> Iterator[str]:
    for row in task.rows(phase):
        yield json.dumps(mtdnn_row(task, row)) + "\n"


def _write_lines(path: Path, lines: Iterable[str]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as stream:
        for line in lines:
            stream.write(line)
            count += 1
    return count


def _write_train(run: _Run, task: TokenizedTask, path: Path) -> tuple[int, int]:
    """Writes a training file; returns the number of its rows and the longest one's tokens."""
    longest = 0

    def measured() -> Iterator[str]:
        nonlocal longest
        for row in task.rows("train"):
            longest = max(longest, len(row.token_ids))
            yield json.dumps(mtdnn_row(task, row)) + "\n"

    path = path.with_name(f"{path.name}_train.json")
    ratios = run.selection.get("mixing_ratios")
    if not ratios:
        return _write_lines(path, measured()), longest
    wanted = _batches_of(run, task.name, ratios) * run.batch_size
    lines = list(measured())
    return _write_lines(path, repeated(lines, wanted, seed=run.settings.seed)), longest


def _batches_of(run: _Run, task: str, ratios: Mapping[str, int]) -> int:
    return max(1, round(run.num_batches * ratios.get(task, 0) / sum(ratios.values())))


def repeated(lines: Sequence[str], count: int, *, seed: int) -> Iterator[str]:
    """Passes over the lines until there are `count`, each pass in an order of its own."""
    stream = random.Random(seed)  # noqa: S311
    while count > 0:
        taken = stream.sample(lines, min(count, len(lines)))
        yield from taken
        count -= len(taken)


# --- the command line -----------------------------------------------------------------------------


def _arguments(
    run: _Run, names: Mapping[str, str], num_train: Mapping[str, int], longest: int
) -> dict[str, Any]:
    """Arguments of MT-DNN's train.py that the selection and its settings decide."""
    training = run.settings.training
    given = training.model_fields_set
    batches = sum(math.ceil(count / run.batch_size) for count in num_train.values())
    warmup = training.warmup_proportion
    values: dict[str, Any] = {
        "train_datasets": ",".join(names[task] for task in run.tasks),
        "test_datasets": names[run.tasks[0]],
        "max_seq_len": longest,
        "epochs": max(1, round(training.epochs or run.num_batches / batches)),
        "batch_size": run.batch_size,
        "batch_size_eval": 2 * run.batch_size,
        "grad_accumulation_step": run.accumulation,
        "optimizer": training.optimizer if "optimizer" in given else "adamax",
        "learning_rate": training.learning_rate or _LEARNING_RATE,
        "warmup": 0.1 if warmup is None else warmup,
        "global_grad_clipping": training.max_grad_norm or 1.0,
        "mix_opt": 0,  # batches of all tasks in one random order
        "ratio": 0,  # and all of them
        "seed": run.settings.seed,
    }
    if run.selection.get("mixing_ratios"):
        # The files hold the whole training in these proportions: it is one epoch.
        passes = max(1, round(training.epochs or 1))
        values |= {"epochs": 1, "save_per_updates": max(1, batches // run.accumulation // passes)}
    return values


_SCRIPT = """\
#!/usr/bin/env bash
# Trains {primary} with {auxiliaries} in MT-DNN (github.com/namisan/mt-dnn).
# Rows: {rows}.{mixing}
# usage: train.sh MT_DNN_FOLDER [more arguments of train.py, which win over those below]
set -euo pipefail
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
mt_dnn="${{1:?usage: train.sh MT_DNN_FOLDER [more arguments of train.py]}}"
shift
cd "$mt_dnn"
exec "${{PYTHON:-python}}" train.py \\
  --task_def "$here/task_def.yml" \\
  --data_dir "$here/data" \\
  --init_checkpoint {start} \\
  --encoder_type {encoder_type} \\
{arguments}  --output_dir "$here/checkpoints" \\
  --log_file "$here/mt-dnn-train.log" \\
  "$@"
"""


def _script(
    run: _Run,
    names: Mapping[str, str],
    num_train: Mapping[str, int],
    encoder_type: int,
    start: str | None,
    longest: int,
) -> str:
    arguments = _arguments(run, names, num_train, longest)
    lines = [f"  --{key} {shlex.quote(str(value))} \\\n" for key, value in arguments.items()]
    ratios = run.selection.get("mixing_ratios")
    if ratios:
        lines.append("  --save_per_updates_on \\\n")
    told = ", ".join(f"{names[task]} {ratios[task]}" for task in run.tasks) if ratios else ""
    return _SCRIPT.format(
        primary=names[run.tasks[0]],
        auxiliaries=", ".join(names[task] for task in run.tasks[1:]) or "no auxiliary task",
        rows=", ".join(f"{names[task]} {count}" for task, count in num_train.items()),
        mixing=f"\n# Mixing ratios {told}: the files hold the whole training, so it is one epoch."
        if ratios
        else "",
        start='"$here/encoder.pt"' if start is None else shlex.quote(start),
        encoder_type=encoder_type,
        arguments="".join(lines),
    )
