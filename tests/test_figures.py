"""The picture of the task correlations: its numbers, and that it can be drawn."""

from __future__ import annotations

import struct
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from gradts_plugin.errors import ConfigError, StoreError
from gradts_plugin.records import RankedTask, Ranking
from gradts_plugin.report.figures import (
    _short,
    correlation_figure_info,
    draw_task_correlations,
)


def ranking_of(taus, names=("p", "a", "b", "c")):
    taus = np.asarray(taus, dtype=np.float64)
    order = np.argsort(-taus[0, 1:], kind="stable")
    return Ranking(
        primary_task=names[0],
        candidates=tuple(RankedTask(names[1 + i], taus[0, 1 + i], (0, 0), None) for i in order),
        confidence=0.95,
        num_seeds=1,
        covers=("instances",),
        num_heads_total=72,
        task_names=tuple(names),
        task_taus=taus,
    )


TAUS = [
    [1.00, 0.10, 0.62, -0.05],
    [0.10, 1.00, 0.20, 0.33],
    [0.62, 0.20, 1.00, -0.40],
    [-0.05, 0.33, -0.40, 1.00],
]


def test_the_numbers_are_in_ranking_order_with_the_primary_first():
    info = correlation_figure_info(ranking_of(TAUS))
    assert info.task_names == ("p", "b", "a", "c")
    np.testing.assert_array_equal(
        info.taus,
        [
            [1.00, 0.62, 0.10, -0.05],
            [0.62, 1.00, 0.20, -0.40],
            [0.10, 0.20, 1.00, 0.33],
            [-0.05, -0.40, 0.33, 1.00],
        ],
    )
    assert info.limit == 0.62
    assert info.null_sd == pytest.approx(np.sqrt(2 * 149 / (9 * 72 * 71)))
    assert info.num_heads_total == 72


def test_the_colours_do_not_blow_up_small_differences():
    taus = [[1, 0.01], [0.01, 1]]
    assert correlation_figure_info(ranking_of(taus, ("p", "a"))).limit == 0.1


@pytest.mark.parametrize(
    ("tau", "text"),
    [(0.624, ".62"), (-0.05, "−.05"), (1.0, "1.00"), (-1.0, "−1.00"), (-0.001, ".00"), (0, ".00")],  # noqa: RUF001
)
def test_values_are_short(tau, text):
    assert _short(tau) == text


def test_an_svg_shows_every_task_and_every_value(tmp_path):
    path = tmp_path / "taus.svg"
    draw_task_correlations(correlation_figure_info(ranking_of(TAUS)), path)
    texts = [
        "".join(element.itertext()).strip()
        for element in ElementTree.parse(path).iter()
        if element.tag.endswith("}text")
    ]
    for name in ("p", "a", "b", "c"):
        assert texts.count(name) == 2
    for value in (".62", ".10", "−.05", ".20", "−.40", ".33"):  # noqa: RUF001
        assert texts.count(value) == 2
    assert "1.00" not in texts  # the diagonal says nothing


@pytest.mark.parametrize("number", [2, 6, 14])
def test_a_png_is_large_enough_for_its_tasks(tmp_path, number):
    names = [f"task{index}" for index in range(number)]
    path = tmp_path / "new" / "taus.png"
    draw_task_correlations(correlation_figure_info(ranking_of(np.eye(number), names)), path)
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert min(width, height) > 80 * number
    assert [entry.name for entry in path.parent.iterdir()] == ["taus.png"]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_numbers_give_the_same_file(tmp_path, suffix):
    info = correlation_figure_info(ranking_of(TAUS))
    one, other = tmp_path / f"one.{suffix}", tmp_path / f"other.{suffix}"
    draw_task_correlations(info, one)
    draw_task_correlations(info, other)
    assert one.read_bytes() == other.read_bytes()


def test_drawing_leaves_matplotlibs_settings_alone(tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    draw_task_correlations(correlation_figure_info(ranking_of(TAUS)), tmp_path / "taus.svg")
    assert dict(mpl.rcParams) == before


def test_an_unknown_format_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="no picture format 'pnk'; did you mean 'png'"):
        draw_task_correlations(correlation_figure_info(ranking_of(TAUS)), tmp_path / "taus.pnk")
    assert list(tmp_path.iterdir()) == []


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'gradts-plugin\[plots\]'"):
        draw_task_correlations(correlation_figure_info(ranking_of(TAUS)), tmp_path / "taus.png")


def test_a_folder_in_the_way_is_one_line(tmp_path):
    (tmp_path / "taus.png").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*taus.png"):
        draw_task_correlations(correlation_figure_info(ranking_of(TAUS)), tmp_path / "taus.png")
