"""Whole runs that probe the frozen encoder; shuffled controls, and the profile tasks share."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml
from fake_runs import open_fake
from tiny_encoders import save_tiny_encoder
from tiny_runs import Recorder, run_command, with_plugins, write_run_file, write_task

from gradts_plugin import run
from gradts_plugin.hosts.jiant.training.recipe import resolve_precision
from gradts_plugin.ranking.correlation import kendall, layer_shares, without_common
from gradts_plugin.ranking.heads import rank_candidates
from gradts_plugin.ranking.taus import common_profile, instance_taus
from gradts_plugin.settings.training import TrainingSettings
from gradts_plugin.stores.importances import GradientStore

pytestmark = pytest.mark.usefixtures("without_pages")

FROZEN = {"model": "frozen"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder("bert", tmp_path_factory.mktemp("encoder") / "bert")


def run_json(run_file):
    command = run_command("run", run_file, "--json", "--quiet")
    assert command.code == 0, command.err
    return json.loads(command.out)


def test_a_frozen_probe_trains_nothing_and_has_no_seed(tmp_path, encoder, monkeypatch):
    recorder = Recorder()
    with_plugins(monkeypatch, recorder)
    run_file = write_run_file(tmp_path, encoder, probing=FROZEN, seeds=3, store="store")
    found = run_json(run_file)
    purposes = {call["plan"].purpose for call in recorder.of("before_training")}
    assert "fine-tuning" not in purposes
    assert found["ranking"]["num_seeds"] == 0
    assert found["done"]["probes"] == 5  # every kind of task, once
    assert found["cost"]["num_steps"] == 0
    # Each instance is encoded for the fit and once more for the probe.
    assert found["cost"]["num_examples"] == 5 * 2 * 16
    changed = {"probing": FROZEN, "store": "store", "output_dir": "other"}
    again = run_json(write_run_file(tmp_path, encoder, **changed))
    assert again["done"]["probes"] == 0
    assert again["ranking"]["candidates"] == found["ranking"]["candidates"]


def test_another_first_seed_finds_the_same_frozen_probe(tmp_path):
    values = {"probing": FROZEN, "store": str(tmp_path / "store")}
    first = run.run(open_fake(tmp_path / "first", values))
    second = run.run(open_fake(tmp_path / "second", {**values, "seed": 7}))
    assert first.done.probes == 5
    assert second.done.probes == 0


def test_auto_selects_what_shuffled_labels_stay_below(tmp_path):
    method = {"name": "thres", "threshold": "auto"}
    probing = {**FROZEN, "shuffled_controls": 2}
    found = run.run(open_fake(tmp_path, {"method": method, "probing": probing}))
    null = found.ranking.null_taus
    assert len(null) == 2 * 4  # every candidate, twice
    theta = np.mean(null) + 1.645 * np.std(null, ddof=1)
    above = [row.task_name for row in found.ranking.candidates if row.tau >= theta]
    assert list(found.selection.auxiliary_tasks) == above
    assert f"{theta:.3f} (what 8 shuffled controls stay below)" in found.selection.reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"method": {"name": "thres", "threshold": "auto"}},
            "threshold: auto needs probing.shuffled_controls of 1 or more",
        ),
        (
            {"probing": {"model": "fine-tuned", "shuffled_controls": 1}},
            "shuffled_controls needs model: frozen",
        ),
        ({"probing": {"model": "frosen"}}, "did you mean 'frozen'?"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, encoder, changes, message):
    command = run_command("run", write_run_file(tmp_path, encoder, **changes))
    assert command.code == 2
    assert message in command.err
    assert not (tmp_path / "out").exists()


# --- what all tasks have in common -----------------------------------------------------------


class Source:
    """Importances in memory."""

    def __init__(self, raw):
        self.raw = np.asarray(raw, dtype=np.float32)

    @property
    def shape(self):
        return self.raw.shape

    def batches(self):
        yield np.arange(len(self.raw)), self.raw


def shared_profile_sources():
    """Three tasks on one strong common profile; only p and a share what is beside it."""
    generator = np.random.default_rng(0)
    common = np.exp(generator.normal(size=(4, 6)) * 2)
    own = np.exp(generator.normal(size=(4, 6)) * 0.2)
    other = np.exp(generator.normal(size=(4, 6)) * 0.2)
    noise = [np.exp(generator.normal(size=(30, 4, 6)) * 0.01) for _ in range(3)]
    return {
        "p": [Source(common * own * noise[0])],
        "b": [Source(common * other * noise[1])],
        "a": [Source(common * own * noise[2])],
    }


def ranking_of(sources, **options):
    return rank_candidates(
        "p", sources, correlation=kendall, bootstrap=100, confidence=0.95, seed=0, **options
    )


def test_without_the_common_profile_tasks_that_share_nothing_else_fall_apart():
    sources = shared_profile_sources()
    kept = {c.task_name: c for c in ranking_of(sources).candidates}
    removed = {c.task_name: c for c in ranking_of(sources, remove_common=True).candidates}
    assert kept["b"].tau > 0.7  # the encoder's own profile
    assert removed["b"].tau < 0
    assert removed["a"].tau > 0.7
    assert removed["a"].interval[0] > removed["b"].interval[1]


def test_the_common_profile_is_the_mean_of_layer_shares():
    matrices = {"p": [[1.0, 3.0]], "a": [[2.0, 2.0]]}
    sources = {name: [Source([matrix])] for name, matrix in matrices.items()}
    assert common_profile(sources).tolist() == [0.375, 0.625]
    multiples = without_common(
        layer_shares(np.array([[1.0, 3.0]])).ravel(), common_profile(sources)
    )
    assert multiples.tolist() == pytest.approx([0.25 / 0.375, 0.75 / 0.625])


def test_a_head_that_no_task_uses_is_zero_not_nan():
    assert without_common(np.array([0.0, 1.0]), np.array([0.0, 0.5])).tolist() == [0.0, 2.0]


def test_instances_are_compared_without_the_common_profile_too():
    sources = shared_profile_sources()
    common = common_profile(sources)
    for name, sign in (("a", 1), ("b", -1)):
        _, taus = instance_taus(sources["p"], sources[name], correlation=kendall, common=common)
        assert sign * taus.mean() > 0


# --- precision, and the test split -----------------------------------------------------------


def test_auto_precision_is_bf16_only_where_the_processor_is_faster_in_it(monkeypatch):
    assert TrainingSettings(precision="auto").precision == "auto"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert resolve_precision("auto", no_cuda=True) == "fp32"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert resolve_precision("auto", no_cuda=True) == "bf16"
    assert resolve_precision("fp32", no_cuda=True) == "fp32"


@pytest.mark.parametrize("other", ["match", "test"])
def test_the_test_split_is_scored_and_does_not_select(tmp_path, encoder, other):
    write_task(tmp_path / "tasks", other, like="match")
    run_file = write_run_file(tmp_path, encoder, ["topic", other], score_test=True)
    config_path = tmp_path / "tasks" / "topic.json"
    config = json.loads(config_path.read_text())
    # The dev rows as test split: the same score.
    config["paths"]["test"] = config["paths"]["val"]
    config_path.write_text(json.dumps(config))
    found = run_json(run_file)
    for trained in (found["alone"], found["selected"]):
        assert trained["test_scores"] == trained["scores"]
    container = json.loads((tmp_path / "out" / "container_config.json").read_text())
    assert "test_labels" not in container["task_cache_config_dict"][other]


def test_test_scores_that_are_asked_for_later_are_made(tmp_path, encoder):
    run_file = write_run_file(tmp_path, encoder, ["topic", "match"], store="store")
    without = run_json(run_file)
    config_path = tmp_path / "tasks" / "topic.json"
    config = json.loads(config_path.read_text())
    config["paths"]["test"] = config["paths"]["val"]
    config_path.write_text(json.dumps(config))
    values = yaml.safe_load(run_file.read_text())

    def again(score_test: bool):
        changes = {"score_test": score_test, "output_dir": f"scored-{score_test}"}
        run_file.write_text(yaml.safe_dump({**values, **changes}))
        return run_json(run_file)

    later = again(True)
    assert without["alone"]["test_scores"] == []
    assert later["alone"]["test_scores"] == later["alone"]["scores"] == without["alone"]["scores"]
    assert later["done"]["training_runs"] == 2
    # Both are kept, whichever is asked for next.
    for score_test in (True, False):
        assert again(score_test)["done"]["training_runs"] == 0


def test_a_record_of_a_frozen_probe_says_so(tmp_path, encoder):
    run_json(write_run_file(tmp_path, encoder, ["topic", "match"], probing=FROZEN))
    folder = next((tmp_path / "out" / "store" / "importances").glob("topic-*"))
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["fingerprint"]["probing"]["model"] == "frozen"
    assert metadata["fingerprint"]["fine_tuning"] == {}
    assert GradientStore(folder.parent)
