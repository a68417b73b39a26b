"""Mends jiant's own faults for as long as a context lasts, each behind a switch.

Unlike the mends of `compat`, which only let jiant run, these change what a run computes. Outside
the context, and with every switch off, jiant's outputs are jiant's (inside it the name of the log
folder is made unique, and a batch without a labelled word has a loss).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.faults.batch_length import trimmed_batches
from gradts_plugin.hosts.jiant.faults.clipping import clipping_once
from gradts_plugin.hosts.jiant.faults.data_order import reshuffled_data
from gradts_plugin.hosts.jiant.faults.heads import seeded_heads
from gradts_plugin.hosts.jiant.faults.log_folder import unique_log_folder
from gradts_plugin.hosts.jiant.faults.resuming import complete_checkpoints
from gradts_plugin.hosts.jiant.faults.task_order import exact_task_order, seeded_task_order
from gradts_plugin.hosts.jiant.faults.unlabelled_batches import defined_tag_losses
from gradts_plugin.settings.selection import GradTSSettings


@dataclass(frozen=True)
class FaultSwitches:
    """Which of jiant's faults are mended.

    Attributes:
        seeded_sampler: the task sampler draws from the run's seed; jiant never seeds it.
        seeded_heads: a head's first weights are given by seed and task; jiant draws them one after
            the other, so that they, and dropout, depend on the other tasks.
        reshuffle_epochs: every epoch of a task has its own order, given by seed, task and epoch;
            jiant repeats the first epoch's batches for ever, and keeps them all in memory.
        trim_batches: batches are as long as their longest row; jiant pads to max_seq_length.
        exact_resume: a checkpoint also restores the learning rate, the task order, the position in
            the data, the early-stopping count and the random states, and is taken after the
            evaluation that is due at the same step, so that a resumed run computes what an
            uninterrupted one would.
    """

    seeded_sampler: bool = True
    seeded_heads: bool = True
    reshuffle_epochs: bool = True
    trim_batches: bool = True
    exact_resume: bool = True

    @classmethod
    def of(cls, settings: GradTSSettings) -> FaultSwitches:
        """The switches that the settings give."""
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})


#: Every fault is mended.
ALL_MENDED = FaultSwitches()


@contextlib.contextmanager
def mended(
    *,
    seed: int,
    switches: FaultSwitches = ALL_MENDED,
    clip_once_per_step: bool = False,
    task_steps: Mapping[str, int] | None = None,
    last_task: str = "",
) -> Iterator[None]:
    """Mends jiant's faults until the context ends, then restores jiant exactly.

    Args:
        seed: of heads, of the task order and of the order of the training data.
        switches: which faults.
        clip_once_per_step: gradients are clipped when they are complete; jiant clips the sum so far
            after every micro-batch.
        task_steps: task -> exactly so many optimiser steps; empty or None: as the sampler has it.
        last_task: of them, the one whose steps come last; empty: mixed.

    Raises:
        HostError: jiant is not installed or too new; or, while the context lasts, a checkpoint
            cannot be resumed exactly.
    """
    apply_mends()
    with contextlib.ExitStack() as stack:
        stack.enter_context(unique_log_folder())
        stack.enter_context(defined_tag_losses())
        if switches.seeded_sampler:
            stack.enter_context(seeded_task_order(seed))
        if switches.seeded_heads:
            stack.enter_context(seeded_heads(seed))
        if task_steps:
            stack.enter_context(exact_task_order(seed, task_steps, last_task))
        if switches.reshuffle_epochs:
            stack.enter_context(reshuffled_data(seed))
        if switches.trim_batches:
            stack.enter_context(trimmed_batches())
        if switches.exact_resume:
            order_seed = seed if switches.reshuffle_epochs else None
            stack.enter_context(complete_checkpoints(order_seed))
        if clip_once_per_step:
            stack.enter_context(clipping_once())
        yield
