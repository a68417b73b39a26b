"""Writes docs/hooks.md from the hook specifications: `python docs/make_hooks.py`.

The table is read from `gradts_plugin/hookspecs.py` and from what is registered; only the order in
which a run calls the hooks is written down here, and a test compares it with a real run.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pluggy
from rich.console import Console

from gradts_plugin import builtin, hookspecs
from gradts_plugin.hosts.jiant import plugin as jiant
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.terminal.progress import ProgressPlugin

PAGE: Final = Path(__file__).with_name("hooks.md")


@dataclass(frozen=True)
class Each:
    """Hooks that are called together, any number of times.

    Attributes:
        label: for each of what.
        steps: hooks, or further repetitions, in order.
    """

    label: str
    steps: tuple[str | Each, ...]


_LOADING: Final = Each("task that jiant makes", ("load_task",))
_TRAINING: Final = (
    "before_training",
    _LOADING,
    Each("optimiser step", ("after_train_step",)),
    "after_training",
)
_TRIAL: Final = (
    "before_trial",
    Each("seed whose run is not stored", _TRAINING),
    "after_trial",
)
_NAMES: Final = Each(
    "look-up of the names that settings can use",
    (
        "extend_head_importance_measures",
        "extend_correlations",
        "extend_rankers",
        "extend_selection_methods",
    ),
)

#: What `gradts-select run run.yaml` calls, in order, where nothing goes wrong.
ORDER: Final = (
    _NAMES,
    "extend_task_configs",
    "open_host",
    _LOADING,
    "before_phase",
    Each(
        "task of the run file",
        ("before_task_prepared", _LOADING, "after_task_prepared"),
    ),
    _LOADING,
    "after_phase",
    _NAMES,
    "after_tasks_loaded",
    "before_phase",
    Each(
        "task and fine-tuning seed",
        (
            Each(
                "probe that is not stored",
                (
                    *_TRAINING,
                    "before_task_probed",
                    Each("batch", ("after_batch_probed",)),
                ),
            ),
            "after_task_probed",
        ),
    ),
    "after_phase",
    "before_phase",
    "after_candidates_ranked",
    "after_phase",
    "before_phase",
    Each(
        "round of trials of the selection method",
        (
            Each("trial", _TRIAL),
            Each("round, where the method searches in rounds", ("after_round",)),
        ),
    ),
    "after_tasks_selected",
    "after_phase",
    "before_phase",
    "rewrite_config",
    "after_config_rewritten",
    "after_phase",
    "after_result_written",
    "before_phase",
    Each("of the selection and the primary alone", _TRIAL),
    "after_phase",
    "after_result_written",
)

#: The phases, as `before_phase` names them, in the order in which they come in `ORDER`.
PHASES: Final = ("load", "probe", "rank", "select", "rewrite", "train")

_HEAD: Final = """\
# Hooks

<!-- Written by docs/make_hooks.py from gradts_plugin/hookspecs.py; change those, not this page. -->

A plugin is a module (or any object) with functions named like the hooks below, each marked with
`gradts_plugin.hookspecs.hookimpl`. An installed package is found by its entry point, nothing has
to be configured:

```toml
[project.entry-points.gradts_plugin]
my-plugin = "my_module"
```

A complete package with a method, a ranker and a correlation of its own is in
[`docs/example_plugin`](example_plugin/README.md).

**The name tells the kind.**

- A verb (`load_task`, `rewrite_config`) asks somebody to answer. Plugins are asked one after the
  other, the last registered first, and the first answer that is not `None` wins. Ours is asked
  last, so an installed plugin goes before it without any setting.
- `extend_...` collects the answers of all plugins. Two plugins that offer the same name are an
  error.
- `before_...`, `after_...` and `on_..._error` only notify; an answer is ignored.

**Rules.**

- `None` means "not mine", and nothing else.
- An implementation may leave out arguments it does not need. It must not give an argument a
  default.
- An unknown hook name, or an argument the hook does not have, is an error when the plugin is
  loaded.
- An exception from a plugin ends the run like any other.
- Hooks are called one after the other in the process of the command. With
  [workers](workers.md), which make plugin managers of their own, what happens inside a training or
  a probe is told there: `after_train_step`, `before_task_probed` and `after_batch_probed` are
  called in the worker only, on a plugin of its own; `before_training`, `after_training` and
  `after_task_probed` in the worker and again in the process of the command, from the record. All
  that asks or collects is called in each process; phases, trials, rounds, rankings and selections
  are told in the process of the command.
- A ranker may ask for texts (`context.texts`), probes, forward passes and gradients of the
  pretrained or a fine-tuned encoder, a method also for scores: `RankingContext` and
  `SelectionContext` in [`gradts_plugin/offers.py`](../gradts_plugin/offers.py).
- A method or ranker brings settings of its own: a class in its record, checked as ours are, given
  as `method: {name: mine, patience: 3}`, and listed in [methods](methods.md).

A stored number is identified by the name, package version and own `version` of the measure or
ranker that it depends on. Raise one of them when it gives other numbers, so that no old one is
taken for a new one.

The types of the arguments are explained in
[`gradts_plugin/records.py`](../gradts_plugin/records.py), what is offered by name in
[`gradts_plugin/offers.py`](../gradts_plugin/offers.py).
"""

_ORDER_HEAD: Final = """\
## The order of calls

`gradts-select run run.yaml`, where nothing goes wrong. A line that begins with "each" is
repeated, down to no time at all: an unchanged rerun has no training in it. `load_task` is called
whenever jiant makes its task objects anew.
"""

_ORDER_FOOT: Final = """\
- An error in a training run calls `on_training_error`; inside the probe phase `on_probing_error`
  follows, inside rank, select and rewrite `on_selection_error`. `after_phase` is not called then.
- `gradts-select probe`, `rank` and `select` have no load phase: they look up the names, let jiant
  make its tasks, and end with their own phase (`select`: with rewrite).
- A jiant run (`gradts-select run --jiant_task_container_config_path ...`) does the same up to
  rewrite. Its train phase is jiant's own run: `load_task` and `after_train_step` are called, and
  no trial is made.
"""


def hook_page() -> str:
    """The text of docs/hooks.md."""
    parts = [_HEAD, _ORDER_HEAD, f"```text\n{_order_as_text()}```\n", _ORDER_FOOT]
    manager = _manager()
    for title, specs in _sections():
        rows = [_row(spec, manager) for spec in specs]
        head = "| hook | arguments | when | who answers |\n| --- | --- | --- | --- |\n"
        parts.append(f"## {title}\n\n{head}" + "".join(rows))
    return "\n".join(parts)


# --- the order ----------------------------------------------------------------------------------


def _order_as_text() -> str:
    phases = iter(PHASES)
    inside = False

    def lines(steps: tuple[str | Each, ...], depth: int) -> Iterator[str]:
        nonlocal inside
        for step in steps:
            indent = "    " * (depth + (inside and step != "after_phase"))
            if isinstance(step, Each):
                yield f"{indent}each {step.label}:"
                yield from lines(step.steps, depth + 1)
            else:
                phase = f"  ({next(phases)})" if step == "before_phase" else ""
                yield f"{indent}{step}{phase}"
                inside = step != "after_phase" and (inside or step == "before_phase")

    return "".join(line + "\n" for line in lines(ORDER, 0))


# --- the table ----------------------------------------------------------------------------------


def _manager() -> pluggy.PluginManager:
    return make_plugin_manager([ProgressPlugin(Console(), quiet=True)], entry_points=False)


def _sections() -> Iterator[tuple[str, list[Callable[..., Any]]]]:
    """(Title, hook specifications), as the comment lines of hookspecs.py divide them."""
    source = inspect.getsource(hookspecs)
    pieces = re.split(r"^# --- (.+?) -+$", source, flags=re.MULTILINE)[1:]
    for title, body in zip(pieces[::2], pieces[1::2], strict=True):
        names = re.findall(r"^def (\w+)", body, flags=re.MULTILINE)
        yield title[0].upper() + title[1:], [getattr(hookspecs, name) for name in names]


def _row(spec: Callable[..., Any], manager: pluggy.PluginManager) -> str:
    when, arguments = _described(spec)
    cells = (f"`{spec.__name__}`", arguments, when, _answerers(spec, manager))
    return f"| {' | '.join(cells)} |\n"


def _described(spec: Callable[..., Any]) -> tuple[str, str]:
    """When a hook is called, and its arguments and answer, from its docstring and signature."""
    docstring = inspect.getdoc(spec) or ""
    when = docstring.splitlines()[0].removeprefix("Called ").rstrip(".")
    meanings = dict(re.findall(r"^    (\w+): (.+)$", docstring, flags=re.MULTILINE))
    signature = inspect.signature(spec)
    arguments = [
        f"`{name}: {parameter.annotation}`: {meanings[name].rstrip('.')}"
        for name, parameter in signature.parameters.items()
    ]
    returns = re.search(r"^Returns:\n    (.+)", docstring, flags=re.MULTILINE)
    if returns:
        arguments.append(f"answer `{signature.return_annotation}`: {returns[1].rstrip('.')}")
    return when, "<br>".join(argument.replace("|", "\\|") for argument in arguments)


def _answerers(spec: Callable[..., Any], manager: pluggy.PluginManager) -> str:
    name = spec.__name__
    if name.startswith("extend_"):
        offered = getattr(builtin, name)()
        names = offered if isinstance(offered, Mapping) else [thing.name for thing in offered]
        return f"every plugin; built in: {' '.join(f'`{key}`' for key in names)}"
    if not name.startswith(("before_", "after_", "on_")):
        return "the first that does not say `None`; ours, asked last: " + _summary(jiant, name)
    listens = getattr(manager.hook, name).get_hookimpls()
    return "nobody; our progress bar listens" if listens else "nobody"


def _summary(module: object, name: str) -> str:
    docstring = inspect.getdoc(getattr(module, name)) or ""
    first_line = docstring.splitlines()[0].rstrip(".")
    return first_line[0].lower() + first_line[1:]


if __name__ == "__main__":
    PAGE.write_text(hook_page(), encoding="utf-8")
