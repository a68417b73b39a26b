"""Gains with intervals: two trials compared seed by seed and instance by instance.

Two errors are added up. The instances': the scored instances are drawn again, with replacement, the
same draw for both trials and all seeds, and the metric is computed anew on each draw (Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993; paired as in Koehn, EMNLP 2004). The seeds':
the mean of n paired differences errs by Student's t with their standard deviation over sqrt(n).

Symbols: N instances, D draws, q columns of values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from gradts_plugin.gains.metrics import METRICS
from gradts_plugin.gains.shrinkage import p_helps
from gradts_plugin.records import FloatArray, Predictions, Trial
from gradts_plugin.scores import Gain, Score, mean_score, score_differences

Split = Literal["dev", "test"]

#: Numbers of a block of draws, at most: 2 MB, which the processor keeps near.
_BLOCK = 250_000

#: Shares of a normal distribution below one standard deviation under and above its mean.
_WITHIN_ONE = (0.158655, 0.841345)

#: Variance of what another seed would make of a gain that one seed has shown, in variances of what
#: other instances would: 1.2 to 19 of them on the bed of benchmarks/low_resource.py, in the middle
#: 3.4, and 0.4 where seeds are calm. With 2, P(helps) is least wrong in both (calibration.py).
_UNKNOWN_SEEDS = 2.0

#: What is nearer to 0 is rounding.
_TIE = 1e-12


@dataclass(frozen=True)
class SeedSpread:
    """How much the difference of two trainings varies from seed to seed.

    Attributes:
        sd: standard deviation of a difference with one seed.
        degrees_of_freedom: how many independent differences it is known from.
    """

    sd: float
    degrees_of_freedom: int


def gain_of(
    trial: Trial,
    baseline: Trial,
    *,
    split: Split = "dev",
    confidence: float = 0.95,
    seed_spread: SeedSpread | None = None,
    num_draws: int = 2000,
    seed: int = 0,
) -> Gain:
    """By how much a trial scores higher, over the seeds that both have, and how sure that is.

    Args:
        trial: what may help.
        baseline: what it is compared with, such as the primary alone.
        split: the scores that are compared.
        confidence: level of the interval.
        seed_spread: from `pooled_spread`; None: that of these two trials.
        num_draws: D.
        seed: of the draws: the same arguments give the same gain.

    Returns:
        The gain. Without predictions the interval covers seeds alone; with one seed and no spread
        instances alone; with neither there is none. What the interval does not know of seeds,
        P(helps) takes into account all the same (`believed_error`).
    """
    scores, others = _scores(trial, split), _scores(baseline, split)
    differences = score_differences(scores, others)
    pairs = _paired(trial, baseline, split)
    gain = mean_score(differences)
    num_instances = len(pairs[0][0].example_ids) if pairs else 0
    spread = seed_spread or pooled_spread([trial], baseline, split=split)
    covers: tuple[str, ...] = (("seeds",) if spread else ()) + (("instances",) if pairs else ())
    unsure = Gain(gain, None, None, None, len(differences), num_instances, covers, confidence)
    if gain is None or not covers:
        return unsure
    rng = np.random.default_rng(seed)
    errors = _seed_errors(spread, len(differences), num_draws, rng)
    if pairs:
        drawn = _drawn_gains(pairs, num_draws, rng)
        covered = spread is not None
        errors = errors + _instance_errors(drawn, differences, seeds_covered=covered)
    errors = errors[np.isfinite(errors)]  # on some draws a metric may have no value
    drawn = gain + errors
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    # "hazen" is where `_seed_errors` has its quantiles.
    low, high = np.quantile(drawn, ends, method="hazen")
    # Of the middle: the tails of few seeds say what is not known of the error itself.
    lower, upper = np.quantile(drawn, _WITHIN_ONE, method="hazen")
    return replace(
        unsure,
        low=float(low),
        high=float(high),
        p_helps=_share_above_zero(drawn if spread else drawn + _unknown_errors(errors, rng)),
        standard_error=float(upper - lower) / 2,
    )


def believed_error(gain: Gain) -> float:
    """A gain's standard error, with what one seed does not show of others.

    Args:
        gain: of `gain_of`.

    Returns:
        In the metric's units; 0 where nothing is known.
    """
    error = gain.standard_error or 0.0
    return error if "seeds" in gain.covers else error * math.sqrt(1 + _UNKNOWN_SEEDS)


def gain_among(
    trial: Trial, baseline: Trial, trials: Sequence[Trial], *, split: Split = "dev"
) -> Gain:
    """By how much a trial scores higher, judged with all that a run knows.

    All trials say how much seeds matter, and how much of a gain candidates like these can bring:
    P(helps) is what is believed given all gains over the primary alone (`shrinkage`), since a run
    whose other gains are nothing but chance makes a real one less likely. The gain and its interval
    are those of these trainings alone.

    Args:
        trial: what may help.
        baseline: what it is compared with. Where it has auxiliaries, P(helps) is that of these
            trainings alone, too.
        trials: of the run.
        split: the scores that are compared.

    Returns:
        The gain.
    """
    spread = pooled_spread([*trials, trial], baseline, split=split)
    gain = gain_of(trial, baseline, split=split, seed_spread=spread)
    if gain.gain is None or gain.standard_error is None or baseline.auxiliary_tasks:
        return gain
    error = believed_error(gain)
    gains, errors = [gain.gain], [error]
    others = {_what(other): other for other in trials if other.auxiliary_tasks}
    others.pop(_what(trial), None)
    for _, other in sorted(others.items()):
        found = score_differences(_scores(other, split), _scores(baseline, split))
        mean = mean_score(found)
        if mean is not None:
            gains.append(mean)
            errors.append(error * math.sqrt(gain.num_seeds / len(found)))
    return replace(gain, p_helps=p_helps(gains, errors)[0])


def dev_and_test_gain(
    trial: Trial, alone: Trial, trials: Sequence[Trial]
) -> tuple[Gain | None, Gain | None]:
    """What a selection gains over the primary alone, on both splits.

    Args:
        trial: the selection's.
        alone: the primary's own.
        trials: of the same run; they say how much seeds matter.

    Returns:
        The gains on the dev and the test split; None where nothing was selected, or a side was not
        scored on the split.
    """

    def found(split: Split) -> Gain | None:
        if not (trial.auxiliary_tasks and _scores(trial, split) and _scores(alone, split)):
            return None
        return gain_among(trial, alone, trials, split=split)

    return found("dev"), found("test")


def pooled_spread(
    trials: Sequence[Trial], baseline: Trial, *, split: Split = "dev"
) -> SeedSpread | None:
    """How much a difference varies with the seed, judged by all trials of a run together.

    A score is a trial's own level and a seed's own, which paired differences do not see, and an
    error; the errors of all trials vary alike. Two seeds of one trial tell little of that, two
    seeds of many tell enough.

    Args:
        trials: any number; of the same trial the last one counts. The baseline may be among them.
            Where that is the primary alone, its other length does not count: a training that has
            not ended varies more, and nothing is compared with it.
        baseline: what trials are compared with.
        split: the scores that are looked at.

    Returns:
        The spread; None where no two trials have two seeds.
    """
    rows = {
        _what(trial): _scores(trial, split)
        for trial in (*trials, baseline)
        if trial.auxiliary_tasks or baseline.auxiliary_tasks or trial.longer == baseline.longer
    }
    rows = dict(sorted(rows.items()))  # whatever the order, the same digits
    found = [
        (row, column, score)
        for row, scores in enumerate(rows.values())
        for column, score in enumerate(scores)
        if score is not None
    ]
    if not found:
        return None
    row_of, column_of, scores = (np.array(values) for values in zip(*found, strict=True))
    levels = np.hstack([np.eye(row_of.max() + 1)[row_of], np.eye(column_of.max() + 1)[column_of]])
    fitted, _, rank, _ = np.linalg.lstsq(levels, scores, rcond=None)
    freedom = len(scores) - int(rank)
    if freedom < 1:
        return None
    variance = float(((scores - levels @ fitted) ** 2).sum()) / freedom
    return SeedSpread(float(np.sqrt(2 * variance)), freedom)


def _what(trial: Trial) -> str:
    """What was trained, whatever it came to."""
    counts = (sorted(of.items()) for of in (trial.num_kept, trial.mixing_ratios))
    return str((trial.auxiliary_tasks, trial.longer, *counts))


def _scores(trial: Trial, split: Split) -> tuple[Score, ...]:
    return trial.scores if split == "dev" else trial.test_scores


def _paired(trial: Trial, baseline: Trial, split: Split) -> list[tuple[Predictions, Predictions]]:
    """Both sides' predictions, seed by seed; empty where some are missing or do not match."""
    sides = zip(trial.predictions, baseline.predictions, strict=False)
    pairs = [(own[split], other[split]) for own, other in sides if split in own and split in other]
    number = min(len(_scores(trial, split)), len(_scores(baseline, split)))
    all_of_them = [found for pair in pairs for found in pair]
    if len(pairs) != number or not all(_match(found, all_of_them[0]) for found in all_of_them):
        return []
    return pairs


def _match(found: Predictions, other: Predictions) -> bool:
    """Whether the same instances were scored with the same metric."""
    return found.metric == other.metric and np.array_equal(found.example_ids, other.example_ids)


def _drawn_gains(
    pairs: Sequence[tuple[Predictions, Predictions]], num_draws: int, rng: np.random.Generator
) -> FloatArray:
    """Gain with each of S seeds on each draw of the instances, (D, S)."""
    metric = METRICS[pairs[0][0].metric]
    blocks = [
        np.stack([metric(own.values, w) - metric(other.values, w) for own, other in pairs], axis=1)
        for w in _draws(len(pairs[0][0].example_ids), num_draws, rng)
    ]
    return np.concatenate(blocks)


def _instance_errors(
    drawn: FloatArray, differences: Sequence[Score], *, seeds_covered: bool
) -> FloatArray:
    """What the draws of the instances add to the mean gain, (D,).

    What one training does to single instances makes its score differ from other seeds', and the
    draws show it again. So as not to count it twice (Owen, "The pigeonhole bootstrap", 2007), the
    draws are drawn in by its share of their variance, where the seeds' spread is added.
    """
    errors = drawn - np.array(differences, dtype=float)
    means = np.asarray(errors.mean(axis=1))
    num_seeds = errors.shape[1]
    variance = np.nanvar(means)
    if num_seeds == 1 or not seeds_covered or variance == 0:
        return means
    twice = np.nanmean(errors.var(axis=1, ddof=1)) / num_seeds
    return np.asarray(means * np.sqrt(max(0.0, 1 - twice / variance)))


def _draws(num_instances: int, num_draws: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Blocks of draws with replacement: how often each has each instance, (d, N)."""
    size = max(1, _BLOCK // num_instances)
    for start in range(0, num_draws, size):
        number = min(size, num_draws - start)
        drawn = rng.integers(num_instances, size=(number, num_instances))
        drawn += num_instances * np.arange(number)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=drawn.size)
        yield counts.reshape(drawn.shape).astype(float)


def _seed_errors(
    spread: SeedSpread | None, num_seeds: int, num_draws: int, rng: np.random.Generator
) -> FloatArray:
    """Errors of a mean over seeds, (D,): Student's t at even quantiles, in random order."""
    if spread is None:
        return np.zeros(num_draws)
    quantiles = (rng.permutation(num_draws) + 0.5) / num_draws
    errors = stats.t.ppf(quantiles, spread.degrees_of_freedom)
    return np.asarray(errors * spread.sd / np.sqrt(num_seeds))


def _unknown_errors(errors: FloatArray, rng: np.random.Generator) -> FloatArray:
    """What other seeds may add to errors of instances, (D,): normal, at even quantiles."""
    quantiles = (rng.permutation(len(errors)) + 0.5) / len(errors)
    sd = math.sqrt(_UNKNOWN_SEEDS) * errors.std()
    return np.asarray(stats.norm.ppf(quantiles) * sd)


def _share_above_zero(drawn: FloatArray) -> float:
    """Share of draws above 0, ties half; not 0 or 1, which so many draws cannot tell."""
    tied = np.abs(drawn) < _TIE
    share = float(np.mean((drawn > 0) & ~tied) + np.mean(tied) / 2)
    least = 1 / (len(drawn) + 1)
    return min(max(share, least), 1 - least)
