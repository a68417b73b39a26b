"""How much memory do data take? Peak resident memory of whole commands over many rows.

    python benchmarks/memory.py [--rows 200000] [--tasks 100]

Each command runs in a process of its own over generated tasks (texts of 15 words) and a tiny
random encoder: `task` shows what was read, `plan` checks all data, `run` tokenises them, probes and
ranks. The same with a tenth of the rows: what a row costs is the difference.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from provenance import markdown_table, provenance, write_results

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from tiny_encoders import SENTENCES, save_tiny_encoder

WORDS = [word for sentence in SENTENCES for word in sentence.split()]

#: Rows of each dev split.
NUM_VAL = 200


def rows(number: int, seed: int) -> Iterator[dict[str, str]]:
    """Rows of a task with two classes."""
    stream = random.Random(seed)
    for _ in range(number):
        text = " ".join(stream.choices(WORDS, k=15))
        yield {"text_a": text, "label": stream.choice(("no", "yes"))}


def write_split(path: Path, number: int, seed: int) -> None:
    """Writes rows as CSV or JSON Lines."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        if path.suffix == ".csv":
            writer = csv.DictWriter(stream, ("text_a", "label"))
            writer.writeheader()
            writer.writerows(rows(number, seed))
        else:
            stream.writelines(json.dumps(row) + "\n" for row in rows(number, seed))


def write_task(folder: Path, name: str, suffix: str, number: int, **changes: Any) -> Path:
    """Writes a task's data and config; returns the config's path."""
    paths = {"train": f"{name}_train.{suffix}"}
    write_split(folder / paths["train"], number, seed=number)
    if "held_out" not in changes:
        paths["val"] = f"{name}_val.{suffix}"
        write_split(folder / paths["val"], NUM_VAL, seed=number + 1)
    config = {"name": name, "kind": "single", "metric": "accuracy", "paths": paths, **changes}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def write_run_file(folder: Path, encoder: Path, tasks: Sequence[Path], **changes: Any) -> Path:
    """Writes a run file that probes some rows of every task and trains one step."""
    values = {
        "model": {"name_or_path": str(encoder), "max_seq_length": 24},
        "tasks": [str(task) for task in tasks],
        "primary_task": tasks[0].stem,
        "method": {"name": "top", "k": 1},
        "output_dir": str(folder / "out"),
        "probing": {"max_instances": 100},
        "ranking": {"bootstrap": 100},
        "training": {"max_steps": 1, "exposure": "total"},
        **changes,
    }
    path = folder / "run.yaml"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def peak_of(arguments: Sequence[object]) -> dict[str, float]:
    """Peak resident memory (MiB) and seconds of a command in a process of its own."""
    begun = time.monotonic()
    answer = subprocess.run(
        [sys.executable, __file__, "--command", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    if answer.returncode:
        raise SystemExit(f"{arguments}: {answer.stderr[-2000:]}")
    peak = json.loads(answer.stderr.splitlines()[-1])["peak_kib"]
    return {"peak_mib": round(peak / 1024, 1), "seconds": round(time.monotonic() - begun, 1)}


def run_command(arguments: Sequence[str]) -> None:
    """Runs a command here, and says how much memory it took."""
    from gradts_plugin.commands import main

    code = main.run(list(arguments))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"peak_kib": peak}), file=sys.stderr)
    sys.exit(code)


def measured(folder: Path, encoder: Path, number: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(What, rows, peak) of one task of many rows, beside a small one."""
    small = write_task(folder, "small", "jsonl", 200)
    for suffix in ("csv", "jsonl"):
        for rows_here in (number // 10, number):
            task = write_task(folder, f"rows{rows_here}", suffix, rows_here)
            yield f"task, {suffix}", rows_here, peak_of(["task", task])
            here = folder / f"{suffix}{rows_here}"
            here.mkdir()
            path = write_run_file(here, encoder, (task, small))
            yield f"plan, {suffix}", rows_here, peak_of(["plan", "--no-measure", path])
            yield f"run, {suffix}", rows_here, peak_of(["run", path, "--quiet"])
    for rows_here in (number // 10, number):
        changes: tuple[tuple[str, dict[str, Any]], ...] = (
            ("a sample of 1,000 rows", {"max_train_examples": 1000}),
            ("a fifth held out", {"held_out": {"val": 0.2}}),
        )
        for what, change in changes:
            task = write_task(folder, f"rows{rows_here}", "jsonl", rows_here, **change)
            yield f"task, jsonl, {what}", rows_here, peak_of(["task", task])


def many_tasks(
    folder: Path, encoder: Path, number: int, rows_each: int
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(What, rows of all, peak) of many tasks: planned, and tokenised, probed and ranked."""
    for count in (number // 10, number):
        here = folder / f"tasks{count}"
        here.mkdir()
        tasks = [write_task(here, f"t{place}", "jsonl", rows_each) for place in range(count)]
        path = write_run_file(here, encoder, tasks)
        what = f"{count} tasks of {rows_each:,} rows"
        yield f"plan, {what}", count * rows_each, peak_of(["plan", "--no-measure", path])
        yield f"run, {what}", count * rows_each, peak_of(["run", path, "--quiet"])


def main() -> None:
    """Measures and writes the results."""
    if sys.argv[1:2] == ["--command"]:
        run_command(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--rows_each", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="gradts-memory-") as made:
        folder = Path(made)
        encoder = save_tiny_encoder("bert", folder / "bert")
        for what, number, found in chain(
            measured(folder, encoder, arguments.rows),
            many_tasks(folder, encoder, arguments.tasks, arguments.rows_each),
        ):
            results.append({"what": what, "rows": number, **found})
            print(results[-1], file=sys.stderr, flush=True)
    header = ["", "rows", "peak MiB", "seconds"]
    cells = [
        [each["what"], f"{each['rows']:,}", each["peak_mib"], each["seconds"]] for each in results
    ]
    text = f"# Memory of data: peak of a whole process\n\n{markdown_table(header, cells)}\n"
    write_results(arguments.output, "memory", source=source, results=results, text=text)
    print(text)


if __name__ == "__main__":
    main()
