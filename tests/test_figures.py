"""The figures: their numbers, and that they can be drawn."""

from __future__ import annotations

import json
import struct
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from report_cases import changed, matrix_of, report_of, round_of, trial_of

from gradts_plugin.errors import ConfigError, StoreError
from gradts_plugin.records import RankedTask, Ranking
from gradts_plugin.report.figures.correlations import (
    _short,
    cluster_order,
    correlation_figure_info,
    draw_task_correlations,
)
from gradts_plugin.report.figures.files import render, write_picture, write_pictures
from gradts_plugin.report.figures.run import pictures
from gradts_plugin.report.figures.style import COLOURS
from gradts_plugin.report.inline_svg import inline_svg


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
    assert min(width, height) > 70 * number
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


# --- the pictures of a report ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def info():
    return report_of(("p", "a", "b", "c"), num_layers=2, num_heads=3)


def picture_of(info, name):
    (found,) = (picture for picture in pictures(info) if picture.name == name)
    return found


def texts_of(svg):
    root = ElementTree.fromstring(svg)
    return ["".join(part.itertext()).strip() for part in root.iter() if part.tag.endswith("text")]


def test_a_run_has_a_picture_of_each_kind(info):
    assert [picture.name for picture in pictures(info)] == [
        "ranking",
        "task-correlations",
        *(f"head-importance-{name}" for name in ("p", "a", "b", "c")),
        "trials",
        "instance-taus",
    ]


def test_what_a_run_has_no_numbers_for_is_not_drawn(info):
    bare = changed(info, ranking=None, head_maps=(), trials=(), instances=None)
    assert pictures(bare) == ()


def test_the_ranking_as_csv_and_json(info):
    lines = render(picture_of(info, "ranking"), "csv").decode().splitlines()
    assert lines[0] == "rank,task,tau,low,high,P(above next),selected"
    best, last = info.ranking.candidates[0], info.ranking.candidates[-1]
    assert lines[1] == (
        f"1,{best.task_name},{best.tau},{best.interval[0]},{best.interval[1]},0.87,yes"
    )
    assert lines[3] == f"3,{last.task_name},{last.tau},{last.interval[0]},{last.interval[1]},,no"
    values = json.loads(render(picture_of(info, "ranking"), "json"))
    assert values["rows"][2]["P(above next)"] is None
    assert [row["task"] for row in values["rows"]] == [c.task_name for c in info.ranking.candidates]


def test_head_maps_and_histograms_as_numbers(info):
    table = picture_of(info, "head-importance-a").table
    assert table.columns == ("layer", "head 1", "head 2", "head 3")
    assert tuple(row[1:] for row in table.rows) == info.head_maps[1].importance
    table = picture_of(info, "instance-taus").table
    for column, name in enumerate(table.columns):
        if name in ("a", "b", "c"):
            assert sum(row[column] for row in table.rows) == 800
    filtered = [task for task in info.instances.tasks if task.kept_counts is not None]
    assert [name for name in table.columns if name.endswith(", kept")] == [
        f"{task.task}, kept" for task in filtered
    ]


def test_the_trial_curve_names_what_each_trial_adds(info):
    first, second, third = (candidate.task_name for candidate in info.ranking.candidates)
    trials = (
        trial_of((), (0.5,)),
        trial_of((first,), (0.6,)),
        trial_of((first, second), (0.7,), num_kept={first: 3}),
        trial_of((third,), (0.6,)),
        trial_of((third,), (0.6,), mixing_ratios={"p": 5, third: 2}),
    )
    report = changed(info, trials=trials, alone=trials[0])
    texts = texts_of(render(picture_of(report, "trials"), "svg"))
    for label in ("alone", f"+ {first}", "instances", third, "5 : 2"):
        assert label in texts


def test_a_dollar_and_a_long_name_are_drawn_as_they_are():
    names = ("p", "$a_1$", "a-name-that-goes-on-and-on", "c")
    drawn = picture_of(report_of(names, num_layers=2, num_heads=2), "task-correlations")
    texts = texts_of(render(drawn, "svg"))
    assert texts.count("$a_1$") == 2
    assert texts.count("a-name-that-goes-…") == 2


EFFECTS = {
    ("b",): (0.041, 0.02, 0.062, 0.99),
    ("c",): (0.012, None, None, None),
    ("a",): (-0.03, -0.05, -0.01, 0.01),
}


def test_the_effects_of_a_search_are_drawn_best_first_with_their_intervals(info):
    earlier = round_of({("a",): (0.5, 0.4, 0.6, 0.99)})
    searched = changed(info, auxiliary_tasks=("b", "c"), rounds=(earlier, round_of(EFFECTS)))
    drawn = picture_of(searched, "effects")
    assert drawn.table.rows == (
        ("b", 0.041, 0.02, 0.062, 0.99, "yes"),
        ("c", 0.012, None, None, None, "yes"),
        ("a", -0.03, -0.05, -0.01, 0.01, "no"),
    )
    texts = texts_of(render(drawn, "svg"))
    for label in ("b", "+0.041", "\N{MINUS SIGN}0.030", "gain over p alone"):
        assert label in texts
    assert "from b (+0.041, 95 % interval [+0.020, +0.062], helps with" in drawn.description


def test_a_set_that_raced_is_selected_as_a_whole(info):
    raced = {("a",): (0.02, 0.01, 0.03, 0.99), ("a", "b"): (0.01, 0.0, 0.02, 0.9)}
    for chosen, expected in ((("a",), ["yes", "no"]), (("a", "b"), ["no", "yes"])):
        searched = changed(info, auxiliary_tasks=chosen, rounds=(round_of(raced),))
        assert [row[-1] for row in picture_of(searched, "effects").table.rows] == expected


def test_a_search_without_defined_scores_has_no_effects_to_draw(info):
    names = [picture.name for picture in pictures(changed(info, rounds=(round_of({}),)))]
    assert "effects" not in names


def test_pictures_are_written_in_every_format(info, tmp_path):
    paths = write_pictures(pictures(changed(info, head_maps=(), instances=None)), tmp_path, "pdf")
    assert {path.name for path in paths} == {"ranking.pdf", "task-correlations.pdf", "trials.pdf"}
    assert all(path.read_bytes().startswith(b"%PDF") for path in paths)
    with pytest.raises(ConfigError, match="no picture format 'pfd'; did you mean 'pdf'"):
        write_picture(picture_of(info, "ranking"), tmp_path / "ranking.pfd")


def test_an_inline_svg_takes_the_pages_colours_and_says_what_its_parts_show(info):
    svg = inline_svg(picture_of(info, "task-correlations"))
    assert not any(colour in svg for colour in COLOURS.values())
    assert "var(--figure-positive)" in svg
    assert "font-family" not in svg
    root = ElementTree.fromstring(svg)
    titles = [part.text for part in root.iter("title")]
    taus = info.ranking.task_taus
    one, other = cluster_order(taus)[:2]
    names = info.ranking.task_names
    assert len(titles) == 16
    assert titles[1] == f"{names[one]} and {names[other]}: tau {taus[one, other]:.3f}"


def test_the_stronger_the_colour_the_more_important(info):
    head_map = replace(info.head_maps[0], importance=matrix_of(np.array([[0, 0.25], [0.5, 1]])))
    bare = changed(info, ranking=None, trials=(), instances=None, head_maps=(head_map,))
    (drawn,) = pictures(bare)
    root = ElementTree.fromstring(inline_svg(drawn))
    shown = {
        part.find("title").text: part.get("style")
        for part in root.iter("path")
        if part.find("title") is not None
    }
    assert list(shown) == [
        "layer 1, head 1: 0.00",
        "layer 1, head 2: 0.25",
        "layer 2, head 1: 0.50",
        "layer 2, head 2: 1.00",
    ]
    assert "fill-opacity: 0.25" in shown["layer 1, head 2: 0.25"]
    assert "fill-opacity: 0.5" in shown["layer 2, head 1: 0.50"]
