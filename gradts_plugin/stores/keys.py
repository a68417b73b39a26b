"""What every stored number depends on: the keys under which probes, trainings and values are found.

Which settings belong into which key is said at the settings (`settings.parsing.Affects`); every
implementation that a number depends on stands in its key with its version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradts_plugin.json_forms import JsonObject, to_json
from gradts_plugin.records import Recipe, TaskInfo, TrainingPlan
from gradts_plugin.settings.probing import ProbingSettings
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores.files import (
    check_folder_name,
)

#: Of keys and of everything that is stored under them; raised when either changes its meaning.
FORMAT_VERSION = 2

#: Of the head that is fitted to a frozen encoder (`probing.convex`); raised when it gives other
#: weights.
HEAD_FIT_VERSION = 2

#: Of how attention is computed in bf16 probes (2: by plain products on a CPU).
BF16_VERSION = 2


@dataclass(frozen=True)
class ProbeKey:
    """Everything the importances of one probed task depend on.

    Attributes:
        encoder: fingerprint of the pretrained encoder.
        task_name: the task.
        task_data: fingerprint of the task's training data.
        fine_tuning: the fine-tuning settings, plain JSON values.
        probing: the probing settings, plain JSON values.
        seed: the fine-tuning seed.
    """

    encoder: str
    task_name: str
    task_data: str
    fine_tuning: JsonObject
    probing: JsonObject
    seed: int

    @property
    def fingerprint(self) -> JsonObject:
        """The key as plain JSON values."""
        values = {
            "encoder": self.encoder,
            "task_name": self.task_name,
            "task_data": self.task_data,
            "fine_tuning": dict(self.fine_tuning),
            "probing": dict(self.probing),
            "seed": self.seed,
        }
        # Through JSON, so that it compares equal to what is read back (tuples become lists).
        plain: JsonObject = json.loads(canonical_json(values))
        return plain

    @property
    def digest(self) -> str:
        """sha256 (hex) of the fingerprint and the store's format version."""
        return digest_of({"format_version": FORMAT_VERSION, **self.fingerprint})

    @property
    def folder_name(self) -> str:
        """Name of the record's folder.

        Raises:
            ConfigError: the task's name would leave the store's folder.
        """
        return f"{check_folder_name(self.task_name)}-seed{self.seed}-{self.digest[:16]}"


def canonical_json(values: Any) -> str:
    """Writes plain JSON values so that equal values give equal text (keys sorted, no spaces).

    Raises:
        ValueError: a NaN or an infinity.
        TypeError: a value JSON does not have.
    """
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(values: Any) -> str:
    """sha256 (hex) of the canonical JSON of plain values."""
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def probe_key(
    settings: GradTSSettings,
    info: TaskInfo,
    *,
    encoder: str,
    probing: ProbingSettings,
    measure: JsonObject,
    recipe: Recipe | None,
    seed: int,
    shuffle_seed: int | None,
) -> ProbeKey:
    """What a probe's importances are stored under.

    Args:
        settings: of the run.
        info: the task.
        encoder: fingerprint of the pretrained encoder.
        probing: how the task is probed; may differ from the run's.
        measure: name, provider and version of the head importance measure.
        recipe: of the fine-tuning before the probe; None where the encoder is frozen.
        seed: of the fine-tuning.
        shuffle_seed: of the labels; None where they stay.
    """
    if info.num_train <= (probing.max_instances or 0):
        probing = probing.model_copy(update={"max_instances": None})  # a sample of all is all
    names = ProbingSettings.names_that_affect("probes") - {"importance"}
    if not probing.train_mode:
        names -= {"batch_size"}  # every instance on its own, whoever shares its batch
    described = {**probing.model_dump(include=names), "importance": dict(measure)}
    if probing.precision == "bf16":
        described["bf16_version"] = BF16_VERSION
    if recipe is None:
        described["head_fit_version"] = HEAD_FIT_VERSION
    if shuffle_seed is not None:
        described["shuffled_labels"] = shuffle_seed
    return ProbeKey(
        encoder=encoder,
        task_name=info.name,
        task_data=info.fingerprint,
        fine_tuning={} if recipe is None else training_identity(settings, recipe),
        probing=described,
        seed=0 if recipe is None else seed,
    )


def training_identity(settings: GradTSSettings, recipe: Recipe) -> JsonObject:
    """What decides a training's numbers beside encoder, data and seed, as JSON values.

    Args:
        settings: of the run; those that say how the host trains.
        recipe: from `Host.recipe`.
    """
    names = GradTSSettings.names_that_affect("trainings") - {"seed", "training"}
    return {"recipe": to_json(recipe), **settings.model_dump(include=names)}


def training_key(
    settings: GradTSSettings, plan: TrainingPlan, infos: Mapping[str, TaskInfo], *, encoder: str
) -> JsonObject:
    """What a training is stored under.

    Args:
        settings: of the run.
        plan: the training.
        infos: the host's tasks by name.
        encoder: fingerprint of the pretrained encoder.
    """
    return {
        "encoder": encoder,
        "train_tasks": [[name, infos[name].fingerprint] for name in plan.train_tasks],
        "dev_set": [plan.primary_task, infos[plan.primary_task].dev_fingerprint],
        "seed": plan.seed,
        "training": training_identity(settings, plan.recipe),
        "kept_instances": {
            name: hashlib.sha256(np.sort(ids).astype("<i8").tobytes()).hexdigest()
            for name, ids in plan.kept_instances.items()
        },
    }


def with_test_set(key: JsonObject, info: TaskInfo) -> JsonObject:
    """The key of a training whose primary is also scored on a test set, where it has one."""
    return {**key, "test_set": info.test_fingerprint} if info.test_fingerprint else key


def computed_key(
    name: str,
    identity: JsonObject,
    infos: Sequence[TaskInfo],
    *,
    encoder: str,
    ranker: JsonObject,
) -> JsonObject:
    """What a ranker's computed values are stored under.

    Args:
        name: of the computation.
        identity: everything the values depend on beside the rest.
        infos: the tasks whose data they depend on.
        encoder: fingerprint of the pretrained encoder.
        ranker: name, provider and version of the ranker.
    """
    return {
        "name": name,
        "identity": dict(identity),
        "encoder": encoder,
        "ranker": dict(ranker),
        "tasks": [[info.name, info.fingerprint, info.dev_fingerprint] for info in infos],
    }
