"""The product's own race among single candidates, replayed from stored trainings.

Some seeds of the bed choose, in some order; what is selected is worth its test gain with the
others. So one set of trainings gives many races: every choice of scoring seeds, every order of the
rest, and every order of the candidates that a ranking or chance gives.
"""

from __future__ import annotations

import itertools
import math
import operator
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bed
import numpy as np
from provenance import markdown_table

from gradts_plugin.gains.gain import gain_among
from gradts_plugin.offers import TrialOf
from gradts_plugin.records import RankedTask, Ranking, Round, Trial
from gradts_plugin.scores import Gain, Score
from gradts_plugin.selection.race import select_by_race
from gradts_plugin.selection.search import SearchSettings

#: The largest one starts half of it on the primary alone and all single candidates.
BUDGETS = (8, 12, 18)

#: Seeds that score; all others choose.
SCORING = 1

#: With fewer no race can go on after its first round.
FEWEST_SEEDS = 3

#: How sure an answer may have to be.
CERTAINTIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)

#: Borders of probabilities that are looked at together.
STATED = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.01)

#: Random orders of the candidates, a fresh one for each order of the seeds.
ORDERS = 4

_ALONE = 2  # both lengths


#: A trial: its auxiliaries, and the seeds that made it.
_Made = tuple[tuple[str, ...], frozenset[int]]


class Replay:
    """A search's context whose trainings are stored ones, each known only once it is asked for."""

    settings = SimpleNamespace(training_seeds=1, faithful=False)
    primary_task = "primary"

    def __init__(
        self,
        trials: Mapping[bed.Set, Trial],
        seeds: Sequence[int],
        order: Sequence[str],
        known: dict[tuple[_Made, _Made, frozenset[_Made]], Gain],
    ) -> None:
        """Of a primary's trials, with seeds in their order, and candidates in theirs.

        Args:
            trials: of the primary alone and of single candidates.
            seeds: places of those that choose.
            order: of the candidates.
            known: gains that other replays of these trials had to compute.
        """
        self._trials = trials
        self._seeds = tuple(seeds)
        self._known = known
        self._made: dict[tuple[str, ...], Trial] = {}
        self.ranking = Ranking(
            self.primary_task,
            tuple(RankedTask(name, -float(place), None, None) for place, name in enumerate(order)),
            *(0.95, 0, (), 0),
            (self.primary_task, *order),
            None,
        )

    def num_trainings(self, trial: TrialOf) -> int:
        """What a trial takes; more seeds than are stored are beyond any budget."""
        number = trial.num_seeds or 1
        if number > len(self._seeds):
            return 10**9
        return number * (1 if trial.auxiliary_tasks else _ALONE)

    def score_all(self, trials: Sequence[TrialOf], *, at_most: int | None = None) -> list[Trial]:
        """Finds what is asked for."""
        del at_most
        for trial in trials:
            names, seeds = trial.auxiliary_tasks, self._seeds[: trial.num_seeds or 1]
            some = {what: with_seeds(one, seeds) for what, one in self._trials.items()}
            self._made[names] = some[names, False] if names else bed.alone_of(some)
        return [self._made[trial.auxiliary_tasks] for trial in trials]

    def gain(self, trial: Trial, baseline: Trial) -> Gain:
        """As the product judges it."""
        others = frozenset(map(self._what, self._made.values()))
        asked = self._what(trial), self._what(baseline), others
        if asked not in self._known:
            self._known[asked] = gain_among(trial, baseline, list(self._made.values()))
        return self._known[asked]

    def _what(self, trial: Trial) -> _Made:
        return trial.auxiliary_tasks, frozenset(self._seeds[: len(trial.scores)])

    def tell(self, round_of_search: Round) -> None:
        """Nobody listens."""


def with_seeds(trial: Trial, seeds: Sequence[int]) -> Trial:
    """A trial as it is with some of its seeds, in that order."""

    def chosen(values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(values[seed] for seed in seeds if seed < len(values))

    return replace(
        trial,
        scores=chosen(trial.scores),
        test_scores=chosen(trial.test_scores),
        predictions=chosen(trial.predictions),
    )


def mean_of(scores: Sequence[Score], seeds: Sequence[int]) -> float:
    """Of some seeds."""
    return float(np.mean([np.nan if scores[seed] is None else scores[seed] for seed in seeds]))


@dataclass(frozen=True)
class Raced:
    """What a race came to.

    Attributes:
        way: whose order the candidates had.
        budget: of trainings.
        guess: the best candidate, as it ended; None where none of the scores is defined.
        p_helps: what the race said of it.
        worth: its test gain with the scoring seeds.
        share: of all races of its way and budget: orders of chance count together as one.
    """

    way: str
    budget: int
    guess: str | None
    p_helps: float
    worth: float
    share: float

    def gain(self, certainty: float) -> float | None:
        """Of what is selected with a certainty; None where that is none."""
        return self.worth if self.guess is not None and self.p_helps >= certainty else None


def races(
    primary: str, trials: Mapping[bed.Set, Trial], ways: Mapping[str, str | None]
) -> tuple[list[Raced], float]:
    """Every race of a primary, and what the oracle gains.

    Args:
        primary: its name.
        trials: of the primary alone and of all single candidates, with three seeds or more.
        ways: name -> the committed ranking whose order is taken; None: random orders.

    Returns:
        (the races, the mean test gain of the best dev score of the scoring seeds).
    """
    trials = {what: trial for what, trial in trials.items() if len(what[0]) < 2}
    candidates = bed.candidates_of(primary)
    number = len(trials[(), False].scores)
    known: dict[Any, Gain] = {}
    found, oracles = [], []
    rng = random.Random(0)
    for scoring in itertools.combinations(range(number), SCORING):
        worth, oracle = _worth(trials, candidates, scoring)
        oracles.append(oracle)
        choosing = [seed for seed in range(number) if seed not in scoring]
        turns = list(itertools.permutations(choosing))
        for seeds, (way, ranking) in itertools.product(turns, ways.items()):
            orders = [bed.ranked(primary, ranking)] if ranking else _random(candidates, rng)
            for order, budget in itertools.product(orders, BUDGETS):
                replay: Any = Replay(trials, seeds, order, known)
                ended = select_by_race(replay, SearchSettings(budget=budget)).rounds[-1].best
                guess = None if ended is None else ended.auxiliary_tasks[0]
                found.append(
                    Raced(
                        way=way,
                        budget=budget,
                        guess=guess,
                        p_helps=0.0 if ended is None else ended.gain.p_helps or 0.0,
                        worth=0.0 if guess is None else worth[guess],
                        share=1 / (len(turns) * len(orders) * math.comb(number, SCORING)),
                    )
                )
    return found, float(np.mean(oracles))


def _random(candidates: Sequence[str], rng: random.Random) -> list[list[str]]:
    return [rng.sample(candidates, len(candidates)) for _ in range(ORDERS)]


def _worth(
    trials: Mapping[bed.Set, Trial], candidates: Sequence[str], scoring: Sequence[int]
) -> tuple[dict[str, float], float]:
    """Test gains with some seeds, and that of the best dev score of these."""
    alone = bed.alone_of(trials)
    test, dev = (
        {
            one: mean_of(scores_of(trials[(one,), False]), scoring)
            - mean_of(scores_of(alone), scoring)
            for one in candidates
        }
        for scores_of in (operator.attrgetter("test_scores"), operator.attrgetter("scores"))
    )
    best = max(dev, key=dev.__getitem__)
    return test, test[best] if dev[best] > 0 else 0.0


def report(
    found: Mapping[str, Mapping[bed.Set, Trial]],
    order: str,
    ways: Mapping[str, str | None],
    folder: Path,
) -> dict[str, Any]:
    """What races find, by budget, by order and by how sure they must be; as tables and a picture.

    Args:
        found: primary -> its trials, all with the same seeds; those with three or more count.
        order: of their steps.
        ways: see `races`.
        folder: the picture goes there.

    Returns:
        `results` for JSON, `text` in parts.
    """
    raced, oracles = {}, {}
    for name, trials in found.items():
        if len(trials[(), False].scores) >= FEWEST_SEEDS:
            raced[name], oracles[name] = races(name, trials, ways)
    if not raced:
        return {"results": {}, "text": []}
    oracle = float(np.mean(list(oracles.values())))
    default = SearchSettings().certainty
    curves = {
        way: [_mean(raced, way, budget, default)["gain"] for budget in BUDGETS] for way in ways
    }
    by_certainty = {
        certainty: [_mean(raced, "heads", budget, certainty) for budget in BUDGETS]
        for certainty in CERTAINTIES
    }
    budget = SearchSettings().budget
    by_primary = {
        name: _mean({name: of_one}, "heads", budget, default) for name, of_one in raced.items()
    }
    picture = f"low_resource_race_{order}.svg"
    draw(BUDGETS, curves, oracle, folder / picture)
    stated, error = _calibration([one for of_one in raced.values() for one in of_one])
    halves = _halves(raced, oracles)
    budgets = [f"{budget} trainings" for budget in BUDGETS]
    text = [
        f"## Races, {order}",
        f"`race` itself among single candidates, from stored trainings of {', '.join(raced)}: "
        "every seed scores once, and the others choose, in every order of them. Mean test gain, "
        f"selected where P(helps) is {default} or more. The oracle (best dev score of the scoring "
        f"seed) gains {oracle:+.3f}.",
        markdown_table(
            ["order", *budgets],
            [(way, *(f"{gain:+.3f}" for gain in gains)) for way, gains in curves.items()],
        ),
        f"![Gain against budget]({picture})",
        f"Each primary, in the order of heads with {budget} trainings:",
        markdown_table(
            ["primary", "oracle", "race", "selects none", "selects shuffled labels"],
            [
                (
                    name,
                    f"{oracles[name]:+.3f}",
                    f"{cell['gain']:+.3f}",
                    *(f"{cell[share]:.0%}" for share in ("none", "shuffled")),
                )
                for name, cell in by_primary.items()
            ],
        ),
        "In the order of heads, by how sure the answer must be: mean test gain, share of races "
        "that select none, share that loses on test rows.",
        markdown_table(
            ["certainty", *budgets],
            [(f"{certainty:g}", *map(_shown, cells)) for certainty, cells in by_certainty.items()],
        ),
        *halves["text"],
        f"What these races say of their best guess, and how often its test gain with the scoring "
        f"seed is above 0: off by {error:.2f} on average.",
        markdown_table(["P(helps)", "races, %", "mean", "gains above 0"], stated),
    ]
    results = {
        "oracles": oracles,
        "budgets": list(BUDGETS),
        "curves": curves,
        "primaries": by_primary,
        "certainties": {str(certainty): cells for certainty, cells in by_certainty.items()},
        "halves": halves["results"],
        "mean_error": error,
    }
    return {"results": results, "text": text}


def _mean(
    raced: Mapping[str, Sequence[Raced]], way: str, budget: int, certainty: float
) -> dict[str, float]:
    """Over primaries, each with the same weight."""
    each = [
        (one.share / len(raced), one.gain(certainty), one.guess or "")
        for of_one in raced.values()
        for one in of_one
        if (one.way, one.budget) == (way, budget)
    ]
    selected = [(share, gain, name) for share, gain, name in each if gain is not None]
    return {
        "gain": sum(share * gain for share, gain, _ in selected),
        "none": 1 - sum(share for share, _, _ in selected),
        "hurt": sum(share for share, gain, _ in selected if gain < 0),
        "shuffled": sum(share for share, _, name in selected if name.endswith(bed.SHUFFLED)),
    }


def _shown(cell: Mapping[str, float]) -> str:
    return f"{cell['gain']:+.3f}; {cell['none']:.0%}; {cell['hurt']:.0%}"


def _halves(raced: Mapping[str, Sequence[Raced]], oracles: Mapping[str, float]) -> dict[str, Any]:
    """The certainty that is best for one half of the primaries, on the other half."""
    names = list(raced)
    halves = [names[::2], names[1::2]]
    if not halves[1]:
        return {"results": [], "text": []}
    budget = SearchSettings().budget
    results, lines = [], []
    for chosen_on, reported_on in (halves, halves[::-1]):
        values = {
            certainty: _mean({name: raced[name] for name in chosen_on}, "heads", budget, certainty)
            for certainty in CERTAINTIES
        }
        # Of equal ones the surest.
        best = max(values, key=lambda certainty: (round(values[certainty]["gain"], 6), certainty))
        there = {name: raced[name] for name in reported_on}
        gains = {each: _mean(there, "heads", budget, each)["gain"] for each in CERTAINTIES}
        oracle = float(np.mean([oracles[name] for name in reported_on]))
        results.append({"chosen_on": chosen_on, "certainty": best, "gain": gains[best]})
        lines.append(
            f"chosen on {', '.join(chosen_on)}: {best:g}, which gains {gains[best]:+.3f} on "
            f"{', '.join(reported_on)} (oracle {oracle:+.3f})"
        )
    return {
        "results": results,
        "text": [f"The best certainty by halves, {budget} trainings: {'; '.join(lines)}."],
    }


def _calibration(raced: Sequence[Raced]) -> tuple[list[tuple[object, ...]], float]:
    """Lines of a table by P(helps), and by how much that is off on average."""
    rows, error = [], 0.0
    guesses = [one for one in raced if one.guess is not None and one.p_helps]
    total = sum(one.share for one in guesses)
    for low, high in itertools.pairwise(STATED):
        among = [one for one in guesses if low <= one.p_helps < high]
        if among:
            weight = [one.share for one in among]
            stated = float(np.average([one.p_helps for one in among], weights=weight))
            true = float(np.average([one.worth > 0 for one in among], weights=weight))
            share = sum(weight) / total
            error += share * abs(stated - true)
            rows.append((f"from {low:.1f}", f"{100 * share:.0f}", f"{stated:.2f}", f"{true:.2f}"))
    return rows, error


def draw(
    budgets: Sequence[int], curves: Mapping[str, Sequence[float]], oracle: float, path: Path
) -> None:
    """Draws the curves, and the oracle's gain."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "bed"  # the same numbers give the same file
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.2), layout="constrained")
    for way, gains in curves.items():
        axes.plot(budgets, gains, marker="o", markersize=4, label=way)
    axes.axhline(oracle, linestyle=":", color="gray", label="oracle")
    axes.axhline(0, color="gray", linewidth=0.8)
    axes.set_xticks(budgets)
    axes.set_xlabel("trainings")
    axes.set_ylabel("mean test gain")
    axes.legend(frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
