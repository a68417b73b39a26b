"""A race: sets of auxiliaries are trained seed after seed, and the worse ones leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gradts_plugin.gains.shrinkage import shrunk
from gradts_plugin.offers import Method, SelectionContext, TrialOf
from gradts_plugin.records import Selection, Trial
from gradts_plugin.scores import Effect, Gain
from gradts_plugin.selection.search import Search, SearchSettings

#: Who is worse than the leader with this probability leaves.
_LEAVES = 0.95


def select_by_race(context: SelectionContext, settings: SearchSettings) -> Selection:
    """Selects the set that is ahead of the others after a race of seeds, if it helps.

    Maron and Moore 1994 (Hoeffding races), with the gains' own probability in place of their bound.
    Single candidates, and after them the prefixes of the ranking, start, as many as take half of
    the budget, beside the primary alone: where the members of a set share a fixed number of steps,
    none is worth more than its best member (benchmarks/searches.py). Every round trains the primary
    alone and those that are left with one seed more. Since they share their seeds they are compared
    seed by seed and instance by instance (`context.gain`); who is worse than the leader, or than
    the primary alone, with probability 0.95 leaves, which takes two seeds at least. Where the
    budget has no room for all that are left, the best of them go on. The race ends when none is
    left, or one that surely helps, or the budget is used.

    That one of many is ahead is partly luck, so what is told of the sets, and the last word, are
    their gains as they are expected given all of them (`gains.shrinkage`); who leaves is decided by
    pairs.

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
        alive = _left(context, search.trials, room)
        _end_round(context, search, alive)
        num_seeds += 1
    return search.selection("race")


def _starters(search: Search, ranked: Sequence[str], budget: int) -> list[tuple[str, ...]]:
    """Singles and then prefixes, best-ranked first, that a budget has room for; one at least."""
    sets: list[tuple[str, ...]] = [(name,) for name in ranked]
    sets += [tuple(ranked[:size]) for size in range(2, len(ranked) + 1)]
    chosen = sets[:1]
    for names in sets[1:]:
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
    context: SelectionContext,
    trials: Mapping[tuple[str, ...], Trial],
    raced: Sequence[tuple[str, ...]],
) -> list[tuple[str, ...]]:
    """Those that the leader is not surely better than, the best first."""
    ranked = sorted(raced, key=lambda names: -trials[names].comparable())
    leader = max((trials[()], trials[ranked[0]]), key=Trial.comparable)
    return [
        names
        for names in ranked
        if trials[names].score is not None
        and (trials[names] is leader or not _is_worse(context, trials[names], leader))
    ]


def _is_worse(context: SelectionContext, trial: Trial, leader: Trial) -> bool:
    p_better = _gain(context, leader, trial).p_helps
    return p_better is not None and p_better >= _LEAVES


def _gain(context: SelectionContext, trial: Trial, other: Trial) -> Gain:
    """How much better a trial is; one seed says nothing of how sure that is."""
    gain = context.gain(trial, other)
    if "seeds" in gain.covers:
        return gain
    return replace(gain, low=None, high=None, p_helps=None, standard_error=None)


def _end_round(context: SelectionContext, search: Search, alive: Sequence[tuple[str, ...]]) -> None:
    alone = search.trials[()]
    found = {
        names: gain
        for names, trial in search.trials.items()
        if names and (gain := _gain(context, trial, alone)).gain is not None
    }
    gains = dict(zip(found, shrunk(list(found.values())), strict=True))
    effects = [Effect(names, gain) for names, gain in gains.items()]
    effects.sort(key=lambda effect: -(effect.gain.gain or 0.0))
    ahead = [Effect(names, gains[names]) for names in alive if names in gains]  # the best first
    search.end_round(effects, next(iter((*ahead, *effects)), None))


METHOD = Method(
    name="race",
    select=select_by_race,
    title="Race",
    summary="The best of the primary alone, single candidates and prefixes of the ranking, after a "
    "race of seeds (Maron and Moore 1994); the luck of being best is taken off its gain.",
    settings=SearchSettings,
)
