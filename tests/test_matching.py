"""Matched gradients: the parts by hand, planted tasks, and the mixture that is trained."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from fake_runs import TASKS, open_fake
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gradts_plugin.errors import ConfigError, TrainingError
from gradts_plugin.ranking import matching
from gradts_plugin.ranking.matching import MatchingSettings, match, rank_by_matching
from gradts_plugin.records import ProbeBatch, RankedTask
from gradts_plugin.run import rank, run
from gradts_plugin.selection.matched import MatchedSettings, select_matched, small_ratios
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTask

pytestmark = pytest.mark.usefixtures("without_pages")


# --- the parts ------------------------------------------------------------------------------------


def matched(gradients, target, sparsity):
    parts, additions = match(np.array(gradients, float), np.array(target, float), sparsity)
    return parts.tolist(), additions.tolist()


def test_orthogonal_gradients_have_their_cosine_less_lambda():
    # Cosines 0.8 and 0.6; lambda is half of the larger one.
    parts, additions = matched([[1, 0], [0, 1]], [4, 3], 0.5)
    assert parts == pytest.approx([0.4, 0.2])
    assert additions == pytest.approx([0.4, 0.4])


def test_lengths_do_not_matter():
    expected = matched([[1, 2], [2, 0.5]], [1, 1], 0.1)
    found = matched([[1000, 2000], [0.002, 0.0005]], [7, 7], 0.1)
    for some, others in zip(found, expected, strict=True):
        assert some == pytest.approx(others)


def test_two_that_bring_the_same_are_not_both_taken():
    parts, additions = matched([[1, 0], [3, 0], [0, 1]], [4, 3], 0.5)
    assert parts == pytest.approx([0.4, 0, 0.2])
    assert additions == pytest.approx([0.4] * 3)
    # The third one is what both others bring together: cosines 0.71, 0.71, 1.
    parts, additions = matched([[1, 0], [0, 1], [1, 1]], [1, 1], 0.2)
    assert parts == pytest.approx([0, 0, 0.8])
    assert additions == pytest.approx([np.sqrt(0.5) * 0.2] * 2 + [0.2])


def test_what_pulls_against_the_target_helps_only_to_correct_others():
    # Alone, the second one pulls a little away: cosines 1 / sqrt(2) and 0.
    parts, _ = matched([[1, 1], [0, -1]], [1, 0], 0.1)
    # K is 1 on the diagonal and -1 / sqrt(2) beside it, and lambda 0.1 / sqrt(2) = 0.0707:
    # beta = K^-1 (0.9 / sqrt(2), -0.1 / sqrt(2)) = (0.9 sqrt(2) - 0.1, 0.9 - 0.1 sqrt(2)).
    assert parts == pytest.approx([0.9 * np.sqrt(2) - 0.1, 0.9 - 0.1 * np.sqrt(2)])


@pytest.mark.parametrize("target", [[-1, -1], [0, 0]])
def test_no_one_has_a_part_where_all_pull_elsewhere(target):
    parts, additions = matched([[1, 0], [1, 1], [0, 0]], target, 0.1)
    assert parts == [0, 0, 0]
    length = np.linalg.norm(target) or 1
    assert additions == pytest.approx([target[0] / length, sum(target) / length / np.sqrt(2), 0])


vectors = st.lists(st.floats(-1, 1, width=16), min_size=6, max_size=6)


@given(
    gradients=st.lists(vectors, min_size=1, max_size=8),
    target=vectors,
    sparsity=st.sampled_from([0.01, 0.1, 0.5, 0.9]),
)
def test_nothing_can_be_gained_by_changing_a_part(gradients, target, sparsity):
    rows, goal = np.array(gradients), np.array(target)
    parts, additions = match(rows, goal, sparsity)
    units = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    cosines = units @ goal / max(np.linalg.norm(goal), 1e-300)
    np.testing.assert_allclose(additions, cosines - units @ units.T @ parts, atol=1e-9)
    limit = sparsity * max(cosines.max(), 0)
    assert (parts >= 0).all()
    assert (additions <= limit + 1e-4).all() or limit == 0
    np.testing.assert_allclose(additions[parts > 1e-9], limit, atol=1e-4)


# --- the gradients --------------------------------------------------------------------------------


class Encoder(nn.Module):
    """Hidden states are the tokens' numbers times one weight, which is 1, and a gain."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.layer.weight)
        self.gain = nn.Parameter(torch.ones(1))  # no matrix: not looked at

    def forward(self, numbers):
        return self.layer(numbers) * self.gain


class Target:
    """Tasks of one token an instance: (task, phase) -> (numbers, labels)."""

    def __init__(self, rows):
        self.model = self.encoder = Encoder()
        self.rows = rows
        self.asked = []

    def batches(self, *, batch_size, max_instances, seed, task_name, phase):
        self.asked.append((task_name, phase, max_instances, seed))
        numbers, labels = self.rows[task_name, phase]
        states = torch.tensor(numbers).view(-1, 1, 1)
        yield ProbeBatch(
            example_ids=np.arange(len(numbers)),
            instance_losses=lambda: pytest.fail("the host has no fitted head"),
            attention_mask=torch.ones(len(numbers), 1, dtype=torch.bool),
            hidden_states=lambda: self.encoder(states),
            labels=torch.tensor(labels),
        )


def gradient(rows, phase):
    """The gradient of the one weight, but for the sign that the projection gives it."""
    target = Target(rows)
    values, cost = matching._mean_gradient(lambda: target, "t", phase, 7, 3)
    found = np.array(values["gradient"])
    assert np.count_nonzero(found) <= 1
    assert all(parameter.requires_grad for parameter in target.model.parameters())
    return abs(found).max(), cost, target.asked


SCORES = {("t", "train"): ([1.0, -1.0], [1.0, -1.0]), ("t", "val"): ([2.0, -2.0], [3.0, -3.0])}


@pytest.mark.parametrize(("phase", "expected"), [("train", 0.5), ("val", 4.5)])
def test_the_gradient_of_scores_by_hand(phase, expected):
    # Standardised, both numbers are +-0.7071, and the ridge of 1 gives the head the weight
    # 0.7071 y / (0.5 + 0.5), so that predictions are half of the scores y. Then the gradient is
    # 2 (y / 2 - y) y / 2 = -y^2 / 2 for both instances.
    found, cost, asked = gradient(SCORES, phase)
    assert found == pytest.approx(expected, rel=1e-4)
    assert cost.num_examples == 2 + 2
    assert 0 < cost.seconds < 600
    assert asked == [("t", phase, 7, 3)]  # the head is fitted to the same instances


def test_many_batches_are_one_gradient(monkeypatch):
    def of_words(target, size):
        monkeypatch.setattr(matching, "_BATCH_SIZE", size)
        values, _ = matching._mean_gradient(lambda: target, "words", "train", None, 0)
        return values["gradient"]

    with FakeHost(TASKS).untrained(("goal",), 0) as target:
        single, together = of_words(target, 1), of_words(target, 32)
    np.testing.assert_allclose(single, together, atol=1e-5)
    assert np.abs(together).max() > 1e-3


def test_a_gradient_that_is_not_finite_names_the_task():
    rows = {("t", "val"): ([float("inf"), 1.0], [0.0, 1.0])}
    with pytest.raises(TrainingError, match=r"^task 't': .* NaN or infinite"):
        gradient(rows, "val")


# --- the ranking ----------------------------------------------------------------------------------


class Context:
    """Gives gradients in the place of whatever would be computed."""

    primary_task = "p"
    candidate_tasks = ("a", "b", "c", "d", "e")
    settings = GradTSSettings(primary_task="p")

    def __init__(self, dev, **gradients):
        self.gradients = {("val gradient", "p"): dev}
        self.gradients |= {("train gradient", name): found for name, found in gradients.items()}

    def computed(self, computations):
        return [{"gradient": self.gradients[each.name, *each.task_names]} for each in computations]


def test_candidates_without_a_part_are_ordered_by_what_they_would_add():
    rows = {"a": [0, 0, 1], "b": [0, 9, 0], "c": [2, 0, 0], "d": [3, 0, 0], "e": [-1, 0, 0]}
    context = Context([4, 3, 0], p=[0, 0, 1], **rows)
    ranking = rank_by_matching(context, MatchingSettings(sparsity=0.5))
    # As above: c 0.4 and b 0.2. d would add 0.8 - 0.4, a nothing, e takes away.
    assert ranking.task_order == ("c", "b", "d", "a", "e")
    parts = [candidate.tau for candidate in ranking.candidates]
    assert parts == pytest.approx([0.4, 0.2, 0, 0, 0])
    assert (ranking.ranker, ranking.measure) == ("matching", "gradient match")


def test_what_the_primary_has_itself_no_candidate_needs_to_bring():
    context = Context([4, 3], p=[1, 0], a=[1, 0], b=[0, 1], c=[1, 0], d=[1, 1], e=[1, 0])
    ranking = rank_by_matching(context, MatchingSettings(sparsity=0.5))
    parts = {candidate.task_name: candidate.tau for candidate in ranking.candidates}
    # d alone has a cosine of 0.99, lambda is half of it.
    assert parts == pytest.approx({"d": 0.7 / np.sqrt(2), "a": 0, "b": 0, "c": 0, "e": 0})
    alone = Context([4, 3], p=[1, 0], a=[1, 0], b=[0, 1], c=[1, 0], d=[1, 0], e=[1, 0])
    ranking = rank_by_matching(alone, MatchingSettings(sparsity=0.5))
    assert [(found.task_name, found.tau) for found in ranking.candidates[:2]] == [
        ("b", pytest.approx(0.2)),
        ("a", 0),
    ]


PLANTED = (
    FakeTask("goal", topic="goal", num_train=300, num_dev=200),
    FakeTask("other", num_train=300),
    FakeTask("words", "tagging", num_train=300),
    FakeTask("degree", "regression", num_train=300),
    FakeTask("related", topic="goal", num_train=300, num_dev=200),
)


@pytest.mark.parametrize(("primary", "expected"), [("goal", "related"), ("related", "goal")])
def test_the_planted_relative_has_the_largest_part(primary, expected, tmp_path):
    values = {"primary_task": primary, "ranking": {"ranker": "matching"}}
    ranking = rank(open_fake(tmp_path, values, host=FakeHost(PLANTED)))
    first, second = ranking.candidates[:2]
    assert first.task_name == expected
    assert first.tau > 1.5 * second.tau


def test_another_primary_or_sparsity_computes_only_what_is_new(tmp_path):
    def made(primary, **own):
        ranker = {"name": "matching", **own}
        values = {"primary_task": primary, "ranking": {"ranker": ranker}}
        values |= {"store": str(tmp_path / "store"), "candidate_tasks": ["words", "degree"]}
        engine = open_fake(tmp_path / "out", values)
        rank(engine)
        stored = sorted((tmp_path / "store" / "computed").glob("*.json"))
        return len(stored), engine.session.accounts.cost.num_examples

    # A head and a gradient each from 6 dev instances, and 12 (of words 9) training instances.
    cost = 2 * (6 + 12 + 9 + 12)
    assert made("goal") == (4, cost)
    assert made("goal", sparsity=0.9) == (4, cost)
    assert made("related") == (4 + 2, cost)
    assert made("related", max_instances=5) == (4 + 2 + 4, 2 * 4 * 5)


# --- the mixture ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([0.3], (1,)),
        ([0.4, 0.2], (2, 1)),
        ([0.3, 0.2], (3, 2)),
        ([0.2, 0.2, 0.2], (1, 1, 1)),
        ([0.9, 0.5, 0.1], (9, 5, 1)),
        ([1.0, 0.001], (9, 1)),  # nobody who is taken has 0
    ],
)
def test_ratios_are_small_integers(parts, expected):
    assert small_ratios(parts) == expected


@given(parts=st.lists(st.floats(0.1, 1), min_size=1, max_size=6))
def test_ratios_are_near_the_parts(parts):
    ratios = np.array(small_ratios(parts))
    assert ratios.min() >= 1
    assert ratios.max() <= 9
    error = np.abs(ratios / ratios.max() - np.array(parts) / max(parts)).max()
    assert error <= 0.5 / 9 + 1e-6


def ranked_with(**parts):
    """A context with a ranking by the match."""
    context = Context([1, 0], **{name: [1, 0] for name in ("p", *Context.candidate_tasks)})
    ranking = rank_by_matching(context, MatchingSettings())
    placed = tuple(RankedTask(name, part, None, None) for name, part in parts.items())
    context.ranking = replace(ranking, candidates=placed)
    return context


select = partial(select_matched, _settings=MatchedSettings())


def test_those_with_a_part_are_mixed_in_its_ratio():
    # d would have 0.45 of 9 steps.
    selection = select(ranked_with(c=0.4, b=0.2, d=0.02, a=0.0))
    assert selection.auxiliary_tasks == ("c", "b")
    assert dict(selection.mixing_ratios) == {"p": 3, "c": 2, "b": 1}
    assert selection.reason == (
        "2 of 4 candidates have a part that counts in the match of gradients: c 0.400, b 0.200; "
        "mixed as p 3 : c 2 : b 1"
    )


def test_a_part_of_half_a_step_in_nine_counts():
    selection = select(ranked_with(c=0.4, b=0.0223))
    assert dict(selection.mixing_ratios) == {"p": 10, "c": 9, "b": 1}


def test_the_answer_can_be_none():
    selection = select(ranked_with(a=0.0, b=0.0))
    assert selection.auxiliary_tasks == ()
    assert selection.mixing_ratios == {}
    assert selection.reason == "none of 2 candidates pulls where p pulls"


def test_the_method_needs_its_ranker(tmp_path):
    with pytest.raises(
        ConfigError, match=r"^method: matched needs ranking\.ranker: matching, found 'heads'$"
    ):
        open_fake(tmp_path, {"method": "matched"})


@pytest.mark.parametrize("sparsity", [0, 1, -0.1])
def test_sparsity_is_a_share(sparsity, tmp_path):
    ranker = {"name": "matching", "sparsity": sparsity}
    with pytest.raises(ConfigError, match=r"ranking\.ranker: sparsity: must be"):
        open_fake(tmp_path, {"ranking": {"ranker": ranker}})


@pytest.mark.parametrize("exposure", ["total", "equal"])
def test_the_mixture_reaches_the_training(exposure, tmp_path):
    values = {
        "method": "matched",
        "ranking": {"ranker": "matching"},
        "training": {"max_steps": 36, "exposure": exposure},
    }
    outcome = run(open_fake(tmp_path, values, host=FakeHost(PLANTED)))
    ratios = dict(outcome.selection.mixing_ratios)
    assert ratios.pop("goal") == sum(ratios.values())
    config = json.loads(outcome.config_path.read_text())
    assert config["train_tasks"][0] == "goal"
    recipe = config["recipe"]
    if exposure == "total":
        assert recipe["mixing_ratios"] == dict(outcome.selection.mixing_ratios)
        assert recipe["max_steps"] == 36
    else:
        steps = recipe["task_steps"]
        assert steps.pop("goal") == sum(steps.values()) == 36
        for name, ratio in ratios.items():
            assert steps[name] == pytest.approx(36 * ratio / sum(ratios.values()), abs=1)
