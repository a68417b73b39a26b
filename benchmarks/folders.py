"""Do output folders and stores survive damage, kills and simultaneous starts?

    python benchmarks/folders.py [flips] [kills] [starts] [--number N]

Whole runs of jiant over tiny tasks and a tiny random encoder, each in a process of its own (forked,
so that nothing is imported again). *Flips*: one bit of one file of a finished run is changed, kinds
of files in turn; the run is repeated (before that, what reads just this file: `report`, `export`).
*Kills*: a run is killed at a random moment and started again, a few times, until it ends; what each
came to is kept in `records/kills`, from which the campaign goes on (remove it to begin anew).
*Starts*: many processes start one run in one folder at once. The answers are compared with those of
a run that nothing happened to.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provenance import markdown_table, provenance, write_results

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fake_runs import TASKS as FAKE_TASKS
from fake_runs import fake_file
from tiny_encoders import save_tiny_encoder
from tiny_runs import TRAINING, write_run_file

from gradts_plugin import plugins
from gradts_plugin.commands import main as command_line
from gradts_plugin.hosts.jiant import host as _imported_before_forking  # noqa: F401
from gradts_plugin.report import writing
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_opening import FakeHostPlugin

TASKS = ("topic", "match", "words")

#: Kind of file -> where it lies below an output folder.
KINDS = {
    "importances": "store/importances/*/importances.arrow",
    "their metadata": "store/importances/*/metadata.json",
    "trainings": "store/trainings/*.json",
    "predictions": "store/trainings/*.npz",
    "computed values": "store/computed/*.json",
    "computed arrays": "store/computed/*.npy",
    "cached rows": "caches/*/*/data_*.chunk",
    "their arguments": "caches/*/*/data_args.p",
    "filtered rows": "subsets/*/*",
    "exported encoder": "encoder/model/*",
    "exported tokenizer": "encoder/tokenizer/*",
    "markers": "*/**/prepared.json",
    "delivered weights": "trials/*/best_model.p",
    "run.json": "run.json",
    "result.json": "result.json",
    "report.json": "report.json",
    "selected_config.json": "selected_config.json",
    "SHA256SUMS": "SHA256SUMS",
    "configs that jiant reads": "task_configs/*.json",
    "container_config.json": "container_config.json",
    "logs": "*log*",
}

#: What each killed run came to.
KILL_RECORDS = Path(__file__).parent / "records" / "kills"

#: Of an outcome: what may differ between runs that come to the same.
PASSING = ("seconds", "done", "reused")


# --- runs in processes of their own ---------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a command came to.

    Attributes:
        code: its exit code; None where it was killed.
        err: what it printed on stderr.
    """

    code: int | None
    err: str


def started(arguments: Sequence[object], err: Path) -> int:
    """Starts a command in a forked process; returns its number."""
    number = os.fork()
    if number:
        return number
    code = 99
    with (
        err.open("w", encoding="utf-8") as stream,
        contextlib.redirect_stderr(stream),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            code = command_line.run([str(argument) for argument in arguments])
        except BaseException as error:  # a defect; told by its code
            stream.write(f"{type(error).__name__}: {error}\n")
    os._exit(code)


def answered(number: int, err: Path) -> Answer:
    """Waits for a command."""
    _, status = os.waitpid(number, 0)
    code = os.waitstatus_to_exitcode(status)
    return Answer(None if code < 0 else code, err.read_text(encoding="utf-8"))


def run(arguments: Sequence[object], folder: Path) -> Answer:
    """Runs a command to its end."""
    err = folder / "stderr.txt"
    return answered(started(arguments, err), err)


# --- what is compared -----------------------------------------------------------------------------


def lasting(value: Any) -> Any:
    """Of an outcome, what has to be the same."""
    if isinstance(value, dict):
        return {key: lasting(item) for key, item in value.items() if key not in PASSING}
    return [lasting(item) for item in value] if isinstance(value, list) else value


def outcome_in(out: Path) -> Any:
    """The outcome of a run without its times, and the checksums of its weights."""
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    weights = {path: digest(out / path) for path in sorted(_below(out, "trials/*/best_model.p"))}
    return {"result": lasting(result), "weights": weights}


def without_costs(outcome: Any) -> Any:
    """An outcome of trainings that were made again, which take another time."""
    text = json.dumps(outcome)
    return json.loads(text, object_hook=lambda each: {k: each[k] for k in each if k != "cost"})


def digest(path: Path) -> str:
    """sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _below(folder: Path, pattern: str) -> Iterator[str]:
    for path in folder.glob(pattern):
        if path.is_file():
            yield path.relative_to(folder).as_posix()


def leftovers(out: Path) -> list[str]:
    """What nobody needs when a run has ended."""
    delivered = json.loads((out / "result.json").read_text(encoding="utf-8"))["weights"]
    kept = {Path(path).resolve() for path in delivered}
    found = [*_below(out, "**/.writing-*"), *_below(out, "**/*.partial"), *_below(out, "**/*_temp")]
    found += _below(out, "in-progress.json*")
    found += [str(path) for path in out.glob("**/.writing-*/")]
    found += [p for p in _below(out, "trials/*/*") if (out / p).resolve() not in kept]
    return found


# --- flips ----------------------------------------------------------------------------------------


def run_files(folder: Path, encoder: Path) -> dict[str, Path]:
    """Two runs that between them write every kind of file."""
    given = {
        "finegrained": {
            "primary_task": "words",
            "seed": 2,
            "method": {"name": "fg", "confirm": 0, "patience": 9},
        },
        "transfer": {
            "method": {"name": "top", "k": 1},
            "ranking": {"ranker": {"name": "transfer", "linear_map": True}, "bootstrap": 100},
        },
    }
    return {
        name: write_run_file(folder / name, encoder, TASKS, **values, fine_tuning=TRAINING)
        for name, values in given.items()
        if (folder / name).mkdir(parents=True) is None
    }


def flips(number: int, folder: Path) -> tuple[dict[str, Counter[str]], list[str]]:
    """Counts by kind of file, and everything that was silent or a defect."""
    files = run_files(folder, save_tiny_encoder("bert", folder / "bert"))
    wholes = {}
    for name, path in files.items():
        answer = run(["run", path, "--quiet"], folder)
        again = run(["run", path, "--quiet"], folder)  # as a repeated run leaves it
        if answer.code or again.code:
            raise SystemExit(f"the run itself fails: {answer.err}{again.err}")
        wholes[name] = shutil.copytree(path.parent / "out", folder / f"{name}-whole")
    expected = {name: outcome_in(whole) for name, whole in wholes.items()}
    places = {
        kind: [(name, path) for name, whole in wholes.items() for path in _below(whole, pattern)]
        for kind, pattern in KINDS.items()
    }
    drawn, stream = {kind: Counter[str]() for kind in KINDS if places[kind]}, random.Random(0)
    bad: list[str] = []
    for count in range(number):
        kind = list(drawn)[count % len(drawn)]
        name, path = stream.choice(places[kind])
        what, detail = flipped(files[name], path, kind, expected[name], stream, folder)
        drawn[kind][what] += 1
        if what in ("silent", "defect"):
            bad.append(f"{kind}: {path}: {what}: {detail}")
        out = files[name].parent / "out"
        shutil.rmtree(out)
        shutil.copytree(wholes[name], out)
        _show(count + 1, number, bad)
    return drawn, bad


def flipped(
    run_file: Path, place: str, kind: str, expected: Any, stream: random.Random, folder: Path
) -> tuple[str, str]:
    """What comes of one changed bit: (what, more about it)."""
    path = run_file.parent / "out" / place
    content = bytearray(path.read_bytes())
    bit = stream.randrange(8 * max(1, len(content)))
    if content:
        content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    damaged = digest(path)
    readers = _readers(kind, run_file, folder)
    for command in (*readers, ["run", run_file, "--quiet"]):
        answer = run(command, folder)
        if answer.code:
            is_line = answer.code == 2 and answer.err.count("\n") == 1
            return ("told" if is_line else "defect"), answer.err
    found = outcome_in(run_file.parent / "out")
    is_healed = not path.exists() or digest(path) != damaged
    if readers or without_costs(found) != without_costs(expected):
        return "silent", f"bit {bit}"
    if not is_healed and found != expected:
        return "silent", f"bit {bit}: other costs"
    return ("made again" if is_healed else "without effect"), ""


def _readers(kind: str, run_file: Path, folder: Path) -> list[list[object]]:
    out = run_file.parent / "out"
    if kind == "report.json":
        return [["report", out, "--output", folder / "page.html"]]
    if kind == "selected_config.json":
        target = folder / "exported"
        shutil.rmtree(target, ignore_errors=True)
        return [["export", "mt-dnn", out, "--output", target, "--init_checkpoint", "x.pt"]]
    return []


# --- kills ----------------------------------------------------------------------------------------


def kills(number: int, folder: Path) -> tuple[dict[str, int], list[str]]:
    """Counts of kills, of runs, of what was lost and what was left; a tenth with jiant."""
    encoder = save_tiny_encoder("bert", folder / "bert")
    method = {"name": "trial", "patience": 9, "confirm": 1}

    def with_jiant(place: Path) -> Path:
        return write_run_file(place, encoder, TASKS, method=method)

    def with_fake(place: Path) -> Path:
        values = fake_file(place, primary_task="goal", method=method, training_seeds=2)
        path = place / "run.yaml"
        path.write_text(json.dumps({**values, "output_dir": "out"}), encoding="utf-8")
        return path

    counts, bad = Counter[str](), list[str]()
    for write, share in ((with_fake, 0.9), (with_jiant, 0.1)):
        found, worse = killed_runs(round(number * share), folder / write.__name__, write)
        counts.update(found)
        bad += worse
    return {name: counts[name] for name in ("kills", "runs", "lost", "leftovers")}, bad


def killed_runs(
    number: int, folder: Path, write: Callable[[Path], Path]
) -> tuple[Counter[str], list[str]]:
    """Kills runs of one host, and starts them again, until there were so many kills.

    Each run is written down when it has ended, so that a campaign goes on where it was stopped.
    """
    record = KILL_RECORDS / f"{write.__name__}.jsonl"
    lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    made = [json.loads(line) for line in lines]
    if sum(each["kills"] for each in made) < number:
        reference = write(_made(folder / "reference"))
        begun = time.monotonic()
        if run(["run", reference, "--quiet"], folder).code:
            raise SystemExit((folder / "stderr.txt").read_text(encoding="utf-8"))
        length, expected = time.monotonic() - begun, outcome_in(reference.parent / "out")
    while sum(each["kills"] for each in made) < number:
        name = f"run-{len(made) + 1}"
        made.append(killed_run(write(_made(folder / name)), random.Random(name), length, expected))
        record.parent.mkdir(parents=True, exist_ok=True)
        with record.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(made[-1]) + "\n")
        bad = [line for each in made for line in each["bad"]]
        _show(sum(each["kills"] for each in made), number, bad)
    counts = Counter(runs=len(made))
    for each in made:
        counts.update({name: each[name] for name in ("kills", "lost", "leftovers")})
    return counts, [line for each in made for line in each["bad"]]


def killed_run(path: Path, stream: random.Random, length: float, expected: Any) -> dict[str, Any]:
    """One run that is killed up to five times, each at a random moment, and then ends."""
    name, out, err = path.parent.name, path.parent / "out", path.parent / "stderr.txt"
    counts, bad, before = Counter[str](), list[str](), set[str]()
    for _ in range(stream.randrange(1, 6)):
        child = started(["run", path, "--quiet"], err)
        time.sleep(length * stream.random())
        os.kill(child, signal.SIGKILL)
        counts["kills"] += answered(child, err).code is None
        stored = {*_below(out, "store/*/*.json"), *_below(out, "store/*/*/metadata.json")}
        counts["lost"] += len(before - stored)
        before = stored
    answer = run(["run", path, "--quiet"], path.parent)
    found = outcome_in(out) if answer.code == 0 else None
    if found is None or not _same_scores(found, expected):
        counts["lost"] += 1
        bad.append(f"{name}: {answer.err or 'another outcome'}")
    left = leftovers(out) if found else []
    counts["leftovers"] += bool(left)
    bad += [f"{name}: left {left[0]}"] if left else []
    shutil.rmtree(path.parent)
    return {**{each: counts[each] for each in ("kills", "lost", "leftovers")}, "bad": bad}


def _same_scores(found: Any, expected: Any) -> bool:
    """Ranking and selection with all their scores."""
    return all(
        _scores(found["result"][key]) == _scores(expected["result"][key])
        for key in ("ranking", "selected", "alone", "gain")
    )


def _scores(value: Any) -> Any:
    dropped = {"output_dirs", "cost", "seconds"}
    if isinstance(value, dict):
        return {key: _scores(item) for key, item in value.items() if key not in dropped}
    return [_scores(item) for item in value] if isinstance(value, list) else value


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


# --- simultaneous starts --------------------------------------------------------------------------


def starts(number: int, folder: Path) -> tuple[dict[str, int], list[str]]:
    """Starts of one run at once, in a new folder and in one whose run was killed."""
    encoder = save_tiny_encoder("bert", folder / "bert")
    counts, bad = Counter(starts=0, ran=0, told=0, broken=0), []
    for name in ("new", "killed"):
        path = write_run_file(_made(folder / name), encoder, TASKS)
        if name == "killed":
            child = started(["run", path, "--quiet"], folder / "stderr.txt")
            time.sleep(1.5)
            os.kill(child, signal.SIGKILL)
            answered(child, folder / "stderr.txt")
        errs = [folder / f"{name}-{each}.txt" for each in range(number)]
        children = [started(["run", path, "--quiet"], err) for err in errs]
        answers = [answered(child, err) for child, err in zip(children, errs, strict=True)]
        counts["starts"] += len(answers)
        counts["ran"] += sum(answer.code == 0 for answer in answers)
        counts["told"] += sum("in progress here" in answer.err for answer in answers)
        bad += [
            f"{name}: {answer.err}"
            for answer in answers
            if answer.code and "in progress here" not in answer.err
        ]
        again = run(["run", path, "--quiet"], folder)
        bad += [f"{name}: afterwards: {again.err}"] if again.code else []
        bad += [f"{name}: left {left}" for left in leftovers(path.parent / "out")]
    counts["broken"] = len(bad)
    return dict(counts), bad


# --- the table ------------------------------------------------------------------------------------


def _with_plugin(
    make: Any, plugin: FakeHostPlugin, given: Sequence[object] = (), **more: Any
) -> Any:
    return make([*given, plugin], **more)


def _show(done: int, number: int, bad: Sequence[str]) -> None:
    print(f"\r{done}/{number}, {len(bad)} bad", end="", file=sys.stderr, flush=True)


def _flips_table(counts: dict[str, Counter[str]]) -> str:
    names = ("told", "made again", "without effect", "silent", "defect")
    rows = [[kind, *(found[name] for name in names)] for kind, found in counts.items()]
    total = sum(counts.values(), Counter[str]())
    return markdown_table(["file", *names], [*rows, ["all", *(total[name] for name in names)]])


def main() -> None:
    """Runs the campaigns that are named, and writes what they came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaigns", nargs="*", default=["flips", "kills", "starts"])
    parser.add_argument("--number", type=int, help="default: 600 flips, 200 kills, 30 starts")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    writing.can_draw = lambda: False  # pages take seconds, and nothing is read from them
    os.environ["HF_HUB_OFFLINE"] = "1"
    host = FakeHostPlugin(FakeHost(FAKE_TASKS, on_step=lambda *_: time.sleep(0.001)))
    plugins.make_plugin_manager = functools.partial(_with_plugin, plugins.make_plugin_manager, host)
    source = provenance()
    campaigns: dict[str, tuple[Callable[[int, Path], Any], int]] = {
        "flips": (flips, 600),
        "kills": (kills, 200),
        "starts": (starts, 30),
    }
    for name in arguments.campaigns:
        campaign, number = campaigns[name]
        with tempfile.TemporaryDirectory(prefix="gradts-folders-") as folder:
            counts, bad = campaign(arguments.number or number, Path(folder))
            bad = [line.replace(folder, "FOLDER").strip() for line in bad]
        table = (
            _flips_table(counts)
            if name == "flips"
            else markdown_table(["", *counts], [["number", *counts.values()]])
        )
        text = f"# Folders: {name}\n\n{table}\n\n" + "".join(f"- {line}\n" for line in bad)
        results = {"counts": counts, "bad": bad}
        write_results(
            arguments.output, f"folders_{name}", source=source, results=results, text=text
        )
        print(f"\n{text}")


if __name__ == "__main__":
    main()
