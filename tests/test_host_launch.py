"""jiant's own programs, started through the plugin with jiant's own arguments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_encoders import save_tiny_encoder
from tiny_jiant import container_config, losses, write_task

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.launch import run_host_module

apply_mends()

import jiant  # noqa: E402
import jiant.shared.caching as caching  # noqa: E402


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with an exported encoder and a cached task, both made by jiant's programs."""
    folder = tmp_path_factory.mktemp("launch")
    save_tiny_encoder("bert", folder / "encoder")
    run_host_module(
        [
            "-m",
            "jiant.proj.main.export_model",
            f"--hf_pretrained_model_name_or_path={folder / 'encoder'}",
            f"--output_base_path={folder / 'exported'}",
        ]
    )
    config = write_task(folder / "tasks", "rte", 12, 6)
    run_host_module(
        [
            "-m",
            "jiant.proj.main.tokenize_and_cache",
            "--task_config_path",
            str(config),
            "--hf_pretrained_model_name_or_path",
            str(folder / "encoder"),
            "--output_dir",
            str(folder / "cache"),
            "--phases",
            "train,val",
            "--max_seq_length",
            "32",
        ]
    )
    return folder


def test_export_model_writes_its_own_files(prepared):
    exported = json.loads((prepared / "exported" / "config.json").read_text())
    assert sorted(exported) == [
        "hf_pretrained_model_name_or_path",
        "model_config_path",
        "model_path",
    ]
    weights = torch.load(exported["model_path"], weights_only=True)
    assert any(name.startswith("bert.encoder.layer.1.") for name in weights)


def test_tokenize_and_cache_writes_its_own_files(prepared):
    paths = json.loads((prepared / "cache" / "paths.json").read_text())
    assert sorted(paths) == ["train", "val", "val_labels"]
    assert len(caching.ChunkedFilesDataCache(paths["train"])) == 12
    row = caching.ChunkedFilesDataCache(paths["val"]).get_all()[0]["data_row"]
    assert row.input_ids.shape == (32,)


@pytest.fixture(scope="module")
def trained(prepared):
    """The output folder of a run of six steps, with a checkpoint after the third."""
    container = prepared / "container.json"
    caches = {"rte": json.loads((prepared / "cache" / "paths.json").read_text())}
    config = container_config({"rte": str(prepared / "tasks" / "rte_config.json")}, caches, 6)
    container.write_text(json.dumps(config))
    exported = json.loads((prepared / "exported" / "config.json").read_text())
    run_host_module(
        [
            *("-m", "jiant.proj.main.runscript", "run"),
            f"--jiant_task_container_config_path={container}",
            f"--output_dir={prepared / 'output'}",
            *(f"--{name}={value}" for name, value in exported.items()),
            *("--do_train", "--do_val", "--no_cuda", "--seed=5"),
            *("--save_checkpoint_every_steps=4", "--keep_checkpoint_when_done"),
        ]
    )
    return prepared / "output"


def test_runscript_trains_and_writes_its_own_files(trained):
    assert [task for task, _ in losses(trained)[:6]] == ["rte"] * 6
    assert (trained / "done_file").read_text() == "DONE"
    assert list(json.loads((trained / "val_metrics.json").read_text())) == ["aggregated", "rte"]


@pytest.mark.parametrize("started_by", ["module", "path"])
def test_runscript_continues_from_its_checkpoint(trained, tmp_path, started_by):
    # A checkpoint holds jiant's own classes, which only jiant's own code may load; also in a fresh
    # process, and when the file is started by its path.
    before = len(losses(trained))
    _make_room_for_a_log_folder(trained)
    program = ["-m", "jiant.proj.main.runscript"]
    if started_by == "path":
        program = [str(Path(jiant.__file__).parent / "proj" / "main" / "runscript.py")]
    arguments = [*program, "continue", f"--checkpoint_path={trained / 'checkpoint.p'}"]
    if started_by == "module":
        run_host_module(arguments)
    else:
        code = f"from gradts_plugin.hosts.jiant.launch import *; run_host_module({arguments!r})"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert len(losses(trained)) == before + 3


def _make_room_for_a_log_folder(output):
    # Plain jiant names it by the second, and fails when there is one from the same second.
    for number, path in enumerate(sorted(output.glob("[0-9]*"))):
        path.rename(output / f"{number}")


# --- any other program --------------------------------------------------------------------------


def test_script_sees_its_own_arguments_and_folder(tmp_path, capsys):
    (tmp_path / "beside.py").write_text("NAME = 'found beside the script'\n")
    script = tmp_path / "script.py"
    script.write_text("import sys, beside\nprint(__name__, sys.argv[1:], beside.NAME)\n")
    argv, path = list(sys.argv), list(sys.path)
    run_host_module([str(script), "--flag", "-m", "value"])
    assert capsys.readouterr().out == "__main__ ['--flag', '-m', 'value'] found beside the script\n"
    assert sys.argv == argv
    assert sys.path == path


def test_module_is_found_in_the_current_folder_and_run_as_main(tmp_path, monkeypatch, capsys):
    (tmp_path / "program_here.py").write_text("import sys; print(__name__, sys.argv[1:])\n")
    monkeypatch.chdir(tmp_path)
    run_host_module(["-m", "program_here", "x", "--help"])
    assert capsys.readouterr().out == "__main__ ['x', '--help']\n"


def test_exit_code_is_the_programs_own(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("raise SystemExit(7)\n")
    with pytest.raises(SystemExit) as caught:
        run_host_module([str(script)])
    assert caught.value.code == 7


def test_errors_of_the_program_stay_as_they_are(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import no_such_module_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        run_host_module([str(script)])


def test_scripts_of_others_do_not_get_pickles_loaded(tmp_path):
    torch.save(caching.Chunker(1, 1, 1), tmp_path / "object.p")
    script = tmp_path / "script.py"
    script.write_text(f"import torch; torch.load({str(tmp_path / 'object.p')!r})\n")
    with pytest.raises(Exception, match="weights_only"):
        run_host_module([str(script)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "what to run is missing"),
        (["-m"], "what to run is missing"),
        (["--verbose"], "what to run is missing"),
        (["no_such_script.py"], "no_such_script.py: no such script"),
        (
            ["-m", "jiant.proj.main.tokenise_and_cache"],
            "did you mean 'jiant.proj.main.tokenize_and_cache'",
        ),
        (["-m", "jaint.proj.main.runscript"], "did you mean 'jiant.proj.main.runscript'"),
    ],
)
def test_what_cannot_be_started_is_said_in_one_line(arguments, message):
    with pytest.raises(HostError, match=message) as caught:
        run_host_module(arguments)
    assert "\n" not in str(caught.value)
