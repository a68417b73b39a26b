"""Ranking by lookahead: what a step on a candidate does to the primary's loss, while all train."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gradts_plugin.json_forms import JsonObject, from_json
from gradts_plugin.offers import Computation, NamedValues, Ranker, RankingContext
from gradts_plugin.protocols import Looks, ProbeTarget
from gradts_plugin.ranking.by_value import ranked_by_value
from gradts_plugin.ranking.encoder_weights import with_added
from gradts_plugin.records import Cost, Ranking
from gradts_plugin.settings.parsing import Affects, Settings

if TYPE_CHECKING:
    from torch import Tensor


class LookaheadSettings(Settings):
    """How often a joint training is looked at, and how far ahead.

    Attributes:
        looks: how often, spread evenly over the training.
        batch_size: so many training instances of a candidate make a step, and so many dev instances
            of the primary tell what it does; others at each look.
        step_size: eta, the learning rate of that step of gradient descent; while it is small,
            figures grow with it and their order stays.
    """

    looks: Annotated[int, Field(gt=0, le=10_000), Affects(("computed",))] = 20
    batch_size: Annotated[int, Field(gt=0, le=100_000), Affects(("computed",))] = 32
    step_size: Annotated[float, Field(gt=0), Affects(("computed",))] = 1e-2


def rank_by_lookahead(context: RankingContext, settings: LookaheadSettings) -> Ranking:
    """Ranks the candidates by the share of the primary's loss that a step on each takes away.

    The inter-task affinity of TAG (Fifty et al. 2021, Efficiently Identifying Task Groupings for
    Multi-Task Learning, section 3): the primary and all candidates are trained together; at every
    look, one step of gradient descent on a candidate's loss changes the encoder from theta to
    theta', the task heads stay, and the affinity is 1 - L_p(theta') / L_p(theta). Then the training
    goes on from theta as if nobody had looked. What differs: L_p is taken on dev instances and
    without dropout.

    Costs: the first answer one training of all tasks, and at each look a backward pass of a batch
    of each candidate and k + 1 forward passes of one of the primary; one candidate more, or another
    primary, all of it again.

    Args:
        context: trains with `settings.fine_tuning` and `settings.seed`; `settings.ranking.seed`
            seeds the batches.
        settings: steer the looks.

    Returns:
        The ranking, highest mean affinity first; below zero, a step on the candidate does harm.
    """
    run = context.settings
    tasks = (context.primary_task, *context.candidate_tasks)
    identity: JsonObject = {
        "fine_tuning": context.fine_tuning_identity(tasks),
        "fine_tuning_seed": run.seed,
        "seed": run.ranking.seed,
        **settings.model_dump(),
    }
    measure = partial(_measure, context, tasks, settings)
    (found,) = context.computed([Computation("lookahead", identity, tasks, measure)])
    affinities = from_json(dict[str, float], found["affinities"], where="stored affinities")
    return ranked_by_value(context, affinities, ranker="lookahead", measure="affinity")


def _measure(
    context: RankingContext, tasks: tuple[str, ...], settings: LookaheadSettings
) -> tuple[NamedValues, Cost]:
    watcher = _Watcher(tasks, settings, context.settings.ranking.seed)
    looks = Looks(watcher.look, settings.looks)
    with context.fine_tuned(tasks, context.settings.seed, looks) as target:
        # The looks lie within the training, and so does their time.
        cost = target.result.cost + Cost(num_examples=watcher.num_instances)
    affinities = {
        name: sum(seen[name] for seen in watcher.seen) / len(watcher.seen) for name in tasks[1:]
    }
    return {"affinities": affinities}, cost


@dataclass
class _Watcher:
    """Looks at a joint training.

    Attributes:
        tasks: the primary, then the candidates.
        settings: steer the looks.
        seed: of the batches.
        seen: the affinities of each look so far.
        num_instances: that went through the encoder so far.
    """

    tasks: tuple[str, ...]
    settings: LookaheadSettings
    seed: int
    seen: list[dict[str, float]] = field(default_factory=list)
    num_instances: int = 0

    def look(self, target: ProbeTarget) -> None:
        """Takes a step on each candidate in turn, and takes it back."""
        import torch

        from gradts_plugin.probing.prober import frozen

        primary, *candidates = self.tasks
        parameters = list(target.encoder.parameters())
        affinities = {}
        with frozen(target.model):
            with torch.no_grad():
                before = float(self._loss(target, primary, "val"))
            for name in candidates:
                for parameter in parameters:
                    parameter.requires_grad_(True)
                with torch.enable_grad():
                    loss = self._loss(target, name, "train")
                    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
                step = with_added(target.encoder, gradients, scale=-self.settings.step_size)
                with step, torch.no_grad():
                    after = float(self._loss(target, primary, "val"))
                affinities[name] = 1 - after / before if before else 0.0  # nothing left to lower
        self.seen.append(affinities)

    def _loss(self, target: ProbeTarget, task_name: str, phase: Literal["train", "val"]) -> Tensor:
        """Mean loss of the batch that a task has at this look."""
        import torch

        size, number = self.settings.batch_size, len(self.seen)
        batches = target.batches(
            batch_size=size,
            max_instances=size,
            seed=self.seed * self.settings.looks + number,
            task_name=task_name,
            phase=phase,
        )
        losses = torch.cat([batch.instance_losses() for batch in batches])
        self.num_instances += len(losses)
        return losses.mean()


RANKER = Ranker(
    name="lookahead",
    rank=rank_by_lookahead,
    title="Lookahead",
    summary="By how much a step on the candidate lowers the primary's dev loss, over a joint "
    "training (TAG, Fifty et al. 2021).",
    settings=LookaheadSettings,
)
