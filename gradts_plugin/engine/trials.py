"""Trials: what trainings with several seeds add up to."""

from __future__ import annotations

from collections.abc import Sequence

from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.records import TEST_SCORE, TrainingResult, Trial


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
    )
