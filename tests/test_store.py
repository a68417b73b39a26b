"""The gradient store: what is written is found again exactly, whole, or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import json
import multiprocessing
import os
import resource
import signal
import time
import tracemalloc
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradts_plugin.errors import ConfigError, DegenerateImportanceError, StoreError
from gradts_plugin.records import Cost
from gradts_plugin.stores.checksums import SEAL, sealed, sha256_of_file
from gradts_plugin.stores.files import (
    check_folder_name,
    folder_in_the_making,
    publish_folder,
    remove_abandoned,
    write_bytes_atomic,
    write_json_atomic,
)
from gradts_plugin.stores.importances import GradientStore, Preparation
from gradts_plugin.stores.keys import ProbeKey

KEY = ProbeKey(
    encoder="e" * 64,
    task_name="rte",
    task_data="d" * 64,
    fine_tuning={"epochs": 3.0, "betas": (0.9, 0.99)},
    probing={"importance": "rows"},
    seed=0,
)


def some_batches(num_instances=10, num_layers=2, num_heads=3, batch_size=4, seed=0):
    random = np.random.default_rng(seed)
    ids = random.permutation(num_instances).astype(np.int64)
    importances = random.random((num_instances, num_layers, num_heads)).astype(np.float32)
    return [
        (ids[start : start + batch_size], importances[start : start + batch_size])
        for start in range(0, num_instances, batch_size)
    ]


def everything(record):
    batches = list(record.batches())
    return np.concatenate([ids for ids, _ in batches]), np.concatenate([m for _, m in batches])


def visible(root):
    return sorted(path.name for path in root.iterdir() if path.name != "store.json")


# --- what is written is read back ---------------------------------------------------------------


@settings(deadline=None, max_examples=15)
@given(
    num_instances=st.integers(1, 60),
    num_layers=st.integers(1, 4),
    num_heads=st.integers(1, 4),
    batch_size=st.integers(1, 70),
)
def test_written_importances_are_read_back_in_order(
    tmp_path_factory, num_instances, num_layers, num_heads, batch_size
):
    batches = some_batches(num_instances, num_layers, num_heads, batch_size)
    store = GradientStore(tmp_path_factory.mktemp("store"))
    store.write(KEY, batches, {})

    record = store.find(KEY)

    assert record is not None
    assert record.shape == (num_instances, num_layers, num_heads)
    ids, importances = everything(record)
    np.testing.assert_array_equal(ids, np.concatenate([ids for ids, _ in batches]))
    np.testing.assert_array_equal(importances, np.concatenate([m for _, m in batches]))
    assert ids.dtype == np.int64
    assert importances.dtype == np.float32


def test_blocks_of_the_file_do_not_depend_on_the_batches_written(tmp_path):
    record = GradientStore(tmp_path).write(KEY, some_batches(2500, batch_size=7), {})
    sizes = [len(ids) for ids, _ in record.batches()]
    assert sum(sizes) == 2500
    assert len(sizes) == 3


def test_task_matrix_is_the_mean_of_the_raw_matrices(tmp_path):
    batches = [
        (np.array([7, 3]), np.array([[[1.0, 2.0]], [[3.0, 6.0]]], dtype=np.float32)),
        (np.array([5]), np.array([[[5.0, 1.0]]], dtype=np.float32)),
    ]
    record = GradientStore(tmp_path).write(KEY, batches, {})
    assert record.task_matrix().dtype == np.float64
    np.testing.assert_allclose(record.task_matrix(), [[3.0, 3.0]], rtol=1e-15)


def test_a_reused_buffer_does_not_change_what_was_added(tmp_path):
    buffer = np.zeros((2, 1, 2), dtype=np.float32)

    def batches():
        for index in range(3):
            buffer[:] = index + 1
            yield np.array([2 * index, 2 * index + 1]), buffer

    record = GradientStore(tmp_path).write(KEY, batches(), {})
    assert everything(record)[1][:, 0, 0].tolist() == [1, 1, 2, 2, 3, 3]


def test_metadata_says_what_the_record_is(tmp_path):
    provenance = {"versions": {"torch": "2.13.0"}, "fine_tuning_result": {"score": 0.6}}
    record = GradientStore(tmp_path).write(KEY, some_batches(), provenance)

    metadata = json.loads((record.folder / "metadata.json").read_text())

    assert record.folder.name == f"rte-seed0-{KEY.digest[:16]}"
    assert metadata["fingerprint"]["fine_tuning"] == {"epochs": 3.0, "betas": [0.9, 0.99]}
    assert metadata["digest"] == KEY.digest
    assert metadata["provenance"] == record.metadata.provenance == provenance
    assert metadata["format_version"] == 2
    assert metadata["seconds"] >= 0
    assert sorted(path.name for path in record.folder.iterdir()) == [
        "importances.arrow",
        "metadata.json",
    ]


def test_a_probe_costs_what_it_took_before_and_while_it_was_probed(tmp_path):
    before = Preparation(0.75, Cost(num_steps=20, num_examples=640, seconds=60.0))
    GradientStore(tmp_path).write(KEY, some_batches(10), {}, before)
    found = GradientStore(tmp_path).find(KEY)
    assert found.metadata.preparation == before
    assert (found.cost.num_steps, found.cost.num_examples) == (20, 650)
    assert found.cost.seconds == 60.0 + found.metadata.seconds


def test_memory_does_not_grow_with_the_number_of_instances(tmp_path):
    def peak(num_instances):
        values = np.ones((100, 12, 12), dtype=np.float32)
        key = dataclasses.replace(KEY, seed=num_instances)
        batches = (
            (np.arange(start, start + 100), values) for start in range(0, num_instances, 100)
        )
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        record = GradientStore(tmp_path).write(key, batches, {})
        record.task_matrix()
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert pa.total_allocated_bytes() == before
        return peak_bytes

    small, large = peak(3_000), peak(30_000)
    ids = 2 * 8 * 27_000  # the ids, and once more while they are checked
    assert large < small + ids + 300_000


# --- identity -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": "f" * 64},
        {"task_name": "mrpc"},
        {"task_data": "f" * 64},
        {"fine_tuning": {"epochs": 4.0}},
        {"probing": {"importance": "columns"}},
        {"seed": 1},
    ],
)
def test_anything_the_numbers_depend_on_makes_another_record(tmp_path, change):
    store = GradientStore(tmp_path)
    store.write(KEY, some_batches(), {})
    assert store.find(dataclasses.replace(KEY, **change)) is None


def test_the_order_of_settings_and_tuples_for_lists_make_no_difference(tmp_path):
    store = GradientStore(tmp_path)
    store.write(KEY, some_batches(), {})
    same = dataclasses.replace(KEY, fine_tuning={"betas": [0.9, 0.99], "epochs": 3.0})
    assert store.find(same) is not None


def test_nothing_is_made_by_looking(tmp_path):
    root = tmp_path / "store"
    assert GradientStore(root).find(KEY) is None
    assert not root.exists()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../rte", "a/b", "/etc", "a\\b", ".hidden", "a\nb", "a\0b", "x" * 200]
)
def test_a_task_name_that_leaves_the_folder_is_refused(tmp_path, name):
    store = GradientStore(tmp_path / "store")
    key = dataclasses.replace(KEY, task_name=name)
    with pytest.raises(ConfigError, match="task name"):
        store.find(key)
    with pytest.raises(ConfigError, match="task name"):
        store.write(key, some_batches(), {})
    assert list(tmp_path.iterdir()) == []


def test_ordinary_names_are_accepted():
    for name in ("rte", "mnli-mm", "task 1", "été", "a..b"):
        assert check_folder_name(name) == name


# --- damage is never used -----------------------------------------------------------------------


@pytest.fixture
def record(tmp_path):
    return GradientStore(tmp_path).write(KEY, some_batches(), {})


def found_again(record):
    return GradientStore(record.folder.parent).find(KEY)


def change_metadata(record, **changes):
    path = record.folder / "metadata.json"
    values = {**json.loads(path.read_text()), **changes}
    del values[SEAL]
    path.write_text(json.dumps(sealed(values)))


def test_one_changed_byte_is_an_error_that_says_what_to_do(record):
    path = record.folder / "importances.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"checksum; remove this folder") as caught:
        found_again(record)
    assert str(record.folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["importances.arrow", "metadata.json"])
def test_a_missing_file_is_an_error(record, name):
    (record.folder / name).unlink()
    with pytest.raises(StoreError, match=name):
        found_again(record)


def test_a_truncated_file_is_an_error(record):
    path = record.folder / "importances.arrow"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(StoreError, match="damaged"):
        found_again(record)


def test_broken_metadata_is_an_error(record):
    (record.folder / "metadata.json").write_text("{")
    with pytest.raises(StoreError, match=r"metadata.json: broken JSON"):
        found_again(record)


def test_metadata_without_a_key_is_an_error(record):
    metadata = json.loads((record.folder / "metadata.json").read_text())
    del metadata["sha256"], metadata[SEAL]
    (record.folder / "metadata.json").write_text(json.dumps(sealed(metadata)))
    with pytest.raises(
        StoreError, match=r"metadata.json is damaged: sha256: field required; remove this folder"
    ):
        found_again(record)


def test_each_changed_bit_of_the_metadata_is_an_error_or_no_value(record):
    path = record.folder / "metadata.json"
    whole = path.read_bytes()
    found = found_again(record).metadata
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert found_again(record).metadata == found
        except StoreError:
            pass
        else:
            assert chr(whole[place]).isspace()


def test_a_record_of_before_has_no_checksum_of_its_metadata_and_is_found(record):
    path = record.folder / "metadata.json"
    values = json.loads(path.read_text())
    del values[SEAL]
    path.write_text(json.dumps(values))
    assert found_again(record).metadata == record.metadata
    path.write_text(json.dumps({**values, f"{SEAL}?": ""}))
    with pytest.raises(StoreError, match="does not match its checksum"):
        found_again(record)


def test_a_shape_that_does_not_fit_the_file_is_an_error(record):
    change_metadata(record, num_instances=11)
    with pytest.raises(StoreError, match="holds 10 rows"):
        found_again(record)


def test_a_file_that_is_no_arrow_file_is_an_error_even_with_a_right_checksum(record):
    (record.folder / "importances.arrow").write_bytes(b"hello")
    checksum = sha256_of_file(record.folder / "importances.arrow")
    change_metadata(record, sha256=checksum)
    with pytest.raises(StoreError, match="damaged"):
        found_again(record)


def test_a_record_under_another_name_is_an_error_that_names_the_difference(record):
    other = dataclasses.replace(KEY, seed=1)
    record.folder.rename(record.folder.parent / other.folder_name)
    with pytest.raises(StoreError, match=r"other settings \(seed differs\)"):
        GradientStore(record.folder.parent).find(other)


def test_a_record_of_another_version_is_an_error(record):
    change_metadata(record, format_version=1)
    with pytest.raises(StoreError, match="has format version 1, this is version 2; remove it"):
        found_again(record)


@pytest.mark.parametrize("version", [1, 9])
def test_a_store_of_another_version_is_an_error_before_anything_is_looked_up(tmp_path, version):
    write_json_atomic(
        tmp_path / "store.json", {"format": "gradts gradient store", "format_version": version}
    )
    with pytest.raises(StoreError, match=f"has format version {version}, this is version 2"):
        GradientStore(tmp_path)


def test_a_folder_of_something_else_is_an_error(tmp_path):
    write_json_atomic(tmp_path / "store.json", ["groceries"])
    with pytest.raises(StoreError, match="holds no gradts gradient store"):
        GradientStore(tmp_path)


def test_a_file_as_store_is_an_error(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(StoreError, match="is a file; give a folder"):
        GradientStore(tmp_path / "store")


# --- what may not be stored ---------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_importances_that_are_no_magnitudes_are_refused(tmp_path, bad):
    batches = some_batches()
    batches[1][1][0, 0, 0] = bad
    with pytest.raises(DegenerateImportanceError, match="'rte'"):
        GradientStore(tmp_path).write(KEY, batches, {})
    assert visible(tmp_path) == []


def test_no_instances_are_refused(tmp_path):
    with pytest.raises(DegenerateImportanceError, match="no instance"):
        GradientStore(tmp_path).write(KEY, [], {})
    assert visible(tmp_path) == []


def test_an_example_id_may_not_come_twice(tmp_path):
    batches = some_batches()
    with pytest.raises(StoreError, match="twice"):
        GradientStore(tmp_path).write(KEY, [*batches, batches[0]], {})
    assert visible(tmp_path) == []


def test_batches_must_agree_on_the_number_of_heads(tmp_path):
    with pytest.raises(StoreError, match=r"\(2, 4\) follow some of shape \(2, 3\)"):
        GradientStore(tmp_path).write(
            KEY, [*some_batches(), (np.array([99]), np.ones((1, 2, 4), dtype=np.float32))], {}
        )


def test_ids_and_importances_must_agree(tmp_path):
    with pytest.raises(StoreError, match="3 example ids"):
        GradientStore(tmp_path).write(KEY, [(np.arange(3), np.ones((2, 2, 2)))], {})


# --- interrupted, refused, concurrent writers ----------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_error_while_probing_leaves_nothing_and_goes_on_its_way(tmp_path, error):
    def batches():
        yield from some_batches(3000)
        raise error

    with pytest.raises(error):
        GradientStore(tmp_path).write(KEY, batches(), {})
    assert visible(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "no permission"),
    ],
)
def test_a_disk_that_refuses_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, number, words):
    class Refusing(io.BytesIO):
        def write(self, data):
            raise OSError(number, os.strerror(number))

    ordinary_open = Path.open

    def refusing_open(path, mode="r", *arguments, **more):
        if path.name == "importances.arrow" and mode == "xb":
            return Refusing()
        return ordinary_open(path, mode, *arguments, **more)

    monkeypatch.setattr(Path, "open", refusing_open)
    with pytest.raises(StoreError, match=f"^cannot write [^\n]*: {words}") as caught:
        GradientStore(tmp_path).write(KEY, some_batches(), {})
    assert isinstance(caught.value.__cause__, OSError)
    assert visible(tmp_path) == []


def test_a_disk_that_refuses_half_way_leaves_nothing(tmp_path):
    # A real refusal by the system: no file may grow beyond 200 kB in this process.
    def write(sender):
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            GradientStore(tmp_path).write(KEY, some_batches(20_000), {})
        except StoreError as error:
            sender.send(str(error))

    process, message = start(write)
    process.join()
    assert message.startswith("cannot write")
    assert "larger than this system or user may write" in message
    assert visible(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="no permission"):
        GradientStore(tmp_path).write(KEY, some_batches(), {})
    tmp_path.chmod(0o700)


def start(work):
    """Another process, and the first thing it says. Forked: a new one imports for seconds."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe()
    process = context.Process(target=work, args=(sender,), daemon=True)
    process.start()
    return process, receiver.recv()


def start_writer(root):
    """Another process that has begun to write and waits for ever."""

    def write(sender):
        def batches():
            yield from some_batches(3000)
            sender.send("begun")
            time.sleep(600)

        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests are a job
        with contextlib.suppress(KeyboardInterrupt):
            GradientStore(root).write(KEY, batches(), {})

    process, _ = start(write)
    return process


def test_a_killed_writer_leaves_one_temporary_folder_that_the_next_run_removes(tmp_path):
    writer = start_writer(tmp_path)
    writer.kill()
    writer.join()
    assert len(visible(tmp_path)) == 1
    store = GradientStore(tmp_path)
    assert store.find(KEY) is None

    store.write(KEY, some_batches(), {})

    assert visible(tmp_path) == [KEY.folder_name]


def test_a_living_writer_keeps_its_folder_and_the_first_to_finish_wins(tmp_path):
    writer = start_writer(tmp_path)
    try:
        GradientStore(tmp_path).write(KEY, some_batches(seed=1), {"who": "second"})
        assert len(visible(tmp_path)) == 2
        assert len(list(tmp_path.glob(".writing-*/importances.arrow"))) == 1
    finally:
        os.kill(writer.pid, signal.SIGINT)
        writer.join()
    assert visible(tmp_path) == [KEY.folder_name]


def test_the_slower_of_two_writers_gets_the_record_of_the_faster(tmp_path):
    def slow_batches():
        yield from some_batches(seed=0)
        GradientStore(tmp_path).write(KEY, some_batches(seed=1), {"who": "faster"})

    record = GradientStore(tmp_path).write(KEY, slow_batches(), {"who": "slower"})

    assert record.metadata.provenance == {"who": "faster"}
    assert visible(tmp_path) == [KEY.folder_name]
    np.testing.assert_array_equal(
        everything(record)[1], np.concatenate([m for _, m in some_batches(seed=1)])
    )


def test_a_damaged_record_is_not_silently_replaced(record):
    (record.folder / "importances.arrow").write_bytes(b"")
    with pytest.raises(StoreError, match="checksum"):
        GradientStore(record.folder.parent).write(KEY, some_batches(), {})


# --- files --------------------------------------------------------------------------------------


def test_a_failed_write_keeps_the_older_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json_atomic(path, {"score": 1})

    def full_disk(self, target):
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(ConfigError, match="disk is full"):
        write_json_atomic(path, {"score": 2}, error_class=ConfigError)
    assert json.loads(path.read_text()) == {"score": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_what_json_does_not_have_is_not_written(tmp_path, value):
    with pytest.raises((ValueError, TypeError)):
        write_json_atomic(tmp_path / "x.json", {"value": value})
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, flushed = tmp_path / "file", []

    def fsync(descriptor):
        flushed.append((os.fstat(descriptor).st_size, path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes_atomic(path, b"all of it")
    assert flushed == [(9, False)]
    assert path.read_bytes() == b"all of it"


def test_files_and_folders_get_the_ordinary_permissions(tmp_path):
    umask = os.umask(0o022)
    try:
        write_bytes_atomic(tmp_path / "file", b"")
        with folder_in_the_making(tmp_path) as folder:
            publish_folder(folder, tmp_path / "folder")
    finally:
        os.umask(umask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o755


def test_cleaning_a_missing_folder_does_nothing(tmp_path):
    remove_abandoned(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_no_descriptor_is_left_open(tmp_path):
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("needs /proc")
    GradientStore(tmp_path).write(KEY, some_batches(), {}).task_matrix()
    before = len(list(descriptors.iterdir()))
    for seed in range(1, 4):
        key = dataclasses.replace(KEY, seed=seed)
        GradientStore(tmp_path).write(key, some_batches(), {}).task_matrix()
    assert len(list(descriptors.iterdir())) == before


# --- files ----------------------------------------------------------------------------------------


def test_a_folder_is_published_once(tmp_path):
    made = []
    for _ in range(2):
        with folder_in_the_making(tmp_path) as folder:
            (folder / "content").write_text("whole")
            made.append(publish_folder(folder, tmp_path / "there"))
    assert made == [True, False]  # the second writer finds the first one's


def test_any_mapping_is_written_as_json(tmp_path):
    write_json_atomic(tmp_path / "file.json", {"outer": MappingProxyType({"inner": tmp_path})})
    written = json.loads((tmp_path / "file.json").read_text())
    assert written == {"outer": {"inner": str(tmp_path)}}
