"""The hooks: documented, called in the documented order, and open to installed plugins."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest
from tiny_encoders import save_tiny_encoder
from tiny_runs import write_run_file

from gradts_plugin import hookspecs
from gradts_plugin.errors import PluginError, TrainingError
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.offers import Method
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import collect_registry, make_plugin_manager
from gradts_plugin.run import run
from gradts_plugin.settings.run_file import read_run_file

pytestmark = pytest.mark.usefixtures("without_pages")

DOCS = Path(__file__).resolve().parents[1] / "docs"

SPECS = {
    name: spec
    for name, spec in inspect.getmembers(hookspecs, inspect.isfunction)
    if hasattr(spec, "gradts_spec")
}


@pytest.fixture(scope="module")
def make_hooks():
    spec = importlib.util.spec_from_file_location("make_hooks", DOCS / "make_hooks.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "make_hooks", module)  # dataclasses look it up
        spec.loader.exec_module(module)
        yield module


# --- the page ---------------------------------------------------------------------------------


def test_page_is_what_the_generator_gives(make_hooks):
    written = (DOCS / "hooks.md").read_text(encoding="utf-8")
    assert written == make_hooks.hook_page(), "run: python docs/make_hooks.py"


def test_every_hook_has_one_row(make_hooks):
    rows = re.findall(r"^\| `(\w+)` \|", make_hooks.hook_page(), flags=re.MULTILINE)
    assert sorted(rows) == sorted(SPECS)


def test_every_hook_is_public():
    assert set(SPECS) == set(hookspecs.__all__) - {"PROJECT_NAME", "hookimpl", "hookspec"}


@pytest.mark.parametrize("name", SPECS)
def test_docstring_says_when_and_explains_every_argument(name):
    when, *rest = inspect.getdoc(SPECS[name]).splitlines()
    assert when.startswith("Called ")
    assert when.endswith(".")
    explained = re.findall(r"^    (\w+): \S", "\n".join(rest), flags=re.MULTILINE)
    assert explained == list(inspect.signature(SPECS[name]).parameters)


@pytest.mark.parametrize("name", SPECS)
def test_name_tells_the_kind(name):
    if name.startswith(("before_", "after_", "on_")):
        assert SPECS[name].gradts_spec["firstresult"] is False
        assert inspect.signature(SPECS[name]).return_annotation == "None"
    else:
        assert SPECS[name].gradts_spec["firstresult"] is not name.startswith("extend_")


# --- the order --------------------------------------------------------------------------------


class Recorder:
    """Implements every hook, answers nothing, and writes down the calls."""

    def __init__(self):
        self.calls = []
        for name in SPECS:
            setattr(self, name, hookimpl(self._recording(name)))

    def _recording(self, name):
        def record():
            self.calls.append(name)
            return {} if name.startswith("extend_") else None

        return record


def pattern_of(steps):
    """The regular expression for a trace, each call followed by a blank."""
    return "".join(
        f"{step} " if isinstance(step, str) else f"(?:{pattern_of(step.steps)})*" for step in steps
    )


def hooks_in(steps):
    return {
        name
        for step in steps
        for name in ([step] if isinstance(step, str) else hooks_in(step.steps))
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hooks")
    save_tiny_encoder("bert", folder / "encoder")
    return folder


def opened(folder, *plugins, **changes):
    """A session on a run over three tiny tasks."""
    path = write_run_file(
        folder,
        folder / "encoder",
        ("topic", "match", "words"),
        **{"method": "trial", **changes},
    )
    manager = make_plugin_manager(plugins, entry_points=False)
    return open_run_file(read_run_file(path), manager)


@pytest.fixture(scope="module")
def traces(folder):
    """The calls of a run, and of the same run again."""
    traces = []
    for _ in range(2):
        recorder = Recorder()
        run(opened(folder, recorder, method={"name": "designed", "budget": 8}))
        traces.append("".join(f"{name} " for name in recorder.calls))
    return traces


def test_order_names_every_hook_but_the_errors(make_hooks):
    errors = {name for name in SPECS if name.startswith("on_")}
    assert hooks_in(make_hooks.ORDER) == set(SPECS) - errors


def test_a_run_calls_every_hook_in_the_documented_order(make_hooks, traces):
    first, _ = traces
    assert re.fullmatch(pattern_of(make_hooks.ORDER), first), first
    assert set(first.split()) == hooks_in(make_hooks.ORDER)


def test_an_unchanged_rerun_keeps_the_order_and_trains_nothing(make_hooks, traces):
    _, again = traces
    assert re.fullmatch(pattern_of(make_hooks.ORDER), again), again
    assert not {"before_training", "before_task_probed"} & set(again.split())


def test_phases_are_announced_by_name_and_with_their_number_of_units(make_hooks, folder, traces):
    announced = []

    class Plugin:
        @hookimpl
        def before_phase(self, phase, num_units):
            announced.append((phase, num_units))

    run(opened(folder, Plugin()))
    assert [phase for phase, _ in announced] == list(make_hooks.PHASES)
    # Three tasks; a trial for the primary alone and one for each candidate.
    assert announced[:4] == [("load", 3), ("probe", 3), ("rank", 1), ("select", 3)]


def test_an_error_in_training_is_told_from_the_inside_out(folder, traces):
    recorder = Recorder()

    class Plugin:
        @hookimpl
        def after_train_step(self):
            raise TrainingError("stopped by a plugin")

    session = opened(
        folder, recorder, Plugin(), seed=7, store="other_store", output_dir="other_out"
    )
    with pytest.raises(TrainingError, match="stopped by a plugin"):
        run(session)
    assert recorder.calls[-2:] == ["on_training_error", "on_probing_error"]
    assert recorder.calls.count("after_phase") == 1  # of loading


def test_an_error_of_a_selection_method_is_told(folder, traces):
    recorder = Recorder()

    class Plugin:
        @hookimpl
        def extend_selection_methods(self):
            def broken(context, settings):
                raise PluginError("no choice")

            return [Method("broken", broken, "Broken")]

    engine = opened(folder, recorder, Plugin(), method="broken")
    with pytest.raises(PluginError, match="no choice"):
        run(engine)
    assert recorder.calls[-1] == "on_selection_error"
    assert "after_tasks_selected" not in recorder.calls


# --- who answers ------------------------------------------------------------------------------


def test_a_plugin_answers_before_ours():
    class Plugin:
        @hookimpl
        def rewrite_config(self, config):
            return {**config, "rewritten by": "plugin"}

        @hookimpl
        def load_task(self, config):
            return "a task" if config["kind"] == "mine" else None

    hook = make_plugin_manager([Plugin()], entry_points=False).hook
    assert hook.rewrite_config(config={"a": 1}, selection=None, output_dir=Path()) == {
        "a": 1,
        "rewritten by": "plugin",
    }
    assert hook.load_task(config={"kind": "mine"}, base_path=Path()) == "a task"


def test_what_plugins_offer_is_added_to_ours():
    class Plugin:
        @hookimpl
        def extend_correlations(self):
            return {"mine": len}

    registry = collect_registry(make_plugin_manager([Plugin()], entry_points=False))
    assert set(registry.correlations) == {"kendall", "mine"}
    assert registry.providers["correlation", "kendall"] == "gradts-builtin"


def test_one_name_offered_twice_is_refused():
    class Plugin:
        @hookimpl
        def extend_selection_methods(self):
            return [Method("trial", len, "Another one")]

    manager = make_plugin_manager([Plugin()], entry_points=False)
    with pytest.raises(PluginError, match="both offer the selection method 'trial'"):
        collect_registry(manager)


def test_unknown_hook_is_refused_with_the_nearest_one():
    class Plugin:
        @hookimpl
        def after_train_stop(self, step):
            pass

    with pytest.raises(PluginError, match=r"unknown hook .*did you mean 'after_train_step'\?"):
        make_plugin_manager([Plugin()], entry_points=False)


def test_unknown_argument_is_refused():
    class Plugin:
        @hookimpl
        def after_train_step(self, stop):
            pass

    with pytest.raises(PluginError, match="stop"):
        make_plugin_manager([Plugin()], entry_points=False)


def test_what_is_offered_is_a_list_of_records():
    class Plugin:
        @hookimpl
        def extend_selection_methods(self):
            return {"mine": len}

    manager = make_plugin_manager([Plugin()], entry_points=False)
    with pytest.raises(PluginError, match=r"expected a list of gradts_plugin\.offers\.Method"):
        collect_registry(manager)
