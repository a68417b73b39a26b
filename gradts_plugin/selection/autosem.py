"""AUTOSEM (Guo et al., NAACL 2019), the baseline that GradTS is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from gradts_plugin.offers import Method, SelectionContext
from gradts_plugin.protocols import Schedule
from gradts_plugin.records import Selection, Trial
from gradts_plugin.scores import Score, shown_score
from gradts_plugin.selection.bandit import BetaBernoulliBandit
from gradts_plugin.selection.mixing import optimise_ratios, random_ratios
from gradts_plugin.selection.trial import best_of
from gradts_plugin.settings.parsing import Settings


class UtilitySettings(Settings):
    """How AUTOSEM's first stage selects (Guo et al. 2019).

    Attributes:
        rounds: decisions of the bandit, each followed by a score of the primary's dev set.
        steps_per_round: optimiser steps between two decisions; with `faithful` also the length
            of a block for each unit of a mixing ratio.
        decay: gamma, how much of what it learned the bandit forgets each round.
        alpha0: prior of every task's Beta posterior.
        beta0: prior of every task's Beta posterior.
        min_utility: auxiliaries are the candidates with at least this utility.
        top_k: so many of the best candidates instead, whatever their utility.
    """

    rounds: Annotated[int, Field(gt=0, le=100_000)] = 60
    steps_per_round: Annotated[int, Field(gt=0, le=100_000)] = 5
    decay: Annotated[float, Field(ge=0, le=1)] = 0.3
    alpha0: Annotated[float, Field(gt=0)] = 1.0
    beta0: Annotated[float, Field(gt=0)] = 1.0
    min_utility: Annotated[float, Field(ge=0, le=1)] = 0.5
    top_k: Annotated[int, Field(gt=0, le=10_000)] | None = None


class AutosemSettings(UtilitySettings):
    """How AUTOSEM selects and mixes (Guo et al. 2019).

    Attributes:
        trials: mixing ratios that are tried, each in a training run of its own.
    """

    trials: Annotated[int, Field(gt=0, le=10_000)] = 10


def select_by_utility(context: SelectionContext, settings: UtilitySettings) -> Selection:
    """Selects the candidates that paid inside one training run (AUTOSEM's first stage).

    Guo et al. 2019, stage 1 (see `bandit.BetaBernoulliBandit`). The paper leaves open where
    to cut: here a candidate needs a utility of at least `min_utility`, or a place among the
    `top_k` best where that is given. A candidate that was never trained has shown nothing, only
    its prior, and is not selected. With `faithful` the first round, the primary's, changes no
    posterior, as in the reproduction by the authors of GradTS.

    Args:
        context: `train_with_schedule` trains.
        settings: steer the bandit, and where to cut.

    Returns:
        The selection, by descending utility; equal ones in the order in which they were given.
    """
    candidates = context.candidate_tasks
    bandit = BetaBernoulliBandit(
        (context.primary_task, *candidates),
        decay=settings.decay,
        alpha0=settings.alpha0,
        beta0=settings.beta0,
        seed=context.settings.seed,
        first_round_counts=not context.settings.faithful,
    )
    context.train_with_schedule(
        Schedule(bandit, settings.steps_per_round, bandit.identity),
        num_rounds=settings.rounds,
        seed=context.settings.seed,
    )
    utilities, rounds = bandit.utilities, bandit.rounds
    trained = sorted(
        (name for name in candidates if rounds[name]), key=utilities.__getitem__, reverse=True
    )
    if settings.top_k is not None:
        selected = trained[: settings.top_k]
    else:
        selected = [name for name in trained if utilities[name] >= settings.min_utility]
    return Selection(
        method="autosem-p1",
        primary_task=context.primary_task,
        auxiliary_tasks=tuple(selected),
        reason=_explain(settings, candidates, utilities, trained, selected),
    )


def select_by_mixing(context: SelectionContext, settings: AutosemSettings) -> Selection:
    """Selects by utility, then searches the ratio in which the tasks are mixed.

    Guo et al. 2019, stage 2. Each of `trials` choices of integer ratios is a training
    run of its own; the best dev score wins, of equal ones the first. The ratio of an auxiliary
    can be 0, and if all are, the primary is trained alone.

    With `faithful` the ratios are random draws and the tasks are trained in blocks, as in the
    reproduction by the authors of GradTS; the Gaussian process of the paper was never released.

    Args:
        context: `score` trains.
        settings: steer both stages.

    Returns:
        The selection with its mixing ratios.
    """
    chosen = replace(select_by_utility(context, settings), method="autosem")
    auxiliaries = chosen.auxiliary_tasks
    if not auxiliaries:
        return replace(chosen, reason=f"{chosen.reason}; {context.primary_task} is trained alone")
    # Apart from the bandit's stream, which starts from the seed itself.
    rng = np.random.default_rng([context.settings.seed, 1])
    trials: list[Trial] = []
    block_steps = settings.steps_per_round if context.settings.faithful else None

    def score(ratios: tuple[int, ...]) -> Score:
        mixed = {name: ratio for name, ratio in zip(auxiliaries, ratios[1:], strict=True) if ratio}
        trials.append(
            context.score(
                tuple(mixed),
                mixing_ratios={context.primary_task: ratios[0], **mixed} if mixed else None,
                block_steps=block_steps,
            )
        )
        return trials[-1].score

    if context.settings.faithful:
        for ratios in random_ratios(len(auxiliaries), settings.trials, rng):
            score(ratios)
    else:
        optimise_ratios(score, len(auxiliaries), settings.trials, rng)
    best = best_of(trials[::-1])  # the first of equal ones
    mixture = " : ".join(f"{name} {ratio}" for name, ratio in best.mixing_ratios.items())
    return replace(
        chosen,
        auxiliary_tasks=best.auxiliary_tasks,
        mixing_ratios=best.mixing_ratios,
        block_steps=block_steps if best.mixing_ratios else None,
        trials=tuple(trials),
        reason=(
            f"{chosen.reason}; mixed as {mixture or f'{context.primary_task} alone'} they score "
            f"{shown_score(best.score)}, best of {len(trials)} "
            f"{'random' if context.settings.faithful else 'optimised'} mixtures"
        ),
    )


def _explain(
    settings: UtilitySettings,
    candidates: Sequence[str],
    utilities: dict[str, float],
    trained: list[str],
    selected: list[str],
) -> str:
    length = f"after {settings.rounds} rounds of {settings.steps_per_round} steps"
    listed = ", ".join(f"{name} {utilities[name]:.3f}" for name in selected)
    left_out = [name for name in candidates if name not in trained]
    untrained = f"; never trained: {', '.join(left_out)}" if left_out else ""
    if not trained:
        return f"{length}, no candidate was ever trained"
    if settings.top_k is not None:
        return f"best utilities of {len(candidates)} candidates {length}: {listed}{untrained}"
    if selected:
        found = f"reached by {len(selected)} of {len(candidates)} candidates: {listed}"
    else:
        nearest = f"{trained[0]} {utilities[trained[0]]:.3f}"
        found = f"reached by no candidate; the nearest is {nearest}"
    return f"utility >= {settings.min_utility:g} {length} is {found}{untrained}"


#: The bandit as the authors of GradTS reproduced it.
_PUBLISHED = {"rounds": 200, "steps_per_round": 10}

UTILITY_METHOD = Method(
    name="autosem-p1",
    select=select_by_utility,
    title="AUTOSEM, first stage",
    summary="Candidates that paid inside one training run (Guo et al. 2019, stage 1).",
    settings=UtilitySettings,
    needs_ranking=False,
    faithful=_PUBLISHED,
)

METHOD = Method(
    name="autosem",
    select=select_by_mixing,
    title="AUTOSEM",
    summary="Candidates that paid inside one training run, and the ratio in which they are mixed "
    "(Guo et al. 2019).",
    settings=AutosemSettings,
    needs_ranking=False,
    faithful=_PUBLISHED,
)
