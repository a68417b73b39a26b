"""The MT-DNN export, read back by a small reader of MT-DNN's formats.

The reader follows github.com/namisan/mt-dnn: experiments/exp_def.py (task definitions),
mt_dnn/batcher.py (rows and batches), data_utils/metrics.py (tags), train.py (arguments).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_encoders import save_tiny_encoder
from tiny_runs import files_below, run_command, write_run_file, write_task
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel
from transformers.utils import logging

from gradts_plugin.errors import ConfigError
from gradts_plugin.export.definitions import mtdnn_names, task_definition
from gradts_plugin.export.encoder import write_checkpoint
from gradts_plugin.export.mtdnn import export_selection
from gradts_plugin.export.rows import mtdnn_row
from gradts_plugin.hosts.jiant.cached import TokenizedRow, TokenizedTask
from gradts_plugin.hosts.jiant.rewriting import with_filtered_caches
from gradts_plugin.settings.reading import read_json

pytestmark = pytest.mark.usefixtures("without_pages")

# --- MT-DNN, as far as it reads what is exported --------------------------------------------------

TASK_TYPES = {"Classification", "Regression", "Ranking", "Span", "SpanYN", "SeqenceLabeling"}
DATA_FORMATS = {"PremiseOnly", "PremiseAndOneHypothesis", "PremiseAndMultiHypothesis", "Seqence"}
METRICS = {"ACC", "F1", "MCC", "Pearson", "Spearman", "AUC", "SeqEval"}
LOSSES = {"CeCriterion", "MseCriterion", "SeqCeCriterion", "SymKlCriterion"}


def read_task_defs(path):
    definitions = yaml.safe_load(path.read_text())
    for name, definition in definitions.items():
        assert "_" not in name
        assert definition["task_type"] in TASK_TYPES
        assert definition["data_format"] in DATA_FORMATS
        assert set(definition["metric_meta"]) <= METRICS
        assert {definition[key] for key in ("loss", "kd_loss", "adv_loss")} <= LOSSES
        assert isinstance(definition["enable_san"], bool)
        if "labels" in definition:
            assert all(isinstance(label, str) for label in definition["labels"])
            assert len(set(definition["labels"])) == definition["n_class"]
    return definitions


def read_rows(path, definition, maxlen=512):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        length = len(row["token_id"])
        assert 0 < length <= maxlen
        assert len(row["type_id"]) == length
        assert isinstance(row["uid"], str)
        if definition["task_type"] == "SeqenceLabeling":
            assert len(row["label"]) == length
            assert all(0 <= tag < definition["n_class"] for tag in row["label"])
        else:
            assert row["attention_mask"] == [1] * length
        if definition["task_type"] == "Classification":
            assert 0 <= row["label"] < definition["n_class"]
            assert type(row["label"]) is int
        if definition["task_type"] == "Regression":
            assert type(row["label"]) is float
    return rows


def train_parser():
    """The arguments of train.py that the script may use, with their types and defaults."""
    parser = argparse.ArgumentParser()
    for name in ("task_def", "data_dir", "init_checkpoint", "train_datasets", "test_datasets"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("output_dir", "log_file", "optimizer"):
        parser.add_argument(f"--{name}")
    for name in (
        *("encoder_type", "max_seq_len", "epochs", "batch_size", "batch_size_eval"),
        *("grad_accumulation_step", "mix_opt", "seed", "save_per_updates"),
    ):
        parser.add_argument(f"--{name}", type=int)
    for name in ("ratio", "learning_rate", "warmup", "global_grad_clipping"):
        parser.add_argument(f"--{name}", type=float)
    parser.add_argument("--save_per_updates_on", action="store_true")
    return parser


def run_script(folder, tmp_path, *arguments):
    """Runs the script with a train.py that writes down its arguments; parses them."""
    framework = tmp_path / "an mt-dnn"
    framework.mkdir(exist_ok=True)
    (framework / "train.py").write_text("")
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\npwd\nfor word in "$@"; do echo "$word"; done\n')
    python.chmod(0o755)
    answer = subprocess.run(
        [folder / "train.sh", framework, *arguments],
        env={**os.environ, "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=True,
    )
    where, program, *words = answer.stdout.splitlines()
    assert (where, program) == (str(framework), "train.py")
    return train_parser().parse_args(words)


class Export:
    """An export as MT-DNN reads it."""

    def __init__(self, folder, tmp_path, *arguments):
        self.folder = folder
        self.definitions = read_task_defs(folder / "task_def.yml")
        self.arguments = run_script(folder, tmp_path, *arguments)
        assert Path(self.arguments.task_def) == folder / "task_def.yml"
        self.train, self.dev = {}, {}
        for name in self.arguments.train_datasets.split(","):
            data = Path(self.arguments.data_dir)
            self.train[name] = read_rows(data / f"{name}_train.json", self.definitions[name])
            self.dev[name] = read_rows(data / f"{name}_dev.json", self.definitions[name])

    def epoch(self):
        """How many batches of each task MT-DNN takes in an epoch (mix_opt 0, ratio 0)."""
        assert (self.arguments.mix_opt, self.arguments.ratio) == (0, 0)
        size = self.arguments.batch_size
        return {name: -(-len(rows) // size) for name, rows in self.train.items()}


# --- real selections ------------------------------------------------------------------------------

TASKS = ("topic", "match", "degree", "words", "two_words")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder("bert", tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="module")
def selected(tmp_path_factory, encoder):
    """A run that selects everything (every tau is at least the lowest one)."""
    folder = tmp_path_factory.mktemp("run")
    write_task(folder / "tasks", "two_words", like="words", num_train=5, labels=["long", "short"])
    run_file = write_run_file(
        folder, encoder, TASKS, method={"name": "thres", "threshold": {"quantile": 0.0}}
    )
    answer = run_command("run", run_file, "--quiet")
    assert answer.code == 0, answer.err
    return folder / "out"


@pytest.fixture(scope="module")
def export(selected, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("export")
    answer = run_command("export", "mt-dnn", selected, "--output", tmp_path / "out")
    assert answer.code == 0, answer.err
    assert "two_words (there two-words): 5 training rows" in answer.out
    return Export(tmp_path / "out", tmp_path)


def rows_of(selected, task, split):
    path = selected.parent / "tasks" / f"{task}_{split}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_primary_and_auxiliaries_are_trained_and_the_primary_scored(export):
    names = export.arguments.train_datasets.split(",")
    assert names[0] == export.arguments.test_datasets == "topic"
    assert sorted(names) == ["degree", "match", "topic", "two-words", "words"]
    assert list(export.definitions) == names


def test_every_row_is_there_with_its_own_label(export, selected):
    assert export.definitions["topic"]["labels"] == ["no", "yes"]
    for rows, split in ((export.train, "train"), (export.dev, "val")):
        truth = rows_of(selected, "topic", split)
        assert [row["label"] for row in rows["topic"]] == [
            ("no", "yes").index(row["label"]) for row in truth
        ]
        scores = [row["label"] for row in rows_of(selected, "degree", split)]
        assert [row["label"] for row in rows["degree"]] == pytest.approx(scores)


def test_tokens_are_what_the_encoders_tokenizer_makes(export, selected, encoder):
    tokenizer = AutoTokenizer.from_pretrained(str(encoder), use_fast=False)
    for name, definition in (("topic", "PremiseOnly"), ("match", "PremiseAndOneHypothesis")):
        assert export.definitions[name]["data_format"] == definition
        for row, truth in zip(export.train[name], rows_of(selected, name, "train"), strict=True):
            expected = tokenizer(
                truth["text_a"], truth.get("text_b"), truncation="longest_first", max_length=24
            )
            assert row["token_id"] == expected["input_ids"]
            assert row["type_id"] == expected["token_type_ids"]


def test_tags_are_on_first_pieces_and_mt_dnns_own_elsewhere(export, selected, encoder):
    tokenizer = AutoTokenizer.from_pretrained(str(encoder), use_fast=False)
    labels = export.definitions["words"]["labels"]
    assert labels == ["long", "short", "X", "CLS", "SEP"]
    for row, truth in zip(export.train["words"], rows_of(selected, "words", "train"), strict=True):
        pieces, tags = ["[CLS]"], ["CLS"]
        for word, tag in zip(truth["tokens"], truth["labels"], strict=True):
            cut = tokenizer.tokenize(word)
            pieces += cut
            tags += [tag] + ["X"] * (len(cut) - 1)
        assert row["token_id"] == tokenizer.convert_tokens_to_ids([*pieces, "[SEP]"])
        assert [labels[tag] for tag in row["label"]] == [*tags, "SEP"]


def test_the_settings_of_the_run_are_the_arguments(export):
    given = export.arguments
    assert (given.epochs, given.batch_size, given.grad_accumulation_step) == (1, 8, 1)
    assert (given.learning_rate, given.optimizer) == (1e-3, "adamax")
    assert (given.warmup, given.global_grad_clipping, given.seed) == (0.1, 1.0, 0)
    assert export.epoch() == {"topic": 2, "match": 2, "degree": 2, "words": 2, "two-words": 1}


def test_further_arguments_win(export, tmp_path):
    assert run_script(export.folder, tmp_path, "--epochs", "7").epochs == 7


def test_the_script_says_how_it_is_used(export):
    answer = subprocess.run(
        [export.folder / "train.sh"], capture_output=True, text=True, check=False
    )
    assert answer.returncode != 0
    assert "usage: train.sh MT_DNN_FOLDER" in answer.stderr
    assert (export.folder / "train.sh").stat().st_mode & stat.S_IXUSR


def test_the_checkpoint_is_the_encoder_as_mt_dnn_loads_it(export, encoder):
    assert export.arguments.encoder_type == 1
    loaded = torch.load(export.arguments.init_checkpoint, map_location="cpu", weights_only=True)
    # MT-DNN merges the config into its options and writes them as JSON.
    model = BertModel(BertConfig.from_dict(json.loads(json.dumps(loaded["config"]))))
    state = {name.removeprefix("bert."): value for name, value in loaded["state"].items()}
    assert all(name.startswith("bert.") for name in loaded["state"])
    model.load_state_dict(state)
    truth = AutoModel.from_pretrained(str(encoder)).eval()
    ids = torch.tensor([[2, 7, 8, 3]])
    with torch.no_grad():
        torch.testing.assert_close(
            model.eval()(ids).last_hidden_state, truth(ids).last_hidden_state
        )


def test_reading_the_encoder_leaves_the_terminal_alone(encoder, tmp_path, capfd):
    write_checkpoint(encoder, tmp_path / "encoder.pt")
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()


def test_a_selection_is_exported_from_python_in_a_fresh_process(selected, export, tmp_path):
    """The tasks are our own kind, which plain jiant does not know."""
    code = (
        "import sys; from pathlib import Path\n"
        "from gradts_plugin.export.mtdnn import export_selection\n"
        "print(export_selection(Path(sys.argv[1]), Path(sys.argv[2])).num_train['words'])\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, selected, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (answer.returncode, answer.stdout) == (0, "16\n"), answer.stderr
    rows = [json.loads(line) for line in (tmp_path / "out/data/words_train.json").open()]
    assert rows == export.train["words"]


def test_another_start_is_named_and_nothing_is_copied(selected, tmp_path):
    answer = run_command(
        *("export", "mt-dnn", selected / "selected_config.json"),
        *("--output", tmp_path / "out", "--init_checkpoint", "bert base"),
    )
    assert answer.code == 0, answer.err
    assert not (tmp_path / "out" / "encoder.pt").exists()
    assert Export(tmp_path / "out", tmp_path).arguments.init_checkpoint == "bert base"


def test_exporting_changes_nothing_in_the_run_and_nothing_over_other_files(selected, tmp_path):
    before = files_below(selected)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    answer = run_command("export", "mt-dnn", selected, "--output", tmp_path / "out")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "holds other files" in answer.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    assert files_below(selected) == before


# --- subsets and ratios ---------------------------------------------------------------------------


def changed_copy(selected, folder, change):
    """A selection's config, changed."""
    config = read_json(selected / "selected_config.json")
    change(config)
    path = folder / "selected_config.json"
    path.write_text(json.dumps(config))
    return path


def test_only_the_kept_instances_of_an_auxiliary_are_written(selected, tmp_path):
    def keep(config):
        # What GradTS-fg's rewriting does to the caches.
        kept = {"words": np.array([1, 4, 11])}
        config.update(with_filtered_caches(config, kept, tmp_path / "subsets"))

    path = changed_copy(selected, tmp_path, keep)
    written = export_selection(path, tmp_path / "export", init_checkpoint="x")
    assert (written.num_train["topic"], written.num_train["words"]) == (16, 3)
    export = Export(tmp_path / "export", tmp_path)
    assert [row["uid"] for row in export.train["words"]] == ["1", "4", "11"]
    assert len(export.dev["words"]) == 10


def test_a_sequence_is_said_to_be_mixed(selected, tmp_path):
    def sequence(config):
        config["gradts"]["selection"]["auxiliary_tasks"] = ["words"]
        recipe = config["gradts"]["selection"]["recipe"]
        recipe |= {"task_steps": {"topic": 9, "words": 9}, "last_task": "topic"}

    path = changed_copy(selected, tmp_path, sequence)
    export_selection(path, tmp_path / "export", init_checkpoint="x")
    script = (tmp_path / "export" / "train.sh").read_text()
    assert "# topic was trained after the others; MT-DNN mixes them." in script


@pytest.mark.parametrize(
    ("key", "ratios"),
    [
        ("mixing_ratios", {"topic": 3, "match": 1, "two_words": 2}),
        ("task_steps", {"topic": 9, "match": 3, "two_words": 6}),
    ],
)
def test_mixing_ratios_are_the_proportions_of_batches(selected, tmp_path, key, ratios):
    def mix(config):
        config["gradts"]["selection"]["auxiliary_tasks"] = ["match", "two_words"]
        config["gradts"]["selection"]["recipe"][key] = ratios
        config["global_train_config"]["max_steps"] = 18

    path = changed_copy(selected, tmp_path, mix)
    export_selection(path, tmp_path / "export", init_checkpoint="x")
    export = Export(tmp_path / "export", tmp_path)
    # 18 steps at 3 : 1 : 2; the files hold the whole training.
    assert export.epoch() == {"topic": 9, "match": 3, "two-words": 6}
    assert export.arguments.epochs == 1
    assert export.arguments.save_per_updates_on
    assert export.arguments.save_per_updates == 18
    assert "was trained after the others" not in (tmp_path / "export" / "train.sh").read_text()
    # Two short of five passes over 16 rows: each row four or five times.
    counts = Counter(row["uid"] for row in export.train["topic"])
    assert sorted(counts.values()) == [4] * 8 + [5] * 8
    first = [row["uid"] for row in export.train["topic"][:16]]
    second = [row["uid"] for row in export.train["topic"][16:32]]
    assert sorted(first) == sorted(second)
    assert first != second
    again = tmp_path / "again"
    export_selection(path, again, init_checkpoint="x")
    assert files_below(again) == files_below(tmp_path / "export")


def test_epochs_follow_the_steps_where_no_epochs_were_given(selected, tmp_path):
    def longer(config):
        del config["gradts"]["training"]["epochs"]
        config["gradts"]["training"]["gradient_accumulation_steps"] = 2
        config["global_train_config"]["max_steps"] = 18

    path = changed_copy(selected, tmp_path, longer)
    export_selection(path, tmp_path / "export", init_checkpoint="x")
    given = Export(tmp_path / "export", tmp_path).arguments
    # 36 batches, 9 in an epoch.
    assert (given.epochs, given.grad_accumulation_step) == (4, 2)


def test_the_primary_alone_is_an_export_too(selected, tmp_path):
    path = changed_copy(
        selected,
        tmp_path,
        lambda config: config["gradts"]["selection"].update(auxiliary_tasks=[]),
    )
    export_selection(path, tmp_path / "export", init_checkpoint="x")
    assert list(Export(tmp_path / "export", tmp_path).train) == ["topic"]
    assert "with no auxiliary task" in (tmp_path / "export" / "train.sh").read_text()


# --- definitions ----------------------------------------------------------------------------------


def task_of(kind, labels, **values):
    given = {"is_pair": False, "metric": None, "positive_label": None, **values}
    return TokenizedTask("t", kind, labels, _folders={}, **given)


def test_mt_dnns_f1_is_that_of_the_positive_label():
    task = task_of("classification", ("same", "other"), metric="f1", positive_label="same")
    definition = task_definition(task)
    assert definition["labels"] == ["other", "same"]
    assert definition["metric_meta"] == ["F1", "ACC"]
    row = TokenizedRow(0, (2, 3), (0, 0), 0)
    assert mtdnn_row(task, row)["label"] == 1
    later = dataclasses.replace(task, positive_label="other")
    assert task_definition(later)["labels"] == ["same", "other"]
    assert mtdnn_row(later, row)["label"] == 0


@pytest.mark.parametrize(
    ("kind", "metric", "expected"),
    [
        ("classification", "mcc", ["MCC", "ACC"]),
        ("classification", "macro_f1", ["ACC"]),
        ("classification", "f1", ["ACC"]),  # of one among three classes
        ("classification", None, ["ACC"]),
        ("regression", "spearman", ["Spearman", "Pearson"]),
        ("tagging", "accuracy", ["SeqEval"]),
    ],
)
def test_metrics_are_mt_dnns_nearest(kind, metric, expected):
    labels = () if kind == "regression" else ("a", "b", "c")
    task = task_of(kind, labels, metric=metric, positive_label="a" if metric == "f1" else None)
    assert task_definition(task)["metric_meta"] == expected


def test_a_tag_called_like_one_of_mt_dnns_own_is_not_taken_for_it():
    task = task_of("tagging", ("NOUN", "X"))
    assert task_definition(task)["labels"] == ["NOUN", "X-tag", "X", "CLS", "SEP"]
    row = TokenizedRow(0, (2, 5, 6, 7, 3), (0,) * 5, (None, 1, None, 0, None))
    assert mtdnn_row(task, row)["label"] == [3, 1, 2, 0, 4]


def test_names_have_no_underscore_and_do_not_clash():
    assert mtdnn_names(["a_b", "c.d"]) == {"a_b": "a-b", "c.d": "c.d"}
    with pytest.raises(ConfigError, match="'a_b' and 'a-b' would both be 'a-b'"):
        mtdnn_names(["a_b", "a-b"])


# --- refusals -------------------------------------------------------------------------------------


def refused(path, tmp_path):
    answer = run_command("export", "mt-dnn", path, "--output", tmp_path / "export")
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err
    assert not (tmp_path / "export").exists()
    assert not list(tmp_path.glob(".writing-*"))
    return answer.err


def test_a_folder_without_a_finished_selection_is_refused(tmp_path):
    assert "holds no finished selection" in refused(tmp_path, tmp_path)


def test_a_config_that_no_selection_wrote_is_refused(selected, tmp_path):
    assert "holds no selection" in refused(selected / "container_config.json", tmp_path)


def test_multiple_choice_is_refused_by_name(selected, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "gradts_plugin.hosts.jiant.cached.tokenized_tasks",
        lambda config, names: (task_of("multiple_choice", ("0", "1")),),
    )
    error = refused(selected, tmp_path)
    assert "task 't' cannot be exported: MT-DNN has no task type for multiple choice" in error


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("albert", "MT-DNN has no encoder type for 'albert'; it has bert, roberta"),
        ("roberta", "name one with --init_checkpoint"),
    ],
)
def test_encoders_mt_dnn_cannot_start_from_are_refused(selected, tmp_path, architecture, said):
    path = changed_copy(
        selected,
        tmp_path,
        lambda config: config["gradts"]["selection"].update(encoder_architecture=architecture),
    )
    assert said in refused(path, tmp_path)


def test_a_missing_cache_is_one_line(selected, tmp_path):
    def lose(config):
        config["task_cache_config_dict"]["match"]["train"] = str(tmp_path / "gone")

    path = changed_copy(selected, tmp_path, lose)
    assert "task 'match': no train cache" in refused(path, tmp_path)
