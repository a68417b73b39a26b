"""The compare file: a run file for several primaries and methods."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from gradts_plugin.json_forms import JsonObject, JsonValue
from gradts_plugin.settings.old_keys import OLD_METHOD_SECTIONS
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.reading import read_yaml
from gradts_plugin.settings.run_file import RunFile, with_absolute_paths

#: What `gradts-select compare` runs where a compare file names no methods of its own.
DEFAULT_COMPARED_METHODS: Mapping[str, JsonObject] = {
    "alone": {"method": "alone"},
    "all": {"method": "all"},
    "random": {"method": "top", "ranking": {"ranker": "random"}},
    "largest": {"method": "top", "ranking": {"ranker": "size"}},
    "embedding": {"method": "top", "ranking": {"ranker": "embedding"}},
    "logme": {"method": "top", "ranking": {"ranker": "logme"}},
    "gradients": {"method": "top", "ranking": {"ranker": "gradients"}},
    "gradts-thres": {"method": "thres"},
    "gradts-checked": {"method": {"name": "trial", "prefixes": "threshold"}},
    "gradts-trial": {"method": "trial"},
    "gradts-fg": {"method": "fg"},
    "autosem-p1": {"method": "autosem-p1"},
    "autosem": {"method": "autosem"},
}


class CompareFile(RunFile):
    """`gradts-select compare compare.yaml`: a run file for several primaries and methods.

    Attributes:
        primaries: the tasks to help, one after the other; all other tasks are candidates.
        methods: name -> settings that differ from the file's own; `method` at least.
        evaluation_seeds: training seeds, from `seed` on, over which every selection is scored;
            methods choose with the seeds after them.
        oracle: also train the subsets an oracle would look at.
    """

    primaries: Annotated[tuple[str, ...], Field(min_length=1)]
    methods: Annotated[Mapping[str, JsonObject], Field(min_length=1)] = DEFAULT_COMPARED_METHODS
    evaluation_seeds: Annotated[int, Field(gt=0)] = 3
    oracle: bool = True

    @model_validator(mode="before")
    @classmethod
    def _no_single_primary(cls, given: Any) -> Any:
        for key, instead in (("primary_task", "primaries"), ("method", "methods")):
            if isinstance(given, Mapping) and key in given:
                raise ValueError(f"a compare file has {instead!r}, not {key!r}")
        return _with_old_sections(given) if isinstance(given, Mapping) else given

    @field_validator("primaries")
    @classmethod
    def _distinct_primaries(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"task {repeated[0]!r} is named twice")
        return names

    @property
    def scored_tasks(self) -> tuple[str, ...]:
        """The primaries."""
        return self.primaries


def read_compare_file(path: Path) -> CompareFile:
    """Reads a compare file; relative paths in it start at its folder.

    Raises:
        ConfigError: it is missing, broken or wrong.
    """
    compare_file = parse_settings(CompareFile, read_yaml(path), where=str(path))
    return with_absolute_paths(compare_file, path.absolute().parent)


def _with_old_sections(given: JsonObject) -> JsonObject:
    """Settings of methods as version 0.1 gave them to all methods, given to each method."""
    sections = {key: given[key] for key in OLD_METHOD_SECTIONS if key in given}
    methods = given.get("methods", DEFAULT_COMPARED_METHODS)
    if not sections or not isinstance(methods, Mapping):
        return given
    seeds = sections.get("trial")
    rest = {key: value for key, value in given.items() if key not in sections}
    if isinstance(seeds, Mapping) and "seeds" in seeds:
        rest["training_seeds"] = seeds["seeds"]
    given_to_each = {
        name: merged(sections, own) if isinstance(own, Mapping) else own
        for name, own in methods.items()
    }
    return {**rest, "methods": given_to_each}


def merged(shared: JsonObject, own: JsonObject) -> dict[str, JsonValue]:
    """A method's own settings over those of all methods, section by section."""
    result = {**shared, **own}
    for key in shared.keys() & own.keys():
        below, over = shared[key], own[key]
        if isinstance(below, Mapping) and isinstance(over, Mapping):
            result[key] = {**below, **over}
    return result
