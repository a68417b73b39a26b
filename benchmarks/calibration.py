"""Are gains as sure as they say? Trainings whose true gains are known, compared as real ones are.

    python benchmarks/calibration.py [--simulations 400]

Every simulated run trains the primary alone and with each of eight sets over a few seeds. A
training's accuracy is that of single dev instances: how hard an instance is, what a set truly adds,
what the seed does to the whole training, and what this training does to this instance. The truth is
the mean over all seeds and instances that could have been drawn. Intervals should cover it in 95 %
of the cases, and of gains that help with probability p, a share p should be above 0.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
from provenance import markdown_table, provenance, write_results
from scipy.special import expit

from gradts_plugin.gains.gain import gain_of, pooled_spread
from gradts_plugin.records import FloatArray, Predictions, Trial

NUM_SETS = 8

#: Spreads of logits: of instances, of true effects, of seeds, of a training on an instance.
HARD, EFFECT, SEED, TRAINING = 1.5, 0.15, 0.1, 1.0

BINS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)


def main() -> None:
    """Simulates and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--instances", type=int, default=300)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    found = {
        num_seeds: np.array(
            [
                row
                for number in range(arguments.simulations)
                for row in simulated(np.random.default_rng(number), num_seeds, arguments.instances)
            ]
        )
        for num_seeds in (1, 2, 3, 5)
    }
    rows, results = [], {}
    for num_seeds, values in found.items():
        summary = summarised(values)
        results[str(num_seeds)] = summary
        bins = [f"{share:.2f} ({number})" for _, share, number in summary["bins"]]
        rows.append((num_seeds, f"{summary['coverage']:.3f}", f"{summary['off']:.3f}", *bins))
    header = [f"{low:g}-{high:g}" for low, high in itertools.pairwise(BINS)]
    text = [
        "# How sure gains are, and how sure they say they are",
        f"{arguments.simulations} simulated runs of {NUM_SETS} sets with "
        f"{arguments.instances} dev instances. Coverage: of the 95 % intervals. Then, by the "
        "stated P(helps), the share of gains that truly were above 0, and how many they were. Off: "
        "the mean distance of both, over all gains.",
        markdown_table(["seeds", "coverage", "off", *header], rows),
    ]
    write_results(
        arguments.output, "calibration", source=source, results=results, text="\n\n".join(text)
    )


def simulated(
    rng: np.random.Generator, num_seeds: int, num_instances: int
) -> list[tuple[float, float, float, float]]:
    """(true gain, low, high, P(helps)) of every set of a run."""
    effects = np.append(0.0, rng.normal(0.0, EFFECT, NUM_SETS))
    truth = true_scores(effects)
    hard = rng.normal(0.5, HARD, num_instances)
    shared = rng.normal(0.0, SEED, num_seeds)  # what a seed does to every set
    trials = []
    for number, effect in enumerate(effects):
        own = rng.normal(0.0, SEED, num_seeds) + shared
        logits = (
            hard + effect + own[:, None] + rng.normal(0.0, TRAINING, (num_seeds, num_instances))
        )
        right = (logits > rng.logistic(size=num_instances)).astype(float)
        trials.append(trial_of_scores(str(number), right))
    alone, *others = trials
    gains = []
    for trial, true in zip(others, truth[1:], strict=True):
        spread = pooled_spread(trials, alone)
        gain = gain_of(trial, alone, seed_spread=spread)
        assert gain.low is not None
        assert gain.high is not None
        assert gain.p_helps is not None
        gains.append((true - truth[0], gain.low, gain.high, gain.p_helps))
    return gains


def true_scores(effects: FloatArray) -> FloatArray:
    """Accuracies over all instances and seeds, by quadrature; one for each effect."""
    points, weights = np.polynomial.hermite_e.hermegauss(61)
    spread = np.sqrt(HARD**2 + 2 * SEED**2 + TRAINING**2)
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


def summarised(values: FloatArray) -> dict[str, object]:
    """Coverage, and stated against found probabilities."""
    true, low, high, stated = values.T
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
