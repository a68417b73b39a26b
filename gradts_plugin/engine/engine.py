"""The parts of a run that compute, put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradts_plugin.engine.probes import Probes
from gradts_plugin.engine.session import Session
from gradts_plugin.engine.trainings import Trainings
from gradts_plugin.engine.values import Values
from gradts_plugin.engine.weights import Weights
from gradts_plugin.protocols import ImportanceSource
from gradts_plugin.ranking.taus import common_profile, instance_taus
from gradts_plugin.records import FloatArray, IntArray


@dataclass(frozen=True)
class Engine:
    """A run, and the only places where it computes.

    Attributes:
        session: its facts.
        probes: finds or makes head importances.
        trainings: finds or makes trainings.
        values: finds or makes what rankers compute.
    """

    session: Session
    probes: Probes
    trainings: Trainings
    values: Values

    @classmethod
    def of(cls, session: Session, *, delivered: Sequence[Path] = ()) -> Engine:
        """The parts of a session.

        Args:
            session: the run.
            delivered: weights of earlier results in its output folder.
        """
        trainings = Trainings(session, Weights(session.host, session.output_dir, delivered))
        return cls(session, Probes(session, trainings), trainings, Values(session))

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the output folder back to others."""
        self.session.close()

    def instance_taus(
        self, task_name: str, *, complete: bool = False
    ) -> tuple[IntArray, FloatArray]:
        """Tau of a candidate's instances with the primary's task matrix.

        Args:
            task_name: a candidate.
            complete: all training instances, those probed first that the ranking did not look at;
                otherwise those that were probed for the ranking.

        Returns:
            Instance ids (N,) and taus (N,).
        """
        settings = self.session.settings
        sources: Mapping[str, Sequence[ImportanceSource]] = self.probes.of_tasks()
        if task_name not in sources:  # nothing to learn from it, as its note in the ranking says
            num_train = self.session.tasks[task_name].num_train
            return np.arange(num_train), np.zeros(num_train)
        return instance_taus(
            sources[settings.primary_task],
            self.probes.whole(task_name) if complete else sources[task_name],
            correlation=self.session.registry.correlation(settings.ranking.correlation),
            common=common_profile(sources) if settings.ranking.common == "remove" else None,
        )
