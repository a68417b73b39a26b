"""Files as people bring them: what is read as it is meant, and what is refused in one line."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import tracemalloc

import datasets
import pyarrow as pa
import pytest
from pyarrow import feather, parquet
from reading_cases import problem

from gradts_plugin.errors import DataError, LeftOutWarning
from gradts_plugin.tasks.reading import each_example, read_examples, read_split, task_labels
from gradts_plugin.tasks.task_configs import parse_task_config

METRICS = {"regression": "pearson", "tagging": "accuracy"}


def task(kind="single", *, train="train.jsonl", **changes):
    values = {
        "name": "task",
        "kind": kind,
        "metric": METRICS.get(kind, "accuracy"),
        "paths": {"train": train, "val": train},
        **changes,
    }
    return parse_task_config({key: value for key, value in values.items() if value}, where="here")


def table(folder, text, name="train.csv", written="utf-8", **changes):
    (folder / name).write_bytes(text.encode(written))
    return task(train=name, **changes)


def conll(folder, text, name="train.conll", **changes):
    (folder / name).write_text(text, encoding="utf-8")
    return task("tagging", train=name, **changes)


def jsonl(folder, rows, kind="single", name="train.jsonl", **changes):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return task(kind, train=name, **changes)


def pairs(config, folder, split="train"):
    return [(each.text_a, each.label) for each in read_examples(config, split, folder)]


def words(config, folder, split="train"):
    return [(each.tokens, each.labels) for each in read_examples(config, split, folder)]


TWO = [("x", "a"), ("y", "b")]


# --- tables -------------------------------------------------------------------------------------


def test_texts_may_be_long(tmp_path):
    config = table(tmp_path, f"text_a,label\n{'w ' * 70_000},a\ny,b\n")
    assert len(pairs(config, tmp_path)[0][0]) == 140_000


def test_columns_that_nobody_asks_for_may_be_unnamed_or_repeated(tmp_path):
    config = table(tmp_path, "v1,v2,,,v9,v9\na,x,,,1,2\nb,y,,,3,4\n")
    config = config.model_copy(
        update={"fields": config.fields.model_copy(update={"text_a": "v2", "label": "v1"})}
    )
    assert pairs(config, tmp_path) == TWO


def test_a_tsv_splits_at_tabs_and_line_feeds_alone(tmp_path):
    config = table(tmp_path, 'text_a\tlabel\nx\ry "z\ta\r\ny\tb\n', "train.tsv")
    assert pairs(config, tmp_path) == [('x\ry "z', "a"), ("y", "b")]


def test_files_of_old_macs_end_their_lines_in_carriage_returns(tmp_path):
    assert pairs(table(tmp_path, "text_a,label\rx,a\ry,b\r"), tmp_path) == TWO


def test_a_carriage_return_in_a_text_must_be_quoted(tmp_path):
    config = table(tmp_path, "text_a,label\nx\rx,a\ny,b\n")
    assert problem(config, tmp_path) == (
        "train.csv, line 2: broken CSV: a carriage return in a text that is not quoted; "
        "'on_bad_rows': 'skip' leaves it out"
    )


def test_named_columns_of_a_tsv_may_have_others_behind_them(tmp_path):
    config = table(
        tmp_path, "1\ta\tx\n2\tb\ty\thttp\tfree\n", "train.tsv", columns=["id", "label", "text_a"]
    )
    assert pairs(config, tmp_path) == TWO
    config = table(tmp_path, "1,a,x\n2,b,y, z\n", columns=["id", "label", "text_a"])
    assert problem(config, tmp_path) == (
        "train.csv, line 2: 4 columns, 3 are expected (id, label, text_a); 'on_bad_rows': 'skip' "
        "leaves it out"
    )


def test_empty_cells_behind_the_columns_are_nothing(tmp_path):
    assert pairs(table(tmp_path, "text_a,label\nx,a,,\ny,b\n"), tmp_path) == TWO


def test_rows_of_empty_cells_are_nothing(tmp_path):
    assert pairs(table(tmp_path, ",\ntext_a,label\nx,a\n , \ny,b\n,\n,\n"), tmp_path) == TWO
    tsv = "text_a\tlabel\n\t\nx\ta\ny\tb\n\n"
    assert pairs(table(tmp_path, tsv, "train.tsv"), tmp_path) == TWO


def test_columns_by_number_need_no_names(tmp_path):
    fields = {"text_a": 2, "label": -1}
    config = table(tmp_path, "1,,x,a\n2,,y,b\n", fields=fields)
    assert pairs(config, tmp_path) == TWO
    config = table(tmp_path, "id,,what,which\n1,,x,a\n2,,y,b\n", fields=fields, skip_rows=1)
    assert pairs(config, tmp_path) == TWO
    config = table(tmp_path, "id,text_a,\n1,x,a\n2,y,b\n", fields={"label": -1})
    assert pairs(config, tmp_path) == TWO
    config = table(tmp_path, "x,a\ny,b\n", fields={"text_a": 0, "label": 2})
    assert problem(config, tmp_path) == "train.csv, line 1: column 2 is missing"


def test_lines_before_the_header_are_skipped(tmp_path):
    config = table(tmp_path, "a report, of 2020\n\ntext_a,label\nx,a\n\ny,c\n", skip_rows=2)
    assert pairs(config, tmp_path) == [("x", "a"), ("y", "c")]
    config = table(tmp_path, "what,which\nx,a\ny,b\n", columns=["text_a", "label"], skip_rows=1)
    assert pairs(config, tmp_path) == TWO
    config = table(tmp_path, "one\ntext_a,label\nx,a\ny\n", skip_rows=1)
    assert problem(config, tmp_path).startswith("train.csv, line 4: 1 columns, 2 are expected")


def test_a_header_that_is_one_name_short(tmp_path):
    config = table(tmp_path, "text_a,label\n1,x,a\n2,y,b\n")
    assert problem(config, tmp_path) == (
        "train.csv, line 2: 3 columns, 2 are expected (text_a, label); where the header is one "
        "name short, name all 'columns' and 'skip_rows': 1; 'on_bad_rows': 'skip' leaves it out"
    )
    config = table(
        tmp_path,
        "text_a,label\n1,x,a\n2,y,b\n",
        columns=["row", "text_a", "label"],
        skip_rows=1,
    )
    assert pairs(config, tmp_path) == TWO


@pytest.mark.parametrize("separator", ["\t", ";", "|"])
def test_a_header_that_is_one_column_asks_for_the_separator(tmp_path, separator):
    text = separator.join(("text_a", "label")) + "\nx\n"
    assert problem(table(tmp_path, text), tmp_path).endswith(f"is the 'separator' {separator!r}?")


def test_broken_rows_are_left_out_where_that_is_asked(tmp_path):
    config = table(tmp_path, "text_a,label\nx,a\nx,y,z\ntext_a,label\ny,b\n", on_bad_rows="skip")
    with pytest.warns(LeftOutWarning, match="task 'task', train split: broken rows, left out: 2"):
        assert pairs(config, tmp_path) == TWO
    (tmp_path / "rows.jsonl").write_text('{"text_a": "x", "label": "a"}\n{"te\n[]\n')
    config = task(train="rows.jsonl", labels=["a", "b"], on_bad_rows="skip")
    found = read_split(config, "train", tmp_path)
    assert len([*found]) == 1
    assert found.bad.count == 2


BROKEN_QUOTES = {
    "a quote within": ('"say "no" now",a\n', "line 3: broken CSV: ',' expected after '\"'"),
    "a quote that is not closed": ('"no end,a\n', "line 3: broken CSV: ',' expected after '\"'"),
    "a carriage return": ("no\rend,a\n", "line 3: broken CSV: a carriage return in a text"),
}


@pytest.mark.parametrize("name", BROKEN_QUOTES)
def test_rows_with_broken_quotes_are_left_out_where_that_is_asked(tmp_path, name):
    row, said = BROKEN_QUOTES[name]
    text = f'text_a,label\nx,a\n{row}"y",b\n'
    config = table(tmp_path, text, on_bad_rows="skip")
    with pytest.warns(LeftOutWarning, match="broken rows, left out: 1"):
        assert pairs(config, tmp_path) == TWO
    found = read_split(config, "train", tmp_path)
    list(found)
    assert said in found.bad.first


def test_a_quote_that_is_never_closed_costs_one_row(tmp_path):
    text = 'text_a,label\nx,a\n"no end,a\n' + "y,b\n" * 1000
    config = table(tmp_path, text, on_bad_rows="skip")
    found = read_split(config, "train", tmp_path)
    assert sum(1 for _ in found) == 1001
    assert (found.bad.count, found.bad.first.partition(": ")[2]) == (
        1,
        "broken CSV: unexpected end of data",
    )


def test_rows_with_line_breaks_are_named_by_their_first_line(tmp_path):
    text = 'text_a,label\n"x\nx",a\n"y\n"y,b\nz,b,c\nx,b\n'
    found = read_split(table(tmp_path, text, on_bad_rows="skip"), "train", tmp_path)
    assert [each.text_a for each in found] == ["x\nx", "x"]
    assert found.bad.first.startswith(f"{tmp_path}/train.csv, line 4: broken CSV")


def test_joined_files_keep_no_byte_order_mark(tmp_path):
    config = table(tmp_path, '\ufeffx,a\n\ufeff"y",b\n', columns=["text_a", "label"])
    assert pairs(config, tmp_path) == TWO
    rows = "".join("\ufeff" + json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "train.jsonl").write_text(rows)
    assert pairs(task(), tmp_path) == TWO


def test_where_all_rows_are_broken_the_first_is_shown(tmp_path):
    config = table(tmp_path, "text_a,label\nx\ny\n", on_bad_rows="skip")
    assert problem(config, tmp_path) == (
        f"train.csv: the train split has no row that is whole; {tmp_path}/train.csv, line 2: 1 "
        "columns, 2 are expected (text_a, label)"
    )


def test_a_header_in_the_middle_is_said(tmp_path):
    config = table(tmp_path, "text_a,label\nx,a\n\ufefftext_a,label\ny,b\n")
    assert problem(config, tmp_path).startswith("train.csv, line 3: repeats the header")


def test_columns_may_differ_by_split(tmp_path):
    (tmp_path / "test.tsv").write_text("index\ttext_a\n0\tz\n")
    paths = {"train": "train.tsv", "val": "train.tsv", "test": "test.tsv"}
    names = ["label", "star", "text_a"]
    config = table(
        tmp_path,
        "a\t*\tx\nb\t\ty\n",
        "train.tsv",
        paths=paths,
        columns={"train": names, "val": names},
    )
    assert pairs(config, tmp_path, "val") == TWO
    assert pairs(config, tmp_path, "test") == [("z", None)]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le", "gb18030"])
def test_other_encodings_are_said(tmp_path, encoding):
    text = "text_a,label\nà la,a\ny,b\n"
    config = table(tmp_path, text, written=encoding, encoding=encoding)
    assert pairs(config, tmp_path) == [("à la", "a"), ("y", "b")]


def test_an_encoding_that_is_not_said(tmp_path):
    text = "text_a,label\nx,a\nà la,b\n"
    assert pairs(table(tmp_path, text, written="utf-16"), tmp_path)[1] == ("à la", "b")
    assert problem(table(tmp_path, text, written="latin-1"), tmp_path) == (
        "train.csv, line 3: is not UTF-8 text; say its 'encoding' (cp1252 and latin-1 are common)"
    )
    assert problem(table(tmp_path, text, written="utf-16-le"), tmp_path) == (
        "train.csv: is no UTF-8 text; is it UTF-16? say its 'encoding'"
    )
    config = table(tmp_path, text, written="latin-1", encoding="ascii")
    assert problem(config, tmp_path) == "train.csv, line 3: is not ascii text"


def test_white_space_around_labels_and_column_names_is_none_of_theirs(tmp_path):
    assert pairs(table(tmp_path, "text_a,label\nx,a\nx,a \ny, b\n"), tmp_path) == [
        ("x", "a"),
        ("x", "a"),
        ("y", "b"),
    ]
    config = table(tmp_path, 'text_a, label\nx, a\n"y, z", b\n', fields={"label": " label"})
    assert pairs(config, tmp_path) == [("x", "a"), ("y, z", "b")]
    config = jsonl(tmp_path, [{"text_a": "x", "label": "a "}], labels=["a", "b"])
    assert pairs(config, tmp_path) == [("x", "a")]


def test_whole_numbers_are_one_label_however_they_are_written(tmp_path):
    config = table(tmp_path, "text_a,label\nx,1.0\ny,0\nz,1\n")
    assert task_labels(config, tmp_path) == ("0", "1")
    config = table(tmp_path, "text_a,label\nx,1.0\ny,01\n", label_map={"1.0": "one"})
    assert task_labels(config, tmp_path) == ("01", "one")


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("1_5", "field 'label' is no finite number but '1_5'"),
        ('"4,5"', "field 'label' is no finite number but '4,5'"),
        ("1e39", "field 'label' is 1e+39, beyond float32"),
    ],
)
def test_scores_that_are_no_number_of_ours(tmp_path, score, expected):
    config = table(tmp_path, f"text_a,label\nx,{score}\ny,2\n", kind="regression")
    assert problem(config, tmp_path) == f"train.csv, line 2: {expected}"


def test_scores_of_hundreds_of_digits(tmp_path):
    config = jsonl(tmp_path, [{"text_a": "x", "label": 10**400}], "regression")
    assert problem(config, tmp_path).startswith(
        "train.jsonl, line 1: field 'label' is no finite number but '1000"
    )


# --- CoNLL --------------------------------------------------------------------------------------


def test_lines_of_a_sentence_have_the_same_columns(tmp_path):
    assert problem(conll(tmp_path, "New York B\nis O\nTurin B\n"), tmp_path) == (
        "train.conll, line 1: 3 columns (New | York | B), where other lines of its sentence have "
        "2; comment lines begin with 'comment', columns with spaces in them need 'separator'; "
        "'on_bad_rows': 'skip' leaves it out"
    )
    text = "# text = the dog\nthe DT\ndog NN\n"
    assert "line 1: 5 columns (# | text |" in problem(conll(tmp_path, text), tmp_path)
    config = conll(tmp_path, text, comment="#")
    assert words(config, tmp_path) == [(("the", "dog"), ("DT", "NN"))]


def test_a_comment_of_two_words_is_no_word_with_a_tag(tmp_path):
    text = "# newdoc\nthe DT\ndog NN\n"
    assert problem(conll(tmp_path, text), tmp_path) == (
        "train.conll: only a # at the start of a sentence has the tag 'newdoc'; where that is a "
        "comment say 'comment': '#', else list the labels"
    )
    assert words(conll(tmp_path, text, comment="#"), tmp_path)[0][0] == ("the", "dog")
    for tags in ("# NN\nthe DT\ndog NN\n", "# #\nthe DT\ndog NN\n"):
        assert words(conll(tmp_path, tags), tmp_path)[0][0] == ("#", "the", "dog")


def test_columns_beyond_those_that_are_named_are_shown(tmp_path):
    text = "EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n"
    assert problem(conll(tmp_path, text), tmp_path).startswith(
        "train.conll, line 1: 4 columns (EU | NNP | B-NP | B-ORG), 2 are named (tokens, labels); "
        "name each in 'columns', or say numbers in 'fields'; "
    )
    config = conll(tmp_path, text, fields={"tokens": 0, "labels": -1})
    assert words(config, tmp_path) == [(("EU", "rejects"), ("B-ORG", "O"))]
    config = conll(tmp_path, text, columns=["tokens", "pos", "labels", "ner"])
    assert task_labels(config, tmp_path) == ("B-NP", "B-VP")


def test_a_broken_sentence_is_left_out_whole(tmp_path):
    config = conll(tmp_path, "a N\nb c V\n\nd V\ne N\n", on_bad_rows="skip")
    with pytest.warns(LeftOutWarning, match="broken rows, left out: 1"):
        assert words(config, tmp_path) == [(("d", "e"), ("V", "N"))]


UNIVERSAL = """# sent_id = 1
1\tvamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2-3\tal\t_\t_\t_\t_\t_\t_\t_\t_
2\ta\ta\tADP\t_\t_\t4\tcase\t_\t_
3\tel sol\tel\tDET\tRD\t_\t4\tdet\t_\t_
3.1\tx\tx\tVERB\t_\t_\t_\t_\t_\t_

# sent_id = 2
1\t_\t_\t_\t_\t_\t0\troot\t_\t_
2\t#\t#\tSYM\t_\t_\t1\tdep\t_\t_
"""


def test_ranges_and_empty_nodes_of_conllu_are_no_words(tmp_path):
    config = conll(tmp_path, UNIVERSAL, "train.conllu")
    with pytest.warns(LeftOutWarning, match="words without a label, ignored: 1"):
        found = words(config, tmp_path)
    assert found == [
        (("vamos", "a", "el sol"), ("VERB", "ADP", "DET")),
        (("_", "#"), (None, "SYM")),
    ]
    config = conll(tmp_path, UNIVERSAL, "train.conllu", fields={"labels": "deprel"})
    assert task_labels(config, tmp_path) == ("case", "dep", "det", "root")
    config = conll(
        tmp_path,
        "# a\n1\tbo\tA\n2-3\tdos\t_\n2\tdo\tB\n3\ts\tA\n",
        columns=["id", "tokens", "labels"],
        comment="#",
        separator="\t",
    )
    assert words(config, tmp_path) == [(("bo", "do", "s"), ("A", "B", "A"))]


def test_ids_that_are_not_named_so_are_ids_too(tmp_path):
    text = "1\tbo\tA\n2-3\tdos\t_\n2\tdo\tB\n2.1\tx\tB\n3\ts\tA\n"
    for keys in ({"columns": ["i", "tokens", "labels"]}, {"fields": {"tokens": 1, "labels": 2}}):
        config = conll(tmp_path, text, **keys)
        assert words(config, tmp_path) == [(("bo", "do", "s"), ("A", "B", "A"))]
    times = "0.5\tbo\tA\n1.5\tdo\tB\n"
    config = conll(tmp_path, times, columns=["time", "tokens", "labels"])
    assert words(config, tmp_path) == [(("bo", "do"), ("A", "B"))]
    numbers = "1-2\tA\n7\tB\n"
    assert words(conll(tmp_path, numbers), tmp_path) == [(("1-2", "7"), ("A", "B"))]


def test_conllu_plus_names_its_own_columns(tmp_path):
    text = "# global.columns = ID FORM NE\n1\tAda\tB\n2\tran\tO\n"
    config = conll(tmp_path, text, "train.conllup", fields={"labels": "ne"})
    assert words(config, tmp_path) == [(("Ada", "ran"), ("B", "O"))]


def test_a_tag_that_is_missing_is_said_with_its_line(tmp_path):
    text = "Ada\tN\nlives\t\nhere\tV\n"
    assert problem(conll(tmp_path, text, separator="\t"), tmp_path) == (
        "train.conll, line 2 ('lives'): there is no label but ''; 'no_label': [\"\"] leaves such "
        "words out"
    )
    config = conll(tmp_path, text, separator="\t", no_label=[""])
    with pytest.warns(LeftOutWarning, match="words"):
        assert words(config, tmp_path) == [(("Ada", "lives", "here"), ("N", None, "V"))]
    assert problem(conll(tmp_path, "Ada\tN\n\tV\n", separator="\t"), tmp_path).startswith(
        "train.conll, line 2: the word is empty"
    )


def test_spaces_document_starts_and_marks_of_joined_files(tmp_path):
    config = conll(tmp_path, "Ada\tN \nlives\tV\nBo\tN\n", separator="\t")
    assert task_labels(config, tmp_path) == ("N", "V")
    text = "0 -DOCSTART- O\n\n1 Ada N\n2 ran V\n\n\ufeff1 Bo N\n"
    config = conll(tmp_path, text, columns=["id", "tokens", "labels"])
    assert [tokens for tokens, _ in words(config, tmp_path)] == [("Ada", "ran"), ("Bo",)]
    assert task_labels(config, tmp_path) == ("N", "V")


# --- no label -----------------------------------------------------------------------------------


def test_test_files_may_be_without_tags(tmp_path):
    (tmp_path / "test.conll").write_text("a\nb\n")
    paths = {"train": "train.conll", "val": "train.conll", "test": "test.conll"}
    config = conll(tmp_path, "a N\nb V\n", paths=paths)
    assert words(config, tmp_path, "test") == [(("a", "b"), ())]


def test_an_empty_list_of_tags_is_none(tmp_path):
    jsonl(tmp_path, [{"tokens": ["a", "b"], "labels": []}], name="test.jsonl")
    paths = {"train": "train.jsonl", "val": "train.jsonl", "test": "test.jsonl"}
    rows = [{"tokens": ["a", "b"], "labels": ["N", "V"]}]
    config = jsonl(tmp_path, rows, "tagging", paths=paths)
    assert words(config, tmp_path, "test") == [(("a", "b"), ())]


@pytest.mark.parametrize("given", ["-100", -100, -1])
def test_marks_of_no_label(tmp_path, given):
    rows = [{"tokens": ["[CLS]", "a", "b"], "labels": [given, 0, 1]}]
    config = jsonl(tmp_path, rows, "tagging", labels=["0", "1"])
    with pytest.warns(LeftOutWarning, match="words without a label, ignored: 1"):
        assert words(config, tmp_path) == [(("[CLS]", "a", "b"), (None, "0", "1"))]


@pytest.mark.parametrize("empty", [None, "", float("nan"), " "])
def test_rows_with_an_empty_label_are_left_out_and_counted(tmp_path, empty):
    rows = [{"text_a": "x", "label": "a"}, {"text_a": "z", "label": empty}]
    rows += [{"text_a": "y", "label": "b"}]
    for no_label in (None, [None, "?"]):
        with pytest.warns(LeftOutWarning, match="rows without a label, left out: 1"):
            assert pairs(jsonl(tmp_path, rows, no_label=no_label), tmp_path) == TWO
    config = jsonl(tmp_path, rows, no_label=["?"])
    assert "line 2: field 'label' is " in problem(config, tmp_path)
    scores = [{"text_a": "x", "label": 1}, {"text_a": "y", "label": empty}]
    with pytest.warns(LeftOutWarning, match="rows without a label, left out: 1"):
        assert pairs(jsonl(tmp_path, scores, "regression"), tmp_path) == [("x", 1.0)]
    sentences = [{"tokens": ["a", "b"], "labels": ["N", "V"]}]
    sentences += [{"tokens": ["c"], "labels": empty}]
    with pytest.warns(LeftOutWarning, match="rows without a label, left out: 1"):
        assert len(words(jsonl(tmp_path, sentences, "tagging"), tmp_path)) == 1


@pytest.mark.parametrize("empty", [None, "", float("nan"), " "])
def test_empty_tags_are_said_and_ignored_where_that_is_asked(tmp_path, empty):
    tags = [{"tokens": ["a", "b", "c"], "labels": ["N", empty, "V"]}]
    assert "line 1, word 2 ('b'): there is no label but " in problem(
        jsonl(tmp_path, tags, "tagging"), tmp_path
    )
    with pytest.warns(LeftOutWarning):
        found = words(jsonl(tmp_path, tags, "tagging", no_label=[""]), tmp_path)
    assert found == [(("a", "b", "c"), ("N", None, "V"))]


SNLI = [{"text_a": text, "label": label} for text, label in ("xa", "z-", "yb")]


def test_what_may_be_a_class_or_no_label_is_asked(tmp_path):
    assert problem(jsonl(tmp_path, SNLI), tmp_path) == (
        "train.jsonl: '-' is a class in some sets and means no label in others: 'no_label': "
        "[\"-\"] leaves such rows out, 'no_label': [] makes it a class"
    )
    for keys in ({"no_label": ["-"]}, {"labels": ["a", "b"]}):
        with pytest.warns(LeftOutWarning, match="rows without a label, left out: 1"):
            assert pairs(jsonl(tmp_path, SNLI, **keys), tmp_path) == TWO
    for keys in ({"labels": ["-", "a", "b"]}, {"label_map": {"-": "none"}}):
        assert len(pairs(jsonl(tmp_path, SNLI, **keys), tmp_path)) == 3
    values = {**jsonl(tmp_path, SNLI).model_dump(exclude_defaults=True), "no_label": []}
    assert len(pairs(parse_task_config(values, where="here"), tmp_path)) == 3
    polarity = [{"text_a": "x", "label": -1}, {"text_a": "y", "label": 1}]
    assert task_labels(jsonl(tmp_path, polarity), tmp_path) == ("-1", "1")


@pytest.mark.parametrize("mark", ["nan", "NaN", -1, "_"])
def test_other_marks_that_may_be_classes(tmp_path, mark):
    rows = [{"tokens": ["a", "b", "c"], "labels": ["N", mark, "V"]}]
    assert "is a class in some sets and means no label" in problem(
        jsonl(tmp_path, rows, "tagging"), tmp_path
    )
    config = jsonl(tmp_path, rows, "tagging", no_label=[mark])
    with pytest.warns(LeftOutWarning):
        assert words(config, tmp_path)[0][1] == ("N", None, "V")


def test_what_is_named_is_added_to_what_never_is_a_label(tmp_path):
    rows = [{"tokens": ["a", "b", "c", "d"], "labels": ["N", -100, "V", "?"]}]
    with pytest.warns(LeftOutWarning, match="ignored: 2"):
        found = words(jsonl(tmp_path, rows, "tagging", no_label=["?"]), tmp_path)
    assert found[0][1] == ("N", None, "V", None)
    config = jsonl(tmp_path, rows, "tagging", labels=["-100", "N", "V", "?"])
    assert words(config, tmp_path)[0][1] == ("N", "-100", "V", "?")


def test_unlabelled_test_rows_as_glue_marks_them(tmp_path):
    jsonl(tmp_path, [{"text_a": "z", "label": -1}], name="test.jsonl")
    paths = {"train": "train.jsonl", "val": "train.jsonl", "test": "test.jsonl"}
    rows = [{"text_a": "x", "label": 0}, {"text_a": "y", "label": 1}]
    assert pairs(jsonl(tmp_path, rows, paths=paths), tmp_path, "test") == [("z", None)]


def test_minus_one_is_a_score(tmp_path):
    rows = [{"text_a": "x", "label": -1}, {"text_a": "y", "label": 1}]
    assert pairs(jsonl(tmp_path, rows, "regression"), tmp_path)[0] == ("x", -1.0)
    config = jsonl(tmp_path, rows, "regression", no_label=[-1])
    with pytest.warns(LeftOutWarning):
        assert pairs(config, tmp_path) == [("y", 1.0)]


def test_a_split_without_any_label(tmp_path):
    (tmp_path / "val.jsonl").write_text('{"text_a": "x", "label": -1}\n')
    config = jsonl(
        tmp_path,
        [{"text_a": "x", "label": 0}, {"text_a": "y", "label": 1}],
        paths={"train": "train.jsonl", "val": "val.jsonl"},
    )
    assert problem(config, tmp_path, "val") == "val.jsonl: the val split has no row with a label"


def test_labels_of_all_splits(tmp_path):
    for split, label in (("val", "c"), ("test", "d")):
        jsonl(tmp_path, [{"text_a": "z", "label": label}], name=f"{split}.jsonl")
    paths = {split: f"{split}.jsonl" for split in ("train", "val", "test")}
    rows = [{"text_a": "x", "label": "a"}, {"text_a": "y", "label": "b"}]
    assert "'labels': 'infer_all' takes those of all splits" in problem(
        jsonl(tmp_path, rows, paths=paths), tmp_path, "test"
    )
    config = jsonl(tmp_path, rows, paths=paths, labels="infer_all")
    assert task_labels(config, tmp_path) == ("a", "b", "c", "d")
    assert pairs(config, tmp_path, "test") == [("z", "d")]


# --- other forms --------------------------------------------------------------------------------

ROWS = [{"text_a": "x", "label": "a"}, {"text_a": "y", "label": "b"}]


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_compressed_files(tmp_path, suffix, pack):
    name = f"train.jsonl{suffix}"
    raw = pack("".join(json.dumps(row) + "\n" for row in ROWS).encode())
    (tmp_path / name).write_bytes(raw)
    assert pairs(task(train=name), tmp_path) == TWO
    (tmp_path / name).write_bytes(raw[:-9])
    assert problem(task(train=name), tmp_path).startswith(
        f"{name}: the compressed file is damaged: "
    )
    (tmp_path / "train.csv").write_bytes(b"PK\x03\x04...")
    assert problem(task(train="train.csv"), tmp_path) == (
        "train.csv: is a zip archive or a workbook; unpack it, or save it as CSV (UTF-8)"
    )


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        {"version": 1, "data": ROWS},
        {"one": ROWS[0], "two": ROWS[1]},
        {"text_a": ["x", "y"], "label": ["a", "b"]},
        {"text_a": {"0": "x", "1": "y"}, "label": {"0": "a", "1": "b"}},
    ],
)
def test_json_files(tmp_path, content):
    (tmp_path / "train.json").write_text(json.dumps(content, indent=1))
    assert pairs(task(train="train.json"), tmp_path) == TWO


def test_json_files_that_are_json_lines_or_broken(tmp_path):
    jsonl(tmp_path, ROWS, name="train.json")
    assert pairs(task(train="train.json"), tmp_path) == TWO
    for content, expected in (
        ('[{"a": 1},\n}', "train.json, line 2: broken JSON: Expecting value"),
        ('{"train": [{}], "dev": [{}]}', "train.json: no array of objects; its keys: train, dev"),
        ("3", "train.json: expected a JSON array or object, found int"),
        ("[3]", "train.json, row 0: expected a JSON object, found int"),
        ("[[]]", "train.json, row 0: expected a JSON object, found list; 'format'"),
    ):
        (tmp_path / "train.json").write_text(content)
        assert problem(task(train="train.json"), tmp_path).startswith(expected)


def test_parquet_and_arrow_files(tmp_path):
    columns = pa.table({"text_a": ["x", "y"], "label": ["a", "b"], "picture": [b"1", b"2"]})
    parquet.write_table(columns, tmp_path / "train.parquet")
    feather.write_feather(columns, tmp_path / "train.feather")
    with pa.ipc.new_stream(tmp_path / "train.arrow", columns.schema) as stream:
        stream.write_table(columns)
    for suffix in ("parquet", "feather", "arrow"):
        assert pairs(task(train=f"train.{suffix}"), tmp_path) == TWO
    (tmp_path / "train.parquet").write_bytes(b"PAR1 no more")
    assert problem(task(train="train.parquet"), tmp_path).startswith(
        "train.parquet: cannot be read as parquet: "
    )


def test_parquet_files_of_datasets_know_their_class_names(tmp_path):
    features = datasets.Features(
        {
            "text_a": datasets.Value("string"),
            "inner": {"label": datasets.ClassLabel(names=["a", "b"])},
        }
    )
    rows = {"text_a": ["x", "y"], "inner": [{"label": 0}, {"label": 1}]}
    saved = datasets.Dataset.from_dict(rows, features)
    saved.to_parquet(str(tmp_path / "train.parquet"))
    config = task(train="train.parquet", fields={"label": "inner.label"})
    assert pairs(config, tmp_path) == TWO


def test_text_and_label_in_one_line(tmp_path):
    (tmp_path / "train.txt").write_text("A:one x x\nB:two y:y\n\n")
    first = {"separator": " ", "into": ["label", "text_a"]}
    config = task(train="train.txt", split=first)
    assert pairs(config, tmp_path) == [("x x", "A:one"), ("y:y", "B:two")]
    coarse = {"field": "label", "separator": ":", "into": ["label", "fine"]}
    config = task(train="train.txt", split=[first, coarse])
    assert pairs(config, tmp_path) == [("x x", "A"), ("y:y", "B")]
    (tmp_path / "train.txt").write_text("x x|a\ny|y|b\n")
    last = {"separator": "|", "into": ["text_a", "label"], "from_end": True}
    config = task(train="train.txt", split=last)
    assert pairs(config, tmp_path) == [("x x", "a"), ("y|y", "b")]
    (tmp_path / "train.txt").write_text("x x|a\ny\n")
    assert problem(config, tmp_path) == (
        "train.txt, line 2: field 'label' is missing; valid: line, text_a"
    )


def test_texts_and_labels_in_two_files(tmp_path):
    (tmp_path / "text.txt").write_text("x\n\ny\n")
    (tmp_path / "labels.txt").write_text("a\nb\nb\n")
    paths = {split: ["text.txt", "labels.txt"] for split in ("train", "val")}
    config = task(paths=paths, columns=["text_a", "label"])
    assert pairs(config, tmp_path) == [("x", "a"), ("", "b"), ("y", "b")]
    (tmp_path / "labels.txt").write_text("a\nb\n")
    assert problem(config, tmp_path) == (
        f"text.txt, line 3: {tmp_path}/labels.txt has fewer rows; the files of a split lie side by "
        "side, row by row"
    )


def test_a_table_and_a_file_of_labels(tmp_path):
    (tmp_path / "text.csv").write_text("text_a,n\nx,1\ny,2\n")
    (tmp_path / "labels.txt").write_text("a\nb\n")
    paths = {split: ["text.csv", "labels.txt"] for split in ("train", "val")}
    assert pairs(task(paths=paths, columns=["text_a", "label"]), tmp_path) == TWO


def test_a_choice_that_is_a_number_is_no_position(tmp_path):
    rows = [{"text_a": "x", "choices": ["1.0", "2.5"], "label": "1.0"}]
    (example,) = read_examples(jsonl(tmp_path, rows, "multiple_choice"), "train", tmp_path)
    assert example.label == 0


# --- folders of `datasets` ----------------------------------------------------------------------


def folder_task(path, kind="single", **changes):
    return task(kind, paths=None, dataset={"path": path}, **changes)


def test_cells_of_a_folder_of_tables_are_read_as_they_stand(tmp_path):
    (tmp_path / "d").mkdir()
    rows = 'text_a,label\n12,01\nNA,None\n"x, y",null\n'
    for split in ("train", "validation"):
        (tmp_path / "d" / f"{split}.csv").write_text(rows)
    datasets.load_dataset(str(tmp_path / "d"))  # what it infers and remembers does not matter
    config = folder_task("d")
    assert pairs(config, tmp_path) == [("12", "01"), ("NA", "None"), ("x, y", "null")]
    (tmp_path / "t").mkdir()
    for split in ("train", "validation"):
        (tmp_path / "t" / f"{split}.tsv").write_text("text_a\tlabel\n1\ta\nNA\tb\n")
    assert pairs(folder_task("t"), tmp_path) == [("1", "a"), ("NA", "b")]


def test_a_folders_card_may_name_the_classes(tmp_path):
    (tmp_path / "d").mkdir()
    card = {"dtype": {"class_label": {"names": {"0": "a", "1": "b"}}}, "name": "label"}
    features = [{"name": "text_a", "dtype": "string"}, card]
    head = json.dumps({"dataset_info": {"features": features}})  # JSON is YAML
    (tmp_path / "d" / "README.md").write_text(f"---\n{head}\n---\n")
    for split in ("train", "validation"):
        (tmp_path / "d" / f"{split}.csv").write_text("text_a,label\nx,0\ny,1\n")
    for _ in range(2):  # `datasets` remembers what it once read
        assert pairs(folder_task("d"), tmp_path) == TWO


def test_tables_of_a_folder_may_have_other_columns_in_other_splits(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "train.csv").write_text("text_a,label,more\nx,a,1\ny,b,2\n")
    (tmp_path / "d" / "test.csv").write_text("id,text_a\n1,z\n")
    source = {"path": "d", "splits": {"train": "train", "val": "train[1:]", "test": "test"}}
    config = task(paths=None, dataset=source)
    assert pairs(config, tmp_path) == TWO
    assert pairs(config, tmp_path, "val") == TWO[1:]
    assert pairs(config, tmp_path, "test") == [("z", None)]
    config = task(paths=None, dataset={"path": "d"})
    assert problem(config, tmp_path, "val") == (
        f"dataset {tmp_path}/d: no split 'validation'; valid: test, train"
    )
    config = task(paths=None, dataset={"path": "d", "splits": {"val": "train[x:]"}})
    assert problem(config, tmp_path, "val").startswith(f"dataset {tmp_path}/d: split 'train[x:]': ")


def test_a_single_saved_dataset_is_its_training_split(tmp_path):
    features = datasets.Features(
        {"text_a": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])}
    )
    rows = {"text_a": ["x", "y"] * 5, "label": [0, 1] * 5}
    datasets.Dataset.from_dict(rows, features).save_to_disk(str(tmp_path / "saved"))
    assert pairs(folder_task("saved"), tmp_path) == TWO * 5
    assert problem(folder_task("saved"), tmp_path, "val") == (
        f"dataset {tmp_path}/saved: no split 'validation'; valid: train; 'train[:90%]' and "
        "'train[90%:]' divide it"
    )
    source = {"path": "saved", "splits": {"train": "train[:80%]", "val": "train[80%:]"}}
    config = task(paths=None, dataset=source)
    assert pairs(config, tmp_path) == TWO * 4
    assert pairs(config, tmp_path, "val") == TWO


def test_class_names_inside_structs_and_lists(tmp_path):
    names = datasets.ClassLabel(names=["N", "V"])
    features = datasets.Features(
        {"words": [{"text": datasets.Value("string"), "tag": names}], "gold": {"tags": [names]}}
    )
    rows = {"words": [[{"text": "a", "tag": 1}]], "gold": [{"tags": [0, -1]}]}
    saved = datasets.Dataset.from_dict(
        {**rows, "tokens": [["a", "b"]]},
        datasets.Features({**features, "tokens": [datasets.Value("string")]}),
    )
    saved.save_to_disk(str(tmp_path / "saved"))
    config = folder_task("saved", "tagging", fields={"labels": "gold.tags"}, labels=["N", "V"])
    with pytest.warns(LeftOutWarning):
        assert words(config, tmp_path) == [(("a", "b"), ("N", None))]


# --- memory -------------------------------------------------------------------------------------

WRITERS = {
    "csv": lambda rows: "text_a,label\n" + "".join(f'"{text}",{label}\n' for text, label in rows),
    "tsv": lambda rows: "text_a\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows),
    "jsonl": lambda rows: "".join(
        json.dumps({"text_a": text, "label": label}) + "\n" for text, label in rows
    ),
}


def _peak(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("form", "packed"), [*((form, False) for form in (*WRITERS, "parquet")), ("csv", True)]
)
def test_rows_are_not_held(tmp_path, form, packed):
    peaks = []
    for number in (1_000, 4_000):
        rows = [(f"text {place} " + "word " * 50, "ab"[place % 2]) for place in range(number)]
        name = f"train{number}.{form}" + ".gz" * packed
        if form == "parquet":
            columns = {"text_a": [text for text, _ in rows], "label": [label for _, label in rows]}
            parquet.write_table(pa.table(columns), tmp_path / "plain", row_group_size=500)
            content = (tmp_path / "plain").read_bytes()
        else:
            content = WRITERS[form](rows).encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
        config = task(train=name, max_train_examples=10)
        del rows, content

        def work(config=config):
            assert task_labels(config, tmp_path) == ("a", "b")
            assert sum(1 for _ in each_example(config, "train", tmp_path)) == 10

        work()  # what is imported and remembered once
        peaks.append(_peak(work))
    # 3,000 texts of 260 characters more; the sample's positions and nothing else.
    assert peaks[1] - peaks[0] < 200_000


def test_pipes_and_devices_are_no_data(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    for name in ("pipe.csv", "zero.jsonl"):
        said = problem(task(train=name), tmp_path)
        assert said == f"{name}: is a device, pipe or socket; a file is needed"
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.jsonl").symlink_to("/dev/zero")
    values = {"path": str(tmp_path / "set"), "splits": {"train": "train", "val": "train"}}
    config = task(paths=None, dataset=values)
    with pytest.raises(DataError, match=r"train\.jsonl: is a device"):
        read_examples(config, "train", tmp_path)


def test_a_folder_of_everything_is_no_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr("gradts_plugin.tasks.formats.datasets._MOST_FILES", 2)
    for name in "abc":
        (tmp_path / f"{name}.csv").write_text("text_a,label\n")
    values = {"path": str(tmp_path), "splits": {"train": "train", "val": "train"}}
    config = task(paths=None, dataset=values)
    with pytest.raises(DataError, match="holds more than 2 files; name one dataset's"):
        read_examples(config, "train", tmp_path)
