"""What does bad input come to? Generated inputs over every key, part and command.

    python benchmarks/bad_inputs.py [--share 1.0] [--seed 0] [--kinds "run file" "data file"]

Odd values at every key, damaged and missing files, odd arguments (`tests/odd_cases.py` makes them
from a seed). Each is given to the command line in this process, in a folder of its own. Right is:
told in one line of at most 500 characters (one for each mistake of a file), or taken for what it
may be. Wrong is a traceback, a hang, anything longer, and a file left behind by what was refused.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from provenance import markdown_table, provenance, write_results

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import odd_cases

from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.report import writing

OUTCOMES = ("told", "accepted", "traceback", "hang", "wordy", "files")


def campaign(
    kind: str, wholes: odd_cases.Wholes, number: int, seed: int
) -> tuple[Counter[str], list[str]]:
    """Counts of one kind, and what was wrong."""
    counts, wrong = Counter[str](), list[str]()
    for place, case in enumerate(odd_cases.cases(kind, wholes, number, seed)):
        with tempfile.TemporaryDirectory(prefix="gradts-odd-") as folder:
            found = odd_cases.outcome(case, Path(folder))
            detail = found.detail.replace(folder, "FOLDER")
        counts[found.what] += 1
        if not found.is_right:
            wrong.append(f"{kind}, {place}: {case.name}: {found.what}: {detail}")
            print(f"\n{wrong[-1]}", file=sys.stderr, flush=True)
        print(f"\r{kind}: {place + 1}/{number}", end="", file=sys.stderr, flush=True)
    return counts, wrong


def main() -> None:
    """Runs the campaign and writes what it came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the cases of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(odd_cases.KINDS))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    writing.can_draw = lambda: False  # pages take seconds, and nothing is read from them
    os.environ["HF_HUB_OFFLINE"] = "1"
    apply_mends()
    source = provenance()
    counts: dict[str, Counter[str]] = {}
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="gradts-whole-") as made, odd_cases.fake_host_offered():
        wholes = odd_cases.make_wholes(Path(made))
        for kind in arguments.kinds:
            number = round(odd_cases.KINDS[kind][1] * arguments.share)
            counts[kind], worse = campaign(kind, wholes, number, arguments.seed)
            wrong += worse
    total = sum(counts.values(), Counter[str]())
    rows: list[list[Any]] = [
        [name, found.total(), *(found[what] for what in OUTCOMES)]
        for name, found in [*counts.items(), ("all", total)]
    ]
    table = markdown_table(["given to", "inputs", *OUTCOMES], rows)
    text = f"# Bad inputs\n\n{table}\n\n" + "".join(f"- {line}\n" for line in wrong)
    results = {"counts": counts, "wrong": wrong}
    write_results(arguments.output, "bad_inputs", source=source, results=results, text=text)
    print(f"\n{text}")


if __name__ == "__main__":
    main()
