"""How much sooner an answer comes where two processes make it, on the demo's tasks and encoder.

    python benchmarks/speedup.py

Three jobs, each in a folder and with a store of its own, by the command line as anybody types it:
probes that fine-tune the encoder (`rank`), a designed search, and a comparison. Each is done by one
process with one thread, by one with two, and by two processes with one each; wall-clock seconds, so
the machine has to be quiet. What one thread and two processes find must be the same. Jobs that are
not named keep their results.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from provenance import markdown_table, provenance, write_results

from gradts_plugin.demo.run import run_file_values

#: How it is made -> the executor.
WAYS = {
    "1 process, 1 thread": {"kind": "local", "threads": 1},
    "1 process, 2 threads": {"kind": "local", "threads": 2},
    "2 processes": {"kind": "processes", "jobs": 2, "threads": 1},
}

FINE_TUNED = {"probing": {"model": "fine-tuned"}, "fine_tuning": {"max_steps": 20}}
DESIGNED = {"method": {"name": "designed", "budget": 8}}
COMPARED = {
    "methods": {
        "trial": {"method": "trial"},
        "designed": {"method": {"name": "designed", "budget": 8}},
        "two best": {"method": {"name": "top", "k": 2}},
    },
    "evaluation_seeds": 1,
}

#: What is made -> the command, what is changed of the demo's run file, and what the answer is.
JOBS: dict[str, tuple[str, Mapping[str, Any], str]] = {
    "probes": ("rank", FINE_TUNED, "candidates"),
    "a designed search": ("run", DESIGNED, "selection"),
    "a comparison": ("compare", COMPARED, "primaries"),
}

#: Differs from run to run.
PASSING = ("seconds", "cost", "output_dirs", "weights", "config_path", "reused")


def seconds_of(name: str, way: str, steps: int) -> tuple[float, Any]:
    """How long a job takes, and the answer."""
    command, changes, part = JOBS[name]
    with tempfile.TemporaryDirectory() as folder:
        values = {**run_file_values(Path(folder)), **changes, "executor": WAYS[way]}
        values["training"] = {**values["training"], "max_steps": steps}
        if command == "compare":
            del values["method"]
            values["primaries"] = [values.pop("primary_task")]
        path = Path(folder) / f"{command}.yaml"
        path.write_text(yaml.safe_dump(values))
        words = [str(Path(sys.executable).with_name("gradts-select")), command, str(path)]
        started = time.perf_counter()
        done = subprocess.run([*words, "--json", "--quiet"], check=True, stdout=subprocess.PIPE)
        return time.perf_counter() - started, without_times(json.loads(done.stdout)[part])


def without_times(found: Any) -> Any:
    """An answer without what differs from run to run: times, and places of files."""
    if isinstance(found, dict):
        kept = {name: value for name, value in found.items() if name not in PASSING}
        return {name: without_times(value) for name, value in kept.items()}
    return [without_times(each) for each in found] if isinstance(found, list) else found


def main() -> None:
    parser = argparse.ArgumentParser(description="What a second process saves.")
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=JOBS)
    parser.add_argument("--steps", type=int, default=30, help="of the primary")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results", help="folder"
    )
    arguments = parser.parse_args()
    source = provenance()
    kept = arguments.output / "speedup.json"
    results: dict[str, dict[str, float]] = (
        json.loads(kept.read_text())["results"] if kept.exists() else {}
    )
    for name in arguments.jobs:
        results[name] = {}
        answers = {}
        for way in WAYS:
            results[name][way], answers[way] = seconds_of(name, way, arguments.steps)
            print(name, way, round(results[name][way], 1), flush=True)
        if answers["1 process, 1 thread"] != answers["2 processes"]:
            raise SystemExit(f"{name}: two processes found something else")
    rows = [
        (name, *(f"{found[way]:.0f}" for way in WAYS), f"{found[first] / found[last]:.2f}")
        for name, found in results.items()
        for first, *_, last in [list(WAYS)]
    ]
    text = "\n\n".join(
        [
            "# What a second process saves",
            f"Wall-clock seconds from the command to its answer, trainings of {arguments.steps} "
            "steps of the primary. Speed-up: two processes against one with one thread; they found "
            "the same.",
            markdown_table(("what is made", *WAYS, "speed-up"), rows),
        ]
    )
    print(text)
    write_results(arguments.output, "speedup", source=source, results=results, text=text)


if __name__ == "__main__":
    main()
