"""What a run would do, booked piece by piece while its method is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gradts_plugin.records import Recipe


@dataclass(frozen=True)
class Training:
    """A training that would have to be made.

    Attributes:
        train_tasks: the primary first.
        recipe: how it is trained.
        quick_dev: True where only a part of the dev set is scored, as in a fine-tuning.
    """

    train_tasks: tuple[str, ...]
    recipe: Recipe
    quick_dev: bool = False


@dataclass(frozen=True)
class Probing:
    """A probe that would have to be made.

    Attributes:
        task_name: the task.
        num_instances: how many are probed.
        fits_head: True where they are also encoded, for a head to be fitted.
    """

    task_name: str
    num_instances: int
    fits_head: bool


Piece = Training | Probing


@dataclass
class Page:
    """The pieces of one kind in one phase.

    Attributes:
        to_do: those that would have to be made.
        num_stored: how many were found.
        at_most: True where fewer, or cheaper ones, may have to be made.
    """

    to_do: list[Piece] = field(default_factory=list)
    num_stored: int = 0
    at_most: bool = False


class Books:
    """Every piece once, by phase and kind.

    Attributes:
        phase: what is asked at the moment.
        num_new_instances: instances that would be probed.
        num_heads_total: of a stored probe; None where none is stored.
        made_up: True once an answer was made up.
        guessed: True once pieces were booked that stand for others, which scores choose.
    """

    def __init__(self) -> None:
        self.phase = "probe"
        self.num_new_instances = 0
        self.num_heads_total: int | None = None
        self.made_up = False
        self.guessed = False
        self._pages: dict[tuple[str, str], Page] = {}
        self._known: set[str] = set()

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """(phase, kind) of everything that is booked, in order."""
        return tuple(self._pages)

    def at(self, phase: str, what: str) -> Page:
        """What is booked of a kind in a phase."""
        return self._pages.get((phase, what), Page())

    def to_make(self, what: str, digest: str, piece: Piece) -> None:
        """Books a piece that is not stored; the same one again is found, as in the run."""
        if digest in self._known:
            return
        self._known.add(digest)
        self._page(what).to_do.append(piece)
        if isinstance(piece, Probing):
            self.num_new_instances += piece.num_instances

    def may_make(self, what: str, pieces: Iterable[Piece]) -> None:
        """Books pieces that may have to be made, or as many cheaper ones."""
        page = self._page(what)
        page.to_do += pieces
        page.at_most = self.guessed = True

    def take_as_known(self, digest: str) -> None:
        """Notes a piece that was booked otherwise."""
        self._known.add(digest)

    def found(self, what: str, digest: str) -> None:
        """Books a piece that is stored, once."""
        if digest not in self._known:
            self._known.add(digest)
            self._page(what).num_stored += 1

    def open(self, what: str) -> None:
        """Makes a kind appear, also where nothing of it is booked."""
        self._page(what)

    def _page(self, what: str) -> Page:
        return self._pages.setdefault((self.phase, what), Page())
