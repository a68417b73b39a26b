"""What is said before scores are trusted: a starved primary, unfinished and unstable trainings."""

import json
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from fake_runs import fake_file, fake_manager, open_fake
from rich.console import Console

from gradts_plugin import run
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.engine.notes import candidates_note, exposure_note, gain_notes, training_notes
from gradts_plugin.errors import ConfigError
from gradts_plugin.gains.metrics import score_of
from gradts_plugin.opening import open_run_file
from gradts_plugin.planning.plan import make_plan
from gradts_plugin.records import Predictions, TaskShares, Trial
from gradts_plugin.report.certainty import run_certainty
from gradts_plugin.report.collect import collect
from gradts_plugin.scores import Gain
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.terminal.tables import print_outcome
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTask

# --- what run files mean --------------------------------------------------------------------------


def run_file(tmp_path, **changes):
    values = {**fake_file(tmp_path), "primary_task": "goal", **changes}
    return parse_settings(RunFile, values, where="test")


@pytest.mark.parametrize(
    ("changes", "exposure"),
    [
        ({"training": {"max_steps": 4}}, "equal"),
        ({"training": {}}, "equal"),
        ({"training": {"max_steps": 4, "exposure": "total"}}, "total"),
        ({"training": {"recipe": "mt-dnn"}}, "total"),
        ({"training": {"max_steps": 4}, "faithful": True}, "total"),
    ],
)
def test_a_run_file_gives_the_primary_what_it_gets_alone(tmp_path, changes, exposure):
    assert run_file(tmp_path, **changes).training.exposure == exposure


def test_so_does_one_that_says_nothing_of_trainings(tmp_path):
    values = {**fake_file(tmp_path), "primary_task": "goal"}
    del values["training"]
    training = parse_settings(RunFile, values, where="test").training
    assert (training.exposure, training.epochs) == ("equal", 3)
    training = parse_settings(RunFile, {**values, "faithful": True}, where="test").training
    assert (training.exposure, training.epochs) == ("total", 3)


def test_equal_exposure_is_not_as_published(tmp_path):
    with pytest.raises(ConfigError, match="equal is not as published"):
        run_file(tmp_path, faithful=True, training={"exposure": "equal"})


# --- a starved primary ----------------------------------------------------------------------------


def engine_with(tmp_path, sizes=None, **values):
    training = {"max_steps": 30, **values.pop("training", {})}
    names = ("goal", "related", "degree")
    tasks = tuple(FakeTask(name, num_train=(sizes or {}).get(name, 8)) for name in names)
    return open_fake(tmp_path, {"training": training, **values}, host=FakeHost(tasks))


def test_the_primary_loses_the_steps_that_auxiliaries_take(tmp_path):
    # The fake host's tasks take turns: one of two, or of three, is the primary's.
    exposure = engine_with(tmp_path).trainings.primary_exposure
    assert exposure(TrialRequest(("related",), range(1))).num_steps == 15
    assert exposure(TrialRequest(("related", "degree"), range(1))).num_steps == 10
    assert exposure(TrialRequest((), range(1))).share == 1


def test_an_epoch_sampler_shares_steps_by_size(tmp_path):
    engine = engine_with(tmp_path, {"related": 24, "degree": 1}, training={"sampler": "epoch"})
    exposure = engine.trainings.primary_exposure
    assert exposure(TrialRequest(("related",), range(1))).num_steps == 30 * 8 / 32
    kept = {"related": [0, 1]}
    found = exposure(TrialRequest(("related",), range(1), kept_instances=kept))
    assert found.num_steps == 30 * 8 / 10


def test_mixing_ratios_say_what_the_primary_gets(tmp_path):
    ratios = {"goal": 1, "related": 4}
    request = TrialRequest(("related",), range(1), mixing_ratios=ratios)
    assert engine_with(tmp_path).trainings.primary_exposure(request).num_steps == 6


def test_what_a_sampler_decides_while_it_runs_is_not_guessed(tmp_path, monkeypatch):
    monkeypatch.setattr(FakeHost, "task_shares", lambda *_: None)
    assert engine_with(tmp_path).trainings.primary_exposure(TrialRequest(("degree",), [0])) is None


def test_the_hosts_sampler_knows_which_instances_are_kept(tmp_path, monkeypatch):
    def by_size(_host, _config=None, kept=None):
        return TaskShares("by size", {"goal": 8.0, "related": float(len(kept["related"]))})

    monkeypatch.setattr(FakeHost, "task_shares", by_size)
    request = TrialRequest(("related",), range(1), kept_instances={"related": [0, 1]})
    assert engine_with(tmp_path).trainings.primary_exposure(request).num_steps == 30 * 8 / 10


def test_the_worst_is_said_with_what_to_do(tmp_path):
    note = candidates_note(engine_with(tmp_path))
    assert note.startswith("Beside related, degree, goal gets about 10 of the 30 steps")
    assert "`training: {exposure: equal}` gives it all of them" in note


def test_equal_exposure_starves_nobody(tmp_path):
    engine = engine_with(tmp_path, training={"exposure": "equal"})
    found = engine.trainings.primary_exposure(TrialRequest(("related", "degree"), range(1)))
    assert (found.num_steps, found.num_steps_alone) == (30, 30)
    assert candidates_note(engine) is None


def test_a_few_steps_less_are_no_matter(tmp_path):
    engine = engine_with(tmp_path)
    for ratio, is_said in ((19, False), (18, True)):  # 95 % of the steps, and 94.7 %
        ratios = {"goal": ratio, "related": 1}
        request = TrialRequest(("related",), range(1), mixing_ratios=ratios)
        assert (exposure_note(engine, [request]) is not None) == is_said


def test_it_is_said_by_plan_outcome_and_result(tmp_path):
    engine = engine_with(tmp_path, method="all")
    assert any(
        "10 of the 30 steps" in note for note in make_plan(engine, final_training=True).notes
    )
    outcome = run.run(engine)
    assert "10 of the 30 steps" in outcome.notes[0]
    assert json.loads((tmp_path / "result.json").read_text())["notes"] == list(outcome.notes)
    console = Console(file=StringIO(), width=200)
    print_outcome(console, outcome)
    assert f"Note: {outcome.notes[0]}" in console.file.getvalue()
    page = run_certainty(collect(engine, outcome))
    assert page[0] == outcome.notes[0]


# --- trainings that have not ended, or are not stable ---------------------------------------------


def trial(names, *scores, longer=False):
    return Trial(
        auxiliary_tasks=names,
        scores=scores,
        num_kept={},
        num_steps=1,
        seconds=1.0,
        reused=False,
        longer=longer,
    )


@pytest.mark.parametrize(("longer", "is_said"), [(0.64, True), (0.56, True), (0.54, False)])
def test_a_training_that_has_not_ended(longer, is_said):
    notes = training_notes(
        [trial((), 0.5), trial((), longer, longer=True), trial(("a",), 0.55)],
    )
    assert bool(notes) == is_said  # by more than the 0.05 that the auxiliary adds
    if is_said:
        assert notes[0].startswith(f"Alone and for longer, the primary scores {longer - 0.5:.3f}")


def test_a_training_of_one_length_that_still_rises():
    def alone(*histories):
        return replace(trial((), *(history[-1] for history in histories)), histories=histories)

    # The last quarter of eight evaluations adds .05 to the best before: more than .03.
    rising = (0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.53, 0.55)
    [note] = training_notes([alone(rising)])
    assert note.startswith("Alone, the primary's dev score rose by 0.050 in the last quarter")
    assert "Raise epochs or max_steps" in note
    # In the mean over seeds it is .025; and beside a gain of .1 it is little.
    assert training_notes([alone(rising, (0.1, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5))]) == []
    assert training_notes([alone(rising), trial(("a",), 0.65)]) == []
    # Too few evaluations, or none with a score, tell nothing.
    for history in ((0.1, 0.3, 0.5), (None, None, None, 0.5), (0.1, 0.2, 0.3, None)):
        assert training_notes([alone(history)]) == []


def test_seeds_that_differ_by_more_than_any_gain():
    # Differences of -.04 and +.16, .06 in the mean: their standard deviation is sqrt(2) * .1.
    unstable = [trial((), 0.5, 0.6), trial(("a",), 0.46, 0.76)]
    [note] = training_notes(unstable)
    assert note.startswith("Another seed changes a score by about 0.100")
    assert training_notes([trial((), 0.5, 0.6), trial(("a",), 0.9, 1.0)]) == []
    # .01 and .11: a score errs by .05, less than the gain, and only differences by more.
    assert training_notes([trial((), 0.5, 0.6), trial(("a",), 0.51, 0.71)]) == []
    # A large gain is larger than what seeds do.
    assert training_notes([trial((), 0.5, 0.6), trial(("a",), 0.64, 0.94)]) == []


def test_gains_are_over_the_length_of_alone_that_counts():
    # Over alone for longer: -.08 and +.20, so .06 in the mean, and a score errs by .14. Over the
    # shorter one it would be .16.
    trials = [trial((), 0.5, 0.5), trial((), 0.6, 0.6, longer=True), trial(("a",), 0.52, 0.8)]
    [note] = training_notes(trials)
    assert note.startswith("Another seed changes a score by about 0.140")


def test_undefined_scores_say_nothing():
    trials = [trial((), None), trial((), None, longer=True), trial(("a",), None)]
    assert training_notes(trials) == []
    assert training_notes([trial(("a",), 0.5)]) == []


def test_a_run_file_of_a_fake_host_starves_nobody(tmp_path):
    given = run_file(tmp_path, training={"max_steps": 4}, method="all")
    notes = run.run(open_run_file(given, fake_manager())).notes
    assert not any("steps" in note for note in notes)


# --- nothing to gain, nothing learned, nothing gained ---------------------------------------------


def alone_scoring(*scores, predictions=()):
    return Trial((), scores, predictions=tuple({"dev": each} for each in predictions))


def test_a_primary_at_its_ceiling_is_said():
    assert training_notes([alone_scoring(0.97, 0.979)]) == []
    (note,) = training_notes([alone_scoring(0.985, 0.995)])
    assert note == "Alone, the primary scores 0.990 already: at most 0.010 is left to gain."
    # At whichever length it scores better.
    longer = replace(alone_scoring(1.0), longer=True)
    assert "scores 1.000 already" in training_notes([alone_scoring(0.98), longer])[0]


def answered(answers, metric="accuracy"):
    values = np.column_stack([answers, np.arange(len(answers)) % 2]).astype(float)
    return Predictions(metric, np.arange(len(answers)), values)


@pytest.mark.parametrize("metric", ["accuracy", "mcc", "f1", "pearson"])
def test_a_primary_that_learned_nothing_is_said(metric):
    same, other = answered([1, 1, 1, 1], metric), answered([1, 1, 0, 1], metric)
    (note,) = training_notes([alone_scoring(0.5, 0.5, predictions=[same, same])])
    assert "answers every dev instance alike: it has learned nothing" in note
    # One seed, or the longer training, that learned something is enough.
    longer = replace(alone_scoring(0.5, predictions=[other]), longer=True)
    for trials in (
        [alone_scoring(0.5, 0.5, predictions=[same, other])],
        [alone_scoring(0.5, predictions=[same]), longer],
    ):
        assert not any("alike" in note for note in training_notes(trials))


def predicting(metric, answers, right):
    values = np.column_stack([answers, right]).astype(float)
    return Predictions(metric, np.arange(len(answers)), values)


def scoring(*predictions, **given):
    scores = [score_of(each) for each in predictions]
    return replace(alone_scoring(*scores, predictions=predictions), **given)


RIGHT = np.array([1] * 70 + [0] * 30)


@pytest.mark.parametrize(
    ("metric", "shown"),
    [("f1", "0.824"), ("accuracy", "0.700"), ("macro_f1", "0.412"), ("mcc", "0.000")],
)
def test_a_primary_that_may_answer_as_well_by_one_answer_is_said(metric, shown):
    # All but three are said to be positive, and two of these three rightly not.
    nearly = predicting(metric, [1] * 69 + [0] * 3 + [1] * 28, RIGHT)
    learned = predicting(metric, [1] * 65 + [0] * 30 + [1] * 5, RIGHT)
    (note,) = training_notes([scoring(nearly)])
    alone = f"{score_of(nearly):.3f}"
    assert f"Alone, the primary scores {alone}, one answer for all dev instances {shown}" in note
    assert training_notes([scoring(learned)]) == []
    # Only the length that counts is looked at.
    both = training_notes([scoring(nearly), scoring(learned, longer=True)])
    assert not any("one answer" in note for note in both)


def test_scores_that_correlate_with_nothing_are_said():
    rng = np.random.default_rng(0)
    right = rng.normal(size=80)
    (note,) = training_notes([scoring(predicting("pearson", rng.normal(size=80) / 9, right))])
    assert "one answer for all dev instances 0.000" in note
    assert (
        training_notes([scoring(predicting("pearson", right + rng.normal(size=80), right))]) == []
    )


def test_another_seed_may_be_what_makes_the_primary_better_than_one_answer():
    better = predicting("accuracy", [1] * 66 + [0] * 26 + [1] * 8, RIGHT)
    assert training_notes([scoring(better, better)]) == []
    worse = predicting("accuracy", [1] * 40 + [0] * 36 + [1] * 24, RIGHT)
    said = training_notes([scoring(better, worse)])
    assert any("one answer for all dev instances 0.700" in note for note in said)


def test_of_spans_none_is_nothing():
    none = Predictions("span_f1", np.arange(2), np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 1.0]]))
    some = Predictions("span_f1", np.arange(2), np.array([[0.0, 0.0, 2.0], [0.0, 1.0, 1.0]]))
    assert len(training_notes([alone_scoring(0.0, predictions=[none])])) == 1
    assert training_notes([alone_scoring(0.0, predictions=[some])]) == []


def test_what_does_not_say_its_answers_is_not_judged():
    own = Predictions("mean", np.arange(3), np.array([[1.0], [1.0], [1.0]]))
    words = Predictions("word_accuracy", np.arange(2), np.array([[3.0, 4.0], [3.0, 4.0]]))
    single = answered([1])
    for found in (own, words, single):
        assert training_notes([alone_scoring(0.5, predictions=[found])]) == []
    assert training_notes([alone_scoring(0.5)]) == []


def test_a_selection_that_is_worse_than_alone_is_said():
    gain = Gain(-0.03, -0.05, -0.01, 0.01, 2, 40, ("seeds",), standard_error=0.01)
    said = "Trained anew, the selection scores 0.030 less than the primary alone"
    assert gain_notes(gain) == [f"{said}: the primary alone is better."]
    for high in (0.01, None):
        assert gain_notes(replace(gain, high=high)) == [f"{said}, perhaps by chance."]
    assert gain_notes(None) == gain_notes(replace(gain, gain=None)) == []


def test_a_gain_that_cannot_be_told_from_none_is_said():
    gain = Gain(0.03, -0.01, 0.07, 0.9, 1, 40, ("instances",), standard_error=0.02)
    assert gain_notes(gain) == [
        "With 40 dev instances and 1 seed, gains below about 0.039 cannot be told from none. Raise "
        "training_seeds, or give the primary a larger dev set."
    ]
    seeds = gain_notes(replace(gain, num_instances=0, num_seeds=3))[0]
    assert seeds.startswith("With 3 seeds, gains below about 0.039")
    assert gain_notes(replace(gain, low=0.001)) == []
    assert gain_notes(replace(gain, low=None)) == []


def test_notes_on_the_gain_stand_in_the_outcome(tmp_path):
    engine = open_fake(tmp_path, {"method": "all"})
    outcome = run.run(engine)
    assert gain_notes(outcome.gain)
    assert set(gain_notes(outcome.gain)) <= set(outcome.notes)
