"""The plugin manager: our own behaviour, the host's wing, and whatever is installed."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pluggy

from gradts_plugin import builtin, hookspecs
from gradts_plugin.errors import ConfigError, PluginError, SettingsError, nearest
from gradts_plugin.hosts.jiant import plugin as jiant
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.offers import Correlation, Measure, Method, Ranker
from gradts_plugin.settings.choice import settings_of
from gradts_plugin.settings.parsing import Settings
from gradts_plugin.settings.selection import GradTSSettings

#: Installed packages offer plugins under this entry-point group.
ENTRY_POINT_GROUP = "gradts_plugin"

#: Kinds of what is offered by name whose version stands in keys of stored numbers.
MEASURE = "head importance measure"
RANKER = "ranker"


def make_plugin_manager(
    plugins: Sequence[object] = (), *, entry_points: bool = True
) -> pluggy.PluginManager:
    """Builds a plugin manager that knows every hook.

    Args:
        plugins: further plugin modules or objects, registered last, so that they answer first.
        entry_points: also load the plugins of installed packages.

    Returns:
        The manager. It cannot be pickled: a worker process builds its own.

    Raises:
        PluginError: a plugin implements an unknown hook, names unknown arguments, or cannot be
            loaded.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT_NAME)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(builtin, name="gradts-builtin")
        manager.register(jiant, name="gradts-jiant")
        if entry_points:
            manager.load_setuptools_entrypoints(ENTRY_POINT_GROUP)
        for plugin in plugins:
            manager.register(plugin)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(_explain(error)) from error
    except ImportError as error:
        raise PluginError(f"an installed plugin cannot be imported: {error}") from error
    return manager


def make_silent_manager() -> pluggy.PluginManager:
    """Builds a plugin manager that nobody listens to."""
    manager = pluggy.PluginManager(hookspecs.PROJECT_NAME)
    manager.add_hookspecs(hookspecs)
    return manager


def _explain(error: pluggy.PluginValidationError) -> str:
    message = " ".join(str(error).split())
    known = [name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction)]
    if message.startswith("unknown hook"):
        found = message.split("'")[1]
        return f"plugin {error.plugin!r}: {message}; {nearest(found, known)}"
    return f"plugin {error.plugin!r}: {message}"


@dataclass(frozen=True)
class Registry:
    """What can be chosen by name in the settings, from all plugins.

    Attributes:
        measures: head importance measures (`probing.importance`).
        correlations: correlations (`ranking.correlation`).
        rankers: ways of ranking the candidates (`ranking.ranker`).
        methods: selection methods (`method`).
        providers: (kind, name) -> which plugin offers it, with its version where known.
    """

    measures: Mapping[str, Measure]
    correlations: Mapping[str, Correlation]
    rankers: Mapping[str, Ranker[Any]]
    methods: Mapping[str, Method[Any]]
    providers: Mapping[tuple[str, str], str]

    def measure(self, name: str) -> Measure:
        """The head importance measure of this name, or a ConfigError."""
        return _named("probing.importance", name, self.measures)

    def correlation(self, name: str) -> Correlation:
        """The correlation of this name, or a ConfigError."""
        return _named("ranking.correlation", name, self.correlations)

    def chosen_ranker(self, settings: GradTSSettings) -> tuple[Ranker[Any], Settings]:
        """The ranker that settings name, and its own settings, or a ConfigError."""
        where, choice = "ranking.ranker", settings.ranking.ranker
        ranker = _named(where, choice.name, self.rankers)
        return ranker, settings_of(choice, ranker.settings, {}, where=where)

    def chosen_method(self, settings: GradTSSettings) -> tuple[Method[Any], Settings]:
        """The selection method that settings name, and its own settings, or a ConfigError."""
        method = _named("method", settings.method.name, self.methods)
        defaults = method.faithful if settings.faithful else {}
        return method, settings_of(settings.method, method.settings, defaults, where="method")

    def check(self, settings: GradTSSettings) -> None:
        """Refuses settings that name what nobody offers, or that steer it wrongly.

        Raises:
            ConfigError: a line for each, with the nearest valid choice.
        """
        mistakes = self.mistakes(settings)
        if len(mistakes) > 1:
            raise SettingsError("settings", mistakes)
        if mistakes:
            raise ConfigError(*mistakes)

    def mistakes(self, settings: GradTSSettings, *, together: bool = True) -> list[str]:
        """A line for everything that settings name and nobody offers, or that they steer wrongly.

        Args:
            settings: what is looked at.
            together: also what they rule out in one another; not where some could not be read.
        """
        found: list[str] = []
        for where, choose in (
            ("probing.importance", lambda: self.measure(settings.probing.importance)),
            ("ranking.correlation", lambda: self.correlation(settings.ranking.correlation)),
            ("ranking.ranker", lambda: self.chosen_ranker(settings)),
            ("method", lambda: self.chosen_method(settings)),
        ):
            try:
                chosen = choose()
                if together and isinstance(chosen, tuple):
                    chosen[1].check_with(settings)
            except SettingsError as error:
                found += [f"{where}: {mistake}" for mistake in error.mistakes]
            except ConfigError as error:
                found.append(str(error))
            except ValueError as error:
                found.append(f"{where}: {error}")
        return found

    def identity(self, kind: str, name: str) -> JsonObject:
        """An implementation, as the keys of stored numbers hold it."""
        found = self.rankers[name] if kind == RANKER else self.measures[name]
        return {
            "name": name,
            "provider": self.providers[kind, name],
            "version": found.version,
        }


_ThingT = TypeVar("_ThingT")


def _named(key: str, name: str, offered: Mapping[str, _ThingT]) -> _ThingT:
    if name not in offered:
        raise ConfigError(f"{key}: unknown value {name!r}; {nearest(name, offered)}")
    return offered[name]


def collect_registry(manager: pluggy.PluginManager) -> Registry:
    """Collects everything that plugins offer by name.

    Raises:
        PluginError: two plugins offer the same name, or one offers something else than is asked.
    """
    providers: dict[tuple[str, str], str] = {}
    versions = {
        id(plugin): distribution.version for plugin, distribution in manager.list_plugin_distinfo()
    }

    def collect(kind: str, hook: pluggy.HookCaller, record: type | None) -> dict[str, Any]:
        offered: dict[str, Any] = {}
        for implementation in hook.get_hookimpls():
            version = versions.get(id(implementation.plugin))
            provider = _name_of(implementation) + (f" {version}" if version else "")
            for name, thing in _by_name(implementation.function(), record, kind, provider):
                if name in offered:
                    raise PluginError(
                        f"plugins {providers[kind, name]!r} and {provider!r} both offer the {kind} "
                        f"{name!r}; rename one"
                    )
                offered[name] = thing
                providers[kind, name] = provider
        return offered

    return Registry(
        measures=collect(MEASURE, manager.hook.extend_head_importance_measures, Measure),
        correlations=collect("correlation", manager.hook.extend_correlations, None),
        rankers=collect(RANKER, manager.hook.extend_rankers, Ranker),
        methods=collect("selection method", manager.hook.extend_selection_methods, Method),
        providers=providers,
    )


def _name_of(implementation: pluggy.HookImpl) -> str:
    """The plugin's name; of an object without one its class's, the same in every process."""
    plugin, name = implementation.plugin, implementation.plugin_name
    if name != str(id(plugin)):  # what pluggy makes up
        return name
    return f"{type(plugin).__module__}.{type(plugin).__qualname__}"


def _by_name(
    answer: Any, record: type | None, kind: str, provider: str
) -> Iterable[tuple[str, Any]]:
    if record is None:
        return list(answer.items())
    things = list(answer)
    for thing in things:
        if not isinstance(thing, record):
            raise PluginError(
                f"plugin {provider!r} offers the {kind} {thing!r:.60}; expected a list of "
                f"gradts_plugin.offers.{record.__name__} records"
            )
    return [(thing.name, thing) for thing in things]
