"""The report: what it says, that it is one closed file, and what happens to bad input."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import sys

import numpy as np
import pytest
from report_cases import changed, comparison_of, report_of, rescored, round_of, trial_of
from report_page import Page
from tiny_encoders import save_tiny_encoder
from tiny_runs import run_command, write_run_file

from gradts_plugin.comparison.results import Comparison
from gradts_plugin.errors import ConfigError
from gradts_plugin.hosts.jiant.shares import shares_of
from gradts_plugin.json_forms import to_json
from gradts_plugin.records import Cost, RankedTask
from gradts_plugin.report.certainty import run_certainty
from gradts_plugin.report.collect import _cut
from gradts_plugin.report.comparison_page import render_comparison_page
from gradts_plugin.report.figures.correlations import cluster_order
from gradts_plugin.report.figures.methods import by_gain
from gradts_plugin.report.figures.run import pictures
from gradts_plugin.report.files import read_comparison, read_report, write_report_json
from gradts_plugin.report.inline_svg import inline_svg
from gradts_plugin.report.record import ProbeInfo
from gradts_plugin.report.run_page import render_run_page
from gradts_plugin.report.words import cell

SMALL = {"names": ("p", "a", "b", "c"), "num_layers": 2, "num_heads": 3}


@pytest.fixture(scope="module")
def large():
    """Fourteen tasks on an encoder of 24 layers with 16 heads."""
    return render_run_page(report_of(num_layers=24, num_heads=16))


@pytest.fixture(scope="module")
def small():
    return render_run_page(report_of(**SMALL))


@pytest.fixture
def undrawn(monkeypatch):
    """Pages of this test have empty pictures, which are quick."""
    monkeypatch.setattr("gradts_plugin.report.page.inline_svg", lambda picture: "<svg></svg>")


# --- contents -------------------------------------------------------------------------------------


def test_the_answer_comes_first(large):
    text = Page(large).text
    start = text.index("Selected: qqp, mrpc")
    for said in ("0.6343 ± 0.0055", "0.5860 ± 0.0111", "+0.0483", "70 min", "5,120 training steps"):
        assert start < text.index(said) < text.index("The ranking")


def test_nothing_selected_is_an_answer(undrawn):
    alone = trial_of((), (0.5, 0.6))
    info = report_of(
        **SMALL,
        auxiliary_tasks=(),
        num_kept={},
        selected=alone,
        alone=alone,
        reason="no auxiliary helps",
    )
    text = Page(render_run_page(info)).text
    assert "Selected: none no auxiliary helps." in text
    assert "Difference" not in text


def test_every_number_of_every_picture_is_in_a_table(small):
    info = report_of(**SMALL)
    text = Page(small).text.replace("\N{MINUS SIGN}", "-")
    for candidate in info.ranking.candidates:
        assert f"{candidate.tau:.3f} {candidate.interval[0]:.3f}" in text
    for head_map in info.head_maps:
        for row in head_map.importance:
            assert " ".join(f"{value:.3f}" for value in row) in text
    order = cluster_order(info.ranking.task_taus)
    for row in info.ranking.task_taus[np.ix_(order, order)]:
        assert " ".join(f"{value:.3f}" for value in row) in text
    for trial in info.selection.trials:
        assert f"{trial.score:.3f} {trial.spread:.3f}" in text


def test_all_of_it_is_there(large):
    text = Page(large).text
    for said in (
        "A man is eating. | Somebody eats.",
        "theta",
        "ProportionalMultiTaskSampler",
        "54.8%",  # 1000 of 1824 instances
        "19 min",  # of probing
        "Found stored: 3 trainings, 2 probes.",
        "fine_tuning.epochs",
        "versions.jiant",
        "bert-base-cased",
        "Compared with other methods",
        "truly stands above mnli, the first one left out, with probability 0.87",
    ):
        assert said in text
    assert [tag for tag, _ in Page(large).elements].count(
        "svg"
    ) == 4 + 14 + 1  # the last of the comparison


@pytest.mark.parametrize("model", ["frozen", "fine-tuned"])
def test_a_frozen_probe_is_not_taken_for_a_failed_fine_tuning(model, undrawn):
    probes = (ProbeInfo("p", 0, 96, None if model == "frozen" else 0.7, 4.9),)
    settings = {"probing": {"model": model}}
    maps = report_of(**SMALL).head_maps[:1]
    info = report_of(**SMALL, settings=settings, probes=probes, head_maps=maps)
    text = Page(render_run_page(info)).text
    probing = text[text.index("Probing" if model == "frozen" else "Fine-tuning and") :]
    table = probing[: probing.index("The trials")]
    assert ("Nothing was fine-tuned" in table) == (model == "frozen")
    assert ("own dev score" in table) == (model != "frozen")
    assert "undefined" not in table
    assert table.split()[-4:] == (
        ["p", "96", "5", "s"] if model == "frozen" else ["0.700", "96", "5", "s"]
    )


def test_without_a_filter_no_column_of_kept_instances_is_shown(undrawn):
    instances = report_of(**SMALL).instances
    plain = dataclasses.replace(instances, threshold=None)
    columns = "median tau kept share kept"
    assert columns in Page(render_run_page(report_of(**SMALL, instances=instances))).text
    without = Page(render_run_page(report_of(**SMALL, instances=plain))).text
    assert columns not in without
    assert "not filtered" not in without


def test_numbers_stand_below_their_columns_names(small):
    """A header is aligned as the cells below it."""
    numeric = {}
    for table in re.findall(r"<table.*?</table>", small, re.DOTALL):
        head, body = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)[:2]
        names = re.findall(r"<th([^>]*)>", head)
        cells = re.findall(r"<t[hd]([^>]*)>([^<]*)<", body)
        for name, (value, text) in zip(names, cells, strict=True):
            if text:
                numeric.setdefault("number" in value, []).append("number" in name)
    assert all(numeric[True])
    assert not any(numeric[False])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.500"), (-0.5, "\N{MINUS SIGN}0.500"), (94.5, "94.5"), (1266.4, "1,266"), (3, "3")],
)
def test_cells_have_the_digits_that_are_read(value, text):
    assert cell(value) == text


def test_without_ranking_probes_and_trials_the_rest_is_shown():
    info = report_of(
        **SMALL,
        method="all",
        ranking=None,
        head_maps=(),
        probes=(),
        trials=(),
        instances=None,
        shares_before=None,
        selected=None,
        alone=None,
        comparison=None,
    )
    page = Page(render_run_page(info))
    assert "svg" not in [tag for tag, _ in page.elements]
    assert "The selection was not trained in this run." in page.text
    assert "Time and reuse" in page.text


def test_a_search_shows_what_auxiliaries_add_and_what_that_took(tmp_path):
    effects = {("a",): (0.041, 0.02, 0.062, 0.99), ("b",): (-0.03, -0.05, -0.01, 0.01)}
    info = report_of(**SMALL, rounds=(round_of(effects), round_of(effects, number=2)))
    page = Page(render_run_page(info))
    assert "The search ended after 2 rounds with 12 of 12 trainings" in page.text
    assert "Adding up the effects foretells 75.0% of how the scores differ" in page.text
    path = tmp_path / "report.json"
    write_report_json(info, path)
    assert read_report(path).selection.rounds == info.selection.rounds
    no_fit = Page(render_run_page(changed(info, rounds=(round_of(effects, fit=None),))))
    assert "Adding up" not in no_fit.text


def test_a_ranking_without_intervals_can_be_shown():
    info = report_of(**SMALL)
    bare = tuple(
        dataclasses.replace(candidate, interval=None, probability_above_next=None)
        for candidate in info.ranking.candidates
    )
    ranking = dataclasses.replace(
        info.ranking, ranker="size", measure="instances", task_taus=None, candidates=bare
    )
    page = Page(render_run_page(changed(info, ranking=ranking, head_maps=())))
    assert "gives no intervals" in page.text


@pytest.mark.parametrize("name", ["threshold", "instance_threshold"])
def test_a_threshold_of_candidates_is_drawn_in_the_ranking(name):
    info, judged = report_of(**SMALL), report_of(**SMALL, **{name: 0.25})
    drawn = [inline_svg(pictures(report)[0]) for report in (info, judged)]
    assert (drawn[0] != drawn[1]) == (name == "threshold")
    text = Page(render_run_page(judged)).text
    assert ("Dashed line: the threshold, 0.250." in text) == (name == "threshold")


def test_the_page_says_how_method_and_ranker_are_called(undrawn):
    titles = {"method_title": "Mine", "method_summary": "Takes what I like.", "ranker_title": "My"}
    info = report_of(**SMALL, **titles)
    text = Page(render_run_page(info)).text
    assert "Method: Mine. Takes what I like. Cost:" in text
    assert "by tau: how much a task relies on the same attention heads as p, best" in text
    other = dataclasses.replace(info.ranking, num_heads_total=0, task_taus=None, measure="luck")
    text = Page(render_run_page(changed(info, ranking=other, head_maps=()))).text
    assert "The candidates by luck (My), best first." in text


def test_the_page_says_what_is_not_sure():
    one = trial_of(("a",), (0.7,))
    ranking = dataclasses.replace(report_of(**SMALL).ranking, num_seeds=1, covers=("instances",))
    info = report_of(**SMALL, trials=(), selected=one, alone=trial_of((), (0.6,)), ranking=ranking)
    said = " ".join(run_certainty(info))
    assert "+0.1000 rests on one training seed" in said
    assert "one fine-tuning seed" in said
    assert "optimistic" not in said  # no score was looked at
    assert "optimistic" in " ".join(run_certainty(report_of(**SMALL)))


def test_what_may_be_typed_is_marked_on_the_page_and_nothing_in_a_note_is_markup():
    info = report_of(**SMALL)
    notes = ("set `training: {exposure: equal}` or <b>`x < 1`</b>",)
    page = render_run_page(changed(info, notes=notes))
    assert (
        "<li>set <code>training: {exposure: equal}</code> or "
        "&lt;b&gt;<code>x &lt; 1</code>&lt;/b&gt;</li>"
    ) in page


def test_the_page_says_how_well_the_gradients_estimates_foretold_the_trials():
    info = report_of(**SMALL)
    first, second = info.ranking.task_order[:2]
    ranked = tuple(RankedTask(name, tau, None, None) for name, tau in ((first, 0.3), (second, 0.1)))
    ranking = dataclasses.replace(info.ranking, candidates=ranked, ranker="gradients")
    # The estimates rise from set to set, and the scores rise and fall: of three pairs one is wrong.
    scores = {(): 0.5, (first,): 0.7, (second, first): 0.6}
    trials = [trial_of(names, (score,)) for names, score in scores.items()]
    said = run_certainty(changed(info, ranking=ranking, trials=tuple(trials)))
    assert said[-1] == (
        "The scores of 3 trained sets are in the order of the gradients' estimates with tau +0.33 "
        "(1: the same order, 0: unrelated, \N{MINUS SIGN}1: reversed)."
    )
    for other in (changed(info, ranking=ranking, trials=tuple(trials[:2])), info):
        assert "estimates" not in " ".join(run_certainty(other))


# --- one closed, escaped, accessible file ---------------------------------------------------------


def test_the_page_fetches_nothing(large):
    for tag, attributes in Page(large).elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:,")), (tag, attributes)
    assert not re.search(r"url\((?!#)|@import|https?://|fetch\(|XMLHttpRequest", large)


def test_fourteen_tasks_of_a_large_encoder_stay_below_3_mb(large):
    assert len(large.encode()) < 3_000_000


EVIL = "</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}$x$"


def test_texts_and_names_with_markup_change_nothing(small):
    info = report_of((EVIL, f"a{EVIL}", "b", "c"), num_layers=2, num_heads=3, reason=EVIL)
    info = changed(
        info,
        instances=dataclasses.replace(
            info.instances,
            tasks=tuple(
                dataclasses.replace(
                    task,
                    kept=tuple(dataclasses.replace(example, text=EVIL) for example in task.kept),
                )
                for task in info.instances.tasks
            ),
        ),
        settings={EVIL: EVIL},
    )
    page = Page(render_run_page(info))
    tags = [tag for tag, _ in page.elements]
    assert "img" not in tags
    assert tags.count("script") == 1
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert EVIL in page.texts  # as it was written
    assert set(tags) == {tag for tag, _ in Page(small).elements}


def test_headings_are_in_order_and_tables_have_scopes_and_ids_are_unique(large):
    elements = Page(large).elements
    levels = [int(tag[1]) for tag, _ in elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all("scope" in attributes for tag, attributes in elements if tag == "th")
    assert all(
        attributes.get("aria-label")
        for _, attributes in elements
        if attributes.get("role") == "img"
    )
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert ("html", {"lang": "en"}) in elements


def test_the_same_numbers_give_the_same_page(small):
    assert render_run_page(report_of(**SMALL)) == small


# --- report.json ----------------------------------------------------------------------------------


def test_what_is_written_is_read_back(tmp_path):
    info = report_of(**SMALL, comparison=None)
    write_report_json(info, tmp_path)
    found = read_report(tmp_path)
    np.testing.assert_array_equal(found.ranking.task_taus, info.ranking.task_taus)
    same = dataclasses.replace(found.ranking, task_taus=info.ranking.task_taus)
    assert changed(found, ranking=same) == info  # records with arrays are not compared by ==


def test_a_comparison_beside_it_is_shown(tmp_path, undrawn):
    info = report_of(**SMALL, comparison=None)
    write_report_json(info, tmp_path)
    comparison = comparison_of(("p",), ("alone", "mine"))
    written_comparison(tmp_path, comparison)
    found = read_report(tmp_path)
    assert found.comparison == comparison
    text = Page(render_run_page(found)).text
    assert "What each method selects for p" in text
    assert f"{comparison.primaries['p'].methods['mine'].regret:.3f}" in text


# --- a comparison ---------------------------------------------------------------------------------


def written_comparison(folder, comparison):
    (folder / "comparison.json").write_text(json.dumps(to_json(comparison)))
    return folder


def test_a_comparison_has_a_page_and_figures_of_its_own(tmp_path):
    comparison = comparison_of()
    folder = written_comparison(tmp_path, comparison)
    assert read_comparison(folder) == comparison
    answer = run_command("report", folder)
    assert (answer.code, answer.err) == (0, "")
    text = Page((folder / "report.html").read_text()).text
    name, best = next(iter(by_gain(comparison).items()))
    start = text.index(f"No single best: {name}, ")
    said = (f"{best.gain:+.4f}", f"{best.regret:.4f}", "How sure is that?", "All methods", "cola")
    places = [text.index(part, start) for part in said]
    assert places == sorted(places)
    for compared in comparison.primaries.values():
        for name, method in compared.methods.items():
            gain = method.trial.score - compared.alone.score
            row = f"{method.trial.score:.3f} {method.trial.spread:.3f} {gain:.3f}"
            selected = ", ".join(method.trial.auxiliary_tasks) or "none"
            assert f"{name} {selected} {row}" in text.replace("\N{MINUS SIGN}", "-")
    answer = run_command("figures", folder, "--format", "csv")
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in (folder / "figures").iterdir()) == [
        "methods-cola.csv",
        "methods-mrpc.csv",
        "methods-rte.csv",
        "methods.csv",
    ]


def test_the_best_mean_gain_comes_first():
    comparison = comparison_of(("p", "q"), ("alone", "mine"))
    order = [method.gain for method in by_gain(comparison_of()).values()]
    assert order == sorted(order, reverse=True)
    assert by_gain(comparison) == comparison.means


def one_primary(**scores):
    """A comparison for one primary; some methods have other scores."""
    result = comparison_of(("p",), ("alone", "mine")).primaries["p"]
    return Comparison(len(next(iter(scores.values()))), {"p": rescored(result, **scores)})


def test_of_equal_methods_the_cheaper_comes_first():
    comparison = one_primary(alone=(0.5,), mine=(0.5,))
    result = comparison.primaries["p"]
    turned = dataclasses.replace(result, methods=dict(reversed(result.methods.items())))
    assert list(by_gain(Comparison(1, {"p": turned}))) == ["alone", "mine"]


def test_a_comparison_with_one_seed_and_one_primary_says_so(undrawn):
    text = Page(render_comparison_page(one_primary(alone=(0.5,), mine=(0.5,)))).text
    assert "Each score rests on one seed" in text
    assert "One primary says little about others." in text


def test_names_with_markup_change_nothing_in_a_comparison():
    page = render_comparison_page(comparison_of(("<b>p</b>",), ("alone", "<script>x()</script>")))
    tags = {tag for tag, _ in Page(page).elements}
    assert not {"b", "script"} & tags
    assert "<b>p</b>" in Page(page).text


@pytest.mark.parametrize("command", ["report", "figures"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "broken JSON"),
        ("[]", "is damaged"),
        ('{"seeds": 3, "primaries": {}}', "compares nothing"),
        ('{"seeds": 3}', "is damaged: primaries"),
    ],
)
def test_a_broken_comparison_is_one_line(tmp_path, command, content, said):
    (tmp_path / "comparison.json").write_text(content)
    answer = run_command(command, tmp_path)
    assert (answer.code, len(answer.err.splitlines())) == (2, 1)
    assert said in answer.err


@pytest.mark.parametrize("command", ["report", "figures"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "holds no report.json; run the run file again"),
        ("{", "broken JSON"),
        ("[]", "expected a report, found list"),
        ('{"format_version": 99}', "has format version 99, this version reads 2"),
        ('{"format_version": 1}', "this version reads 2; run the run file again"),
        ('{"format_version": 2}', "is damaged: outcome"),
    ],
)
def test_a_missing_or_broken_report_is_one_line(tmp_path, command, content, said):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    answer = run_command(command, tmp_path)
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    assert said in answer.err


def test_a_folder_that_is_none_is_one_line(tmp_path):
    answer = run_command("report", tmp_path / "no-such-folder")
    assert (answer.code, len(answer.err.splitlines())) == (2, 1)
    assert "no such file" in answer.err


def test_without_jinja2_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ConfigError, match=r"pip install 'gradts-plugin\[report\]'"):
        render_run_page(report_of(**SMALL))


# --- collecting -----------------------------------------------------------------------------------


def test_clusters_stand_together():
    # Two pairs, shuffled: 0 with 2, 1 with 3.
    taus = np.eye(4)
    for one, other, tau in [
        (0, 2, 0.9),
        (1, 3, 0.8),
        (0, 1, 0.1),
        (2, 3, 0.1),
        (0, 3, 0),
        (1, 2, 0),
    ]:
        taus[one, other] = taus[other, one] = tau
    order = cluster_order(taus)
    assert sorted(order) == [0, 1, 2, 3]
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({0, 2}), frozenset({1, 3})}
    assert cluster_order(np.eye(2)) == [0, 1]


@pytest.mark.parametrize(
    ("sampler", "shares"),
    [
        ({"sampler_type": "UniformMultiTaskSampler"}, (0.5, 0.5)),
        ({"sampler_type": "ProportionalMultiTaskSampler"}, (0.1, 0.9)),
        (
            {
                "sampler_type": "SpecifiedProbMultiTaskSampler",
                "task_to_unweighted_probs": {"a": 3, "b": 1},
            },
            (0.75, 0.25),
        ),
        (
            {"sampler_type": "TemperatureMultiTaskSampler", "temperature": 2, "examples_cap": None},
            (0.25, 0.75),
        ),
        (
            {"sampler_type": "TemperatureMultiTaskSampler", "temperature": 1, "examples_cap": 300},
            (0.25, 0.75),
        ),
        ({"sampler_type": "TimeDependentProbMultiTaskSampler"}, (None, None)),
    ],
)
def test_shares_of_jiants_samplers(sampler, shares):
    config = {"sampler_config": sampler, "task_run_config": {"train_task_list": ["a", "b"]}}
    found = shares_of(config, {"a": 100, "b": 900, "other": 5})
    assert found.sampler == sampler["sampler_type"]
    assert (found.shares["a"], found.shares["b"]) == pytest.approx(shares)


def test_a_rewritten_config_counts_the_steps_of_each_task():
    sampler = {"sampler_type": "TimeDependentProbMultiTaskSampler"}
    config = {"sampler_config": sampler, "task_run_config": {"train_task_list": ["a", "b"]}}
    config["gradts"] = {"selection": {"recipe": {"task_steps": {"a": 6, "b": 2}}}}
    assert shares_of(config, {"a": 100, "b": 900}).shares == {"a": 0.75, "b": 0.25}


def test_a_config_without_a_sampler_says_nothing_about_shares():
    assert shares_of({"sampler_config": {}}, {}) is None


def test_long_texts_are_cut():
    assert _cut("a" * 400) == "a" * 300 + "…"
    assert _cut("short") == "short"
    assert _cut(None) == ""


# --- a real run -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    # Enough heads for the instances of a task to differ in tau.
    encoder = save_tiny_encoder("bert", folder / "encoder", num_heads=4)
    # As published, the filtered instances are trained whatever they score.
    run_file = write_run_file(
        folder,
        encoder,
        ("topic", "match"),
        method={"name": "fg", "instance_threshold": {"quantile": 0.5}},
        faithful=True,
    )
    answer = run_command("run", run_file, "--quiet")
    assert answer.code == 0, answer.err
    assert "Report:" in answer.out
    return run_file.parent / "out"


def test_a_run_ends_with_a_report_of_what_it_found(run_folder):
    result = json.loads((run_folder / "result.json").read_text())
    info = read_report(run_folder)
    assert info.primary_task == "topic"
    assert [c.task_name for c in info.ranking.candidates] == [
        candidate["task_name"] for candidate in result["ranking"]["candidates"]
    ]
    assert list(info.auxiliary_tasks) == result["selection"]["auxiliary_tasks"]
    assert info.outcome.selected.score == result["selected"]["score"]
    assert info.outcome.cost == Cost(**result["cost"])
    assert list(info.outcome.seconds) == ["load", "probe", "rank", "select", "rewrite", "train"]
    assert [head_map.task for head_map in info.head_maps] == ["topic", "match"]
    for head_map in info.head_maps:
        matrix = np.array(head_map.importance)
        assert matrix.shape == (2, 4)
        assert (matrix.min(), matrix.max()) == (0, 1)  # layer-normalised
    assert [probe.num_instances for probe in info.probes] == [16, 16]
    for found in (info.shares_before, info.shares_after):
        assert found.sampler == "ProportionalMultiTaskSampler"
        assert sum(found.shares.values()) == pytest.approx(1)
    # Some of the one auxiliary's instances are trained.
    num_kept = info.num_kept["match"]
    assert num_kept < 16
    assert info.shares_before.shares["match"] == pytest.approx(1 / 2)
    assert info.shares_after.shares["match"] == pytest.approx(
        info.num_kept["match"] / (16 + info.num_kept["match"])
    )
    page = Page((run_folder / "report.html").read_text())
    assert f"Selected: {', '.join(info.auxiliary_tasks)}" in page.text


def test_filtered_instances_are_counted_and_shown_with_their_texts(run_folder):
    info = read_report(run_folder)
    assert info.instances.threshold is not None
    filtered = [task for task in info.instances.tasks if task.kept_counts is not None]
    assert filtered
    for task in filtered:
        assert sum(task.counts) == task.num_instances == 16
        assert task.num_kept == info.num_kept[task.task]
        assert min(example.tau for example in task.kept) >= info.instances.threshold
        assert max(example.tau for example in task.dropped) < info.instances.threshold
        for example in (*task.kept, *task.dropped):
            rows = (run_folder.parent / "tasks" / f"{task.task}_train.jsonl").read_text()
            row = json.loads(rows.splitlines()[example.example_id])
            text = row.get("text_a") or " ".join(row["tokens"])
            assert _letters(text) in _letters(example.text)


def _letters(text):
    return "".join(letter for letter in text.lower() if letter.isalnum())


def test_a_report_is_drawn_again_without_the_run(run_folder, tmp_path):
    (tmp_path / "report.json").write_bytes((run_folder / "report.json").read_bytes())
    answer = run_command("report", tmp_path, "--output", tmp_path / "again.html")
    assert answer.code == 0, answer.err
    assert (tmp_path / "again.html").read_bytes() == (run_folder / "report.html").read_bytes()


@pytest.mark.parametrize("suffix", ["svg", "csv"])
def test_figures_of_a_run(run_folder, tmp_path, suffix):
    answer = run_command("figures", run_folder, "--format", suffix, "--output", tmp_path)
    assert answer.code == 0, answer.err
    names = {path.name for path in tmp_path.iterdir()}
    assert {f"ranking.{suffix}", f"task-correlations.{suffix}", f"trials.{suffix}"} <= names
    assert f"head-importance-topic.{suffix}" in names
    assert len(answer.out.splitlines()) == len(names)
