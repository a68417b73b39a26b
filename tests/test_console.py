"""What stands in the terminal: within 80 columns, drawn only where there is one."""

from __future__ import annotations

import dataclasses
import io
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from tiny_encoders import save_tiny_encoder
from tiny_runs import run_command, write_run_file

from gradts_plugin.planning.books import Training
from gradts_plugin.planning.plan import Part, Plan
from gradts_plugin.planning.pricing import Pricing
from gradts_plugin.records import (
    BatchSize,
    Cost,
    Counters,
    Outcome,
    RankedTask,
    Ranking,
    Recipe,
    Selection,
    TaskInfo,
    TrainingPlan,
    TrainingResult,
    TrainStep,
    Trial,
)
from gradts_plugin.scores import Effect, Gain, Round, shown_duration, shown_names
from gradts_plugin.settings.training import TrainingSettings
from gradts_plugin.terminal import progress
from gradts_plugin.terminal.plan_table import print_plan
from gradts_plugin.terminal.progress import ProgressPlugin
from gradts_plugin.terminal.tables import print_outcome, print_selection, summary_table
from gradts_plugin.terminal.words import format_bytes, shown_path, time_left

WIDTH = 80

#: Fourteen tasks with names as long as they get.
NAMES = tuple(f"a-rather-long-task-name-{number}" for number in range(14))


def lines_of(show, **options):
    """What a function prints at width 80, line by line."""
    stream = io.StringIO()
    show(Console(file=stream, width=WIDTH, **options))
    return stream.getvalue().splitlines()


def assert_fits(lines):
    assert lines
    assert [line for line in lines if len(line) > WIDTH] == []


# --- progress -------------------------------------------------------------------------------------


class Clock:
    """Time that passes only when it is told to."""

    now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def step_of(number, num_steps, *, tasks=("topic",), purpose="fine-tuning"):
    recipe = Recipe("test", 1, num_steps, 1, dict.fromkeys(tasks, BatchSize(4, 2)))
    plan = TrainingPlan(purpose, tasks, tasks[0], 0, recipe)
    return {"plan": plan, "step": TrainStep(tasks[0], number, num_steps, 0.5)}


def go_through(plugin, clock, names=("topic", "match")):
    """Tells a plugin of a run: two steps of eight instances and a probe of five for each task."""
    plugin.before_phase("load", len(names))
    for name in names:
        plugin.before_task_prepared(name)
        plugin.after_task_prepared(name, 16, False)
    plugin.after_phase("load", 1.0)
    plugin.expect({"probe": len(names) * (16 + 3), "select": 2 * 19}, bound="≤")
    plugin.before_phase("probe", len(names))
    for name in names:
        for number in (1, 2):
            clock.now += 8.0
            plugin.after_train_step(**step_of(number, 2, tasks=(name,)))
        plugin.after_batch_probed(name, 5, 5)
        clock.now += 3.0
        plugin.after_task_probed(name, 0, 5, False)
    plugin.after_phase("probe", 38.0)
    plugin.before_phase("select", 2)
    clock.now += 19.0
    plugin.after_train_step(**step_of(1, 1, tasks=(*names, *NAMES), purpose="trial"))
    plugin.after_trial(names[0], Trial(names[1:], (0.75,), {}, 1, 19.0, False))
    plugin.after_phase("select", 19.0)
    plugin.close()


def test_plain_lines_have_no_control_codes_and_say_how_long_it_takes(clock):
    lines = lines_of(lambda console: go_through(ProgressPlugin(console), clock))
    assert_fits(lines)
    assert "\x1b" not in "".join(lines)
    # After 19 of 76: 19 s so far, three times as long to go.
    assert lines[3] == "probed topic (seed 0): 5 instances; ≤ 57 s left"
    assert lines[4] == "probed match (seed 0): 5 instances; ≤ 38 s left"
    assert lines[-2].startswith("trained topic + match: 0.7500, 19 s; ≤ ")
    assert lines[-1] == "select: done in 19 s"


def test_a_search_says_after_each_round_what_it_knows(clock):
    found = Gain(0.0412, 0.02, 0.062, 0.987, 1, 0, ("seeds",))
    known = Round(2, (), Effect(("match", "words"), found), None, 11, 12)

    def show(console):
        plugin = ProgressPlugin(console)
        plugin.after_round(known)
        plugin.after_round(dataclasses.replace(known, number=3, best=None))

    assert " ".join(line.strip() for line in lines_of(show)) == (
        "round 2, 11 of 12 trainings: best so far match, words, gain +0.041, 95 % interval "
        "[+0.020, +0.062], helps with probability 0.99 "
        "round 3, 11 of 12 trainings: nothing is defined yet"
    )


def test_nothing_is_said_of_the_time_left_where_nothing_is_expected(clock):
    def show(console):
        plugin = ProgressPlugin(console)
        plugin.before_phase("probe", 2)
        clock.now += 5
        plugin.after_task_probed("topic", 0, 5, False)

    assert lines_of(show) == ["probed topic (seed 0): 5 instances"]


def test_work_that_a_phase_did_not_need_is_not_waited_for(clock):
    def show(console):
        plugin = ProgressPlugin(console)
        plugin.expect({"select": 1000, "train": 16})
        plugin.before_phase("select", 5)
        clock.now += 4
        plugin.after_train_step(**step_of(1, 1, purpose="trial"))
        plugin.after_phase("select", 4.0)
        plugin.before_phase("train", 1)
        clock.now += 4
        plugin.after_train_step(**step_of(1, 2, purpose="trial"))
        plugin.after_trial("topic", Trial((), (0.5,), {}, 1, 4.0, False))

    # 16 of the 24 that are left of it took 8 seconds.
    assert lines_of(show)[-1] == "trained topic alone: 0.5000, 4 s; 4 s left"


def test_what_is_left_goes_by_the_speed_of_the_phase_and_not_of_those_before(clock):
    def show(console):
        plugin = ProgressPlugin(console)
        plugin.expect({"probe": 5 * (0.6 + 1 / 3), "select": 24, "train": 8})
        plugin.before_phase("probe", 1)
        clock.now += 1000  # a slow start
        plugin.after_task_probed("topic", 0, 5, False)
        plugin.after_phase("probe", 1000.0)
        plugin.before_phase("select", 3)
        clock.now += 4
        plugin.after_train_step(**step_of(1, 1, purpose="trial"))
        plugin.after_trial("topic", Trial((), (0.5,), {}, 1, 4.0, False))

    # Two more trials and the final training, of eight instances each, in 4 seconds each.
    assert lines_of(show)[-1] == "trained topic alone: 0.5000, 4 s; 12 s left"


def test_time_left_is_within_a_factor_of_two_from_the_first_training_on(clock):
    """A step takes as long as its tokens, and every training has to be set up."""
    tokens = {"short": 12.0, "middle": 40.0, "long": 110.0}
    tasks = [
        TaskInfo(name, "classification", 1000, "", num_dev=60, batch_tokens=each)
        for name, each in tokens.items()
    ]
    pricing = Pricing({task.name: task for task in tasks}, None)
    sizes = dict.fromkeys(tokens, BatchSize(8, 1))
    trainings = [
        ("short",),
        ("short", "middle"),
        ("short", "long"),
        ("short", "middle", "long"),
        ("short", "long", "middle"),
    ]
    plans = [
        TrainingPlan(
            "trial", names, "short", 0, Recipe("", 1, 20 * len(names), 1, sizes, task_steps=steps)
        )
        for names in trainings
        for steps in [dict.fromkeys(names, 20)]
    ]
    pieces = [Training(plan.train_tasks, plan.recipe) for plan in plans]
    told = []

    def show(console):
        plugin = ProgressPlugin(console)
        plugin.after_tasks_loaded(tuple(tasks))
        plugin.expect({"select": pricing.tokens(pieces)})
        plugin.before_phase("select", len(plans))
        for plan in plans:
            clock.now += 1.5
            for number in range(plan.recipe.max_steps):
                name = plan.train_tasks[number % len(plan.train_tasks)]
                clock.now += 8 * tokens[name] / 400
                plugin.after_train_step(plan, TrainStep(name, number + 1, 1, 0.5))
            clock.now += 60 * 12 / 400 / 3
            plugin.after_training(plan, TrainingResult(0.5, {}, (0.5,), 1, 8, 1.0, None))
            told.append((clock.now, plugin._total_left()))

    lines_of(show)
    for now, left in told[:-1]:
        number, unit, *_ = left.split()
        seconds = float(number) * {"s": 1, "min": 60}[unit]
        assert 0.5 <= seconds / (told[-1][0] - now) <= 2


def test_dev_scores_and_fitted_heads_are_work_too(clock):
    plugin = ProgressPlugin(Console(file=io.StringIO()))
    plugin.expect({"probe": 1000.0})
    plugin.after_tasks_loaded((TaskInfo("topic", "classification", 8, "", num_dev=300),))
    plugin.before_phase("probe", 2)
    plugin.after_train_step(**step_of(1, 1))
    result = TrainingResult(0.5, {}, (0.5,), 1, 8, 1.0, None)
    plugin.after_training(step_of(1, 1)["plan"], result)
    plugin.after_task_probed("topic", 0, 8, False)
    tuned = 8 + 256 / 3 + 0.6 * 8
    assert plugin._done["probe"] == pytest.approx(tuned)
    plugin.after_task_probed("topic", 0, 8, False)  # of a frozen encoder
    assert plugin._done["probe"] == pytest.approx(tuned + (0.6 + 1 / 3) * 8)
    plugin.after_task_probed("topic", 0, 8, True)
    assert plugin._done["probe"] == pytest.approx(tuned + (0.6 + 1 / 3) * 8)


def test_quiet_is_quiet(clock):
    plugin_of = lambda console: ProgressPlugin(console, quiet=True)  # noqa: E731
    for options in ({}, {"force_terminal": True}):
        assert lines_of(lambda console: go_through(plugin_of(console), clock), **options) == []


def test_a_terminal_shows_bars_for_the_phase_and_the_whole_run(clock):
    names = ("topic", NAMES[0])
    drawn = "\n".join(
        lines_of(
            lambda console: go_through(ProgressPlugin(console), clock, names),
            force_terminal=True,
            color_system=None,
        )
    )
    assert "\x1b[" in drawn  # the cursor is moved
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).replace("\r", "\n")
    assert_fits(text.splitlines())
    assert re.search(r"^probe   .*100%", text, re.MULTILINE)
    assert re.search(r"^overall .*50%", text, re.MULTILINE)
    assert "≤ 38 s left" in text


def test_a_finished_phase_leaves_one_bar(clock):
    plugin = ProgressPlugin(
        Console(file=io.StringIO(), width=WIDTH, force_terminal=True, color_system=None)
    )
    plugin.expect({"probe": 10.0})
    plugin.before_phase("probe", 1)
    progress = plugin._progress
    assert [task.fields["phase"] for task in progress.tasks] == ["probe", "overall"]
    plugin.after_phase("probe", 1.0)
    assert [task.fields["phase"] for task in progress.tasks] == ["probe"]
    assert progress.finished


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({"force_terminal": True}, True),
        ({"force_terminal": True, "force_interactive": False}, False),
    ],
)
def test_plain_is_plain_in_a_terminal_too(clock, options, plain):
    lines = lines_of(
        lambda console: go_through(ProgressPlugin(console, plain=plain), clock), **options
    )
    assert "\x1b" not in "".join(lines)
    assert "probe: done in 38 s" in lines


def test_no_color_is_honoured(clock, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    drawn = "\n".join(
        lines_of(lambda console: go_through(ProgressPlugin(console), clock), force_terminal=True)
    )
    colours = re.findall(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7])(?:;[0-9;]*)?m", drawn)
    assert colours == []


@pytest.mark.parametrize(
    ("share", "seconds", "left"),
    [(0.0, 5.0, ""), (1.0, 5.0, ""), (0.25, 20.0, "60 s"), (0.5, 600.0, "10 min")],
)
def test_time_left(share, seconds, left):
    assert time_left(share, seconds) == left


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (99.0, "99 s"), (100, "2 min"), (5940, "99 min"), (12000, "3 h 20 min")],
)
def test_durations_in_words(seconds, words):
    assert shown_duration(seconds) == words


@pytest.mark.parametrize(
    ("names", "words"), [("a", "a"), ("abcd", "a, b, c, d"), ("abcdef", "a, b, c, d and 2 more")]
)
def test_names_in_words(names, words):
    assert shown_names(names) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1200, "1.2 kB"), (45_600_000, "46 MB"), (3e12, "3.0 TB")],
)
def test_sizes_in_words(count, words):
    assert format_bytes(count) == words


# --- the end of a run -----------------------------------------------------------------------------


def outcome_of(auxiliary_tasks, *, names=NAMES[1:], steps=120):
    ranking = Ranking(
        primary_task=NAMES[0],
        candidates=tuple(RankedTask(name, 0.5, (0.4, 0.6), 0.9) for name in names),
        confidence=0.95,
        num_seeds=1,
        covers=("instances",),
        num_heads_total=144,
        task_names=(NAMES[0], *names),
        task_taus=np.eye(len(names) + 1),
    )
    alone = Trial((), (0.5,), {}, 10, 3.0, False)
    selected = Trial(auxiliary_tasks, (0.625,), {}, 20, 5.0, False, (Path("out/trials/1a2b"),))
    return Outcome(
        ranking=ranking,
        selection=Selection("trial", NAMES[0], auxiliary_tasks, "because " * 30),
        config_path=Path("out/selected_config.json"),
        selected=selected if auxiliary_tasks else alone,
        alone=alone,
        done=Counters(training_steps=steps, training_runs=5, probes=3 if steps else 0),
        seconds={"load": 1.0, "probe": 300.0, "rank": 1.0, "select": 4000.0, "train": 20000.0},
        cost=Cost(),
    )


@pytest.mark.parametrize("auxiliary_tasks", [(), NAMES[1:2], NAMES[1:]])
def test_an_outcome_fits(auxiliary_tasks):
    outcome = outcome_of(auxiliary_tasks)
    lines = lines_of(lambda console: print_outcome(console, outcome, next_commands=["type this"]))
    assert_fits(lines)
    assert lines[-2:] == ["Next:", "  type this"]
    assert "Rewritten jiant configuration: out/selected_config.json" in lines


def test_a_summary_says_what_was_selected_what_it_scored_and_what_it_took():
    outcome = outcome_of((NAMES[1],))
    lines = lines_of(lambda console: console.print(summary_table(outcome)))
    text = " ".join(" ".join(lines).replace("│", " ").split())
    assert "ranked by heads" in text
    assert f"{NAMES[0]} alone: 0.5000" in text
    assert "0.6250 (+0.1250)" in text
    assert "120 training steps in 5 runs, 3 probes" in text
    assert "probe 5 min" in text


def test_task_names_that_look_like_markup_are_shown_as_they_are():
    selection = Selection("thres", "[bold]", ("[red]x[/]",), "[/]")
    lines = lines_of(lambda console: print_selection(console, selection))
    assert lines == ["Selected for [bold]: [red]x[/]", "[/]"]


def test_paths_and_commands_are_never_broken(tmp_path):
    path = tmp_path / "a-long-folder-name" / "another-long-folder-name" / "selected.json"
    outcome = SimpleNamespace(**{**vars(outcome_of(())), "config_path": path})
    lines = lines_of(lambda console: print_outcome(console, outcome, next_commands=[f"cat {path}"]))
    assert f"Rewritten jiant configuration: {path}" in lines
    assert lines[-1] == f"  cat {path}"


def test_paths_below_the_current_folder_are_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown_path(tmp_path / "out" / "x.json") == "out/x.json"
    assert shown_path(Path("out/x.json")) == "out/x.json"
    assert shown_path(tmp_path.parent / "x.json") == str(tmp_path.parent / "x.json")


def plan_of(**changes):
    values = {
        "primary_task": NAMES[0],
        "method": "trial",
        "candidate_tasks": NAMES[1:],
        "parts": (
            Part("probe", "fine-tunings", 14, 4, 10, False, 123456, 1.0, 7200.0),
            Part("select", "trials", 14, 0, 14, True, 9876543, 1.0, 720000.0),
        ),
        "auxiliary_tasks": None,
        "importance_bytes": 10_000_000,
        "weight_bytes": 900_000_000,
        "measured": f"3 optimiser steps on each of {NAMES[0]}, {NAMES[1]}",
        "notes": ("a note " * 20,),
        **changes,
    }
    return Plan(**values)


def test_a_plan_fits_and_says_what_is_at_most():
    lines = lines_of(lambda console: print_plan(console, plan_of(), prepared_bytes=10**9))
    assert_fits(lines)
    text = " ".join(" ".join(lines).split())
    assert "│ trials │ ≤ 14 │ 0 │ ≤ 14 │ ≤ 9,876,543 │" in text
    assert "│ fine-tunings │ 14 │ 4 │ 10 │ 123,456 │ 2 h 0 min │" in text
    assert "Time: about 202 h 0 min or less; measured: 3 optimiser steps on each of" in text
    assert "importances 10 MB" in text


def test_an_unknown_part_makes_the_time_a_lower_bound():
    unknown = Part("select", "trials", None, 0, None, False, 0, 0.0, None)
    plan = plan_of(parts=(*plan_of().parts[:1], unknown))
    text = " ".join(lines_of(lambda console: print_plan(console, plan)))
    assert "or more; measured" in text
    assert "?" in text


# --- the commands to type next --------------------------------------------------------------------


def test_the_training_command_is_one_that_jiant_understands():
    from gradts_plugin.hosts.jiant import runs
    from gradts_plugin.hosts.jiant.arguments import HostArguments
    from gradts_plugin.hosts.jiant.launch import training_command

    command = training_command(
        Path("out/selected config.json"),
        HostArguments("bert-base-cased", "models/bert/model.p", learning_rate=3e-5, no_cuda=True),
        TrainingSettings(max_grad_norm=0.5),
        seed=7,
        output_dir=Path("out/jiant"),
    )
    assert_fits(command.splitlines())
    words = shlex.split(command.replace("\\\n", " "))
    assert words[:5] == ["gradts-select", "host", "-m", "jiant.proj.main.runscript", "run"]
    understood = runs.parse_run_arguments(words[5:])
    assert understood.jiant_task_container_config_path == "out/selected config.json"
    assert (understood.learning_rate, understood.max_grad_norm) == (3e-5, 0.5)
    assert (understood.seed, understood.no_cuda, understood.do_save_best) == (7, True, True)


def test_a_run_from_end_to_end_says_nothing_that_is_not_ours(tmp_path, monkeypatch):
    encoder = save_tiny_encoder("bert", tmp_path / "encoder")
    run_file = write_run_file(tmp_path, encoder, ("topic", "match"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORCE_COLOR", "1")  # as many build servers do; stderr is no terminal
    answer = run_command("run", run_file)
    assert answer.code == 0
    assert "\x1b" not in answer.err
    ours = ("load: ", "tasks: ", "fine-tuned ", "probed ", "probe: ", "rank: ", "select: ")
    ours += ("rewrite: ", "trained ", "train: ")
    assert [line for line in answer.err.splitlines() if not line.startswith(ours)] == []
    assert "Tokenizing" in (tmp_path / "out" / "host.log").read_text()
    monkeypatch.delenv("FORCE_COLOR")
    command = run_command("run", run_file).out.split("Next:\n")[1]
    assert "--jiant_task_container_config_path out/selected_config.json" in command
    assert "--model_path out/encoder/model/model.p" in command
    done = run_command(*shlex.split(command.replace("\\\n", " "))[1:])
    assert done.code == 0, done.err
    assert (tmp_path / "out" / "jiant" / "best_model.p").exists()


def test_nothing_but_ours_comes_from_rank_and_select(tmp_path, monkeypatch):
    encoder = save_tiny_encoder("bert", tmp_path / "encoder")
    run_file = write_run_file(tmp_path, encoder, ("topic", "match"))
    assert run_command("run", run_file, "--quiet").code == 0
    monkeypatch.chdir(tmp_path)
    arguments = (
        *("--jiant_task_container_config_path", "out/container_config.json"),
        *("--hf_pretrained_model_name_or_path", encoder),
        *("--model_path", "out/encoder/model/model.p"),
        *("--primary_task", "topic"),
    )
    for name, following in (("probe", "rank"), ("rank", "select"), ("select", "host")):
        answer = run_command(name, *arguments, "--plain")
        assert answer.code == 0, answer.err
        allowed = ("tasks: ", "fine-tuned ", "probed ", "trained ", "probe: ", "rank: ", "select: ")
        allowed += ("rewrite: ",)
        said = re.sub(r"Note: Beside match, topic .*?\sthem\.\n", "", answer.err, flags=re.DOTALL)
        assert [line for line in said.splitlines() if not line.startswith(allowed)] == []
        assert f"Next:\n  gradts-select {following}" in answer.out
