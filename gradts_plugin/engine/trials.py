"""Trials: what trainings with several seeds add up to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.records import TEST_SCORE, Selection, TrainingResult, Trial

if TYPE_CHECKING:
    from gradts_plugin.engine.trainings import Trainings


def trial_of(
    request: TrialRequest, results: Sequence[TrainingResult], num_kept: int, *, trained: int
) -> Trial:
    """The trial that trainings add up to; the weights of the first `num_kept` may be kept."""
    folders = [result.output_dir for result in results[:num_kept]]
    return Trial(
        auxiliary_tasks=request.auxiliary_tasks,
        scores=tuple(result.score for result in results),
        num_kept={name: len(ids) for name, ids in request.kept_instances.items()},
        num_steps=sum(result.num_steps for result in results),
        seconds=sum(result.seconds for result in results),
        reused=trained == 0,
        output_dirs=tuple(folder for folder in folders if folder),
        mixing_ratios=dict(request.mixing_ratios),
        test_scores=tuple(
            result.metrics[TEST_SCORE] for result in results if TEST_SCORE in result.metrics
        ),
        longer=bool(request.longer),
        predictions=tuple(result.predictions for result in results),
        histories=tuple(result.history for result in results),
    )


def with_length_of_alone(selection: Selection, trainings: Trainings) -> Selection:
    """A selection of no auxiliary with the trial that says for how long alone is trained.

    With equal exposure the better of two lengths is delivered, and written down before it is
    trained; a method that trains nothing has not tried them.
    """
    request = TrialRequest((), trainings.trial_seeds())
    is_settled = selection.auxiliary_tasks or selection.trial_of_selected() is not None
    if is_settled or not trainings.tries_both_lengths(request):
        return selection
    trial = trainings.score(request)
    reason = selection.reason
    if trial.longer:
        reason += "; alone for as many steps as with auxiliaries, which is better than its own"
    return dataclasses.replace(selection, reason=reason, trials=(*selection.trials, trial))
