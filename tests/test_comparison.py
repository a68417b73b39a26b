"""Methods side by side: on the fake host, with scores that differ, and once through jiant."""

from __future__ import annotations

import json
import re
from io import StringIO

import pytest
import yaml
from fake_runs import TASKS, compare_file, fake_manager
from rich.console import Console
from tiny_encoders import save_tiny_encoder
from tiny_runs import TRAINING, run_command, write_task

from gradts_plugin.comparison.compare import compare
from gradts_plugin.errors import ConfigError
from gradts_plugin.json_forms import to_json
from gradts_plugin.records import Cost
from gradts_plugin.report.comparison_page import render_comparison_page
from gradts_plugin.report.files import read_comparison
from gradts_plugin.terminal.comparison_tables import print_comparison
from gradts_plugin.testing.fake_host import WEIGHTS_FILE, FakeHost
from gradts_plugin.testing.fake_training import additive_score

METHODS = {
    "alone": {"method": "alone"},
    "all": {"method": "all"},
    "thres": {"method": {"name": "thres", "threshold": {"quantile": 0.5}}},
    "trial": {"method": {"name": "trial", "patience": 1}},
    "fg": {"method": "fg"},
    "random": {"method": "top", "ranking": {"ranker": "random"}},
    # What a method changes of the training is for its own trials.
    "trial, briefly": {"method": "trial", "training": {"max_steps": 2}, "seed": 5},
}
SEEDS, STEPS, CANDIDATES = 2, 4, 4


class Comparing:
    """A comparison on a fake host, and what was told while it ran."""

    def __init__(self, folder, host=None, **changes):
        self.host = host or FakeHost(TASKS)
        self.said, self.expected = [], []
        given = {"primaries": ["goal"], "methods": METHODS, "evaluation_seeds": SEEDS, **changes}
        self.result = compare(
            compare_file(folder, **given),
            fake_manager(self.host),
            report=self.said.append,
            expect=lambda left, part: self.expected.append((len(self.host.trained), left, part)),
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def compared(folder):
    names = [task.name for task in TASKS]
    return Comparing(folder, primaries=["goal", "degree"], candidate_tasks=names)


def test_the_oracle_is_the_best_of_every_subset(compared):
    for result in compared.result.primaries.values():
        whole = {frozenset(trial.auxiliary_tasks): trial for trial in result.subsets}
        assert len(whole) == len(result.subsets) == 2**CANDIDATES
        means = [trial.score for trial in result.subsets]
        assert len(set(means)) == len(means)
        assert result.oracle.score == max(means) > result.alone.score
        assert result.alone == whole[frozenset()]
        for trial in result.subsets:
            assert len(trial.scores) == SEEDS


def test_regret_and_gain_are_against_the_oracle_and_the_primary_alone(compared):
    for result in compared.result.primaries.values():
        for name, method in result.methods.items():
            score = method.trial.score
            assert method.regret == pytest.approx(result.oracle.score - score)
            assert method.gain == pytest.approx(score - result.alone.score)
            assert method.trial.auxiliary_tasks == method.selection.auxiliary_tasks
            assert len(method.trial.scores) == SEEDS, name
        assert result.methods["alone"].regret > 0
        assert len({method.gain for method in result.methods.values()}) > 1


def test_no_primary_is_a_candidate_of_its_own(compared):
    for primary, result in compared.result.primaries.items():
        assert set(result.methods["all"].trial.auxiliary_tasks) == {
            task.name for task in TASKS if task.name != primary
        }
        assert not any(primary in trial.auxiliary_tasks for trial in result.subsets)


def test_a_method_s_cost_is_what_it_chose_by_and_no_scoring(compared):
    for result in compared.result.primaries.values():
        methods = result.methods
        assert methods["alone"].cost == methods["all"].cost == Cost()
        assert methods["random"].cost.num_steps == methods["thres"].cost.num_steps == 0
        assert methods["thres"].cost.num_examples > 0  # the probes
        for name, steps in (("trial", STEPS), ("trial, briefly", 2)):
            tried = sum(len(trial.scores) for trial in methods[name].selection.trials)
            assert methods[name].cost.num_steps == steps * tried


def test_what_a_method_changes_of_the_training_is_for_its_own_trials(compared):
    for result in compared.result.primaries.values():
        trial = result.methods["trial, briefly"].trial
        assert trial.num_steps == SEEDS * STEPS
        chosen = set(trial.auxiliary_tasks)
        same = [known for known in result.subsets if set(known.auxiliary_tasks) == chosen]
        assert [known.scores for known in same] == [trial.scores]


def test_seeds_that_choose_score_nothing(compared):
    """Otherwise a lucky training would decide and be scored at once."""

    def seeds(length):
        return {plan.seed for plan in compared.host.trained if plan.recipe.max_steps == length}

    # Those of the evaluation, and one to choose with and one to confirm, where there is a new best.
    assert {0, 1, 2} <= seeds(STEPS) <= {0, 1, 2, 3}
    assert {5} <= seeds(2) <= {5, 6}
    for result in compared.result.primaries.values():
        scores = {score for trial in result.subsets for score in trial.scores}
        for name in ("trial", "trial, briefly"):
            chose = {score for t in result.methods[name].selection.trials for score in t.scores}
            assert not chose & scores


def test_no_weights_are_left(compared, folder):
    assert not list(folder.rglob(WEIGHTS_FILE))
    assert len(list(folder.glob("out/methods/*/*/selected_config.json"))) == 2 * len(METHODS)


def test_one_host_is_opened_for_all_methods_and_primaries(compared):
    assert compared.host.asked["open"] == 1


def test_no_more_is_trained_than_was_expected(compared):
    parts = [part for _, _, part in compared.expected]
    assert parts == [
        f"{name}, {part}" for name in ("goal", "degree") for part in (*METHODS, "oracle")
    ]
    total = len(compared.host.trained)
    for done, left, part in compared.expected:
        assert total - done <= left, part


def test_what_is_expected_are_all_seeds_of_every_selection_and_subset(tmp_path):
    found = Comparing(tmp_path, methods={"alone": METHODS["alone"]})
    of_oracle = SEEDS * 2**CANDIDATES
    assert found.expected == [
        (0, SEEDS + of_oracle, "goal, alone"),
        (SEEDS, of_oracle, "goal, oracle"),
    ]


def test_with_equal_exposure_alone_is_two_trainings_a_seed(tmp_path):
    training = {"max_steps": STEPS, "exposure": "equal"}
    found = Comparing(tmp_path, methods={"alone": METHODS["alone"]}, training=training)
    of_subsets = SEEDS * (2**CANDIDATES - 1)
    assert found.expected == [
        # Its own two lengths with the one seed it chooses by, and with those that score.
        (0, 2 + 2 * SEEDS + 2 * SEEDS + of_subsets, "goal, alone"),
        (2 + 2 * SEEDS, 2 * SEEDS + of_subsets, "goal, oracle"),
    ]
    assert len(found.host.trained) == 2 + 2 * SEEDS + of_subsets


def test_a_line_is_said_of_each_method_and_each_subset(compared):
    for primary, result in compared.result.primaries.items():
        assert f"{primary}, alone: none scores {result.alone.score:.4f} after 0 steps, 0 s" in (
            compared.said
        )
        best = result.oracle
        line = f"{primary}, oracle: {', '.join(best.auxiliary_tasks)} {best.score:.4f}"
        assert line in compared.said


def test_all_of_it_is_in_the_files(compared, folder):
    written = json.loads((folder / "out" / "comparison.json").read_text())
    assert written == to_json(compared.result)
    read = read_comparison(folder / "out")
    for primary, result in compared.result.primaries.items():
        assert read.primaries[primary].subsets == result.subsets
        for name, method in result.methods.items():
            if not method.selection.kept_instances:  # which instances are kept is not written
                assert to_json(read.primaries[primary].methods[name]) == to_json(method)
    text = (folder / "out" / "comparison.md").read_text()
    assert text.startswith("# Selection methods compared\n\nEach selection is trained for 4 steps")
    assert "over 2 seeds" in text
    assert "## Means over the primaries" in text


def test_what_has_to_be_known_of_the_scores_stands_in_every_form(tmp_path):
    # Alone reaches 1: nothing is left to gain.
    host = FakeHost(TASKS, score=lambda _: 1.0)
    compared = Comparing(tmp_path, host, methods={"all": METHODS["all"]}).result
    note = "Alone, the primary scores 1.000 already: at most 0.000 is left to gain."
    assert note in compared.primaries["goal"].notes
    console = Console(file=StringIO(), width=200)
    print_comparison(console, compared, files=[])
    for text in (
        console.file.getvalue(),
        render_comparison_page(compared),
        (tmp_path / "out" / "comparison.md").read_text(),
    ):
        assert f"Note: {note}" in text
    assert note in read_comparison(tmp_path / "out").primaries["goal"].notes


def test_a_killed_comparison_goes_on_where_it_stopped(tmp_path):
    class Killed(FakeHost):
        def train(self, plan, output_dir, schedule=None):
            if len(self.trained) == 12:
                raise KeyboardInterrupt
            return super().train(plan, output_dir, schedule)

    names = ["goal", "degree", "related"]
    methods = {name: METHODS[name] for name in ("thres", "trial", "trial, briefly")}
    given = {"primaries": names[:2], "candidate_tasks": names, "methods": methods}
    whole = Comparing(tmp_path / "whole", **given)
    with pytest.raises(KeyboardInterrupt):
        Comparing(tmp_path / "killed", Killed(TASKS), **given)
    rest = Comparing(tmp_path / "killed", **given)
    assert 12 + len(rest.host.trained) == len(whole.host.trained)
    assert not list(tmp_path.rglob(WEIGHTS_FILE))
    again = Comparing(tmp_path / "whole", **given)
    assert not again.host.trained
    for found in (rest, again):
        assert found.result.means.keys() == whole.result.means.keys()
        for primary, expected in whole.result.primaries.items():
            for name, method in found.result.primaries[primary].methods.items():
                of_whole = expected.methods[name]
                assert method.trial.scores == of_whole.trial.scores
                assert method.regret == of_whole.regret
                assert method.cost.num_steps == of_whole.cost.num_steps
                assert method.cost.num_examples == of_whole.cost.num_examples


def test_an_undefined_score_is_no_oracle_and_makes_no_gain(tmp_path):
    def score(training):
        if "related" in training.auxiliary_tasks:
            return None
        return additive_score(training)

    found = Comparing(tmp_path, FakeHost(TASKS, score=score)).result.primaries["goal"]
    assert "related" not in found.oracle.auxiliary_tasks
    defined = [trial.score for trial in found.subsets if trial.score is not None]
    assert found.oracle.score == max(defined)
    assert len(defined) == 2 ** (CANDIDATES - 1)
    of_all = found.methods["all"]
    assert (of_all.trial.score, of_all.gain, of_all.regret) == (None, None, None)


def test_without_an_oracle_only_what_is_selected_is_trained(tmp_path):
    # As published, the filtered instances are trained whatever they score: that is no subset.
    methods = {"alone": METHODS["alone"], "all": METHODS["all"]}
    methods["fg"] = {"method": "fg", "faithful": True}
    found = Comparing(tmp_path, methods=methods, oracle=False)
    (result,) = found.result.primaries.values()
    assert result.methods["fg"].trial.num_kept
    assert [set(trial.auxiliary_tasks) for trial in result.subsets] == [
        set(),
        {task.name for task in TASKS[1:]},
    ]
    scoring = [plan for plan in found.host.trained if plan.seed < SEEDS]
    assert len(scoring) == 3 * SEEDS


def test_of_many_candidates_the_oracle_tries_the_prefixes_of_gradts(tmp_path, monkeypatch):
    monkeypatch.setattr("gradts_plugin.comparison.oracle.MAX_CANDIDATES_FOR_ALL_SUBSETS", 3)
    found = Comparing(tmp_path, methods={name: METHODS[name] for name in ("random", "thres")})
    (result,) = found.result.primaries.values()
    order = list(result.methods["thres"].ranking)
    assert order != list(result.methods["random"].ranking)
    trained = {frozenset(trial.auxiliary_tasks) for trial in result.subsets}
    assert trained >= {frozenset(order[:size]) for size in range(len(order) + 1)}
    assert trained >= {frozenset([name]) for name in order}


def mine(**values):
    return {"methods": {"alone": {"method": "alone"}, "mine": values}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (mine(method="trail"), "methods.mine.method: unknown value 'trail'; did you mean 'trial'"),
        (
            mine(method={"name": "trial", "patients": 3}),
            "methods.mine.method: unknown key 'patients'; did you mean 'patience'",
        ),
        (
            mine(method="top", ranking={"ranker": "embeding"}),
            "methods.mine.ranking.ranker: unknown value 'embeding'; did you mean 'embedding'",
        ),
        (
            mine(method="thres", probing={"importance": "rowz"}),
            "methods.mine.probing.importance: unknown value 'rowz'; did you mean 'rows'",
        ),
        (mine(seeds=2), "methods.mine.method: unknown value None"),
        (
            mine(method="all", candidate_tasks=["degre"]),
            "candidate_tasks: unknown task 'degre'; did you mean 'degree'",
        ),
        (
            mine(method="all", primary_task="words"),
            "methods.mine.primary_task: is the same for all methods; leave it out",
        ),
        ({"methods": {"a/b": {"method": "all"}}}, "method name 'a/b' cannot be a folder name"),
        ({"methods": {}}, "methods: at least 1 are needed"),
        (
            {"primaries": ["goal", "degre"]},
            "primaries: unknown task 'degre'; did you mean 'degree'",
        ),
        ({"primaries": ["goal", "goal"]}, "primaries: task 'goal' is named twice"),
        ({"candidate_tasks": ["goal"]}, "there is no candidate beside the primary task 'goal'"),
        ({"primary_task": "goal"}, "a compare file has 'primaries', not 'primary_task'"),
        ({"method": "all"}, "a compare file has 'methods', not 'method'"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=re.escape(message)):
        Comparing(tmp_path, **changes)
    assert not (tmp_path / "out").exists()


# --- through jiant --------------------------------------------------------------------------------


def test_methods_are_compared_through_jiant_and_a_rerun_trains_nothing(tmp_path):
    tasks = [write_task(tmp_path / "tasks", name) for name in ("topic", "match", "degree")]
    encoder = save_tiny_encoder("bert", tmp_path / "encoder")
    values = {
        "model": {"name_or_path": str(encoder), "max_seq_length": 24},
        "tasks": [str(path) for path in tasks],
        "primaries": ["topic", "match"],
        "output_dir": "out",
        "fine_tuning": TRAINING,
        "training": {**TRAINING, "epochs": None, "max_steps": 3},
        "probing": {"model": "fine-tuned"},
        "ranking": {"bootstrap": 100},
        "evaluation_seeds": 2,
        "methods": {name: METHODS[name] for name in ("alone", "thres", "trial")},
    }
    path = tmp_path / "compare.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    command = run_command("compare", path, "--json", "--plain")
    assert command.code == 0, command.err
    out = tmp_path / "out"
    counted = re.findall(r"^(\d+) of ≤ (\d+) trainings", command.err, flags=re.MULTILINE)
    assert [int(done) for done, _ in counted] == list(range(1, len(counted) + 1))
    assert all(int(done) <= int(most) for done, most in counted)
    stored = list((out / "store" / "trainings").glob("*.json"))
    assert len(counted) == len(stored) + 3  # the fine-tunings
    found = json.loads(command.out)
    assert found == json.loads((out / "comparison.json").read_text())
    for result in found["primaries"].values():
        # Alone, two singles, the pair: every subset of two candidates, over two seeds each.
        assert [len(subset["scores"]) for subset in result["subsets"]] == [2] * 4
        # Three tasks fine-tuned for 2 steps each; the trial method also trains 3 steps a trial.
        assert result["methods"]["thres"]["cost"]["num_steps"] == 6
        tried = result["methods"]["trial"]["selection"]["trials"]
        num_trainings = sum(len(trial["scores"]) for trial in tried)
        assert result["methods"]["trial"]["cost"]["num_steps"] == 6 + 3 * num_trainings
    before = {file: file.stat().st_mtime_ns for file in stored}
    again = run_command("compare", path, "--quiet")
    assert again.code == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert "Means over 2 primaries" in again.out
    best = min(found["means"].items(), key=lambda row: (row[1]["regret"], row[1]["seconds"]))[0]
    config = out / "methods" / "topic" / best / "selected_config.json"
    assert config.is_file()
    assert f"--jiant_task_container_config_path {config}" in again.out.replace("'", "")
    assert str(out / "report.html") in again.out
    assert f"No single best: {best}" in (out / "report.html").read_text(encoding="utf-8")
    assert not list(out.rglob("best_model.p"))
