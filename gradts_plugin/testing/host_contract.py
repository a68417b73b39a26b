"""What every host promises, as tests: inherit from `HostContract` and override its fixtures.

    class TestMyHost(HostContract):
        @pytest.fixture
        def opened(self): ...

`pytest.register_assert_rewrite("gradts_plugin.testing")` in a conftest makes a failure say more.
"""

from __future__ import annotations

import copy
import json
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gradts_plugin.gains.metrics import score_of
from gradts_plugin.json_forms import to_json
from gradts_plugin.probing.importance import rows
from gradts_plugin.probing.prober import frozen, probe
from gradts_plugin.protocols import Host, Looks, ProbeTarget, Schedule
from gradts_plugin.records import Selection
from gradts_plugin.settings.training import TrainingSettings
from gradts_plugin.testing.host_checks import (
    SHORT,
    STEPS,
    Alternating,
    OpenedHost,
    check_shapes,
    hooks_of,
    ids_of,
    is_sha256,
    weights_in,
)


class HostContract:
    """The tests; `opened` must be overridden, the other fixtures may be."""

    @pytest.fixture
    def opened(self) -> OpenedHost:
        """The host."""
        raise NotImplementedError

    @pytest.fixture
    def reopened(self) -> Host:
        """Another host on the same data."""
        pytest.skip("no second host was given")

    @pytest.fixture
    def undefined(self) -> OpenedHost:
        """A host whose primary's score is undefined, such as a correlation of constant labels."""
        pytest.skip("no host with an undefined score was given")

    def test_tasks_are_described_and_stay_the_same(self, opened: OpenedHost) -> None:
        """Names are unique; fingerprints tell data apart and do not change."""
        infos = opened.host.tasks()
        assert len(infos) >= 2
        assert list(opened.host.tasks()) == list(infos)
        assert len({info.name for info in infos}) == len(infos)
        for info in infos:
            assert info.num_train >= 8
            assert info.num_dev >= 1
            assert len({info.fingerprint, info.dev_fingerprint}) == 2
            assert all(map(is_sha256, (info.fingerprint, info.dev_fingerprint)))
        assert len({info.fingerprint for info in infos}) == len(infos)
        assert is_sha256(opened.host.encoder_fingerprint)

    def test_another_host_on_the_same_data_says_the_same(
        self, opened: OpenedHost, reopened: Host
    ) -> None:
        """Fingerprints are of data and weights, not of paths or objects."""
        assert list(reopened.tasks()) == list(opened.host.tasks())
        assert reopened.encoder_fingerprint == opened.host.encoder_fingerprint

    def test_the_record_is_json(self, opened: OpenedHost) -> None:
        """Provenance and recipes are stored."""
        provenance = opened.host.provenance
        assert json.loads(json.dumps(provenance)) == provenance
        recipe = to_json(opened.plan().recipe)
        assert json.loads(json.dumps(recipe, allow_nan=False)) == recipe

    def test_a_recipe_says_how_long_and_in_what_batches(self, opened: OpenedHost) -> None:
        """The forecast looks at these."""
        recipe = opened.host.recipe(SHORT, opened.names[:2], {})
        assert (recipe.max_steps, recipe.evaluations) == (STEPS, 1)
        assert [recipe.batches[name].per_step for name in opened.names[:2]] == [4, 4]

    def test_a_recipe_knows_of_kept_instances(self, opened: OpenedHost) -> None:
        """An epoch over less is shorter."""
        settings = TrainingSettings(epochs=1, batch_size=2)
        tasks = opened.names[:2]
        whole = opened.host.recipe(settings, tasks, {})
        kept = opened.host.recipe(settings, tasks, {tasks[1]: opened.some_ids(tasks[1], 2)})
        assert kept.max_steps < whole.max_steps

    def test_the_same_plan_is_the_same_training(self, opened: OpenedHost, tmp_path: Path) -> None:
        """Score, history and steps repeat; the result says where it lies and what it cost."""
        plan = opened.plan(settings=SHORT.model_copy(update={"evaluations": 2}))
        first = opened.host.train(plan, tmp_path / "first")
        steps = list(opened.steps)
        again = opened.host.train(plan, tmp_path / "again")
        assert (first.score, first.history) == (again.score, again.history)
        assert len(first.history) == 2
        assert first.score == max(score for score in first.history if score is not None)
        assert first.num_steps == STEPS
        assert first.num_examples == 4 * STEPS
        assert first.output_dir == tmp_path / "first"
        assert any(path.is_file() for path in (tmp_path / "first").rglob("*"))
        assert [step.global_step for step in steps] == [1, 2, 3, 4]
        assert steps == opened.steps[STEPS:]

    def test_a_score_follows_from_its_predictions(self, opened: OpenedHost, tmp_path: Path) -> None:
        """Of every task, over all its dev instances; a host may give none."""
        for info in opened.host.tasks():
            plan = opened.alone(info.name, purpose="trial")
            result = opened.host.train(plan, tmp_path / info.name)
            with opened.host.untrained((info.name,), 1) as target:
                dev_ids = ids_of(target, None, phase="val")
            assert set(result.predictions) <= {"dev", "test"}
            if "dev" in result.predictions:
                found = result.predictions["dev"]
                assert score_of(found) == pytest.approx(result.score, abs=1e-9)
                assert found.example_ids.dtype == np.int64
                assert sorted(found.example_ids.tolist()) == sorted(dev_ids.tolist())

    def test_another_seed_is_another_training(self, opened: OpenedHost, tmp_path: Path) -> None:
        """The losses tell: a score can be the same by chance."""
        one = opened.steps_of(opened.plan(seed=1), tmp_path / "one")
        two = opened.steps_of(opened.plan(seed=2), tmp_path / "two")
        assert [step.loss for step in one] != [step.loss for step in two]

    def test_kept_instances_reach_the_training(self, opened: OpenedHost, tmp_path: Path) -> None:
        """The same plan over fewer instances has other losses; which ones are kept matters."""
        name = opened.names[1]
        ids = opened.some_ids(name, 8)
        plans = [
            opened.plan(kept_instances=kept, mixing_ratios={opened.names[0]: 1, name: 19})
            for kept in ({}, {name: ids[:4]}, {name: ids[4:]})
        ]
        losses = [
            tuple(step.loss for step in opened.steps_of(plan, tmp_path / str(number)))
            for number, plan in enumerate(plans)
        ]
        assert len(set(losses)) == 3

    def test_mixing_ratios_reach_the_training(self, opened: OpenedHost, tmp_path: Path) -> None:
        """What is mixed in more often is trained more often."""
        first, second = opened.names[:2]
        settings = SHORT.model_copy(update={"max_steps": 20})
        for more, less in ((first, second), (second, first)):
            plan = opened.plan(settings=settings, mixing_ratios={more: 9, less: 1})
            trained = [step.task_name for step in opened.steps_of(plan, tmp_path / more)]
            assert trained.count(more) > trained.count(less)

    def test_task_steps_are_exact(self, opened: OpenedHost, tmp_path: Path) -> None:
        """Each task has its own number, mixed, and the same plan is the same order."""
        first, second = opened.names[:2]
        settings = SHORT.model_copy(update={"max_steps": 10})
        plan = opened.plan(settings=settings, task_steps={first: 4, second: 6})
        steps = opened.steps_of(plan, tmp_path / "run")
        trained = [step.task_name for step in steps]
        assert (trained.count(first), trained.count(second)) == (4, 6)
        assert opened.steps_of(plan, tmp_path / "again") == steps

    def test_a_last_task_comes_after_all_others(self, opened: OpenedHost, tmp_path: Path) -> None:
        """All of its steps, and as many as it has."""
        first, second = opened.names[:2]
        settings = SHORT.model_copy(update={"max_steps": 10})
        steps = {first: 4, second: 6}
        plan = opened.plan(settings=settings, task_steps=steps, last_task=first)
        trained = [step.task_name for step in opened.steps_of(plan, tmp_path / "run")]
        assert trained == [second] * 6 + [first] * 4

    def test_a_schedule_is_followed_and_told_every_score(
        self, opened: OpenedHost, tmp_path: Path
    ) -> None:
        """A round's steps are all of the scheduler's task; after each it hears the dev score."""
        names = opened.names[:2]
        scheduler = Alternating(names)
        plan = opened.plan(evaluations=2)
        opened.steps.clear()
        result = opened.host.train(plan, tmp_path / "run", Schedule(scheduler, 2, {}))
        assert [step.task_name for step in opened.steps] == [names[1], names[1], *names[:1] * 2]
        assert scheduler.told == list(result.history)
        assert len(result.history) == 2
        assert result.scheduler_state == scheduler.state()

    def test_an_undefined_score_is_none(self, undefined: OpenedHost, tmp_path: Path) -> None:
        """Not NaN, and never a number that was made up."""
        result = undefined.host.train(undefined.plan(), tmp_path / "run")
        assert len(result.history) == 1
        assert all(score is None for score in (result.score, *result.history))

    def test_batches_have_the_promised_shapes(self, opened: OpenedHost) -> None:
        """Of every task, from a model that has a head for all."""
        with opened.host.untrained(opened.names, 3) as target:
            for info in opened.host.tasks():
                check_shapes(target, info)

    def test_instances_keep_their_ids(self, opened: OpenedHost) -> None:
        """Whatever model lends them, all of them once; a sample is a seed's own, dev is apart."""
        first, second = opened.host.tasks()[:2]
        with opened.host.untrained((first.name,), 1) as target:
            ids = ids_of(target, second.name)
            sample = ids_of(target, second.name, max_instances=5)
            assert (ids_of(target, second.name, max_instances=5) == sample).all()
            others = [
                ids_of(target, second.name, max_instances=5, seed=seed) for seed in range(1, 6)
            ]
            assert len(ids_of(target, second.name, phase="val")) == second.num_dev
            own = ids_of(target, None)
        assert len(set(ids.tolist())) == second.num_train
        assert len(set(sample.tolist())) == 5
        assert set(sample.tolist()) < set(ids.tolist())
        assert any(set(other.tolist()) != set(sample.tolist()) for other in others)
        for limit, lent in ((5, sample), (None, ids)):
            told = opened.host.sampled_ids(second.name, max_instances=limit, seed=0)
            assert told.tolist() == sorted(lent.tolist())
        with opened.host.fine_tuned(opened.alone(first.name)) as target:
            assert sorted(ids_of(target, second.name)) == sorted(ids)
            assert sorted(ids_of(target, first.name)) == sorted(own)

    def test_a_lent_model_depends_on_its_seed_alone(self, opened: OpenedHost) -> None:
        """Untrained: fresh heads on the same encoder. Fine-tuned: everything may differ."""
        models, encoders = {}, {}
        for number, seed in enumerate((1, 1, 2)):
            with opened.host.untrained(opened.names[:1], seed) as target:
                models[number], encoders[number] = map(weights_in, (target.model, target.encoder))
        assert torch.equal(models[0], models[1])
        assert not torch.equal(models[0], models[2])
        assert torch.equal(encoders[0], encoders[2])
        with opened.host.fine_tuned(opened.alone(opened.names[0])) as target:
            assert not torch.equal(weights_in(target.encoder), encoders[0])
            assert target.result.num_steps == STEPS

    def test_looks_see_the_model_in_training_and_change_nothing(self, opened: OpenedHost) -> None:
        """As often as asked, the last time at the end; losses and gradients can be taken."""
        plan = replace(opened.plan(), purpose="fine-tuning")
        names, seen = opened.names[:2], []

        def look(target: ProbeTarget) -> None:
            parameters = list(target.encoder.parameters())
            with frozen(target.model):
                for parameter in parameters:
                    parameter.requires_grad_(True)
                for name in names:
                    (batch,) = target.batches(batch_size=4, max_instances=4, seed=0, task_name=name)
                    loss = batch.instance_losses().sum()
                    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
                    assert any(found is not None and found.any() for found in gradients)
            assert target.result.num_steps == 0
            seen.append(weights_in(target.encoder))

        weights, steps = [], []
        for looks in (None, Looks(look, 2)):
            opened.steps.clear()
            with opened.host.fine_tuned(plan, looks) as target:
                weights.append(weights_in(target.model))
                last = weights_in(target.encoder)
            steps.append(list(opened.steps))
        assert torch.equal(*weights)
        assert steps[0] == steps[1]
        assert len(seen) == 2
        assert not torch.equal(seen[0], seen[1])
        assert torch.equal(seen[1], last)

    def test_a_lent_model_can_be_probed_and_keeps_no_hook(self, opened: OpenedHost) -> None:
        """Importance of every head, from a trained and an untrained model."""
        lent: dict[str, AbstractContextManager[ProbeTarget]] = {
            name: opened.host.untrained((name,), 1) for name in opened.names
        }
        lent["fine-tuned"] = opened.host.fine_tuned(opened.alone(opened.names[0]))
        shapes = set()
        for lending in lent.values():
            with lending as target:
                batches = target.batches(batch_size=4, max_instances=6, seed=0)
                probed = probe(
                    target.model, target.encoder, batches, rows, train_mode=False, precision="fp32"
                )
                found = np.concatenate([raw for _, raw in probed])
                model = target.model
            shapes.add(found.shape)
            assert (found > 0).any()
            assert not hooks_of(model)
        assert {(len(shape), shape[0]) for shape in shapes} == {(3, 6)}
        assert len(shapes) == 1

    def test_rewriting_changes_nothing_but_what_it_returns(
        self, opened: OpenedHost, tmp_path: Path
    ) -> None:
        """The selection, the host and an earlier answer stay as they were."""
        first, second = opened.names[:2]
        ids = opened.some_ids(second, 4)
        selection = Selection("test", first, (second,), "because", kept_instances={second: ids})
        infos, before = list(opened.host.tasks()), copy.deepcopy(selection)
        recipe = opened.host.recipe(SHORT, (first, second), {second: ids})
        config = opened.host.rewrite(selection, recipe, tmp_path)
        kept = copy.deepcopy(config)
        assert json.loads(json.dumps(config)) == config
        assert (ids == before.kept_instances[second]).all()
        assert replace(selection, kept_instances={}) == replace(before, kept_instances={})
        assert list(opened.host.tasks()) == infos
        config.clear()
        assert opened.host.rewrite(selection, recipe, tmp_path) == kept
        none = Selection("test", first, (), "because")
        alone = opened.host.rewrite(none, opened.alone(first).recipe, tmp_path)
        assert alone != kept

    def test_instances_can_be_read(self, opened: OpenedHost) -> None:
        """Some text for each that was asked for, and for no other."""
        name = opened.names[0]
        ids = opened.some_ids(name, 3).tolist()
        texts = opened.host.instance_texts(name, ids)
        assert sorted(texts) == ids
        assert all(texts.values())

    def test_there_is_something_to_learn(self, opened: OpenedHost) -> None:
        """Nothing is said of tasks whose instances differ, however many are looked at."""
        for info in opened.host.tasks():
            for limit in (None, info.num_train):
                why = opened.host.nothing_to_learn(info.name, max_instances=limit, seed=0)
                assert why is None
