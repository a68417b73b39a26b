"""How sure a selection, or the order of compared methods, is: one sentence for each reason."""

from __future__ import annotations

from collections.abc import Mapping

from gradts_plugin.comparison.results import Comparison, MethodMeans
from gradts_plugin.ranking import gradients
from gradts_plugin.ranking.gradients import agreement_with_trials
from gradts_plugin.records import Trial
from gradts_plugin.report.record import RunReport
from gradts_plugin.report.words import signed
from gradts_plugin.scores import (
    Gain,
    score_difference,
    score_differences,
    shown_duration,
    shown_names,
)


def difference(selected: Trial | None, alone: Trial | None) -> str | None:
    """How much better the selection scored than the primary alone, with a sign."""
    if selected is None or alone is None or not selected.auxiliary_tasks:
        return None
    gained = score_difference(selected.score, alone.score)
    return None if gained is None else signed(gained)


def run_certainty(report: RunReport) -> list[str]:
    """What makes the selection sure or doubtful, one sentence each."""
    return [
        sentence
        for sentence in (
            *report.outcome.notes,
            _about_difference(report),
            _about_border(report),
            _about_dev_score(report),
            _about_seeds(report),
            _about_surrogate(report),
        )
        if sentence
    ]


def _about_difference(report: RunReport) -> str | None:
    selected, alone = report.outcome.selected, report.outcome.alone
    gained = difference(selected, alone)
    if report.outcome.gain is not None and report.outcome.gain.p_helps is not None:
        return _about_gain(report.outcome.gain)
    if selected is None or alone is None or gained is None:
        return None
    number = len(selected.scores)
    if number < 2 or number != len(alone.scores):
        return (
            f"The difference of {gained} rests on one training seed: its spread is unknown, "
            "and it may be chance. Set training_seeds to 2 or more."
        )
    differences = score_differences(selected.scores, alone.scores)
    better = sum(1 for found in differences if found is not None and found > 0)
    return (
        f"The difference of {gained} is a mean over {number} training seeds; the selection "
        f"scored higher with {better} of them."
    )


def _about_gain(gain: Gain) -> str:
    said = gain.shown_short.replace("-", "\N{MINUS SIGN}")
    seeds = f"{gain.num_seeds} training seed{'' if gain.num_seeds == 1 else 's'}"
    instances = f"{gain.num_instances} dev instances"
    covered = " and ".join(
        {"seeds": seeds, "instances": instances}[source] for source in gain.covers
    )
    rest = "" if "seeds" in gain.covers else "; set training_seeds to 2 or more to cover seeds"
    return f"The gain over the primary alone: {said}. The interval covers {covered}{rest}."


def _about_border(report: RunReport) -> str | None:
    """How sure the ranking is between the last selected and the first rejected candidate."""
    if report.ranking is None or not report.auxiliary_tasks:
        return None
    ranked = report.ranking.candidates
    number = len(report.auxiliary_tasks)
    names = {candidate.task_name for candidate in ranked[:number]}
    if names != set(report.auxiliary_tasks) or number == len(ranked):
        return None
    probability = ranked[number - 1].probability_above_next
    if probability is None:
        return None
    return (
        f"{ranked[number - 1].task_name}, the last one selected, truly stands above "
        f"{ranked[number].task_name}, the first one left out, with probability {probability:.2f}."
    )


def _about_dev_score(report: RunReport) -> str | None:
    if not report.selection.trials:
        return None
    return (
        f"The selection was chosen as the best of {len(report.selection.trials)} trials by the "
        "same dev score that is shown, so that score is optimistic. Keep a test set for the last "
        "word."
    )


def _about_seeds(report: RunReport) -> str | None:
    if report.ranking is None or not report.ranking.covers or report.ranking.num_seeds != 1:
        return None
    return (
        "The ranking rests on one fine-tuning seed. Its intervals cover only which instances were "
        "probed; the seed's part is usually larger. Set seeds to 2 or more."
    )


def _about_surrogate(report: RunReport) -> str | None:
    """How well a ranking by estimates foretold the trained scores."""
    if report.ranking is None or report.ranking.ranker != gradients.RANKER.name:
        return None
    found = agreement_with_trials(report.ranking, report.selection.trials)
    if found is None:
        return None
    tau, number = found
    return (
        f"The scores of {number} trained sets are in the order of the gradients' estimates with "
        f"tau {signed(tau, 2)} (1: the same order, 0: unrelated, \N{MINUS SIGN}1: reversed)."
    )


def comparison_certainty(comparison: Comparison, found: Mapping[str, MethodMeans]) -> list[str]:
    """What makes the order of the methods sure or doubtful, one sentence each."""
    best_name, best = next(iter(found.items()))
    tied = comparison.tied_with(best_name)
    sentences = []
    if comparison.seeds < 2:
        sentences.append(
            "Each score rests on one seed, so the spread is unknown and the order may be chance. "
            "Set evaluation_seeds to 3 or more."
        )
    elif best.gain is None:
        sentences.append(f"Scores of {best_name} are undefined, so the order says little.")
    elif tied:
        sentences.append(
            f"Seed by seed, {best_name} is ahead of {shown_names(tied)} by no more than chance "
            f"({comparison.seeds} seeds, 95 %)."
        )
        name = min((best_name, *tied), key=lambda each: found[each].seconds)
        cheapest = found[name]
        if name != best_name and cheapest.gain is not None:
            sentences.append(
                f"Of these, {name} costs least: {shown_duration(cheapest.seconds)} for "
                f"{signed(cheapest.gain)}."
            )
    elif len(found) > 1:
        sentences.append(
            f"Seed by seed, {best_name} is ahead of every other method by more than chance "
            f"({comparison.seeds} seeds, 95 %)."
        )
    if len(comparison.primaries) == 1:
        sentences.append("One primary says little about others. Compare on several.")
    sentences.append(
        "Methods that train before they choose do so by the dev score that is shown, which makes "
        "theirs optimistic. Keep a test set for the last word."
    )
    return sentences
