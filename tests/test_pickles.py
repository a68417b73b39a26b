"""Nothing in a folder of somebody else's runs code: jiant's pickles are loaded by an allow-list."""

import collections
import dataclasses
import json
import pickle
import random
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoders import save_tiny_encoder
from tiny_jiant import export_weights, write_setup
from tiny_runs import run_command, write_run_file

from gradts_plugin.errors import DataError
from gradts_plugin.hosts.jiant import pickles
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.stores.checksums import made_from, publish_made
from gradts_plugin.stores.files import folder_in_the_making

apply_mends()

# ruff: noqa: E402
from jiant.proj.main.runner import TrainState
from jiant.tasks.core import BaseDataRow

pytestmark = pytest.mark.usefixtures("without_pages")


class Crafted:
    """A pickle that runs code when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@dataclasses.dataclass
class PluginRow(BaseDataRow):
    """A row of a plugin's task."""

    input_ids: np.ndarray


@dataclasses.dataclass
class Stranger:
    """No class of jiant's."""

    value: int = 0


def test_rows_states_arrays_and_tensors_come_back(tmp_path):
    stream = np.random.RandomState(3)
    stream.rand(5)
    values = {
        "rows": [PluginRow(np.arange(5)), PluginRow(np.array(["a"], dtype=object))],
        "state": TrainState.from_task_name_list(["a", "b"]),
        "scalar": np.float32(0.5),
        "bytes": np.array([b"x\xff"]),
        "ordered": collections.OrderedDict(a=1),
        "nested": (1, {2}, [None, "text", 2.5]),
        "random": random.getstate(),
        "stream": stream,
        "weights": torch.nn.Linear(2, 3).state_dict(),
        "types": [torch.float16, torch.Size([2]), torch.device("cpu")],
        "half": torch.zeros(2, dtype=torch.bfloat16),
    }
    torch.save(values, tmp_path / "file.p")
    read = pickles.load(tmp_path / "file.p", map_location="cpu")
    assert np.array_equal(read["rows"][0].input_ids, np.arange(5))
    assert read["rows"][1].input_ids[0] == "a"
    assert vars(read["state"]) == vars(values["state"])
    for name in ("scalar", "bytes", "ordered", "nested", "random", "types"):
        assert read[name] == values[name]
    assert read["stream"].rand() == stream.rand()
    assert torch.equal(read["weights"]["weight"], values["weights"]["weight"])
    assert read["half"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    "value",
    [
        Crafted(Path("executed")),
        Stranger(),
        partial(print, "executed"),
        [PluginRow(np.array([Crafted(Path("executed"))], dtype=object))],
        print,
        torch.hub.load,
        torch.storage._load_from_bytes,
        np.load,
    ],
    ids=("crafted", "stranger", "partial", "in an array", "print", "hub", "storage", "numpy"),
)
@pytest.mark.parametrize("zipped", [True, False])
def test_everything_else_is_refused_in_one_line(tmp_path, monkeypatch, value, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save(value, "file.p", _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match=r"file.p: holds .*, which is none of jiant's rows") as told:
        pickles.load(Path("file.p"))
    assert "\n" not in str(told.value)
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    "named",
    [
        b"cjiant.utils.zbuild\nno_such\n.",
        b"cjiant.no_such_module\nRow\n.",
        b"cjiant.shared.caching\nos.system\n.",
        b"\x80\x04\x8c\x14jiant.shared.caching\x94\x8c\tos.system\x94\x93.",
        b"\x80\x04\x8c\x05torch\x94\x8c\x15os.system.EvilStorage\x94\x93.",
        b"cbuiltins\neval\n.",
        b"(S'echo'\nios\nsystem\n.",
    ],
)
def test_names_are_taken_as_they_stand(tmp_path, named):
    (tmp_path / "file.p").write_bytes(named)
    with pytest.raises(DataError, match="none of jiant's rows"):
        pickles.load(tmp_path / "file.p")


# --- where people share folders -------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder("bert", tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, encoder):
    folder = tmp_path_factory.mktemp("finished")
    path = write_run_file(folder, encoder, ["topic", "match"], probing={"model": "frozen"})
    assert run_command("run", path, "--quiet").code == 0
    return path


def poison(path, executed, **more):
    torch.save([{**more, "data_row": Crafted(executed)}], path)


def marked_as_whole(folder):
    """As somebody would who has it in for those who use the folder: with right checksums."""
    identity = made_from(folder)
    with folder_in_the_making(folder.parent) as made:
        shutil.copytree(folder, made, dirs_exist_ok=True)
        yield made
        publish_made(made, folder, identity)


@pytest.mark.parametrize("name", ["train/data_00000.chunk", "train/data_args.p", "val/data_args.p"])
@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_shared_run_folder_runs_no_code(finished, tmp_path, name, command):
    out = finished.parent / "out"
    kept = shutil.copytree(out, tmp_path / "kept")
    executed = tmp_path / "executed"
    try:
        for made in marked_as_whole(out / "caches" / "match"):
            poison(made / name, executed)
        shutil.rmtree(out / "store")  # so that everything is looked at
        answer = run_command(command, finished, "--quiet")
        assert not executed.exists()
        if command == "run" or name.endswith("args.p"):
            assert answer.code == 2
            assert "which is none of jiant's rows or states" in answer.err
            assert len(answer.err.splitlines()) == 1
    finally:
        shutil.rmtree(out)
        shutil.copytree(kept, out)


def test_a_shared_set_up_and_a_checkpoint_run_no_code(tmp_path, encoder):
    weights = export_weights(encoder, tmp_path / "weights.p")
    container = write_setup(tmp_path, encoder, ("cola", "rte"), 4)
    container.write_text(
        json.dumps(json.loads(container.read_text()) | {"gradts": {"primary_task": "cola"}})
    )
    executed = tmp_path / "executed"
    poison(tmp_path / "cache" / "rte" / "train" / "data_00000.chunk", executed)
    arguments = [
        *("--jiant_task_container_config_path", container, "--model_path", weights),
        *("--hf_pretrained_model_name_or_path", encoder),
    ]
    answer = run_command("rank", *arguments, "--quiet")
    assert answer.code == 2
    assert "data_00000.chunk: holds " in answer.err
    torch.save({"metadata": {"args": Crafted(executed)}}, tmp_path / "checkpoint.p")
    answer = run_command("run", "continue", "--checkpoint_path", tmp_path / "checkpoint.p")
    assert answer.code == 2
    assert "checkpoint.p: holds " in answer.err
    assert not executed.exists()


def test_a_pickle_in_the_place_of_weights_runs_no_code(finished, tmp_path):
    out, executed = finished.parent / "out", tmp_path / "executed"
    kept = (out / "encoder" / "model" / "model.p").read_bytes()
    for made in marked_as_whole(out / "encoder"):
        (made / "model" / "model.p").write_bytes(pickle.dumps(Crafted(executed)))
    answer = run_command("plan", finished, "--quiet")
    assert answer.code == 2
    assert "holds no weights" in answer.err
    assert not executed.exists()
    for made in marked_as_whole(out / "encoder"):
        (made / "model" / "model.p").write_bytes(kept)
