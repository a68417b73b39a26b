"""The settings of each compared method: the file's own, and what the method changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradts_plugin.engine.session import candidate_tasks
from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.plugins import Registry
from gradts_plugin.settings.compare_file import CompareFile, merged
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores.files import check_folder_name

#: Keys that all methods of a comparison share, or that it sets itself.
_NOT_A_METHODS_OWN = (
    "enabled",
    "exact_resume",
    "mlflow",
    "primary_task",
    "reshuffle_epochs",
    "seeded_heads",
    "seeded_sampler",
    "store",
    "tensorboard",
    "trim_batches",
    "wandb",
)

#: (primary, method) -> settings.
MethodSettings = Mapping[tuple[str, str], GradTSSettings]


def settings_of(compare_file: CompareFile, primary: str, name: str | None) -> GradTSSettings:
    """The settings of one method for one primary: the file's own, and what the method changes.

    Selections are scored with the file's own seeds, `seed` and those after it; methods choose with
    the seeds after these, so that a lucky training decides and scores nothing at once.

    Args:
        compare_file: the comparison.
        primary: the task to help.
        name: of the method; None: what all methods share, with the seeds that score.
    """
    values = compare_file.model_dump(include=set(GradTSSettings.model_fields), exclude_unset=True)
    values["training"] = compare_file.training.model_dump(exclude_unset=True)
    values |= {"primary_task": primary, **_candidates(compare_file, primary)}
    if name is None:
        values["training_seeds"] = compare_file.evaluation_seeds
        return parse_settings(GradTSSettings, values, where="compare file")
    values["seed"] = compare_file.seed + compare_file.evaluation_seeds
    own = compare_file.methods[name]
    for key in own:
        if key in _NOT_A_METHODS_OWN:
            raise ConfigError(f"methods.{name}.{key}: is the same for all methods; leave it out")
    if own.get("faithful"):  # what it chooses by is as published; it is scored like all others
        values["training"].pop("exposure", None)
    return parse_settings(GradTSSettings, merged(values, own), where=f"methods.{name}")


def check_methods(compare_file: CompareFile, settings: MethodSettings, registry: Registry) -> None:
    """Refuses methods that name what nobody offers, before anything runs.

    Raises:
        ConfigError: names the method and the nearest valid choice.
    """
    for name, values in compare_file.methods.items():
        check_folder_name(name, what="method name")
        if "method" not in values:
            raise ConfigError(
                f"methods.{name}.method: unknown value None; {nearest('', registry.methods)}"
            )
    for (_, name), found in settings.items():
        try:
            registry.check(found)
        except ConfigError as error:
            raise ConfigError(f"methods.{name}.{error}") from error


def check_tasks(compare_file: CompareFile, settings: MethodSettings, known: Sequence[str]) -> None:
    """Refuses unknown primaries and candidates before anything is written."""
    for primary in compare_file.primaries:
        if primary not in known:
            raise ConfigError(f"primaries: unknown task {primary!r}; {nearest(primary, known)}")
    for found in settings.values():
        candidate_tasks(found, known)


def _candidates(compare_file: CompareFile, primary: str) -> JsonObject:
    if compare_file.candidate_tasks is None:
        return {}
    return {"candidate_tasks": [name for name in compare_file.candidate_tasks if name != primary]}
