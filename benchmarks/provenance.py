"""Where a measurement comes from, and how it is written down; shared by all benchmarks."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "transformers", "numpy", "scipy", "jiant", "gradts-plugin")


def provenance() -> dict[str, Any]:
    """Command, versions and machine, as plain JSON values."""
    return {
        "command": _command(),
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "machine": {
            "system": platform.system(),
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)),
            "torch_threads": torch.get_num_threads(),
            "memory_gib": round(
                os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1
            ),
            # Other work on the machine spoils timings: well below the number of cores is quiet.
            "load_average_before": round(os.getloadavg()[1], 2),
        },
    }


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [
        "| " + " | ".join(header) + " |",
        "| --- |" + " ---: |" * (len(header) - 1),
    ]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def write_results(
    folder: Path, name: str, *, source: Mapping[str, Any], results: Any, text: str
) -> None:
    """Writes NAME.json (everything) and NAME.md (for reading) atomically.

    Args:
        folder: made if need be.
        name: file name without suffix.
        source: `provenance()`, taken before the measurement.
        results: plain JSON values.
        text: Markdown with title and tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record = {"provenance": source, "results": results}
    machine = source["machine"]
    versions = ", ".join(f"{key} {value}" for key, value in source["versions"].items() if value)
    notes = [
        f"- Command: `{source['command']}`",
        f"- Date: {source['date']}",
        f"- Versions: Python {source['python']}, {versions}",
        f"- Machine: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['torch_threads']} torch threads, {machine['memory_gib']} GiB, "
        f"{machine['system']}; load average before: {machine['load_average_before']}",
    ]
    for path, content in (
        (folder / f"{name}.json", json.dumps(record, indent=2) + "\n"),
        (folder / f"{name}.md", text.rstrip() + "\n\n" + "\n".join(notes) + "\n"),
    ):
        temporary = path.with_suffix(path.suffix + ".part")
        temporary.write_text(content, encoding="utf-8")
        temporary.replace(path)


def _command() -> str:
    # Where folders lie is nobody's business.
    words = [
        "DATA" if before == "--data" else Path(word).name if word.startswith("/") else word
        for before, word in zip(sys.argv, sys.argv[1:], strict=False)
    ]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
