"""What a run will do, before it does it: what is to train, how long it takes, what it stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.notes import candidates_note
from gradts_plugin.engine.session import Session
from gradts_plugin.engine.weights import NUM_BEST
from gradts_plugin.planning.books import Books
from gradts_plugin.planning.forecast import Forecast, forecast
from gradts_plugin.planning.pricing import Pricing
from gradts_plugin.planning.rates import Rates
from gradts_plugin.planning.sensitivity import budget_note


@dataclass(frozen=True)
class Part:
    """A part of a run.

    Attributes:
        phase: the phase it belongs to.
        what: fine-tunings, probes, trials or final trainings.
        num_needed: how many the run needs; None where that is not known.
        num_stored: how many of them are stored.
        num_to_do: how many are still to be made; None where that is not known.
        upper_bound: True where the run may need fewer.
        num_steps: optimiser steps of those that are to be made.
        work: instances that those will train on, counted with repetition; a probed instance
            counts as `PROBE_SHARE`, an encoded or scored one as `FORWARD_SHARE`.
        seconds: estimated time; None where nothing was measured.
        tokens: as `work`, each instance counted with the tokens that it has in a batch.
    """

    phase: str
    what: str
    num_needed: int | None
    num_stored: int
    num_to_do: int | None
    upper_bound: bool
    num_steps: int
    work: float
    seconds: float | None
    tokens: float = 0.0


@dataclass(frozen=True)
class Plan:
    """What a run will do.

    Attributes:
        primary_task: the task to help.
        method: the selection method.
        candidate_tasks: where auxiliaries are sought.
        parts: in the order of the run.
        auxiliary_tasks: the selection, where everything that decides it is stored.
        importance_bytes: what the probes that are to be made add to the store; None: not known.
        weight_bytes: largest size of the weights on disk at one time; None: not known.
        measured: what the times rest on; empty where nothing was measured.
        notes: what has to be known to read the numbers.
    """

    primary_task: str
    method: str
    candidate_tasks: tuple[str, ...]
    parts: tuple[Part, ...]
    auxiliary_tasks: tuple[str, ...] | None
    importance_bytes: int | None
    weight_bytes: int | None
    measured: str
    notes: tuple[str, ...]

    derived: ClassVar[tuple[str, ...]] = ()

    @property
    def nothing_to_do(self) -> bool:
        """True where everything is stored."""
        return all(part.num_to_do == 0 for part in self.parts)

    @property
    def upper_bound(self) -> bool:
        """True where the run may take less than the total."""
        return any(part.upper_bound for part in self.parts)

    @property
    def unknown(self) -> bool:
        """True where the run may take more than the total."""
        return any(part.num_to_do is None for part in self.parts)

    @property
    def tokens(self) -> dict[str, float]:
        """Phase -> tokens to train on, as `Part.tokens` counts them."""
        totals: dict[str, float] = {}
        for part in self.parts:
            totals[part.phase] = totals.get(part.phase, 0.0) + part.tokens
        return totals


def make_plan(
    engine: Engine,
    *,
    final_training: bool,
    rates: Rates | None = None,
    look_ahead: bool = True,
) -> Plan:
    """Counts what a run will do; trains nothing and writes nothing.

    Args:
        engine: the run.
        final_training: whether it trains the selection in the end, as run files do.
        rates: measured times; without a description they know the model's size, and no times.
        look_ahead: rank where everything for it is stored. Without it the counts are upper bounds
            more often, and nothing but files is read.

    Returns:
        The plan.

    Raises:
        GradTSError: a stored record is damaged, or a setting is wrong.
    """
    session = engine.session
    pricing = Pricing(session.tasks, rates if rates is not None and rates.description else None)
    found = forecast(session, pricing, final_training=final_training, look_ahead=look_ahead)
    parts = tuple(_parts(found, pricing))
    primary, *candidates = session.tasks
    return Plan(
        primary_task=primary,
        method=session.settings.method.name,
        candidate_tasks=tuple(candidates),
        parts=parts,
        auxiliary_tasks=found.auxiliary_tasks,
        importance_bytes=_importance_bytes(found.books[0], rates),
        weight_bytes=_weight_bytes(session, parts, rates),
        measured=rates.description if rates is not None else "",
        notes=(
            *found.notes,
            *(note for note in (budget_note(engine), candidates_note(engine)) if note),
        ),
    )


def _parts(found: Forecast, pricing: Pricing) -> list[Part]:
    """Each part as the dearest of the ways in which the run may go."""
    places = dict.fromkeys(place for books in found.books for place in books.places)
    order = ("probe", "rank", "select", "train")
    parts = []
    for phase, what in sorted(places, key=lambda place: order.index(place[0])):
        ways = [books.at(phase, what) for books in found.books]
        dearest = max(ways, key=lambda way: (pricing.work(way.to_do), len(way.to_do)))
        differ = len({(len(way.to_do), pricing.work(way.to_do)) for way in ways}) > 1
        at_most = any(way.at_most for way in ways)
        unknown = phase in found.unknown
        to_do, stored = len(dearest.to_do), max(way.num_stored for way in ways)
        if not to_do and not stored and not unknown and phase != "train":
            continue
        parts.append(
            Part(
                phase=phase,
                what=what,
                num_needed=None if unknown else to_do + dearest.num_stored,
                num_stored=dearest.num_stored,
                num_to_do=None if unknown else to_do,
                upper_bound=to_do > 0 and (differ or at_most or phase in found.made_up),
                num_steps=pricing.steps(dearest.to_do),
                work=pricing.work(dearest.to_do),
                tokens=pricing.tokens(dearest.to_do),
                seconds=pricing.seconds(dearest.to_do),
            )
        )
    return parts


def _importance_bytes(books: Books, rates: Rates | None) -> int | None:
    heads = books.num_heads_total or (None if rates is None else rates.num_heads_total)
    if not books.num_new_instances:
        return 0
    # float32, and int64 for the id
    return None if heads is None else books.num_new_instances * (4 * heads + 8)


def _weight_bytes(session: Session, parts: tuple[Part, ...], rates: Rates | None) -> int | None:
    if not any(part.num_steps for part in parts if part.phase in ("select", "train")):
        return 0
    if rates is None:
        return None
    # Those of the best trials, of the latest one, and of the one that is being trained.
    return (NUM_BEST + 2) * session.settings.training_seeds * rates.weight_bytes
