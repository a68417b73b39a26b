"""A finished selection, read from the container config that it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gradts_plugin.errors import ConfigError
from gradts_plugin.json_forms import from_json
from gradts_plugin.protocols import HostConfig
from gradts_plugin.records import Recipe
from gradts_plugin.run import REWRITTEN_CONFIG
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.reading import read_json
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores.checksums import check_sum

#: Of a selection's record.
_NEEDED = {"primary_task", "auxiliary_tasks", "recipe", "encoder", "encoder_architecture"}


@dataclass(frozen=True)
class FinishedSelection:
    """A finished selection.

    Attributes:
        config: jiant's rewritten container config, without its block `gradts`.
        settings: that block, without its `selection`.
        tasks: the primary, then the auxiliaries.
        encoder: hub name or folder of the encoder.
        architecture: of the encoder.
        mixing_ratios: how often each task is trained; empty: by its size.
        in_sequence: the primary was trained after the auxiliaries, not mixed with them.
    """

    config: HostConfig
    settings: GradTSSettings
    tasks: tuple[str, ...]
    encoder: str
    architecture: str
    mixing_ratios: Mapping[str, int]
    in_sequence: bool

    @property
    def batch_size(self) -> int:
        """MT-DNN has one for all tasks: the primary's, where they differ."""
        own = self.config["task_specific_configs_dict"][self.tasks[0]]
        return int(self.settings.training.batch_size or own["train_batch_size"])

    @property
    def accumulation(self) -> int:
        """Batches per optimiser step, the primary's where they differ."""
        own = self.config["task_specific_configs_dict"][self.tasks[0]]
        given = self.settings.training.gradient_accumulation_steps
        return int(given or own["gradient_accumulation_steps"])

    @property
    def num_batches(self) -> int:
        """Batches of the whole training."""
        return int(self.config["global_train_config"]["max_steps"]) * self.accumulation


def read_selection(run: Path) -> FinishedSelection:
    """Reads a run's folder, or the container config that a selection wrote.

    Raises:
        ConfigError: there is no finished selection, or the config is damaged.
    """
    path = run / REWRITTEN_CONFIG if run.is_dir() else run
    if run.is_dir() and not path.exists():
        raise ConfigError(f"{run} holds no finished selection: there is no {REWRITTEN_CONFIG}")
    config = read_json(path)
    check_sum(path, "select again")
    block = config.get("gradts") if isinstance(config, dict) else None
    if not isinstance(block, dict) or not isinstance(block.get("selection"), dict):
        raise ConfigError(f"{path} holds no selection; select first, or give the run's folder")
    selection = block.pop("selection")
    missing = _NEEDED - {*selection}
    if missing:
        raise ConfigError(f"{path}: gradts.selection: key {min(missing)!r} is missing")
    recipe = from_json(Recipe, selection["recipe"], where=f"{path}: gradts.selection.recipe")
    settings = parse_settings(GradTSSettings, block, where=f"{path}: gradts")
    return FinishedSelection(
        config=config,
        settings=settings,
        tasks=(selection["primary_task"], *selection["auxiliary_tasks"]),
        encoder=selection["encoder"],
        architecture=selection["encoder_architecture"],
        mixing_ratios=recipe.task_steps or recipe.mixing_ratios,
        in_sequence=bool(recipe.last_task),
    )
