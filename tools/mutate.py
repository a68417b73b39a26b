"""Breaks the package in many small ways, one at a time, and sees whether its tests notice.

    python tools/mutate.py --number 150 --seed 1         a sample of all modules of `TESTS`
    python tools/mutate.py --only gradts_plugin/engine   of some of them
    python tools/mutate.py --part 2/4                    the second quarter of the sample

A mutant is made in a copy of the checkout and dies when a test of its own files fails, or when
they take too long. Those that survive are printed as a Markdown table.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mutants import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[1]

#: The start of a module's path -> the files of its tests, quickest first; the longest start counts.
TESTS: Mapping[str, tuple[str, ...]] = {
    "gradts_plugin/comparison/": ("test_comparison_results", "test_comparison"),
    "gradts_plugin/engine/": ("test_trials", "test_run", "test_fake_host", "test_keys"),
    "gradts_plugin/engine/donors.py": ("test_donors",),
    "gradts_plugin/engine/exposure.py": ("test_exposure", "test_notes"),
    "gradts_plugin/engine/notes.py": ("test_notes",),
    "gradts_plugin/engine/trainings.py": (
        *("test_exposure", "test_notes", "test_engine_trainings", "test_trials", "test_run"),
        *("test_fake_host", "test_keys"),
    ),
    "gradts_plugin/gains/": ("test_gains", "test_gain_metrics", "test_shrinkage"),
    "gradts_plugin/planning/": ("test_forecast", "test_plan"),
    "gradts_plugin/ranking/": ("test_ranking", "test_correlation", "test_rankers"),
    "gradts_plugin/ranking/donors.py": ("test_donors",),
    "gradts_plugin/ranking/encoder_weights.py": ("test_trained_rankers",),
    "gradts_plugin/ranking/held_out.py": ("test_trained_rankers", "test_trained_rankers_stored"),
    "gradts_plugin/ranking/lookahead.py": ("test_trained_rankers", "test_trained_rankers_stored"),
    "gradts_plugin/ranking/matching.py": ("test_matching",),
    "gradts_plugin/ranking/rds.py": ("test_rds",),
    "gradts_plugin/ranking/task_vectors.py": ("test_trained_rankers_stored",),
    "gradts_plugin/ranking/transfer.py": ("test_trained_rankers", "test_trained_rankers_stored"),
    "gradts_plugin/run.py": ("test_run", "test_fake_host", "test_forecast"),
    "gradts_plugin/selection/": (
        *("test_selection", "test_bandit", "test_mixing", "test_autosem", "test_simple_methods"),
    ),
    "gradts_plugin/selection/additive.py": ("test_additive", "test_searches"),
    "gradts_plugin/selection/designed.py": ("test_searches",),
    "gradts_plugin/selection/designs.py": ("test_designs", "test_searches"),
    "gradts_plugin/selection/matched.py": ("test_matching",),
    "gradts_plugin/selection/race.py": ("test_searches",),
    "gradts_plugin/selection/search.py": ("test_searches",),
    "gradts_plugin/stores/computed.py": ("test_trials", "test_trained_rankers_stored"),
    "gradts_plugin/stores/trainings.py": ("test_trials", "test_predictions", "test_donors"),
    "gradts_plugin/stores/": ("test_store", "test_trials", "test_recipes", "test_keys"),
}

#: What takes seconds to import; loaded once, for all mutants.
HEAVY = (
    *("datasets", "hypothesis", "pandas", "pyarrow", "pydantic", "pytest", "rich.console"),
    *("scipy.optimize", "scipy.stats", "seqeval.metrics", "sklearn.metrics", "torch", "yaml"),
    *("transformers.modeling_utils", "transformers.models.auto.modeling_auto"),
    "transformers.models.bert.modeling_bert",
)

#: Seconds after which tests that did not end count as failed.
TIMEOUT = 600.0


def modules(only: str) -> list[str]:
    """Paths of the modules that have tests here, below the checkout."""
    paths = [str(path.relative_to(ROOT)) for path in sorted((ROOT / "gradts_plugin").rglob("*.py"))]
    return [path for path in paths if path.startswith(only) and tests_of(path)]


def tests_of(path: str) -> tuple[str, ...]:
    """The test files of a module; empty where it has none here."""
    starts = [start for start in TESTS if path.startswith(start)]
    return TESTS[max(starts, key=len)] if starts else ()


def sample(only: str, number: int, seed: int) -> list[Mutant]:
    """Mutants drawn from all modules alike, in the order of modules and lines."""
    mutants = [mutant for path in modules(only) for mutant in mutants_of(ROOT, path)]
    drawn = random.Random(seed).sample(range(len(mutants)), min(number, len(mutants)))  # noqa: S311
    return [mutants[index] for index in sorted(drawn)]


def survives(tree: Path, tests: Sequence[str]) -> bool:
    """True where all tests pass in a copy of the checkout, in a process of their own."""
    process = multiprocessing.get_context("fork").Process(target=_test, args=(tree, tests))
    process.start()
    process.join(TIMEOUT)
    if process.is_alive() and process.pid is not None:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode == 0


def _test(tree: Path, tests: Sequence[str]) -> None:
    os.setsid()  # so that what tests start can be ended with them
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    os.environ["PYTHONPATH"] = str(tree)
    import pytest

    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        files = [f"tests/{name}.py" for name in tests]
        options = ["-x", "-q", "-m", "not slow and not gpu", "-k", "not jiant"]
        options += ["-p", "no:cacheprovider"]
        os._exit(int(pytest.main([*options, *files])))


@contextlib.contextmanager
def broken(tree: Path, mutant: Mutant) -> Iterator[None]:
    """The copy with a mutant in it; whole again at the end."""
    path = tree / mutant.path
    whole = path.read_text(encoding="utf-8")
    path.write_text(mutant.source(), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(whole, encoding="utf-8")


def survivors_of(mutants: Sequence[Mutant], tree: Path) -> list[Mutant]:
    """The mutants that no test notices; each is told on stderr."""
    for tests in sorted({tests_of(mutant.path) for mutant in mutants}):
        started = time.monotonic()
        if not survives(tree, tests):
            sys.exit(f"without any mutant a test fails already, in {', '.join(tests)}")
        print(f"{time.monotonic() - started:.1f} s: {', '.join(tests)}", file=sys.stderr)
    survivors = []
    for number, mutant in enumerate(mutants, start=1):
        started = time.monotonic()
        with broken(tree, mutant):
            alive = survives(tree, tests_of(mutant.path))
        survivors += [mutant] * alive
        said = f"{'SURVIVED' if alive else 'killed'} in {time.monotonic() - started:.1f} s"
        where = f"{mutant.path}:{mutant.line}"
        print(
            f"{number}/{len(mutants)} {said}: {where} {mutant.was} -> {mutant.now}",
            file=sys.stderr,
            flush=True,
        )
    return survivors


def table(survivors: Sequence[Mutant]) -> str:
    """The survivors as a Markdown table."""
    rows = ["| where | was | now |", "| --- | --- | --- |"]
    for mutant in survivors:
        where = f"{mutant.path.removeprefix('gradts_plugin/')}:{mutant.line}"
        rows.append(f"| {where} | {_code(mutant.was)} | {_code(mutant.now)} |")
    return "\n".join(rows)


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the survivors of a sample."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--number", type=int, default=150, help="mutants of the whole sample")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--only", default="", metavar="PATH", help="modules that start so")
    parser.add_argument("--part", default="1/1", metavar="I/N", help="every Nth, from the Ith on")
    given = parser.parse_args(arguments)
    part, parts = map(int, given.part.split("/"))
    mutants = sample(given.only, given.number, given.seed)[part - 1 :: parts]
    # A mutant may be as long as what it replaces, and as old: compiled files would be taken for it.
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    for name in HEAVY:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".*", "__pycache__", "results", "site")
        shutil.copytree(ROOT, tree, ignore=ignored)
        survivors = survivors_of(mutants, tree)
    print(f"{len(mutants)} mutants, {len(survivors)} survived\n\n{table(survivors)}")


if __name__ == "__main__":
    main()
