"""Methods side by side, through jiant on a tiny encoder."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from tiny_encoders import save_tiny_encoder
from tiny_runs import TRAINING, run_command, write_task

from gradts_plugin import comparison
from gradts_plugin.comparison import gain_agreement, oracle_order, oracle_subsets
from gradts_plugin.comparison.results import Comparison
from gradts_plugin.comparison.tables import markdown
from gradts_plugin.records import Cost, RankedTask, Ranking, TrainingPlan, TrainingResult, Trial
from gradts_plugin.terminal.comparison_progress import ComparisonProgress
from gradts_plugin.terminal.comparison_tables import print_comparison


def trial(auxiliary_tasks: tuple[str, ...], score: float) -> Trial:
    return Trial(auxiliary_tasks, (score,), {}, 1, 1.0, reused=False)


def test_the_oracle_of_few_candidates_looks_at_every_subset() -> None:
    subsets = oracle_subsets(("a", "b", "c"), ("b", "a", "c"))
    assert sorted(subsets) == sorted(
        [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]
    )


def test_the_oracle_of_many_candidates_looks_at_singles_and_prefixes() -> None:
    subsets = oracle_subsets(tuple("abcde"), tuple("ebadc"))
    assert subsets[:5] == [("a",), ("b",), ("c",), ("d",), ("e",)]
    assert subsets[5:] == [tuple("eb"), tuple("eba"), tuple("ebad"), tuple("ebadc")]


def test_agreement_compares_a_ranking_with_what_each_candidate_adds() -> None:
    result = comparison.PrimaryResult(
        primary_task="p",
        alone=trial((), 0.5),
        subsets=(trial((), 0.5), trial(("a",), 0.7), trial(("b",), 0.6), trial(("c",), 0.4)),
        oracle=trial(("a",), 0.7),
        methods=(),
    )
    assert gain_agreement(result, {"a": 3.0, "b": 2.0, "c": 1.0}) == pytest.approx(1.0)
    # One of three pairs is the wrong way round: (2 - 1) / 3.
    assert gain_agreement(result, {"b": 3.0, "a": 2.0, "c": 1.0}) == pytest.approx(1 / 3)
    assert gain_agreement(result, {"a": 1.0, "d": 2.0}) is None


def test_agreement_follows_the_order_where_the_figures_do_not_fall() -> None:
    subsets = (trial(("a",), 0.7), trial(("b",), 0.6), trial(("c",), 0.4))
    result = comparison.PrimaryResult("p", trial((), 0.5), subsets, subsets[0], ())
    # Forward selection may add the larger figure later; its order is a, b, c all the same.
    assert gain_agreement(result, {"a": 1.0, "b": 3.0, "c": 2.0}) == pytest.approx(1.0)
    # b and c tie: two of three pairs are ordered, (2 - 0) / sqrt(2 * 3).
    assert gain_agreement(result, {"a": 2.0, "b": 1.0, "c": 1.0}) == pytest.approx(2 / 6**0.5)


def ranking(order: str, ranker: str) -> Ranking:
    placed = tuple(RankedTask(name, 1.0, None, None) for name in order)
    return Ranking("p", placed, 0.95, 1, (), 0, ("p", *order), None, ranker=ranker)


def test_the_oracle_tries_the_prefixes_of_gradts_and_not_of_a_random_ranking() -> None:
    rankings = [ranking("cab", "random"), ranking("ab", "heads"), ranking("bca", "heads")]
    # The second one ranks other candidates.
    assert oracle_order("abc", rankings) == ("b", "c", "a")
    assert oracle_order("abc", rankings[:2]) == ("c", "a", "b")
    assert oracle_order("abc", []) == ("a", "b", "c")


def scored(auxiliary_tasks: tuple[str, ...], *scores: float, test: tuple[float, ...] = ()) -> Trial:
    found = trial(auxiliary_tasks, 0.0)
    return dataclasses.replace(found, scores=scores, test_scores=test)


def compared() -> Comparison:
    """Two primaries, two methods: a helps the first primary and hurts the second."""
    results = []
    for primary, with_a in (
        ("p", scored(("a",), 0.7, 0.8, test=(0.5, 0.7))),
        ("q", scored(("a",), 0.5, 0.3, test=(0.4, 0.4))),
    ):
        alone = scored((), 0.6, 0.5, test=(0.5, 0.5))
        oracle = max((alone, with_a), key=lambda found: found.score)
        methods = tuple(
            comparison.MethodResult(name, {}, None, found, cost, oracle.score - found.score)
            for name, found, cost in (
                ("none", alone, Cost()),
                ("[red]", with_a, Cost(100, 800, 90.0)),
            )
        )
        results.append(comparison.PrimaryResult(primary, alone, (alone, with_a), oracle, methods))
    return Comparison(tuple(results), seeds=2)


def test_gains_are_taken_seed_by_seed() -> None:
    alone, with_a = scored((), 0.6, 0.5), scored(("a",), 0.7, 0.8)
    assert comparison.gain(with_a, alone) == pytest.approx(0.2)
    # Differences 0.1 and 0.3.
    assert comparison.gain_spread(with_a, alone) == pytest.approx(0.02**0.5)
    assert comparison.gain_spread(scored(("a",), 0.7), scored((), 0.6)) is None
    assert comparison.gain_on_test(with_a, alone) is None


def test_means_over_primaries_by_hand() -> None:
    none, with_a = comparison.means(compared())
    assert (none.regret, none.gain, none.test_gain) == pytest.approx((0.1, 0.0, 0.0))
    assert with_a.regret == pytest.approx(0.075)
    assert with_a.gain == pytest.approx(0.025)  # 0.2 and -0.15
    assert with_a.worst_gain == pytest.approx(-0.15)
    assert with_a.test_gain == pytest.approx(0.0)  # 0.1 and -0.1
    assert (with_a.num_steps, with_a.num_examples, with_a.seconds) == (100, 800, 90)
    assert comparison.best_method(compared()) == "[red]"


def test_a_missing_test_score_is_left_blank_and_no_mean_is_made_up() -> None:
    first, second = compared().primaries
    methods = (
        second.methods[0],
        dataclasses.replace(
            second.methods[1],
            trial=dataclasses.replace(second.methods[1].trial, test_scores=()),
        ),
    )
    found = Comparison((first, dataclasses.replace(second, methods=methods)), 2)
    assert comparison.means(found)[1].test_gain is None
    assert "| [red] |  |  |" in markdown(found)
    assert "| [red] | 0.6000 ± 0.1414 | +0.1000 |" in markdown(found)


def test_the_tables_in_the_terminal_end_with_means_and_what_to_type() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80)
    print_comparison(console, compared(), files=[Path("x.md")], next_commands=["type this"])
    text = out.getvalue()
    assert text.index("p: alone") < text.index("q: alone") < text.index("Means over 2 primaries")
    assert re.search(r"\[red\] +│ 0\.0750 │ \+0\.0250 │ +\+0\.0000 │ +100 │ +90 s", text)
    assert "+0.2000 ± 0.1414" in text
    assert "Least mean regret: [red]." in text
    assert text.endswith("Next:\n  type this\n")
    assert max(map(len, text.splitlines())) <= 80


def test_trainings_are_counted_against_an_upper_bound() -> None:
    out = io.StringIO()
    progress = ComparisonProgress(Console(file=out, width=80))
    plan = TrainingPlan("trial", ("p", "a"), "p", 0, {})
    result = TrainingResult(0.5, {}, (0.5,), 4, 32, 6.0, None)
    progress.expect_trainings(11, "p, all")
    progress.after_training(plan, result)
    progress.expect_trainings(3, "p, top")  # less is left than was thought
    progress.after_training(plan, result)
    assert out.getvalue().splitlines() == [
        "1 of ≤ 11 trainings, ≤ 60 s left: p, all: p + a 0.5000",
        "2 of ≤ 4 trainings, ≤ 12 s left: p, top: p + a 0.5000",
    ]


def write_compare_file(folder: Path, **changes: Any) -> Path:
    tasks = [write_task(folder / "tasks", name) for name in ("topic", "match", "degree")]
    values = {
        "model": {
            "name_or_path": str(save_tiny_encoder("bert", folder / "encoder")),
            "max_seq_length": 24,
        },
        "tasks": [str(path) for path in tasks],
        "primaries": ["topic", "match"],
        "output_dir": "out",
        "fine_tuning": TRAINING,
        "training": {"max_steps": 3, "batch_size": 8, "learning_rate": 1e-3},
        "probing": {"model": "fine-tuned"},
        "ranking": {"bootstrap": 100},
        "evaluation_seeds": 2,
        "methods": {
            "alone": {"method": "alone"},
            "all": {"method": "all"},
            "gradts-thres": {"method": "thres"},
            "gradts-trial": {"method": "trial"},
            # What a method changes of the training is for its own trials.
            "all, cheaply": {"method": "all", "training": {"max_steps": 1}, "seed": 5},
        },
        **changes,
    }
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def key_of(record: Path) -> Any:
    return json.loads(record.read_text())["key"]


def test_methods_are_compared_and_a_rerun_trains_nothing(tmp_path: Path) -> None:
    path = write_compare_file(tmp_path, candidate_tasks=["topic", "match", "degree"])
    command = run_command("compare", path, "--json", "--plain")
    assert command.code == 0, command.err
    counted = re.findall(r"^(\d+) of ≤ (\d+) trainings", command.err, flags=re.MULTILINE)
    assert [int(done) for done, _ in counted] == list(range(1, len(counted) + 1))
    assert all(int(done) <= int(most) for done, most in counted)
    assert len(counted) == len(list((tmp_path / "out/store/trainings").iterdir())) + 3
    found = json.loads(command.out)
    assert found == json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert list(found["primaries"]) == ["topic", "match"]
    for primary, result in found["primaries"].items():
        methods = result["methods"]
        # Alone, two singles, the pair: every subset of two candidates, over two seeds each.
        assert len(result["subsets"]) == 4
        assert all(len(subset["scores"]) == 2 for subset in result["subsets"])
        best = max(subset["score"] for subset in result["subsets"])
        assert result["oracle"]["score"] == best
        assert methods["alone"]["cost"]["num_steps"] == methods["all"]["cost"]["num_steps"] == 0
        assert len(methods["all"]["trial"]["auxiliary_tasks"]) == 2
        assert methods["all, cheaply"]["trial"]["scores"] == methods["all"]["trial"]["scores"]
        assert methods["all, cheaply"]["trial"]["num_steps"] == 6
        for method in methods.values():
            assert method["regret"] == pytest.approx(best - method["trial"]["score"])
            assert primary not in method["trial"]["auxiliary_tasks"]
            assert method["gain"] == pytest.approx(
                method["trial"]["score"] - result["alone"]["score"]
            )
        # Three tasks fine-tuned for 2 steps each; the trial method also trains 3 steps a trial.
        assert methods["gradts-thres"]["cost"]["num_steps"] == 6
        tried = methods["gradts-trial"]["selection"]["trials"]
        num_trainings = sum(len(trial["scores"]) for trial in tried)
        assert methods["gradts-trial"]["cost"]["num_steps"] == 6 + 3 * num_trainings
        # Seeds 0 and 1 score, 2 and 3 decide: a lucky training must not do both.
        seeds = {
            key["seed"]
            for key in map(key_of, (tmp_path / "out/store/trainings").iterdir())
            if [name for name, _ in key["train_tasks"]] == [primary]
        }
        assert seeds == {0, 1, *range(2, 2 + len(tried[0]["scores"]))}
    store = tmp_path / "out" / "store" / "trainings"
    before = {file.name: file.stat().st_mtime_ns for file in store.iterdir()}
    again = run_command("compare", path, "--quiet")
    assert again.code == 0
    assert "Means over 2 primaries" in again.out
    best = min(found["means"].values(), key=lambda row: (row["regret"], row["seconds"]))
    name = next(name for name, row in found["means"].items() if row == best)
    config = tmp_path / "out" / "methods" / "topic" / name / "selected_config.json"
    assert config.is_file()
    assert f"--jiant_task_container_config_path {config}" in again.out.replace("'", "")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"Best on average: {name}" in page
    assert str(tmp_path / "out" / "report.html") in again.out
    written = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert written.startswith(
        "# Selection methods compared\n\nEach selection is trained for 3 steps"
    )
    assert "## Means over the primaries" in written
    assert {file.name: file.stat().st_mtime_ns for file in store.iterdir()} == before
    assert not list((tmp_path / "out").rglob("best_model.p"))


def method(**values: Any) -> dict[str, Any]:
    return {"methods": {"alone": {"method": "alone"}, "mine": values}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            method(method="trail"),
            "methods.mine.method: unknown value 'trail'; did you mean 'trial'",
        ),
        (
            method(method="top", ranking={"ranker": "embeding"}),
            "methods.mine.ranking.ranker: unknown value 'embeding'; did you mean 'embedding'",
        ),
        (
            method(method="thres", probing={"importance": "rowz"}),
            "methods.mine.probing.importance: unknown value 'rowz'; did you mean 'rows'",
        ),
        (
            method(method="all", candidate_tasks=["degre"]),
            "candidate_tasks: unknown task 'degre'; did you mean 'degree'",
        ),
        (
            method(method="all", primary_task="match"),
            "methods.mine.primary_task: is the same for all methods; leave it out",
        ),
        ({"methods": {"a/b": {"method": "all"}}}, "method name 'a/b' cannot be a folder name"),
        ({"methods": {}}, "methods: dictionary should have at least 1 item"),
        (
            {"primaries": ["topic", "mtach"]},
            "primaries: unknown task 'mtach'; did you mean 'match'",
        ),
        ({"primaries": ["topic", "topic"]}, "primaries: task 'topic' is named twice"),
        ({"candidate_tasks": ["topic"]}, "there is no candidate beside the primary task 'topic'"),
        ({"primary_task": "topic"}, "a compare file has 'primaries', not 'primary_task'"),
        ({"method": "all"}, "a compare file has 'methods', not 'method'"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_written(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    command = run_command("compare", write_compare_file(tmp_path, **changes))
    assert command.code == 2
    assert message in command.err
    assert not (tmp_path / "out").exists()
