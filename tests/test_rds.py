"""Instances by their nearest neighbour of the primary: by hand, and chosen by GradTS-fg."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from fake_runs import TASKS, open_fake

from gradts_plugin.engine.context import Context
from gradts_plugin.errors import ConfigError
from gradts_plugin.planning.plan import make_plan
from gradts_plugin.ranking import rds
from gradts_plugin.ranking.rds import instance_similarities, nearest, position_weighted
from gradts_plugin.records import ProbeBatch
from gradts_plugin.report.collect import collect
from gradts_plugin.run import run
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTask

pytestmark = pytest.mark.usefixtures("without_pages")


def batch_of(states, mask):
    values = torch.tensor(states)
    return ProbeBatch(
        example_ids=np.arange(len(mask)),
        instance_losses=lambda: pytest.fail("no label is looked at"),
        attention_mask=torch.tensor(mask).bool(),
        hidden_states=lambda: values,
        labels=torch.zeros(len(mask)),
    )


def test_later_tokens_weigh_more_and_padding_nothing():
    states = [[[1.0, 0], [4, 3], [9, 9]], [[6.0, 0], [0, 6], [6, 6]]]
    # (1 (1, 0) + 2 (4, 3)) / 3, and (1 (6, 0) + 2 (0, 6) + 3 (6, 6)) / 6.
    pooled = position_weighted(batch_of(states, [[1, 1, 0], [1, 1, 1]]))
    assert pooled.tolist() == [[3, 2], [4, 5]]


def test_positions_count_from_the_first_token_that_is_no_padding():
    pooled = position_weighted(batch_of([[[9.0, 9], [1, 0], [4, 3]]], [[0, 1, 1]]))
    assert pooled.tolist() == [[3, 2]]


def test_an_instance_with_choices_is_their_mean():
    states = [[[[3.0, 0], [0, 3]], [[3.0, 0], [9, 9]]]]
    # (1, 2) with two tokens, (3, 0) with one.
    pooled = position_weighted(batch_of(states, [[[1, 1], [1, 0]]]))
    assert pooled.tolist() == [[2, 1]]


@pytest.mark.parametrize("block", [1, 2, 9])
def test_the_nearest_reference_counts_whatever_its_length(block, monkeypatch):
    monkeypatch.setattr(rds, "_BLOCK", block)
    instances = np.array([[2.0, 0], [3, 4], [-1, 0], [0, 0]])
    references = np.array([[9.0, 0], [0, 0.1]])
    # Cosines with the two: 1 and 0; 0.6 and 0.8; -1 and 0; none.
    np.testing.assert_allclose(nearest(instances, references), [1, 0.8, 0, 0])


# --- on the fake host -----------------------------------------------------------------------------


def similarities(folder, name, **values):
    engine = open_fake(folder / "out", {"store": str(folder / "store"), **values})
    found = instance_similarities(Context(engine), [name])
    assert list(found) == [name]
    return found[name], engine.session.accounts.cost.num_examples


def test_instances_of_the_primary_itself_are_the_nearest(tmp_path):
    class Same(Context):
        primary_task = "related"

    engine = open_fake(tmp_path)
    found = instance_similarities(Same(engine), ["related", "degree"])
    ids, own = found["related"]
    assert ids.tolist() == list(range(12))
    assert own == pytest.approx(np.ones(12), abs=1e-6)
    assert found["degree"][1].max() < 0.999


def test_similarities_are_in_the_order_of_the_ids_and_found_stored(tmp_path):
    (ids, made), cost = similarities(tmp_path, "words")
    assert ids.tolist() == list(range(9))  # though batches are sorted by length
    assert cost == 9 + 12  # its instances and the primary's
    (again, found), cost = similarities(tmp_path, "words")
    assert (again.tolist(), found.tolist()) == (ids.tolist(), made.tolist())
    assert cost == 9 + 12
    assert len(list((tmp_path / "store" / "computed").glob("*.json"))) == 1
    host = FakeHost(TASKS)
    with host.untrained(("goal",), 0) as target:

        def encoded(name):  # each as a batch of its own
            batches = target.batches(batch_size=1, max_instances=None, seed=0, task_name=name)
            with torch.no_grad():
                return {int(each.example_ids[0]): position_weighted(each)[0] for each in batches}

        references = torch.stack(list(encoded("goal").values()))
        of_words = encoded("words")
        assert list(of_words) != sorted(of_words)
        for place, number in enumerate(ids):
            cosines = torch.cosine_similarity(of_words[int(number)][None], references)
            assert made[place] == pytest.approx(float(cosines.max()), abs=1e-6)


def test_a_large_primary_is_sampled_by_the_seed_of_the_ranking(tmp_path, monkeypatch):
    monkeypatch.setattr(rds, "MOST_REFERENCES", 5)
    (_, first), cost = similarities(tmp_path, "degree")
    (_, second), _ = similarities(tmp_path, "degree", ranking={"seed": 1, "bootstrap": 100})
    assert cost == 12 + 5
    assert first.tolist() != second.tolist()


HOST = (
    FakeTask("goal", topic="goal"),
    FakeTask("related", topic="goal", num_train=20),
    FakeTask("other", num_train=20),
)


def helpful(training):
    """Every auxiliary helps, and half of the instances more than all."""
    kept = sum(len(ids) for ids in training.kept_instances.values())
    return 0.5 + 0.1 * len(training.auxiliary_tasks) + (0.05 if 0 < kept < 40 else 0)


def chosen(folder, **values):
    values = {
        "method": {"name": "fg", "instances": "rds"},
        "ranking": {"ranker": "embedding"},
        **values,
    }
    return open_fake(folder, values, host=FakeHost(HOST, score=helpful))


def test_fg_keeps_the_nearest_half_and_probes_nothing(tmp_path):
    engine = chosen(tmp_path)
    outcome = run(engine)
    selection = outcome.selection
    assert set(selection.auxiliary_tasks) == {"related", "other"}
    assert outcome.done.probes == 0
    found = instance_similarities(Context(engine), selection.auxiliary_tasks)
    theta = np.median(np.concatenate([values for _, values in found.values()]))
    for name, ids in selection.kept_instances.items():
        every, values = found[name]
        assert ids.tolist() == every[values >= theta].tolist()
    assert sum(len(ids) for ids in selection.kept_instances.values()) == 20
    assert selection.instance_threshold == pytest.approx(theta)
    assert f"instances with similarity >= {theta:.3f} (quantile 0.5): " in selection.reason
    written = json.loads((tmp_path / "result.json").read_text())["selection"]
    assert written["instance_measure"] == "similarity"

    report = collect(engine, outcome)
    assert report.instances.measure == "similarity"
    assert [task.task for task in report.instances.tasks] == list(selection.auxiliary_tasks)
    for task in report.instances.tasks:
        kept = selection.kept_instances[task.task]
        assert (task.num_instances, task.num_kept) == (20, len(kept))
        assert {example.example_id for example in task.kept} <= set(kept.tolist())


def test_a_plan_foretells_the_trainings_of_the_subset(tmp_path):
    values = {"method": {"name": "fg", "instances": "rds", "patience": 9}}
    plan = make_plan(chosen(tmp_path / "plan", **values), final_training=True)
    assert not plan.unknown
    assert plan.auxiliary_tasks is None
    most = sum(part.num_to_do for part in plan.parts)
    assert run(chosen(tmp_path / "run", **values)).done.training_runs <= most
    again = make_plan(chosen(tmp_path / "run", **values), final_training=True)
    assert again.nothing_to_do
    assert set(again.auxiliary_tasks) == {"related", "other"}


def test_taus_judge_by_default(tmp_path):
    outcome = run(open_fake(tmp_path, {"method": {"name": "fg", "patience": 9}}))
    assert outcome.selection.instance_measure == "tau"
    assert outcome.done.probes == len(TASKS)


def test_what_judges_instances_is_known_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"method: instances: unknown value 'tau'; .*taus"):
        open_fake(tmp_path, {"method": {"name": "fg", "instances": "tau"}})
