"""The Python interface: the page's examples run, and results agree with the command line's."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rich
import yaml
from rich.console import Console
from tiny_encoders import SENTENCES, save_tiny_encoder
from tiny_runs import run_command, write_run_file, write_task

from gradts_plugin import GradTS, GradTSError
from gradts_plugin.api import RankingResult, SelectionResult, Trials
from gradts_plugin.records import RankedTask, Ranking, Selection, Trial

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, gradts_plugin; heavy = {'torch', 'transformers', 'pandas', 'rich'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules);"
        "assert 'GradTS' in gradts_plugin.__all__"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_public_name_is_an_attribute_error():
    import gradts_plugin

    with pytest.raises(AttributeError, match="GradTs"):
        _ = gradts_plugin.GradTs


# --- the page -----------------------------------------------------------------------------------


def write_shipped_data(folder):
    """A few rows for three shipped tasks, where a run with data_dir=data looks for them."""
    labels = {
        "rte": ("entailment", "not_entailment"),
        "mrpc": ("paraphrase", "not_paraphrase"),
        "sst2": ("positive", "negative"),
    }
    for task, names in labels.items():
        (folder / task).mkdir(parents=True)
        for split, count in (("train", 12), ("val", 6)):
            stream = np.random.RandomState([count, len(task)])
            rows = []
            for number in range(count):
                first, second = (SENTENCES[i] for i in stream.randint(len(SENTENCES), size=2))
                row = {"text_a": first, "label": names[number % 2]}
                rows.append(row if task == "sst2" else {**row, "text_b": second})
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / task / f"{split}.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The names that the page's examples leave behind, run top to bottom in one folder."""
    folder = tmp_path_factory.mktemp("page")
    write_shipped_data(folder / "data")
    save_tiny_encoder("bert", folder / "bert-base-cased")  # found before the hub is asked
    names = {"said": io.StringIO()}
    with contextlib.redirect_stdout(names["said"]), pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S):
            exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_the_page_runs(page):
    result = page["result"]
    assert set(result.ranking.task_order) == {"mrpc", "sst2"}
    assert result.config_path.is_file()
    assert result.report_path.name == "report.html"
    assert "rte" in result.report_path.read_text(encoding="utf-8")
    assert all(path.is_file() for path in result.weights_paths)
    assert result.cost.num_steps > 0
    assert page["watching"].tasks == [("rte", 12), ("mrpc", 12)]


def test_the_ranking_after_a_run_is_the_runs_own(page):
    assert page["ranking"].task_order == page["result"].ranking.task_order
    assert page["taus"]["task"].tolist() == list(page["ranking"].task_order)


def test_the_misspelt_key_is_named(page):
    said = page["said"].getvalue()
    assert "GradTS: unknown key 'sedes'; did you mean 'seeds'?" in said


def test_selecting_after_a_run_trains_nothing(page):
    assert page["chosen"].counters.training_steps == 0
    assert page["chosen"].score is None
    assert page["chosen"].selection.auxiliary_tasks == page["result"].selection.auxiliary_tasks


def test_another_method_finds_the_probes_stored(page):
    assert (page["again"].counters.probes, page["again"].counters.training_steps) == (0, 0)


def test_results_show_their_content(page):
    result = page["result"]
    shown = str(result)
    assert "Selected for rte" in shown
    assert f"{result.score:.4f}" in shown
    for task in ("mrpc", "sst2"):
        assert task in str(result.ranking)
        assert task in result.ranking._repr_html_()
    assert max(map(len, shown.splitlines())) <= 100


# --- the results themselves ---------------------------------------------------------------------


RANKING = RankingResult(
    primary_task="p",
    candidates=(RankedTask("a", 0.5, (0.4, 0.6), 0.9), RankedTask("b", 0.1, None, None)),
    confidence=0.95,
    num_seeds=1,
    covers=("instances",),
    num_heads_total=4,
    task_names=("p", "a", "b"),
    task_taus=None,
)
TRIALS = Trials(
    [
        Trial((), (0.5,), {}, 3, 1.0, False),
        Trial(("a",), (0.6, 0.8), {"a": 5}, 6, 2.0, True),
    ]
)


def test_a_ranking_as_a_table_of_pandas():
    table = RANKING.to_pandas()
    assert list(table.columns) == ["task", "tau", "low", "high", "probability_above_next"]
    assert table.iloc[0].tolist() == ["a", 0.5, 0.4, 0.6, 0.9]
    assert [math.isnan(value) for value in table.iloc[1, 2:]] == [True] * 3
    assert table["low"].dtype.kind == "f"


def test_trials_as_a_table_of_pandas():
    table = TRIALS.to_pandas()
    assert table["auxiliary_tasks"].tolist() == [(), ("a",)]
    assert table["score"].tolist() == pytest.approx([0.5, 0.7])
    assert math.isnan(table["spread"][0])
    assert table["spread"][1] == pytest.approx(0.1 * math.sqrt(2))
    assert table["num_steps"].tolist() == [3, 6]
    assert len(Trials().to_pandas()) == 0


def test_trials_are_the_records_in_order():
    assert TRIALS[1].auxiliary_tasks == ("a",)
    assert len(TRIALS) == 2


def test_results_are_records_and_frozen():
    assert isinstance(RANKING, Ranking)
    with pytest.raises(dataclasses.FrozenInstanceError):
        RANKING.primary_task = "q"


def test_a_selection_says_what_and_why():
    selection = SelectionResult(
        method="fg",
        primary_task="p",
        auxiliary_tasks=("a",),
        reason="because [1] < 2",
        kept_instances={"a": np.arange(7)},
    )
    assert isinstance(selection, Selection)
    shown = str(selection)
    assert "Selected for p: a" in shown
    assert "because [1] < 2" in shown
    assert "a: 7 training instances kept" in shown
    assert "because [1] &lt; 2" in selection._repr_html_()


def test_a_notebook_gets_tables():
    shown = RANKING._repr_html_()
    assert shown.startswith("<table><caption>Candidates for p, best first</caption><thead><tr>")
    assert '<td style="text-align: right">0.500</td>' in shown
    assert "[0.400, 0.600]" in shown
    assert shown.count("<tr>") == 3
    assert "<p>" in shown  # what the intervals cover
    assert not set("\u2500\u2502\u2503\u2501\u250f") & set(shown)  # no boxes of characters


def test_a_notebook_gets_the_pictures_of_a_run(page):
    # The last run in the folder is that of another method: its report lies there now.
    image = '<img src="data:image/svg+xml;base64,'
    assert page["again"]._repr_html_().count(image) == 1
    shown = page["result"]._repr_html_()
    assert image not in shown
    assert "<figcaption>" in page["again"]._repr_html_()
    assert "Selected for rte" in shown
    assert shown.count("<table>") == 2


def test_rich_prints_colours_only_where_there_are_some(capsys):
    Console(force_terminal=True, width=80).print(RANKING)
    assert "\x1b[" in capsys.readouterr().out
    assert "\x1b[" not in str(RANKING)
    rich.print(RANKING)
    assert "Candidates for p" in capsys.readouterr().out


# --- settings -----------------------------------------------------------------------------------


def test_mistakes_are_one_line_and_write_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = {"model": "enc", "tasks": ["a", "b"], "primary_task": "a", "output_dir": "out"}
    with pytest.raises(GradTSError, match="unknown key 'sedes'; did you mean 'seeds'"):
        GradTS(**given, sedes=2)
    with pytest.raises(GradTSError, match=r"did you mean .trial."):
        GradTS(**given, method="trail").rank()
    with pytest.raises(GradTSError, match=r"training\.optimizer"):
        GradTS(**given, training={"optimizer": "adamq"})
    assert list(tmp_path.iterdir()) == []


def test_relative_paths_start_at_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "enc").mkdir()
    write_task(tmp_path / "tasks", "topic")
    monkeypatch.chdir(tmp_path)
    run = GradTS(
        model=Path("enc"),
        tasks=[Path("tasks/topic.json"), "rte"],
        primary_task="rte",
        output_dir="out",
        data_dir="data",
        store="store",
    )
    monkeypatch.chdir("/")
    assert run.settings.model.name_or_path == str(tmp_path / "enc")
    assert run.settings.tasks == (str(tmp_path / "tasks/topic.json"), "rte")
    assert run.settings.output_dir == tmp_path / "out"
    assert run.settings.store == tmp_path / "store"
    assert "primary_task='rte'" in repr(run)


def test_the_model_takes_a_maximum_length():
    run = GradTS(
        model={"name_or_path": "x", "max_seq_length": 64},
        tasks=["rte", "mrpc"],
        primary_task="rte",
        output_dir="out",
    )
    assert run.settings.model.max_seq_length == 64


def test_python_and_the_command_line_are_the_same_run(tmp_path, capsys):
    encoder = save_tiny_encoder("bert", tmp_path / "encoder")
    path = write_run_file(tmp_path, encoder, ("topic", "match", "words"))
    answer = run_command("run", path, "--json", "--quiet")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    capsys.readouterr()
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    result = GradTS(**{**values, "output_dir": tmp_path / "out"}).run()
    assert (result.counters.training_steps, result.counters.probes) == (0, 0)
    assert result.score == told["selected"]["score"]
    assert list(result.selection.auxiliary_tasks) == told["selection"]["auxiliary_tasks"]
    assert [candidate.tau for candidate in result.ranking.candidates] == [
        candidate["tau"] for candidate in told["ranking"]["candidates"]
    ]
    assert capsys.readouterr().err == ""  # no terminal: no progress
