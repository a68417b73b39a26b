"""Reading examples: every format and kind, and every way in which data can be wrong."""

from __future__ import annotations

import csv
import json
from typing import get_args

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading_cases import problem

from gradts_plugin.errors import LeftOutWarning
from gradts_plugin.tasks.examples import Example
from gradts_plugin.tasks.kinds import Format
from gradts_plugin.tasks.reading import READERS, read_examples, task_labels
from gradts_plugin.tasks.shipped import shipped_task_configs
from gradts_plugin.tasks.task_configs import parse_task_config, read_task_config

KINDS = {
    "single": {"kind": "single", "metric": "accuracy"},
    "pair": {"kind": "pair", "metric": "accuracy"},
    "regression": {"kind": "regression", "metric": "pearson"},
    "tagging": {"kind": "tagging", "metric": "accuracy"},
    "multiple_choice": {"kind": "multiple_choice", "metric": "accuracy"},
}


def task(kind="single", *, suffix="jsonl", **changes):
    paths = {split: f"{split}.{suffix}" for split in ("train", "val", "test")}
    values = {"name": "task", "paths": paths} | KINDS[kind] | changes
    return parse_task_config(values, where="here")


def write(folder, rows=None, *, suffix="jsonl", split="train", text=None, data=None):
    if rows is not None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{split}.{suffix}").write_bytes(data if data is not None else text.encode())


def read(config, folder, split="train"):
    return read_examples(config, split, folder)


TWO = [{"text_a": "x", "label": "a"}, {"text_a": "y", "label": "b"}]


# --- JSON Lines, by kind -----------------------------------------------------------------------


def test_single_sentences(tmp_path):
    write(tmp_path, TWO)
    assert read(task(), tmp_path) == [
        Example(index=0, text_a="x", label="a"),
        Example(index=1, text_a="y", label="b"),
    ]


def test_pairs_with_other_field_names_and_renamed_labels(tmp_path):
    rows = [{"q": "x", "extra": {"s": "z"}, "gold": 0}, {"q": "", "extra": {"s": "w"}, "gold": 1}]
    write(tmp_path, rows)
    config = task(
        "pair",
        fields={"text_a": "q", "text_b": "extra.s", "label": "gold"},
        labels=["no", "yes"],
        label_map={"0": "no", "1": "yes"},
    )
    assert read(config, tmp_path) == [
        Example(index=0, text_a="x", text_b="z", label="no"),
        Example(index=1, text_a="", text_b="w", label="yes"),
    ]


def test_regression_with_and_without_a_second_text(tmp_path):
    write(tmp_path, [{"text_a": "x", "text_b": "y", "label": 3}])
    assert read(task("regression"), tmp_path) == [Example(index=0, text_a="x", label=3.0)]
    config = task("regression", fields={"text_b": "text_b"})
    assert read(config, tmp_path) == [Example(index=0, text_a="x", text_b="y", label=3.0)]


def test_tagging(tmp_path):
    write(tmp_path, [{"tokens": ["a", "b"], "labels": ["N", 1]}])
    assert read(task("tagging"), tmp_path) == [
        Example(index=0, tokens=("a", "b"), labels=("N", "1"))
    ]


@pytest.mark.parametrize(
    ("labels", "right", "position"),
    [
        ("infer", 1, 1),
        ("infer", "1", 1),
        ("infer", "C", 2),
        ("infer", "rain", 1),
        ("text", "snow", 2),
        (["first", "second", "third"], "third", 2),
        (["1", "2", "3"], 3, 2),
    ],
)
def test_the_right_choice_by_number_letter_text_or_name(tmp_path, labels, right, position):
    write(tmp_path, [{"text_a": "x", "choices": ["sun", "rain", "snow"], "label": right}])
    (example,) = read(task("multiple_choice", labels=labels), tmp_path)
    assert (example.label, example.choices) == (position, ("sun", "rain", "snow"))


def test_choices_in_fields_of_their_own(tmp_path):
    write(tmp_path, [{"text_a": "x", "end0": "p", "end1": "q", "label": 1}])
    config = task("multiple_choice", fields={"choices": ["end0", "end1"]})
    (example,) = read(config, tmp_path)
    assert (example.choices, example.label) == (("p", "q"), 1)
    assert task_labels(config, tmp_path) == ("0", "1")


def test_a_json_number_counts_choices_even_where_choices_are_numbers(tmp_path):
    write(tmp_path, [{"text_a": "x", "choices": ["2", "1", "0"], "label": 2}])
    assert read(task("multiple_choice"), tmp_path)[0].label == 2


def test_a_label_that_can_mean_two_choices_is_refused(tmp_path):
    write(tmp_path, [{"text_a": "x", "choices": ["2", "1", "0"], "label": "2"}])
    assert "can mean more than one choice" in problem(task("multiple_choice"), tmp_path)
    assert read(task("multiple_choice", labels="text"), tmp_path)[0].label == 0


# --- tables ------------------------------------------------------------------------------------


def test_csv_with_quotes_commas_and_line_breaks(tmp_path):
    write(tmp_path, suffix="csv", text='id,text_a,label\r\n1,"x, ""y""\nz",a\r\n2,w,b\r\n\r\n')
    assert read(task(suffix="csv"), tmp_path) == [
        Example(index=0, text_a='x, "y"\nz', label="a"),
        Example(index=1, text_a="w", label="b"),
    ]


def test_tsv_takes_quotation_marks_as_they_are(tmp_path):
    write(tmp_path, suffix="tsv", text='text_a\tlabel\n"x\ta\ny" z\tb\n')
    assert [example.text_a for example in read(task(suffix="tsv"), tmp_path)] == ['"x', 'y" z']


def test_a_quoted_tab_separated_file_is_csv_with_another_separator(tmp_path):
    write(tmp_path, suffix="tsv", text='text_a\tlabel\n"x\ty"\ta\nz\tb\n')
    config = task(suffix="tsv", format="csv", separator="\t")
    assert read(config, tmp_path)[0].text_a == "x\ty"


def test_tables_without_a_header(tmp_path):
    write(tmp_path, suffix="csv", text="a,x\nb,y\n")
    config = task(suffix="csv", columns=["label", "text_a"])
    assert [(e.label, e.text_a) for e in read(config, tmp_path)] == [("a", "x"), ("b", "y")]


# --- CoNLL -------------------------------------------------------------------------------------


def test_conll_columns_comments_and_document_starts(tmp_path):
    text = (
        "-DOCSTART- -X- O\n\n# id = 1\nAda NNP B-per\nlives  VBZ\tO\n\n\n# id = 2\r\n#hash NN O\r\n"
    )
    write(tmp_path, suffix="conll", text=text)
    config = task(
        "tagging", suffix="conll", columns=["tokens", "pos", "labels"], comment="# ",
    )  # fmt: skip
    assert read(config, tmp_path) == [
        Example(index=0, tokens=("Ada", "lives"), labels=("B-per", "O")),
        Example(index=1, tokens=("#hash",), labels=("O",)),
    ]


def test_conll_with_a_separator_keeps_spaces_in_words(tmp_path):
    write(tmp_path, suffix="bio", text="New York\tB\nis\tO\n")
    config = task("tagging", suffix="bio", separator="\t")
    assert read(config, tmp_path)[0].tokens == ("New York", "is")


def test_conll_splits_at_plain_white_space_only(tmp_path):
    # A no-break space belongs to its word; a document may begin without a blank line.
    text = "-DOCSTART- O\nx A\n-DOCSTART- O\n10\u00a0000  B\n\u3000\tA \n"
    write(tmp_path, suffix="conll", text=text)
    assert [example.tokens for example in read(task("tagging", suffix="conll"), tmp_path)] == [
        ("x",),
        ("10\u00a0000", "\u3000"),
    ]


# --- what every format tolerates ---------------------------------------------------------------


def test_byte_order_marks_crlf_and_blank_lines_are_fine(tmp_path):
    body = b'{"text_a": "x", "label": "a"}\r\n{"text_a": "y", "label": "b"}\r\n\r\n  \r\n'
    write(tmp_path, data=b"\xef\xbb\xbf" + body)
    assert [example.text_a for example in read(task(), tmp_path)] == ["x", "y"]
    write(tmp_path, suffix="csv", data=b"\xef\xbb\xbftext_a,label\r\nx,a\r\ny,b\r\n\r\n")
    assert [example.text_a for example in read(task(suffix="csv"), tmp_path)] == ["x", "y"]
    write(tmp_path, suffix="conll", data=b"\xef\xbb\xbfx a\r\n\r\ny b\r\n\r\n\r\n")
    found = read(task("tagging", suffix="conll"), tmp_path)
    assert [example.tokens for example in found] == [("x",), ("y",)]


def test_an_empty_cell_is_no_label(tmp_path):
    write(tmp_path, suffix="csv", text="text_a,label\nx,a\ny,b\n")
    write(tmp_path, suffix="csv", text="text_a,label\nx,\ny,a\n", split="test")
    config = task(suffix="csv")
    assert [example.label for example in read(config, tmp_path, "test")] == [None, "a"]
    scores = task("regression", suffix="csv")
    write(tmp_path, suffix="csv", text="text_a,label\nx,\ny,2\n", split="test")
    assert [example.label for example in read(scores, tmp_path, "test")] == [None, 2.0]
    write(tmp_path, suffix="csv", text="text_a,label\nx,a\ny,b\nz,\n")
    with pytest.warns(LeftOutWarning, match="rows without a label, left out: 1"):
        assert len(read(config, tmp_path)) == 2
    config = config.model_copy(update={"no_label": ("-",)})
    assert problem(config, tmp_path).endswith(
        "train.csv, line 4: field 'label' is empty; 'no_label': [\"\"] leaves such rows out"
    )


def test_test_rows_may_lack_their_labels(tmp_path):
    write(tmp_path, TWO)
    write(tmp_path, [{"text_a": "x"}, {"text_a": "y", "label": "a"}], split="test")
    assert [example.label for example in read(task(), tmp_path, "test")] == [None, "a"]
    write(tmp_path, [{"text_a": "x"}], split="val")
    assert problem(task(), tmp_path, "val") == (
        "val.jsonl, line 1: field 'label' is missing; valid: text_a"
    )


# --- what is wrong, with file and line ---------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"text_a": "x", "label": "a"}\n\n{"text_a": \n', "train.jsonl, line 3: broken JSON: "),
        ("[1]\n", "train.jsonl, line 1: expected a JSON object, found list"),
        (
            '{"text": "x", "label": "a"}\n',
            "train.jsonl, line 1: field 'text_a' is missing; did you mean 'text'?",
        ),
        ('{"text_a": 3, "label": "a"}\n', "train.jsonl, line 1: field 'text_a' is no text but 3"),
        ('{"text_a": null, "label": "a"}\n', "train.jsonl, line 1: field 'text_a' is null"),
        (
            '{"text_a": "x", "label": null}\n',
            "train.jsonl: the train split has no row with a label",
        ),
        ('{"text_a": "\\ud800", "label": "a"}\n', "train.jsonl, line 1: '\\ud800' is half a"),
        ('{"text_a": ' + "[" * 100_000, "train.jsonl, line 1: broken JSON: maximum recursion"),
        ('{"label": ' + "1" * 5_000, "train.jsonl, line 1: broken JSON: Exceeds the limit"),
        (
            '{"text_a": "x", "label": ["a"]}\n',
            "train.jsonl, line 1: a label is text or a number, not list: ['a']",
        ),
        (
            '{"text_a": "x", "label": "a"}\n' * 2,
            "train.jsonl: every row has the label 'a'; a task needs at least two",
        ),
        ("", "train.jsonl: the train split is empty"),
        ("\n\n", "train.jsonl: the train split is empty"),
    ],
)
def test_wrong_json_lines(tmp_path, text, expected):
    write(tmp_path, text=text)
    assert problem(task(), tmp_path).startswith(expected)


def test_a_missing_file(tmp_path):
    assert problem(task(), tmp_path) == "train.jsonl: no such file"
    (tmp_path / "train.jsonl").mkdir()
    assert problem(task(), tmp_path) == "train.jsonl: cannot be read: Is a directory"


def test_text_that_is_not_utf8(tmp_path):
    write(tmp_path, data=b'{"text_a": "x", "label": "a"}\n{"text_a": "\xe9", "label": "b"}\n')
    assert problem(task(), tmp_path) == (
        "train.jsonl, line 2: is not UTF-8 text; say its 'encoding' (cp1252 and latin-1 are common)"
    )


def test_unknown_labels_get_the_nearest_one(tmp_path):
    write(tmp_path, [{"text_a": "x", "label": "postive"}])
    config = task(labels=["negative", "positive"])
    assert problem(config, tmp_path) == (
        "train.jsonl, line 1: label 'postive' is not in the task config; did you mean 'positive'?"
    )


def test_a_dev_label_that_train_lacks(tmp_path):
    write(tmp_path, TWO)
    write(tmp_path, [*TWO, {"text_a": "z", "label": "c"}], split="val")
    assert problem(task(), tmp_path, "val") == (
        "val.jsonl, line 3: label 'c' is not in the training split; valid: a, b, and 'labels': "
        "'infer_all' takes those of all splits"
    )
    assert len(read(task(labels=["a", "b", "c"]), tmp_path, "val")) == 3


@pytest.mark.parametrize("labels", ["infer", ["NOUN", "VERB"]])
def test_spans_of_plain_tags_are_not_scored(tmp_path, labels):
    write(tmp_path, suffix="conll", text="Ada NOUN\nlives VERB\n")
    config = task("tagging", suffix="conll", metric="seqeval_f1", labels=labels)
    assert problem(config, tmp_path).startswith(
        "task 'task': metric: 'seqeval_f1' scores spans (B-x, I-x, O and the like), and 'NOUN', "
        "'VERB' mark none; for plain tags take 'accuracy' or 'macro_f1'"
    )


def test_an_empty_dev_split(tmp_path):
    write(tmp_path, TWO)
    write(tmp_path, [], split="val")
    assert problem(task(), tmp_path, "val") == "val.jsonl: the val split is empty"


def test_a_split_that_the_config_does_not_name(tmp_path):
    write(tmp_path, TWO)
    config = task(paths={"train": "train.jsonl", "val": "val.jsonl"})
    assert problem(config, tmp_path, "test") == "task 'task' names no test split"


def test_a_positive_label_that_nobody_has(tmp_path):
    write(tmp_path, TWO)
    config = task(metric="f1", positive_label="aa")
    assert problem(config, tmp_path) == (
        "task 'task': positive_label 'aa' is no label of the training split; did you mean 'a'?"
    )


@pytest.mark.parametrize("label", ['"x"', "Infinity", "true", "[1]", '"nan"'])
def test_scores_that_are_no_finite_number(tmp_path, label):
    write(tmp_path, text='{"text_a": "x", "label": 1}\n{"text_a": "x", "label": ' + label + "}\n")
    found = problem(task("regression"), tmp_path)
    assert found.startswith("train.jsonl, line 2: field 'label' is no finite number but ")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"tokens": ["a", "b"], "labels": ["N"]}, "2 words, but 1 labels"),
        ({"tokens": [], "labels": []}, "field 'tokens' has no words"),
        ({"tokens": "a b", "labels": ["N"]}, "field 'tokens' is no list of texts but 'a b'"),
        ({"tokens": ["a"], "labels": "N"}, "field 'labels' is no list but 'N'"),
        ({"tokens": ["a"], "labels": [[1]]}, "a label is text or a number, not list: [1]"),
        ({"token": ["a"], "labels": ["N"]}, "field 'tokens' is missing; did you mean 'token'?"),
    ],
)
def test_wrong_tagging_rows(tmp_path, row, expected):
    write(tmp_path, [row])
    place = (
        "train.jsonl, line 1, word 1 ('a'): " if "not list" in expected else "train.jsonl, line 1: "
    )
    assert problem(task("tagging"), tmp_path) == place + expected


@pytest.mark.parametrize(
    ("choices", "label", "expected"),
    [
        (["p"], 0, "1 choices, at least two are needed"),
        (["p", "q", "r"], 0, "3 choices, the task has 2"),
        (["p", "q"], 2, "label '2' is none of the choices, nor their number or letter"),
        ("pq", 0, "field 'choices' is no list of texts but 'pq'"),
    ],
)
def test_wrong_multiple_choice_rows(tmp_path, choices, label, expected):
    good = {"text_a": "x", "choices": ["p", "q"], "label": 1}
    write(tmp_path, [good, {"text_a": "x", "choices": choices, "label": label}])
    assert problem(task("multiple_choice"), tmp_path) == f"train.jsonl, line 2: {expected}"


UNCLOSED = "broken CSV: unexpected end of data; 'on_bad_rows': 'skip' leaves it out"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "text_a,label\nx,a\ny, z,b\n",
            "train.csv, line 3: 3 columns, 2 are expected (text_a, label); "
            "'on_bad_rows': 'skip' leaves it out",
        ),
        ('text_a,label\nx,a\n"y,b\n', f"train.csv, line 3: {UNCLOSED}"),
        ('text_a,label\n"y,b\nx,a\nz,b\n', f"train.csv, line 2: {UNCLOSED}"),
        (
            'text_a,label\n"x\ny",a,b\n',
            "train.csv, line 2: 3 columns, 2 are expected (text_a, label); where the header is one "
            "name short, name all 'columns' and 'skip_rows': 1; 'on_bad_rows': 'skip' leaves it "
            "out",
        ),
        ("text_a,text_a\n", "train.csv, line 1: column 'text_a' appears twice in the header"),
        (
            "txt_a,label\nx,a\n",
            "train.csv, line 2: field 'text_a' is missing; did you mean 'txt_a'?",
        ),
        ("text_a,label\n", "train.csv: the train split is empty"),
    ],
)
def test_wrong_tables(tmp_path, text, expected):
    write(tmp_path, suffix="csv", text=text)
    assert problem(task(suffix="csv"), tmp_path) == expected


def test_conll_lines_with_too_few_columns(tmp_path):
    write(tmp_path, suffix="conll", text="Ada N\n\nlives\n")
    assert problem(task("tagging", suffix="conll"), tmp_path) == (
        "train.conll, line 3: field 'labels' is missing; valid: tokens"
    )


def test_a_wrong_conll_label_is_named_by_its_line(tmp_path):
    write(tmp_path, suffix="conll", text="Ada N\n\nlives V\nhere X\n")
    assert problem(task("tagging", suffix="conll", labels=["N", "V"]), tmp_path).startswith(
        "train.conll, line 4 ('here'): label 'X' is not in the task config"
    )


# --- sampling ----------------------------------------------------------------------------------


def test_only_training_rows_are_sampled_and_by_seed(tmp_path):
    rows = [{"text_a": str(i), "label": "ab"[i % 2]} for i in range(50)]
    write(tmp_path, rows)
    write(tmp_path, rows, split="val")
    first = read(task(max_train_examples=10), tmp_path)
    assert len(first) == 10
    assert [e.index for e in first] == sorted({int(e.text_a) for e in first})
    assert first == read(task(max_train_examples=10), tmp_path)
    assert first != read(task(max_train_examples=10, sample_seed=1), tmp_path)
    assert len(read(task(max_train_examples=10), tmp_path, "val")) == 50
    assert len(read(task(max_train_examples=99), tmp_path)) == 50


def test_labels_are_inferred_before_sampling(tmp_path):
    rows = [{"text_a": "x", "label": "a"}] * 50 + [{"text_a": "y", "label": "b"}]
    write(tmp_path, rows)
    assert task_labels(task(max_train_examples=1), tmp_path) == ("a", "b")


# --- datasets ----------------------------------------------------------------------------------


def save(folder, features, **splits):
    datasets.DatasetDict(
        {name: datasets.Dataset.from_dict(rows, features) for name, rows in splits.items()}
    ).save_to_disk(str(folder))


def names(*labels):
    return datasets.ClassLabel(names=list(labels))


def text():
    return datasets.Value("string")


GLUE = {
    "cola": ({"sentence": text(), "label": names("unacceptable", "acceptable")}, 1, "acceptable"),
    "sst2": ({"sentence": text(), "label": names("negative", "positive")}, 1, "positive"),
    "mrpc": (
        {
            "sentence1": text(),
            "sentence2": text(),
            "label": names("not_equivalent", "equivalent"),
        },
        1,
        "paraphrase",
    ),
    "qqp": (
        {"question1": text(), "question2": text(), "label": names("not_duplicate", "duplicate")},
        1,
        "duplicate",
    ),
    "qnli": (
        {"question": text(), "sentence": text(), "label": names("entailment", "not_entailment")},
        1,
        "not_entailment",
    ),
    "rte": (
        {"sentence1": text(), "sentence2": text(), "label": names("entailment", "not_entailment")},
        0,
        "entailment",
    ),
    "wnli": (
        {"sentence1": text(), "sentence2": text(), "label": names("not_entailment", "entailment")},
        0,
        "not_entailment",
    ),
    "stsb": (
        {"sentence1": text(), "sentence2": text(), "label": datasets.Value("float32")},
        2.5,
        2.5,
    ),
}


def from_folder(name, folder):
    """A shipped config whose dataset is a folder instead of the hub."""
    values = json.loads(shipped_task_configs()[name].read_text())
    values["dataset"] |= {"path": str(folder)}
    for key in ("name", "revision"):
        values["dataset"].pop(key, None)
    return parse_task_config(values, where=name)


@pytest.mark.parametrize("name", GLUE)
def test_shipped_configs_read_the_columns_of_the_hub(name, tmp_path):
    columns, label, expected = GLUE[name]
    features = datasets.Features({**columns, "idx": datasets.Value("int32")})
    rows = {column: ["x"] for column in columns} | {"label": [label], "idx": [0]}
    save(tmp_path / "saved", features, train=rows, validation=rows)
    (example,) = read_examples(from_folder(name, tmp_path / "saved"), "val", tmp_path)
    assert example.text_a == "x"
    assert example.label == expected
    assert example.text_b == ("x" if len(columns) == 3 else None)


def test_mnli_reads_the_matched_dev_set(tmp_path):
    label = names("entailment", "neutral", "contradiction")
    features = datasets.Features({"premise": text(), "hypothesis": text(), "label": label})
    matched = {"premise": ["p"], "hypothesis": ["h"], "label": [2]}
    save(tmp_path / "saved", features, train=matched, validation_matched=matched)
    (example,) = read_examples(from_folder("mnli", tmp_path / "saved"), "val", tmp_path)
    assert example == Example(index=0, text_a="p", text_b="h", label="contradiction")


@pytest.mark.parametrize(
    ("name", "column", "labels"),
    [
        ("pos", "upos", ["NOUN", "_"]),
        ("ner", "ner_tags", ["O", "B-corporation"]),
        ("sc", "chunk_tags", ["O", "B-ADJP"]),
    ],
)
def test_shipped_tagging_configs_name_class_numbers(name, column, labels, tmp_path):
    features = datasets.Features(
        {"tokens": datasets.Sequence(text()), column: datasets.Sequence(names(*labels))}
    )
    rows = {"tokens": [["a", "b"]], column: [[0, 1]]}
    save(tmp_path / "saved", features, test=rows)
    (example,) = read_examples(from_folder(name, tmp_path / "saved"), "test", tmp_path)
    assert example.labels == (labels[0], "X" if name == "pos" else labels[1])


def dataset_task(kind="single", **source):
    values = {"name": "task", "dataset": source} | KINDS[kind]
    return parse_task_config(values, where="here")


def test_a_folder_of_files_and_slices_of_its_splits(tmp_path):
    (tmp_path / "data").mkdir()
    rows = [{"text_a": str(i), "label": "ab"[i % 2]} for i in range(10)]
    write(tmp_path / "data", rows)
    config = dataset_task(path="data", splits={"train": "train[:80%]", "val": "train[80%:]"})
    assert [e.text_a for e in read(config, tmp_path)] == [str(i) for i in range(8)]
    assert [e.text_a for e in read(config, tmp_path, "val")] == ["8", "9"]


def test_nested_choices_as_common_question_sets_have_them(tmp_path):
    features = datasets.Features(
        {
            "question": text(),
            "choices": {
                "label": datasets.Sequence(text()),
                "text": datasets.Sequence(text()),
            },
            "answerKey": text(),
        }
    )
    rows = {
        "question": ["who?"],
        "choices": [{"label": ["A", "B"], "text": ["p", "q"]}],
        "answerKey": ["B"],
    }
    save(tmp_path / "saved", features, train=rows)
    fields = {"text_a": "question", "choices": "choices.text", "label": "answerKey"}
    config = dataset_task("multiple_choice", path="saved", fields=fields)
    (example,) = read(config, tmp_path)
    assert (example.choices, example.label) == (("p", "q"), 1)


def test_unlabelled_test_rows_of_a_dataset(tmp_path):
    features = datasets.Features({"text_a": text(), "label": names("a", "b")})
    save(
        tmp_path / "saved",
        features,
        train={"text_a": ["x", "y"], "label": [0, 1]},
        test={"text_a": ["x"], "label": [-1]},
    )
    config = dataset_task(path="saved", splits={"train": "train", "val": "test", "test": "test"})
    assert read(config, tmp_path, "test")[0].label is None
    assert problem(config, tmp_path, "val").endswith(
        "split 'test': the val split has no row with a label"
    )


def test_wrong_datasets(tmp_path):
    features = datasets.Features({"text": text(), "label": names("a", "b")})
    save(tmp_path / "saved", features, train={"text": ["x", "y"], "label": [0, 1]})
    config = dataset_task(path="saved", splits={"train": "train", "val": "trian"})
    assert problem(config, tmp_path) == (
        f"dataset {tmp_path}/saved, split 'train', row 0: "
        "field 'text_a' is missing; did you mean 'text'?"
    )
    config = dataset_task(
        path="saved", splits={"train": "train", "val": "trian"}, fields={"text_a": "text"}
    )
    assert problem(config, tmp_path, "val") == (
        f"dataset {tmp_path}/saved: no split 'trian'; did you mean 'train'?; 'train[:90%]' and "
        "'train[90%:]' divide it"
    )


def test_a_broken_file_of_a_dataset_folder_is_told_once(tmp_path, caplog):
    (tmp_path / "saved").mkdir()
    for split in ("train", "validation"):
        (tmp_path / "saved" / f"{split}.parquet").write_bytes(b"no parquet")
    told = problem(dataset_task(path="saved"), tmp_path)
    assert told.startswith(f"dataset {tmp_path}/saved cannot be loaded: Parquet")
    assert caplog.records == []


def test_an_unreachable_hub_is_said_in_one_line(tmp_path):
    config = dataset_task(path="nobody/nothing-of-this-name")
    assert problem(config, tmp_path).startswith("dataset nobody/nothing-of-this-name")


# --- real data ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(shipped_task_configs()))
def test_shipped_configs_read_the_real_data(name):
    from real_data import data_folder

    folder = data_folder()
    manifest = json.loads((folder / "MANIFEST.json").read_text())["tasks"][name]
    config = read_task_config(shipped_task_configs()[name])
    for split in ("train", "val", "test"):
        if split in manifest["rows"]:
            assert len(read_examples(config, split, folder)) == manifest["rows"][split]
    if config.kind != "regression":
        assert set(manifest["labels"]) <= set(task_labels(config, folder))


# --- properties --------------------------------------------------------------------------------

# A byte order mark at the start of a line is none of the text.
line = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\ufeff"), max_size=20)


@given(st.lists(st.tuples(line, st.sampled_from("ab")), min_size=1, max_size=8))
def test_any_text_comes_back_as_it_was_written(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("any")
    write(folder, [{"text_a": text_a, "label": label} for text_a, label in rows])
    found = read(task(labels=["a", "b"]), folder)
    assert [(example.text_a, example.label) for example in found] == rows


@given(st.lists(st.tuples(line, st.sampled_from("ab")), min_size=1, max_size=8))
def test_any_text_comes_back_from_csv(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("any")
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text_a", "label"), *rows])
    found = read(task(suffix="csv", labels=["a", "b"]), folder)
    assert [(example.text_a, example.label) for example in found] == rows


word = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=6)
sentence = st.lists(st.tuples(word, st.sampled_from(["N", "V"])), min_size=1, max_size=5)


@given(st.lists(sentence, min_size=1, max_size=4))
def test_any_sentences_come_back_from_conll_columns(tmp_path_factory, sentences):
    folder = tmp_path_factory.mktemp("any")
    blocks = ["".join(f"{token} {label}\n" for token, label in words) for words in sentences]
    write(folder, suffix="conll", text="\n".join(blocks))
    found = read(task("tagging", suffix="conll", labels=["N", "V"]), folder)
    assert [list(zip(e.tokens, e.labels, strict=True)) for e in found] == sentences


def test_every_format_has_a_reader():
    assert set(READERS) == {*get_args(Format), "dataset"}
