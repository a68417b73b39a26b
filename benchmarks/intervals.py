"""Do the intervals of a ranking cover the tau that all rows would give? Simulated.

    python benchmarks/intervals.py [--repetitions 100]

Two tasks of known profiles are probed on N instances each, whose importances scatter around the
truth: with light tails (gamma) or heavy ones (log-normal, the instances' sizes too). Intervals of
90 % should cover the tau of the true profiles in 90 % of the cases.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from provenance import markdown_table, provenance, write_results

from gradts_plugin.ranking.correlation import kendall, layer_normal
from gradts_plugin.ranking.heads import rank_candidates
from gradts_plugin.records import FloatArray, IntArray

#: Layers and heads.
SHAPE = (8, 8)

NUMBERS = (20, 50, 100, 300)


@dataclass
class Sample:
    """An `ImportanceSource` in memory.

    Attributes:
        importances: of N instances, shape (N, L, H).
    """

    importances: FloatArray

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, L, H)."""
        num_instances, num_layers, num_heads = self.importances.shape
        return num_instances, num_layers, num_heads

    def batches(self) -> Iterator[tuple[IntArray, FloatArray]]:
        """Everything at once."""
        yield np.arange(len(self.importances)), self.importances


def sampled(random: np.random.Generator, truth: FloatArray, number: int, tail: str) -> Sample:
    """Instances of a task whose mean importance is `truth`."""
    if tail == "light":
        size = random.gamma(2, 0.5, size=(number, 1, 1))
        return Sample(truth * size * random.gamma(1, 1, size=(number, *SHAPE)))
    spread = 1.2  # of the logarithm; the mean is 1
    size, noise = (
        np.exp(spread * random.normal(size=(number, *shape)) - spread**2 / 2)
        for shape in ((1, 1), SHAPE)
    )
    return Sample(truth * size * noise)


def repeated(number: int, tail: str, repetitions: int) -> dict[str, float]:
    """How often the interval covers the truth, its width, and what the sample itself says."""
    random = np.random.default_rng([number, len(tail)])
    rows = []
    for repetition in range(repetitions):
        shared = random.normal(size=SHAPE)
        truths = [np.exp(0.4 * (shared + random.normal(size=SHAPE))) for _ in range(2)]
        first, second = (layer_normal(truth[None]).ravel() for truth in truths)
        true = float(kendall(first, second[None])[0])
        ranking = rank_candidates(
            "primary",
            {
                name: [sampled(random, truth, number, tail)]
                for name, truth in zip(("primary", "candidate"), truths, strict=True)
            },
            correlation=kendall,
            bootstrap=200,
            confidence=0.9,
            seed=repetition,
        )
        (candidate,) = ranking.candidates
        low, high = candidate.interval or (np.nan, np.nan)
        rows.append((low <= true <= high, high - low, candidate.tau - true, ranking.ceiling))
    names = ("covered", "width", "tau too high by", "ceiling")
    means = np.mean(np.array(rows, dtype=float), axis=0)
    return {name: round(float(mean), 3) for name, mean in zip(names, means, strict=True)}


def main() -> None:
    """Simulates and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    results: dict[str, Any] = {
        f"{number} instances, {tail} tails": repeated(number, tail, arguments.repetitions)
        for tail in ("light", "heavy")
        for number in NUMBERS
    }
    header = ["", *next(iter(results.values()))]
    table = markdown_table(header, [[name, *row.values()] for name, row in results.items()])
    text = f"# Intervals of a ranking: 90 %, {arguments.repetitions} repetitions\n\n{table}\n"
    write_results(arguments.output, "intervals", source=source, results=results, text=text)
    print(text)


if __name__ == "__main__":
    main()
