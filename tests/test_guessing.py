"""Files as people bring them are taken for the tasks that they are."""

from __future__ import annotations

import csv
import io
import json

import pytest
from test_layouts import LAYOUTS, written
from tiny_encoders import SENTENCES

from gradts_plugin.errors import DataError, LeftOutWarning
from gradts_plugin.tasks.reading import read_split, task_labels
from gradts_plugin.tasks.starting.columns import columns_of
from gradts_plugin.tasks.starting.configs import guess_config
from gradts_plugin.tasks.starting.folders import FoundTask
from gradts_plugin.tasks.starting.guessing import guess

#: Layouts that nothing in a file of two rows tells, and what they are taken for.
AMBIGUOUS = {
    "DBpedia csv with texts of several lines": "title and text are a pair, as in AG News",
    "GoEmotions tsv": "a cell holds several labels, a kind that there is not",
}


@pytest.mark.filterwarnings("ignore", category=LeftOutWarning)
@pytest.mark.parametrize("name", [name for name in LAYOUTS if name not in AMBIGUOUS])
def test_public_layouts_are_guessed(name, tmp_path):
    layout = LAYOUTS[name]
    right = written(tmp_path, layout)
    files = {
        split: tuple(tmp_path / path for path in right.paths.of(split))
        for split in ("train", "val", "test")
    }
    config = guess_config(FoundTask("t", files)).config
    assert (config.kind, task_labels(config, tmp_path)) == (right.kind, layout.labels)
    expected, found = (read_split(each, "train", tmp_path) for each in (right, config))
    assert [*found] == [*expected]
    assert found.unlabelled.count == layout.left_out


# --- columns --------------------------------------------------------------------------------------

WORDS = [word for sentence in SENTENCES[:4] for word in sentence.split()]


def text(number, length=7):
    """A text of its own for each number."""
    return " ".join(
        WORDS[(number * 5 + place * (number + 2)) % len(WORDS)] for place in range(length)
    )


def rows(number=24, **columns):
    """Rows whose columns are made from their number."""
    return [{name: made(n) for name, made in columns.items()} for n in range(number)]


def of(*values):
    return lambda number: values[number % len(values)]


def first(number):
    return text(number)


def second(number):
    return text(number + 40, 6)


COLUMNS = {
    "names of our own": (rows(text_a=first, label=of("x", "y")), "single", ("text_a", "label")),
    "numbers as classes": (
        rows(review=first, stars=of(1, 2, 3, 4, 5)),
        "single",
        ("review", "stars"),
    ),
    "an id that repeats nothing": (
        rows(id=str, tweet=first, target=of("0", "4")),
        "single",
        ("tweet", "target"),
    ),
    "names nobody knows": (rows(a=first, b=of("rot", "grün")), "single", ("a", "b")),
    "label first, names nobody knows": (rows(b=of("p", "q"), a=first), "single", ("a", "b")),
    "a speaker is no label": (
        rows(speaker=of("Ann", "Bob"), line=first, mood=of("joy", "fear", "joy")),
        "single",
        ("line", "mood"),
    ),
    "a user and a date are no texts": (
        rows(date=of("2024-01-03", "2024-02-05"), user=of("me", "you"), text=first, label=of(0, 1)),
        "single",
        ("text", "label"),
    ),
    "truth values": (rows(comment=first, toxic=of(True, False)), "single", ("comment", "toxic")),
    "capital letters": (rows(Text=first, Label=of("A", "B")), "single", ("Text", "Label")),
    "camel case": (
        rows(tweetText=first, goldLabel=of("A", "B")),
        "single",
        ("tweetText", "goldLabel"),
    ),
    "two labels": (
        rows(body=first, queue=of("it", "hr"), priority=of("low", "high")),
        "single",
        ("body", "queue"),
    ),
    "a title nobody pairs": (
        rows(text=first, note=second, label=of(0, 1)),
        "single",
        ("text", "label"),
    ),
    "premise and hypothesis": (
        rows(premise=first, hypothesis=second, label=of(0, 1, 2)),
        "pair",
        ("premise", "hypothesis", "label"),
    ),
    "sentences by number": (
        rows(sentence1=first, sentence2=second, gold_label=of("a", "b")),
        "pair",
        ("sentence1", "sentence2", "gold_label"),
    ),
    "sentences by letter": (
        rows(sent_a=first, sent_b=second, same=of("yes", "no")),
        "pair",
        ("sent_a", "sent_b", "same"),
    ),
    "question and passage": (
        rows(question=first, passage=second, answer=of(True, False)),
        "pair",
        ("question", "passage", "answer"),
    ),
    "two texts, names nobody knows": (
        rows(frage=first, antwort=second, passt=of("ja", "nein")),
        "pair",
        ("frage", "antwort", "passt"),
    ),
    "title and text": (
        rows(title=first, text=second, label=of(0, 1)),
        "pair",
        ("title", "text", "label"),
    ),
    "nested": (
        rows(data=lambda n: {"text": text(n)}, gold=of("a", "b")),
        "single",
        ("data.text", "gold"),
    ),
    "a score with fractions": (
        rows(text=first, v=lambda n: n / 7),
        "regression",
        ("text", "v"),
    ),
    "a score of two texts": (
        rows(sentence1=first, sentence2=second, score=lambda n: n / 5),
        "regression",
        ("sentence1", "sentence2", "score"),
    ),
    "a score in whole numbers": (
        rows(text=first, score=lambda n: n * 3),
        "regression",
        ("text", "score"),
    ),
    "scores as text": (
        rows(text=first, similarity=lambda n: f"{n / 3:.2f}"),
        "regression",
        ("text", "similarity"),
    ),
    "tokens and tags": (
        rows(tokens=lambda n: text(n).split(), ner_tags=lambda n: ["O", "B-x"] + ["O"] * 5),
        "tagging",
        ("tokens", "ner_tags"),
    ),
    "tags by number, two of them": (
        rows(
            tokens=lambda n: text(n).split(),
            pos_tags=lambda n: [n % 9] * 7,
            ner_tags=lambda n: [n % 2] * 7,
        ),
        "tagging",
        ("tokens", "ner_tags"),
    ),
    "words and upos": (
        rows(words=lambda n: text(n).split(), upos=lambda n: ["DET", "NOUN"] * 3 + ["X"]),
        "tagging",
        ("words", "upos"),
    ),
    "choices in a list": (
        rows(question=first, choices=lambda n: [text(n, 2), text(n + 9, 3)], answer=of("A", "B")),
        "multiple_choice",
        ("question", "choices", "answer"),
    ),
    "choices with a column each": (
        rows(ctx=first, ending0=second, ending1=first, label=of(0, 1)),
        "multiple_choice",
        ("ctx", ("ending0", "ending1"), "label"),
    ),
    "choices by letter": (
        rows(question=first, A=second, B=first, C=second, D=first, answer=of("A", "D")),
        "multiple_choice",
        ("question", ("A", "B", "C", "D"), "answer"),
    ),
    "options in a list, numbers": (
        rows(prompt=first, options=lambda n: [text(n, 2), text(n + 9, 3)], gold=of(0, 1)),
        "multiple_choice",
        ("prompt", "options", "gold"),
    ),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_guessed(name):
    given, kind, fields = COLUMNS[name]
    found = guess(columns_of(given))
    assert (found.kind, tuple(found.fields.values())) == (kind, fields)
    assert found.reasons[0].startswith(f"{kind}: ")
    assert found.reasons[-1].startswith(f"{found.metric}: ")


def test_what_else_it_could_be_is_said():
    given = rows(text=first, note=second, emotion=of("joy", "fear"), sentiment=of("+", "-"))
    reasons = guess(columns_of(given)).reasons
    assert reasons[0].endswith("it could also be 'sentiment': say it in 'fields'")
    assert reasons[1] == "not read, though they are texts: 'note'"


@pytest.mark.parametrize(
    ("given", "metric"),
    [
        (rows(text=first, label=of("a", "b")), "accuracy"),
        (rows(text=first, label=of("a", "a", "a", "b")), "macro_f1"),
        (rows(text=first, label=of(*"aaaabc")), "macro_f1"),
        (rows(text=first, label=lambda n: n / 7), "pearson"),
        (rows(tokens=lambda n: ["a", "b"], tags=lambda n: ["O", "B-x"]), "seqeval_f1"),
        (rows(tokens=lambda n: ["a", "b"], tags=lambda n: ["N", "V"]), "accuracy"),
    ],
)
def test_the_metric(given, metric):
    assert guess(columns_of(given)).metric == metric


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (rows(text=first), "no column looks like its label; its columns: 'text'"),
        (rows(id=str, label=of(0, 1)), "no column looks like its text; its columns: 'id', 'label'"),
        (rows(text=first, label=of("a")), "no column looks like its label"),
    ],
)
def test_what_is_missing_is_said(given, problem):
    with pytest.raises(DataError) as caught:
        guess(columns_of(given))
    assert str(caught.value).startswith(problem)


# --- files ----------------------------------------------------------------------------------------


def table(separator=",", header=("text", "label"), number=24, labels=("x", "y")):
    stream = io.StringIO()
    made = csv.writer(stream, delimiter=separator, lineterminator="\n")
    made.writerows([header] if header else [])
    made.writerows([text(n), labels[n % len(labels)]] for n in range(number))
    return stream.getvalue()


def guessed(folder, name="train.csv", /, **contents):
    """The config of files with these contents, by split."""
    files = {}
    for split, content in contents.items():
        path = folder / name.replace("train", split)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        files[split] = (path,)
    made = guess_config(FoundTask("t", files))
    assert all(values.pop("train") for values in [dict(made.values["paths"])])
    kept = {key: value for key, value in made.values.items() if key not in ("name", "paths")}
    return kept, made


HELD = {"held_out": {"val": 0.2, "seed": 0}}
SINGLE = {"kind": "single", "metric": "accuracy", "fields": {"text_a": "text"}}


@pytest.mark.parametrize(
    ("name", "content", "keys"),
    [
        ("train.csv", table(), {}),
        ("train.csv", table(";"), {"separator": ";"}),
        ("train.csv", table("|"), {"separator": "|"}),
        ("train.csv", table("\t"), {"format": "tsv"}),
        ("train.tsv", table("\t"), {}),
        ("train.tsv", table(), {"format": "csv"}),
        ("train.txt", table("\t"), {"format": "tsv"}),
        ("train.dat", table("\t"), {"format": "tsv"}),
        ("train.tsv", table("\t").replace("boat", '"boat"'), {}),
        ("train.csv", table().encode("utf-16"), {}),
        ("train.csv", table().encode("utf-16-le"), {"encoding": "utf-16-le"}),
        ("train.csv", table().replace("a", "é").encode("cp1252"), {"encoding": "cp1252"}),
        ("train.csv", b"\xef\xbb\xbf" + table().encode(), {}),
    ],
)
def test_tables(tmp_path, name, content, keys):
    if isinstance(content, bytes) and "cp1252" in str(keys):
        content = content.replace(b"l\xe9bel", b"label")
    found, _ = guessed(tmp_path, name, train=content)
    assert found == {**SINGLE, **HELD, **keys}


def test_quoted_tabs_are_a_csv_file_with_another_separator(tmp_path):
    content = "text\tlabel\n" + "".join(f'"{text(n)}"\t"{"xy"[n % 2]}"\n' for n in range(24))
    found, _ = guessed(tmp_path, "train.tsv", train=content)
    assert found == {**SINGLE, **HELD, "format": "csv", "separator": "\t"}


def test_no_header(tmp_path):
    bare = table(header=None)
    assert guessed(tmp_path, train=bare, val=bare)[0] == {
        "kind": "single",
        "metric": "accuracy",
        "columns": ["text_a", "label"],
    }
    found, _ = guessed(tmp_path, train=table(), val=bare)
    assert found == {**SINGLE, "columns": {"val": ["text", "label"]}}


def test_labels_that_other_splits_have_alone(tmp_path):
    found, made = guessed(tmp_path, train=table(), val=table(labels=("x", "z")))
    assert found == {**SINGLE, "labels": "infer_all"}
    assert made.reasons[-1] == "the other splits have labels that train has not"


def test_broken_rows_are_left_out_where_they_are_few(tmp_path):
    found, _ = guessed(tmp_path, train=table(number=60) + "one,two,three\n")
    assert found == {**SINGLE, **HELD, "on_bad_rows": "skip"}
    found, _ = guessed(tmp_path, train=table(number=60) + '"say "no" now",x\n')
    assert found == {**SINGLE, **HELD, "on_bad_rows": "skip"}
    with pytest.raises(DataError, match="'on_bad_rows': 'skip' leaves it out"):
        guessed(tmp_path, train=table(number=20) + "one,two,three\n" * 3)


def test_a_test_split_that_cannot_be_read_is_left_out(tmp_path):
    _, made = guessed(tmp_path, train=table(), test="nothing\nof the kind\n")
    assert "test" not in made.values["paths"]
    assert made.reasons[-1].startswith("the test split is left out: ")


@pytest.mark.parametrize(
    ("labels", "no_label"),
    [
        (("a", "b", "-"), ["-"]),
        (("0", "1", "2", "-1"), ["-1"]),
        (("1", "0", "-1"), []),
        (("a", "b", ""), [""]),
        (("a", "b", "-", ""), ["-", ""]),
    ],
)
def test_what_is_no_label(tmp_path, labels, no_label):
    found, _ = guessed(tmp_path, train=table(labels=labels))
    assert found == {**SINGLE, **HELD, "no_label": no_label}


def sentences(tags=("O", "B-x"), separator=" ", number=8, before=""):
    return "".join(
        before + f"w{n}{separator}{tags[0]}\nv{n}{separator}{tags[1]}\n\n" for n in range(number)
    )


@pytest.mark.parametrize(
    ("name", "content", "keys"),
    [
        ("train.conll", sentences(), {}),
        ("train.bio", sentences(separator="\t"), {"separator": "\t"}),
        ("train.txt", sentences(), {"format": "conll"}),
        ("train.tsv", sentences(separator="\t"), {"format": "conll", "separator": "\t"}),
        ("train.conll", sentences(before="# id\n"), {"comment": "#"}),
        ("train.conll", sentences(("N", "V")), {"metric": "accuracy"}),
        (
            "train.txt",
            sentences(("N O", "V B-x")),
            {"format": "conll", "columns": ["tokens", "column1", "labels"]},
        ),
    ],
)
def test_words_and_tags(tmp_path, name, content, keys):
    found, _ = guessed(tmp_path, name, train=content)
    assert found == {"kind": "tagging", "metric": "seqeval_f1", **HELD, **keys}


def test_rows_of_json_and_parquet(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    given = rows(text=first, label=of("x", "y"))
    content = "".join(json.dumps(row) + "\n" for row in given)
    assert guessed(tmp_path, "train.jsonl", train=content)[0] == {**SINGLE, **HELD}
    assert guessed(tmp_path, "train.json", train=json.dumps(given))[0] == {**SINGLE, **HELD}
    parquet.write_table(pa.Table.from_pylist(given), tmp_path / "train.parquet")
    content = (tmp_path / "train.parquet").read_bytes()
    assert guessed(tmp_path, "train.parquet", train=content)[0] == {**SINGLE, **HELD}


def test_a_folder_of_datasets(tmp_path):
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    made = datasets.Dataset.from_list(rows(text=first, label=of(0, 1)), features=features)
    datasets.DatasetDict({"train": made, "validation": made}).save_to_disk(tmp_path / "set")
    config = guess_config(FoundTask("t", {}, tmp_path / "set")).config
    assert config.dataset.splits.val == "validation"
    assert task_labels(config, tmp_path) == ("no", "yes")
    datasets.DatasetDict({"train": made}).save_to_disk(tmp_path / "alone")
    values = guess_config(FoundTask("t", {}, tmp_path / "alone")).values
    assert values["held_out"] == HELD["held_out"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("train.txt", "".join(text(n) + "\n" for n in range(20)), "save it as CSV with a header"),
        ("train.csv", "", "is empty"),
        ("train.bin", b"\x00\x01\x02" * 50, "is no text; known files are"),
        ("train.xlsx", b"PK\x03\x04", "is a zip archive or a workbook"),
        ("train.json", '{"a": 1', "broken JSON"),
        ("train.csv", "text,label\na b,x\n", "no column looks like its label"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(tmp_path, name, content, problem):
    with pytest.raises(DataError) as caught:
        guessed(tmp_path, name, train=content)
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
