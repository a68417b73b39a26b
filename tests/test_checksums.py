"""What is kept carries checksums: damage is told or mended, and never computed with."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_runs import open_fake
from tiny_encoders import save_tiny_encoder
from tiny_runs import run_command, write_run_file

from gradts_plugin import run
from gradts_plugin.errors import ConfigError, StoreError
from gradts_plugin.hosts.jiant.preparing import tokenising
from gradts_plugin.hosts.jiant.saving import refusals_told, save_whole
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.settings.run_file import read_run_file
from gradts_plugin.stores import checksums
from gradts_plugin.stores.checksums import (
    MARKER,
    SUMS,
    check_sum,
    made_from,
    note_sum,
    publish_made,
    write_summed,
)
from gradts_plugin.stores.files import folder_in_the_making

pytestmark = pytest.mark.usefixtures("without_pages")


def flip(path, place=None, bit=1):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= bit
    path.write_bytes(content)


def make(parent, name="made", content=b"content", made=("x",)):
    with folder_in_the_making(parent) as folder:
        (folder / "below").mkdir()
        (folder / "below" / "file").write_bytes(content)
        publish_made(folder, parent / name, {"made": list(made)})
    return parent / name


def test_a_whole_folder_says_what_it_was_made_from(tmp_path):
    folder = make(tmp_path)
    assert made_from(folder) == {"made": ["x"]}
    assert made_from(make(tmp_path, made=("other",))) == {"made": ["other"]}  # in its place
    assert made_from(tmp_path / "missing") is None
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_marker_is_believed_only_with_what_it_marks(tmp_path):
    folder = make(tmp_path)
    for path in (folder / "below" / "file", folder / MARKER):
        whole = path.read_bytes()
        for place in range(len(whole)):
            flip(path, place)
            assert made_from(folder) is None or chr(whole[place]).isspace()
            path.write_bytes(whole)
    (folder / "another").write_text("")
    assert made_from(folder) is None
    (folder / "another").unlink()
    (folder / "below" / "file").unlink()
    assert made_from(folder) is None


def test_sums_are_those_of_sha256sum(tmp_path):
    write_summed(tmp_path / "result.json", b"{}")
    write_summed(tmp_path / "result.json", b"{ }")
    (tmp_path / "trials").mkdir()
    for name in ("gone.p", "trials/best.p"):
        (tmp_path / name).write_bytes(name.encode())
        note_sum(tmp_path / name, tmp_path)
    (tmp_path / "gone.p").unlink()
    note_sum(tmp_path / "trials" / "best.p", tmp_path)
    lines = (tmp_path / SUMS).read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["result.json", "trials/best.p"]
    subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=tmp_path, check=True)


def test_a_file_that_is_not_what_was_written_is_refused(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("not summed")
    check_sum(path, "run again")
    write_summed(path, b"{}")
    check_sum(path, "run again")
    path.write_text("{1}")
    with pytest.raises(ConfigError, match=f"it is not what {SUMS} says; run again, or remove its"):
        check_sum(path, "run again")


def test_killed_between_file_and_sum_neither_is_damaged(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_summed(path, b"old")

    def killed(*_):
        raise KeyboardInterrupt

    for name in ("write_bytes_atomic", "_note"):
        real, calls = getattr(checksums, name), []

        def second(*arguments, real=real, calls=calls):
            calls.append(arguments)
            return killed() if len(calls) == 2 else real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(checksums, name, second)
            with pytest.raises(KeyboardInterrupt):
                write_summed(path, b"new")
        check_sum(path, "run again")


def test_damaged_weights_are_trained_again(tmp_path):
    outcome = run.run(open_fake(tmp_path, {"method": "thres"}))
    (weights,) = outcome.weights
    whole = weights.read_bytes()
    assert f"{weights.relative_to(tmp_path)}" in (tmp_path / SUMS).read_text()
    again = run.run(open_fake(tmp_path, {"method": "thres"}))
    assert again.done.training_runs == 0
    flip(weights)
    again = run.run(open_fake(tmp_path, {"method": "thres"}))
    assert again.done.training_runs == 1
    assert again.weights == outcome.weights
    assert weights.read_bytes() == whole


def test_a_damaged_result_is_told_before_it_is_believed(tmp_path):
    run.run(open_fake(tmp_path, {"method": "thres"}))
    flip(tmp_path / run.RESULT)
    with pytest.raises(ConfigError, match=r"result.json is damaged.*remove it and run again"):
        open_fake(tmp_path, {"method": "thres"})


# --- the host's caches and encoder ----------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    encoder = save_tiny_encoder("bert", folder / "bert")
    path = write_run_file(folder, encoder, ["topic", "match"], probing={"model": "frozen"})
    answer = run_command("run", path, "--quiet", "--json")
    assert answer.code == 0, answer.err
    return path, json.loads(answer.out)


@pytest.mark.parametrize(
    "name",
    [
        "encoder/model/model.p",
        "encoder/model/config.json",
        "caches/topic/train/data_00000.chunk",
        "caches/match/train/data_args.p",
        "caches/topic/val_labels/data_00000.chunk",
        f"caches/topic/{MARKER}",
        f"encoder/{MARKER}",
    ],
)
def test_what_was_prepared_is_made_again_where_it_is_damaged(finished, name):
    run_file, result = finished
    paths = list((run_file.parent / "out").glob(name))
    assert paths
    for path in paths:
        whole = path.read_bytes()
        flip(path)
        flipped = path.read_bytes()
        answer = run_command("run", run_file, "--quiet", "--json")
        assert answer.code == 0, answer.err
        again = json.loads(answer.out)
        assert again["ranking"] == result["ranking"]
        assert again["done"]["training_steps"] == 0
        if name.endswith((MARKER, "args.p")):  # these know of the folder in which they were made
            assert path.read_bytes() != flipped
        else:
            assert path.read_bytes() == whole


def test_filtered_caches_are_made_again_where_they_are_damaged(finished, tmp_path):
    from gradts_plugin.hosts.jiant.rewriting import with_filtered_caches

    run_file, _ = finished
    config = json.loads((run_file.parent / "out" / "container_config.json").read_text())
    kept = {"match": np.array([1, 2, 5])}
    filtered = with_filtered_caches(config, kept, tmp_path)
    path = Path(filtered["task_cache_config_dict"]["match"]["train"]) / "data_00000.chunk"
    whole, written = path.read_bytes(), path.stat().st_mtime_ns
    assert with_filtered_caches(config, kept, tmp_path) == filtered
    assert path.stat().st_mtime_ns == written
    flip(path)
    assert with_filtered_caches(config, kept, tmp_path) == filtered
    assert path.read_bytes() == whole


def test_tokenised_rows_are_written_as_they_come(finished, tmp_path, monkeypatch):
    run_file, _ = finished
    out = run_file.parent / "out"
    path, model = out / "task_configs" / "topic.json", read_run_file(run_file).model

    def at_once(**_):
        raise AssertionError("all rows are in memory")

    monkeypatch.setattr(tokenising.tokenize_and_cache, "full_chunk_and_save", at_once)
    values = json.loads(path.read_text())
    assert not tokenising.tokenise(path, values, tmp_path / "topic", model, tmp_path / "log")
    for chunk in (out / "caches" / "topic").rglob("*.chunk"):
        again = tmp_path / chunk.relative_to(out / "caches")
        assert again.read_bytes() == chunk.read_bytes()


def test_plan_makes_what_is_damaged_elsewhere(finished):
    run_file, _ = finished
    path = run_file.parent / "out" / "encoder" / "model" / "model.p"
    whole = path.read_bytes()
    flip(path)
    answer = run_command("plan", run_file, "--quiet", "--no-measure", "--json")
    assert answer.code == 0, answer.err
    assert {part["num_to_do"] for part in json.loads(answer.out)["parts"]} == {0}
    path.write_bytes(whole)


def test_what_another_run_prepared_is_used_at_every_start(finished, tmp_path):
    run_file, _ = finished
    given = read_run_file(run_file)
    other = given.model_copy(update={"output_dir": tmp_path / "other"})
    stray = tmp_path / "stray"
    for _ in range(2):
        manager = make_plugin_manager(entry_points=False)
        with open_run_file(other, manager, prepared_in=given.output_dir) as engine:
            assert list(engine.session.tasks) == ["topic", "match"]
        links = [tmp_path / "other" / "caches" / name for name in ("topic", "match")]
        assert [link.resolve() for link in links] == [
            given.output_dir / "caches" / name for name in ("topic", "match")
        ]
        links[0].unlink()  # as a start leaves it that was killed meanwhile, or whose other is gone
        links[0].symlink_to(stray)
    assert not stray.exists()


# --- why torch could not write --------------------------------------------------------------------


def test_weights_that_do_not_fit_are_named_with_the_reason(tmp_path, monkeypatch):
    def full(*_):
        try:
            raise OSError(errno.EDQUOT, "quota")
        finally:
            raise RuntimeError("[enforce fail at inline_container.cc:672]")  # as torch does

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StoreError, match=r"cannot write .*best.p: the disk quota is used up"):
        save_whole({}, tmp_path / "best.p")
    assert list(tmp_path.iterdir()) == []


def test_what_torch_leaves_unsaid_is_asked_of_the_disk(tmp_path):
    code = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from gradts_plugin.hosts.jiant.saving import refusals_told\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "with refusals_told(Path(sys.argv[1])):\n"
        "    torch.save(torch.zeros(1_000_000), sys.argv[1] + '/x.p')\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert "the file is larger than this system or user may write" in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.p"]
    with pytest.raises(RuntimeError, match="something else"), refusals_told(tmp_path):
        raise RuntimeError("something else")
