"""Bad inputs, generated: every key, part and command, with odd values and damaged files.

`benchmarks/bad_inputs.py` runs them all, `test_odd_cases.py` a sample.
"""

from __future__ import annotations

import functools
import gzip
import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from broken_encoders import OF_BERT
from broken_setups import ARGUMENTS, of_meaning, of_samplers, of_values
from fake_runs import TASKS as FAKE_TASKS
from fake_runs import fake_file
from pyarrow import feather, parquet
from tiny_encoders import save_tiny_encoder
from tiny_jiant import export_weights, write_setup
from tiny_runs import TASKS, Command, run_command, write_run_file, write_task

from gradts_plugin import builtin, plugins
from gradts_plugin.commands.main import COMMANDS, GROUP
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.settings.parsing import Settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.tasks.task_configs import TaskConfig
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_opening import FakeHostPlugin

Values = dict[str, Any]

#: What people, programs and accidents write where something else is meant.
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 10**9, 10**30, 10**400, 1.5, -0.0, 1e-320, 1e308),
    *(float("nan"), float("inf"), "", " ", "x", "nan", "1e3", "0x10", "1_000", "12:30", "true"),
    *("../../x", "/", "~", ".", "/dev/zero", "/dev/null", "/gone/for/ever", "n" * 300, "n/" * 3000),
    *(
        "\u00fc\u202e",
        "\x1b[31m",
        "a\nb",
        "a\0b",
        "{}",
        "[",
        "%s",
        "$HOME",
        "-x",
        "--json",
        "\ufeff",
    ),
    *([], [[]], {}, {"x": 1}, {"name": "x"}, {"name": None}, ["x"], ["x", "x"], [None], [1, "a"]),
    *(list(range(500)), {"a": {"b": {"c": []}}}, {"": ""}, {"1": 2}, "2020-01-01", "x" * 20_000),
    # Right in some places, and there odd beside what else is given.
    *(2, 5, 7, 40, 0.5, 0.1, 0.999, 1.0, 100.0, "goal", "related", ["goal", "words"], ["goal"]),
    *("heads", "size", "donors", "fg", "autosem", "race", "fine-tuned", "gate", "bf16", "equal"),
    *(
        "random",
        "out",
        "topic",
        "seqeval_f1",
        "f1",
        "infer_all",
        "accuracy",
        ["a", "b"],
        {"val": 0.3},
    ),
)

#: What is put into damaged files.
SCRAPS = (
    *(b"\0", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b'"', b"'", b",", b"\t", b":", b"{"),
    *(b"}", b"[", b"]", b"#", b"\\", b"\\ud800", b"\xed\xa0\x80", b"NaN", b"null", b"1e999", b"-"),
    *(b"[" * 3000, b'"' * 3, b" " * 5000, b"9" * 5000, "\u2028".encode(), b"\x1a", b"&a *a", b"!!"),
)


# --- cases ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One bad input.

    Attributes:
        kind: the part that it is given to.
        name: what is odd.
        make: writes it into an empty folder; the command to run there.
    """

    kind: str
    name: str
    make: Callable[[Path], list[str]]


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Attributes:
        what: told, accepted, or what is wrong: traceback, hang, wordy (more than a line of 500
            characters for each mistake), files (something new lies there after it was refused).
        detail: more about it.
    """

    what: str
    detail: str = ""

    @property
    def is_right(self) -> bool:
        """Whether it was told, or taken for what it may be."""
        return self.what in ("told", "accepted")


class Hang(BaseException):
    """A command took too long; nothing of ours catches it."""


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raises `Hang` in a command that takes longer."""

    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(case: Case, folder: Path, seconds: int = 180) -> Outcome:
    """Runs a case in an empty folder."""
    arguments = case.make(folder)
    before = {*folder.rglob("*")}
    here = Path.cwd()
    os.chdir(folder)
    try:
        with limited(seconds):
            answer = run_command(*arguments)
    except Hang:
        return Outcome("hang", " ".join(arguments)[:200])
    except BaseException as error:  # whatever it is, it is a defect
        return Outcome("traceback", f"{type(error).__name__}: {error}"[:300])
    finally:
        os.chdir(here)
    return _judged(answer, sorted({*folder.rglob("*")} - before), folder)


def _judged(answer: Command, new: Sequence[Path], folder: Path) -> Outcome:
    if answer.code in (0, 1):  # doctor ends with 1
        return Outcome("accepted")
    if answer.code == 2 and answer.out and not answer.err:
        return Outcome("told", "in the table")  # `task` shows what else can be read
    lines = [line for line in answer.err.splitlines() if "LeftOut" not in line]
    last = [line for line in lines if not line.startswith("  ")]
    mistakes = [line for line in lines if line.startswith("  ")]
    # Warnings come before; the refusal is the last line, and below it a line for each mistake.
    is_short = all(len(line.replace(str(folder), "")) <= 520 for line in lines)
    if answer.code != 2 or not last or not is_short:
        return Outcome("wordy", answer.err[-300:])
    if mistakes and f"{len(mistakes)} mistakes" not in last[-1] and "more" not in mistakes[-1]:
        return Outcome("wordy", answer.err[-300:])
    if not all(line.startswith("gradts-select: ") for line in last):
        return Outcome("wordy", answer.err[-300:])
    if new:
        return Outcome("files", f"{new[0].relative_to(folder)}; {last[-1][:200]}")
    return Outcome("told", last[-1])


# --- what is broken -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wholes:
    """Whole inputs, which cases copy and break.

    Attributes:
        encoder: a tiny encoder's folder.
        finished: the folder of a fake run file and its finished output folder.
        compared: the same of a compare file.
        container: a jiant set-up's container config, with all that it names beside it.
    """

    encoder: Path
    finished: Path
    compared: Path
    container: Path


def make_wholes(folder: Path) -> Wholes:
    """Makes them below a folder."""
    encoder = save_tiny_encoder("bert", folder / "bert")
    for name, command, values in (
        ("finished", "run", _run_values()),
        ("compared", "compare", _compare_values()),
    ):
        (folder / name).mkdir()
        path = folder / name / "file.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        answer = run_command(command, path, "--quiet")
        if answer.code:
            raise RuntimeError(answer.err)
    set_up = folder / "set_up"
    shutil.copytree(encoder, set_up / "encoder")
    export_weights(encoder, set_up / "weights.p")
    container = write_setup(set_up, set_up / "encoder", ("cola", "rte", "stsb"), 4)
    block = {"gradts": {"primary_task": "cola", "method": "all"}}
    container.write_text(json.dumps(json.loads(container.read_text()) | block))
    return Wholes(encoder, folder / "finished", folder / "compared", container)


@contextmanager
def fake_host_offered() -> Iterator[None]:
    """Run files may say `host: fake`."""
    host = FakeHostPlugin(FakeHost(FAKE_TASKS))
    make = plugins.make_plugin_manager
    plugins.make_plugin_manager = functools.partial(_with_plugin, make, host)
    try:
        yield
    finally:
        plugins.make_plugin_manager = make


def _with_plugin(make: Any, plugin: object, given: Sequence[object] = (), **more: Any) -> Any:
    return make([*given, plugin], **more)


def _run_values() -> Values:
    method = {"name": "trial", "patience": 1, "confirm": 0}
    return {**fake_file(Path(), primary_task="goal", method=method), "output_dir": "out"}


def _compare_values() -> Values:
    methods = {"alone": {"method": "alone"}, "top": {"method": {"name": "top", "k": 1}}}
    given = {"primaries": ["goal"], "methods": methods, "evaluation_seeds": 1, "oracle": False}
    return {**fake_file(Path(), **given), "output_dir": "out"}


def damaged(content: bytes, chance: random.Random) -> tuple[str, bytes]:
    """A file's content with something wrong in one place, and what."""
    place = chance.randrange(len(content) + 1)
    end = min(len(content), place + chance.randrange(1, 40))
    lines = content.split(b"\n")
    scrap = chance.choice(SCRAPS)
    ways: dict[str, Callable[[], bytes]] = {
        "cut": lambda: content[:place],
        "empty": lambda: b"",
        "without a part": lambda: content[:place] + content[end:],
        "a part twice": lambda: content[:end] + content[place:],
        f"{scrap[:12]!r} within": lambda: content[:place] + scrap + content[place:],
        f"{scrap[:12]!r} in place of a part": lambda: content[:place] + scrap + content[end:],
        "lines shuffled": lambda: b"\n".join(chance.sample(lines, len(lines))),
        "a line twice": lambda: b"\n".join([*lines, chance.choice(lines)]),
        "a bit flipped": lambda: _flipped(content, place, chance.randrange(8)),
        "random bytes": lambda: chance.randbytes(60),
        "UTF-16": lambda: content.decode("utf-8", "replace").encode("utf-16"),
        "carriage returns": lambda: content.replace(b"\n", b"\r"),
        "compressed": lambda: gzip.compress(content),
        "cut compressed": lambda: gzip.compress(content)[:-9],
        "all of zeros": lambda: bytes(len(content)),
    }
    name = chance.choice(list(ways))
    return f"{name} at {place}", ways[name]()


def _flipped(content: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(content or b"x")
    changed[min(place, len(changed) - 1)] ^= 1 << bit
    return bytes(changed)


def no_file(path: Path, chance: random.Random) -> str:
    """Puts something in the place of a file that is none, or takes it away."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    ways: dict[str, Callable[[], object]] = {
        "gone": lambda: None,
        "a folder": path.mkdir,
        "a pipe": lambda: os.mkfifo(path),
        "a device": lambda: path.symlink_to("/dev/zero"),
        "a link to nothing": lambda: path.symlink_to("nowhere"),
        "a link to itself": lambda: path.symlink_to(path.name),
    }
    name = chance.choice(list(ways))
    ways[name]()
    return name


def put(values: Values, place: Sequence[str], value: Any) -> Values:
    """A copy with a value at a place; what lies above it becomes mappings."""
    copied = json.loads(json.dumps(values))
    inner = copied
    for key in place[:-1]:
        found = inner.get(key)
        inner[key] = found if isinstance(found, dict) else {"name": found} if found else {}
        inner = inner[key]
    inner[place[-1]] = value
    return copied


def places_of(model: type[Settings], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of a settings class, nested ones too."""
    for name, field in model.model_fields.items():
        yield (*above, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from places_of(field.annotation, (*above, name))


def short(value: Any) -> str:
    """A value for the name of a case."""
    text = json.dumps(value) if not isinstance(value, int) or abs(value) < 10**40 else "a huge int"
    return text if len(text) < 60 else f"{text[:40]}... ({len(text)})"


def _own_places() -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys of methods and rankers: (place, name)."""
    for method in builtin.extend_selection_methods():
        yield from ((("method", key), method.name) for key in method.settings.model_fields)
    for ranker in builtin.extend_rankers():
        yield from (
            (("ranking", "ranker", key), ranker.name) for key in ranker.settings.model_fields
        )


#: What makes a case out of whole inputs and chance.
Maker = Callable[[Wholes, random.Random], Case]


# --- the kinds ------------------------------------------------------------------------------------


def of_file(kind: str, model: type[Settings], whole: Values, commands: Sequence[str]) -> Maker:
    """Cases of a run file or compare file."""
    keys = [*places_of(model)]
    own = [*_own_places()]

    def case(_: Wholes, chance: random.Random) -> Case:
        way = chance.random()
        content: str | bytes
        if way < 0.55:
            place, value = chance.choice(keys), chance.choice(ODD)
            name = f"{'.'.join(place)} = {short(value)}"
            content = yaml.safe_dump(put(whole, place, value))
        elif way < 0.75:
            (place, owner), value = chance.choice(own), chance.choice(ODD)
            name = f"{owner}: {'.'.join(place)} = {short(value)}"
            content = yaml.safe_dump(put(put(whole, (*place[:-1], "name"), owner), place, value))
        else:
            name, content = damaged(yaml.safe_dump(whole).encode(), chance)
        data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        command = chance.choice(commands)

        def make(folder: Path) -> list[str]:
            (folder / "file.yaml").write_bytes(data)
            return [command, "file.yaml", "--quiet"]

        return Case(kind, f"{command}: {name}", make)

    return case


def of_task_config(_: Wholes, chance: random.Random) -> Case:
    """Cases of a task config."""
    kind = chance.choice(list(TASKS))
    place, value = chance.choice([*places_of(TaskConfig), *_DEEPER]), chance.choice(ODD)
    is_value = chance.random() < 0.7
    seed = chance.random()

    def make(folder: Path) -> list[str]:
        path = write_task(folder, kind)
        whole = json.loads(path.read_text())
        if is_value:
            path.write_text(json.dumps(put(whole, place, value)))
        else:
            path.write_bytes(damaged(path.read_bytes(), random.Random(seed))[1])
        return ["task", path.name, *(["--json"] if seed < 0.3 else [])]

    name = f"{'.'.join(place)} = {short(value)}" if is_value else f"damaged {seed:.6f}"
    return Case("task config", f"{kind}: {name}", make)


#: Places that only some task configs have.
_DEEPER = (
    *(("dataset", key) for key in ("path", "name", "revision", "splits", "fields")),
    *(("dataset", "splits", key) for key in ("train", "val", "test")),
    *(("paths", key) for key in ("train", "val", "test")),
    *(("fields", key) for key in ("text_a", "text_b", "label", "tokens", "labels", "choices")),
    *(("held_out", key) for key in ("val", "test", "seed", "drawn_first")),
    *(("split", key) for key in ("field", "separator", "into", "from_end")),
    *(("columns", key) for key in ("train", "val", "test")),
    *(("skip_rows", key) for key in ("train", "val", "test")),
)


def _as_rows(kind: str) -> list[Values]:
    if kind == "tagging":
        return [{"tokens": ["the", "old", "tree"], "labels": ["O", "B-x", "I-x"]}] * 4
    rows = [{"text_a": f"text {n}, it", "label": "ab"[n % 2]} for n in range(6)]
    if kind == "pair":
        return [{**row, "text_b": "other"} for row in rows]
    if kind == "regression":
        return [{**row, "label": n / 2} for n, row in enumerate(rows)]
    if kind == "multiple_choice":
        return [{**row, "choices": ["x", "y"], "label": n % 2} for n, row in enumerate(rows)]
    return rows


#: Format -> kinds that it can hold.
FORMATS: Mapping[str, tuple[str, ...]] = {
    "csv": ("single", "pair", "regression"),
    "tsv": ("single", "pair", "regression"),
    "jsonl": ("single", "pair", "regression", "tagging", "multiple_choice"),
    "json": ("single", "tagging"),
    "conll": ("tagging",),
    "conllu": ("tagging",),
    "txt": ("single",),
    "parquet": ("single", "tagging"),
    "arrow": ("single",),
}


def written(path: Path, rows: Sequence[Values]) -> None:
    """Writes rows in the format that the suffix says."""
    form = path.suffix[1:]
    if form in ("parquet", "arrow"):
        table = pa.Table.from_pylist(list(rows))
        parquet.write_table(table, path) if form == "parquet" else feather.write_feather(
            table, path
        )
        return
    path.write_text(_TEXTS[form](rows), encoding="utf-8", errors="surrogatepass")


def _table(rows: Sequence[Values], separator: str) -> str:
    lines = [separator.join(rows[0])]
    lines += [
        separator.join(f'"{cell}"' if separator == "," else str(cell) for cell in row.values())
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _columns(rows: Sequence[Values], *, universal: bool = False) -> str:
    return "".join(
        "".join(
            f"{n}\t{word}\t_\t{tag}\t_\t_\t0\t_\t_\t_\n" if universal else f"{word} {tag}\n"
            for n, (word, tag) in enumerate(zip(row["tokens"], row["labels"], strict=False), 1)
        )
        + "\n"
        for row in rows
    )


_TEXTS: Mapping[str, Callable[[Sequence[Values]], str]] = {
    "csv": lambda rows: _table(rows, ","),
    "tsv": lambda rows: _table(rows, "\t"),
    "jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows),
    "json": lambda rows: json.dumps(list(rows)),
    "conll": _columns,
    "conllu": lambda rows: _columns(rows, universal=True),
    "txt": lambda rows: "".join(f"{row['label']} {row['text_a']}\n" for row in rows),
}


def of_data_file(_: Wholes, chance: random.Random) -> Case:
    """Cases of data files: an odd value in one row, or a damaged file."""
    form = chance.choice(list(FORMATS))
    kind = chance.choice(FORMATS[form])
    rows = [dict(row) for row in _as_rows(kind)]
    key, value, row = chance.choice(list(rows[0])), chance.choice(ODD), chance.choice(rows)
    is_value = chance.random() < 0.35 and form in ("jsonl", "json", "csv", "tsv")
    split = chance.choice(("train", "train", "train", "val", "test"))
    seed = chance.random()
    more = {"on_bad_rows": "skip"} if chance.random() < 0.3 else {}
    more |= {"max_train_examples": 3} if chance.random() < 0.1 else {}
    if is_value:
        row[key] = value

    def make(folder: Path) -> list[str]:
        inner = random.Random(seed)
        paths = {each: f"{each}.{form}" for each in ("train", "val", "test")}
        for each, name in paths.items():
            written(folder / name, rows if is_value and each == split else _as_rows(kind))
        broken = folder / paths[split]
        if not is_value:
            if inner.random() < 0.12:
                no_file(broken, inner)
            else:
                broken.write_bytes(damaged(broken.read_bytes(), inner)[1])
        config = {
            "name": "t",
            "kind": kind,
            "paths": paths,
            "metric": _METRICS.get(kind, "accuracy"),
        }
        if form == "txt":
            config |= {"split": {"separator": " ", "into": ["label", "text_a"]}}
        (folder / "t.json").write_text(json.dumps({**config, **more}))
        return ["task", "t.json"]

    name = f"{form}, {kind}: {split}: " + (
        f"{key} = {short(value)}" if is_value else f"damaged {seed:.6f}"
    )
    return Case("data file", name, make)


_METRICS = {"regression": "pearson", "tagging": "seqeval_f1"}


def of_dataset(_: Wholes, chance: random.Random) -> Case:
    """Cases of folders that `datasets` reads."""
    form, seed = chance.choice(("csv", "jsonl", "parquet", "json")), chance.random()

    def make(folder: Path) -> list[str]:
        inner = random.Random(seed)
        (folder / "set").mkdir()
        for each in ("train", "validation"):
            written(folder / "set" / f"{each}.{form}", _as_rows("single"))
        broken = folder / "set" / f"train.{form}"
        if inner.random() < 0.15:
            no_file(broken, inner)
        else:
            broken.write_bytes(damaged(broken.read_bytes(), inner)[1])
        source = {"path": str(folder / "set"), "splits": {"train": "train", "val": "validation"}}
        if inner.random() < 0.3:
            source = put(source, inner.choice((("path",), ("splits", "train"))), inner.choice(ODD))
        config = {"name": "t", "kind": "single", "dataset": source, "metric": "accuracy"}
        (folder / "t.json").write_text(json.dumps(config))
        return ["task", "t.json"]

    return Case("dataset folder", f"{form}: {seed:.6f}", make)


def of_container(wholes: Wholes, chance: random.Random) -> Case:
    """Cases of jiant's container configs and arguments."""
    whole = json.loads(wholes.container.read_text())
    ways = _container_ways(wholes.container)
    command = chance.choice((["select", "--dry-run", "--no-measure"], ["probe"], ["rank"]))
    arguments = {
        "jiant_task_container_config_path": "container.json",
        "hf_pretrained_model_name_or_path": str(wholes.container.parent / "encoder"),
        "model_path": str(wholes.container.parent / "weights.p"),
        "output_dir": "out",
    }
    way, content = "", json.dumps(whole).encode()
    if chance.random() < 0.75:
        way = chance.choice(list(ways))
        content = json.dumps(ways[way]).encode()
    elif chance.random() < 0.6:
        way, content = damaged(content, chance)
    else:
        key = chance.choice(list(ARGUMENTS))
        arguments[key] = chance.choice([*ARGUMENTS[key], "n" * 300, "\x1b[31m", "1e999"])
        way = f"--{key} {arguments[key]}"

    def make(folder: Path) -> list[str]:
        (folder / "container.json").write_bytes(content)
        if command[0] == "select":
            arguments["output_config_path"] = "new.json"
        words = [word for key, value in arguments.items() for word in (f"--{key}", value)]
        return [*command, *words, "--no_cuda", "--quiet"]

    return Case("container config", f"{command[0]}: {way[:120]}", make)


@functools.cache
def _container_ways(path: Path) -> dict[str, Values]:
    whole = json.loads(path.read_text())
    return dict([*of_values(whole), *of_samplers(whole), *of_meaning(whole)])


#: Commands that leave this process, or take minutes where their arguments are right.
_LEFT_OUT = ("host", "demo")


def of_command_line(_: Wholes, chance: random.Random) -> Case:
    """Cases of arguments: every command and option."""
    command = chance.choice([name for name in COMMANDS if name not in _LEFT_OUT])
    found = GROUP.get_command(GROUP.make_context("x", [], resilient_parsing=True), command)
    words = [command]
    texts = [value for value in ODD if isinstance(value, str)] + [
        "-5",
        "3.5",
        "1" * 400,
        "run.yaml",
    ]
    # No NUL reaches a program, and a command line ends somewhere.
    texts = [text for text in texts if "\0" not in text and len(text) < 10_000]
    for option in chance.sample(found.params, min(len(found.params), chance.randrange(4))):
        name = option.opts[-1]
        flags = [name] if name.startswith("-") else []
        takes_value = not getattr(option, "is_flag", False) and chance.random() < 0.9
        words += flags + ([chance.choice(texts)] if takes_value else [])
    if chance.random() < 0.3:
        words.append(chance.choice(("--no-such", "--outptu", "x=y", "--set", "extra", "--seed")))
    if chance.random() < 0.5:
        words.insert(1, chance.choice(("run.yaml", "t.json", "folder", "pipe", "gone", "zero")))
    if command in ("data", "init") and chance.random() < 0.5:
        words += ["--output", "written"]

    def make(folder: Path) -> list[str]:
        (folder / "folder").mkdir()
        os.mkfifo(folder / "pipe")
        (folder / "zero").symlink_to("/dev/zero")
        (folder / "run.yaml").write_text(yaml.safe_dump(_run_values()))
        write_task(folder, "topic").rename(folder / "t.json")
        return words

    return Case("command line", " ".join(words)[:160], make)


def of_encoder(wholes: Wholes, chance: random.Random) -> Case:
    """Cases of encoder folders."""
    way, seed = chance.choice([*OF_BERT, *[""] * len(OF_BERT)]), chance.random()
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    name = chance.choice([name for name in names if (wholes.encoder / name).exists()])

    def make(folder: Path) -> list[str]:
        shutil.copytree(wholes.encoder, folder / "bert")
        shutil.copytree(wholes.encoder, folder / "roberta")  # whose files one way takes
        inner = random.Random(seed)
        if way:
            OF_BERT[way](folder / "bert")
        elif inner.random() < 0.2:
            no_file(folder / "bert" / name, inner)
        else:
            content = (folder / "bert" / name).read_bytes()
            (folder / "bert" / name).write_bytes(damaged(content, inner)[1])
        path = write_run_file(folder, folder / "bert", ("topic", "match"))
        return ["plan", str(path), "--no-measure", "--quiet"]

    return Case("encoder folder", way or f"{name}: damaged {seed:.6f}", make)


def of_finished(wholes: Wholes, chance: random.Random) -> Case:
    """Cases of output folders, stores and what was written into them."""
    whole, command = chance.choice(((wholes.finished, "run"), (wholes.compared, "compare")))
    files = sorted(
        str(path.relative_to(whole)) for path in (whole / "out").rglob("*") if path.is_file()
    )
    name, seed = chance.choice(files), chance.random()
    commands = (
        *(
            [command, "file.yaml", "--quiet"],
            ["report", "out"],
            ["figures", "out", "--format", "json"],
        ),
        *(["runs", "."], ["plan", "file.yaml", "--quiet"], ["runs", "out", "--json"]),
        ["export", "mt-dnn", "out", "--output", "exported"],
    )
    words = chance.choice(commands)

    def make(folder: Path) -> list[str]:
        shutil.copytree(whole, folder, dirs_exist_ok=True)
        inner = random.Random(seed)
        if inner.random() < 0.2:
            no_file(folder / name, inner)
        else:
            (folder / name).write_bytes(damaged((folder / name).read_bytes(), inner)[1])
        return list(words)

    return Case("output folder", f"{' '.join(words)}: {name}: {seed:.6f}", make)


def of_raw_folder(_: Wholes, chance: random.Random) -> Case:
    """Cases of `init`: folders of raw files."""
    form, seed = chance.choice(list(FORMATS)), chance.random()
    kind = chance.choice(FORMATS[form])

    def make(folder: Path) -> list[str]:
        inner = random.Random(seed)
        for name in ("one", "two"):
            (folder / "raw" / name).mkdir(parents=True)
            rows = _as_rows(kind) * 6
            written(folder / "raw" / name / f"train.{form}", rows)
        broken = folder / "raw" / "one" / f"train.{form}"
        if inner.random() < 0.15:
            no_file(broken, inner)
        else:
            broken.write_bytes(damaged(broken.read_bytes(), inner)[1])
        return ["init", "raw"]

    return Case("raw folder", f"{form}, {kind}: {seed:.6f}", make)


#: Kind -> what makes a case, and how many are run.
KINDS: Mapping[str, tuple[Maker, int]] = {
    "run file": (of_file("run file", RunFile, _run_values(), ("run", "plan", "rank")), 400),
    "compare file": (
        of_file("compare file", CompareFile, _compare_values(), ("compare", "plan")),
        200,
    ),
    "task config": (of_task_config, 350),
    "data file": (of_data_file, 450),
    "dataset folder": (of_dataset, 50),
    "raw folder": (of_raw_folder, 80),
    "container config": (of_container, 200),
    "command line": (of_command_line, 300),
    "encoder folder": (of_encoder, 60),
    "output folder": (of_finished, 250),
}


def cases(kind: str, wholes: Wholes, number: int, seed: int) -> Iterator[Case]:
    """So many cases of a kind; those of a seed are always the same."""
    make, _ = KINDS[kind]
    for place in range(number):
        yield make(wholes, random.Random(f"{kind} {seed} {place}"))
