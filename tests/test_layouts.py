"""The files of public data sets, as their authors lay them out, are read by a task config alone.

Every layout is rebuilt here with rows of our own; none of a set's text is copied.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from gradts_plugin.errors import LeftOutWarning
from gradts_plugin.tasks.reading import read_split, task_labels
from gradts_plugin.tasks.task_configs import parse_task_config


@dataclass(frozen=True)
class Layout:
    """A layout.

    Attributes:
        kind: of the task.
        suffix: of its files, one for each split unless there are `files`.
        train: content of the training (and dev) file.
        first: the first example's texts (or words) and label.
        labels: what is inferred.
        config: further keys of the task config.
        test: content of the test file, where it looks different.
        files: name -> content, of files that lie side by side.
        left_out: how many rows are left out.
    """

    kind: str
    suffix: str
    train: str
    first: tuple[Any, ...]
    labels: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    test: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    left_out: int = 0


def lines(*rows: Any) -> str:
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def tabbed(*rows: str) -> str:
    """Rows whose cells are written apart by bars."""
    return lines(*(row.replace("|", "\t") for row in rows))


def fields(**names: Any) -> dict[str, Any]:
    return {"fields": names}


def named(*columns: str) -> dict[str, Any]:
    return {"columns": list(columns)}


SNLI = (
    {"gold_label": "neutral", "sentence1": "a", "sentence2": "b", "annotator_labels": ["neutral"]},
    {"gold_label": "-", "sentence1": "a", "sentence2": "c", "annotator_labels": ["x", "y"]},
    {"gold_label": "entailment", "sentence1": "a", "sentence2": "d", "annotator_labels": []},
)

SPANS = ("B-LOC", "O")

LAYOUTS = {
    "GLUE CoLA": Layout(
        "single",
        "tsv",
        tabbed("g1|1||He ran.", 'g1|0|*|"Ran he.'),
        ("He ran.", "1"),
        ("0", "1"),
        {"columns": {split: ["source", "label", "star", "text_a"] for split in ("train", "val")}},
        test=tabbed("index|text_a", "0|Who ran?"),
    ),
    "GLUE SST-2": Layout(
        "single",
        "tsv",
        tabbed("sentence|label", "a good day |1", "a bad day |0"),
        ("a good day ", "1"),
        ("0", "1"),
        fields(text_a="sentence"),
        test=tabbed("index|sentence", "0|a day"),
    ),
    "GLUE MRPC": Layout(
        "pair",
        "tsv",
        "\ufeff" + tabbed("Quality|#1 ID|#2 ID|#1 String|#2 String", '1|7|8|a "b|c', "0|8|9|d|e"),
        ('a "b', "c", "1"),
        ("0", "1"),
        fields(text_a="#1 String", text_b="#2 String", label="Quality"),
    ),
    "GLUE QQP": Layout(
        "pair",
        "tsv",
        tabbed("id|qid1|qid2|question1|question2|is_duplicate", "1|3|4|a?|b?|0", "2|5|6|c?|d?|1"),
        ("a?", "b?", "0"),
        ("0", "1"),
        fields(text_a="question1", text_b="question2", label="is_duplicate"),
        test=tabbed("id|question1|question2", "0|e?|f?"),
    ),
    "GLUE MNLI": Layout(
        "pair",
        "tsv",
        tabbed(
            "index|sentence1_binary_parse|sentence1|sentence2|label1|gold_label",
            "0|( a )|a|b|neutral|neutral",
            "1|( c )|c|d|entailment|entailment",
        ),
        ("a", "b", "neutral"),
        ("entailment", "neutral"),
        fields(text_a="sentence1", text_b="sentence2", label="gold_label"),
    ),
    "GLUE RTE": Layout(
        "pair",
        "tsv",
        tabbed("index|sentence1|sentence2|label", "0|a|b|not_entailment", "1|c|d|entailment"),
        ("a", "b", "not_entailment"),
        ("entailment", "not_entailment"),
        fields(text_a="sentence1", text_b="sentence2"),
        test=tabbed("index|sentence1|sentence2", "0|e|f"),
    ),
    "GLUE STS-B": Layout(
        "regression",
        "tsv",
        tabbed(
            "index|genre|filename|year|old_index|source1|source2|sentence1|sentence2|score",
            "0|news|f|2012|1|none|none|a|b|5.000",
            "1|news|f|2012|2|none|none|c|d|0.250",
        ),
        ("a", "b", 5.0),
        (),
        fields(text_a="sentence1", text_b="sentence2", label="score"),
    ),
    "STS benchmark's own csv": Layout(
        "regression",
        "csv",
        tabbed('news|f|2012|0001|5.0|a plane|a "plane', "news|f|2013|0002|1.2|b|c|http://s|free"),
        ("a plane", 'a "plane', 5.0),
        (),
        {"format": "tsv"} | fields(label=4, text_a=5, text_b=6),
    ),
    "SNLI jsonl": Layout(
        "pair",
        "jsonl",
        lines(*SNLI),
        ("a", "b", "neutral"),
        ("entailment", "neutral"),
        {"no_label": ["-"]} | fields(text_a="sentence1", text_b="sentence2", label="gold_label"),
        left_out=1,
    ),
    "SNLI txt": Layout(
        "pair",
        "txt",
        tabbed("gold_label|sentence1|sentence2", "neutral|a|b", "-|c|d", "entailment|e|f"),
        ("a", "b", "neutral"),
        ("entailment", "neutral"),
        {"format": "tsv", "no_label": ["-"]}
        | fields(text_a="sentence1", text_b="sentence2", label="gold_label"),
        left_out=1,
    ),
    "SciTail tsv": Layout(
        "pair",
        "tsv",
        tabbed("a|b|neutral", "c|d|entails"),
        ("a", "b", "neutral"),
        ("entails", "neutral"),
        named("text_a", "text_b", "label"),
    ),
    "PAWS tsv": Layout(
        "pair",
        "tsv",
        tabbed("id|sentence1|sentence2|label", "1|a|b|0", "2|c|d|1"),
        ("a", "b", "0"),
        ("0", "1"),
        fields(text_a="sentence1", text_b="sentence2"),
    ),
    "SuperGLUE BoolQ jsonl": Layout(
        "pair",
        "jsonl",
        lines(
            {"question": "a", "passage": "b", "idx": 0, "label": True},
            {"question": "c", "passage": "d", "idx": 1, "label": False},
        ),
        ("a", "b", "true"),
        ("false", "true"),
        fields(text_a="question", text_b="passage"),
        test=lines({"question": "e", "passage": "f", "idx": 2}),
    ),
    "CommonsenseQA jsonl": Layout(
        "multiple_choice",
        "jsonl",
        lines(
            {"answerKey": "B", "question": {"stem": "a?", "choices": {"text": ["b", "c"]}}},
            {"answerKey": "A", "question": {"stem": "d?", "choices": {"text": ["e", "f"]}}},
        ),
        ("a?", 1),
        ("0", "1"),
        fields(text_a="question.stem", choices="question.choices.text", label="answerKey"),
    ),
    "SWAG csv": Layout(
        "multiple_choice",
        "csv",
        lines(
            ",video-id,startphrase,sent1,sent2,gold-source,ending0,ending1,label",
            "0,v,a b,a,b,gold,c,d,1",
            "1,v,e f,e,f,gold,g,h,0",
        ),
        ("a b", 1),
        ("0", "1"),
        fields(text_a="startphrase", choices=["ending0", "ending1"]),
    ),
    "CoNLL-2003": Layout(
        "tagging",
        "txt",
        "-DOCSTART- -X- -X- O\n\nTurin NNP B-NP B-LOC\nis VBZ B-VP O\n\n. . O O\n",
        (("Turin", "is"), SPANS),
        SPANS,
        {"format": "conll", "metric": "seqeval_f1"} | named("tokens", "pos", "chunk", "labels"),
    ),
    "CoNLL-2003, tags by number": Layout(
        "tagging",
        "txt",
        "-DOCSTART- -X- O O\n\nTurin NNP I-NP I-LOC\nis VBZ I-VP O\n",
        (("Turin", "is"), ("I-LOC", "O")),
        ("I-LOC", "O"),
        {"format": "conll", "metric": "seqeval_f1"} | fields(tokens=0, labels=-1),
    ),
    "CoNLL-2000": Layout(
        "tagging",
        "txt",
        "Rates NNS B-NP\nrose VBD B-VP\n\nNobody NN B-NP\nknew VBD B-VP\n",
        (("Rates", "rose"), ("B-NP", "B-VP")),
        ("B-NP", "B-VP"),
        {"format": "conll"} | named("tokens", "pos", "labels"),
        test="Who WP B-NP\n",
    ),
    "CoNLL-2012 (OntoNotes)": Layout(
        "tagging",
        "conll",
        lines(
            "#begin document (bc/x); part 000",
            "bc/x  0  0  Turin  NNP  (TOP*  -  -  -  me  (GPE)  *  -",
            "bc/x  0  1  slept  VBD  *)  sleep  01  1  me  *  (V*)  -",
            "",
            "bc/x  0  0  Yes  UH  (TOP*)  -  -  -  me  *  -",
            "",
            "#end document",
        ),
        (("Turin", "slept"), ("NNP", "VBD")),
        ("NNP", "UH", "VBD"),
        {"comment": "#"} | fields(tokens=3, labels=4),
    ),
    "WNUT-17": Layout(
        "tagging",
        "conll",
        tabbed("# |O".replace("# ", "#"), "Turin|B-location", "", "sleeps|O", ""),
        (("#", "Turin"), ("O", "B-location")),
        ("B-location", "O"),
        {"separator": "\t", "metric": "seqeval_f1"},
    ),
    "MultiCoNER": Layout(
        "tagging",
        "conll",
        lines("# id 1\tdomain=train", "turin _ _ B-LOC", "sleeps _ _ O", ""),
        (("turin", "sleeps"), SPANS),
        SPANS,
        {"comment": "# id", "metric": "seqeval_f1"} | named("tokens", "a", "b", "labels"),
        test=lines("# id 2\tdomain=test", "who _ _", ""),
    ),
    "UNER iob2": Layout(
        "tagging",
        "iob2",
        tabbed("# sent_id = 1", "# text = Turin sleeps", "1|Turin|B-LOC|-|me", "2|sleeps|O|-|me"),
        (("Turin", "sleeps"), SPANS),
        SPANS,
        {"comment": "#", "separator": "\t", "metric": "seqeval_f1"}
        | named("id", "tokens", "labels", "other", "annotator"),
    ),
    "Universal Dependencies": Layout(
        "tagging",
        "conllu",
        tabbed(
            "# text = del mar",
            "1-2|del|_|_|_|_|_|_|_|_",
            "1|de|de|ADP|IN|_|3|case|_|_",
            "2|el|el|DET|DT|_|3|det|_|_",
            "2.1|x|x|VERB|_|_|_|_|_|_",
            "3|mar|mar|NOUN|NN|_|0|root|_|SpaceAfter=No",
        ),
        (("de", "el", "mar"), ("ADP", "DET", "NOUN")),
        ("ADP", "DET", "NOUN"),
    ),
    "GermEval 2014": Layout(
        "tagging",
        "tsv",
        tabbed("#|http://x [2020]", "1|Turin|B-LOC|O", "2|ruht|O|O"),
        (("Turin", "ruht"), SPANS),
        SPANS,
        {"format": "conll", "separator": "\t", "comment": "#", "metric": "seqeval_f1"}
        | named("id", "tokens", "labels", "inner"),
    ),
    "Weibo NER (BMES)": Layout(
        "tagging",
        "bmes",
        "都 B-LOC\n灵 E-LOC\n睡 O\n\n意 S-GPE\n",
        (("都", "灵", "睡"), ("B-LOC", "E-LOC", "O")),
        ("B-LOC", "E-LOC", "O", "S-GPE"),
        {"format": "conll", "metric": "seqeval_f1"},
    ),
    "TREC": Layout(
        "single",
        "label",
        "DESC:manner How is it ?\nENTY:animal What is : it ?\n",
        ("How is it ?", "DESC"),
        ("DESC", "ENTY"),
        {
            "format": "lines",
            "encoding": "latin-1",
            "split": [
                {"separator": " ", "into": ["label", "text_a"]},
                {"field": "label", "separator": ":", "into": ["label", "fine"]},
            ],
        },
    ),
    "fastText": Layout(
        "single",
        "txt",
        "__label__good a day\n__label__bad the night\n",
        ("a day", "good"),
        ("bad", "good"),
        {
            "split": {"separator": " ", "into": ["label", "text_a"]},
            "label_map": {"__label__good": "good", "__label__bad": "bad"},
        },
    ),
    "SST, a class before the sentence": Layout(
        "single",
        "txt",
        "3 a good day\n0 a bad day\n",
        ("a good day", "3"),
        ("0", "3"),
        {"split": {"separator": " ", "into": ["label", "text_a"]}},
    ),
    "20 sentences a line, the class last": Layout(
        "single",
        "txt",
        "So there.\t1\nNo\tway.\t0\n",
        ("So there.", "1"),
        ("0", "1"),
        {"split": {"separator": "\t", "into": ["text_a", "label"], "from_end": True}},
    ),
    "AG News csv": Layout(
        "single",
        "csv",
        '"3","A title","It said ""no"", twice."\n"1","Other","Text"\n',
        ("A title", 'It said "no", twice.', "3"),
        ("1", "3"),
        {"kind": "pair"} | named("label", "text_a", "text_b"),
    ),
    "DBpedia csv with texts of several lines": Layout(
        "single",
        "csv",
        '1,"T","one\ntwo"\n14,"U"," three"\n',
        ("one\ntwo", "1"),
        ("1", "14"),
        named("label", "title", "text_a"),
    ),
    "TweetEval": Layout(
        "single",
        "txt",
        "",
        ("a day", "1"),
        ("0", "1"),
        {"columns": ["text_a", "label"]},
        files={"text.txt": "a day\n\na night\n", "labels.txt": "1\n0\n0\n"},
    ),
    "Sentiment140 csv": Layout(
        "single",
        "csv",
        '"0","1","Mon Apr 06","NO_QUERY","me","ugh, \xe9"\n"4","2","Tue","NO_QUERY","you","ha"\n',
        ("ugh, \xe9", "0"),
        ("0", "4"),
        {"encoding": "latin-1"} | named("label", "id", "date", "query", "user", "text_a"),
    ),
    "SMS spam, from a spreadsheet": Layout(
        "single",
        "csv",
        'v1,v2,,,\nham,"so, hi",,,\nspam,win \xa3,,,\n',
        ("so, hi", "ham"),
        ("ham", "spam"),
        {"encoding": "latin-1"} | fields(text_a="v2", label="v1"),
    ),
    "MELD csv": Layout(
        "single",
        "csv",
        lines(
            "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID",
            '1,"Oh, well\x85",Ann,neutral,neutral,0',
            "2,Great!,Bob,joy,positive,0",
        ),
        ("Oh, well\x85", "neutral"),
        ("joy", "neutral"),
        fields(text_a="Utterance", label="Emotion"),
    ),
    "GoEmotions tsv": Layout(
        "single",
        "tsv",
        tabbed("So good!|2,5|a1", "Oh|27|b2"),
        ("So good!", "2"),
        ("2", "27"),
        {"split": {"field": "label", "separator": ",", "into": ["label", "others"]}}
        | named("text_a", "label", "id"),
    ),
    "Hate speech csv with a column of row numbers": Layout(
        "single",
        "csv",
        lines(",count,class,tweet", "0,3,2,a", "1,3,1,b"),
        ("a", "2"),
        ("1", "2"),
        fields(text_a="tweet", label="class"),
    ),
    "EmoBank csv": Layout(
        "regression",
        "csv",
        lines("id,split,V,A,D,text", 'a,train,3.0,2.5,3.2,"Oh, no"', "b,train,2.8,3.1,2.8,Yes"),
        ("Oh, no", 3.0),
        (),
        fields(text_a="text", label="V"),
    ),
    "TSV of R's write.table, its header one name short": Layout(
        "single",
        "tsv",
        tabbed("text|class", "1|a|x", "2|b|y"),
        ("a", "x"),
        ("x", "y"),
        {"skip_rows": 1} | named("row", "text_a", "label"),
    ),
    "IMDb as JSON of a data frame": Layout(
        "single",
        "json",
        json.dumps({"review": {"0": "a", "1": "b"}, "sentiment": {"0": "good", "1": "bad"}}),
        ("a", "good"),
        ("bad", "good"),
        fields(text_a="review", label="sentiment"),
    ),
    "CLINC150 json": Layout(
        "single",
        "json",
        json.dumps([{"text": "a", "intent": "x"}, {"text": "b", "intent": "y"}]),
        ("a", "x"),
        ("x", "y"),
        fields(text_a="text", label="intent"),
    ),
}


def written(folder, layout):
    """The config over the files of a layout."""
    splits = ("train", "val", "test")
    if layout.files:
        for name, content in layout.files.items():
            (folder / name).write_text(content)
        paths: dict[str, Any] = {split: list(layout.files) for split in splits}
    else:
        encoding = layout.config.get("encoding", "utf-8")
        paths = {split: f"{split}.{layout.suffix}" for split in splits}
        for split, path in paths.items():
            content = layout.test if split == "test" and layout.test is not None else layout.train
            (folder / path).write_bytes(content.encode(encoding))
    metric = {"regression": "pearson"}.get(layout.kind, "accuracy")
    config = {"name": "t", "kind": layout.kind, "metric": metric, "paths": paths, **layout.config}
    return parse_task_config(json.loads(json.dumps(config)), where="t.json")


@pytest.mark.filterwarnings("ignore", category=LeftOutWarning)
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_public_layout_is_read_by_its_config(name, tmp_path):
    layout = LAYOUTS[name]
    config = written(tmp_path, layout)
    assert task_labels(config, tmp_path) == layout.labels
    train = read_split(config, "train", tmp_path)
    first, *_ = train
    texts = (first.tokens,) if first.tokens else (first.text_a,)
    texts += (first.text_b,) if first.text_b is not None else ()
    assert (*texts, first.labels or first.label) == layout.first
    assert train.unlabelled.count == layout.left_out
    assert not train.bad.count
    test = read_split(config, "test", tmp_path)
    if layout.test is not None and name != "CoNLL-2000":
        assert not any(example.is_labelled for example in test)


def test_there_are_many_layouts():
    assert len(LAYOUTS) >= 40
