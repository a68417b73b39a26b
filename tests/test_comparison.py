"""Methods side by side, through jiant on a tiny encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_encoders import save_tiny_encoder
from tiny_runs import TRAINING, run_command, write_task

from gradts_plugin import comparison
from gradts_plugin.comparison import gain_agreement, oracle_subsets
from gradts_plugin.records import Trial


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
    assert gain_agreement(result, {"a": 2.0, "b": 3.0, "c": 1.0}) == pytest.approx(1 / 3)
    assert gain_agreement(result, {"a": 1.0, "d": 2.0}) is None


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
        },
        **changes,
    }
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_methods_are_compared_and_a_rerun_trains_nothing(tmp_path: Path) -> None:
    path = write_compare_file(tmp_path)
    command = run_command("compare", path, "--json", "--quiet")
    assert command.code == 0, command.err
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
        for method in methods.values():
            assert method["regret"] == pytest.approx(best - method["trial"]["score"])
            assert primary not in method["trial"]["auxiliary_tasks"]
        # Three tasks fine-tuned for 2 steps each; the trial method also trains 3 steps a trial.
        assert methods["gradts-thres"]["cost"]["num_steps"] == 6
        num_trials = len(methods["gradts-trial"]["selection"]["trials"])
        assert methods["gradts-trial"]["cost"]["num_steps"] == 6 + 3 * num_trials
    store = tmp_path / "out" / "store" / "trainings"
    before = {file.name: file.stat().st_mtime_ns for file in store.iterdir()}
    assert run_command("compare", path, "--quiet").code == 0
    assert {file.name: file.stat().st_mtime_ns for file in store.iterdir()} == before
    assert not list((tmp_path / "out").rglob("best_model.p"))


def test_an_unknown_method_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = write_compare_file(tmp_path, methods={"mine": {"method": "trail"}})
    command = run_command("compare", path)
    assert command.code == 2
    assert "methods.mine.method: unknown value 'trail'; did you mean 'trial'" in command.err
    assert not (tmp_path / "out").exists()
