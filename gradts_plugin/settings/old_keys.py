"""Keys of version 0.1 in their places of today; read for one version, and told where they went."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from gradts_plugin.json_forms import JsonObject, JsonValue

#: Sections that became settings of the methods they steer: section -> (methods, new names).
_OF_METHODS: Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
    "trial": (("trial", "fg"), {}),
    "fine_grained": (("fg",), {"threshold": "instance_threshold"}),
    "top": (("top",), {}),
    "autosem": (("autosem", "autosem-p1"), {}),
}

#: Keys at the top of a file that became settings of methods.
OLD_METHOD_SECTIONS = (*_OF_METHODS, "threshold")

#: Methods that compare taus with `threshold`.
_WITH_THRESHOLD = ("thres", "trial", "fg")

#: Rankers that look at a sample of `max_instances`.
_SAMPLING_RANKERS = ("embedding", "logme", "gradients")

#: What autosem-p1, which tries no mixture, has no use for.
_ONLY_AUTOSEM = ("trials",)


class OldKeyWarning(FutureWarning):
    """A key of version 0.1 was read; the next version will not know it.

    Attributes:
        key: the old key.
    """

    def __init__(self, key: str, new: str) -> None:
        self.key = key
        super().__init__(
            f"the key {key!r} is of version 0.1 and will not be read by the next one; it is now "
            f"{new}"
        )


@contextlib.contextmanager
def told_once() -> Iterator[None]:
    """Each old key that is read inside the block is told of once, in whatever places it stands."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield
    first: dict[str, OldKeyWarning] = {}
    for message in (each.message for each in told):
        if isinstance(message, OldKeyWarning):
            first.setdefault(message.key, message)
    for warning in first.values():
        warnings.warn(warning, stacklevel=3)


def with_old_keys(given: JsonObject) -> dict[str, JsonValue]:
    """Settings of version 0.1 as they are written today; those of today unchanged.

    Args:
        given: what was read.

    Returns:
        A copy in which no old key is left; what is not shaped as it was in 0.1 stays, so that it
        is refused like any other mistake.
    """
    values = dict(given)
    method = _named(values.get("method", "trial"))
    if method is None:
        return values
    for section, (methods, renamed) in _OF_METHODS.items():
        old = values.get(section)
        if not isinstance(old, Mapping):
            continue
        del values[section]
        for key, value in old.items():
            if section == "trial" and key == "seeds":
                values.setdefault("training_seeds", value)
                _tell("trial.seeds", f"training_seeds: {value}")
            elif method["name"] in methods and not (
                method["name"] == "autosem-p1" and key in _ONLY_AUTOSEM
            ):
                _move(method, renamed.get(key, key), value, f"{section}.{key}", "method")
            else:
                _tell(f"{section}.{key}", f"a setting of the method {' or '.join(methods)}")
    if "threshold" in values:
        threshold = values.pop("threshold")
        if method["name"] in _WITH_THRESHOLD:
            _move(method, "threshold", threshold, "threshold", "method")
        else:
            _tell("threshold", f"a setting of the method {' or '.join(_WITH_THRESHOLD)}")
    if len(method) > 1:
        values["method"] = method
    ranking = values.get("ranking")
    if isinstance(ranking, Mapping) and "max_instances" in ranking:
        values["ranking"] = _ranking(dict(ranking))
    return values


def _ranking(ranking: dict[str, JsonValue]) -> dict[str, JsonValue]:
    limit = ranking.pop("max_instances")
    ranker = _named(ranking.get("ranker", "heads"))
    if ranker is not None and ranker["name"] in _SAMPLING_RANKERS:
        _move(ranker, "max_instances", limit, "ranking.max_instances", "ranking.ranker")
        ranking["ranker"] = ranker
    else:
        where = f"a setting of the ranker {' or '.join(_SAMPLING_RANKERS)}"
        _tell("ranking.max_instances", where)
    return ranking


def _named(choice: Any) -> dict[str, JsonValue] | None:
    if isinstance(choice, str):
        return {"name": choice}
    return dict(choice) if isinstance(choice, Mapping) and "name" in choice else None


def _move(choice: dict[str, JsonValue], key: str, value: Any, old: str, place: str) -> None:
    choice.setdefault(key, value)
    _tell(old, f"{place}: {{name: {choice['name']}, {key}: ...}}")


def _tell(old: str, new: str) -> None:
    warnings.warn(OldKeyWarning(old, new), stacklevel=3)
