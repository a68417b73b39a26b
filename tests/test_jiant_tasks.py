"""Custom tasks inside jiant: caches, heads, losses, scores."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_encoders import SENTENCES, save_tiny_encoder

from gradts_plugin.errors import ConfigError, DataError, HostError, LeftOutWarning
from gradts_plugin.hosts.jiant.losses import instance_losses
from gradts_plugin.hosts.jiant.preparing import task_values
from gradts_plugin.hosts.jiant.tasks import attaching, custom, evaluation, examples

from jiant.proj.main import runner, tokenize_and_cache  # isort: skip  # after the mends
from jiant.proj.main.components import container_setup  # isort: skip
from jiant.proj.main.modeling import model_setup  # isort: skip
from jiant.proj.main.modeling.primary import wrap_jiant_forward  # isort: skip
from jiant.shared import caching  # isort: skip
from jiant.tasks import evaluate, retrieval  # isort: skip
from jiant.utils import torch_utils  # isort: skip

KINDS = {
    "single": {"metric": "mcc"},
    "pair": {"metric": "f1", "positive_label": "yes"},
    "regression": {"metric": "pearson", "fields": {"text_b": "text_b"}},
    "tagging": {"metric": "seqeval_f1"},
    "multiple_choice": {"metric": "accuracy", "fields": {"text_b": "text_b"}},
}


def row(kind, number):
    sentence, other = SENTENCES[number], SENTENCES[number - 1]
    if kind == "tagging":
        tokens = sentence.split()
        return {
            "tokens": tokens,
            "labels": ["B-long" if len(word) > 4 else "O" for word in tokens],
        }
    label = {"regression": number / 2, "multiple_choice": number % 3}
    values = {"text_a": sentence, "label": label.get(kind, "yes" if number % 2 else "no")}
    if kind != "single":
        values["text_b"] = other
    if kind == "multiple_choice":
        values["choices"] = ["the river", "a bridge", "bread and flour"]
    return values


@pytest.fixture(scope="session", params=["bert", "roberta"])
def encoder(request, tmp_path_factory):
    return save_tiny_encoder(request.param, tmp_path_factory.mktemp("encoder") / request.param)


@pytest.fixture(autouse=True)
def _attached():
    attaching.attach()
    yield
    attaching.detach()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A folder with a task of each kind."""
    folder = tmp_path_factory.mktemp("data")
    for kind, settings in KINDS.items():
        for split, numbers in (("train", range(8)), ("val", range(8, 12))):
            lines = [json.dumps(row(kind, number)) + "\n" for number in numbers]
            (folder / f"{kind}_{split}.jsonl").write_text("".join(lines))
        paths = {split: f"{kind}_{split}.jsonl" for split in ("train", "val")}
        config = {"name": f"my_{kind}", "kind": kind, "paths": paths, **settings}
        (folder / f"{kind}.json").write_text(json.dumps(config))
    return folder


def cached(config_path, encoder, output, *, max_seq_length=64, phases="train,val"):
    """Runs jiant's own tokenisation and returns its caches."""
    arguments = tokenize_and_cache.RunConfiguration(
        task_config_path=str(config_path),
        hf_pretrained_model_name_or_path=str(encoder),
        output_dir=str(output),
        phases=phases,
        max_seq_length=max_seq_length,
        smart_truncate=True,
        chunk_size=5,
    )
    tokenize_and_cache.main(arguments)
    return {
        part.name: caching.ChunkedFilesDataCache(str(part))
        for part in output.iterdir()
        if part.is_dir()
    }


def model_of(task, encoder):
    names = container_setup.TaskmodelsConfig({task.name: task.name})
    model = model_setup.setup_jiant_model(
        hf_pretrained_model_name_or_path=str(encoder),
        model_config_path=None,
        task_dict={task.name: task},
        taskmodels_config=names,
    )
    return model.eval()


def batches(task, cache, size):
    dataset = torch_utils.ListDataset(cache.get_all())
    return torch.utils.data.DataLoader(dataset, batch_size=size, collate_fn=task.collate_fn)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_goes_through_jiant(kind, folder, encoder, tmp_path):
    """Tokenised, cached and read back, run forward, its losses and scores as jiant has them."""
    caches = cached(folder / f"{kind}.json", encoder, tmp_path)
    assert {name: len(cache) for name, cache in caches.items()} == {
        "train": 8, "val": 4, "val_labels": 4,
    }  # fmt: skip
    task = retrieval.create_task_from_config_path(str(folder / f"{kind}.json"))
    assert task.name == f"my_{kind}"
    torch.manual_seed(0)
    model = model_of(task, encoder)

    (batch, metadata) = next(iter(batches(task, caches["train"], 8)))
    assert list(metadata["example_id"]) == list(range(8))
    losses = instance_losses(model, batch, task)
    assert losses.shape == (8,)
    assert losses.requires_grad
    alone = [
        wrap_jiant_forward(model, one, task, compute_loss=True).loss.item()
        for one, _ in batches(task, caches["train"], 1)
    ]
    assert losses.tolist() == pytest.approx(alone, abs=1e-5)
    together = wrap_jiant_forward(model, batch, task, compute_loss=True).loss
    if kind != "tagging":
        assert losses.mean().item() == pytest.approx(together.item(), abs=1e-6)

    result = runner.run_val(
        val_dataloader=batches(task, caches["val"], 3),
        val_labels=caches["val_labels"].get_all(),
        jiant_model=model,
        task=task,
        device=torch.device("cpu"),
        local_rank=-1,
        return_preds=True,
        verbose=False,
    )
    metrics = result["metrics"]
    assert metrics.major == metrics.minor[KINDS[kind]["metric"]]
    assert len(result["preds"]) == 4
    assert len(result["accumulator"].get_guids()) == 4


def test_labels_and_guids_of_cached_rows(folder, encoder, tmp_path):
    found = cached(folder / "pair.json", encoder, tmp_path)["train"].get_all()
    assert [datum["data_row"].label_id for datum in found] == [0, 1] * 4
    assert [datum["data_row"].guid for datum in found[:2]] == ["train-0", "train-1"]
    scores = cached(folder / "regression.json", encoder, tmp_path / "r")["train"].get_all()
    assert [datum["data_row"].label for datum in scores] == [number / 2 for number in range(8)]
    choices = cached(folder / "multiple_choice.json", encoder, tmp_path / "c")["train"].get_all()
    assert [datum["data_row"].label_id for datum in choices] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert choices[0]["data_row"].input_ids.shape[0] == 3


UNLABELLED = {
    "single": {"text_a": "the river"},
    "regression": {"text_a": "the river", "text_b": "a bridge"},
    "tagging": {"tokens": ["the", "river"]},
    "multiple_choice": {"text_a": "the", "text_b": "a", "choices": ["river", "bridge", "bread"]},
}


@pytest.mark.parametrize("kind", UNLABELLED)
def test_unlabelled_test_rows_can_be_predicted(kind, folder, encoder, tmp_path):
    config = json.loads((folder / f"{kind}.json").read_text())
    config["paths"] = {name: str(folder / path) for name, path in config["paths"].items()}
    config["paths"]["test"] = str(tmp_path / "test.jsonl")
    (tmp_path / "test.jsonl").write_text(json.dumps(UNLABELLED[kind]) + "\n")
    (tmp_path / "task.json").write_text(json.dumps(config))
    caches = cached(tmp_path / "task.json", encoder, tmp_path / "out", phases="test")
    task = retrieval.create_task_from_config_path(str(tmp_path / "task.json"))
    result = runner.run_test(
        test_dataloader=batches(task, caches["test"], 1),
        jiant_model=model_of(task, encoder),
        task=task,
        device=torch.device("cpu"),
        local_rank=-1,
        verbose=False,
    )
    assert len(result["preds"]) == 1


# --- tagging -----------------------------------------------------------------------------------


class Pieces:
    """A tokenizer that cuts words into letters."""

    unk_token = "?"

    def tokenize(self, text):
        return list(text)


def test_the_first_piece_of_a_word_carries_its_label():
    example = examples.TaggingExample("g", ("ab", "", "c" * 101, "d" * 100), (3, 1, 2, 0))
    tokenized = example.tokenize(Pieces())
    assert tokenized.tokens == ["a", "b", "?", "?", *"d" * 100]
    assert tokenized.labels == [3, None, 1, 2, 0, *[None] * 99]
    assert tokenized.label_mask == [1, 0, 1, 1, 1, *[0] * 99]


def test_words_without_a_label_are_neither_learned_nor_scored(folder, encoder, tmp_path):
    rows = [row("tagging", 0), row("tagging", 1)]
    rows[0]["labels"][1] = rows[1]["labels"][0] = -100
    config = json.loads((folder / "tagging.json").read_text())
    config["paths"] = dict.fromkeys(("train", "val"), str(tmp_path / "rows.jsonl"))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    (tmp_path / "task.json").write_text(json.dumps(config))
    with pytest.warns(LeftOutWarning, match="words without a label, ignored: 2"):
        caches = cached(tmp_path / "task.json", encoder, tmp_path / "out")
    for datum, given in zip(caches["val_labels"].get_all(), rows, strict=True):
        assert datum["pos_list"] == [label for label in given["labels"] if label != -100]
    labels = [datum["data_row"].label_ids for datum in caches["train"].get_all()]
    assert [int((ids >= 0).sum()) for ids in labels] == [len(each["labels"]) - 1 for each in rows]


def test_words_beyond_the_maximum_length_have_no_label(folder, encoder, tmp_path):
    caches = cached(folder / "tagging.json", encoder, tmp_path, max_seq_length=8)
    for datum in caches["train"].get_all():
        data_row = datum["data_row"]
        assert len(data_row.input_ids) == 8
        assert data_row.label_mask[0] == 0
        assert data_row.label_mask[-1] == 0
        assert 1 <= data_row.label_mask.sum() <= 6
        assert ((data_row.label_ids >= 0) == (data_row.label_mask == 1)).all()


def tagging_batch(label_ids):
    labels = torch.tensor(label_ids)
    shape = labels.shape
    return SimpleNamespace(label_ids=labels, label_mask=(labels >= 0).long()), shape


def test_tagging_losses_are_means_over_the_instances_own_words(monkeypatch):
    # Two labels with logits (0, log 3): probabilities 1/4 and 3/4.
    batch, shape = tagging_batch([[-1, 0, 1, -1], [-1, 1, -1, -1], [-1, -1, -1, -1]])
    logits = torch.tensor([0.0, np.log(3)]).expand(*shape, 2).clone()
    output = SimpleNamespace(logits=logits.requires_grad_())
    monkeypatch.setattr(
        "gradts_plugin.hosts.jiant.losses.wrap_jiant_forward", lambda *_, **__: output
    )
    task = SimpleNamespace(name="t", TASK_TYPE=custom.TaskTypes.TAGGING)
    losses = instance_losses(None, batch, task)
    expected = [(np.log(4) + np.log(4 / 3)) / 2, np.log(4 / 3), 0.0]
    assert losses.tolist() == pytest.approx(expected, abs=1e-6)
    losses.sum().backward()
    assert torch.isfinite(output.logits.grad).all()


# --- jiant's own tasks -------------------------------------------------------------------------

HOST_TASKS = {
    "rte": [
        {"premise": SENTENCES[i], "hypothesis": SENTENCES[i + 1], "label": label, "idx": i}
        for i, label in enumerate(["entailment", "not_entailment"])
    ],
    "stsb": [
        {"text_a": SENTENCES[i], "text_b": SENTENCES[i + 1], "label": score}
        for i, score in enumerate([1.5, 4.0])
    ],
    "wic": [
        {
            "sentence1": "the river", "sentence2": "a quiet river", "word": "river", "idx": i,
            "start1": 4, "end1": 9, "start2": 8, "end2": 13, "label": label, "version": 1.1,
        }
        for i, label in enumerate([True, False])
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", HOST_TASKS)
def test_jiants_own_tasks_have_losses_too(name, encoder, tmp_path):
    lines = [json.dumps(values) + "\n" for values in HOST_TASKS[name]]
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    paths = {"train": "rows.jsonl", "val": "rows.jsonl"}
    config = tmp_path / "task.json"
    config.write_text(json.dumps({"task": name, "name": name, "paths": paths}))
    caches = cached(config, encoder, tmp_path / "out")
    task = retrieval.create_task_from_config_path(str(config))
    model = model_of(task, encoder)
    batch, _ = next(iter(batches(task, caches["train"], 2)))
    losses = instance_losses(model, batch, task)
    loss = wrap_jiant_forward(model, batch, task, compute_loss=True).loss
    assert losses.shape == (2,)
    assert losses.mean().item() == pytest.approx(loss.item(), abs=1e-6)


def test_losses_under_bf16_autocast_are_float32(folder, encoder, tmp_path):
    for kind in ("single", "regression"):
        caches = cached(folder / f"{kind}.json", encoder, tmp_path / kind)
        task = retrieval.create_task_from_config_path(str(folder / f"{kind}.json"))
        batch, _ = next(iter(batches(task, caches["train"], 8)))
        model = model_of(task, encoder)
        with torch.autocast("cpu", torch.bfloat16):
            losses = instance_losses(model, batch, task)
        assert losses.dtype == torch.float32
        assert losses.tolist() == pytest.approx(
            instance_losses(model, batch, task).tolist(), rel=0.1, abs=0.05
        )


def test_task_types_without_a_loss_per_instance_are_named():
    task = SimpleNamespace(name="m", TASK_TYPE=custom.TaskTypes.MASKED_LANGUAGE_MODELING)
    with pytest.raises(HostError, match="task 'm' of type masked_language_modeling cannot be"):
        instance_losses(None, None, task)


# --- scores ------------------------------------------------------------------------------------


def test_scores_of_labels_worked_by_hand():
    # Of 4 rows: 2 right; for label 1: 1 true positive, 1 false positive, 1 missed.
    scores = evaluation.label_scores([1, 1, 0, 0], [1, 0, 0, 1], positive=1)
    assert scores == {"accuracy": 0.5, "macro_f1": 0.5, "mcc": 0.0, "f1": 0.5}
    # Label 1: precision 1/2, recall 1 -> 2/3. Label 0: precision 1, recall 2/3 -> 4/5.
    scores = evaluation.label_scores([1, 1, 0, 0], [1, 0, 0, 0], positive=0)
    assert scores["f1"] == pytest.approx(4 / 5)
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    # MCC = (1*2 - 1*0) / sqrt(2*1*3*2)
    assert scores["mcc"] == pytest.approx(2 / np.sqrt(12))


@pytest.mark.filterwarnings("error")
def test_constant_predictions_have_a_defined_score():
    scores = evaluation.label_scores([0, 0], [0, 1], positive=1)
    assert (scores["mcc"], scores["f1"]) == (0.0, 0.0)
    zero = {"pearson": 0.0, "spearman": 0.0}
    assert evaluation.correlation_scores(np.ones(3), np.arange(3.0)) == zero
    assert evaluation.correlation_scores(np.arange(3.0), np.ones(3)) == zero
    assert evaluation.correlation_scores(np.ones(1), np.ones(1)) == zero
    tags = evaluation.tag_scores([["O", "O"]], [["O", "O"]], ["O", "B-x"])
    assert tags == {"accuracy": 1.0, "macro_f1": 1.0, "seqeval_f1": 0.0}


def test_correlations_worked_by_hand():
    scores = evaluation.correlation_scores(np.array([1, 2, 3]), np.array([1, 2, 9]))
    # Deviations (-1, 0, 1) and (-3, -2, 5): 8 / sqrt(2 * 38).
    assert scores["pearson"] == pytest.approx(8 / np.sqrt(76))
    assert scores["spearman"] == pytest.approx(1.0)


def test_spans_count_only_where_all_of_a_span_is_right():
    gold = [["B-x", "I-x", "O", "B-y"]]
    found = [["B-x", "O", "O", "B-y"]]
    scores = evaluation.tag_scores(found, gold, ["B-x", "I-x", "B-y", "I-y", "O"])
    # One of two spans found, one of two predicted spans right.
    assert scores["seqeval_f1"] == pytest.approx(0.5)
    assert scores["accuracy"] == pytest.approx(3 / 4)


SCHEMES = {
    "IOB": ["B-P", "I-P", "O", "B-L"],
    "IO": ["I-P", "I-P", "O", "I-L"],
    "IOBES": ["B-P", "E-P", "O", "S-L"],
    "BILOU": ["B-P", "L-P", "O", "U-L"],
    "BMES": ["B-P", "E-P", "O", "S-L"],
    "BMEWO": ["B-P", "E-P", "O", "W-L"],
    "underscore": ["B_P", "I_P", "O", "B_L"],
    "suffix": ["P-B", "P-I", "O", "L-B"],
    "suffix with underscore": ["the_P_B", "the_P_I", "O", "the_L_B"],
    "lower case": ["b-p", "i-p", "o", "b-l"],
    "bare": ["B", "I", "O", "B"],
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_spans_of_every_scheme_are_found_whole_or_not_at_all(scheme):
    gold = SCHEMES[scheme]
    outside = "o" if "o" in gold else "O"
    first, last = [*gold[:3], outside], [gold[0], *[outside] * 2, gold[3]]
    labels = sorted({*gold, "M-P" if scheme == "BMES" else outside})
    for found, score in ((gold, 1.0), ([outside] * 4, 0.0), (first, 2 / 3), (last, 0.5)):
        scores = evaluation.tag_scores([found], [gold], labels)
        # With spans of I alone, half of the first is a span of its own, as it is of B alone.
        assert scores["seqeval_f1"] == pytest.approx(score)


def test_a_middle_goes_on_with_its_span():
    gold = [["B-P", "M-P", "E-P", "O"]]
    labels = ["B-P", "M-P", "E-P", "S-P", "O"]
    found = [["B-P", "E-P", "O", "O"]]
    assert evaluation.tag_scores(gold, gold, labels)["seqeval_f1"] == 1.0
    assert evaluation.tag_scores(found, gold, labels)["seqeval_f1"] == 0.0


def test_a_label_that_marks_no_span_leaves_the_others_spans():
    gold, found = [["B-P", "I-P", "O", "X"]], [["O", "O", "O", "X"]]
    scores = evaluation.tag_scores(found, gold, ["B-P", "I-P", "O", "X"])
    assert (scores["accuracy"], scores["seqeval_f1"]) == (0.5, 0.0)


def test_plain_tags_have_no_spans():
    gold, found = [["NOUN", "NOUN", "VERB"]], [["NOUN", "VERB", "VERB"]]
    scores = evaluation.tag_scores(found, gold, ["NOUN", "VERB"])
    assert scores == {"accuracy": pytest.approx(2 / 3), "macro_f1": pytest.approx(2 / 3)}


def test_tag_predictions_of_batches_of_different_length_are_kept_apart():
    scheme = evaluation.TagScheme("accuracy")
    accumulator = scheme.get_accumulator()
    for length in (3, 5):
        logits = np.zeros((1, length, 2))
        logits[..., 1] = 1
        accumulator.update(logits, 0.0, None, {"guid": [f"val-{length}"]})
    assert [len(ids) for ids in accumulator.get_accumulated()] == [3, 5]
    rows = [
        {"pos_list": ["O"], "label_mask": np.array([0, 1, 0, 0, 0], bool)},
        {"pos_list": ["B-x", "B-x"], "label_mask": np.array([0, 1, 1, 0, 0], bool)},
    ]
    task = SimpleNamespace(LABELS=["O", "B-x"], ID_TO_LABEL={0: "O", 1: "B-x"})
    metrics = scheme.compute_metrics_from_accumulator(task, accumulator, None, rows)
    assert metrics.major == pytest.approx(2 / 3)


# --- attaching ---------------------------------------------------------------------------------

HOST_CONFIG = {"task": "rte", "name": "rte", "paths": {"train": "/t.jsonl", "val": "/v.jsonl"}}


def patched():
    return (
        retrieval.create_task_from_config,
        evaluate.get_evaluation_scheme_for_task,
        evaluate.core.get_evaluation_scheme_for_task,
        retrieval.read_json,
    )


def test_attaching_twice_and_detaching_once_restores_jiant():
    attaching.detach()
    originals = patched()
    attaching.attach()
    assert all(now is not then for now, then in zip(patched(), originals, strict=True))
    attaching.attach()
    attaching.detach()
    assert patched() == originals
    attaching.detach()
    assert patched() == originals


def test_jiants_own_configs_work_beside_custom_ones():
    task = retrieval.create_task_from_config(dict(HOST_CONFIG))
    assert type(task) is retrieval.RteTask
    scheme = evaluate.get_evaluation_scheme_for_task(task)
    assert type(scheme) is evaluate.core.SimpleAccuracyEvaluationScheme


def test_the_loader_is_asked_first_and_for_every_config(folder):
    asked = []

    def load_task(config, base_path):
        asked.append((config["name"], base_path))
        return SimpleNamespace(name="other") if config["name"] == "rte" else None

    attaching.attach(load_task)
    assert retrieval.create_task_from_config(dict(HOST_CONFIG), "/base").name == "other"
    assert retrieval.create_task_from_config_path(str(folder / "pair.json")).name == "my_pair"
    assert [name for name, _ in asked] == ["rte", "my_pair"]
    assert asked[1][1] == folder


def test_a_loaded_task_may_bring_its_own_scheme():
    scheme = object()
    task = SimpleNamespace(evaluation_scheme=lambda: scheme)
    assert evaluate.get_evaluation_scheme_for_task(task) is scheme


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"task": "rtee", "name": "x", "paths": {}},
            "jiant has no task 'rtee'; did you mean 'rte'",
        ),
        ({"name": "x", "paths": {}}, "key 'task' is missing; a custom task names its 'kind'"),
        ({"name": "x", "kind": "pairs", "paths": {}}, "did you mean 'pair'"),
    ],
)
def test_wrong_configs_are_explained(config, expected):
    with pytest.raises(ConfigError, match=r"^task config 'x': ") as caught:
        retrieval.create_task_from_config(config, ".")
    assert expected in str(caught.value)


def test_missing_and_broken_config_files_are_explained(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.json: no such file"):
        retrieval.create_task_from_config_path(str(tmp_path / "nowhere.json"))
    (tmp_path / "broken.json").write_text("{\n")
    with pytest.raises(ConfigError, match=r"broken\.json, line 2: broken JSON"):
        retrieval.create_task_from_config_path(str(tmp_path / "broken.json"))
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ConfigError, match="a task config is a JSON object, not list"):
        retrieval.create_task_from_config_path(str(tmp_path / "list.json"))


@pytest.mark.parametrize("name", ["a.b", "keys", "train"])
def test_names_that_torch_cannot_hold_are_refused(name, folder):
    config = json.loads((folder / "single.json").read_text()) | {"name": name}
    with pytest.raises(ConfigError, match="torch has no module of that name"):
        custom.create_task(config, folder)


def test_the_config_is_not_changed_and_missing_data_are_said(tmp_path, folder):
    config = json.loads((folder / "single.json").read_text())
    before = json.dumps(config)
    custom.create_task(config, folder)
    assert json.dumps(config) == before
    with pytest.raises(DataError, match=r"single_train\.jsonl: no such file"):
        custom.create_task(config, tmp_path)


def test_a_test_split_is_scored_with_the_labels_of_all_splits(tmp_path):
    for split, label in (("train", "a"), ("val", "c"), ("test", "d")):
        rows = [{"text_a": "x", "label": label}, {"text_a": "y", "label": "b"}]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    values = {
        "name": "mine",
        "kind": "single",
        "metric": "accuracy",
        "labels": "infer_all",
        "paths": {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "val", "test")},
        "skip_rows": {"test": 1},
    }
    as_dev = task_values.test_as_dev(values)
    assert as_dev["skip_rows"] == {"val": 1}
    trained, scored = (custom.create_task(each, tmp_path) for each in (values, as_dev))
    assert trained.LABELS == ["a", "b", "c"]  # the one skipped row has d
    assert scored.LABELS == trained.LABELS
    assert [example.text_a for example in scored.get_val_examples()] == ["y"]
