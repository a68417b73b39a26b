"""How long a step and a probe take here, measured on the real model."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gradts_plugin.engine.session import Session
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.protocols import ProbeTarget, Schedule
from gradts_plugin.records import TrainingPlan, TrainStep
from gradts_plugin.scores import Score

#: Optimiser steps that are measured per task; the first one warms up and does not count.
_MEASURED_STEPS = 4


@dataclass(frozen=True)
class Rates:
    """What a few steps and a small probe showed.

    Attributes:
        step_seconds: task -> seconds per training instance of an optimiser step.
        probe_seconds: task -> seconds per probed instance.
        setup_seconds: to load the model before each training.
        num_heads_total: layers times heads.
        weight_bytes: size of one model's weights.
        description: what was measured, for the reader.
    """

    step_seconds: Mapping[str, float]
    probe_seconds: Mapping[str, float]
    setup_seconds: float
    num_heads_total: int
    weight_bytes: int
    description: str


def measure(session: Session, *, steps: bool = True) -> Rates:
    """Takes a few real optimiser steps and a small probe on the real model.

    The longest task of each kind is trained; the other tasks' times follow from the length of
    their batches. Weights are not kept.

    Args:
        session: the run; the host may write into its output folder.
        steps: False looks at the model's size only; the times are then zero.

    Returns:
        The rates.

    Raises:
        GradTSError: the model cannot be trained or probed.
    """
    infos = session.tasks
    names = tuple(infos)
    settings = session.settings
    start = time.perf_counter()
    with session.host.untrained(names, settings.seed) as target:
        setup_seconds = time.perf_counter() - start
        # Not the state dict: there the encoder stands once for each task that shares it.
        weight_bytes = sum(
            value.numel() * value.element_size()
            for value in itertools.chain(target.model.parameters(), target.model.buffers())
        )
        lengths = {name: _length(target, name) for name in names} if steps else {}
        longest = max(names, key=lengths.__getitem__) if steps else names[0]
        seconds, num_heads_total = _timed_probe(
            session, target, longest, settings.probing.batch_size if steps else 1
        )
    if not steps:
        nothing = dict.fromkeys(names, 0.0)
        return Rates(nothing, nothing, 0.0, num_heads_total, weight_bytes, "")
    kinds = list(dict.fromkeys(info.kind for info in infos.values()))
    chosen = {
        kind: max((name for name in names if infos[name].kind == kind), key=lengths.__getitem__)
        for kind in kinds
    }
    measured = _timed_steps(session, tuple(chosen.values()))
    return Rates(
        step_seconds={
            name: measured[chosen[infos[name].kind]]
            * lengths[name]
            / lengths[chosen[infos[name].kind]]
            for name in names
        },
        probe_seconds={name: seconds * lengths[name] / lengths[longest] for name in names},
        setup_seconds=setup_seconds,
        num_heads_total=num_heads_total,
        weight_bytes=weight_bytes,
        description=(
            f"{_MEASURED_STEPS - 1} optimiser steps on each of {', '.join(chosen.values())}, and a "
            f"probe of {longest}"
        ),
    )


def _length(target: ProbeTarget, task_name: str, batch_size: int = 32) -> float:
    """Tokens per instance in a batch, padding included, as a training batch has them."""
    batches = target.batches(
        batch_size=batch_size, max_instances=batch_size, seed=0, task_name=task_name
    )
    masks = [batch.attention_mask for batch in batches]
    # A sample can lie in several chunks, and each is a batch of its own then.
    longest = max(mask.shape[-1] for mask in masks)
    return float(longest * math.prod(masks[0].shape[1:-1]))


def _timed_probe(
    session: Session, target: ProbeTarget, task_name: str, batch_size: int
) -> tuple[float, int]:
    """Seconds per probed instance, and the number of heads."""
    from gradts_plugin.probing.prober import probe

    probing = session.settings.probing
    batches = target.batches(
        batch_size=batch_size, max_instances=2 * batch_size, seed=0, task_name=task_name
    )
    probed = probe(
        target.model,
        target.encoder,
        batches,
        session.registry.measure(probing.importance).compute,
        train_mode=probing.train_mode,
        precision=probing.precision,
    )
    rates, num_heads_total = [], 0
    for seconds, (ids, raw) in _timed(probed):
        rates.append(seconds / len(ids))
        num_heads_total = int(raw.shape[1] * raw.shape[2])
    return rates[-1], num_heads_total  # the first one warms up


def _timed(items: Iterable[Any]) -> Iterator[tuple[float, Any]]:
    start = time.perf_counter()
    for item in items:
        yield time.perf_counter() - start, item
        start = time.perf_counter()


class _RoundRobin:
    """Trains every task for a few steps, one after the other (see `records.TaskScheduler`)."""

    def __init__(self, task_names: Sequence[str]) -> None:
        self._left = list(task_names)

    def next_task(self) -> str:
        return self._left.pop(0)

    def observe(self, score: Score) -> None:
        pass

    def state(self) -> JsonObject:
        return {}

    def restore(self, state: JsonObject) -> None:
        pass


class _StepTimes:
    """A plugin that notes when each step ended."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, float]] = []

    @hookimpl
    def after_train_step(self, step: TrainStep) -> None:
        """Notes the time."""
        self.ended.append((step.task_name, time.perf_counter()))


def _timed_steps(session: Session, task_names: tuple[str, ...]) -> dict[str, float]:
    """Task -> seconds per training instance, by a few optimiser steps of the host."""
    settings = session.settings
    training = settings.fine_tuning if settings.probing.model == "fine-tuned" else settings.training
    num_steps = _MEASURED_STEPS * len(task_names)
    short = {"max_steps": num_steps, "epochs": None, "evaluations": 1}
    recipe = session.host.recipe(training.model_copy(update=short), task_names, {})
    plan = TrainingPlan(
        purpose="fine-tuning",  # scores few dev instances, once
        train_tasks=task_names,
        primary_task=task_names[0],
        seed=settings.seed,
        recipe=recipe,
    )
    with _listening(session, _StepTimes()) as times:
        session.host.train(
            plan,
            session.output_dir / "measured",
            Schedule(_RoundRobin(task_names), _MEASURED_STEPS, {}),
        )
    durations: dict[str, list[float]] = {name: [] for name in task_names}
    for (before, start), (name, end) in zip(times.ended, times.ended[1:], strict=False):
        if before == name:
            durations[name].append(end - start)
    return {
        name: statistics.median(durations[name]) / recipe.batches[name].per_step
        for name in task_names
    }


@contextmanager
def _listening(session: Session, plugin: _StepTimes) -> Iterator[_StepTimes]:
    session.manager.register(plugin)
    try:
        yield plugin
    finally:
        session.manager.unregister(plugin)
