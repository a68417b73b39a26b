"""The whole method on real jiant runs: what is done, what is reused, what plugins are told."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from tiny_encoders import save_tiny_encoder
from tiny_runs import (
    EQUAL_EXPOSURE,
    NOTIFYING,
    TASKS,
    TRAINING,
    Recorder,
    run_command,
    with_plugins,
    write_run_file,
    write_task,
)

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.hosts.jiant.host import JiantHost
from gradts_plugin.offers import Method
from gradts_plugin.records import Selection

pytestmark = pytest.mark.usefixtures("without_pages")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder("bert", tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, encoder):
    """A run over a task of each kind: its run file, what it answered, and what plugins heard."""
    run_file = write_run_file(
        tmp_path_factory.mktemp("run"), encoder, store="store", training=EQUAL_EXPOSURE
    )
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        with_plugins(patch, recorder)
        answer = run_command("run", run_file)
    assert answer.code == 0, answer.err
    return run_file, answer, recorder


def run(run_file, *arguments):
    """Runs a file that must work; returns its outcome."""
    answer = run_command("run", run_file, "--json", *arguments)
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def rewritten(run_file, encoder, **changes):
    """Writes the run file again, over the tasks that are there, with other settings."""
    tasks = changes.pop("task_names", TASKS)
    values = {"store": "store", "training": EQUAL_EXPOSURE, **changes}
    return write_run_file(run_file.parent, encoder, tasks, **values)


# --- a whole run ----------------------------------------------------------------------------------


def test_a_run_over_every_kind_of_task_ranks_selects_rewrites_and_scores(finished):
    run_file, answer, _ = finished
    result = json.loads((run_file.parent / "out" / "result.json").read_text())
    ranked = [candidate["task_name"] for candidate in result["ranking"]["candidates"]]
    assert sorted(ranked) == sorted(set(TASKS) - {"topic"})
    taus = [candidate["tau"] for candidate in result["ranking"]["candidates"]]
    assert taus == sorted(taus, reverse=True)
    assert np.array(result["ranking"]["task_taus"]).shape == (5, 5)
    assert result["ranking"]["num_heads_total"] == 4
    selected = result["selection"]["auxiliary_tasks"]
    assert selected == ranked[: len(selected)]
    assert result["done"]["probes"] == 5
    for name in [*ranked, "Selected for topic: " + ", ".join(selected), "topic alone"]:
        assert name in answer.out
    assert f"{result['selected']['score']:.4f}" in answer.out
    assert str(result["config_path"]) in answer.out
    config = json.loads((run_file.parent / "out" / "selected_config.json").read_text())
    assert config["task_run_config"]["train_task_list"] == [
        name for name in TASKS if name in ("topic", *selected)
    ]
    assert config["task_run_config"]["train_val_task_list"] == ["topic"]


def test_every_kind_of_task_is_probed(finished):
    _, _, recorder = finished
    probed = {call["task_name"]: call["num_instances"] for call in recorder.of("after_task_probed")}
    assert probed == dict.fromkeys(TASKS, 16)


def test_phases_come_in_order_and_plugins_hear_of_everything(finished):
    _, _, recorder = finished
    phases = [
        (name.split("_")[0], arguments["phase"])
        for name, arguments in recorder.calls
        if name in ("before_phase", "after_phase")
    ]
    order = ("load", "probe", "rank", "select", "rewrite", "train")
    assert phases == [(when, phase) for phase in order for when in ("before", "after")]
    silent = set(NOTIFYING) - set(recorder.names())
    errors = {"on_training_error", "on_probing_error", "on_selection_error"}
    assert silent == {*errors, "after_round"}  # only searches go in rounds


def test_the_calls_of_one_probe(finished):
    _, _, recorder = finished
    names = recorder.names()
    start = names.index("before_training")
    assert names[start : start + 7] == [
        "before_training",
        "after_train_step",
        "after_train_step",
        "after_training",
        "before_task_probed",
        "after_batch_probed",
        "after_task_probed",
    ]
    steps = [call["step"] for call in recorder.of("after_train_step")][:2]
    assert [(step.global_step, step.num_steps, step.task_name) for step in steps] == [
        (1, 2, "topic"),
        (2, 2, "topic"),
    ]
    assert all(np.isfinite(step.loss) for step in steps)


def test_counted_steps_are_the_steps_that_plugins_saw(finished):
    run_file, answer, recorder = finished
    result = json.loads((run_file.parent / "out" / "result.json").read_text())
    assert result["done"]["training_steps"] == len(recorder.of("after_train_step"))
    assert f" {result['done']['training_steps']} training steps in " in answer.out


# --- nothing is done twice ------------------------------------------------------------------------


def steps_of(monkeypatch):
    """A recorder inside the commands of this test."""
    recorder = Recorder()
    with_plugins(monkeypatch, recorder)
    return recorder


def test_an_unchanged_rerun_trains_and_probes_nothing_and_says_so(finished, monkeypatch):
    run_file, _, _ = finished
    before = json.loads((run_file.parent / "out" / "result.json").read_text())
    recorder = steps_of(monkeypatch)
    answer = run_command("run", run_file)
    assert answer.code == 0, answer.err
    assert "Nothing was trained or probed" in answer.out
    assert recorder.of("after_train_step") == []
    assert recorder.of("after_batch_probed") == []
    assert all(call["reused"] for call in recorder.of("after_task_probed"))
    after = json.loads((run_file.parent / "out" / "result.json").read_text())
    assert after["ranking"] == before["ranking"]
    assert after["selected"]["scores"] == before["selected"]["scores"]


def test_another_primary_costs_no_probe(finished, encoder, monkeypatch):
    run_file, _, _ = finished
    recorder = steps_of(monkeypatch)
    done = run(rewritten(run_file, encoder, primary_task="match", output_dir="other"))["done"]
    assert (done["probes"], done["probes_reused"]) == (0, 5)
    assert {call["plan"].purpose for call in recorder.of("before_training")} == {"trial"}


def test_a_new_candidate_costs_one_probe(finished, encoder):
    run_file, _, _ = finished
    write_task(run_file.parent / "tasks", "extra", like="match", num_train=24)
    changed = rewritten(run_file, encoder, task_names=[*TASKS, "extra"], output_dir="more")
    assert run(changed)["done"]["probes"] == 1


def test_another_method_in_the_same_folder_reuses_what_it_can(finished, encoder):
    run_file, _, _ = finished
    changed = rewritten(run_file, encoder, method={"name": "trial", "patience": 9, "confirm": 0})
    result = run(changed)
    trials = result["selection"]["trials"]
    assert [len(trial["auxiliary_tasks"]) for trial in trials] == [0, 1, 2, 3, 4]
    assert result["done"]["probes"] == 0
    assert trials[0]["reused"]  # the primary alone was trained to be compared with
    assert run(changed)["done"]["training_steps"] == 0


def test_other_settings_do_not_take_over_a_finished_folder(finished, encoder):
    run_file, _, _ = finished
    before = (run_file.parent / "out" / "result.json").read_bytes()
    answer = run_command("run", rewritten(run_file, encoder, seed=7))
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    assert "holds another run: its seed is" in answer.err
    assert (run_file.parent / "out" / "result.json").read_bytes() == before


class Stop:
    """Raises at one hook call, as Ctrl-C or a failing plugin would."""

    def __init__(self, error, *, task, step):
        self.error, self.task, self.step = error, task, step

    @hookimpl
    def after_train_step(self, plan, step):
        """Stops."""
        if plan.primary_task == self.task and step.global_step == self.step:
            raise self.error


def test_an_interrupted_run_goes_on_after_the_last_finished_task(tmp_path, encoder, monkeypatch):
    run_file = write_run_file(tmp_path, encoder, ("topic", "match", "words"))
    with monkeypatch.context() as patch:
        recorder = Recorder()
        with_plugins(patch, Stop(KeyboardInterrupt(), task="match", step=2), recorder)
        answer = run_command("run", run_file)
    assert answer.code == 130
    assert answer.out == ""
    assert answer.err.splitlines()[-1] == (
        "gradts-select: interrupted; what is finished is stored, run the same command again to "
        "go on"
    )
    (told,) = recorder.of("on_training_error")
    assert told["plan"].train_tasks == ("match",)
    assert isinstance(told["error"], KeyboardInterrupt)
    assert [call["task_name"] for call in recorder.of("on_probing_error")] == ["match"]
    done = run(run_file)["done"]
    assert (done["probes"], done["probes_reused"]) == (2, 1)


def test_an_interrupted_trial_goes_on_after_the_last_finished_one(tmp_path, encoder, monkeypatch):
    run_file = write_run_file(
        tmp_path,
        encoder,
        ("topic", "match"),
        method={"name": "trial", "confirm": 0},
        training_seeds=2,
    )

    class StopSecondTrial(Recorder):
        @hookimpl
        def before_training(self, plan):
            if plan.purpose == "trial" and plan.seed == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        recorder = StopSecondTrial()
        with_plugins(patch, recorder)
        assert run_command("run", run_file).code == 130
    assert [call["primary_task"] for call in recorder.of("on_selection_error")] == ["topic"]
    result = run(run_file)
    assert result["done"]["probes_reused"] == 2
    assert result["done"]["training_runs_reused"] == 1
    assert [len(trial["scores"]) for trial in result["selection"]["trials"]] == [2, 2]


@pytest.mark.parametrize(
    ("second", "selected", "num_trainings"),
    [
        # Wins over both seeds (0.625 > 0.5): two trainings of each, and of alone for longer.
        ((0.55, 0.70), 2, 8),
        # Never a new best: it is not confirmed, and the primary alone keeps its weights.
        ((0.45, 0.70), 0, 7),
    ],
)
def test_a_new_best_is_confirmed_with_another_seed(
    finished, encoder, monkeypatch, second, selected, num_trainings
):
    # Trained as always; only what came out of it is known beforehand. The first prefix is lucky.
    outcomes = {1: (0.5, 0.5), 2: (0.6, 0.1), 3: second}
    train = JiantHost.train

    def trained(self, plan, *args, **options):
        result = train(self, plan, *args, **options)
        return dataclasses.replace(result, score=outcomes[len(plan.train_tasks)][plan.seed])

    monkeypatch.setattr(JiantHost, "train", trained)
    run_file, _, _ = finished
    folder = f"confirmed-{selected}"
    changes = {"method": "trial", "candidate_tasks": ["match", "degree"], "output_dir": folder}
    result = run(rewritten(run_file, encoder, store=f"store-{selected}", **changes))
    assert len(result["selection"]["auxiliary_tasks"]) == selected
    assert [trial["scores"] for trial in result["selection"]["trials"]] == [
        [0.5, 0.5],
        [0.6, 0.1],
        [*second[: 2 if selected else 1]],
    ]
    assert len(result["selected"]["scores"]) == len(result["alone"]["scores"]) == 2
    fine_tunings = 3
    assert result["done"]["training_runs"] == fine_tunings + num_trainings
    left = list((run_file.parent / folder).rglob("best_model.p"))
    assert [str(path) for path in left] == result["weights"]


def test_a_defect_of_a_plugin_keeps_its_traceback(finished, encoder, monkeypatch):
    run_file, _, _ = finished
    with_plugins(monkeypatch, Stop(ZeroDivisionError("mine"), task="topic", step=1))
    with pytest.raises(ZeroDivisionError, match="mine"):
        run_command("run", rewritten(run_file, encoder, seed=3, output_dir="defect"))


# --- the same seed, the same run ------------------------------------------------------------------


def _taken(recorder):
    return [
        (call["plan"].purpose, call["step"].task_name, call["step"].loss)
        for call in recorder.of("after_train_step")
    ]


def test_the_same_seed_gives_the_same_run_and_another_one_does_not(tmp_path, encoder, monkeypatch):
    noisy = save_tiny_encoder("bert", tmp_path / "encoder", dropout=0.2)
    write_run_file(tmp_path, noisy, ("topic", "match", "degree"))  # the tasks
    runs = []
    for number, seed in enumerate((4, 4, 5)):
        recorder = steps_of(monkeypatch)
        run_file = write_run_file(
            tmp_path,
            noisy,
            ("topic", "match", "degree"),
            seed=seed,
            output_dir=f"out{number}",
            method={"name": "trial", "patience": 9},
        )
        result = run(run_file)
        runs.append((_taken(recorder), result["ranking"], result["selection"]["auxiliary_tasks"]))
        scores = [trial["scores"] for trial in result["selection"]["trials"]]
        runs[-1] += (scores,)
    assert runs[0] == runs[1]
    assert [loss for *_, loss in runs[0][0]] != [loss for *_, loss in runs[2][0]]


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["thres", "trial", "fg"])
def test_faithful_runs_never_train_the_primary_alone_to_choose(finished, encoder, method):
    run_file, _, _ = finished
    changed = rewritten(
        run_file, encoder, method=method, faithful=True, output_dir=f"faithful-{method}"
    )
    result = run(changed)
    assert all(trial["auxiliary_tasks"] for trial in result["selection"]["trials"])
    assert result["alone"]["auxiliary_tasks"] == []


@pytest.mark.parametrize(("threshold", "selected"), [(-1, 4), (1, 0), ({"quantile": 0.75}, 1)])
def test_thresholds_as_numbers_and_quantiles(finished, encoder, threshold, selected):
    run_file, _, _ = finished
    result = run(
        rewritten(
            run_file,
            encoder,
            method={"name": "thres", "threshold": threshold},
            output_dir="thresholds",
        )
    )
    taus = [candidate["tau"] for candidate in result["ranking"]["candidates"]]
    found = result["selection"]["auxiliary_tasks"]
    if isinstance(threshold, dict):
        assert len(found) == sum(tau >= np.quantile(taus, 0.75) for tau in taus)
    else:
        assert len(found) == sum(tau >= threshold for tau in taus)
    shutil.rmtree(run_file.parent / "thresholds")


def test_fine_grained_selection_trains_on_fewer_instances(finished, encoder):
    run_file, _, _ = finished
    changed = rewritten(
        run_file,
        encoder,
        method={"name": "fg", "instance_threshold": {"quantile": 0.5}},
        faithful=True,
        output_dir="fine",
    )
    result = run(changed)
    kept = result["selection"]["num_kept"]
    assert kept
    assert all(0 < count < 16 for count in kept.values())
    assert result["selected"]["num_kept"] == kept
    config = json.loads((run_file.parent / "fine" / "selected_config.json").read_text())
    for name in kept:
        assert "subsets" in config["task_cache_config_dict"][name]["train"]


def test_fine_grained_selection_looks_at_instances_that_the_ranking_did_not(finished, encoder):
    run_file, _, _ = finished
    changes = {"method": {"name": "fg", "instance_threshold": -1.0}, "faithful": True}
    sampled = rewritten(
        run_file, encoder, **changes, probing={"max_instances": 4}, output_dir="sampled"
    )
    result = run(sampled)
    selected = result["selection"]["auxiliary_tasks"]
    # Five tasks are probed by 4 instances each. All 16 of the auxiliaries' are known already: the
    # first run's limit was larger than that.
    assert (result["done"]["probes"], result["done"]["probes_reused"]) == (5, len(selected))
    assert all(f"16 of 16 {name}" in result["selection"]["reason"] for name in selected)


def test_bf16_trains_and_probes_other_numbers(finished, encoder, monkeypatch):
    run_file, _, first = finished
    recorder = steps_of(monkeypatch)
    changed = rewritten(
        run_file,
        encoder,
        fine_tuning={**TRAINING, "precision": "bf16"},
        training={**TRAINING, "precision": "bf16"},
        probing={"precision": "bf16"},
        output_dir="bf16",
    )
    assert run(changed)["done"]["probes"] == 5
    for (*place, loss), (*same_place, exact) in zip(_taken(recorder), _taken(first), strict=False):
        if place[0] == "trial":
            break
        assert place == same_place
        assert loss == pytest.approx(exact, rel=0.05)
        assert loss != exact


def test_several_seeds_widen_what_the_intervals_cover(finished, encoder):
    run_file, _, _ = finished
    answer = run_command("run", rewritten(run_file, encoder, seeds=2, output_dir="seeds"))
    assert answer.code == 0, answer.err
    result = json.loads((run_file.parent / "seeds" / "result.json").read_text())
    assert (result["done"]["probes"], result["done"]["probes_reused"]) == (5, 5)
    assert result["ranking"]["covers"] == ["instances", "fine-tuning seeds"]
    assert "2 seeds" in answer.out


# --- plugins --------------------------------------------------------------------------------------


class Favourite:
    """Offers a selection method that has a favourite."""

    @hookimpl
    def extend_selection_methods(self):
        """Offers `favourite`."""

        def favourite(context, _settings):
            return Selection("favourite", context.primary_task, ("words",), "it is my favourite")

        return [Method("favourite", favourite, "Favourite")]


def test_a_plugin_can_add_a_selection_method(finished, encoder, monkeypatch):
    run_file, _, _ = finished
    with_plugins(monkeypatch, Favourite())
    result = run(rewritten(run_file, encoder, method="favourite", output_dir="favourite"))
    assert result["selection"]["auxiliary_tasks"] == ["words"]
    assert result["selection"]["reason"] == "it is my favourite"


def test_a_method_that_selects_what_is_no_candidate_is_refused(finished, encoder, monkeypatch):
    run_file, _, _ = finished
    with_plugins(monkeypatch, Favourite())
    changed = rewritten(
        run_file,
        encoder,
        method="favourite",
        candidate_tasks=["match", "ending"],
        output_dir="favourite2",
    )
    answer = run_command("run", changed)
    assert answer.code == 2
    assert "'favourite' selected 'words', which is no candidate" in answer.err


def test_an_unknown_hook_is_an_error_with_the_nearest_name(finished, monkeypatch):
    class Misspelt:
        @hookimpl
        def after_trainning(self, plan):
            """No such hook."""

    with_plugins(monkeypatch, Misspelt())
    answer = run_command("run", finished[0])
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    assert "did you mean 'after_training'?" in answer.err


def test_two_plugins_that_offer_one_name_clash(finished, monkeypatch):
    with_plugins(monkeypatch, Favourite(), Favourite())
    answer = run_command("run", finished[0])
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    assert "both offer the selection method 'favourite'" in answer.err


def test_another_metric_reuses_probes_but_no_score(tmp_path, encoder):
    names = ("topic", "mood") if "mood" in TASKS else tuple(TASKS)[:2]
    first = run(write_run_file(tmp_path, encoder, names, primary_task=names[0], store="store"))
    config = tmp_path / "tasks" / f"{names[0]}.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "metric": "mcc"}))
    second = run(
        write_run_file(
            tmp_path, encoder, names, primary_task=names[0], store="store", output_dir="other"
        )
    )
    assert first["done"]["training_runs"] > 0
    assert second["done"]["probes"] == 0
    assert second["done"]["training_runs_reused"] == 0
    assert second["done"]["training_runs"] > 0
