"""AUTOSEM: the bandit and its sums by hand, the search for ratios, and both through jiant."""

from __future__ import annotations

import itertools
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel
from tiny_encoders import save_tiny_encoder
from tiny_runs import Recorder, run_command, with_plugins, write_run_file

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.hosts.jiant.faults.random_streams import random_stream
from gradts_plugin.hosts.jiant.training import scheduled as scheduled_runs
from gradts_plugin.records import TrainingResult, Trial
from gradts_plugin.selection import mixing
from gradts_plugin.selection.autosem import select_by_mixing, select_by_utility
from gradts_plugin.selection.bandit import BetaBernoulliBandit
from gradts_plugin.settings.selection import GradTSSettings

PUBLISHED = {"decay": 0.3, "alpha0": 1.0, "beta0": 1.0}


def bandit_of(arms, seed=0, **changes):
    return BetaBernoulliBandit(arms, **{**PUBLISHED, **changes}, seed=seed)


def round_on(bandit, arm, score):
    """One round in which a given arm is trained, whatever was drawn."""
    bandit.restore({**bandit.state(), "arm": arm})
    bandit.observe(score)


# --- the bandit ---------------------------------------------------------------------------------


def test_posteriors_are_those_worked_by_hand():
    bandit = bandit_of(["p", "a"])
    rounds = [
        # arm, score, then alpha and beta of p and a
        (0, 0.5, [2.0, 1.0], [1.0, 1.0]),  # 0.5 >= 0: pays
        (1, 0.4, [1.7, 1.0], [1.0, 2.0]),  # 0.4 < 0.5
        (1, 0.4, [1.49, 2.0], [1.0, 1.7]),  # as good as before: pays
        (0, None, [1.343, 1.7], [2.0, 1.49]),  # counts as 0
        (1, 0.0, [1.2401, 2.49], [1.7, 1.343]),
    ]
    for arm, score, alpha, beta in rounds:
        round_on(bandit, arm, score)
        state = bandit.state()
        assert state["alpha"] == pytest.approx(alpha, abs=1e-12)
        assert state["beta"] == pytest.approx(beta, abs=1e-12)
    assert bandit.utilities == pytest.approx({"p": 1.2401 / 2.9401, "a": 2.49 / 3.833})
    assert bandit.rounds == {"p": 2, "a": 3}


def test_the_reproduction_learns_nothing_from_the_first_round():
    bandit = bandit_of(["p", "a"], first_round_counts=False)
    rounds = [
        # arm, score, then alpha and beta of p and a
        (0, 0.5, [1.0, 1.0], [1.0, 1.0]),  # nothing to compare with
        (1, 0.4, [1.0, 1.0], [1.0, 2.0]),  # 0.4 < 0.5
        (0, 0.4, [2.0, 1.0], [1.0, 1.7]),  # as good as before: pays
        (0, 0.3, [1.7, 1.0], [2.0, 1.49]),
    ]
    for arm, score, alpha, beta in rounds:
        round_on(bandit, arm, score)
        state = bandit.state()
        assert state["alpha"] == pytest.approx(alpha, abs=1e-12)
        assert state["beta"] == pytest.approx(beta, abs=1e-12)
    assert bandit.rounds == {"p": 3, "a": 1}
    assert bandit.identity != bandit_of(["p", "a"]).identity  # another run


def test_decay_leads_back_to_the_prior_and_its_absence_only_counts():
    forgetful = bandit_of(["p", "a"], decay=1.0, alpha0=2.0, beta0=3.0)
    counting = bandit_of(["p", "a"], decay=0.0, alpha0=2.0, beta0=3.0)
    for bandit in (forgetful, counting):
        for score in (0.1, 0.2, 0.3, 0.2):
            round_on(bandit, 0, score)
    assert (forgetful.state()["alpha"], forgetful.state()["beta"]) == ([2.0, 2.0], [4.0, 3.0])
    assert (counting.state()["alpha"], counting.state()["beta"]) == ([5.0, 2.0], [4.0, 3.0])


@pytest.mark.parametrize("seed", range(5))
def test_the_primary_is_trained_first(seed):
    bandit = bandit_of(["p", "a", "b", "c"], seed=seed)
    assert bandit.next_task() == "p"


@pytest.mark.parametrize("seed", range(8))
def test_the_one_task_that_helps_is_found(seed):
    bandit = bandit_of(["p", "a", "b", "c", "d"], seed=seed)
    score = 0.5
    for _ in range(100):
        score += 0.01 if bandit.next_task() == "c" else -0.01
        bandit.observe(score)
    candidates = {name: bandit.utilities[name] for name in "abcd"}
    assert [name for name, utility in candidates.items() if utility > 0.5] == ["c"]
    assert bandit.rounds["c"] == max(bandit.rounds.values())


def _play(bandit, rounds, noise):
    played = []
    for _ in range(rounds):
        played.append(bandit.next_task())
        bandit.observe(float(noise.random()))
    return played


@pytest.mark.parametrize("kept", [0, 1, 17])
def test_a_restored_bandit_goes_on_with_the_identical_sequence(kept):
    scores = np.random.default_rng(5)
    bandit = bandit_of("pabcd", seed=3)
    _play(bandit, kept, scores)
    stored = json.loads(json.dumps(bandit.state(), allow_nan=False))
    following = np.random.default_rng(9).random(40).tolist()
    other = bandit_of("pabcd", seed=99)
    other.restore(stored)

    def sequence(played):
        drawn = []
        for score in following:
            drawn.append(played.next_task())
            played.observe(score)
        return drawn

    assert sequence(bandit) == sequence(other)
    assert bandit.state() == other.state()


def test_another_seed_is_another_sequence_and_another_identity():
    first, second = (bandit_of("pabcd", seed=seed) for seed in (1, 2))
    assert first.identity != second.identity
    assert json.loads(json.dumps(first.identity)) == first.identity
    noise = np.random.default_rng(0)
    assert _play(first, 30, noise) != _play(second, 30, np.random.default_rng(0))


# --- which candidates are selected --------------------------------------------------------------


class Context:
    """A bandit that ends in given posteriors, and a score for each mixture."""

    primary_task = "p"

    def __init__(self, arms=None, score=None, **settings):
        self.arms = arms or {"a": (3, 1, 5), "b": (1, 3, 4), "c": (4, 1, 9)}
        self.settings = GradTSSettings(primary_task="p", **settings)
        self.mixture_score = score
        self.asked = []
        self.schedule = None

    @property
    def candidate_tasks(self):
        return tuple(self.arms)

    def train_with_schedule(self, schedule, *, num_rounds, seed):
        self.schedule = (schedule.steps_per_round, num_rounds, seed, dict(schedule.identity))
        schedule.scheduler.restore(
            {
                **schedule.scheduler.state(),
                "alpha": [1.0, *(arm[0] for arm in self.arms.values())],
                "beta": [1.0, *(arm[1] for arm in self.arms.values())],
                "rounds": [1, *(arm[2] for arm in self.arms.values())],
            }
        )
        return TrainingResult(0.5, {}, (0.5,), 1, 1, 1.0, None)

    def score(self, auxiliary_tasks, kept_instances=None, mixing_ratios=None):
        ratios = dict(mixing_ratios or {})
        self.asked.append((tuple(auxiliary_tasks), ratios))
        return Trial(
            tuple(auxiliary_tasks),
            (self.mixture_score(ratios),),
            {},
            num_steps=1,
            seconds=1.0,
            reused=False,
            mixing_ratios=ratios,
        )


def test_candidates_that_reach_the_utility_are_selected_best_first():
    context = Context(seed=7)
    selection = select_by_utility(context)
    assert selection.auxiliary_tasks == ("c", "a")
    assert (selection.method, selection.trials, selection.mixing_ratios) == ("autosem-p1", (), {})
    assert selection.reason == (
        "utility >= 0.5 after 60 rounds of 5 steps is reached by 2 of 3 candidates: "
        "c 0.800, a 0.750"
    )
    assert context.schedule[:3] == (5, 60, 7)
    assert context.asked == []


def test_a_utility_exactly_at_the_cut_is_enough_but_an_untrained_prior_is_not():
    selection = select_by_utility(Context({"a": (1, 1, 0), "b": (2, 2, 3)}))
    assert selection.auxiliary_tasks == ("b",)
    assert selection.reason.endswith("1 of 2 candidates: b 0.500; never trained: a")


def test_top_k_takes_the_best_whatever_they_are_worth():
    arms = {"a": (1, 3, 5), "b": (1, 1.5, 4), "c": (1, 4, 9), "d": (1, 1.5, 2)}
    selection = select_by_utility(Context(arms, autosem={"top_k": 2}))
    assert selection.auxiliary_tasks == ("b", "d")
    assert "b 0.400, d 0.400" in selection.reason


def test_nothing_may_be_selected_and_the_nearest_is_named():
    arms = {"a": (1, 3, 5), "b": (1, 1.5, 4)}
    selection = select_by_utility(Context(arms, autosem={"min_utility": 0.6}))
    assert selection.auxiliary_tasks == ()
    assert selection.reason == (
        "utility >= 0.6 after 60 rounds of 5 steps is reached by no candidate; the nearest is "
        "b 0.400"
    )
    untrained = select_by_utility(Context({"a": (1, 1, 0)}, autosem={"rounds": 1}))
    assert untrained.auxiliary_tasks == ()
    assert untrained.reason == "after 1 rounds of 5 steps, no candidate was ever trained"


def test_faithful_takes_the_published_number_of_rounds_unless_it_is_given():
    context = Context(faithful=True)
    select_by_utility(context)
    assert context.schedule[:2] == (10, 200)
    context = Context(faithful=True, autosem={"rounds": 3})
    select_by_utility(context)
    assert context.schedule[:2] == (10, 3)


@pytest.mark.parametrize("faithful", [False, True])
def test_only_a_faithful_bandit_starts_as_the_reproduction(faithful):
    class FirstRound(Context):
        def train_with_schedule(self, schedule, *, num_rounds, seed):
            schedule.scheduler.next_task()
            schedule.scheduler.observe(0.5)
            self.utilities = schedule.scheduler.utilities

    context = FirstRound(faithful=faithful)
    select_by_utility(context)
    assert context.utilities["p"] == (1 / 2 if faithful else 2 / 3)


# --- in which ratio they are mixed --------------------------------------------------------------


@pytest.mark.parametrize("num_auxiliaries", [1, 2, 3, 5])
def test_the_grid_holds_every_mixture_once(num_auxiliaries):
    grid = mixing.ratio_grid(num_auxiliaries, np.random.default_rng(0))
    assert grid.shape[1] == 1 + num_auxiliaries
    assert grid[:, 0].min() == 1
    assert (grid.min(), grid.max()) == (0, 9)
    assert (np.gcd.reduce(grid, axis=1) == 1).all()
    assert len(np.unique(grid, axis=0)) == len(grid) <= mixing.GRID_SIZE
    assert (grid == 1).all(axis=1).sum() == 1
    if num_auxiliaries <= 2:
        every = itertools.product(range(1, 10), *[range(10)] * num_auxiliaries)
        assert grid.tolist() == [list(row) for row in every if math.gcd(*row) == 1]


def test_expected_improvement_by_hand():
    expected = mixing.expected_improvement(
        np.array([1.0, 1.0, 3.0, 0.0]), np.array([1.0, 2.0, 1e-6, 1e-6]), best=1.0
    )
    density = 1 / math.sqrt(2 * math.pi)
    assert expected == pytest.approx([density, 2 * density, 2.0, 0.0])


def _peak(ratios, peak=(0.55, 0.3, 0.15)):
    shares = np.array(ratios) / sum(ratios)
    return 1.0 - float(((shares - peak) ** 2).sum())


def test_optimised_ratios_beat_random_ones_of_the_same_number():
    optimised, at_random = [], []
    for seed in range(12):
        noise = np.random.default_rng(seed).normal(scale=0.005, size=10)
        found = []

        def score(ratios, found=found, noise=noise):
            found.append(_peak(ratios))
            return found[-1] + noise[len(found) - 1]

        mixing.optimise_ratios(score, 2, 10, np.random.default_rng(seed))
        assert len(found) == 10
        optimised.append(max(found))
        drawn = mixing.random_ratios(2, 10, np.random.default_rng(seed))
        at_random.append(max(_peak(ratios) for ratios in drawn))
    # What is left to gain is halved at least.
    assert 1 - np.mean(optimised) < (1 - np.mean(at_random)) / 2


def test_the_next_mixture_is_judged_by_the_score_itself_and_against_the_best_mean():
    # Of the process, which also knows the noise of single trainings: neither does that noise
    # count as an improvement to come, nor is a lucky score what has to be improved on.
    grid = mixing.ratio_grid(1, np.random.default_rng(0))
    shares = grid / grid.sum(axis=1, keepdims=True)
    stream = np.random.default_rng(1)
    tried = stream.choice(len(grid), size=9, replace=False).tolist()
    scores = stream.normal(scale=0.4, size=9) - 4 * (shares[tried, 0] - 0.6) ** 2
    found = mixing._most_promising(shares, tried, scores.tolist(), np.random.default_rng(0))

    standardised = (scores - scores.mean()) / scores.std()
    process = GaussianProcessRegressor(
        Matern(length_scale=0.5, length_scale_bounds=(0.05, 5.0), nu=2.5)
        + WhiteKernel(noise_level=0.1, noise_level_bounds=(1e-4, 1.0)),
        n_restarts_optimizer=2,
        random_state=int(np.random.default_rng(0).integers(2**31)),
    ).fit(shares[tried], standardised)
    mean, with_noise = process.predict(shares, return_std=True)
    without = np.sqrt(np.maximum(with_noise**2 - process.kernel_.k2.noise_level, 1e-12))

    def choice(deviation, best):
        improvement = mixing.expected_improvement(mean, deviation, best)
        improvement[tried] = -1.0
        return int(improvement.argmax())

    best_mean, best_score = mean[tried].max(), standardised.max()
    assert found == choice(without, best_mean)
    assert found != choice(with_noise, best_mean)
    assert found != choice(without, best_score)


def test_no_mixture_is_tried_twice_and_equal_ratios_come_first():
    tried = []
    mixing.optimise_ratios(tried.append, 1, 1000, np.random.default_rng(0))
    assert tried[0] == (1, 1)
    assert sorted(tried) == [tuple(row) for row in mixing.ratio_grid(1, np.random.default_rng(0))]


def test_the_best_mixture_is_selected_with_its_ratios():
    context = Context(score=lambda ratios: _peak([ratios.get(name, 0) for name in "pca"]))
    selection = select_by_mixing(context)
    scores = [trial.score for trial in selection.trials]
    assert len(scores) == 10
    best = selection.trials[scores.index(max(scores))]
    assert (selection.auxiliary_tasks, selection.mixing_ratios) == (
        best.auxiliary_tasks,
        best.mixing_ratios,
    )
    assert context.asked[0] == (("c", "a"), {"p": 1, "c": 1, "a": 1})
    for auxiliaries, ratios in context.asked:
        assert tuple(ratios) in {("p", *auxiliaries), ()}
        assert all(ratios.values())
    assert selection.method == "autosem"
    mixture = " : ".join(f"{name} {ratio}" for name, ratio in best.mixing_ratios.items())
    assert selection.reason.endswith(
        f"; mixed as {mixture} they score {best.score:.4f}, best of 10 optimised mixtures"
    )
    again = Context(score=context.mixture_score)
    select_by_mixing(again)
    assert again.asked == context.asked


def test_if_every_auxiliary_hurts_the_primary_is_trained_alone():
    arms = {"a": (3, 1, 5)}
    context = Context(
        arms, score=lambda ratios: 0.5 - ratios.get("a", 0) / 10, autosem={"trials": 15}
    )
    selection = select_by_mixing(context)
    assert (selection.auxiliary_tasks, selection.mixing_ratios) == ((), {})
    assert ((), {}) in context.asked
    assert "; mixed as p alone they score 0.5000" in selection.reason


def test_without_an_auxiliary_nothing_is_mixed():
    context = Context({"a": (1, 3, 5)})
    selection = select_by_mixing(context)
    assert (selection.auxiliary_tasks, selection.trials, context.asked) == ((), (), [])
    assert selection.method == "autosem"
    assert selection.reason.endswith("; p is trained alone")


def test_faithful_tries_ten_random_mixtures_and_takes_the_first_of_the_best():
    context = Context(score=lambda ratios: 0.5, faithful=True)
    selection = select_by_mixing(context)
    assert len(context.asked) == 10
    assert all(auxiliaries for auxiliaries, _ in context.asked)
    assert (selection.auxiliary_tasks, selection.mixing_ratios) == context.asked[0]
    assert any(math.gcd(*ratios.values()) > 1 for _, ratios in context.asked)
    assert selection.reason.endswith("best of 10 random mixtures")


# --- through jiant --------------------------------------------------------------------------------

TASKS = ("topic", "match", "words")
BANDIT = {"rounds": 14, "steps_per_round": 2, "top_k": 2, "trials": 3}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder("bert", tmp_path_factory.mktemp("encoder") / "bert")


def run(run_file, *arguments):
    """Runs a file that must work; returns its outcome and what plugins heard."""
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        with_plugins(patch, recorder)
        answer = run_command("run", run_file, "--json", *arguments)
    assert answer.code == 0, answer.err
    return json.loads(answer.out), recorder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, encoder):
    run_file = write_run_file(
        tmp_path_factory.mktemp("run"), encoder, TASKS, method="autosem", autosem=BANDIT
    )
    return run_file, *run(run_file)


def scheduled(recorder):
    """The steps and the result of the bandit's run."""
    steps = [
        call["step"]
        for call in recorder.of("after_train_step")
        if "schedule" in call["plan"].recipe
    ]
    results = [
        call["result"]
        for call in recorder.of("after_training")
        if "schedule" in call["plan"].recipe
    ]
    return steps, results


def test_the_bandit_steers_one_run_round_by_round_from_the_primary_on(finished):
    _, _, recorder = finished
    steps, (result,) = scheduled(recorder)
    names = [step.task_name for step in steps]
    assert len(names) == result.num_steps == 28
    assert set(names) == set(TASKS)
    assert names[:2] == ["topic", "topic"]
    assert names[::2] == names[1::2]
    assert len(result.history) == 14
    # The same decisions follow from the scores.
    bandit = bandit_of(TASKS, seed=0)
    for name, score in zip(names[::2], result.history, strict=True):
        assert bandit.next_task() == name
        bandit.observe(score)
    assert bandit.state() == result.scheduler_state


def test_nothing_is_probed_and_the_cost_counts_all_that_was_trained(finished):
    _, outcome, recorder = finished
    assert outcome["ranking"] is None
    assert recorder.of("after_task_probed") == []
    trials = outcome["selection"]["trials"]
    assert len(trials) == 3
    distinct = {json.dumps(trial["mixing_ratios"]): trial["num_steps"] for trial in trials}
    assert outcome["cost"]["num_steps"] == 28 + sum(distinct.values())


def test_the_ratios_end_in_jiants_sampler(finished):
    run_file, outcome, _ = finished
    selection = outcome["selection"]
    best = max(selection["trials"], key=lambda trial: trial["score"])
    assert selection["mixing_ratios"] == best["mixing_ratios"]
    config = json.loads((run_file.parent / "out" / "selected_config.json").read_text())
    tasks = ["topic", *selection["auxiliary_tasks"]]
    assert config["task_run_config"]["train_task_list"] == tasks
    if selection["mixing_ratios"]:
        assert config["sampler_config"] == {
            "sampler_type": "SpecifiedProbMultiTaskSampler",
            "task_to_unweighted_probs": selection["mixing_ratios"],
        }
    assert outcome["selected"]["mixing_ratios"] == best["mixing_ratios"]
    assert outcome["selected"]["score"] == best["score"]


def test_every_mixture_is_trained_in_its_ratio(finished):
    _, outcome, recorder = finished
    steps = {}
    for call in recorder.of("after_train_step"):
        plan, step = call["plan"], call["step"]
        ratios = tuple(plan.recipe.get("mixing_ratios", {}).items())
        steps.setdefault((ratios, plan.seed), []).append(step.task_name)
    mixed = {key: names for key, names in steps.items() if key[0]}
    assert len({ratios for ratios, _ in mixed}) == sum(
        bool(trial["mixing_ratios"]) for trial in outcome["selection"]["trials"]
    )
    for (ratios, seed), names in mixed.items():
        tasks, counts = zip(*ratios, strict=True)
        stream = random_stream(seed, "task order")
        drawn = [stream.choice(tasks, p=np.array(counts) / sum(counts)) for _ in names]
        assert names == drawn


def test_the_weights_of_the_selection_stay_whatever_the_primary_alone_scores(finished):
    _, outcome, _ = finished  # here the primary alone scores better
    assert all(Path(path).is_file() for path in outcome["weights"])


def test_an_identical_rerun_trains_nothing(finished):
    run_file, outcome, _ = finished
    again, recorder = run(run_file)
    assert again["done"]["training_steps"] == 0
    assert recorder.of("before_training") == []
    assert again["selection"]["reason"] == outcome["selection"]["reason"]
    assert again["selection"]["mixing_ratios"] == outcome["selection"]["mixing_ratios"]
    assert again["cost"] == outcome["cost"]


def test_another_cut_in_the_same_folder_finds_the_same_run_stored(finished, encoder):
    run_file, _, first = finished
    _, (result,) = scheduled(first)
    bandit = bandit_of(TASKS)
    bandit.restore(result.scheduler_state)
    changed = {**BANDIT, "top_k": None, "min_utility": bandit.utilities["words"]}
    cut = write_run_file(run_file.parent, encoder, TASKS, method="autosem-p1", autosem=changed)
    outcome, recorder = run(cut)
    assert scheduled(recorder) == ([], [])
    assert "words" in outcome["selection"]["auxiliary_tasks"]
    assert f"words {bandit.utilities['words']:.3f}" in outcome["selection"]["reason"]
    assert outcome["selection"]["mixing_ratios"] == {}


def test_faithful_trains_the_mixture_in_blocks(finished, encoder):
    run_file, _, _ = finished
    autosem = {**BANDIT, "trials": 1}
    faithful = write_run_file(
        run_file.parent,
        encoder,
        TASKS,
        method="autosem",
        autosem=autosem,
        faithful=True,
        training={"max_steps": 40, "batch_size": 8, "learning_rate": 1e-3},
        output_dir="faithful",
        seed=4,
    )
    outcome, recorder = run(faithful)
    (drawn,) = mixing.random_ratios(2, 1, np.random.default_rng([4, 1]))
    ratios = outcome["selection"]["mixing_ratios"]
    assert list(ratios.values()) == [ratio for ratio in drawn if ratio]
    cycle = [name for name, ratio in ratios.items() for _ in range(2 * ratio)]
    trained = [
        call["step"].task_name
        for call in recorder.of("after_train_step")
        if call["plan"].recipe.get("block_steps")
    ]
    assert trained == list(itertools.islice(itertools.cycle(cycle), 40))
    config = json.loads((run_file.parent / "faithful" / "selected_config.json").read_text())
    assert config["sampler_config"]["task_to_unweighted_probs"] == ratios


class Crafted:
    """A pickle that runs code when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class StopAtStep:
    """Interrupts the bandit's run after one of its steps."""

    @hookimpl
    def after_train_step(self, plan, step):
        """Stops."""
        if "schedule" in plan.recipe and step.global_step == 7:
            raise KeyboardInterrupt


def test_a_killed_run_goes_on_after_its_last_round(finished, tmp_path, encoder, monkeypatch):
    _, outcome, uninterrupted = finished
    run_file = write_run_file(tmp_path, encoder, TASKS, method="autosem", autosem=BANDIT)
    with monkeypatch.context() as patch:
        patch.setattr(scheduled_runs, "CHECKPOINT_SECONDS", 0.0)
        with_plugins(patch, StopAtStep())
        assert run_command("run", run_file).code == 130
    (checkpoint,) = tmp_path.glob("out/trials/*/*")  # and no other file, a pickle say
    assert checkpoint.name == "checkpoint.safetensors"

    whole = checkpoint.read_bytes()
    other_number = bytearray(whole)
    other_number[-1] ^= 1
    executed = tmp_path / "executed"
    for damaged in (whole[:1000], bytes(other_number), b"", pickle.dumps(Crafted(executed))):
        checkpoint.write_bytes(damaged)
        answer = run_command("run", run_file)
        assert answer.code == 2
        assert answer.err.splitlines()[-1] == (
            f"gradts-select: the checkpoint {checkpoint} is damaged; "
            "remove it and the run starts anew"
        )
        assert "Traceback" not in answer.err
    assert not executed.exists()

    checkpoint.write_bytes(whole)
    resumed, recorder = run(run_file)
    steps, (result,) = scheduled(recorder)
    all_steps, (expected,) = scheduled(uninterrupted)
    assert steps == all_steps[6:]
    assert result.history == expected.history
    assert result.num_examples == expected.num_examples
    assert result.scheduler_state == expected.scheduler_state
    assert not checkpoint.exists()
    assert resumed["selection"]["reason"] == outcome["selection"]["reason"]
    assert resumed["selection"]["mixing_ratios"] == outcome["selection"]["mixing_ratios"]
