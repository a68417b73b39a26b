"""What a run will do, before it does it: how much is to train, how long it takes, what it stores.

The method itself is asked, with a host that refuses to compute: whatever is stored is found as in
the run, and where something would be trained, the method's own upper bound is counted. Nothing is
written.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from gradts_plugin import pipeline
from gradts_plugin.console import FORWARD_SHARE, PROBE_SHARE, QUICK_DEV
from gradts_plugin.measuring import Rates, step_size
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.protocols import Host
from gradts_plugin.records import KeptInstances, Ranking, Selection
from gradts_plugin.selection.threshold import num_reaching_threshold
from gradts_plugin.selection.trial import prefix_sizes
from gradts_plugin.settings.ranking import Quantile
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores.computed import ComputedValues

#: Who offers the methods and rankers whose trainings can be counted here.
_BUILT_IN = "gradts-builtin"


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
    def work(self) -> dict[str, float]:
        """Phase -> instances to train on, as `Part.work` counts them."""
        totals: dict[str, float] = {}
        for part in self.parts:
            totals[part.phase] = totals.get(part.phase, 0.0) + part.work
        return totals


def make_plan(
    session: pipeline.Session,
    *,
    final_training: bool,
    rates: Rates | None = None,
    look_ahead: bool = True,
) -> Plan:
    """Counts what a run will do; trains nothing and writes nothing.

    Args:
        session: the run.
        final_training: whether it trains the selection in the end, as run files do.
        rates: measured times.
        look_ahead: rank and select where everything for it is stored. Without it the counts are
            upper bounds more often, and nothing but files is read.

    Returns:
        The plan.

    Raises:
        GradTSError: a stored record is damaged, or a setting is wrong.
    """
    return _Planner(session, rates, look_ahead=look_ahead).plan(final_training=final_training)


@dataclass(frozen=True)
class _Run:
    """A training run that may have to be made."""

    train_tasks: tuple[str, ...]
    recipe: Mapping[str, Any]
    quick_dev: bool = False


class _Planner:
    def __init__(self, session: pipeline.Session, rates: Rates | None, *, look_ahead: bool) -> None:
        self._session = _dry(session)
        self._settings: GradTSSettings = session.settings
        # Rates without a description know the model's size, and no times.
        self._rates = rates if rates is not None and rates.description else None
        self._weight_bytes = None if rates is None else rates.weight_bytes
        self._look_ahead = look_ahead
        self._infos = pipeline.tasks_of(session)
        self._primary, *candidates = self._infos
        self._candidates = tuple(candidates)
        self._notes: list[str] = []
        self._num_new_instances = 0  # to be probed
        self._heads_total = None if rates is None else rates.num_heads_total
        self._method = session.registry.method(self._settings.method)
        self._uses_ranking = getattr(self._method, "uses_ranking", True)
        self._fine_tunes = self._settings.probing.model == "fine-tuned"

    def plan(self, *, final_training: bool) -> Plan:
        settings = self._settings
        parts: list[Part] = []
        ranking = None
        if self._uses_ranking:
            parts += self._ranking_parts()
            if self._look_ahead:
                with suppress(_NotStoredError):
                    ranking = pipeline.rank(self._session)
        selection, num_found = self._selection(ranking)
        parts += self._trial_parts(ranking, selection, num_found)
        if final_training:
            any_stored = any(part.num_stored for part in parts if part.phase == "select")
            parts.append(self._final_part(ranking, selection, any_stored=any_stored))
        trains = any(part.num_steps for part in parts if part.phase in ("select", "train"))
        return Plan(
            primary_task=self._primary,
            method=settings.method,
            candidate_tasks=self._candidates,
            parts=tuple(parts),
            auxiliary_tasks=None if selection is None else selection.auxiliary_tasks,
            importance_bytes=(
                0
                if not self._num_new_instances
                # float32, and int64 for the id
                else None
                if self._heads_total is None
                else self._num_new_instances * (4 * self._heads_total + 8)
            ),
            weight_bytes=(
                0
                if not trains
                # Those of the best trials, and the latest one's until they are compared.
                else None
                if self._weight_bytes is None
                else (3 if pipeline.most_seeds(settings) > settings.trial.seeds else 2)
                * settings.trial.seeds
                * self._weight_bytes
            ),
            measured="" if self._rates is None else self._rates.description,
            notes=tuple(self._notes),
        )

    # --- ranking ---------------------------------------------------------------------------------

    def _ranking_parts(self) -> list[Part]:
        """The parts before the ranking."""
        registry, name = self._session.registry, self._settings.ranking.ranker
        if getattr(registry.ranker(name), "uses_probes", False):
            return self._probe_parts()
        bounds: dict[str, list[tuple[str, ...]]] = {
            "size": [],
            "random": [],
            "embedding": [],
            "logme": [(candidate,) for candidate in self._candidates],
            "gradients": [(self._primary, *self._candidates)],
        }
        known = registry.providers["ranker", name] == _BUILT_IN and name in bounds
        what = f"fine-tunings for {name}"
        if not known:
            self._notes.append(
                f"How much the ranker {name!r} computes is not known: it comes from a plugin."
            )
            return [Part("rank", what, None, 0, None, False, 0, 0.0, None)]
        if not bounds[name]:
            return []
        if self._look_ahead:
            with suppress(_NotStoredError):
                pipeline.rank(self._session)
                count = len(bounds[name])
                return [Part("rank", what, count, count, 0, False, 0, 0.0, 0.0)]
        runs = [self._fine_tuning(tasks) for tasks in bounds[name]]
        return [self._part("rank", what, runs, num_stored=0, upper_bound=len(runs) > 1)]

    def _probe_parts(self) -> list[Part]:
        found = pipeline.find_probes(self._session)
        missing = [info for info, _, record in found if record is None]
        for _, _, record in found:
            if record is not None:
                _, num_layers, num_heads = record.shape
                self._heads_total = num_layers * num_heads
        limit = self._settings.probing.max_instances
        counts = [(info.name, min(info.num_train, limit or info.num_train)) for info in missing]
        return self._parts_of_probes("probe", "probes", counts, len(found) - len(missing))

    def _parts_of_probes(
        self,
        phase: str,
        what: str,
        counts: Sequence[tuple[str, int]],
        num_stored: int,
        *,
        upper_bound: bool = False,
    ) -> list[Part]:
        """Probes of so many instances of each task, and the fine-tunings before them."""
        parts = []
        num_instances = sum(count for _, count in counts)
        self._num_new_instances += num_instances
        share = PROBE_SHARE
        if self._fine_tunes:
            runs = [self._fine_tuning((name,)) for name, _ in counts]
            parts.append(
                self._part(
                    phase, "fine-tunings", runs, num_stored=num_stored, upper_bound=upper_bound
                )
            )
        else:
            share += FORWARD_SHARE  # the head is fitted to the encoder's outputs
        seconds = None
        if self._rates is not None:
            seconds = sum(
                count * self._rates.probe_seconds[name] * share / PROBE_SHARE
                for name, count in counts
            )
        parts.append(
            Part(
                phase,
                what,
                num_stored + len(counts),
                num_stored,
                len(counts),
                upper_bound,
                0,
                share * num_instances,
                seconds if counts else 0.0,
            )
        )
        return parts

    def _whole_probes(self, ranking: Ranking | None) -> list[Part]:
        """GradTS-fg probes all instances of what it filters, where the ranking saw a sample."""
        limit = self._settings.probing.max_instances
        sampled = [
            (name, self._infos[name].num_train)
            for name in self._order(ranking)
            if self._infos[name].num_train > (limit or math.inf)
            for _ in pipeline.probe_seeds(self._settings)
        ]
        if not sampled:
            return []
        what = "probes of whole auxiliaries"
        return self._parts_of_probes("select", what, sampled, 0, upper_bound=True)

    # --- selection -------------------------------------------------------------------------------

    def _selection(self, ranking: Ranking | None) -> tuple[Selection | None, int]:
        """The selection where all it rests on is stored, and how many runs were found for it."""
        if not self._look_ahead or (self._uses_ranking and ranking is None):
            return None, 0
        found: Selection | None = None
        session = _dry(self._session)
        with suppress(_NotStoredError):
            found = pipeline.select(session, ranking)
        return found, session.counters.training_runs_reused

    def _trial_parts(
        self, ranking: Ranking | None, selection: Selection | None, num_found: int
    ) -> list[Part]:
        settings, method = self._settings, self._settings.method
        if selection is not None:
            done = Part("select", "trials", num_found, num_found, 0, False, 0, 0.0, 0.0)
            return [done] if num_found else []
        if not self._built_in_method():
            self._notes.append(
                f"How many trainings the method {method!r} makes is not known: it comes from a "
                "plugin."
            )
            return [Part("select", "trials", None, num_found, None, False, 0, 0.0, None)]
        seeds = settings.trial.seeds
        if method in pipeline.TRY_PREFIXES:
            runs, stored = self._prefix_trials(ranking)
        elif method in ("autosem-p1", "autosem"):
            num_trials = settings.autosem.trials * seeds if method == "autosem" else 0
            runs = [self._scheduled(), *[self._trial(self._candidates)] * num_trials][num_found:]
            stored = num_found
        else:
            return []
        bound = method != "autosem-p1" and bool(runs)
        trials = self._part("select", "trials", runs, num_stored=stored, upper_bound=bound)
        return [*(self._whole_probes(ranking) if method == "fg" else ()), trials]

    def _prefix_trials(self, ranking: Ranking | None) -> tuple[list[_Run], int]:
        """The runs that GradTS-trial and -fg may have to make, and how many are stored."""
        seeds = pipeline.most_seeds(self._settings)
        order = self._order(ranking)
        sizes = prefix_sizes(len(order), self._settings, lambda: self._num_above_threshold(ranking))
        prefixes = [order[:size] for size in sizes]
        if not self._settings.faithful:
            prefixes = [(), *prefixes]
        # Without the ranking, only the primary alone can be looked up.
        stored = {
            prefix: self._stored_seeds(prefix, num_seeds=seeds)
            for prefix in prefixes
            if ranking is not None or not prefix
        }
        if ranking is None:
            self._notes.append(
                "The order of the candidates is known once they are ranked; until then the "
                "costliest count as the first, and stored trials with auxiliaries as not made."
            )
        runs = [
            self._trial(prefix) for prefix in prefixes for _ in range(seeds - stored.get(prefix, 0))
        ]
        if self._settings.method == "fg":
            # The filtered auxiliaries are scored, too: at most all their instances.
            runs += [self._trial(prefixes[-1])] * seeds
        return runs, sum(stored.values())

    def _order(self, ranking: Ranking | None) -> tuple[str, ...]:
        """The candidates that trials go through; the costliest first where nothing is ranked."""
        if ranking is not None:
            order = ranking.task_order
        else:
            order = tuple(sorted(self._candidates, key=self._cost_of_all, reverse=True))
        return order[: self._settings.trial.max_auxiliaries]

    def _final_part(
        self, ranking: Ranking | None, selection: Selection | None, *, any_stored: bool
    ) -> Part:
        """The selection's own training, and the primary's: those that no trial has made."""
        if selection is not None:
            return self._known_final_part(selection)
        settings, method = self._settings, self._settings.method
        order = self._order(ranking) if method in pipeline.TRY_PREFIXES else self._candidates
        if method in ("thres", "top"):
            order = tuple(sorted(order, key=self._cost_of_all, reverse=True))
            size = settings.top.k if method == "top" else self._num_above_threshold(ranking)
            order = order[:size]
        seeds = settings.trial.seeds
        runs = [] if method == "alone" else [self._trial(order)] * seeds
        if method == "trial" and not any_stored:
            runs = []  # the weights of the best trial are kept
        stored = 0
        if method not in pipeline.TRY_PREFIXES or settings.faithful:  # they try it alone themselves
            stored = self._stored_seeds(())
            runs += [self._trial(())] * (seeds - stored)
        return self._part(
            "train", "final trainings", runs, num_stored=stored, upper_bound=bool(runs)
        )

    def _known_final_part(self, selection: Selection) -> Part:
        seeds = self._settings.trial.seeds
        stored = self._stored_seeds(
            selection.auxiliary_tasks,
            selection.kept_instances,
            selection.mixing_ratios,
            weights_needed=True,
        )
        runs = [self._trial(selection.auxiliary_tasks)] * (seeds - stored)
        if selection.auxiliary_tasks:
            stored_alone = self._stored_seeds(())
            runs += [self._trial(())] * (seeds - stored_alone)
            stored += stored_alone
        # Kept instances make a run shorter than the one with all of them.
        bound = bool(selection.kept_instances) and bool(runs)
        return self._part("train", "final trainings", runs, num_stored=stored, upper_bound=bound)

    def _num_above_threshold(self, ranking: Ranking | None) -> int:
        if ranking is not None:
            return num_reaching_threshold(ranking, self._settings)
        threshold = self._settings.threshold
        count = len(self._candidates)
        if isinstance(threshold, Quantile):
            # As numpy interpolates; equal taus could make it more.
            return count - math.ceil((count - 1) * threshold.quantile)
        return count

    def _stored_seeds(
        self,
        auxiliary_tasks: tuple[str, ...],
        kept_instances: KeptInstances | None = None,
        mixing_ratios: Mapping[str, int] | None = None,
        *,
        num_seeds: int | None = None,
        weights_needed: bool = False,
    ) -> int:
        """How many of a trial's runs, from the first seed on, are stored."""
        session = _dry(self._session)
        with suppress(_NotStoredError):
            pipeline.score_tasks(
                session,
                auxiliary_tasks,
                kept_instances or {},
                mixing_ratios or {},
                num_seeds=num_seeds,
                weights_needed=weights_needed,
            )
        return session.counters.training_runs_reused

    # --- costs -----------------------------------------------------------------------------------

    def _built_in_method(self) -> bool:
        provider = self._session.registry.providers["selection method", self._settings.method]
        return provider == _BUILT_IN

    def _cost_of_all(self, task_name: str) -> float:
        """What training once on all instances of a task costs."""
        return self._infos[task_name].num_train * self._cost(task_name)

    def _fine_tuning(self, tasks: tuple[str, ...]) -> _Run:
        recipe = self._session.host.recipe(self._settings.fine_tuning, tasks, {})
        return _Run(tasks, {**recipe, "evaluations": 1}, quick_dev=True)

    def _trial(self, auxiliary_tasks: tuple[str, ...]) -> _Run:
        tasks = (self._primary, *auxiliary_tasks)
        return _Run(tasks, self._session.host.recipe(self._settings.training, tasks, {}))

    def _scheduled(self) -> _Run:
        tasks = (self._primary, *self._candidates)
        autosem = self._settings.autosem
        settings = self._settings.training.model_copy(
            update={"max_steps": autosem.rounds * autosem.steps_per_round, "epochs": None}
        )
        recipe = self._session.host.recipe(settings, tasks, {})
        return _Run(tasks, {**recipe, "evaluations": autosem.rounds})

    def _part(
        self,
        phase: str,
        what: str,
        runs: Sequence[_Run],
        *,
        num_stored: int,
        upper_bound: bool = False,
    ) -> Part:
        seconds = None
        if not runs:
            seconds = 0.0
        elif self._rates is not None:
            seconds = sum(self._work(run, self._cost) for run in runs)
            seconds += len(runs) * self._rates.setup_seconds
        return Part(
            phase=phase,
            what=what,
            num_needed=len(runs) + num_stored,
            num_stored=num_stored,
            num_to_do=len(runs),
            upper_bound=upper_bound,
            num_steps=sum(run.recipe["max_steps"] for run in runs),
            work=sum(self._work(run, lambda _: 1.0) for run in runs),
            seconds=seconds,
        )

    def _cost(self, task_name: str) -> float:
        """Seconds per training instance, or 1 where nothing was measured."""
        return 1.0 if self._rates is None else self._rates.step_seconds[task_name]

    def _work(self, run: _Run, cost: Callable[[str], float]) -> float:
        """What a run costs, its dev scores included."""
        sizes = {name: step_size(run.recipe, name) for name in run.train_tasks}
        steps = {name: self._infos[name].num_train / size for name, size in sizes.items()}
        share = run.recipe["max_steps"] / sum(steps.values())
        trained = 0.0
        for name, size in sizes.items():
            trained += share * steps[name] * size * cost(name)
        first = run.train_tasks[0]
        num_dev = self._infos[first].num_dev
        scored = int(run.recipe["evaluations"]) * (
            min(num_dev, QUICK_DEV) if run.quick_dev else num_dev
        )
        return trained + FORWARD_SHARE * scored * cost(first)


# --- a session that computes nothing --------------------------------------------------------------


class _NotStoredError(Exception):
    """Something would have to be computed."""


class _DryHost:
    """A session's host, without everything that computes or writes."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __getattr__(self, name: str) -> Any:
        if name in ("fine_tuned", "untrained", "train", "rewrite"):
            return self._refuse
        return getattr(self._host, name)

    def _refuse(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        raise _NotStoredError


class _ReadOnlyValues(ComputedValues):
    def record(self, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Writes nothing."""


def _dry(session: pipeline.Session) -> pipeline.Session:
    """The same run with nothing done yet, no listeners, and no way to compute or write."""
    host: Any = session.host
    return dataclasses.replace(
        session,
        host=host if isinstance(host, _DryHost) else _DryHost(host),
        manager=make_plugin_manager(entry_points=False),
        computed=_ReadOnlyValues(session.computed.root),
        counters=pipeline.Counters(),
        seconds={},
        costs={},
        trained=set(),
        kept_trials=[],
        sources=None,
        controls=[],
    )
