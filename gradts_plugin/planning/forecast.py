"""The forecast: the run itself, on an engine that computes nothing and books what it would.

Whatever is stored is found as in the run. Where something would have to be trained, its cost is
booked and a score is made up; since what a method does depends on scores, it is asked several
times: with scores that rise, that fall and that stay, and the dearest way counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from gradts_plugin import run
from gradts_plugin.engine.accounts import Accounts
from gradts_plugin.engine.notes import unranked_notes
from gradts_plugin.engine.session import Session
from gradts_plugin.planning.booking import FINAL_TRAININGS, BookingEngine, NotStoredError
from gradts_plugin.planning.books import Books
from gradts_plugin.planning.pricing import Pricing
from gradts_plugin.plugins import make_silent_manager
from gradts_plugin.records import RankedTask, Ranking

#: What scores are made up: (the highest so far, the lowest so far) -> the next one.
_WAYS: tuple[Callable[[float, float], float], ...] = (
    lambda high, _low: high + 1.0,
    lambda _high, low: low - 1.0,
    lambda high, _low: high,
)


@dataclass(frozen=True)
class Forecast:
    """The ways in which a run may go.

    Attributes:
        books: what each way would do.
        auxiliary_tasks: the selection, where everything that decides it is stored.
        made_up: phases that rest on a ranking or selection which is not known yet.
        unknown: phases that may do more than is booked.
        notes: what has to be known to read the numbers.
    """

    books: tuple[Books, ...]
    auxiliary_tasks: tuple[str, ...] | None
    made_up: frozenset[str]
    unknown: frozenset[str]
    notes: tuple[str, ...]


def forecast(
    session: Session, pricing: Pricing, *, final_training: bool, look_ahead: bool
) -> Forecast:
    """Asks a run what it would do.

    Args:
        session: the run.
        pricing: says which candidates are dearest, where their order is not known.
        final_training: whether the selection is trained in the end.
        look_ahead: rank where everything for it is stored.
    """
    dry = dataclasses.replace(session, manager=make_silent_manager(), accounts=Accounts())
    found = [_Way(dry, pricing, look_ahead, answer) for answer in _WAYS]
    for way in found:
        way.go(final_training=final_training)
    first = found[0]
    selections = {way.selection for way in found}
    unranked = unranked_notes(session, ranked=session.method[0].needs_ranking)
    return Forecast(
        books=tuple(way.books for way in found),
        auxiliary_tasks=first.selection if len(selections) == 1 and first.is_known else None,
        made_up=frozenset(phase for way in found for phase in way.made_up),
        unknown=frozenset(phase for way in found for phase in way.unknown),
        notes=tuple(dict.fromkeys((*unranked, *(note for way in found for note in way.notes)))),
    )


class _Way:
    """One way in which the run may go."""

    def __init__(
        self,
        session: Session,
        pricing: Pricing,
        look_ahead: bool,
        answer: Callable[[float, float], float],
    ) -> None:
        self.books = Books()
        self.selection: tuple[str, ...] | None = None
        self.made_up: set[str] = set()
        self.unknown: set[str] = set()
        self.notes: list[str] = []
        self._session = session
        self._pricing = pricing
        self._look_ahead = look_ahead
        self._engine = BookingEngine.on(session, self.books, answer)

    @property
    def is_known(self) -> bool:
        """True where no answer was made up before the selection."""
        return self.selection is not None and not self.made_up and not self.unknown

    def go(self, *, final_training: bool) -> None:
        """Goes through the phases."""
        method, _ = self._session.method
        ranking = self._ranking() if method.needs_ranking else None
        self.books.phase = "select"
        try:
            selection = run.select(self._engine, ranking)
        except NotStoredError:
            self._not_known("select", "trials", f"the method {method.name!r} trains")
            return
        if self.books.made_up:
            self.made_up.add("train")
        if not self.made_up:
            self.selection = selection.auxiliary_tasks
        if final_training:
            self.books.phase = "train"
            self.books.open(FINAL_TRAININGS)
            run.train_selection(self._engine, selection)

    def _ranking(self) -> Ranking:
        """The ranking where it is stored; else one that makes the run as dear as it can be."""
        ranker, _ = self._session.ranker
        try:
            if ranker.needs_probes:
                self._engine.probes.of_tasks()
            self.books.phase = "rank"
            if self._look_ahead or not ranker.needs_probes:
                return run.rank(self._engine)
        except NotStoredError as error:
            if not error.all_is_booked:
                self._not_known(
                    "rank",
                    f"fine-tunings for {ranker.name}",
                    f"the ranker {ranker.name!r} computes",
                )
        self.made_up |= {"select", "train"}
        self._engine.trainings.order_is_known = False
        self.notes.append(
            "The order of the candidates is known once they are ranked; until then the costliest "
            "count as the first, and stored trials with auxiliaries as not made."
        )
        return self._made_up_ranking(ranker.name)

    def _made_up_ranking(self, ranker: str) -> Ranking:
        primary, *candidates = self._session.tasks
        dearest_first = sorted(candidates, key=self._pricing.of_all, reverse=True)
        settings = self._session.settings
        return Ranking(
            primary_task=primary,
            # So close to 1 that any threshold is reached, and no two are the same for a quantile.
            candidates=tuple(
                RankedTask(name, 1.0 - 1e-9 * place, None, None)
                for place, name in enumerate(dearest_first)
            ),
            confidence=settings.ranking.confidence,
            num_seeds=0,
            covers=(),
            num_heads_total=0,
            task_names=(primary, *candidates),
            task_taus=None,
            null_taus=(0.0,) * (len(candidates) * settings.probing.shuffled_controls),
            ranker=ranker,
        )

    def _not_known(self, phase: str, what: str, who: str) -> None:
        self.books.phase = phase
        self.books.open(what)
        self.unknown.add(phase)
        self.made_up |= {"select", "train"}
        self.notes.append(f"How much {who} is not known beforehand.")
