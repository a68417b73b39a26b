"""What the candidates gained other primaries, as stored trainings tell; nothing is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any

from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.engine.session import Session
from gradts_plugin.engine.trainings import Trainings
from gradts_plugin.json_forms import JsonObject, from_json
from gradts_plugin.stores.keys import canonical_json, training_identity

#: What a primary was trained with: a candidate; or alone, and whether for longer.
_What = str | bool

#: Seed -> score.
_Scores = dict[int, float]

#: Keys of a recipe whose values are by task.
_BY_TASK = ("batches", "mixing_ratios", "task_steps")


def gains_for_others(session: Session, trainings: Trainings) -> dict[str, tuple[float, ...]]:
    """Mean gains over the seeds that a training with one candidate and one without it share.

    Args:
        session: the run; its own primary does not count, whatever its data.
        trainings: say how the run trains.

    Returns:
        Candidate -> a gain for each other primary that was trained with it; empty without any.
    """
    found = _scores_of_others(session, trainings)
    gains: dict[str, tuple[float, ...]] = {}
    for candidate in tuple(session.tasks)[1:]:
        by_primary: dict[str, list[float]] = {}
        for (primary, *_), scores in found.items():
            if (gain := _gain(scores, candidate)) is not None:
                by_primary.setdefault(primary, []).append(gain)
        # A task of which several sizes were trained is one primary.
        gains[candidate] = tuple(fmean(of_sizes) for of_sizes in by_primary.values())
    return gains


def _gain(scores: Mapping[_What, _Scores], candidate: str) -> float | None:
    """Over the better one of the lengths of alone; None where no seed is shared."""
    beside = scores.get(candidate, {})
    gains = []
    for alone in (scores.get(longer, {}) for longer in (False, True)):
        shared = sorted(beside.keys() & alone.keys())
        if shared:
            gains.append(fmean(beside[seed] - alone[seed] for seed in shared))
    return min(gains, default=None)


def _scores_of_others(
    session: Session, trainings: Trainings
) -> dict[tuple[str, str, str], dict[_What, _Scores]]:
    """(other primary, its training data, its dev data) -> what it was trained with -> scores."""
    alike = _Alike(session, trainings)
    found: dict[tuple[str, str, str], dict[_What, _Scores]] = {}
    for stored in session.stores.trainings.all_keys():
        key = from_json(_Key, stored, where="a training's key")
        what = alike.what(key)
        result = None if what is None else session.stores.trainings.find(stored)
        if what is not None and result is not None and result.score is not None:
            of = (*key.train_tasks[0], key.dev_set[1])
            found.setdefault(of, {}).setdefault(what, {})[key.seed] = result.score
    return found


@dataclass(frozen=True)
class _Key:
    """What a training is stored under (`stores.keys.training_key`); tasks with their data's."""

    encoder: str
    train_tasks: tuple[tuple[str, str], ...]
    dev_set: tuple[str, str]
    seed: int
    training: JsonObject
    kept_instances: JsonObject


class _Alike:
    """Tells stored trainings of other primaries that differ from a run's own in tasks alone."""

    def __init__(self, session: Session, trainings: Trainings) -> None:
        self._session = session
        self._trainings = trainings
        self._primary, *candidates = session.tasks
        self._encoder = session.host.encoder_fingerprint
        self._data = {info.name: info.fingerprint for info in session.host.tasks()}
        self._candidates = {(name, self._data[name]) for name in candidates}
        self._expected = cache(self._identity)

    def what(self, key: _Key) -> _What | None:
        """What another primary was trained with; None where the training does not count."""
        (primary, _), *others = key.train_tasks
        if (
            primary == self._primary
            or key.encoder != self._encoder
            or key.kept_instances
            or len(others) > 1
            or not self._candidates.issuperset(others)
        ):
            return None
        # The host knows how long it would train its own tasks; others are trained as ours is.
        like = primary if primary in self._data else self._primary
        candidate = tuple(name for name, _ in others)
        trained = _without_names(key.training, (primary, *candidate))
        if candidate:
            return candidate[0] if trained == self._expected((like, *candidate), False) else None
        lengths = (False, True)
        return next((it for it in lengths if trained == self._expected((like,), it)), None)

    def _identity(self, train_tasks: tuple[str, ...], longer: bool) -> str:
        """What decides a training of this run beside encoder, data and seed."""
        request = TrialRequest(train_tasks[1:], range(1), longer=longer)
        recipe = self._trainings.trial_recipe(request, train_tasks)
        return _without_names(training_identity(self._session.settings, recipe), train_tasks)


def _without_names(training: Any, train_tasks: Sequence[str]) -> str:
    """A training's settings as JSON, with the tasks in their order and not by name."""
    recipe = training["recipe"]
    in_order = {key: [recipe[key].get(name) for name in train_tasks] for key in _BY_TASK}
    in_order["last_task"] = [recipe.get("last_task") == name for name in train_tasks]
    return canonical_json({**training, "recipe": {**recipe, **in_order}})
