"""Scores that are undefined, on the pages and in the figures: said, left out, never first."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import xml.etree.ElementTree as ElementTree

import pytest
from report_cases import changed, comparison_of, report_of, rescored, trial_of
from report_page import Page, rows_of

from gradts_plugin.comparison.results import Comparison
from gradts_plugin.report.comparison_page import render_comparison_page
from gradts_plugin.report.figures.comparison import comparison_pictures
from gradts_plugin.report.figures.files import render
from gradts_plugin.report.figures.methods import by_gain
from gradts_plugin.report.figures.run import pictures
from gradts_plugin.report.files import read_report, write_report_json
from gradts_plugin.report.inline_svg import inline_svg
from gradts_plugin.report.run_page import render_run_page
from gradts_plugin.scores import shown_names

UNKNOWN = (None, 0.5, 0.5)


@pytest.fixture(scope="module")
def report():
    """The first trial, which is the primary alone, has an undefined score, and so has a probe."""
    info = report_of(("p", "a", "b", "c"), num_layers=2, num_heads=3, comparison=None)
    alone = trial_of((), UNKNOWN, test_scores=(None,))
    selected = trial_of(info.auxiliary_tasks, (0.6, 0.7, 0.65), test_scores=(0.55,))
    return changed(
        info,
        trials=(alone, *info.selection.trials[1:]),
        alone=alone,
        selected=selected,
        probes=(dataclasses.replace(info.probes[0], dev_score=None), *info.probes[1:]),
    )


@pytest.fixture(scope="module")
def comparison():
    """Of two primaries; `sound` loses a little, `broken` has no score for the second one."""
    names = ("broken", "alone", "sound")  # the cheapest first
    first, second = comparison_of(("p", "q"), names).primaries.values()
    low = (0.40, 0.41, 0.42)
    return Comparison(
        3, {"p": rescored(first, sound=low), "q": rescored(second, sound=low, broken=UNKNOWN)}
    )


def picture_of(drawn, name):
    return next(picture for picture in drawn if picture.name == name)


def parts_of(picture):
    """What the drawn parts of a picture say."""
    root = ElementTree.fromstring(inline_svg(picture))
    return [part.text for part in root.iter("title")]


def texts_of(page):
    """All texts; none of them is a programmer's word for nothing."""
    text = Page(page).text
    assert not {"nan", "NaN", "None", "inf"} & set(text.replace(",", " ").split())
    return text


def test_a_run_says_undefined_where_it_has_no_score(report):
    page = render_run_page(report)
    text = texts_of(page)
    assert "p alone undefined" in text
    assert "Test score alone undefined" in text
    assert "Difference" not in text
    assert "The difference of" not in text
    trials = rows_of(page, "Dev score of p in each trial")
    assert trials[1][:5] == ["1", "alone", "undefined", "", "undefined 0.5000 0.5000"]
    assert rows_of(page, "Fine-tuned and probed tasks")[1][1].startswith("undefined, 0.")


def test_a_trial_without_a_score_is_no_point_and_not_the_best(report):
    drawn = picture_of(pictures(report), "trials")
    said = parts_of(drawn)
    assert len(said) == len(report.selection.trials) - 1
    assert not any(text.startswith("alone:") for text in said)
    best = max(trial.score for trial in report.selection.trials[1:])
    assert f"scores {best:.4f}" in drawn.description


def test_without_any_score_the_trials_are_a_figure_still(report):
    trials = tuple(trial_of(names, UNKNOWN) for names in ((), ("a",)))
    bare = changed(report, trials=trials, alone=trials[0], head_maps=())
    drawn = picture_of(pictures(bare), "trials")
    assert "No trial has a defined score." in drawn.description
    assert parts_of(drawn) == []


def test_an_undefined_score_is_null_in_files(report, tmp_path):
    drawn = picture_of(pictures(report), "trials")
    assert json.loads(render(drawn, "json"))["rows"][0]["score"] is None
    row = next(csv.DictReader(io.StringIO(render(drawn, "csv").decode())))
    assert (row["score"], row["scores per seed"]) == ("", "undefined 0.5000 0.5000")
    write_report_json(report, tmp_path)
    found = read_report(tmp_path)
    assert found.outcome.alone == report.outcome.alone
    assert found.probes == report.probes


def test_a_method_with_an_undefined_gain_stands_last_and_is_no_point(comparison):
    assert list(by_gain(comparison))[-1] == "broken"
    means, _, scores = comparison_pictures(comparison)
    said = parts_of(means)
    assert not any(text.startswith("broken: mean gain") for text in said)
    assert any(text.startswith("broken, p: ") for text in said)  # defined for the other primary
    assert not any(text.startswith("broken, q: ") for text in said)
    assert not any(text.startswith("broken") for text in parts_of(scores))
    assert any(text.startswith("sound") for text in parts_of(scores))


def test_the_page_of_a_comparison_says_undefined(comparison):
    page = render_comparison_page(comparison)
    best = next(iter(by_gain(comparison)))
    tied = shown_names([best, *comparison.tied_with(best)])
    assert f"No single best: {tied} differ by no more than chance" in texts_of(page)
    means = rows_of(page, "Selection methods, means over the primaries")
    assert means[-1][:4] == ["broken", *["undefined"] * 3]
    row = rows_of(page, "What each method selects for q")[-1]
    # score, spread, gain, interval, P(helps), regret
    assert row[2:8] == ["undefined", "", "undefined", "", "", "undefined"]


def test_without_any_defined_gain_no_method_is_called_the_best(comparison):
    second = comparison.primaries["q"]
    result = rescored(second, **dict.fromkeys(second.methods, UNKNOWN))
    text = texts_of(render_comparison_page(Comparison(3, {"q": result})))
    assert "Best on average: undefined" in text
    assert "Mean regret undefined" in text
    assert "are undefined, so the order says little" in text
