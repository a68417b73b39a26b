"""Searches at equal budgets, where the truth is known: what is found, and how often it hurts.

    python benchmarks/searches.py [--simulations 100]

The product's own methods search among seven candidates; trainings are simulated instance by
instance as in `calibration.py`, with seeds and dev sets as uncertain as those of the low-resource
bed. In a third of the worlds no candidate helps, in a third one does, in a third several may; one
candidate has shuffled labels, and always hurts. What candidates bring adds up in a set, or is
averaged over it, as where they share a fixed number of steps. A ranking knows nothing, or a bit.
What a selection is worth is its true gain.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from calibration import HARD, SEED, TRAINING, trial_of_scores, true_scores
from provenance import markdown_table, provenance, write_results
from scipy.stats import kendalltau

from gradts_plugin.gains.gain import gain_among
from gradts_plugin.offers import TrialOf
from gradts_plugin.records import FloatArray, RankedTask, Ranking, Round, Trial
from gradts_plugin.scores import Gain
from gradts_plugin.selection.designed import DesignedSettings, select_by_design
from gradts_plugin.selection.race import select_by_race
from gradts_plugin.selection.search import SearchSettings
from gradts_plugin.selection.trial import TrialSettings, select_by_trial

NAMES = tuple("abcdefg")
NUM_DEV = 300
#: The product's searches take 8 trainings or more; all candidates one after the other are 9.
BUDGETS = (8, 12, 18, 24)

#: Both lengths of the primary alone.
ALONE_TRAININGS = 2

#: Spreads of what rankings mistake, in logits: the larger, the less they know.
RANKINGS = {"knows nothing": None, "knows something": 0.25}

#: How the effects of a set come from those of its candidates.
MIXTURES: dict[str, Callable[[FloatArray], float]] = {
    "add up": lambda effects: float(effects.sum()),
    "averaged": lambda effects: float(effects.mean()),
}


class World:
    """Candidates whose effects are known, and trainings that show them through noise.

    It is the context of a search, as far as the methods here ask.
    """

    primary_task = "goal"
    settings = SimpleNamespace(training_seeds=1, faithful=False)

    def __init__(self, number: int, mixture: str, ranking: str) -> None:
        """Draws a world."""
        rng = np.random.default_rng(number)
        self._number = number
        self._mix = MIXTURES[mixture]
        effects = {
            0: -np.abs(rng.normal(0.0, 0.2, len(NAMES))),
            1: np.append(-np.abs(rng.normal(0.0, 0.2, len(NAMES) - 1)), 0.3),
            2: rng.normal(0.05, 0.2, len(NAMES)),
        }[number % 3]
        rng.shuffle(effects)
        shuffled = int(rng.integers(len(NAMES)))
        effects[shuffled] = -0.5
        self.shuffled = NAMES[shuffled]
        self.effects = dict(zip(NAMES, effects, strict=True))
        self._hard = rng.normal(0.5, HARD, NUM_DEV)
        spread = RANKINGS[ranking]
        values = rng.normal(size=len(NAMES)) if spread is None else rng.normal(effects, spread)
        order = np.argsort(-values)
        self.tau = float(kendalltau(values, effects).statistic)
        self.ranking = Ranking(
            "goal",
            tuple(RankedTask(NAMES[place], float(values[place]), None, None) for place in order),
            *(0.95, 0, (), 0),
            ("goal", *NAMES),
            None,
        )
        self._made: dict[tuple[str, ...], Trial] = {}

    def effect_of(self, names: Sequence[str]) -> float:
        """What a set truly adds, in logits."""
        return self._mix(np.array([self.effects[name] for name in names])) if names else 0.0

    def true_gain(self, names: Sequence[str]) -> float:
        """What a set truly adds, in accuracy."""
        found = true_scores(np.array([self.effect_of(names), 0.0]))
        return float(found[0] - found[1])

    def oracle(self) -> float:
        """The largest true gain of any set, none among them."""
        sets = itertools.chain.from_iterable(
            itertools.combinations(NAMES, size) for size in range(len(NAMES) + 1)
        )
        return self.true_gain(max(sets, key=self.effect_of))

    def num_trainings(self, trial: TrialOf) -> int:
        """What a trial takes."""
        return (trial.num_seeds or 1) * (1 if trial.auxiliary_tasks else ALONE_TRAININGS)

    @property
    def num_made(self) -> int:
        """Trainings so far."""
        return sum(
            self.num_trainings(TrialOf(names, len(trial.scores)))
            for names, trial in self._made.items()
        )

    def score_all(self, trials: Sequence[TrialOf], *, at_most: int | None = None) -> list[Trial]:
        """Trains."""
        del at_most
        return [self.score(trial.auxiliary_tasks, num_seeds=trial.num_seeds) for trial in trials]

    def score(self, names: Sequence[str], *, num_seeds: int | None = None, **_: Any) -> Trial:
        """Trains, or finds what was trained."""
        names = tuple(names)
        known = self._made.get(names)
        number = max(num_seeds or 1, 0 if known is None else len(known.scores))
        rows = [self._right(names, seed) for seed in range(number)]
        trial = replace(trial_of_scores("-", np.stack(rows)), auxiliary_tasks=names)
        self._made[names] = trial
        return trial

    def _right(self, names: tuple[str, ...], seed: int) -> FloatArray:
        """Which dev instances a training gets right: the same for the same training."""
        shared = np.random.default_rng([self._number, seed]).normal(0.0, SEED)
        of_set = [NAMES.index(name) for name in sorted(names)]
        rng = np.random.default_rng([self._number, seed, 1000, *of_set])
        own = self.effect_of(names) + shared + rng.normal(0.0, SEED)
        logits = self._hard + own + rng.normal(0.0, TRAINING, NUM_DEV)
        luck = np.random.default_rng([self._number, 2000]).logistic(size=NUM_DEV)
        return (logits > luck).astype(float)

    def gain(self, trial: Trial, baseline: Trial) -> Gain:
        """As the product judges it."""
        return gain_among(trial, baseline, list(self._made.values()))

    def gains_for_others(self) -> dict[str, tuple[float, ...]]:
        """Nothing is known of other primaries."""
        return dict.fromkeys(NAMES, ())

    def tell(self, round_of_search: Round) -> None:
        """Nobody listens."""


def one_after_the_other(world: World, budget: int) -> tuple[str, ...]:
    """Single candidates in their order with one seed; the best where it likely helps."""
    alone = world.score(())
    order = world.ranking.task_order[: budget - ALONE_TRAININGS]
    best = max((world.score((name,)) for name in order), key=Trial.comparable)
    p_helps = world.gain(best, alone).p_helps
    return best.auxiliary_tasks if p_helps is not None and p_helps >= 0.8 else ()


def by_design(
    world: Any, budget: int, certainty: float = DesignedSettings().certainty
) -> tuple[str, ...]:
    """`designed`."""
    settings = DesignedSettings(budget=budget, certainty=certainty)
    return select_by_design(world, settings).auxiliary_tasks


def by_race(
    world: Any, budget: int, certainty: float = SearchSettings().certainty
) -> tuple[str, ...]:
    """`race`."""
    settings = SearchSettings(budget=budget, certainty=certainty)
    return select_by_race(world, settings).auxiliary_tasks


def by_trial(world: Any, budget: int) -> tuple[str, ...]:
    """`trial`, which has no budget."""
    del budget
    return select_by_trial(world, TrialSettings()).auxiliary_tasks


#: Name -> the search, and the budgets it is tried with.
METHODS = {
    "designed": (by_design, BUDGETS),
    "designed, certainty 0.8": (partial(by_design, certainty=0.8), (12, 24)),
    "race": (by_race, BUDGETS),
    "race, certainty 0.8": (partial(by_race, certainty=0.8), (12, 24)),
    "race, certainty 0.9": (partial(by_race, certainty=0.9), BUDGETS),
    "one after the other": (one_after_the_other, (6, 9)),
    "trial (no budget)": (by_trial, BUDGETS[:1]),
}


def main() -> None:
    """Simulates and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=90)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument(
        "--keep", action="store_true", help="curves of an earlier run, with as many simulations"
    )
    arguments = parser.parse_args()
    source = provenance()
    earlier = arguments.output / "searches.json"
    known = json.loads(earlier.read_text())["results"] if arguments.keep else {}
    results: dict[str, Any] = {}
    rows = []
    for mixture, ranking in itertools.product(MIXTURES, RANKINGS):
        taus = [World(number, mixture, ranking).tau for number in range(arguments.simulations)]
        cell = results[f"{mixture}, {ranking}"] = {"tau": float(np.mean(taus)), "methods": {}}
        made = partial(World, mixture=mixture, ranking=ranking)
        for name, (method, budgets) in METHODS.items():
            curve = known.get(f"{mixture}, {ranking}", {"methods": {}})["methods"].get(name)
            curve = curve or [
                judged(method, budget, made, arguments.simulations) for budget in budgets
            ]
            cell["methods"][name] = curve
            for found in curve:
                rows.append((mixture, f"{ranking} (tau {cell['tau']:.2f})", name, *cells(found)))
    draw(results, arguments.output / "searches.svg")
    header = ("effects", "ranking", "method", "budget", "trained", "true gain", "of the oracle's")
    text = [
        "# Searches at equal budgets",
        f"{arguments.simulations} simulated worlds a line: seven candidates, {NUM_DEV} dev "
        "instances; both lengths of the primary alone count. True gain: mean of what was selected, "
        "in accuracy. Hurts: selections that truly lose. None, rightly: selects nothing where "
        "nothing helps. Shuffled: selections with the shuffled candidate among them.",
        markdown_table([*header, "selects", "hurts", "none, rightly", "shuffled"], rows),
        "![True gain against budget](searches.svg)",
    ]
    write_results(
        arguments.output, "searches", source=source, results=results, text="\n\n".join(text)
    )


def judged(
    method: Callable[[World, int], tuple[str, ...]],
    budget: int,
    made: Callable[[int], World],
    num_worlds: int,
) -> dict[str, float]:
    """What a method is worth over all worlds."""
    worlds = [made(number) for number in range(num_worlds)]
    chosen = [method(world, budget) for world in worlds]
    gains = [world.true_gain(names) for world, names in zip(worlds, chosen, strict=True)]
    oracles = [world.oracle() for world in worlds]
    hopeless = [not names for names, oracle in zip(chosen, oracles, strict=True) if oracle == 0]
    return {
        "budget": budget,
        "trainings": float(np.mean([world.num_made for world in worlds])),
        "gain": float(np.mean(gains)),
        "captured": float(np.sum(gains) / np.sum(oracles)),
        "selects": float(np.mean([bool(names) for names in chosen])),
        "hurts": float(np.mean([gain < 0 for gain in gains])),
        "none_rightly": float(np.mean(hopeless)) if hopeless else float("nan"),
        "shuffled": float(
            np.mean([world.shuffled in names for world, names in zip(worlds, chosen, strict=True)])
        ),
    }


def cells(found: dict[str, float]) -> tuple[str, ...]:
    """A line of the table."""
    shares = ("captured", "selects", "hurts", "none_rightly", "shuffled")
    return (
        f"{found['budget']:.0f}",
        f"{found['trainings']:.1f}",
        f"{found['gain']:+.4f}",
        *(f"{found[share]:.0%}" for share in shares),
    )


def draw(results: dict[str, Any], path: Path) -> None:
    """Gain against budget, a panel for each kind of world."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="row").flat
    for axis, (title, cell) in zip(axes, results.items(), strict=True):
        for name, curve in cell["methods"].items():
            spent = [found["trainings"] for found in curve]
            gains = [found["gain"] for found in curve]
            axis.plot(spent, gains, marker="o", label=name)
        axis.axhline(0, color="grey", linewidth=0.8)
        axis.set_title(f"{title} (tau {cell['tau']:.2f})", fontsize=10)
        axis.set_xlabel("trainings")
        axis.set_ylabel("true gain (accuracy)")
    next(iter(figure.axes)).legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
