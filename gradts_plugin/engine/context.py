"""What rankers and selection methods may ask for, answered by the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from gradts_plugin.engine.donors import gains_for_others
from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.errors import SelectionError
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.offers import Computation, Correlation, NamedValues, TrialOf
from gradts_plugin.protocols import ImportanceSource, Looks, ProbeTarget, Schedule
from gradts_plugin.records import (
    FloatArray,
    IntArray,
    KeptInstances,
    Ranking,
    TaskInfo,
    TrainingResult,
    Trial,
)
from gradts_plugin.scores import Gain, Round
from gradts_plugin.settings.selection import GradTSSettings


@dataclass(frozen=True)
class Context:
    """An `offers.SelectionContext` of one run.

    Attributes:
        engine: the run.
        known_ranking: for methods that need one.
        rankable_only: only the candidates from which something can be learned are known, for
            rankers.
    """

    engine: Engine
    known_ranking: Ranking | None = None
    rankable_only: bool = False

    @property
    def primary_task(self) -> str:
        """The task to help."""
        return self.settings.primary_task

    @property
    def candidate_tasks(self) -> tuple[str, ...]:
        """Where auxiliaries are sought."""
        return tuple(self.tasks)[1:]

    @property
    def tasks(self) -> Mapping[str, TaskInfo]:
        """The primary and the candidates."""
        session = self.engine.session
        return session.rankable if self.rankable_only else session.tasks

    @property
    def settings(self) -> GradTSSettings:
        """The run's settings."""
        return self.engine.session.settings

    @property
    def correlation(self) -> Correlation:
        """The correlation that the settings name."""
        return self.engine.session.registry.correlation(self.settings.ranking.correlation)

    @property
    def ranking(self) -> Ranking:
        """The candidates, best first."""
        if self.known_ranking is None:
            raise SelectionError(
                f"method {self.settings.method.name!r} asked for the ranking but says that it "
                "needs none"
            )
        return self.known_ranking

    def probes(self) -> Mapping[str, Sequence[ImportanceSource]]:
        """Importances of the primary and all candidates."""
        return self.engine.probes.of_tasks()

    def controls(self) -> Sequence[ImportanceSource]:
        """Importances of the candidates with shuffled labels."""
        return self.engine.probes.controls()

    def texts(self, task_name: str, *, max_instances: int | None, seed: int) -> Mapping[int, str]:
        """What the encoder reads of a task's training instances."""
        host = self.engine.session.host
        ids = host.sampled_ids(task_name, max_instances=max_instances, seed=seed).tolist()
        texts = host.instance_texts(task_name, ids)
        return {example_id: texts[example_id] for example_id in ids}

    def computed(self, computations: Sequence[Computation]) -> list[NamedValues]:
        """The values of each computation."""
        return self.engine.values.all_of(computations)

    def fine_tuning_identity(self, task_names: Sequence[str]) -> JsonObject:
        """What decides a fine-tuning."""
        return self.engine.trainings.fine_tuning_identity(task_names)

    def fine_tuned(
        self, task_names: Sequence[str], seed: int, looks: Looks | None = None
    ) -> AbstractContextManager[ProbeTarget]:
        """Fine-tunes on tasks and lends the model."""
        return self.engine.trainings.fine_tuned(task_names, seed, looks)

    def untrained(
        self, task_names: Sequence[str], seed: int
    ) -> AbstractContextManager[ProbeTarget]:
        """Lends the pretrained encoder."""
        return self.engine.session.host.untrained(task_names, seed)

    def gains_for_others(self) -> Mapping[str, Sequence[float]]:
        """What each candidate gained other primaries."""
        return gains_for_others(self.engine.session, self.engine.trainings)

    def score(
        self,
        auxiliary_tasks: Sequence[str],
        kept_instances: KeptInstances | None = None,
        mixing_ratios: Mapping[str, int] | None = None,
        *,
        block_steps: int | None = None,
        num_seeds: int | None = None,
        likely_next: Sequence[TrialOf] = (),
    ) -> Trial:
        """Trains and scores the primary with auxiliaries."""
        trainings = self.engine.trainings
        return trainings.score(
            TrialRequest(
                tuple(auxiliary_tasks),
                trainings.trial_seeds(num_seeds),
                kept_instances or {},
                mixing_ratios or {},
                block_steps,
            ),
            [self._request(trial) for trial in likely_next],
        )

    def gain(self, trial: Trial, baseline: Trial) -> Gain:
        """By how much a trial scores higher, and how sure that is."""
        return self.engine.trainings.gain(trial, baseline)

    def score_all(self, trials: Sequence[TrialOf], *, at_most: int | None = None) -> list[Trial]:
        """Scores several trials."""
        requests = [self._request(trial) for trial in trials]
        return self.engine.trainings.score_all(requests, at_most=at_most)

    def num_trainings(self, trial: TrialOf) -> int:
        """How many trainings a trial takes."""
        return self.engine.trainings.num_trainings(self._request(trial))

    def tell(self, round_of_search: Round) -> None:
        """Tells the hooks of a round."""
        self.engine.session.hook.after_round(round_of_search=round_of_search)

    def _request(self, trial: TrialOf) -> TrialRequest:
        seeds = self.engine.trainings.trial_seeds(trial.num_seeds)
        return TrialRequest(trial.auxiliary_tasks, seeds)

    def train_with_schedule(
        self, schedule: Schedule, *, num_rounds: int, seed: int
    ) -> TrainingResult:
        """Trains all tasks in one run."""
        return self.engine.trainings.scheduled(schedule, num_rounds=num_rounds, seed=seed)

    def instance_taus(self, task_name: str) -> tuple[IntArray, FloatArray]:
        """Taus of all of an auxiliary's instances."""
        return self.engine.instance_taus(task_name, complete=True)
