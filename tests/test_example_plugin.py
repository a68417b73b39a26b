"""The example plugin: built and installed, planned, run on the fake host, and documented."""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from fake_runs import TASKS, fake_file
from report_page import Page
from tiny_runs import run_command, with_plugins

from gradts_plugin.plugins import collect_registry, make_plugin_manager
from gradts_plugin.records import Trial
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_opening import FakeHostPlugin

DOCS = Path(__file__).resolve().parents[1] / "docs"
EXAMPLE = DOCS / "example_plugin"
METHOD = {"name": "top-k", "k": 1, "min_gain": 0.01}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which the example plugin was built and installed."""
    pytest.importorskip("setuptools", minversion="77", reason="the example's build backend")
    folder = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLE, folder / "source")
    build = "import setuptools.build_meta as b; b.build_wheel('../wheels')"
    (folder / "wheels").mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = (folder / "wheels").glob("*.whl")
    # All that installing a wheel of plain Python is: unpacking it where modules are found.
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def host(monkeypatch):
    """Run files of this test can say `host: fake`."""
    host = FakeHost(TASKS)
    with_plugins(monkeypatch, FakeHostPlugin(host))
    return host


@pytest.fixture
def installed(site, monkeypatch):
    """The example is found as an installed package."""
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("gradts_example", None)


def run_file(folder, **changes):
    given = {"primary_task": "goal", "method": METHOD, **changes}
    values = {**fake_file(folder, **given), "output_dir": "out"}
    values.setdefault("ranking", {})
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.usefixtures("host")
def test_without_the_example_its_names_are_unknown(tmp_path):
    path = run_file(tmp_path, ranking={"correlation": "spearman", "ranker": "shared-words"})
    answer = run_command("run", path, "--quiet")
    assert answer.code == 2
    for name in ("top-k", "spearman", "shared-words"):
        assert f"unknown value '{name}'" in answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("installed")
def test_the_installed_example_is_planned_and_run_as_planned(host, tmp_path):
    path = run_file(tmp_path, ranking={"correlation": "spearman", "bootstrap": 100})
    plan = run_command("plan", path, "--json", "--no-measure")
    assert plan.code == 0, plan.err
    assert not host.trained
    parts = {part["what"]: part for part in json.loads(plan.out)["parts"]}
    assert parts["trials"]["num_to_do"] == 2
    answer = run_command("run", path, "--json", "--quiet")
    assert answer.code == 0, answer.err
    outcome = json.loads(answer.out)
    best = outcome["ranking"]["candidates"][0]["task_name"]
    trials = outcome["selection"]["trials"]
    assert [trial["auxiliary_tasks"] for trial in trials] == [[], [best]]
    helps = trials[1]["score"] - trials[0]["score"] >= METHOD["min_gain"]
    assert outcome["selection"]["auxiliary_tasks"] == ([best] if helps else [])
    rewritten = json.loads(Path(outcome["config_path"]).read_text())
    assert rewritten["gradts"]["method"] == METHOD
    assert rewritten["train_tasks"] == ["goal", *outcome["selection"]["auxiliary_tasks"]]
    text = Page((tmp_path / "out" / "report.html").read_text()).text
    assert "Method: Top k, checked. The k best-ranked candidates, if they help" in text


@pytest.mark.usefixtures("installed", "host")
def test_its_ranker_reads_texts_and_is_called_by_its_title(tmp_path, host):
    path = run_file(tmp_path, ranking={"ranker": {"name": "shared-words", "max_instances": 8}})
    plan = run_command("plan", path, "--no-measure")
    assert plan.code == 0, plan.err
    answer = run_command("run", path, "--json", "--quiet")
    assert answer.code == 0, answer.err
    words = {}
    for task in TASKS:
        ids = host.sampled_ids(task.name, max_instances=8, seed=0).tolist()
        assert len(ids) == 8
        words[task.name] = {
            word for text in host.instance_texts(task.name, ids).values() for word in text.split()
        }
    candidates = json.loads(answer.out)["ranking"]["candidates"]
    for candidate in candidates:
        shared = words["goal"] & words[candidate["task_name"]]
        assert candidate["tau"] == len(shared) / len(words["goal"])
    text = Page((tmp_path / "out" / "report.html").read_text()).text
    assert "The candidates by share of words (Shared words), best first." in text
    assert "The ranker Shared words gives no intervals." in text


@pytest.mark.usefixtures("installed", "host")
@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"min_gian": 0.1}, "unknown key 'min_gian'; did you mean 'min_gain'?"),
        ({"k": 0}, "k: must be above 0, found 0"),
        ({"patience": 2}, "unknown key 'patience'; "),
    ],
)
def test_a_mistake_in_its_settings_is_one_line_before_anything_runs(own, message, tmp_path):
    path = run_file(tmp_path, method={"name": "top-k", **own})
    answer = run_command("run", path, "--quiet")
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    assert message in answer.err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("installed")
def test_it_has_its_place_on_the_page_of_methods_and_rankers():
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    page = reference.methods_page(collect_registry(make_plugin_manager()))
    for row in (
        "| `top-k` | Top k, checked | The k best-ranked candidates, if they help as much as is "
        "asked for. |",
        "| `k` | `2` | how many of the best-ranked candidates are tried |",
        "| `min_gain` | `0.0` | so much better than the primary alone they must score |",
        "| `shared-words` | Shared words | Tasks whose texts have most of the primary's words "
        "first. |",
    ):
        assert row in page.splitlines()


# --- by hand --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("gradts_example", EXAMPLE / "gradts_example.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "gradts_example", module)  # pydantic looks it up
        spec.loader.exec_module(module)
        yield module


def test_spearman_is_scipys(example):
    from scipy.stats import spearmanr

    stream = np.random.default_rng(0)
    reference, others = stream.integers(5, size=12), stream.integers(5, size=(6, 12))
    expected = [spearmanr(reference, other).statistic for other in others]
    np.testing.assert_allclose(example.spearman(reference, others), expected, atol=1e-12)


def test_spearman_of_a_constant_is_zero(example):
    assert example.spearman(np.arange(4.0), np.ones((2, 4))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("together", "selected"),
    [(0.75, ("a",)), (0.625, ("a",)), (0.5, ()), (0.25, ()), (None, ())],
)
def test_top_k_falls_back_to_the_primary_alone(example, together, selected):
    from types import SimpleNamespace

    def score(tasks):
        return Trial(tuple(tasks), (together if tasks else 0.5,))

    context = SimpleNamespace(
        primary_task="p", ranking=SimpleNamespace(task_order=("a", "b", "c")), score=score
    )
    selection = example.select_top_k(context, example.TopKSettings(k=1, min_gain=0.125))
    assert selection.auxiliary_tasks == selected
    assert [trial.auxiliary_tasks for trial in selection.trials] == [(), ("a",)]
