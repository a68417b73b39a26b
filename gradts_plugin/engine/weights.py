"""Which trained weights stay on disk: they are large, and only what was selected is asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from gradts_plugin.protocols import Host
from gradts_plugin.records import TrainingResult, Trial
from gradts_plugin.stores.checksums import note_sum, sha256_of_file
from gradts_plugin.stores.files import disk_errors, linked_or_copied

#: How many of the best trials so far keep theirs: a new best that is not confirmed leaves it to the
#: one before it.
NUM_BEST = 2


class Weights:
    """The weights in one output folder; files elsewhere, or delivered before, are never removed.

    Attributes:
        delivered_before: weights of earlier results in the folder that are still there.
    """

    def __init__(self, host: Host, output_dir: Path, delivered: Iterable[Path] = ()) -> None:
        """Looks at no file yet.

        Args:
            host: knows where a training's weights lie.
            output_dir: the only folder in which files are removed.
            delivered: weights of earlier results in it, which stay.
        """
        self._host = host
        self._own = output_dir.resolve()
        self.delivered_before = tuple(path for path in delivered if path.exists())
        self._delivered = {path.resolve() for path in self.delivered_before}
        self._best: list[Trial] = []
        self._latest: Trial | None = None  # what was tried last may be selected, too
        self._is_selected = False
        self._whole: dict[tuple[Path, int, int], str] = {}

    def has(self, result: TrainingResult) -> bool:
        """True where a training's weights are still on disk, as they were written."""
        folder = result.output_dir
        if folder is None or not self._host.weights_of(folder).exists():
            return False
        return result.weights_sha256 in ("", self.checksum_in(folder))  # none in records of before

    def brought(self, result: TrainingResult, folder: Path) -> TrainingResult | None:
        """A training with its weights in this output folder, where no other run removes them.

        Args:
            result: the training; another run may have made it.
            folder: where this run makes it.

        Returns:
            None where its weights were not kept.
        """
        own = dataclasses.replace(result, output_dir=folder)
        if self.has(own):
            return own
        if result.output_dir is None or not self.has(result):
            return None
        path = self._host.weights_of(folder)
        with disk_errors("write", path):
            try:
                linked_or_copied(self._host.weights_of(result.output_dir), path)
            except FileNotFoundError:  # the other run has just removed them
                return None
        return own if self.has(own) else None

    def checksum_in(self, folder: Path) -> str:
        """sha256 (hex) of the weights in a training's folder; empty where there are none."""
        path = self._host.weights_of(folder)
        if not path.exists():
            return ""
        with disk_errors("read", path):
            found = path.stat()
            key = path, found.st_mtime_ns, found.st_size  # they are large, and plans ask often
            if key not in self._whole:
                self._whole[key] = sha256_of_file(path)
        return self._whole[key]

    def paths_of(self, trial: Trial) -> tuple[Path, ...]:
        """The weights of a trial's first seeds."""
        return tuple(self._host.weights_of(folder) for folder in trial.output_dirs)

    def keep_best(self, trial: Trial) -> None:
        """Keeps the weights of the best trial so far, of one beside it, and of this one.

        Compared as methods do, over the seeds that both were trained with; of equal ones the first
        is the best. A trial that is scored again, with further seeds, is still the same one.
        """
        if self._is_selected:
            self._remove_of([trial])
            return
        others = [kept for kept in self._best if kept.output_dirs != trial.output_dirs]
        ranked = list(self._best)
        if len(others) < len(ranked):  # the other one may be ahead of it now, or behind
            ranked[[kept not in others for kept in ranked].index(True)] = trial
            if len(ranked) == NUM_BEST and ranked[1].beats(ranked[0]):
                ranked.reverse()
        else:
            place = next((n for n, kept in enumerate(ranked) if trial.beats(kept)), len(ranked))
            ranked.insert(place, trial)
        self._best, losers = ranked[:NUM_BEST], ranked[NUM_BEST:]
        kept_now = {kept.output_dirs for kept in (*self._best, trial)}
        waiting = [*losers, *([self._latest] if self._latest else [])]
        self._remove_of([loser for loser in waiting if loser.output_dirs not in kept_now])
        self._latest = trial

    def _remove_of(self, trials: Iterable[Trial]) -> None:
        for trial in trials:
            for folder in trial.output_dirs:
                self.remove(folder)

    def deliver(self, trial: Trial) -> None:
        """Keeps a trial's weights for good, whatever scores better later, and no others."""
        self._delivered |= {path.resolve() for path in self.paths_of(trial)}
        for path in self._delivered:
            if path.is_relative_to(self._own) and path.exists():
                note_sum(path, self._own)
        self._best, self._is_selected = [], True
        self.remove_all()

    def remove_all(self) -> None:
        """Removes all weights below the output folder that were not delivered."""
        for folder in self._own.glob("trials/*/"):
            self.remove(folder)

    def remove(self, folder: Path | None) -> None:
        """Removes a training's weights, if they lie in this output folder and are not delivered."""
        if folder is None:
            return
        path = self._host.weights_of(folder).resolve()
        if path.is_relative_to(self._own) and path not in self._delivered:
            path.unlink(missing_ok=True)
