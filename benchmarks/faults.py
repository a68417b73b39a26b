"""Are the collected faults mended? Every case of a folder of faults, against what is expected.

    python benchmarks/faults.py --faults FOLDER

The cases were made after public bug reports; the README of each kind says what was seen and what is
expected. Here the expected is written so that a program can compare it.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from provenance import markdown_table, provenance, write_results

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from tiny_runs import run_command, write_run_file, write_task

from gradts_plugin.errors import GradTSError
from gradts_plugin.hosts.jiant.tasks.evaluation import tag_scores
from gradts_plugin.tasks.reading import read_examples, task_labels
from gradts_plugin.tasks.task_configs import read_task_config

#: Case -> the split that is read, and its rows (texts or words, label or tags) or what a refusal
#: has to say.
READ: Mapping[str, tuple[str, Any]] = {
    "conll/byte_order_mark_inside": ("train", [(("Ada",), ("N",)), (("Bo",), ("V",))]),
    "conll/comment_lines_default": ("train", ("line 1: 5 columns", "'comment'")),
    "conll/conllu_ranges": (
        "train",
        [(("vamos", "a", "el", "mar"), ("VERB", "ADP", "DET", "NOUN"))],
    ),
    "conll/docstart_with_index": ("train", [(("Ada", "Bo"), ("N", "V"))]),
    "conll/empty_tag_cell": ("train", ("line 2", "no label")),
    "conll/tag_trailing_space": ("train", [(("Ada", "lives", "Bo"), ("N", "V", "N"))]),
    "conll/word_with_space": ("train", ("line 1: 3 columns", "have 2")),
    "csv_tables/field_over_128k": ("train", [(None, "a"), ("y", "b")]),
    "csv_tables/float_labels": ("val", [("x", "1"), ("y", "0")]),
    "csv_tables/header_repeated": ("train", ("line 3: repeats the header",)),
    "csv_tables/label_space_after_comma": ("train", [("x", "a"), ("y", "b"), ("z", "a")]),
    "csv_tables/label_trailing_space": ("train", [("x", "a"), ("y", "b"), ("z", "a"), ("w", "b")]),
    "csv_tables/ragged_extra_columns": ("train", [("A plane flies.", 5.0), ("A b", 1.2)]),
    "csv_tables/score_underscore": ("train", ("no finite number but '1_5'",)),
    "csv_tables/tsv_lone_cr_in_text": ("train", [("hello\rworld", "a"), ("x", "b")]),
    "csv_tables/unnamed_trailing_columns": ("train", [("hello there", "ham"), ("win now", "spam")]),
    "datasets_folder/csv_leading_zero": ("train", [("hi", "01"), ("ho", "02")]),
    "datasets_folder/csv_null_word_in_test": ("test", [("hi", "None"), ("ho", "b")]),
    "datasets_folder/csv_number_text": ("train", [("12", "a"), ("13", "b")]),
    "datasets_folder/saved_single_dataset": ("train", [("x", "a"), ("y", "b")]),
    "file_forms/jsonl_gz": ("train", [("x", "a"), ("y", "b")]),
    "file_forms/utf16_csv": ("train", [("x", "a"), ("y", "b")]),
    "missing_labels/conll_test_without_tags": ("test", [(("a", "b"), ())]),
    "missing_labels/snli_dash": ("train", ("'no_label': [\"-\"]",)),
    "missing_labels/tag_empty_string": ("train", ("word 2 ('b'): there is no label",)),
    "missing_labels/tags_minus100": (
        "train",
        [(("[CLS]", "a", "b", "[SEP]"), (None, "0", "1", None))],
    ),
    "missing_labels/test_minus1_jsonl": ("test", [("x", None)]),
    "numbers/score_400_digits": ("train", ("field 'label' is no finite number",)),
}

#: What a tagging task's F1 over spans has to be where every prediction is O.
SCORED = ("bare_bio", "bilou", "bmes", "lower_case", "one_odd_label")

#: Encoder -> its name among those that make_encoders.py makes, and what a refusal says; None: it
#: runs like any other.
ENCODERS: Mapping[str, tuple[str, str | None]] = {
    "added_tokens": ("bert_addedtokens", "embeddings for"),
    "bfloat16": ("bert_bfloat16", None),
    "half_precision": ("bert_float16", None),
    "longer_than_positions": ("bert", "max_seq_length is 200"),
    "one_segment_type": ("bert_type1", "segment types"),
    "return_dict_false": ("bert_return_dict", None),
}

#: Task -> the changes of its run file, and what its note says.
DEGENERATE: Mapping[str, tuple[dict[str, Any], str]] = {
    "one_class_id0": ({}, "have the same label"),
    "rare_class_missing_from_sample": ({"max_instances": 50, "seed": 2}, "have the same label"),
    "same_text_everywhere": ({}, "have the same text"),
}


def read_case(folder: Path, split: Any, expected: Any) -> str:
    """What is wrong with a task that is read; empty: nothing."""
    try:
        config = read_task_config(folder / "task.json")
        task_labels(config, folder)
        found = [
            (each.tokens, each.labels) if each.tokens else (each.text_a, each.label)
            for each in read_examples(config, split, folder)
        ]
    except GradTSError as error:
        if isinstance(expected, list):
            return f"refused: {error}"
        missing = [words for words in expected if words not in str(error)]
        return f"does not say {missing[0]!r}: {error}" if missing else ""
    if not isinstance(expected, list):
        return f"not refused: {found}"
    # None stands for a text that is too long to be written here.
    seen = [
        (None if want[0] is None else text, label)
        for (text, label), want in zip(found, expected, strict=False)
    ]
    return "" if seen == expected and len(found) == len(expected) else f"read as {found}"


def score_case(folder: Path) -> str:
    """What is wrong with a score of spans."""
    tags = json.loads((folder / "tags.json").read_text(encoding="utf-8"))
    both = [*tags["gold"], *tags["predicted"]]
    labels = tags.get("labels") or sorted({tag for sentence in both for tag in sentence})
    score = tag_scores(tags["predicted"], tags["gold"], labels).get("seqeval_f1")
    return "" if score == 0 else f"F1 is {score}"


def encoder_case(folder: Path, encoder: Path, refusal: str | None, work: Path) -> str:
    """What is wrong with a run on an encoder."""
    tasks = ("topic", "match")
    changes: dict[str, Any] = {}
    given = yaml.safe_load((folder / "model.yaml").read_text(encoding="utf-8"))["model"]
    if (folder / "rows.jsonl").exists():
        path = write_task(work / "tasks", "topic")
        for split in ("train", "val"):
            shutil.copy(folder / "rows.jsonl", work / "tasks" / f"topic_{split}.jsonl")
        changes["primary_task"] = path.stem
    model = {"max_seq_length": 24, **given, "name_or_path": str(encoder)}
    run_file = write_run_file(work, encoder, tasks, model=model, **changes)
    answer = run_command("run", run_file, "--quiet")
    if refusal is None:
        return "" if answer.code == 0 else answer.err.strip()
    return "" if answer.code == 2 and refusal in answer.err else f"{answer.code}: {answer.err}"


def degenerate_case(
    folder: Path, encoder: Path, probing: dict[str, Any], note: str, work: Path
) -> str:
    """What is wrong with a run over a task with nothing to learn, and two others."""
    run_file = write_run_file(
        work, encoder, ("topic", "match"), probing={"model": "frozen", **probing}
    )
    values = yaml.safe_load(run_file.read_text(encoding="utf-8"))
    values["tasks"].append(str(folder / "task.json"))
    run_file.write_text(yaml.safe_dump(values), encoding="utf-8")
    answer = run_command("run", run_file, "--quiet")
    if answer.code:
        return answer.err.strip()
    result = json.loads((work / "out" / "result.json").read_text(encoding="utf-8"))
    last = result["ranking"]["candidates"][-1]
    if last["task_name"] != "x" or note not in (last["note"] or ""):
        return f"the last candidate is {last['task_name']}: {last['note']}"
    return ""


def checked(faults: Path, work: Path) -> dict[str, str]:
    """Case -> what is wrong with it; empty: it is as expected."""
    with chdir(faults / "datasets_folder" / "saved_single_dataset"):
        runpy.run_path("make.py")
    repository, made = Path(__file__).resolve().parents[1], work / "encoders"
    given, sys.argv = sys.argv, ["make_encoders.py", str(repository), str(made)]
    runpy.run_path(str(faults / "make_encoders.py"))
    sys.argv = given
    checks: dict[str, Callable[[Path], str]] = {}
    for name, (split, expected) in READ.items():
        checks[name] = lambda _, name=name, split=split, expected=expected: read_case(
            faults / name, split, expected
        )
    for name in SCORED:
        checks[f"span_f1/{name}"] = lambda _, name=name: score_case(faults / "span_f1" / name)
    for name, (encoder, refusal) in ENCODERS.items():
        checks[f"encoder_checkpoint/{name}"] = (
            lambda here, name=name, encoder=encoder, refusal=refusal: encoder_case(
                faults / "encoder_checkpoint" / name, made / encoder, refusal, here
            )
        )
    for name, (probing, note) in DEGENERATE.items():
        checks[f"degenerate_tasks/{name}"] = lambda here, name=name, probing=probing, note=note: (
            degenerate_case(faults / "degenerate_tasks" / name, made / "bert", probing, note, here)
        )
    found = {}
    for number, (name, check) in enumerate(checks.items()):
        here = work / str(number)
        here.mkdir()
        try:
            found[name] = check(here)
        except Exception as error:  # a defect, told like the others
            found[name] = f"{type(error).__name__}: {error}"
    unknown = {
        f"{path.parent.parent.name}/{path.parent.name}"
        for path in faults.glob("*/*/*")
        if path.is_file()
    } - {*checks}
    return found | dict.fromkeys(sorted(unknown), "nothing is expected of it here")


def main() -> None:
    """Runs every case and writes what it came to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faults", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    warnings.simplefilter("ignore")
    source = provenance()
    with tempfile.TemporaryDirectory(prefix="gradts-faults-") as made, redirect_stdout(StringIO()):
        faults = shutil.copytree(arguments.faults, Path(made) / "faults")
        (Path(made) / "work").mkdir()
        found = checked(faults, Path(made) / "work")
        found = {name: wrong.replace(made, "FOLDER") for name, wrong in found.items()}
    counts = {
        kind: Counter("other" if wrong else "as expected" for wrong in of_kind)
        for kind in sorted({name.split("/")[0] for name in found})
        for of_kind in [[found[name] for name in found if name.startswith(f"{kind}/")]]
    }
    total = sum(counts.values(), Counter[str]())
    rows = [
        [kind, of_kind.total(), of_kind["as expected"], of_kind["other"]]
        for kind, of_kind in [*counts.items(), ("all", total)]
    ]
    table = markdown_table(["kind", "cases", "as expected", "other"], rows)
    wrong = "".join(f"- {name}: {what}\n" for name, what in found.items() if what)
    text = f"# Collected faults\n\n{table}\n\n{wrong}"
    write_results(arguments.output, "faults", source=source, results=found, text=text)
    print(text)


if __name__ == "__main__":
    main()
