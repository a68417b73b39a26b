"""A run's facts: the host, the settings, what they name, and the places where results are kept."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from gradts_plugin.engine.accounts import Accounts
from gradts_plugin.errors import ConfigError, SelectionError, WaitingWarning, nearest
from gradts_plugin.offers import Method, Ranker
from gradts_plugin.plugins import Registry
from gradts_plugin.protocols import Host
from gradts_plugin.records import TaskInfo
from gradts_plugin.settings.parsing import Settings
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores.claims import Claims
from gradts_plugin.stores.computed import ComputedValues
from gradts_plugin.stores.importances import GradientStore
from gradts_plugin.stores.locks import FolderLock
from gradts_plugin.stores.trainings import TrialLedger

if TYPE_CHECKING:
    from gradts_plugin.engine.jobs import Executor

_T = TypeVar("_T")

#: Seconds between two looks at what other runs make.
_WAIT = 2.0


@dataclass(frozen=True)
class Stores:
    """Everything that runs share.

    Attributes:
        root: the folder.
        importances: raw head importances.
        trainings: finished trainings.
        computed: what rankers computed.
        claims: who makes what of all this.
    """

    root: Path
    importances: GradientStore
    trainings: TrialLedger
    computed: ComputedValues
    claims: Claims

    @classmethod
    def open(cls, root: Path) -> Stores:
        """Opens the stores below a folder, which may not exist yet.

        Raises:
            StoreError: what lies there is of another version, or no folder.
        """
        return cls(
            root,
            GradientStore(root / "importances"),
            TrialLedger(root / "trainings"),
            ComputedValues(root / "computed"),
            Claims(root / "claims"),
        )


@dataclass(frozen=True)
class Session:
    """One run.

    Attributes:
        host: the framework that loads and trains.
        settings: checked settings.
        manager: its hooks are told of everything.
        registry: what the settings can name.
        stores: what runs share.
        output_dir: where this run writes.
        accounts: what was done, and what it costs.
        lock: of the output folder; None where somebody else has it.
        executor: makes what can be made apart; None: this process makes everything.
        on_closed: is called when the run is over.
    """

    host: Host
    settings: GradTSSettings
    manager: pluggy.PluginManager
    registry: Registry
    stores: Stores
    output_dir: Path
    accounts: Accounts = field(default_factory=Accounts)
    lock: FolderLock | None = None
    executor: Executor | None = None
    on_closed: Callable[[], None] = lambda: None

    @cached_property
    def method(self) -> tuple[Method[Any], Settings]:
        """The selection method that the settings name, and its own settings."""
        return self.registry.chosen_method(self.settings)

    @cached_property
    def ranker(self) -> tuple[Ranker[Any], Settings]:
        """The ranker that the settings name, and its own settings."""
        return self.registry.chosen_ranker(self.settings)

    @property
    def hook(self) -> Any:
        """The hooks; pluggy builds them at run time."""
        return self.manager.hook

    @cached_property
    def tasks(self) -> dict[str, TaskInfo]:
        """The primary and the candidates, by name; the primary first.

        Raises:
            ConfigError: the settings name a task that the host does not know.
        """
        infos = {info.name: info for info in self.host.tasks()}
        names = (self.settings.primary_task, *candidate_tasks(self.settings, list(infos)))
        return {name: infos[name] for name in names}

    @cached_property
    def nothing_to_learn(self) -> dict[str, str]:
        """Task -> why nothing can be learned from the instances that a ranking looks at."""
        probing, (ranker, _) = self.settings.probing, self.ranker
        limit = probing.max_instances if ranker.needs_probes else None
        found = {
            name: self.host.nothing_to_learn(name, max_instances=limit, seed=probing.seed)
            for name in self.tasks
        }
        return {name: why for name, why in found.items() if why is not None}

    @cached_property
    def rankable(self) -> dict[str, TaskInfo]:
        """The primary and the candidates that can be ranked, by name; the primary first.

        Raises:
            SelectionError: nothing can be learned from the primary, or from any candidate.
        """
        why, primary = self.nothing_to_learn, self.settings.primary_task
        if primary in why:
            raise SelectionError(
                f"candidates cannot be ranked for the primary task {primary!r}: {why[primary]}"
            )
        found = {name: info for name, info in self.tasks.items() if name not in why}
        if len(found) == 1:
            listed = "; ".join(f"{name}: {reason}" for name, reason in why.items())
            raise SelectionError(f"there is no candidate to rank for {primary!r}: {listed}")
        return found

    def with_settings(self, settings: GradTSSettings, *, output_dir: Path | None = None) -> Session:
        """Another run on the same host and stores, with accounts of its own.

        Args:
            settings: the other settings; their `store` is not looked at.
            output_dir: where the other run writes; None: the same folder.
        """
        return Session(
            self.host,
            settings,
            self.manager,
            self.registry,
            self.stores,
            output_dir or self.output_dir,
            executor=self.executor,
        )

    @property
    def place(self) -> str:
        """The output folder as the stores name it: what was made for it says so."""
        return os.path.relpath(self.output_dir, self.stores.root)

    def to_make_ahead(self, look: Callable[[], Mapping[str, _T]]) -> dict[str, _T]:
        """What is made before each is asked for.

        Args:
            look: what is missing at the moment, by digest.

        Returns:
            Where there are workers, all that is missing and that no other process makes: where
            others make all of it, that is waited for. Else, where another process makes some, the
            first that none makes, so that what others make is waited for last. Empty where nothing
            is made ahead.
        """
        while missing := look():
            free = {name: it for name, it in missing.items() if self.stores.claims.is_free(name)}
            if self.executor is None:
                return dict(list(free.items())[:1]) if len(free) < len(missing) else {}
            if free:
                return free
            message = f"waiting for what other runs on {self.stores.root} make"
            warnings.warn(WaitingWarning(message), stacklevel=2)
            time.sleep(_WAIT)
        return {}

    def once(
        self, digest: str, shown: str, find: Callable[[], _T | None], make: Callable[[], _T]
    ) -> tuple[_T, bool]:
        """Makes something for the stores, or waits until another process has made it.

        Args:
            digest: its name.
            shown: what it is, for people who wait.
            find: looks whether it was made in the meantime.
            make: makes it, and leaves it where it is found.

        Returns:
            It, and whether it was made here.
        """

        def waiting(owner: str) -> None:
            message = f"waiting for {shown}: it is being made {owner}"
            warnings.warn(WaitingWarning(message), stacklevel=2)

        return self.stores.claims.once(digest, find, make, waiting)

    def close(self) -> None:
        """Gives the output folder back, and lets workers go; so does the end of the process."""
        self.on_closed()
        if self.executor is not None:
            self.executor.close()
        if self.lock is not None:
            self.lock.release()

    @contextlib.contextmanager
    def phase(self, name: str, num_units: int) -> Iterator[None]:
        """Announces and times a phase."""
        self.hook.before_phase(phase=name, num_units=num_units)
        start = time.perf_counter()
        yield
        seconds = self.accounts.seconds
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
        self.hook.after_phase(phase=name, seconds=seconds[name])


def candidate_tasks(settings: GradTSSettings, known: Sequence[str]) -> tuple[str, ...]:
    """The tasks among which auxiliaries are sought, in the order in which they were given.

    Args:
        settings: name the primary and, if they like, the candidates.
        known: names of all tasks.

    Raises:
        ConfigError: the primary or a candidate is unknown, or there is no candidate.
    """
    primary = settings.primary_task
    if not primary:
        raise ConfigError(f"key 'primary_task' is missing; valid: {', '.join(known)}")
    if primary not in known:
        raise ConfigError(f"primary_task: unknown task {primary!r}; {nearest(primary, known)}")
    candidates = settings.candidate_tasks
    if candidates is None:
        candidates = tuple(name for name in known if name != primary)
    for name in candidates:
        if name not in known:
            raise ConfigError(f"candidate_tasks: unknown task {name!r}; {nearest(name, known)}")
    if not candidates:
        raise ConfigError(f"there is no candidate beside the primary task {primary!r}")
    return candidates
