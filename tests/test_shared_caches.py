"""Tokenised rows that runs of one store share."""

from __future__ import annotations

import shutil

import pytest
from tiny_encoders import save_tiny_encoder
from tiny_runs import Recorder, run_command, with_plugins, write_run_file

from gradts_plugin.hosts.jiant.preparing import sharing
from gradts_plugin.hosts.jiant.preparing.sharing import SharedCaches
from gradts_plugin.stores.checksums import made_from, publish_made
from gradts_plugin.stores.files import folder_in_the_making

pytestmark = pytest.mark.usefixtures("without_pages")

NAMES = ("topic", "match")


def test_a_run_with_other_probing_settings_tokenises_nothing_anew(tmp_path, monkeypatch):
    encoder = save_tiny_encoder("bert", tmp_path / "encoder")
    recorder = Recorder()
    with_plugins(monkeypatch, recorder)
    for folder, changes in (
        ("out", {}),
        ("other", {"probing": {"max_instances": 4}}),
        ("longer", {"model": {"name_or_path": str(encoder), "max_seq_length": 20}}),
    ):
        given = {"store": "store", "output_dir": folder, "method": "thres", **changes}
        answer = run_command("rank", write_run_file(tmp_path, encoder, NAMES, **given), "--quiet")
        assert answer.code == 0, answer.err
    reused = [call["reused"] for call in recorder.of("after_task_prepared")]
    assert reused == [False, False, True, True, False, False]
    shutil.rmtree(tmp_path / "store")  # each folder has its own
    assert made_from(tmp_path / "other" / "caches" / "topic") is not None


def written(folder, content="rows"):
    with folder_in_the_making(folder.parent) as partial:
        (partial / "train").mkdir()
        (partial / "train" / "data").write_text(content)
        publish_made(partial, folder, {"a": 1})
    return folder


def test_caches_are_taken_and_given_without_filling_the_disk_twice(tmp_path):
    shared = SharedCaches(tmp_path / "store")
    own = written(tmp_path / "own")
    assert not shared.give({"a": 1}, tmp_path / "other")
    shared.take({"a": 1}, own)
    assert shared.give({"a": 1}, tmp_path / "other")
    assert made_from(tmp_path / "other") == {"a": 1}
    assert (tmp_path / "other" / "train" / "data").samefile(own / "train" / "data")
    assert not shared.give({"a": 2}, tmp_path / "another")


def test_damaged_caches_are_not_given_and_are_taken_anew(tmp_path):
    shared = SharedCaches(tmp_path / "store")
    shared.take({"a": 1}, written(tmp_path / "own"))
    (data,) = (tmp_path / "store").rglob("data")
    data.unlink()
    data.write_text("other rows")
    assert not shared.give({"a": 1}, tmp_path / "other")
    shared.take({"a": 1}, tmp_path / "own")
    assert shared.give({"a": 1}, tmp_path / "other")


def test_where_there_are_no_links_caches_are_copied(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(sharing.os, "link", refuse)
    shared = SharedCaches(tmp_path / "store")
    shared.take({"a": 1}, written(tmp_path / "own"))
    assert shared.give({"a": 1}, tmp_path / "copied")
    assert made_from(tmp_path / "copied") == {"a": 1}


def test_where_nothing_may_be_written_nothing_is_kept(tmp_path):
    (tmp_path / "store").write_text("no folder")
    SharedCaches(tmp_path / "store").take({"a": 1}, written(tmp_path / "own"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own", "store"]


@pytest.mark.parametrize("store", [{"store": "store"}, {}])
def test_a_run_uses_what_its_plan_tokenised(tmp_path, monkeypatch, store):
    encoder = save_tiny_encoder("bert", tmp_path / "encoder")
    recorder = Recorder()
    with_plugins(monkeypatch, recorder)
    run_file = write_run_file(tmp_path, encoder, NAMES, output_dir="out", method="thres", **store)
    for command in (["plan", "--no-measure"], ["rank"]):
        name, *flags = command
        answer = run_command(name, run_file, "--quiet", *flags)
        assert answer.code == 0, answer.err
    reused = [call["reused"] for call in recorder.of("after_task_prepared")]
    assert reused == [False, False, True, True]
