"""Planning a run: what it says beforehand is what the run then does; it keeps what it tokenised."""

from __future__ import annotations

import json
import math
import re

import pytest
from tiny_encoders import save_tiny_encoder
from tiny_runs import TRAINING, Recorder, files_below, run_command, with_plugins, write_run_file

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.offers import Method
from gradts_plugin.opening import run_file_to_plan
from gradts_plugin.planning.plan import make_plan
from gradts_plugin.planning.work import FORWARD_SHARE, PROBE_SHARE
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.records import Selection
from gradts_plugin.settings.run_file import read_run_file
from gradts_plugin.stores.checksums import made_from

pytestmark = pytest.mark.usefixtures("without_pages")

NAMES = ("topic", "match", "words")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder("bert", tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The runs of this module share their tasks and one store."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(folder, encoder):
    """A finished run by threshold: what was planned before it, and its outcome."""
    run_file = written(folder, encoder)
    before = planned(run_file, "--no-measure")
    kept = {path.parent.name for path in (folder / "store").glob("*/*")}
    untouched = not (folder / "out").exists() and kept == {"tokenised"}
    answer = run_command("run", run_file, "--quiet", "--json")
    assert answer.code == 0, answer.err
    return before, untouched, json.loads(answer.out)


def written(folder, encoder, **changes):
    return write_run_file(folder, encoder, NAMES, **{"store": "store", **changes})


def planned(run_file, *flags):
    answer = run_command("plan", run_file, "--json", "--quiet", *flags)
    assert answer.code == 0, answer.err
    assert answer.err == ""
    return json.loads(answer.out)


def counts(values):
    """Part -> (needed, stored, to do, whether that is an upper bound)."""
    return {
        part["what"]: (
            part["num_needed"],
            part["num_stored"],
            part["num_to_do"],
            part["upper_bound"],
        )
        for part in values["parts"]
    }


def part_of(values, what):
    (found,) = [part for part in values["parts"] if part["what"] == what]
    return found


# --- nothing stored yet ---------------------------------------------------------------------------


def test_a_plan_writes_nothing_but_tokenised_tasks(finished):
    _, untouched, _ = finished
    assert untouched


def test_what_was_planned_is_what_was_done(finished):
    before, _, result = finished
    # The quantile 0.5 of two taus is reached by one candidate.
    assert counts(before) == {
        "fine-tunings": (3, 0, 3, False),
        "probes": (3, 0, 3, False),
        "final trainings": (2, 0, 2, True),
    }
    assert result["done"]["probes"] == 3
    assert result["done"]["training_runs"] == 3 + 2
    # 16 instances in batches of 8: two steps for each task of a training.
    assert part_of(before, "fine-tunings")["num_steps"] == 3 * 2
    assert part_of(before, "final trainings")["num_steps"] == 4 + 2
    assert result["done"]["training_steps"] == 12
    assert before["auxiliary_tasks"] is None


def test_work_is_counted_in_instances(finished):
    before, _, _ = finished
    # Each fine-tuning sees 16 instances and scores 10 dev instances.
    assert part_of(before, "fine-tunings")["work"] == pytest.approx(3 * (16 + FORWARD_SHARE * 10))
    assert part_of(before, "probes")["work"] == pytest.approx(PROBE_SHARE * 3 * 16)
    assert part_of(before, "final trainings")["work"] == pytest.approx(
        32 + 16 + 2 * FORWARD_SHARE * 10
    )


def test_disk_is_that_of_the_records(finished, folder):
    before, _, result = finished
    heads = result["ranking"]["num_heads_total"]
    assert before["importance_bytes"] == 3 * 16 * (heads * 4 + 8)
    (stored, *_) = (folder / "store" / "importances").glob("*/importances.arrow")
    # Arrow adds a header and a footer to each file.
    assert 0 < stored.stat().st_size - before["importance_bytes"] / 3 < 2000
    weights = sum(path.stat().st_size for path in (folder / "out").rglob("best_model.p"))
    assert before["weight_bytes"] / 4 == pytest.approx(weights, rel=0.2)
    assert before["prepared_bytes"] > 0


# --- everything stored ----------------------------------------------------------------------------


def test_a_finished_run_has_nothing_to_do(finished, folder, encoder):
    run_file = written(folder, encoder)
    before = files_below(folder)
    values = planned(run_file)
    assert files_below(folder) == before
    assert counts(values) == {
        "fine-tunings": (3, 3, 0, False),
        "probes": (3, 3, 0, False),
        "final trainings": (2, 2, 0, False),
    }
    assert values["auxiliary_tasks"] == finished[2]["selection"]["auxiliary_tasks"]
    assert values["measured"] == ""  # there is nothing to be measured for
    answer = run_command("run", run_file, "--dry-run", "--quiet")
    assert answer.code == 0, answer.err
    assert "Nothing is to be trained or probed" in answer.out
    assert files_below(folder) == before


def test_prepared_tasks_are_not_tokenised_again(finished, folder, encoder, monkeypatch):
    recorder = Recorder()
    with_plugins(monkeypatch, recorder)
    planned(written(folder, encoder))
    assert [call["reused"] for call in recorder.of("after_task_prepared")] == [True] * 3
    assert recorder.of("after_train_step") == []


def test_weights_that_are_gone_are_trained_again(finished, folder, encoder):
    (weights,) = (folder / "out").rglob("best_model.p")
    content = weights.read_bytes()
    weights.unlink()
    try:
        values = planned(written(folder, encoder), "--no-measure")
    finally:
        weights.write_bytes(content)
    # The primary alone needs no weights: it is only compared with.
    assert counts(values)["final trainings"] == (2, 1, 1, False)


# --- other methods on the same probes -------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # The primary alone and one of the two prefixes were trained by the run by threshold, where
        # the prefix lost: only the other one may have to be confirmed.
        ({"method": {"name": "trial", "patience": 9}}, (5, 2, 3, True)),
        ({"method": {"name": "trial", "confirm": 0}, "training_seeds": 2}, (6, 2, 4, False)),
        # The one prefix is the run's by threshold; the second seed of both is not stored.
        (
            {
                "method": {
                    "name": "trial",
                    "prefixes": "threshold",
                    "threshold": {"quantile": 0.5},
                    "confirm": 0,
                },
                "training_seeds": 2,
            },
            (4, 2, 2, False),
        ),
        ({"method": "trial", "faithful": True}, (2, 1, 1, False)),
        ({"method": "fg"}, (7, 2, 5, True)),
        ({"method": {"name": "autosem-p1", "rounds": 2}}, (1, 0, 1, False)),
        ({"method": {"name": "autosem", "rounds": 8, "trials": 3}}, (4, 0, 4, True)),
    ],
)
def test_trials_have_an_upper_bound(finished, folder, encoder, changes, expected):
    values = planned(written(folder, encoder, output_dir="other", **changes), "--no-measure")
    assert counts(values)["trials"] == expected
    if "autosem" not in str(changes["method"]):
        assert counts(values)["probes"] == (3, 3, 0, False)
    assert not (folder / "other").exists()


def test_fg_probes_all_instances_of_what_it_filters(finished, folder, encoder):
    changes = {"method": "fg", "probing": {"max_instances": 4}, "output_dir": "sampled"}
    values = planned(written(folder, encoder, **changes), "--no-measure")
    # Three tasks by 4 instances each; all of their 16 were probed for the finished run.
    assert counts(values)["probes"] == (3, 0, 3, False)
    assert counts(values)["probes of whole auxiliaries"] == (2, 2, 0, False)
    values = planned(written(folder, encoder, **changes, store="another"), "--no-measure")
    # Then at most both candidates by all of them.
    assert counts(values)["probes of whole auxiliaries"] == (2, 0, 2, True)
    whole, sampled = part_of(values, "probes of whole auxiliaries"), part_of(values, "probes")
    assert whole["work"] / sampled["work"] == pytest.approx(2 * 16 / (3 * 4))


@pytest.mark.parametrize(
    ("changes", "runs"),
    [
        ({"method": "all"}, (2, 1, 1)),  # the primary alone is stored
        ({"method": "alone"}, (1, 0, 1)),  # but without its weights
        ({"method": {"name": "top", "k": 2}}, (2, 1, 1)),
    ],
)
def test_methods_that_try_nothing_train_their_selection(finished, folder, encoder, changes, runs):
    values = planned(written(folder, encoder, output_dir="other", **changes), "--no-measure")
    assert "trials" not in counts(values)
    assert counts(values)["final trainings"][:3] == runs
    assert values["auxiliary_tasks"] is not None


def test_a_run_never_takes_more_than_its_bound(finished, folder, encoder):
    changes = {"method": {"name": "trial", "patience": 9}, "output_dir": "trials"}
    run_file = written(folder, encoder, **changes)
    before = planned(run_file, "--no-measure")
    answer = run_command("run", run_file, "--quiet", "--json")
    done = json.loads(answer.out)["done"]
    assert done["training_runs"] <= sum(part["num_to_do"] or 0 for part in before["parts"])
    assert done["training_steps"] <= sum(part["num_steps"] for part in before["parts"])
    after = planned(run_file)
    assert all(part["num_to_do"] == 0 for part in after["parts"])


def test_trials_of_unranked_tasks_count_as_the_costliest(tmp_path, encoder):
    run_file = write_run_file(
        tmp_path, encoder, NAMES, method="trial", training={**TRAINING, "batch_size": 4}
    )
    values = planned(run_file, "--no-measure")
    assert counts(values)["trials"] == (6, 0, 6, True)
    # 4 steps per task in batches of 4: the primary alone, with one, with both; each confirmed.
    assert part_of(values, "trials")["num_steps"] == 2 * (4 + 8 + 12)
    assert counts(values)["final trainings"] == (0, 0, 0, False)
    assert any("until then" in note for note in values["notes"])
    # What was not measured is not known: not "0 s".
    times = {part["what"]: part["seconds"] for part in values["parts"]}
    assert times["probes"] is times["trials"] is None
    answer = run_command("plan", run_file, "--no-measure", "--quiet")
    assert "Time: not measured." in answer.out
    assert "importances" in answer.out  # sizes need no times
    assert not re.search(r"^│ (probes|trials) .* s │$", answer.out, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("ranker", "expected"),
    [
        ("size", None),
        ("donors", None),
        ("logme", (2, 0, 2, False)),
        ("gradients", (1, 0, 1, False)),
    ],
)
def test_other_rankers(finished, folder, encoder, ranker, expected):
    run_file = written(folder, encoder, ranking={"ranker": ranker}, output_dir="other")
    values = planned(run_file, "--no-measure")
    assert counts(values).get(f"fine-tunings for {ranker}") == expected
    assert "probes" not in counts(values)
    assert not (folder / "store" / "computed").exists()


# --- what is not known ----------------------------------------------------------------------------


class Favourite:
    """Offers a selection method that scores and selects."""

    @hookimpl
    def extend_selection_methods(self):
        """Offers `favourite`."""

        def favourite(context, _settings):
            trial = context.score(("words",))
            return Selection("favourite", context.primary_task, ("words",), "mine", trials=(trial,))

        return [Method("favourite", favourite, "Favourite")]


def test_what_a_plugin_will_train_is_foretold_as_ours_is(tmp_path, encoder, monkeypatch):
    with_plugins(monkeypatch, Favourite())
    run_file = write_run_file(tmp_path, encoder, NAMES, method="favourite")
    values = planned(run_file, "--no-measure")
    assert counts(values)["trials"] == (1, 0, 1, True)  # the ranking is not known yet
    assert run_command("run", run_file, "--quiet").code == 0
    # Where all that it asks for is stored, it is known.
    assert counts(planned(run_file))["trials"] == (1, 1, 0, False)


# --- times ----------------------------------------------------------------------------------------


def test_times_are_measured_on_real_steps(tmp_path, encoder, monkeypatch):
    recorder = Recorder()
    with_plugins(monkeypatch, recorder)
    run_file = write_run_file(tmp_path, encoder, ("topic", "match", "words"))
    answer = run_command("plan", run_file)
    assert answer.code == 0, answer.err
    steps = [call["step"].task_name for call in recorder.of("after_train_step")]
    # Four steps for the longer of the two classification tasks, and for the tagging task.
    assert steps == ["match"] * 4 + ["words"] * 4
    assert "measured: 3 optimiser steps on each of match, words" in " ".join(answer.out.split())
    assert [path.name for path in (tmp_path / "out").glob("*/*")] == ["tokenised"]


def test_longer_tasks_take_longer(tmp_path, encoder):
    run_file = read_run_file(write_run_file(tmp_path, encoder, NAMES))
    from gradts_plugin.planning.rates import measure

    manager = make_plugin_manager(entry_points=False)
    with run_file_to_plan(run_file, manager) as engine:
        rates = measure(engine.session)
        known = make_plan(engine, final_training=True, rates=rates)
        weights = engine.session.tasks
    assert set(rates.step_seconds) == set(weights)
    assert all(seconds > 0 for seconds in rates.step_seconds.values())
    # Pairs are longer than single sentences; both are classified, so only one is measured.
    assert rates.step_seconds["match"] > rates.step_seconds["topic"]
    fine_tunings = next(part for part in known.parts if part.what == "fine-tunings")
    expected = sum(
        16 * rates.step_seconds[name] + FORWARD_SHARE * 10 * rates.step_seconds[name]
        for name in NAMES
    )
    assert fine_tunings.seconds == pytest.approx(expected + 3 * rates.setup_seconds)
    probes = next(part for part in known.parts if part.what == "probes")
    assert probes.seconds == pytest.approx(
        math.fsum(16 * rates.probe_seconds[name] for name in NAMES)
    )


# --- mistakes -------------------------------------------------------------------------------------


def test_a_folder_with_another_run_is_refused(finished, folder, encoder):
    answer = run_command("plan", written(folder, encoder, seed=9), "--quiet")
    assert answer.code == 2
    assert "holds another run: its seed is" in answer.err


def test_a_dry_run_of_jiants_arguments_names_the_command(tmp_path):
    answer = run_command("run", "--dry-run", "--jiant_task_container_config_path", "c.json")
    assert answer.code == 2
    assert "gradts-select select --dry-run with the same arguments" in answer.err


def test_select_can_be_planned_too(finished, folder):
    arguments = (
        "--jiant_task_container_config_path",
        folder / "out" / "container_config.json",
        "--hf_pretrained_model_name_or_path",
        made_from(folder / "out" / "encoder")["encoder"],
        "--model_path",
        folder / "out" / "encoder" / "model" / "model.p",
        "--primary_task",
        "topic",
        "--method",
        "trial",
        "--output_dir",
        folder / "selected",
    )
    answer = run_command("select", *arguments, "--dry-run", "--no-measure", "--quiet")
    assert answer.code == 0, answer.err
    assert "final trainings" not in answer.out
    assert "trials" in answer.out
    assert "--dry-run" not in answer.out
    assert f"--output_dir {folder / 'selected'}" in answer.out
    assert not (folder / "selected").exists()
