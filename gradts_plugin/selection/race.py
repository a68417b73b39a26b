"""A race: sets of auxiliaries are trained seed after seed, and the worse ones leave."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gradts_plugin.offers import Method, SelectionContext, TrialOf
from gradts_plugin.records import Selection, Trial
from gradts_plugin.scores import Effect, Gain, mean_score, score_differences
from gradts_plugin.selection.search import Search, SearchSettings

#: Who is worse than the leader with this probability leaves.
_LEAVES = 0.95


def select_by_race(context: SelectionContext, settings: SearchSettings) -> Selection:
    """Selects the set that is ahead of the others after a race of seeds, if it helps.

    Maron and Moore 1994 (Hoeffding races), with a t-test in place of their bound. Single
    candidates and the prefixes of the ranking start, as many as take half of the budget, beside
    the primary alone. Every round trains the primary alone and those that are left with one seed
    more. Since they share their seeds they are compared seed by seed, with a spread that is pooled
    over all of them; who is worse than the leader, or than the primary alone, with probability
    0.95 leaves. Where the budget has no room for all that are left, the best of them go on. The
    race ends when none is left, or one that surely helps, or the budget is used.

    That one of many is ahead is partly luck, and here nothing takes that off its gain
    (`designed.select_by_design` does).

    Args:
        context: the ranking; `score_all` trains a round.
        settings: the budget, and how sure the answer must be.

    Returns:
        The selection, with every round.
    """
    search = Search(context, settings)
    alive = _starters(search, context.ranking.task_order, settings.budget // 2)
    num_seeds = 1
    while alive and not _is_won(search, alive):
        room = _that_fit(search, alive, num_seeds)
        if not room:
            break
        search.make([TrialOf(names, num_seeds) for names in ((), *room)])
        alive = _left(search.trials, room)
        _end_round(search, alive)
        num_seeds += 1
    return search.selection("race")


def _starters(search: Search, ranked: Sequence[str], budget: int) -> list[tuple[str, ...]]:
    """Singles and prefixes, the best-ranked first, that a budget has room for; one at least."""
    sets: dict[tuple[str, ...], None] = {}
    for size, name in enumerate(ranked, start=1):
        sets |= dict.fromkeys([(name,), tuple(ranked[:size])])
    first, *others = sets
    chosen = [first]
    for names in others:
        if search.cost([TrialOf(started, 1) for started in ((), *chosen, names)]) > budget:
            break
        chosen.append(names)
    return chosen


def _that_fit(
    search: Search, alive: Sequence[tuple[str, ...]], num_seeds: int
) -> list[tuple[str, ...]]:
    """As many of those left, the best first, as the budget has room for beside alone."""
    room: list[tuple[str, ...]] = []
    for names in alive:
        trials = [TrialOf(chosen, num_seeds) for chosen in ((), *room, names)]
        if search.trials and search.cost(trials) > search.num_left:
            break
        room.append(names)
    return room


def _is_won(search: Search, alive: Sequence[tuple[str, ...]]) -> bool:
    """True where the only one left surely helps."""
    best = search.rounds[-1].best if search.rounds else None
    p_helps = None if best is None else best.gain.p_helps
    return len(alive) == 1 and p_helps is not None and p_helps >= _LEAVES


def _left(
    trials: Mapping[tuple[str, ...], Trial], raced: Sequence[tuple[str, ...]]
) -> list[tuple[str, ...]]:
    """Those that the leader is not surely better than, the best first."""
    ranked = sorted(raced, key=lambda names: -trials[names].comparable())
    leader = max((trials[()], trials[ranked[0]]), key=Trial.comparable)
    spread = Spread.of(trials.values(), leader)
    return [
        names
        for names in ranked
        if trials[names].score is not None
        and (trials[names] is leader or not _is_worse(trials[names], leader, spread))
    ]


def _is_worse(trial: Trial, leader: Trial, spread: Spread) -> bool:
    p_better = spread.gain(leader, trial).p_helps
    return p_better is not None and p_better >= _LEAVES


def _end_round(search: Search, alive: Sequence[tuple[str, ...]]) -> None:
    alone = search.trials[()]
    spread = Spread.of(search.trials.values(), alone)
    gains = {
        names: gain
        for names, trial in search.trials.items()
        if names and (gain := spread.gain(trial, alone)).gain is not None
    }
    effects = sorted(
        (Effect(names, gain) for names, gain in gains.items()),
        key=lambda effect: -(effect.gain.gain or 0.0),
    )
    ahead = [Effect(names, gains[names]) for names in alive if names in gains]  # the best first
    search.end_round(effects, next(iter((*ahead, *effects)), None))


@dataclass(frozen=True)
class Spread:
    """What differences of scores, seed by seed, vary by.

    Attributes:
        deviation: standard deviation of a difference.
        freedom: degrees of freedom it rests on; 0 where nothing is known of it.
    """

    deviation: float
    freedom: int

    @classmethod
    def of(cls, trials: Iterable[Trial], reference: Trial) -> Spread:
        """Pooled over the differences of all trials with one of them."""
        squares, freedom = 0.0, 0
        for trial in trials:
            known = [
                found
                for found in score_differences(trial.scores, reference.scores)
                if found is not None
            ]
            if len(known) > 1 and trial is not reference:
                mean = sum(known) / len(known)
                squares += sum((found - mean) ** 2 for found in known)
                freedom += len(known) - 1
        return cls(math.sqrt(squares / freedom) if freedom else 0.0, freedom)

    def gain(self, trial: Trial, other: Trial) -> Gain:
        """How much better a trial is over the seeds of both."""
        # Imported late: scipy's distributions take a second, and settings are checked without.
        from scipy.special import stdtr, stdtrit

        differences = score_differences(trial.scores, other.scores)
        mean, number = mean_score(differences), len(differences)
        if mean is None or not self.freedom:
            return Gain(mean, None, None, None, number, 0, ())
        # Scores that never vary are sure of any difference.
        error = max(self.deviation / math.sqrt(number), 1e-12)
        half = float(stdtrit(self.freedom, 0.975)) * error
        p_helps = float(stdtr(self.freedom, mean / error))
        return Gain(mean, mean - half, mean + half, p_helps, number, 0, ("seeds",))


METHOD = Method(
    name="race",
    select=select_by_race,
    title="Race",
    summary="The best of the primary alone, single candidates and prefixes of the ranking, after a "
    "race of seeds (Maron and Moore 1994).",
    settings=SearchSettings,
)
