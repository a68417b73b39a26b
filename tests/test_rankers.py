"""The rankers that GradTS is compared with: their numbers by hand, and real runs through jiant."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from fake_runs import open_fake
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from tiny_encoders import save_tiny_encoder
from tiny_runs import TASKS, Recorder, write_run_file
from torch import nn

from gradts_plugin.engine.context import Context
from gradts_plugin.errors import SelectionError, TrainingError
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.ranking import gradients
from gradts_plugin.ranking.by_value import ranked_by_value, ranked_in_order
from gradts_plugin.ranking.embedding import cosine_similarity, rank_by_embedding
from gradts_plugin.ranking.gradients import Surrogate, agreement_with_trials, forward_selection
from gradts_plugin.ranking.logme import class_columns, log_evidence
from gradts_plugin.ranking.random_order import rank_at_random
from gradts_plugin.ranking.sampling import SamplingSettings
from gradts_plugin.ranking.size import rank_by_size
from gradts_plugin.ranking.sketch import CountSketch
from gradts_plugin.records import ProbeBatch, TaskInfo, Trial
from gradts_plugin.run import rank
from gradts_plugin.settings.parsing import NoSettings
from gradts_plugin.settings.run_file import read_run_file
from gradts_plugin.settings.selection import GradTSSettings

pytestmark = pytest.mark.usefixtures("without_pages")


@dataclass
class FakeContext:
    """What rankers ask for, without a host: tasks of given sizes, and one untrained target."""

    sizes: dict[str, int]
    settings: GradTSSettings = field(default_factory=GradTSSettings)
    target: object = None
    costs: dict = field(default_factory=dict)

    @property
    def primary_task(self):
        return next(iter(self.sizes))

    @property
    def candidate_tasks(self):
        return tuple(self.sizes)[1:]

    @property
    def tasks(self):
        return {name: TaskInfo(name, "single", size, "") for name, size in self.sizes.items()}

    def computed(self, computations):
        found = []
        for each in computations:
            values, self.costs[(each.name, *each.task_names)] = each.compute()
            found.append(json.loads(json.dumps(values)))
        return found

    @contextlib.contextmanager
    def untrained(self, task_names, seed):
        yield self.target


def order_of(ranking):
    return list(ranking.task_order)


def test_a_ranker_is_told_the_texts_of_the_probed_instances(tmp_path):
    engine = open_fake(tmp_path, {"probing": {"max_instances": 5, "seed": 3}})
    context = Context(engine, rankable_only=True)
    for name, (source,) in context.probes().items():
        probing = context.settings.probing
        texts = context.texts(name, max_instances=probing.max_instances, seed=probing.seed)
        probed = [int(each) for ids, _ in source.batches() for each in ids]
        assert list(texts) == sorted(probed)
        assert len(texts) == 5
        assert all(texts.values())


# --- size, random ---------------------------------------------------------------------------------


def test_size_ranks_the_largest_task_first_and_keeps_the_order_of_equal_ones():
    ranking = rank_by_size(FakeContext({"p": 5, "a": 7, "b": 90, "c": 7, "d": 8}), NoSettings())
    assert order_of(ranking) == ["b", "d", "a", "c"]
    assert [candidate.tau for candidate in ranking.candidates] == [90, 8, 7, 7]
    assert (ranking.ranker, ranking.measure) == ("size", "training instances")
    assert ranking.task_names == ("p", "a", "b", "c", "d")
    assert ranking.task_taus is None
    assert all(candidate.interval is None for candidate in ranking.candidates)


def test_random_order_follows_the_seed_and_not_the_company():
    def draw(seed, names="abcdef", primary="p"):
        tasks = dict.fromkeys([primary, *names], 1)
        return order_of(rank_at_random(FakeContext(tasks, GradTSSettings(seed=seed)), NoSettings()))

    assert draw(0) == draw(0)
    assert len({tuple(draw(seed)) for seed in range(20)}) > 10
    first = {draw(seed)[0] for seed in range(40)}
    assert first == set("abcdef")
    assert draw(3, "fedcba") == draw(3)
    assert draw(3, "abdef") == [name for name in draw(3) if name != "c"]
    # One seed is no one order for all primaries: that would be a ranking.
    assert len({tuple(draw(0, primary=primary)) for primary in "pqrst"}) > 1


def test_a_figure_that_is_not_a_number_is_refused_by_name():
    with pytest.raises(SelectionError, match="the similarity of task 'b' is nan"):
        ranked_by_value(
            FakeContext({"p": 1, "a": 1, "b": 1}),
            {"a": 0.5, "b": float("nan")},
            ranker="embedding",
            measure="similarity",
        )


# --- embedding ------------------------------------------------------------------------------------


class FakeTarget:
    """An encoder whose hidden states are given: task -> (states, mask)."""

    def __init__(self, states):
        self.model = nn.Linear(2, 2)
        self.states = states
        self.asked = []

    def batches(self, *, batch_size, max_instances, seed, task_name, phase="train"):
        self.asked.append((task_name, max_instances, seed, phase))
        for values, kept in self.states[task_name]:
            states, mask = torch.tensor(values), torch.tensor(kept)
            yield ProbeBatch(
                example_ids=np.arange(len(mask)),
                instance_losses=lambda: pytest.fail("no label is looked at"),
                attention_mask=mask.bool(),
                hidden_states=lambda states=states: states,
                labels=torch.zeros(len(mask)),
            )


def test_embedding_is_the_cosine_of_mean_pooled_means():
    target = FakeTarget(
        {
            # Instances (1, 0) and (mean of (0, 2) and (2, 0)) = (1, 1): the task is (1, 0.5).
            # The last token of the first instance is padding.
            "p": [([[[1.0, 0], [9, 9]], [[0, 2], [2, 0]]], [[1, 0], [1, 1]])],
            # Over batches of unequal size: (4, 0), (0, 3) and (2, 0) have mean (2, 1).
            "far": [([[[4.0, 0]], [[0, 3]]], [[1], [1]]), ([[[2.0, 0]]], [[1]])],
            # Two choices of one instance: (0, 2) and (2, 4) have mean (1, 3).
            "choices": [([[[[0.0, 2]], [[2.0, 4]]]], [[[1], [1]]])],
        }
    )
    settings = GradTSSettings(ranking={"ranker": "embedding", "seed": 3})
    context = FakeContext({"p": 2, "choices": 1, "far": 3}, settings, target)
    ranking = rank_by_embedding(context, SamplingSettings(max_instances=7))
    assert order_of(ranking) == ["far", "choices"]
    expected = [2.5 / np.sqrt(1.25 * 5), 2.5 / np.sqrt(1.25 * 10)]
    assert [candidate.tau for candidate in ranking.candidates] == pytest.approx(expected)
    assert set(target.asked) == {(name, 7, 3, "train") for name in ("p", "choices", "far")}
    assert [cost.num_examples for cost in context.costs.values()] == [2, 1, 3]


def test_a_zero_embedding_resembles_nothing():
    assert cosine_similarity(np.zeros(3), np.ones(3)) == 0.0


# --- LogME ----------------------------------------------------------------------------------------


def maximised_directly(features, targets):
    """Maximal log density of targets ~ N(0, I / beta + F F^T / alpha), per row."""

    def negative(logs):
        alpha, beta = np.exp(logs)
        covariance = np.eye(len(features)) / beta + features @ features.T / alpha
        return -multivariate_normal(np.zeros(len(features)), covariance).logpdf(targets)

    starts = [(a, b) for a in (-3.0, 0.0, 4.0) for b in (-1.0, 2.0)]
    options = {"xatol": 1e-8, "fatol": 1e-10, "maxiter": 2000}
    found = [minimize(negative, x, method="Nelder-Mead", options=options).fun for x in starts]
    return -min(found) / len(features)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (8, 12)])
def test_log_evidence_is_the_maximum_over_both_precisions(n, d):
    stream = np.random.default_rng(n)
    features = stream.normal(size=(n, d)) * np.linspace(0.3, 3, d)
    targets = features @ stream.normal(size=d) + stream.normal(size=n)
    expected = maximised_directly(features, targets)
    assert log_evidence(features, targets) == pytest.approx(expected, abs=1e-6)


def test_log_evidence_of_classes_is_the_mean_over_their_indicators():
    stream = np.random.default_rng(0)
    labels = np.array([7, 2, 2, 9, 7, 2, 9, 9, 7, 2])
    features = stream.normal(size=(10, 3))
    columns = class_columns(labels)
    assert columns.tolist() == [[label == 2, label == 7, label == 9] for label in labels]
    expected = np.mean([log_evidence(features, column) for column in columns.T])
    assert log_evidence(features, columns) == pytest.approx(expected)


def test_features_that_explain_the_labels_have_more_evidence():
    stream = np.random.default_rng(1)
    labels = stream.integers(2, size=80)
    noise = stream.normal(size=(80, 6))
    telling = noise.copy()
    telling[:, 0] += 3 * labels
    hardly = noise.copy()
    hardly[:, 0] += labels
    evidence = [log_evidence(found, class_columns(labels)) for found in (telling, hardly, noise)]
    assert evidence == sorted(evidence, reverse=True)


def test_the_scale_of_the_features_does_not_matter():
    stream = np.random.default_rng(2)
    features, targets = stream.normal(size=(20, 5)), stream.normal(size=20)
    assert log_evidence(100 * features, targets) == pytest.approx(log_evidence(features, targets))


@pytest.mark.parametrize("features", [np.zeros((6, 2)), np.eye(6), np.ones((6, 1))])
def test_log_evidence_stays_finite_where_features_say_nothing_or_everything(features):
    assert np.isfinite(log_evidence(features, np.ones(6)))


# --- projected gradients --------------------------------------------------------------------------


def sketched(parts, seed, dimension=16):
    sketch = CountSketch([part.numel() for part in parts], dimension=dimension, seed=seed)
    return sketch(parts).double()


def test_the_sketch_keeps_inner_products_in_expectation():
    torch.manual_seed(0)
    first, second = [torch.randn(5, 7), torch.randn(9)], [torch.randn(5, 7), torch.randn(9)]
    second[0] += first[0]
    exact = sum(float((a * b).sum()) for a, b in zip(first, second, strict=True))
    products = [float(sketched(first, seed) @ sketched(second, seed)) for seed in range(800)]
    error = np.std(products) / np.sqrt(len(products))
    assert abs(np.mean(products) - exact) < 4 * error
    assert 4 * error < 0.15 * abs(exact)  # or this says nothing


def test_the_sketch_is_linear_seeded_and_takes_missing_parts_for_zeros():
    parts = [torch.arange(6.0).view(2, 3), torch.ones(40)]
    doubled = [2 * part for part in parts]
    assert torch.equal(sketched(doubled, 3), 2 * sketched(parts, 3))
    assert torch.equal(sketched(parts, 3), sketched(parts, 3))
    assert not torch.equal(sketched(parts, 3), sketched(parts, 4))
    sketch = CountSketch([6, 40], dimension=16, seed=3)
    assert torch.equal(sketch([None, parts[1]]), sketch([torch.zeros(6), parts[1]]))
    # No two entries meet in a bucket: only signs are left.
    single = CountSketch([16], dimension=16, seed=3)([torch.ones(16)])
    assert set(single.tolist()) == {-1.0, 1.0}


def test_the_gradient_of_every_single_instance_is_projected():
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    unused = nn.Parameter(torch.zeros(3))
    inputs = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    sketch = CountSketch([2, 3], dimension=8, seed=0)

    def batches(rows):
        for number, row in enumerate(rows):
            yield ProbeBatch(
                np.array([10 + number]),
                lambda row=row: ((parameter * row).sum() ** 2)[None],
                torch.ones(1, 1),
                lambda: None,
                torch.zeros(1),
            )

    found = gradients._projected(batches(inputs), [parameter, unused], sketch)
    # d (w x)^2 / dw = 2 (w x) x, with w x = -3 and 3.
    expected = [sketch([2 * wx * x, None]) for wx, x in zip((-3, 3), inputs, strict=True)]
    np.testing.assert_allclose(found, torch.stack(expected))
    with pytest.raises(TrainingError, match="NaN or infinite for example 11"):
        gradients._projected(
            batches(torch.tensor([[1.0, 1.0], [float("inf"), 1.0]])), [parameter, unused], sketch
        )


def test_surrogate_in_one_dimension_by_hand():
    surrogate = Surrogate.from_gradients(
        "p",
        {"p": np.array([[1.0], [3.0]]), "a": np.array([[-4.0]])},
        dev=np.array([[2.0], [0.0]]),
    )
    # p: mean 2, curvature (1 + 9) / 2 = 5; a: mean -4, curvature 16; ridge 0.1 * 5.
    assert surrogate.ridge == 0.5
    # Step -2 / 5.5; dev mean 1, dev curvature 2.
    step = -2 / 5.5
    assert surrogate.dev_loss_change(["p"]) == pytest.approx(step + step**2)
    # Together: mean -1, curvature 10.5.
    step = 1 / 11
    assert surrogate.dev_loss_change(["p", "a"]) == pytest.approx(step + step**2)
    [(name, reduction)] = forward_selection(surrogate, "p", ["a"])
    assert name == "a"
    expected = (-2 / 5.5 + (2 / 5.5) ** 2) - (1 / 11 + 1 / 121)
    assert reduction == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_forward_selection_finds_the_planted_helpful_tasks(seed):
    # The dev loss falls along axes 0 and 1. The primary's own data shows axis 0 only; "one" and
    # "two" show axis 1, "idle" shows another axis, "worse" points against both.
    stream = np.random.default_rng(seed)

    def task(direction, count=60):
        return np.array(direction) + 0.5 * stream.normal(size=(count, 6))

    train = {
        "p": task([1, 0, 0, 0, 0, 0]),
        "worse": task([-1, -1, 0, 0, 0, 0]),
        "idle": task([0, 0, 1, 0, 0, 0]),
        "one": task([0.5, 1, 0, 0, 0, 0]),
        "two": task([0, 0.8, 0, 0, 0, 0]),
    }
    surrogate = Surrogate.from_gradients("p", train, task([1, 1, 0, 0, 0, 0]))
    reductions = forward_selection(surrogate, "p", ["worse", "idle", "one", "two"])
    names = [name for name, _ in reductions]
    assert set(names[:2]) == {"one", "two"}
    assert names[-1] == "worse"
    assert reductions[0][1] > 0 > reductions[-1][1]
    total = surrogate.dev_loss_change(["p"]) - surrogate.dev_loss_change(list(train))
    assert sum(reduction for _, reduction in reductions) == pytest.approx(total)


#: The estimate falls by 0.3 with b, by 0.1 more with a; c makes it worse by 0.2.
ESTIMATED = ranked_in_order(
    FakeContext({"p": 1, "a": 1, "b": 1, "c": 1}),
    [("b", 0.3), ("a", 0.1), ("c", -0.2)],
    ranker="gradients",
    measure="dev loss reduction",
)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        # Estimates 0, 0.3, 0.4 and 0.2.
        ({"": 0.5, "b": 0.7, "ab": 0.8, "abc": 0.6}, (1.0, 4)),
        ({"": 0.8, "b": 0.6, "ab": 0.5, "abc": 0.7}, (-1.0, 4)),
        # One of six pairs is the other way round: (5 - 1) / 6.
        ({"": 0.5, "b": 0.6, "ab": 0.8, "abc": 0.7}, (2 / 3, 4)),
        # Sets that are no prefix have no estimate.
        ({"": 0.5, "b": 0.7, "ba": 0.6, "a": 0.1, "c": 0.9}, (1 / 3, 3)),
        ({"": 0.5, "b": 0.7, "ab": None, "a": 0.1}, None),
    ],
)
def test_the_surrogate_is_held_against_the_trained_prefixes(scores, expected):
    trials = [Trial(tuple(names), (score,)) for names, score in scores.items()]
    # Subsets of instances, and other mixtures, are other trainings.
    trials += [
        Trial(("b",), (0.0,), num_kept={"b": 3}),
        Trial(("b",), (0.0,), mixing_ratios={"p": 1, "b": 9}),
    ]
    found = agreement_with_trials(ESTIMATED, trials)
    assert found == (None if expected is None else pytest.approx(expected))


# --- found stored ---------------------------------------------------------------------------------


def ranked(folder, **values):
    """A ranking on the fake host, and the engine that made it."""
    engine = open_fake(folder / "out", {"store": str(folder / "store"), **values})
    return rank(engine), engine


@pytest.mark.parametrize("primary", ["words", "degree", "ending"])
def test_logme_scores_primaries_of_every_kind(primary, tmp_path):
    ranking, engine = ranked(
        tmp_path,
        primary_task=primary,
        candidate_tasks=["related"],
        ranking={"ranker": {"name": "logme", "max_instances": 8}},
    )
    assert np.isfinite(ranking.candidates[0].tau)
    # Two steps of four instances, and eight of the primary's.
    assert engine.session.accounts.cost.num_examples == 2 * 4 + 8


@pytest.mark.parametrize("ranker", ["logme", "gradients"])
def test_what_a_ranker_trained_belongs_to_its_settings(ranker, tmp_path):
    def training_runs(own=(), seed=0, **values):
        values["ranking"] = {"ranker": {"name": ranker, **dict(own)}, "seed": seed}
        _, engine = ranked(tmp_path, candidate_tasks=["related"], **values)
        return engine.session.accounts.counters.training_runs

    assert training_runs() == 1
    assert training_runs() == 0
    assert training_runs({"max_instances": 9}) == 1
    assert training_runs({"max_instances": 9}) == 0
    assert training_runs(seed=5) == 1
    assert training_runs(**{"fine_tuning": {"max_steps": 2, "learning_rate": 2e-3}}) == 1
    assert training_runs(**{"training": {"max_steps": 9}}) == 0


def test_a_trained_ranking_belongs_to_the_first_seed(tmp_path):
    values = {"candidate_tasks": ["related"], "ranking": {"ranker": "logme"}}
    runs = [
        ranked(tmp_path, **values, seed=seed)[1].session.accounts.counters.training_runs
        for seed in (0, 1, 1, 0)
    ]
    assert runs == [1, 1, 0, 0]


def test_the_embedding_of_a_known_task_is_not_computed_again(tmp_path):
    def examples(**values):
        _, engine = ranked(tmp_path, ranking={"ranker": "embedding", "seed": 5}, **values)
        stored = len(list((tmp_path / "store" / "computed").glob("*.json")))
        return stored, engine.session.accounts.cost.num_examples

    assert examples(candidate_tasks=["related"]) == (2, 2 * 12)
    # The cost is what it takes with nothing stored.
    assert examples(candidate_tasks=["goal", "degree"], primary_task="related") == (3, 3 * 12)


# --- through jiant --------------------------------------------------------------------------------


#: Ranker -> (steps, instances) that a ranking of four candidates takes with nothing stored. Each
#: task has 16 training instances and batches of 8; the primary has 10 dev instances.
COSTS = {
    "embedding": (0, 5 * 16),
    "logme": (4 * 2, 4 * (16 + 16)),
    "gradients": (5 * 2, 5 * 16 + 5 * 16 + 10),
    "transfer": (4 * 2, 4 * 16 + 5 * (16 + 10)),
    # Two steps, so two looks: at each a batch of every candidate and five times the dev instances.
    "lookahead": (5 * 2, 5 * 16 + 10 * (4 * 16 + 5 * 10)),
    "task-vectors": (5 * 2, 5 * 16 + 5 * (16 + 10)),
    "matching": (0, 2 * (10 + 5 * 16)),
    "donors": (0, 0),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_tiny_encoder("bert", folder / "encoder")
    return folder


@pytest.mark.parametrize("ranker", COSTS)
def test_every_ranker_ranks_tasks_of_every_kind_and_is_found_stored(ranker, folder):
    def made():
        path = write_run_file(folder, folder / "encoder", ranking={"ranker": ranker}, store="store")
        recorder = Recorder()
        manager = make_plugin_manager([recorder], entry_points=False)
        engine = open_run_file(read_run_file(path), manager)
        return rank(engine), engine.session.accounts, recorder

    ranking, accounts, _ = made()
    assert sorted(ranking.task_order) == sorted(set(TASKS) - {"topic"})
    assert ranking.ranker == ranker
    values = [candidate.tau for candidate in ranking.candidates]
    assert np.isfinite(values).all()
    if ranker != "gradients":
        assert values == sorted(values, reverse=True)
    assert accounts.counters.probes == 0
    assert (accounts.cost.num_steps, accounts.cost.num_examples) == COSTS[ranker]
    again, found, recorder = made()
    assert recorder.of("before_training") == []
    assert again == ranking
    assert found.cost == accounts.cost
