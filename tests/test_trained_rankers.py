"""Rankers that look at trained encoders: their numbers by hand, and planted tasks."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from fake_runs import open_fake
from torch import nn

from gradts_plugin.errors import TrainingError
from gradts_plugin.protocols import Looks
from gradts_plugin.ranking.encoder_weights import flat_weights, with_added
from gradts_plugin.ranking.held_out import EncodedTask, encoded_task, held_out_loss, pooled_states
from gradts_plugin.ranking.lookahead import LookaheadSettings, rank_by_lookahead
from gradts_plugin.ranking.task_vectors import TaskVectorSettings, rank_by_task_vectors
from gradts_plugin.ranking.transfer import TransferSettings, fit_map, rank_by_transfer
from gradts_plugin.records import ProbeBatch, TaskInfo, TrainingResult
from gradts_plugin.run import rank
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTask

pytestmark = pytest.mark.usefixtures("without_pages")


def tensor(*values):
    return torch.tensor(values, dtype=torch.float32)


# --- a head on dev instances ----------------------------------------------------------------------


def test_the_dev_loss_of_scores_by_hand():
    # x = -1, 1 has deviation 2 ** 0.5; the loss (w x / 2**0.5 - x)**2 + 0.005 w**2 has its minimum
    # at w = 2**0.5 / 1.01, so the head answers x / 1.01: 3 / 1.01 and 0, where 2 and 1 is right.
    train = tensor([-1], [1]), tensor(-1, 1)
    dev = tensor([3], [0]), tensor(2, 1)
    expected = ((3 / 1.01 - 2) ** 2 + 1) / 2
    assert held_out_loss(EncodedTask(train, dev, 4)) == pytest.approx(expected, abs=1e-4)


def test_the_dev_loss_of_classes_leaves_out_what_no_training_instance_has():
    # Features that say nothing leave the frequencies, 3/4 and 1/4. Class 1 is none of the training
    # data's, nor is 3, for which the head has not even an output.
    train = torch.zeros(4, 2), torch.tensor([0, 0, 2, 0])
    dev = torch.zeros(5, 2), torch.tensor([2, 0, 1, 3, 0])
    expected = -(math.log(1 / 4) + 2 * math.log(3 / 4)) / 3
    assert held_out_loss(EncodedTask(train, dev, 9)) == pytest.approx(expected, abs=1e-3)
    with pytest.raises(TrainingError, match="no dev instance has a label of the training data"):
        held_out_loss(EncodedTask(train, (torch.zeros(1, 2), torch.tensor([1])), 5))


def test_the_dev_loss_of_choices_takes_any_place_for_an_answer():
    # The right choice is the larger one; the third place is right in the dev set alone.
    train = tensor([[1], [0], [0]], [[0], [1], [0]]), torch.tensor([0, 1])
    right = tensor([[0], [0], [1]]), torch.tensor([2])
    wrong = tensor([[0], [0], [1]]), torch.tensor([0])
    assert held_out_loss(EncodedTask(train, right, 3)) < math.log(3)
    assert held_out_loss(EncodedTask(train, wrong, 3)) > math.log(3)


@dataclass
class Target:
    """A lent encoder: one weight, by which planted features are multiplied; tasks by (name, phase).

    A task is (features, labels) of instances with one token each; `batches` gives them one by one,
    last first, so that nothing can rest on their order.
    """

    tasks: dict
    weight: nn.Parameter
    steps: int = 0
    asked: list = field(default_factory=list)
    in_training: list = field(default_factory=list)

    def __post_init__(self):
        self.encoder = self.model = nn.Module()
        self.model.weight = self.weight
        self.result = TrainingResult(0.5, {}, (), self.steps, 4 * self.steps, 1.0, None)

    def batches(self, *, batch_size, max_instances, seed, task_name, phase="train"):
        self.asked.append((task_name, phase, max_instances, seed))
        features, labels = self.tasks[task_name, phase]
        for number in reversed(range(len(labels))):
            row, label = features[number], labels[number : number + 1]

            def states(row=row):
                return (row * self.weight)[None, None]

            def losses(row=row, label=label):
                self.in_training.append(self.model.training)
                return ((row * self.weight).sum() - label) ** 2

            yield ProbeBatch(
                np.array([number]), losses, torch.ones(1, 1, dtype=torch.bool), states, label
            )


def test_a_task_is_encoded_as_it_was_trained_and_scored():
    tasks = {
        ("p", "train"): (tensor([1, 2], [3, 4], [5, 6]), tensor(1, 2, 3)),
        ("p", "val"): (tensor([7, 8]), tensor(4)),
    }
    target = Target(tasks, nn.Parameter(tensor(10, 1)))
    encoded = encoded_task(target, "p", max_instances=9, seed=4)
    assert encoded.train[0].tolist() == [[50, 6], [30, 4], [10, 2]]
    assert encoded.train[1].tolist() == [3, 2, 1]
    assert encoded.dev[0].tolist() == [[70, 8]]
    assert encoded.num_instances == 4
    assert target.asked == [("p", "train", 9, 4), ("p", "val", 9, 4)]
    assert target.weight.requires_grad
    states, count = pooled_states(target, "p", max_instances=None, seed=4)
    assert (states.tolist(), count) == ([[10, 2], [30, 4], [50, 6]], 3)  # by id


# --- transfer probe -------------------------------------------------------------------------------


def test_a_map_is_a_ridge_regression_towards_the_identity():
    # One coordinate: before -1, 1 (sum of squares 2, mean 1, ridge 10), after 3 * before + 5:
    # weight 1 + 2 * 2 / 12, and the mean is met.
    weight, bias = fit_map(np.array([[-1.0], [1.0]]), np.array([[2.0], [8.0]]))
    assert weight == pytest.approx(np.array([[1 + 4 / 12]]))
    assert bias == pytest.approx(np.array([5.0]))
    # The second coordinate is not shown by these rows: it stays.
    before, after = np.array([[-1.0, 7], [1, 7]]), np.array([[-3.0, 9], [3, 9]])
    weight, bias = fit_map(before, after)
    assert weight[:, 1] == pytest.approx([0, 1])
    assert np.array([0, 7]) @ weight + bias == pytest.approx([0, 9])
    assert np.array([0, 8]) @ weight + bias == pytest.approx([0, 10])


def test_a_map_that_is_linear_is_found_where_rows_are_many():
    stream = np.random.default_rng(0)
    before, true = stream.normal(size=(20000, 4)), stream.normal(size=(4, 4))
    weight, bias = fit_map(before, before @ true + 2)
    assert weight == pytest.approx(true, abs=0.01)
    assert bias == pytest.approx(np.full(4, 2.0), abs=0.01)


def test_a_constant_task_has_a_map_too():
    weight, bias = fit_map(np.ones((3, 2)), np.ones((3, 2)))
    assert weight == pytest.approx(np.eye(2))
    assert bias == pytest.approx(np.zeros(2))


@dataclass
class Context:
    """What rankers ask for: the primary is the first task; fine-tuning gives planted weights."""

    tasks_of_target: dict
    weights: dict
    settings: GradTSSettings = field(default_factory=GradTSSettings)
    pretrained: tuple = (1.0, 1.0)
    computed_so_far: dict = field(default_factory=dict)
    asked: list = field(default_factory=list)
    way: tuple = ()  # the weights that a joint training goes through
    looked_at: list = field(default_factory=list)

    @property
    def primary_task(self):
        return next(iter(self.weights))

    @property
    def candidate_tasks(self):
        return tuple(self.weights)[1:]

    @property
    def tasks(self):
        return {name: TaskInfo(name, "regression", 4, "") for name in self.weights}

    def fine_tuning_identity(self, task_names):
        return {"tasks": list(task_names)}

    def computed(self, computations):
        found = []
        for each in computations:
            values, cost = each.compute()
            self.computed_so_far[(each.name, *each.task_names)] = (values, cost)
            found.append(values)
        return found

    @contextlib.contextmanager
    def fine_tuned(self, task_names, seed, looks=None):
        self.asked.append(("fine-tuned", *task_names, seed))
        for way in self.way if looks else ():
            self.looked_at.append(Target(self.tasks_of_target, nn.Parameter(tensor(*way))))
            looks.look(self.looked_at[-1])
        weight = nn.Parameter(tensor(*self.weights[task_names[-1]]))
        yield Target(self.tasks_of_target, weight, steps=5)

    @contextlib.contextmanager
    def untrained(self, task_names, seed):
        self.asked.append(("untrained", *task_names, seed))
        yield Target(self.tasks_of_target, nn.Parameter(tensor(*self.pretrained)))


#: The primary's score is the first of two numbers; the second is noise. Few rows are seen.
STREAM = np.random.default_rng(3)


def planted(count, width=2):
    features = STREAM.normal(size=(count, width)).astype(np.float32)
    return torch.from_numpy(features), torch.from_numpy(features[:, 0].copy())


PLANTED = {
    ("p", "train"): planted(12),
    ("p", "val"): planted(12),
    **{(name, "train"): planted(40) for name in ("blind", "same", "other")},
}
WEIGHTS = {"p": (1, 1), "blind": (0, 1), "same": (1, 1), "other": (2, 0)}


def test_transfer_is_what_the_frozen_encoder_of_a_candidate_saves_on_dev():
    context = Context(PLANTED, WEIGHTS, GradTSSettings(seed=6, ranking={"seed": 2}))
    ranking = rank_by_transfer(context, TransferSettings(max_instances=9))
    values = {found.task_name: found.tau for found in ranking.candidates}

    def loss(weight):
        target = Target(PLANTED, nn.Parameter(tensor(*weight)))
        return held_out_loss(encoded_task(target, "p", max_instances=9, seed=2))

    expected = {name: loss((1, 1)) - loss(WEIGHTS[name]) for name in values}
    assert values == pytest.approx(expected)
    assert values["same"] == 0.0
    assert values["other"] > values["same"] > values["blind"]
    assert values["blind"] < -0.5  # the score's own variance is left
    assert ranking.task_order == ("other", "same", "blind")
    assert (ranking.ranker, ranking.measure) == ("transfer", "dev loss reduction")
    assert [asked for asked in context.asked if asked[0] == "fine-tuned"] == [
        ("fine-tuned", name, 6) for name in ("blind", "same", "other")
    ]
    costs = {key: cost for key, (_, cost) in context.computed_so_far.items()}
    assert (costs["head loss", "p"].num_steps, costs["head loss", "p"].num_examples) == (0, 24)
    own = costs["head loss", "p", "same"]
    assert (own.num_steps, own.num_examples) == (5, 20 + 24)


def test_maps_stand_for_encoders_and_name_no_primary():
    context = Context(PLANTED, WEIGHTS)
    ranking = rank_by_transfer(context, TransferSettings(linear_map=True))
    assert ranking.task_order[-1] == "blind"
    assert {found.task_name: found.tau for found in ranking.candidates}["same"] == pytest.approx(0)
    values, cost = context.computed_so_far["linear map", "blind"]
    # 40 rows against ten that say "no change": 10 / 50 of the first coordinate are left.
    assert values["weight"] == pytest.approx(np.diag([0.2, 1.0]), abs=0.06)
    assert values["weight"].dtype == values["bias"].dtype == np.float32
    assert (cost.num_steps, cost.num_examples) == (5, 20 + 2 * 40)
    # The primary is encoded once, whatever the number of candidates.
    assert context.asked.count(("untrained", "p", 0)) == 1
    assert context.computed_so_far["head loss", "p", "same"][1].num_examples == 0


# --- task vectors ---------------------------------------------------------------------------------


def test_task_vectors_are_added_to_the_pretrained_encoder():
    # Pretrained (1, 1); vectors (1, 0), (0, -2), (0, 0) and (1, 2), times 0.5.
    weights = {"p": (2, 1), "blind": (1, -1), "same": (1, 1), "other": (2, 3)}
    context = Context(PLANTED, weights, GradTSSettings(seed=6, ranking={"seed": 2}))
    settings = TaskVectorSettings(max_instances=9, scale=0.5)
    ranking = rank_by_task_vectors(context, settings)
    values = {found.task_name: found.tau for found in ranking.candidates}

    def loss(*weight):
        target = Target(PLANTED, nn.Parameter(tensor(*weight)))
        return held_out_loss(encoded_task(target, "p", max_instances=9, seed=2))

    merged = {"blind": (1.5, 0), "same": (1.5, 1), "other": (2, 2)}
    expected = {name: loss(1.5, 1) - loss(*merged[name]) for name in values}
    assert values == pytest.approx(expected, abs=1e-6)
    assert values["blind"] > values["same"]  # it takes the noise away
    assert values["same"] == 0.0
    assert (ranking.ranker, ranking.measure) == ("task-vectors", "dev loss reduction")
    vectors = {
        key[1]: (found["vector"], cost)
        for key, (found, cost) in context.computed_so_far.items()
        if key[0] == "task vector"
    }
    assert {name: vector.tolist() for name, (vector, _) in vectors.items()} == {
        "p": [1, 0],
        "blind": [0, -2],
        "same": [0, 0],
        "other": [1, 2],
    }
    assert {vector.dtype for vector, _ in vectors.values()} == {np.dtype(np.float16)}
    assert {(cost.num_steps, cost.num_examples) for _, cost in vectors.values()} == {(5, 20)}
    assert context.computed_so_far["merged loss", "p", "blind"][1].num_examples == 24


def test_a_candidate_that_spoils_what_the_primary_needs_is_ranked_last():
    # Its vector takes the coordinate away that holds the score.
    weights = {"p": (1, 1), "spoils": (-1, 1), "idle": (1, 1), "clears": (1, -1)}
    context = Context(PLANTED, weights)
    ranking = rank_by_task_vectors(context, TaskVectorSettings(scale=0.5))
    assert ranking.task_order == ("clears", "idle", "spoils")


def test_an_encoder_is_what_it_was_after_something_was_added():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    before = flat_weights(encoder)
    assert before.shape == (3 * 2 + 2 + 2 + 1,)
    change = torch.arange(11.0) / 7
    parts = [*change[:8].split([6, 2]), None, change[10:]]
    change[8:10] = 0
    with with_added(encoder, parts, scale=-3.0):
        assert flat_weights(encoder) == pytest.approx(before - 3 * change.numpy())
        assert encoder[1].weight.requires_grad
    assert (flat_weights(encoder) == before).all()
    with contextlib.suppress(KeyError), with_added(encoder, parts):
        raise KeyError
    assert (flat_weights(encoder) == before).all()


# --- lookahead ------------------------------------------------------------------------------------


#: Losses (w x - y)**2 of single instances.
ONE = {
    ("p", "val"): (tensor([1]), tensor(0)),
    ("like", "train"): (tensor([2]), tensor(0)),
    ("against", "train"): (tensor([1]), tensor(3)),
    ("idle", "train"): (tensor([1]), tensor(1)),
}


def test_lookahead_by_hand():
    # At w = 1 the primary's loss w**2 is 1. A step of 0.01 on (2 w)**2, slope 8, leads to 0.92; on
    # (w - 3)**2, slope -4, to 1.04; on (w - 1)**2 nowhere. At w = 2 the loss is 4; the slopes are
    # 16, -2 and 2.
    names = dict.fromkeys(("p", "idle", "against", "like"), (1,))
    context = Context(ONE, names, GradTSSettings(seed=6, ranking={"seed": 2}), way=((1,), (2,)))
    settings = LookaheadSettings(looks=2, batch_size=7, step_size=0.01)
    ranking = rank_by_lookahead(context, settings)
    expected = {
        "like": (1 - 0.92**2 + 1 - 1.84**2 / 4) / 2,
        "against": (1 - 1.04**2 + 1 - 2.02**2 / 4) / 2,
        "idle": (0 + 1 - 1.98**2 / 4) / 2,
    }
    values = {found.task_name: found.tau for found in ranking.candidates}
    assert values == pytest.approx(expected, abs=1e-6)
    assert ranking.task_order == ("like", "idle", "against")
    assert (ranking.ranker, ranking.measure) == ("lookahead", "affinity")
    assert context.asked == [("fine-tuned", "p", "idle", "against", "like", 6)]
    # The training goes on from where it was, and each look has batches of its own.
    first, second = context.looked_at
    assert (first.weight.tolist(), second.weight.tolist()) == ([1], [2])
    assert first.weight.requires_grad
    assert first.weight.grad is None
    assert (set(first.in_training), first.model.training) == ({False}, True)  # without dropout
    assert {asked[2] for target in context.looked_at for asked in target.asked} == {7}
    seeds = [{asked[3] for asked in target.asked} for target in context.looked_at]
    assert [len(found) for found in seeds] == [1, 1]
    assert seeds[0] != seeds[1]
    phases = {asked[:2] for target in context.looked_at for asked in target.asked}
    assert phases == set(ONE)
    (_, cost), *others = context.computed_so_far.values()
    assert not others
    assert (cost.num_steps, cost.num_examples) == (5, 20 + 2 * (3 + 4))
    assert cost.seconds == 1.0  # looks lie within the training


def test_a_primary_without_loss_gains_nothing():
    context = Context(ONE, dict.fromkeys(("p", "like"), (1,)), way=((0,),))
    ranking = rank_by_lookahead(context, LookaheadSettings(looks=1))
    assert ranking.candidates[0].tau == 0.0


def test_looks_are_spread_evenly_and_end_with_the_last_step():
    def steps(number, num_steps):
        return Looks(print, number).steps(num_steps)

    assert steps(4, 100) == {25, 50, 75, 100}
    assert steps(1, 7) == {7}
    assert steps(20, 3) == {1, 2, 3}


def test_lookahead_tells_a_relative_from_a_stranger(tmp_path):
    """On a real model: what makes a label in `twin` makes it in the primary; in `alien` not."""
    tasks = (
        FakeTask("own", "regression", 60, 60, "sea"),
        FakeTask("twin", "regression", 60, 6, "sea"),
    )
    tasks += (FakeTask("alien", "regression", 60, 6, "land"),)
    values = {
        "primary_task": "own",
        "fine_tuning": {"max_steps": 3},
        "ranking": {"ranker": {"name": "lookahead", "looks": 3, "step_size": 0.05}},
    }
    ranking = rank(open_fake(tmp_path, values, host=FakeHost(tasks)))
    assert ranking.task_order == ("twin", "alien")
    assert ranking.candidates[0].tau > 0
