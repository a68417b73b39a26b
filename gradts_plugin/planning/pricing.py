"""What booked pieces cost: steps, work and time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from gradts_plugin.planning.books import Piece, Probing, Training
from gradts_plugin.planning.rates import Rates
from gradts_plugin.planning.work import FORWARD_SHARE, PROBE_SHARE, QUICK_DEV
from gradts_plugin.records import TaskInfo


class Pricing:
    """Prices pieces over the tasks of a run."""

    def __init__(self, infos: Mapping[str, TaskInfo], rates: Rates | None) -> None:
        """Prices by size alone where no times were measured.

        Args:
            infos: the tasks by name.
            rates: measured times; None where nothing was measured.
        """
        self._infos = infos
        self._rates = rates

    def steps(self, pieces: Iterable[Piece]) -> int:
        """Optimiser steps."""
        return sum(piece.recipe.max_steps for piece in pieces if isinstance(piece, Training))

    def work(self, pieces: Iterable[Piece]) -> float:
        """Instances trained on, the shares of all else included."""
        return sum(self._amount(piece, lambda _: 1.0, lambda _: PROBE_SHARE) for piece in pieces)

    def tokens(self, pieces: Iterable[Piece]) -> float:
        """The same, each instance counted with the tokens that it has in a batch."""

        def step(name: str) -> float:
            return self._infos[name].batch_tokens

        return sum(
            self._amount(piece, step, lambda name: PROBE_SHARE * step(name)) for piece in pieces
        )

    def seconds(self, pieces: list[Piece]) -> float | None:
        """The time; None where nothing was measured."""
        rates = self._rates
        if rates is None:
            return None if pieces else 0.0
        total = sum(
            self._amount(piece, rates.step_seconds.__getitem__, rates.probe_seconds.__getitem__)
            for piece in pieces
        )
        trainings = sum(isinstance(piece, Training) for piece in pieces)
        return total + trainings * rates.setup_seconds

    def of_all(self, task_name: str) -> float:
        """What training once on all instances of a task costs."""
        step = 1.0 if self._rates is None else self._rates.step_seconds[task_name]
        return self._infos[task_name].num_train * step

    def _amount(
        self, piece: Piece, step: Callable[[str], float], probed: Callable[[str], float]
    ) -> float:
        if isinstance(piece, Probing):
            share = 1 + (FORWARD_SHARE / PROBE_SHARE if piece.fits_head else 0.0)
            return piece.num_instances * probed(piece.task_name) * share
        sizes = {name: piece.recipe.batches[name].per_step for name in piece.train_tasks}
        steps: Mapping[str, float] = piece.recipe.task_steps or {
            name: self._infos[name].num_train / size for name, size in sizes.items()
        }
        share = piece.recipe.max_steps / sum(steps.values())
        trained = sum(share * steps[name] * sizes[name] * step(name) for name in steps)
        first = piece.train_tasks[0]
        num_dev = self._infos[first].num_dev
        scored = piece.recipe.evaluations * (
            min(num_dev, QUICK_DEV) if piece.quick_dev else num_dev
        )
        return trained + FORWARD_SHARE * scored * step(first)
