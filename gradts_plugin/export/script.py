"""The command line with which MT-DNN trains a selection."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Final

from gradts_plugin.export.finished import FinishedSelection
from gradts_plugin.json_forms import JsonValue

#: MT-DNN's learning rate, where the settings give none.
_LEARNING_RATE: Final = 5e-5


def _arguments(
    run: FinishedSelection, names: Mapping[str, str], num_train: Mapping[str, int], longest: int
) -> dict[str, JsonValue]:
    """Arguments of MT-DNN's train.py that the selection and its settings decide."""
    training = run.settings.training
    given = training.model_fields_set
    batches = sum(math.ceil(count / run.batch_size) for count in num_train.values())
    warmup = training.warmup_proportion
    values: dict[str, JsonValue] = {
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
    if run.mixing_ratios:
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


def script_of(
    run: FinishedSelection,
    names: Mapping[str, str],
    num_train: Mapping[str, int],
    encoder_type: int,
    start: str | None,
    longest: int,
) -> str:
    """The script that runs MT-DNN's train.py.

    Args:
        run: the selection.
        names: task -> its name in MT-DNN.
        num_train: task -> rows written.
        encoder_type: MT-DNN's number of the architecture.
        start: what MT-DNN starts from; None: the checkpoint beside the script.
        longest: tokens of the longest training row, or MT-DNN's own limit.
    """
    arguments = _arguments(run, names, num_train, longest)
    lines = [f"  --{key} {shlex.quote(str(value))} \\\n" for key, value in arguments.items()]
    ratios = run.mixing_ratios
    if ratios:
        lines.append("  --save_per_updates_on \\\n")
    told = ", ".join(f"{names[task]} {ratios[task]}" for task in run.tasks) if ratios else ""
    mixing = f"\n# Mixing ratios {told}: the files hold the whole training, so it is one epoch."
    if run.in_sequence:
        mixing += f"\n# {names[run.tasks[0]]} was trained after the others; MT-DNN mixes them."
    return _SCRIPT.format(
        primary=names[run.tasks[0]],
        auxiliaries=", ".join(names[task] for task in run.tasks[1:]) or "no auxiliary task",
        rows=", ".join(f"{names[task]} {count}" for task, count in num_train.items()),
        mixing=mixing if ratios else "",
        start='"$here/encoder.pt"' if start is None else shlex.quote(start),
        encoder_type=encoder_type,
        arguments="".join(lines),
    )
