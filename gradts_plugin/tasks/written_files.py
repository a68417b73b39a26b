"""The files of downloaded tasks: written once, and verified by a manifest ever after."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gradts_plugin.errors import DataError
from gradts_plugin.json_forms import from_json, to_json
from gradts_plugin.settings.reading import read_json
from gradts_plugin.stores.files import disk_errors, write_bytes_atomic, write_json_atomic

MANIFEST: Final = "MANIFEST.json"


@dataclass(frozen=True)
class Origin:
    """Where the rows of a file come from.

    Attributes:
        dataset: name on the hub, or a folder.
        subset: of the dataset.
        revision: branch, tag or commit on the hub.
        split: what the dataset calls it.
        max_rows: at most so many rows, a seeded sample; None: all.
    """

    dataset: str
    subset: str | None
    revision: str | None
    split: str
    max_rows: int | None


@dataclass(frozen=True)
class _Written:
    """What the manifest says of a file."""

    sha256: str
    num_rows: int
    origin: Origin


def verified_rows(output_dir: Path, path: str, origin: Origin) -> int | None:
    """Rows of a file that is there and as it was written; None where there is none.

    Raises:
        DataError: it has been changed, or comes from elsewhere.
    """
    known = _manifest(output_dir).get(path)
    if known is None or not (output_dir / path).exists():
        return None
    for key, wanted in vars(origin).items():
        found = getattr(known.origin, key)
        if found != wanted:
            raise DataError(
                f"{output_dir / path} was written with {key} {found!r}, here it is {wanted!r}; "
                "remove it, or choose another --output"
            )
    with disk_errors("read", output_dir / path, error_class=DataError):
        digest = hashlib.sha256((output_dir / path).read_bytes()).hexdigest()
    if digest != known.sha256:
        raise DataError(
            f"{output_dir / path} is not what was written (sha256 {digest[:12]}..., "
            f"{MANIFEST} says {known.sha256[:12]}...); remove it to write it again"
        )
    return known.num_rows


def write_file(output_dir: Path, path: str, data: bytes, origin: Origin, num_rows: int) -> None:
    """Writes a file and enters it into the manifest.

    Raises:
        DataError: another file is there, of which the manifest knows nothing.
    """
    target = output_dir / path
    if not target.exists():
        write_bytes_atomic(target, data)
    elif target.read_bytes() != data:
        raise DataError(
            f"{target} is there already, is in no {MANIFEST} and differs from the dataset; remove "
            "it, or choose another --output"
        )
    files = _manifest(output_dir)
    files[path] = _Written(hashlib.sha256(data).hexdigest(), num_rows, origin)
    write_json_atomic(output_dir / MANIFEST, {"files": to_json(dict(sorted(files.items())))})


def _manifest(output_dir: Path) -> dict[str, _Written]:
    path = output_dir / MANIFEST
    files = read_json(path).get("files") if path.exists() else {}
    if not isinstance(files, dict):
        raise DataError(f"{path} is damaged: it lists no files; remove it to verify all anew")
    return from_json(dict[str, _Written], files, where=str(path))
