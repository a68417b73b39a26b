"""Caches of tokenised rows, shared by the runs of a store."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gradts_plugin.errors import StoreError
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.stores.checksums import MARKER, is_made_from, publish_made
from gradts_plugin.stores.files import folder_in_the_making
from gradts_plugin.stores.keys import digest_of


@dataclass(frozen=True)
class SharedCaches:
    """A folder of caches by what they were made from.

    Files are linked, so that they fill the disk once, and stay in one place whatever is removed in
    the other; nobody changes a cache in place. From another disk, as those of a plan may come, or
    where the disk knows no links, they are copied.

    Attributes:
        root: the folder, in a store; it need not exist.
    """

    root: Path

    @classmethod
    def of(cls, run_file: RunFile) -> SharedCaches:
        """Those in the store of a run."""
        return cls(run_file.store_folder.absolute() / "tokenised")

    def are_in(self, folder: Path, identity: JsonObject) -> bool:
        """Whether whole caches that were made from just this are in a folder, or here."""
        return is_made_from(folder, identity) or self._holds(identity)

    def give(self, identity: JsonObject, folder: Path) -> bool:
        """Puts caches into another folder; False where there are none, or no whole ones."""
        if not self._holds(identity):
            return False
        with suppress(OSError), folder_in_the_making(folder.parent) as partial:
            _link_all(self._folder(identity), partial)
            publish_made(partial, folder, identity)
            return True
        return False  # somebody removes them just now: they are made anew

    def take(self, identity: JsonObject, folder: Path) -> None:
        """Keeps caches of another folder, where the disk lets it."""
        if self._holds(identity):
            return
        with suppress(OSError, StoreError), folder_in_the_making(self.root) as partial:
            _link_all(folder, partial)
            publish_made(partial, self._folder(identity), identity)

    def _holds(self, identity: JsonObject) -> bool:
        return is_made_from(self._folder(identity), identity)

    def _folder(self, identity: JsonObject) -> Path:
        return self.root / digest_of(identity)


def _link_all(source: Path, folder: Path) -> None:
    """Links the files below a folder into another one, but for its mark."""
    for path in source.rglob("*"):
        place = folder / path.relative_to(source)
        if path.is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif path.name != MARKER:
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path, place)
            except OSError:  # another disk, or one that knows no links
                shutil.copyfile(path, place)
