"""`gradts-select data`: files, configs and checksums from local datasets."""

from __future__ import annotations

import hashlib
import json

import datasets
import pytest
from tiny_runs import files_below, run_command

from gradts_plugin.errors import ConfigError, DataError, LeftOutWarning
from gradts_plugin.tasks import download
from gradts_plugin.tasks.download import write_data
from gradts_plugin.tasks.reading import read_examples
from gradts_plugin.tasks.requests import GLUE_TASKS, DataRequest
from gradts_plugin.tasks.shipped import shipped_task_configs
from gradts_plugin.tasks.task_configs import read_task_config


def split_of(num_rows, features=None, **columns):
    made = {name: [value(i) for i in range(num_rows)] for name, value in columns.items()}
    return datasets.Dataset.from_dict(made, features=features)


def write_parquet(folder, **splits):
    folder.mkdir(parents=True)
    for name, split in splits.items():
        split.to_parquet(str(folder / f"{name}-00000-of-00001.parquet"))
    return folder


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """What `datasets` prepares from files goes to a folder of this test run."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("cache"))
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder)
        yield


@pytest.fixture(scope="module")
def glue(tmp_path_factory):
    """Two subsets of GLUE, in the hub's columns, as a folder of folders of parquet files."""
    folder = tmp_path_factory.mktemp("glue")
    labels = datasets.ClassLabel(names=["unacceptable", "acceptable"])
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "label": labels, "idx": datasets.Value("int32")}
    )
    write_parquet(
        folder / "cola",
        **{
            name: split_of(
                count, features, sentence=lambda i: f"s {i}", label=lambda i: i % 2, idx=int
            )
            for name, count in (("train", 7), ("validation", 4))
        },
    )
    labels = datasets.ClassLabel(names=["not_equivalent", "equivalent"])
    features = datasets.Features(
        {
            "sentence1": datasets.Value("string"),
            "sentence2": datasets.Value("string"),
            "label": labels,
        }
    )
    write_parquet(
        folder / "mrpc",
        **{
            name: split_of(
                4, features, sentence1=lambda i: f"a {i}", sentence2=lambda i: f"b {i}", label=label
            )
            for name, label in (
                ("train", lambda i: i % 2),
                ("validation", lambda i: 1),
                ("test", lambda i: -1),
            )
        },
    )
    return folder


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_shipped_tasks_are_filled_from_a_folder(glue, tmp_path):
    answer = run_command("data", glue, "--tasks", "cola,mrpc", "--output", tmp_path / "data")
    assert answer.code == 0, answer.err
    assert f"data_dir: {tmp_path / 'data'}, tasks: [cola, mrpc]" in answer.out
    assert rows(tmp_path / "data/cola/train.jsonl")[:2] == [
        {"text_a": "s 0", "label": "unacceptable"},
        {"text_a": "s 1", "label": "acceptable"},
    ]
    # Labels have the shipped config's names; an unlabelled test row has none.
    assert rows(tmp_path / "data/mrpc/train.jsonl")[1] == {
        "text_a": "a 1",
        "text_b": "b 1",
        "label": "paraphrase",
    }
    assert rows(tmp_path / "data/mrpc/test.jsonl")[0] == {"text_a": "a 0", "text_b": "b 0"}
    # The shipped configs read exactly these files.
    for name, count in (("cola", 7), ("mrpc", 4)):
        config = read_task_config(shipped_task_configs()[name])
        assert len(read_examples(config, "train", tmp_path / "data")) == count
    assert files_below(tmp_path / "data").keys() == {
        "MANIFEST.json",
        *("cola/train.jsonl", "cola/val.jsonl"),
        *("mrpc/train.jsonl", "mrpc/val.jsonl", "mrpc/test.jsonl"),
    }


def test_checksums_are_those_of_the_files(glue, tmp_path):
    write_data(DataRequest(str(glue), ("cola",)), tmp_path)
    listed = json.loads((tmp_path / "MANIFEST.json").read_text())["files"]
    assert list(listed) == ["cola/train.jsonl", "cola/val.jsonl"]
    for path, entry in listed.items():
        assert entry["sha256"] == hashlib.sha256((tmp_path / path).read_bytes()).hexdigest()
        assert entry["num_rows"] == len(rows(tmp_path / path))
    assert listed["cola/val.jsonl"]["origin"]["split"] == "validation"


def test_a_second_call_verifies_and_loads_nothing(glue, tmp_path, monkeypatch):
    request = DataRequest(str(glue), ("cola",))
    first = write_data(request, tmp_path)
    before = files_below(tmp_path)
    monkeypatch.setattr(download, "read_examples", lambda *_: pytest.fail("it was loaded again"))
    told = []
    assert write_data(request, tmp_path, report=lambda *line: told.append(line)) == first
    assert told[-1] == (2, 2, "cola/val.jsonl: 4 rows, unchanged")
    assert files_below(tmp_path) == before


def test_a_changed_file_is_noticed_and_left_alone(glue, tmp_path):
    request = DataRequest(str(glue), ("cola",))
    write_data(request, tmp_path)
    (tmp_path / "cola/val.jsonl").write_text("mine\n")
    with pytest.raises(DataError, match=r"val.jsonl is not what was written \(sha256 "):
        write_data(request, tmp_path)
    assert (tmp_path / "cola/val.jsonl").read_text() == "mine\n"


def test_a_lost_file_is_written_again(glue, tmp_path):
    request = DataRequest(str(glue), ("cola",))
    write_data(request, tmp_path)
    before = files_below(tmp_path)
    (tmp_path / "cola/train.jsonl").unlink()
    write_data(request, tmp_path)
    assert files_below(tmp_path) == before


def test_files_that_nobody_wrote_are_kept_only_where_they_are_identical(glue, tmp_path):
    request = DataRequest(str(glue), ("cola",))
    write_data(request, tmp_path)
    before = files_below(tmp_path)
    (tmp_path / "MANIFEST.json").unlink()  # as after a kill between the two
    write_data(request, tmp_path)
    assert files_below(tmp_path) == before
    (tmp_path / "MANIFEST.json").unlink()
    (tmp_path / "cola/train.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"is there already, is in no MANIFEST.json and differs"):
        write_data(request, tmp_path)


def test_an_interrupted_write_leaves_nothing_half(glue, tmp_path, monkeypatch):
    request = DataRequest(str(glue), ("cola",))
    with monkeypatch.context() as patch:
        patch.setattr(
            "gradts_plugin.stores.files.flush_to_disk",
            lambda _: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            write_data(request, tmp_path)
    assert files_below(tmp_path) == {}
    write_data(request, tmp_path)
    assert len(rows(tmp_path / "cola/train.jsonl")) == 7


def test_a_cap_takes_a_seeded_sample_in_order(glue, tmp_path):
    request = DataRequest(str(glue), ("cola",), max_rows=5)
    (task,) = write_data(request, tmp_path / "one")
    assert task.num_rows == {"train": 5, "val": 4}
    texts = [row["text_a"] for row in rows(tmp_path / "one/cola/train.jsonl")]
    assert texts == sorted(texts)
    write_data(request, tmp_path / "two")
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")
    with pytest.raises(DataError, match="written with max_rows 5, here it is None"):
        write_data(DataRequest(str(glue), ("cola",)), tmp_path / "one")


# --- sets that are not shipped --------------------------------------------------------------------


def test_a_tagging_set_gets_a_config_with_the_sets_own_labels(tmp_path):
    tags = datasets.Sequence(datasets.ClassLabel(names=["O", "B-PER", "I-PER"]))
    features = datasets.Features(
        {"words": datasets.Sequence(datasets.Value("string")), "ner_tags": tags}
    )
    split = split_of(3, features, words=lambda i: ["Ada", "ran"], ner_tags=lambda i: [1, 0])
    datasets.DatasetDict(train=split, validation=split).save_to_disk(str(tmp_path / "people"))
    answer = run_command(
        *("data", tmp_path / "people", "--output", tmp_path / "data"),
        *("--kind", "tagging", "--tokens", "words", "--labels", "ner_tags"),
    )
    assert answer.code == 0, answer.err
    assert f"tasks: [{tmp_path / 'data/people.json'}]" in answer.out
    assert json.loads((tmp_path / "data/people.json").read_text()) == {
        "name": "people",
        "kind": "tagging",
        "paths": {"train": "people/train.jsonl", "val": "people/val.jsonl"},
        "labels": ["O", "B-PER", "I-PER"],
        "metric": "seqeval_f1",
    }
    config = read_task_config(tmp_path / "data/people.json")
    (example, *_) = read_examples(config, "train", tmp_path / "data")
    assert (example.tokens, example.labels) == (("Ada", "ran"), ("B-PER", "O"))
    before = files_below(tmp_path / "data")
    write_data(
        DataRequest(
            str(tmp_path / "people"),
            kind="tagging",
            fields={"tokens": "words", "labels": "ner_tags"},
        ),
        tmp_path / "data",
    )
    assert files_below(tmp_path / "data") == before


def test_words_without_a_tag_stay_without_one(tmp_path):
    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "labels": datasets.Sequence(datasets.ClassLabel(names=["N", "V"])),
        }
    )
    split = split_of(3, features, tokens=lambda i: ["Ada", "ran"], labels=lambda i: [-1, i % 2])
    datasets.DatasetDict(train=split, validation=split).save_to_disk(str(tmp_path / "people"))
    with pytest.warns(LeftOutWarning, match="words without a label, ignored: 3"):
        write_data(DataRequest(str(tmp_path / "people"), kind="tagging"), tmp_path / "data")
    config = read_task_config(tmp_path / "data/people.json")
    with pytest.warns(LeftOutWarning, match="words without a label, ignored: 3"):
        (example, *_) = read_examples(config, "train", tmp_path / "data")
    assert example.labels == (None, "N")


def test_a_folder_of_json_files_with_named_splits(tmp_path):
    folder = tmp_path / "moods"
    folder.mkdir()
    for name in ("train", "dev"):
        lines = [{"Utterance": f"u {i}", "Emotion": ("joy", "anger")[i % 2]} for i in range(4)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.json").write_text(text)
    (task,) = write_data(
        DataRequest(
            str(folder),
            name="mood",
            kind="single",
            metric="macro_f1",
            fields={"text_a": "Utterance", "label": "Emotion"},
            splits={"train": "train[:3]"},
        ),
        tmp_path / "data",
    )
    assert task.num_rows == {"train": 3, "val": 4}
    assert rows(tmp_path / "data/mood/train.jsonl")[0] == {"text_a": "u 0", "label": "joy"}
    config = read_task_config(task.config_path)
    assert (config.kind, config.metric, config.labels) == ("single", "macro_f1", "infer")
    assert len(read_examples(config, "val", tmp_path / "data")) == 4


def test_regression_and_multiple_choice_survive_the_way_there_and_back(tmp_path):
    split = split_of(
        3,
        one=lambda i: f"x {i}",
        two=lambda i: f"y {i}",
        score=lambda i: i / 2,
        options=lambda i: [f"c {i}", "d"],
        right=lambda i: i % 2,
    )
    folder = write_parquet(tmp_path / "set", train=split, validation=split)
    for kind, fields, expected in (
        ("regression", {"text_a": "one", "text_b": "two", "label": "score"}, [0.0, 0.5, 1.0]),
        ("multiple_choice", {"text_a": "one", "choices": "options", "label": "right"}, [0, 1, 0]),
    ):
        request = DataRequest(str(folder), kind=kind, name=kind, fields=fields)
        (task,) = write_data(request, tmp_path / "data")
        config = read_task_config(task.config_path)
        found = read_examples(config, "train", tmp_path / "data")
        assert [example.label for example in found] == expected
        assert [example.text_b for example in found] == (
            ["y 0", "y 1", "y 2"] if kind == "regression" else [None] * 3
        )


# --- mistakes -------------------------------------------------------------------------------------


def test_a_set_of_unknown_kind_names_its_fields(glue, tmp_path):
    answer = run_command("data", glue / "cola", "--output", tmp_path / "out")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "say what it is with --kind (single, pair, " in answer.err
    assert "its fields: sentence, label, idx" in answer.err
    assert not (tmp_path / "out").exists()


def test_unfamiliar_splits_are_named(tmp_path):
    folder = write_parquet(tmp_path / "set", train=split_of(2, text_a=str, label=str))
    with pytest.raises(ConfigError, match="has the splits train: say with --val_split"):
        write_data(DataRequest(str(folder), kind="single"), tmp_path / "out")


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (DataRequest("glue", ("colla",)), "unknown task 'colla'; did you mean 'cola'"),
        (DataRequest("meld"), "task 'meld' has no dataset on the hub"),
        (DataRequest("cola", kind="single"), "task 'cola' is shipped and knows its kind"),
        (DataRequest("cola", max_rows=0), "max_rows: at least 1"),
    ],
)
def test_wrong_requests_are_one_line(request_, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        write_data(request_, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_hub_out_of_reach_is_one_line(tmp_path, monkeypatch):
    def out_of_reach(*_arguments, **_keywords):
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr(datasets, "load_dataset", out_of_reach)
    answer = run_command("data", "glue", "--output", tmp_path / "out")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "dataset nyu-mll/glue: no such folder, and the hub cannot be reached" in answer.err
    assert not (tmp_path / "out").exists()


def test_glue_is_the_papers_tasks():
    assert set(GLUE_TASKS) < set(shipped_task_configs())
    assert len(GLUE_TASKS) == 9
