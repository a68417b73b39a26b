"""The plugin manager: our own behaviour, the host's wing, and whatever is installed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pluggy

from gradts_plugin import builtin, hookspecs
from gradts_plugin.errors import ConfigError, PluginError, nearest
from gradts_plugin.protocols import Correlation, HeadImportanceMeasure, Ranker, SelectionMethod

#: Installed packages offer plugins under this entry-point group.
ENTRY_POINT_GROUP = "gradts_plugin"


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

    measures: Mapping[str, HeadImportanceMeasure]
    correlations: Mapping[str, Correlation]
    rankers: Mapping[str, Ranker]
    methods: Mapping[str, SelectionMethod]
    providers: Mapping[tuple[str, str], str]

    def measure(self, name: str) -> HeadImportanceMeasure:
        """The head importance measure of this name, or a ConfigError."""
        _check_name("probing.importance", name, self.measures)
        return self.measures[name]

    def correlation(self, name: str) -> Correlation:
        """The correlation of this name, or a ConfigError."""
        _check_name("ranking.correlation", name, self.correlations)
        return self.correlations[name]

    def ranker(self, name: str) -> Ranker:
        """The ranker of this name, or a ConfigError."""
        _check_name("ranking.ranker", name, self.rankers)
        return self.rankers[name]

    def method(self, name: str) -> SelectionMethod:
        """The selection method of this name, or a ConfigError."""
        _check_name("method", name, self.methods)
        return self.methods[name]


def _check_name(key: str, name: str, offered: Mapping[str, Any]) -> None:
    if name not in offered:
        raise ConfigError(f"{key}: unknown value {name!r}; {nearest(name, offered)}")


def collect_registry(manager: pluggy.PluginManager) -> Registry:
    """Collects everything that plugins offer by name.

    Raises:
        PluginError: two plugins offer the same name.
    """
    providers: dict[tuple[str, str], str] = {}
    versions = {
        id(plugin): distribution.version for plugin, distribution in manager.list_plugin_distinfo()
    }

    def collect(kind: str, hook: pluggy.HookCaller) -> dict[str, Any]:
        offered: dict[str, Any] = {}
        for implementation in hook.get_hookimpls():
            version = versions.get(id(implementation.plugin))
            provider = implementation.plugin_name + (f" {version}" if version else "")
            answer: Any = implementation.function()
            for name, thing in answer.items():
                if name in offered:
                    raise PluginError(
                        f"plugins {providers[kind, name]!r} and {provider!r} both offer the {kind} "
                        f"{name!r}; rename one"
                    )
                offered[name] = thing
                providers[kind, name] = provider
        return offered

    return Registry(
        measures=collect("head importance measure", manager.hook.extend_head_importance_measures),
        correlations=collect("correlation", manager.hook.extend_correlations),
        rankers=collect("ranker", manager.hook.extend_rankers),
        methods=collect("selection method", manager.hook.extend_selection_methods),
        providers=providers,
    )
