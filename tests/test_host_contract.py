"""Both hosts keep what the contract says: the fake one, and jiant with a task of each kind."""

from __future__ import annotations

import inspect
import itertools
import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from tiny_encoders import save_tiny_encoder
from tiny_jiant import cache_task, container_config, export_weights, write_task
from tiny_runs import write_run_file

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.opening import open_host
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.settings.run_file import read_run_file
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTarget, FakeTask
from gradts_plugin.testing.fake_training import predicted
from gradts_plugin.testing.host_checks import OpenedHost
from gradts_plugin.testing.host_contract import HostContract

apply_mends()  # before tiny_jiant imports jiant

TASKS = (
    FakeTask("first"),
    FakeTask("second", "tagging", num_train=9),
    FakeTask("third", "regression", topic="first"),
    FakeTask("fourth", "multiple_choice"),
)


CHANCE = itertools.count()


def fake(kind=FakeHost, **changes):
    steps = []
    host = kind(TASKS, on_step=lambda plan, step: steps.append(step), **changes)
    return OpenedHost(host, steps)


class TestFakeHost(HostContract):
    @pytest.fixture
    def opened(self):
        return fake()

    @pytest.fixture
    def reopened(self):
        return FakeHost(TASKS)

    @pytest.fixture
    def undefined(self):
        return fake(score=lambda training: None)


# --- hosts that break it --------------------------------------------------------------------------


class ForgetsKept(FakeHost):
    def train(self, plan, output_dir, schedule=None):
        return super().train(replace(plan, kept_instances={}), output_dir, schedule)


class ForgetsKeptInRecipes(FakeHost):
    def recipe(self, settings, train_tasks, kept_instances):
        return super().recipe(settings, train_tasks, {})


class ForgetsRatios(FakeHost):
    def train(self, plan, output_dir, schedule=None):
        recipe = replace(plan.recipe, mixing_ratios={})
        return super().train(replace(plan, recipe=recipe), output_dir, schedule)


class ForgetsSeeds(FakeHost):
    def train(self, plan, output_dir, schedule=None):
        return super().train(replace(plan, seed=0), output_dir, schedule)


class ForgetsTheSchedule(FakeHost):
    def train(self, plan, output_dir, schedule=None):
        return super().train(plan, output_dir)


class TellsNoScores(FakeHost):
    def train(self, plan, output_dir, schedule=None):
        if schedule is not None:
            schedule.scheduler.observe = lambda score: None
        return super().train(plan, output_dir, schedule)


class ScoresByChance(FakeHost):
    def train(self, plan, output_dir, schedule=None):
        return replace(super().train(plan, output_dir, schedule), score=next(CHANCE))


class MakesUpScores(FakeHost):
    def train(self, plan, output_dir, schedule=None):
        return replace(super().train(plan, output_dir, schedule), score=float("nan"))


class PredictsAnotherScore(FakeHost):
    def train(self, *arguments):
        result = super().train(*arguments)
        found = {"dev": predicted(0.1, 6)}
        return replace(result, predictions=found)


class KeepsNoWeights(FakeHost):
    def weights_of(self, output_dir):
        return output_dir.parent / "elsewhere.p"


class LeavesHooks(FakeHost):
    @contextmanager
    def fine_tuned(self, *given):
        with super().fine_tuned(*given) as target:
            target.encoder.register_forward_hook(lambda *_: None)
            yield target


class NeverLooks(FakeHost):
    def fine_tuned(self, plan, looks=None):
        return super().fine_tuned(plan)


class LooksInTheEnd(FakeHost):
    @contextmanager
    def fine_tuned(self, plan, looks=None):
        with super().fine_tuned(plan) as target:
            for _ in range(looks.number if looks else 0):
                looks.look(target)
            yield target


class LendsOneModel(FakeHost):
    @contextmanager
    def untrained(self, task_names, seed):
        with super().untrained(task_names, 0) as target:
            yield target


class SamplesAlike(FakeHost):
    def _lend(self, *given):
        return SampledAlike(**vars(super()._lend(*given)))


class SampledAlike(FakeTarget):
    def batches(self, **options):
        return super().batches(**{**options, "seed": 0})


class NumbersByBatch(FakeHost):
    def _lend(self, *given):
        return NumberedByBatch(**vars(super()._lend(*given)))


class NumberedByBatch(FakeTarget):
    def batches(self, **options):
        for batch in super().batches(**options):
            yield replace(batch, example_ids=np.arange(len(batch.example_ids)))


class MeanLosses(FakeHost):
    def _lend(self, *given):
        return MeanOfLosses(**vars(super()._lend(*given)))


class MeanOfLosses(FakeTarget):
    def batches(self, **options):
        for batch in super().batches(**options):
            yield replace(batch, instance_losses=lambda batch=batch: batch.instance_losses().mean())


class RewritesInPlace(FakeHost):
    def rewrite(self, selection, recipe, output_dir):
        selection.kept_instances.get("second", np.zeros(1))[:] = 0
        return super().rewrite(selection, recipe, output_dir)


class RewritesOneConfig(FakeHost):
    def rewrite(self, selection, recipe, output_dir):
        if not hasattr(self, "config"):
            self.config = super().rewrite(selection, recipe, output_dir)
        return self.config


class NewFingerprints(FakeHost):
    def tasks(self):
        return [replace(info, fingerprint=f"{id(self):064x}") for info in super().tasks()]


BROKEN = {
    ForgetsKept: "kept_instances_reach_the_training",
    ForgetsKeptInRecipes: "a_recipe_knows_of_kept_instances",
    ForgetsRatios: "mixing_ratios_reach_the_training",
    ForgetsSeeds: "another_seed_is_another_training",
    ForgetsTheSchedule: "a_schedule_is_followed_and_told_every_score",
    TellsNoScores: "a_schedule_is_followed_and_told_every_score",
    ScoresByChance: "the_same_plan_is_the_same_training",
    MakesUpScores: "an_undefined_score_is_none",
    PredictsAnotherScore: "a_score_follows_from_its_predictions",
    KeepsNoWeights: "the_same_plan_is_the_same_training",
    LeavesHooks: "a_lent_model_can_be_probed_and_keeps_no_hook",
    NeverLooks: "looks_see_the_model_in_training_and_change_nothing",
    LooksInTheEnd: "looks_see_the_model_in_training_and_change_nothing",
    LendsOneModel: "a_lent_model_depends_on_its_seed_alone",
    SamplesAlike: "instances_keep_their_ids",
    NumbersByBatch: "instances_keep_their_ids",
    MeanLosses: "batches_have_the_promised_shapes",
    RewritesInPlace: "rewriting_changes_nothing_but_what_it_returns",
    RewritesOneConfig: "rewriting_changes_nothing_but_what_it_returns",
    NewFingerprints: "another_host_on_the_same_data_says_the_same",
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda host: host.__name__)
def test_the_contract_finds_a_host_that_breaks_it(broken, tmp_path):
    test = getattr(HostContract(), f"test_{BROKEN[broken]}")
    opened = fake(broken)
    fixtures = {"opened": opened, "undefined": opened, "reopened": broken(TASKS)}
    fixtures["tmp_path"] = tmp_path
    names = list(inspect.signature(test).parameters)
    with pytest.raises(AssertionError):
        test(**{name: fixtures[name] for name in names})


# --- jiant ----------------------------------------------------------------------------------------


class StepTimes:
    def __init__(self):
        self.steps = []

    @hookimpl
    def after_train_step(self, step):
        self.steps.append(step)


@pytest.fixture(scope="module")
def jiant(tmp_path_factory):
    """A jiant session over a task of each kind, and the steps it tells of."""
    folder = tmp_path_factory.mktemp("jiant")
    encoder = save_tiny_encoder("bert", folder / "encoder")
    path = write_run_file(folder, encoder, ("topic", "words", "degree", "ending"))
    listener = StepTimes()
    manager = make_plugin_manager([listener])
    return open_run_file(read_run_file(path), manager).session, listener.steps


class TestJiantHost(HostContract):
    @pytest.fixture
    def opened(self, jiant):
        session, steps = jiant
        steps.clear()
        return OpenedHost(session.host, steps)

    @pytest.fixture
    def reopened(self, jiant, tmp_path):
        session, _ = jiant
        host = session.host
        return open_host(
            host.container_config,
            host.arguments,
            session.settings,
            session.hook,
            work_dir=tmp_path / "other",
            log_file=None,
        )

    @pytest.fixture
    def undefined(self, tmp_path):
        """jiant's own stsb, all of whose dev labels are the same: no correlation."""
        encoder = save_tiny_encoder("bert", tmp_path / "encoder")
        paths, caches = {}, {}
        for name in ("stsb", "cola"):
            paths[name] = write_task(tmp_path / "tasks", name, 8, 4)
            if name == "stsb":
                path = tmp_path / "tasks" / "stsb.val"
                rows = [json.loads(line) for line in path.read_text().splitlines()]
                path.write_text("".join(json.dumps({**row, "label": 2.0}) + "\n" for row in rows))
            caches[name] = cache_task(paths[name], encoder, tmp_path / "caches" / name)
        config = container_config({name: str(path) for name, path in paths.items()}, caches, 4)
        weights = export_weights(encoder, tmp_path / "weights.p")
        host = open_host(
            config,
            HostArguments(str(encoder), str(weights), no_cuda=True),
            GradTSSettings(primary_task="stsb"),
            make_plugin_manager([]).hook,
            work_dir=tmp_path / "out",
            log_file=None,
        )
        return OpenedHost(host)
