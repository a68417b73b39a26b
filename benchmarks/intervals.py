"""Do the intervals of a ranking cover the tau that all rows would give?

    python benchmarks/intervals.py [--repetitions 250] [--probes OUTPUT_DIR]

*Simulated*: two tasks of known profiles are probed on N instances each, whose importances scatter
around the truth: with light tails (gamma) or heavy ones (log-normal, the instances' sizes too).
*Resampled*: of real tasks, which a finished run probed, N instances are drawn with replacement; the
truth is the tau of all that were probed. Each task is the primary in turn. Intervals of 90 % should
cover the truth in 90 % of the cases. Goes on where it was stopped; remove the results to measure
anew.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from provenance import markdown_table, provenance, write_results

from gradts_plugin.ranking.correlation import kendall, layer_normal
from gradts_plugin.ranking.heads import rank_candidates
from gradts_plugin.records import FloatArray, IntArray
from gradts_plugin.stores.arrow import read_arrow

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
        true = {"candidate": float(kendall(first, second[None])[0])}
        samples = {
            name: sampled(random, truth, number, tail)
            for name, truth in zip(("primary", "candidate"), truths, strict=True)
        }
        rows += covered("primary", samples, true, seed=repetition)
    return means(rows)


def covered(
    primary: str, samples: Mapping[str, Sample], true: Mapping[str, float], seed: int
) -> list[tuple[float, ...]]:
    """Of each candidate: whether its interval covers the truth, and what else `means` takes."""
    ranking = rank_candidates(
        primary,
        {name: [sample] for name, sample in samples.items()},
        correlation=kendall,
        bootstrap=200,
        confidence=0.9,
        seed=seed,
    )
    found = []
    for candidate in ranking.candidates:
        low, high = candidate.interval or (np.nan, np.nan)
        truth = true[candidate.task_name]
        is_in = float(low <= truth <= high)
        found.append((is_in, high - low, candidate.tau - truth, ranking.ceiling or np.nan))
    return found


def means(rows: Sequence[tuple[float, ...]]) -> dict[str, float]:
    """Means over all intervals, and how many there were."""
    names = ("covered", "width", "tau too high by", "ceiling")
    found = np.mean(np.array(rows), axis=0)
    return {
        "intervals": len(rows),
        **{name: round(float(mean), 3) for name, mean in zip(names, found, strict=True)},
    }


def read_probes(output_dir: Path) -> dict[str, FloatArray]:
    """Importances of each task that a finished run probed, shape (N, L, H)."""
    found = {}
    for path in sorted((output_dir / "store" / "importances").glob("[!.]*/metadata.json")):
        metadata = json.loads(path.read_text(encoding="utf-8"))
        shape = metadata["num_layers"], metadata["num_heads"]
        batches = read_arrow(path.parent / "importances.arrow", *shape)
        found[str(metadata["fingerprint"]["task_name"])] = np.concatenate(
            [each for _, each in batches]
        )
    return found


def resampled(probes: Mapping[str, FloatArray], number: int, repetitions: int) -> dict[str, float]:
    """The same for instances drawn from real probes."""
    random = np.random.default_rng(number)
    profiles = {
        name: layer_normal(values.mean(axis=0, dtype=np.float64)[None]).ravel()
        for name, values in probes.items()
    }
    rows = []
    for repetition in range(repetitions):
        primary = list(probes)[repetition % len(probes)]
        samples = {
            name: Sample(values[random.integers(len(values), size=number)])
            for name, values in probes.items()
        }
        true = {
            name: float(kendall(profiles[primary], profile[None])[0])
            for name, profile in profiles.items()
        }
        rows += covered(primary, samples, true, seed=repetition)
    return means(rows)


def main() -> None:
    """Simulates, resamples and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=250)
    parser.add_argument("--probes", type=Path, help="output folder of a run over real tasks")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    path = arguments.output / "intervals.json"
    results = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else {}
    probes = read_probes(arguments.probes) if arguments.probes else {}
    work: dict[str, Callable[[], dict[str, float]]] = {
        f"{number} instances of {len(probes)} real tasks": partial(
            resampled, probes, number, arguments.repetitions // (len(probes) - 1)
        )
        for number in NUMBERS
        if probes
    } | {
        f"{number} instances, {tail} tails": partial(repeated, number, tail, arguments.repetitions)
        for tail, number in product(("light", "heavy"), NUMBERS)
    }
    for name, make in work.items():
        if name not in results:
            results[name] = make()
            write(arguments.output, source, results)


def write(output: Path, source: dict[str, Any], results: dict[str, Any]) -> None:
    """Writes what there is so far."""
    header = ["", *next(iter(results.values()))]
    table = markdown_table(header, [[name, *row.values()] for name, row in results.items()])
    text = f"# Intervals of a ranking: 90 %\n\n{table}\n"
    write_results(output, "intervals", source=source, results=results, text=text)
    print(text)


if __name__ == "__main__":
    main()
