"""Ranking by transfer: what a candidate's encoder, frozen, is worth to a head for the primary."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Annotated

import numpy as np

from gradts_plugin.json_forms import JsonObject, from_json
from gradts_plugin.offers import Computation, NamedValues, Ranker, RankingContext
from gradts_plugin.protocols import ProbeTarget
from gradts_plugin.ranking.by_value import ranked_by_value
from gradts_plugin.ranking.held_out import (
    EncodedTask,
    encoded_task,
    held_out_loss,
    pooled_states,
)
from gradts_plugin.ranking.sampling import SamplingSettings
from gradts_plugin.records import Cost, FloatArray, Ranking
from gradts_plugin.settings.parsing import Affects
from gradts_plugin.stores import keys

#: Ridge of a map: it weighs like so many rows of usual size that say "no change".
_UNCHANGED_ROWS = 10


class TransferSettings(SamplingSettings):
    """How much of a task is looked at, and what is kept of a fine-tuned encoder.

    Attributes:
        linear_map: keep a linear map from pretrained to fine-tuned states of each candidate (ESM,
            Schulte et al. 2024) and encode by the map, so that another primary trains nothing;
            else the fine-tuned encoder itself encodes, and nothing of it is kept.
    """

    linear_map: Annotated[bool, Affects(("computed",))] = False


def rank_by_transfer(context: RankingContext, settings: TransferSettings) -> Ranking:
    """Ranks the candidates by how much better a linear head does on their frozen encoder.

    The encoder is fine-tuned on each candidate alone and frozen; a linear head is fitted to a
    sample of the primary's training instances, and its loss on a sample of the dev instances is
    compared with that of a head on the pretrained encoder. That is the linear proxy of Renggli et
    al. 2022 (Which Model to Transfer?), for intermediate tasks as in Poth et al. 2021.

    With `linear_map`, each fine-tuned encoder is stood in for by an embedding space map (Schulte,
    Hamborg and Akbik 2024, Less is More: Parameter-Efficient Selection of Intermediate Tasks),
    fitted to the candidate's own instances in closed form (`fit_map`) and stored: d * d + d float32
    numbers a candidate. A head on mapped states can say nothing that one on pretrained states
    could not: the map only says which directions count, which matters as long as rows are few.

    Costs: the first answer a fine-tuning for each candidate; one candidate more one fine-tuning;
    another primary all of them again, with `linear_map` none for candidates known already. Encoded
    are the primary's two samples, once for each candidate; with `linear_map` once, and each
    candidate's sample twice.

    Args:
        context: fine-tunes with `settings.fine_tuning` and `settings.seed`; `settings.ranking.seed`
            seeds the samples.
        settings: how many instances are encoded, and whether maps are kept.

    Returns:
        The ranking, largest reduction of the dev loss first; below zero, the pretrained encoder
        serves the primary better.
    """
    probe, names = _TransferProbe(context, settings), context.candidate_tasks
    if settings.linear_map:
        maps = context.computed([probe.map_of(name) for name in names])
        losses = [probe.loss_by_map(*named) for named in zip(names, maps, strict=True)]
    else:
        losses = [probe.loss_by_fine_tuned(name) for name in names]
    found = context.computed([probe.loss_by_pretrained(), *losses])
    before, *after = (from_json(float, values["loss"], where="a stored loss") for values in found)
    reductions = {name: before - loss for name, loss in zip(names, after, strict=True)}
    return ranked_by_value(context, reductions, ranker="transfer", measure="dev loss reduction")


def fit_map(before: FloatArray, after: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The affine map that takes states to others, by ridge regression towards the identity.

    The closed-form minimum of the squared error of before @ weight + bias plus a ridge on
    weight - I, so that directions which the rows do not show stay as they are. ESM trains the same
    kind of map by gradient descent (Schulte et al. 2024).

    Args:
        before: shape (N, d).
        after: shape (N, d).

    Returns:
        weight (d, d) and bias (d,).
    """
    width = before.shape[1]
    centred = before - before.mean(axis=0)
    change = (after - before) - (after - before).mean(axis=0)
    gram = centred.T @ centred
    ridge = max(_UNCHANGED_ROWS * float(np.trace(gram)) / before.size, 1e-12)
    weight = np.eye(width) + np.linalg.solve(gram + ridge * np.eye(width), centred.T @ change)
    return weight, after.mean(axis=0) - before.mean(axis=0) @ weight


@dataclass(frozen=True)
class _TransferProbe:
    """What is computed, and what each part depends on."""

    context: RankingContext
    settings: TransferSettings

    def loss_by_pretrained(self) -> Computation:
        """Of a head on the pretrained encoder."""
        return Computation(
            "head loss",
            {"encoder": "pretrained", **self._sample, **self._head},
            (self.context.primary_task,),
            self._measure_pretrained,
        )

    def loss_by_fine_tuned(self, candidate: str) -> Computation:
        """Of a head on a candidate's encoder."""
        return Computation(
            "head loss",
            {"encoder": "fine-tuned", **self._identity(candidate), **self._head},
            (self.context.primary_task, candidate),
            partial(self._measure_fine_tuned, candidate),
        )

    def loss_by_map(self, candidate: str, found: NamedValues) -> Computation:
        """Of a head on the pretrained encoder, mapped as a candidate maps it."""
        return Computation(
            "head loss",
            {"encoder": "mapped", **self._identity(candidate), **self._head},
            (self.context.primary_task, candidate),
            partial(self._measure_mapped, found),
        )

    def map_of(self, candidate: str) -> Computation:
        """A candidate's map, which serves every primary: nothing of it names one."""
        return Computation(
            "linear map", self._identity(candidate), (candidate,), partial(self._fit, candidate)
        )

    @property
    def _head(self) -> dict[str, int]:
        return {"head_fit_version": keys.HEAD_FIT_VERSION}

    @property
    def _sample(self) -> dict[str, int | None]:
        seed = self.context.settings.ranking.seed
        return {"max_instances": self.settings.max_instances, "seed": seed}

    def _identity(self, candidate: str) -> JsonObject:
        return {
            "fine_tuning": self.context.fine_tuning_identity((candidate,)),
            "fine_tuning_seed": self.context.settings.seed,
            **self._sample,
        }

    def _measure_pretrained(self) -> tuple[NamedValues, Cost]:
        start = time.perf_counter()
        loss = held_out_loss(self._pretrained)
        return {"loss": loss}, _cost(self._pretrained.num_instances, start)

    def _measure_fine_tuned(self, candidate: str) -> tuple[NamedValues, Cost]:
        with self.context.fine_tuned((candidate,), self.context.settings.seed) as target:
            start = time.perf_counter()
            encoded = self._primary_by(target)
            loss = held_out_loss(encoded)
            return {"loss": loss}, target.result.cost + _cost(encoded.num_instances, start)

    def _measure_mapped(self, found: NamedValues) -> tuple[NamedValues, Cost]:
        import torch

        encoded = self._pretrained
        start = time.perf_counter()
        device = encoded.train[0].device
        weight, bias = (
            torch.tensor(np.asarray(found[name]), dtype=torch.float32, device=device)
            for name in ("weight", "bias")
        )
        loss = held_out_loss(encoded.mapped(lambda features: features @ weight + bias))
        return {"loss": loss}, _cost(0, start)  # encoded once, by `loss_by_pretrained`

    def _fit(self, candidate: str) -> tuple[NamedValues, Cost]:
        seed = self.context.settings.seed
        with self.context.fine_tuned((candidate,), seed) as target:
            start = time.perf_counter()
            trained, after, count = target.result.cost, *self._pooled_by(target, candidate)
        with self.context.untrained((candidate,), seed) as target:
            before, _ = self._pooled_by(target, candidate)
        weight, bias = fit_map(before, after)
        arrays = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
        return arrays, trained + _cost(2 * count, start)

    @cached_property
    def _pretrained(self) -> EncodedTask:
        primary = self.context.primary_task
        with self.context.untrained((primary,), self.context.settings.seed) as target:
            return self._primary_by(target)

    def _primary_by(self, target: ProbeTarget) -> EncodedTask:
        limit, seed = self.settings.max_instances, self.context.settings.ranking.seed
        return encoded_task(target, self.context.primary_task, max_instances=limit, seed=seed)

    def _pooled_by(self, target: ProbeTarget, candidate: str) -> tuple[FloatArray, int]:
        limit, seed = self.settings.max_instances, self.context.settings.ranking.seed
        return pooled_states(target, candidate, max_instances=limit, seed=seed)


def _cost(num_instances: int, start: float) -> Cost:
    return Cost(num_examples=num_instances, seconds=time.perf_counter() - start)


RANKER = Ranker(
    name="transfer",
    rank=rank_by_transfer,
    title="Transfer probe",
    summary="Dev loss of a linear head on the candidate's frozen encoder (Renggli et al. 2022), or "
    "on a linear map that stands for it (ESM, Schulte et al. 2024).",
    settings=TransferSettings,
)
