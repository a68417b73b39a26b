"""How much memory do data take? Peak resident memory of whole commands over many rows.

    python benchmarks/memory.py [--rows 200000] [--tasks 100]

Each command runs in a process of its own over generated tasks (texts of 15 words) and a tiny
random encoder: `task` shows what was read, `plan` checks all data, `run` tokenises them, probes and
ranks. The same with a tenth of the rows: what a row costs is the difference. Goes on where it was
stopped; remove the results to measure anew.
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
from itertools import product
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


#: What was measured, in order: what, rows, peak_mib, seconds.
Results = list[dict[str, Any]]


class Measuring:
    """Measures commands one after the other; what is in the results already is not done again."""

    def __init__(self, output: Path, source: dict[str, Any]) -> None:
        path = output / "memory.json"
        found = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []
        self._results: Results = found
        self._output = output
        self._source = source

    def __call__(self, what: str, number: int, *arguments: object) -> None:
        """Measures one command over so many rows."""
        if any((each["what"], each["rows"]) == (what, number) for each in self._results):
            return
        self._results.append({"what": what, "rows": number, **peak_of(arguments)})
        header = ["", "rows", "peak MiB", "seconds"]
        cells = [
            [each["what"], f"{each['rows']:,}", each["peak_mib"], each["seconds"]]
            for each in self._results
        ]
        table = markdown_table(header, cells)
        text = f"# Memory of data: peak of a whole process\n\n{table}\n"
        write_results(self._output, "memory", source=self._source, results=self._results, text=text)
        print(self._results[-1], file=sys.stderr, flush=True)


def one_task(folder: Path, encoder: Path, number: int, measure: Measuring) -> None:
    """One task of many rows, beside a small one."""
    small = write_task(folder, "small", "jsonl", 200)
    for suffix, rows_here in product(("csv", "jsonl"), (number // 10, number)):
        task = write_task(folder, f"rows{rows_here}", suffix, rows_here)
        measure(f"task, {suffix}", rows_here, "task", task)
        here = folder / f"{suffix}{rows_here}"
        here.mkdir()
        path = write_run_file(here, encoder, (task, small))
        if suffix == "csv":
            measure(f"plan, {suffix}", rows_here, "plan", "--no-measure", path)
            measure(f"run, {suffix}", rows_here, "run", path, "--quiet")
    changes: tuple[tuple[str, dict[str, Any]], ...] = (
        ("a sample of 1,000 rows", {"max_train_examples": 1000}),
        ("a fifth held out", {"held_out": {"val": 0.2}}),
    )
    for rows_here, (what, change) in product((number // 10, number), changes):
        task = write_task(folder, f"rows{rows_here}", "jsonl", rows_here, **change)
        measure(f"task, jsonl, {what}", rows_here, "task", task)


def many_tasks(
    folder: Path, encoder: Path, number: int, rows_each: int, measure: Measuring
) -> None:
    """Many tasks: planned, and tokenised, probed and ranked."""
    for count in (number // 10, number):
        here = folder / f"tasks{count}"
        here.mkdir()
        tasks = [write_task(here, f"t{place}", "jsonl", rows_each) for place in range(count)]
        path = write_run_file(here, encoder, tasks)
        what = f"{count} tasks of {rows_each:,} rows"
        measure(f"run, {what}", count * rows_each, "run", path, "--quiet")
        measure(f"plan, {what}", count * rows_each, "plan", "--no-measure", path)


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
    measure = Measuring(arguments.output, provenance())
    with tempfile.TemporaryDirectory(prefix="gradts-memory-") as made:
        folder = Path(made)
        encoder = save_tiny_encoder("bert", folder / "bert")
        one_task(folder, encoder, arguments.rows, measure)
        many_tasks(folder, encoder, arguments.tasks, arguments.rows_each, measure)


if __name__ == "__main__":
    main()
