"""A finished selection as MT-DNN trains it (Liu et al. 2019, github.com/namisan/mt-dnn).

MT-DNN is what the GradTS authors trained with. Written are its task definition, its data after its
own preprocessing (one JSON object per line: uid, label, token_id, type_id, attention_mask), an
encoder checkpoint where it cannot name one, and a script with the command line. The token ids are
those that the selection was made with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from gradts_plugin.errors import ConfigError
from gradts_plugin.export.definitions import check_kind, mtdnn_names, task_definition
from gradts_plugin.export.encoder import encoder_type_of, starting_point
from gradts_plugin.export.finished import read_selection
from gradts_plugin.export.rows import lines_of, write_lines, write_train
from gradts_plugin.export.script import script_of
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.stores.files import disk_errors, folder_in_the_making, publish_folder

#: MT-DNN leaves out longer training instances.
_MAX_SEQ_LEN: Final = 512


@dataclass(frozen=True)
class MTDNNExport:
    """What was written.

    Attributes:
        folder: everything.
        script: the command line, to be run.
        names: task -> what it is called in MT-DNN, whose names have no underscore.
        num_train: training rows written per task, repetitions included.
    """

    folder: Path
    script: Path
    names: Mapping[str, str]
    num_train: Mapping[str, int]


def export_selection(
    run: Path,
    output_dir: Path,
    *,
    init_checkpoint: str | None = None,
    plugins: Sequence[object] = (),
) -> MTDNNExport:
    """Writes a finished selection for MT-DNN.

    Args:
        run: a run's folder, or the container config that a selection wrote.
        output_dir: where it goes; must not exist, or be empty.
        init_checkpoint: what MT-DNN shall start from in place of the run's encoder: a hub name, or
            a checkpoint of its own.
        plugins: objects with hook implementations that load tasks of the selection, beside the
            installed plugins.

    Raises:
        ConfigError: there is no finished selection, or MT-DNN has no such task or encoder.
        DataError: cached data is missing or damaged.
        StoreError: the disk refused; nothing half is left.
    """
    from gradts_plugin.hosts.jiant.cached import tokenized_tasks
    from gradts_plugin.hosts.jiant.opening import attach_tasks

    finished = read_selection(run)
    encoder_type = encoder_type_of(finished)
    if output_dir.exists() and (output_dir.is_file() or any(output_dir.iterdir())):
        raise ConfigError(f"{output_dir} holds other files; choose an empty or new folder")
    attach_tasks(make_plugin_manager(plugins).hook)
    tasks = tokenized_tasks(finished.config, finished.tasks)
    for task in tasks:
        check_kind(task)
    names = mtdnn_names(finished.tasks)
    output_dir = output_dir.absolute()
    with (
        folder_in_the_making(output_dir.parent) as folder,
        disk_errors("write in", output_dir),
    ):
        (folder / "data").mkdir()
        num_train, longest = {}, _MAX_SEQ_LEN
        for task in tasks:
            path = folder / "data" / names[task.name]
            num_train[task.name], length = write_train(finished, task, path)
            write_lines(path.with_name(f"{path.name}_dev.json"), lines_of(task, "val"))
            longest = max(longest, length)
        definition = {names[task.name]: task_definition(task) for task in tasks}
        (folder / "task_def.yml").write_text(
            yaml.safe_dump(definition, sort_keys=False), encoding="utf-8"
        )
        start = init_checkpoint or starting_point(finished, folder)
        script = folder / "train.sh"
        script.write_text(
            script_of(finished, names, num_train, encoder_type, start, longest), encoding="utf-8"
        )
        script.chmod(0o755)
        if output_dir.is_dir():
            output_dir.rmdir()
        if not publish_folder(folder, output_dir):
            raise ConfigError(f"{output_dir} holds other files; choose an empty or new folder")
    return MTDNNExport(output_dir, output_dir / script.name, names, num_train)
