"""Values that rankers compute: found stored by what they depend on, or computed."""

from __future__ import annotations

from collections.abc import Sequence

from gradts_plugin.engine.session import Session
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.offers import Computation, NamedValues
from gradts_plugin.plugins import RANKER
from gradts_plugin.stores.computed import Computed
from gradts_plugin.stores.keys import computed_key


class Values:
    """Finds or computes the values that a run's ranker needs."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all_of(self, computations: Sequence[Computation]) -> list[NamedValues]:
        """The values of each computation, in order; what other processes compute comes last."""
        needed = [_Needed(self._session, each, self.key(each)) for each in computations]
        found = [each.found_or_made() for each in needed]
        values = []
        for each, computed in zip(needed, found, strict=True):
            one = each.waited_for() if computed is None else computed
            self._session.accounts.costs[each.digest] = one.cost
            values.append(one.values)
        return values

    def key(self, computation: Computation) -> JsonObject:
        """What the values are stored under."""
        session = self._session
        ranker, _ = session.ranker
        return computed_key(
            computation.name,
            computation.identity,
            [session.tasks[name] for name in computation.task_names],
            encoder=session.host.encoder_fingerprint,
            ranker=session.registry.identity(RANKER, ranker.name),
        )


class _Needed:
    """Values that are needed."""

    def __init__(self, session: Session, computation: Computation, key: JsonObject) -> None:
        self._session = session
        self._computation = computation
        self._key = key
        self.digest = session.stores.computed.digest(key)

    def found_or_made(self) -> Computed | None:
        """The values; None where another process computes them."""
        found = self._find()
        if found is None:
            answer = self._session.stores.claims.attempt(self.digest, self._find, self._compute)
            found = answer and answer[0]
        return found

    def waited_for(self) -> Computed:
        """The values, once another process has computed them."""
        of = ", ".join(self._computation.task_names)
        shown = f"{self._computation.name} of {of}"
        return self._session.once(self.digest, shown, self._find, self._compute)[0]

    def _find(self) -> Computed | None:
        return self._session.stores.computed.find(self._key)

    def _compute(self) -> Computed:
        computed = Computed(*self._computation.compute())
        self._session.stores.computed.record(self._key, computed)
        return computed
