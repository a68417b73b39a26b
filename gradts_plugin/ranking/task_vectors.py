"""Ranking by task vectors: encoders that were fine-tuned apart, added up in place of a training."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated

import numpy as np
from pydantic import Field

from gradts_plugin.json_forms import JsonObject, from_json
from gradts_plugin.offers import Computation, NamedValues, Ranker, RankingContext
from gradts_plugin.protocols import ProbeTarget
from gradts_plugin.ranking.by_value import ranked_by_value
from gradts_plugin.ranking.encoder_weights import flat_weights, with_added
from gradts_plugin.ranking.held_out import encoded_task, held_out_loss
from gradts_plugin.ranking.sampling import SamplingSettings
from gradts_plugin.records import Cost, Ranking
from gradts_plugin.settings.parsing import Affects
from gradts_plugin.stores import keys


class TaskVectorSettings(SamplingSettings):
    """How task vectors are added up, and how much of the primary is looked at.

    Attributes:
        scale: lambda, what every task vector is multiplied by; with 0.5 the primary and a candidate
            make the mean of their two encoders.
    """

    scale: Annotated[float, Field(gt=0), Affects(("computed",))] = 0.5


def rank_by_task_vectors(context: RankingContext, settings: TaskVectorSettings) -> Ranking:
    """Ranks the candidates by what adding their task vector to the primary's does for the primary.

    The encoder theta_0 is fine-tuned on every task alone; a task vector is theta_t - theta_0
    (Ilharco et al. 2023, Editing Models with Task Arithmetic). The encoder
    theta_0 + scale * (vector of the primary + vector of the candidate) stands for one that was
    trained on both, as merged models stand for mixtures of data in Merge to Mix (Tao et al. 2025):
    a linear head is fitted to it on the primary's training instances and scored on dev instances,
    and compared with theta_0 + scale * vector of the primary.

    A vector is stored as float16, two bytes for each of the encoder's weights (45 MB for 23
    million, 220 MB for 110 million), under a key that names no other task. Nothing removes it; a
    file that you remove is made again when a ranking needs it.

    Costs: the first answer a fine-tuning of each candidate and of the primary; one candidate more
    one fine-tuning; another primary none where it was a candidate before, else its own. The
    primary's samples are encoded once for each candidate.

    Args:
        context: fine-tunes with `settings.fine_tuning` and `settings.seed`; `settings.ranking.seed`
            seeds the samples.
        settings: the scale, and how many of the primary's instances are encoded.

    Returns:
        The ranking, largest reduction of the dev loss first; below zero, the candidate's vector
        does harm.
    """
    primary, names = context.primary_task, context.candidate_tasks
    tasks = (primary, *names)
    stored = context.computed([_vector_of(context, name) for name in tasks])
    with ExitStack() as stack:
        merging = _Merging(context, settings, dict(zip(tasks, stored, strict=True)), stack)
        found = context.computed(
            [merging.loss_of(primary), *(merging.loss_of(primary, name) for name in names)]
        )
    before, *after = (from_json(float, values["loss"], where="a stored loss") for values in found)
    reductions = {name: before - loss for name, loss in zip(names, after, strict=True)}
    return ranked_by_value(context, reductions, ranker="task-vectors", measure="dev loss reduction")


def _vector_of(context: RankingContext, task_name: str) -> Computation:
    """A task's vector, which serves every ranking: nothing of it names another task."""
    identity: JsonObject = {
        "fine_tuning": context.fine_tuning_identity((task_name,)),
        "fine_tuning_seed": context.settings.seed,
    }
    make = partial(_make_vector, context, task_name)
    return Computation("task vector", identity, (task_name,), make)


def _make_vector(context: RankingContext, task_name: str) -> tuple[NamedValues, Cost]:
    seed = context.settings.seed
    with context.fine_tuned((task_name,), seed) as target:
        trained, vector = target.result.cost, flat_weights(target.encoder)
    with context.untrained((task_name,), seed) as target:
        vector -= flat_weights(target.encoder)
    return {"vector": vector.astype(np.float16)}, trained


@dataclass(frozen=True)
class _Merging:
    """Scores the pretrained encoder with task vectors added to it."""

    context: RankingContext
    settings: TaskVectorSettings
    vectors: Mapping[str, NamedValues]
    stack: ExitStack

    def loss_of(self, *task_names: str) -> Computation:
        """The dev loss of a head for the first task, with the vectors of all of them added."""
        run = self.context.settings
        identity: JsonObject = {
            "fine_tunings": [self.context.fine_tuning_identity((name,)) for name in task_names],
            "fine_tuning_seed": run.seed,
            "max_instances": self.settings.max_instances,
            "seed": run.ranking.seed,
            "scale": self.settings.scale,
            "head_fit_version": keys.HEAD_FIT_VERSION,
        }
        measure = partial(self._measure, task_names)
        return Computation("merged loss", identity, task_names, measure)

    def _measure(self, task_names: tuple[str, ...]) -> tuple[NamedValues, Cost]:
        import torch

        target = self._pretrained  # loaded once, and only where something is not stored
        start = time.perf_counter()
        vectors = [np.asarray(self.vectors[name]["vector"], np.float32) for name in task_names]
        sizes = [parameter.numel() for parameter in target.encoder.parameters()]
        changes = torch.split(torch.from_numpy(np.sum(vectors, axis=0)), sizes)
        with with_added(target.encoder, changes, scale=self.settings.scale):
            encoded = encoded_task(
                target,
                task_names[0],
                max_instances=self.settings.max_instances,
                seed=self.context.settings.ranking.seed,
            )
        loss = held_out_loss(encoded)
        took = Cost(num_examples=encoded.num_instances, seconds=time.perf_counter() - start)
        return {"loss": loss}, took

    @cached_property
    def _pretrained(self) -> ProbeTarget:
        lent = self.context.untrained((self.context.primary_task,), self.context.settings.seed)
        return self.stack.enter_context(lent)


RANKER = Ranker(
    name="task-vectors",
    rank=rank_by_task_vectors,
    title="Task vectors",
    summary="Dev loss of a linear head on the sum of the primary's and the candidate's task vector "
    "(Ilharco et al. 2023; Merge to Mix, Tao et al. 2025).",
    settings=TaskVectorSettings,
)
