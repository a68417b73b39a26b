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
        """The values of each computation, in order."""
        return [self._find_or_compute(computation) for computation in computations]

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

    def _find_or_compute(self, computation: Computation) -> NamedValues:
        store, key = self._session.stores.computed, self.key(computation)
        found = store.find(key)
        if found is None:
            found = Computed(*computation.compute())
            store.record(key, found)
        self._session.accounts.costs[store.digest(key)] = found.cost
        return found.values
