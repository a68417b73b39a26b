"""The compare file: a run file for several primaries and methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from gradts_plugin.json_forms import JsonObject, JsonValue
from gradts_plugin.settings.changes import changed
from gradts_plugin.settings.old_keys import OLD_METHOD_SECTIONS, told_once, with_old_keys
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
    evaluation_seeds: Annotated[int, Field(gt=0, le=1000)] = 3
    oracle: bool = True

    @model_validator(mode="before")
    @classmethod
    def _no_single_primary(cls, given: Any) -> Any:
        for key, instead in (("primary_task", "primaries"), ("method", "methods")):
            if isinstance(given, Mapping) and key in given:
                raise ValueError(f"a compare file has {instead!r}, not {key!r}")
        return _with_old_keys(given) if isinstance(given, Mapping) else given

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


def read_compare_file(path: Path, changes: Sequence[str] = ()) -> CompareFile:
    """Reads a compare file; relative paths in it start at its folder.

    Args:
        path: the file.
        changes: `key=value` each, as if they stood in it (`settings.changes`).

    Raises:
        ConfigError: it is missing, broken or wrong.
    """
    compare_file = parse_settings(CompareFile, changed(read_yaml(path), changes), where=str(path))
    return with_absolute_paths(compare_file, path.absolute().parent)


def _with_old_keys(given: JsonObject) -> JsonObject:
    """What version 0.1 let all methods share is given to each; the file itself without old keys."""
    sections = {key: given[key] for key in OLD_METHOD_SECTIONS if key in given}
    methods, ranking = given.get("methods", DEFAULT_COMPARED_METHODS), given.get("ranking")
    if not isinstance(methods, Mapping):
        return given
    shared = ranking if isinstance(ranking, Mapping) else {}
    with told_once():
        rest = with_old_keys({key: given[key] for key in given if key not in sections})
        rest["methods"] = {
            name: _of_one_method(sections, shared, own) for name, own in methods.items()
        }
    return rest if "methods" in given or sections or "max_instances" in shared else given


def _of_one_method(sections: JsonObject, ranking: JsonObject, own: JsonValue) -> JsonValue:
    """A method's settings; what names no method is refused later."""
    if not isinstance(own, Mapping) or "method" not in own:
        return own
    shared, its_ranking = dict(sections), own.get("ranking")
    if isinstance(its_ranking, Mapping) and "max_instances" in {**ranking, **its_ranking}:
        shared["ranking"] = ranking
    return with_old_keys(merged(shared, own))


def merged(shared: JsonObject, own: JsonObject) -> dict[str, JsonValue]:
    """A method's own settings over those of all methods, section by section."""
    result = {**shared, **own}
    for key in shared.keys() & own.keys():
        below, over = shared[key], own[key]
        if isinstance(below, Mapping) and isinstance(over, Mapping):
            result[key] = {**below, **over}
    return result
