"""Values that rankers compute: found stored by what they depend on, or computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradts_plugin.engine.session import Session
from gradts_plugin.json_forms import to_json
from gradts_plugin.offers import Computation
from gradts_plugin.plugins import RANKER
from gradts_plugin.records import Cost
from gradts_plugin.stores.keys import computed_key


class Values:
    """Finds or computes the values that a run's ranker needs."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all_of(self, computations: Sequence[Computation]) -> list[Mapping[str, Any]]:
        """The values of each computation, in order."""
        return [self._find_or_compute(computation) for computation in computations]

    def key(self, computation: Computation) -> dict[str, Any]:
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

    def _find_or_compute(self, computation: Computation) -> Mapping[str, Any]:
        store, key = self._session.stores.computed, self.key(computation)
        found = store.find(key)
        if found is None:
            values, cost = computation.compute()
            found = {"values": dict(values), "cost": to_json(cost)}
            store.record(key, found)
        self._session.accounts.costs[store.digest(key)] = Cost(**found["cost"])
        values = found["values"]
        return dict(values)
