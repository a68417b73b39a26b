"""Are gains as sure as they say? Trainings whose true gains are known, compared as real ones are.

    python benchmarks/calibration.py [--simulations 400]

Every simulated run trains the primary alone and with each of eight sets over a few seeds. A
training's accuracy is that of single dev instances: how hard an instance is, what a set truly adds,
what the seed does to the whole training, and what this training does to this instance. The truth is
the mean over all seeds and instances that could have been drawn. Intervals should cover it in 95 %
of the cases, and of gains that help with probability p, a share p should be above 0: whether the
sets differ by less than chance, as much, or by more.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from provenance import markdown_table, provenance, write_results
from scipy.special import expit

from gradts_plugin.gains.gain import gain_among, gain_of, pooled_spread
from gradts_plugin.gains.shrinkage import shrunk
from gradts_plugin.records import FloatArray, Predictions, Trial
from gradts_plugin.scores import Gain

NUM_SETS = 8

#: Spreads of logits: of instances, of seeds, of a training on an instance.
HARD, SEED, TRAINING = 1.5, 0.1, 1.0

#: Of noisy seeds: what another one changes has 2.4 times the variance of what other instances
#: change (0.4 times with calm ones; 1.2 to 19 times on the bed, in the middle 3.4).
NOISY_SEED = 0.25

#: Spread of the sets' true effects, in logits, and what all of them add in common, or take.
EFFECTS = {"nearly none": (0.05, 0.0), "usual": (0.15, 0.0), "large": (0.4, 0.0)}
EFFECTS["all alike"] = (0.15, 0.3)

BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


def main() -> None:
    """Simulates and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    rows, results = [], {}
    num_instances = arguments.instances
    for (effects, (spread, mean)), seeds in itertools.product(EFFECTS.items(), SEEDS):
        num_seeds, noise = SEEDS[seeds]
        runs = [
            simulated(np.random.default_rng(number), num_seeds, num_instances, spread, mean, noise)
            for number in range(arguments.simulations)
        ]
        for way in WAYS:
            gains = [
                pair for truth, stated in runs for pair in zip(truth, stated[way], strict=True)
            ]
            summary = summarised(gains)
            results[f"{effects}, {seeds} seeds, {way}"] = summary
            bins = [f"{share:.2f} ({number})" for _, share, number in summary["bins"]]
            figures = (f"{summary['coverage']:.3f}", f"{summary['off']:.3f}", *bins)
            rows.append((effects, seeds, way, *figures))
    header = [f"{low:g}-{high:g}" for low, high in itertools.pairwise(BINS)]
    text = [
        "# How sure gains are, and how sure they say they are",
        f"{arguments.simulations} simulated runs of {NUM_SETS} sets with "
        f"{num_instances} dev instances. Coverage: of the 95 % intervals. Then, by the "
        "stated P(helps), the share of gains that truly were above 0, and how many they were. Off: "
        "the mean distance of both, over all gains (some 0.03 of it is chance). P(helps): of these "
        "trainings alone; given all gains of the run, as the product says it; of gains drawn in, "
        "as `race` says it. One seed is also simulated noisy: another changes 2.4 times the "
        "variance of other instances, on the low-resource bed 3.4 in the middle.",
        markdown_table(["effects", "seeds", "P(helps)", "coverage", "off", *header], rows),
    ]
    write_results(
        arguments.output, "calibration", source=source, results=results, text="\n\n".join(text)
    )


WAYS = ("alone", "given all", "drawn in")

#: As they are called -> how many, and their spread.
SEEDS = {"1": (1, SEED), "1, noisy": (1, NOISY_SEED)}
SEEDS |= {str(number): (number, SEED) for number in (2, 3, 5)}


def simulated(
    rng: np.random.Generator,
    num_seeds: int,
    num_instances: int,
    spread: float,
    mean: float,
    noise: float,
) -> tuple[list[float], dict[str, list[Gain]]]:
    """The true gain of every set of a run, and what is said of it in every way."""
    effects = np.append(0.0, rng.normal(mean * rng.choice([-1, 1]), spread, NUM_SETS))
    truth = true_scores(effects, noise)
    hard = rng.normal(0.5, HARD, num_instances)
    shared = rng.normal(0.0, noise, num_seeds)  # what a seed does to every set
    trials = []
    for number, effect in enumerate(effects):
        own = rng.normal(0.0, noise, num_seeds) + shared
        logits = (
            hard + effect + own[:, None] + rng.normal(0.0, TRAINING, (num_seeds, num_instances))
        )
        right = (logits > rng.logistic(size=num_instances)).astype(float)
        trials.append(trial_of_scores(str(number), right))
    alone, *others = trials
    pooled = pooled_spread(trials, alone)
    by_themselves = [gain_of(trial, alone, seed_spread=pooled) for trial in others]
    given_all = [gain_among(trial, alone, others) for trial in others]
    ways = (by_themselves, given_all, shrunk(by_themselves))
    return (truth[1:] - truth[0]).tolist(), dict(zip(WAYS, ways, strict=True))


def true_scores(effects: FloatArray, noise: float = SEED) -> FloatArray:
    """Accuracies over all instances and seeds, by quadrature; one for each effect."""
    points, weights = np.polynomial.hermite_e.hermegauss(61)
    spread = np.sqrt(HARD**2 + 2 * noise**2 + TRAINING**2)
    shares = expit(0.5 + effects[:, None] + spread * points)
    scores: FloatArray = shares @ weights / weights.sum()
    return scores


def trial_of_scores(name: str, right: FloatArray) -> Trial:
    """A trial whose instances are right or wrong, (seeds, instances)."""
    ids = np.arange(right.shape[1])
    return Trial(
        auxiliary_tasks=(name,) if name != "0" else (),
        scores=tuple(right.mean(axis=1).tolist()),
        num_kept={},
        num_steps=1,
        seconds=1.0,
        reused=False,
        predictions=tuple({"dev": Predictions("mean", ids, row[:, None])} for row in right),
    )


def summarised(gains: list[tuple[float, Gain]]) -> dict[str, Any]:
    """Coverage, and stated against found probabilities."""
    values = [(true, gain.low, gain.high, gain.p_helps) for true, gain in gains]
    true, low, high, stated = np.array(values, dtype=float).T
    bins = []
    off = 0.0
    for lowest, highest in itertools.pairwise(BINS):
        inside = (stated >= lowest) & ((stated < highest) | (highest == 1.0))
        if inside.any():
            share = float((true[inside] > 0).mean())
            off += abs(share - float(stated[inside].mean())) * float(inside.mean())
            bins.append((f"{lowest:g}-{highest:g}", share, int(inside.sum())))
        else:
            bins.append((f"{lowest:g}-{highest:g}", float("nan"), 0))
    return {
        "coverage": float(((low <= true) & (true <= high)).mean()),
        "off": off,
        "bins": bins,
    }


if __name__ == "__main__":
    main()
