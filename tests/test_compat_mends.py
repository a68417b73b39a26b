"""Every mend is needed: without it, and with all others, something of jiant does not work."""

from __future__ import annotations

import importlib.metadata
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
from tiny_encoders import save_tiny_encoder

from gradts_plugin.errors import HostError, UnsupportedEncoderError
from gradts_plugin.hosts.jiant import compat
from gradts_plugin.hosts.jiant.architectures import SUPPORTED_ENCODERS, require_supported_encoder
from gradts_plugin.hosts.jiant.mends.adamw import AdamW
from gradts_plugin.hosts.jiant.mends.mend import Mend
from gradts_plugin.hosts.jiant.mends.table import MENDS
from gradts_plugin.hosts.jiant.mends.zero_gradients import keep_zero_gradients

MEND_NAMES = [mend.name for mend in MENDS]


# --- what each mend is for; every function runs in a process of its own -------------------------


def works_tokenizer_helpers(folder):
    import jiant.tasks.retrieval

    return "cola" in jiant.tasks.retrieval.TASK_DICT


def works_pickled_files(folder):
    import jiant.shared.caching as caching
    from jiant.tasks.core import BaseDataRow

    caching.chunk_and_save([BaseDataRow()], 10, {"chunk_size": 10}, str(folder))
    with pytest.raises(Exception, match="weights_only"):  # everybody else stays safe
        torch.load(folder / "data_00000.chunk")
    return isinstance(caching.ChunkedFilesDataCache(str(folder)).get_all()[0], BaseDataRow)


def works_adamw(folder):
    import jiant.shared.model_setup as model_setup

    return isinstance(_host_optimizer(model_setup, torch.nn.Linear(1, 1)), torch.optim.Optimizer)


def _host_optimizer(model_setup, model, kind="adam"):
    return model_setup.create_optimizer(
        model, 0.1, t_total=100, warmup_steps=0, warmup_proportion=None, optimizer_type=kind
    ).optimizer


def works_zero_gradients(folder):
    import jiant.shared.model_setup as model_setup

    moves = []
    for kind in ("adam", "radam"):
        heads = torch.nn.ModuleDict({"a": torch.nn.Linear(1, 1), "b": torch.nn.Linear(1, 1)})
        optimizer = _host_optimizer(model_setup, heads, kind)
        for names in ("ab", "a"):
            before = heads["b"].weight.item()
            optimizer.zero_grad()
            sum(heads[name](torch.ones(1)).sum() for name in names).backward()
            optimizer.step()
        # Task b is not in the last batch; its momentum still carries its head on.
        moves.append(heads["b"].weight.item() != before)
    return all(moves)


def works_hidden_states(folder):
    import jiant.proj.main.modeling.primary as primary
    import transformers

    path = save_tiny_encoder("bert", folder / "encoder", num_layers=3)
    model = transformers.AutoModel.from_pretrained(path)
    encoder = primary.JiantTransformersModelFactory()(model)
    ids = torch.tensor([[2, 7, 9, 3]])
    output = encoder.encode(input_ids=ids, segment_ids=ids * 0, input_mask=ids * 0 + 1)
    return output.other is not None and len(output.other) == 4


def works_batch_fields(folder):
    import numpy as np
    from jiant.tasks.lib.copa import CopaTask

    row = CopaTask.DataRow(
        guid="0",
        input_ids=np.array([[1, 2], [3, 4]]),
        input_mask=np.array([[1, 1], [1, 1]]),
        segment_ids=np.array([[0, 0], [0, 0]]),
        label_id=1,
        tokens_list=[["a"], ["b"]],
    )
    batch, _ = CopaTask.collate_fn([{"data_row": row, "metadata": {"example_id": 0}}])
    return batch.input_ids.tolist() == [[[1, 2], [3, 4]]]


def works_tokenizer_classes(folder):
    import jiant.shared.model_resolution as resolution
    import transformers

    found = [
        resolution.resolve_model_arch_tokenizer(
            transformers.AutoTokenizer.from_pretrained(save_tiny_encoder(kind, folder / kind))
        ).value
        for kind in ("bert", "roberta")
    ]
    return found == ["bert", "roberta"]


def works_encoder_loading(folder):
    import jiant.proj.main.export_model as export_model
    import jiant.proj.main.modeling.model_setup as model_setup
    import transformers

    path = save_tiny_encoder("bert", folder / "encoder")
    transformers.AutoModel.from_pretrained(path).half().save_pretrained(path)
    export_model.export_model(str(path), str(folder / "exported"))
    exported = torch.load(folder / "exported" / "model" / "model.p", weights_only=True)
    config = model_setup.container_setup.TaskmodelsConfig({})
    encoder = model_setup.setup_jiant_model(str(path), None, {}, config).encoder
    types = {weight.dtype for weight in (*exported.values(), *encoder.parameters())}
    return types == {torch.float32}


def outcome(name, folder, *, left_out):
    """ "works", or what went wrong, with all mends but those left out."""
    compat._apply(mend for mend in MENDS if mend.name not in left_out)
    try:
        return "works" if globals()[f"works_{name}"](folder) else "wrong result"
    except Exception as error:
        return type(error).__name__


SYMPTOMS = {
    "tokenizer_helpers": "ImportError",
    "pickled_files": "UnpicklingError",
    "adamw": "AttributeError",
    "zero_gradients": "wrong result",
    "hidden_states": "wrong result",
    "batch_fields": "TypeError",
    "tokenizer_classes": "AssertionError",
    "encoder_loading": "wrong result",
}


@pytest.fixture(scope="module")
def fresh_process():
    """Runs a function in a process that has not imported jiant, but what takes long to import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [
            *("datasets", "nltk", "pandas", "pytest", "seqeval.metrics", "sklearn.metrics"),
            "torch._dynamo",  # constructing an optimizer imports it
            "transformers.modeling_utils",
            "transformers.models.auto.modeling_auto",
            "transformers.models.bert.modeling_bert",
        ]
    )
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        yield lambda *args, **kwargs: pool.submit(*args, **kwargs).result()


def test_every_mend_has_its_test():
    assert sorted(SYMPTOMS) == sorted(MEND_NAMES)


@pytest.mark.parametrize("name", MEND_NAMES)
def test_host_fails_without_the_mend_and_works_with_it(name, fresh_process, tmp_path):
    mend = next(mend for mend in MENDS if mend.name == name)
    if not mend.needed():
        pytest.skip(f"not needed by the installed versions ({mend.versions})")
    without = fresh_process(outcome, name, tmp_path / "without", left_out=[name])
    assert without == SYMPTOMS[name]
    assert fresh_process(outcome, name, tmp_path / "with", left_out=[]) == "works"


def test_one_mend_suffices_where_only_one_is_needed(fresh_process, tmp_path):
    # The mend itself, not some other one, is what makes the difference.
    others = [name for name in MEND_NAMES if name != "batch_fields"]
    assert fresh_process(outcome, "batch_fields", tmp_path, left_out=others) == "works"


# --- in this process ----------------------------------------------------------------------------


def test_applying_twice_changes_nothing():
    first = compat.apply_mends()
    load = torch.load
    assert compat.apply_mends() == first
    assert torch.load is load
    assert first


def test_adamw_follows_the_published_update():
    parameter = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = AdamW([parameter], lr=0.1, eps=0.01, weight_decay=0.5)
    value, mean, square = 2.0, 0.0, 0.0
    for step, gradient in enumerate((0.5, -3.0, 0.0), start=1):
        parameter.grad = torch.tensor([gradient])
        optimizer.step()
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        step_size = 0.1 * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        value -= step_size * mean / (math.sqrt(square) + 0.01)
        value -= 0.1 * 0.5 * value
        assert parameter.item() == pytest.approx(value, abs=1e-6)


def test_zero_gradients_stay_tensors():
    layer = torch.nn.Linear(2, 1)
    optimizer = keep_zero_gradients(torch.optim.Adamax(layer.parameters()))
    layer(torch.ones(2)).sum().backward()
    optimizer.zero_grad()
    assert layer.weight.grad.tolist() == [[0.0, 0.0]]


def test_missing_host_is_one_line_that_says_what_to_type(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(
        HostError, match=r"pip install --no-deps jiant==2\.2\.0 .*uv sync"
    ) as caught:
        compat.apply_mends()
    assert "\n" not in str(caught.value)


def test_other_host_version_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "2.1.0")
    with pytest.raises(HostError, match=r"jiant 2\.1\.0 is installed, but 2\.2\.0 is needed"):
        compat.apply_mends()


def test_package_that_the_host_imports_is_named_when_missing(monkeypatch):
    def fail():
        raise ModuleNotFoundError("No module named 'numexpr'", name="numexpr")

    broken = Mend("broken", "", "", needed=lambda: True, apply=fail)
    monkeypatch.setattr(compat, "MENDS", (broken,))
    with pytest.raises(HostError, match="needs the package 'numexpr'"):
        compat.apply_mends()


@pytest.mark.parametrize("model_type", SUPPORTED_ENCODERS)
def test_supported_encoders_pass(model_type):
    require_supported_encoder(model_type)


@pytest.mark.parametrize(
    ("model_type", "reason"),
    [
        ("electra", "hidden states"),
        ("bart", "does not accept the arguments"),
        ("xlm", "abstract"),
        ("distilbert", "jiant has no class for it; supported: bert, roberta, "),
    ],
)
def test_unsupported_encoders_are_refused_with_the_reason(model_type, reason):
    with pytest.raises(UnsupportedEncoderError, match=reason) as caught:
        require_supported_encoder(model_type)
    assert "\n" not in str(caught.value)
