"""Tasks with nothing to learn: said before anything is probed, put last, and the others ranked."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from fake_runs import TASKS, open_fake
from test_ranking import Source, random_source
from tiny_encoders import save_tiny_encoder
from tiny_runs import run_command, write_run_file

from gradts_plugin import run
from gradts_plugin.api import RankingResult
from gradts_plugin.errors import SelectionError
from gradts_plugin.planning.plan import make_plan
from gradts_plugin.ranking.by_value import with_unranked
from gradts_plugin.report.figures.ranking import ranking_picture
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTask

DULL = FakeTask("dull", one_label=True)
WHY = "all instances have the same label"


def opened(folder, tasks=(*TASKS[:3], DULL), **values):
    return open_fake(folder, {"method": {"name": "top", "k": 2}, **values}, host=FakeHost(tasks))


@pytest.mark.parametrize("ranker", ["heads", "logme", "embedding", "size", "gradients"])
def test_it_is_put_last_with_a_note_whoever_ranks(tmp_path, ranker):
    engine = opened(tmp_path, ranking={"ranker": ranker, "bootstrap": 100})
    ranking = run.rank(engine)
    assert set(ranking.task_order[:-1]) == {"related", "words"}
    last = ranking.candidates[-1]
    assert (last.task_name, last.note, last.interval) == ("dull", WHY, None)
    assert last.tau <= min(candidate.tau for candidate in ranking.candidates)
    assert all(candidate.note is None for candidate in ranking.candidates[:-1])


@pytest.mark.parametrize("model", ["frozen", "fine-tuned"])
def test_nothing_is_probed_or_booked_for_it(tmp_path, model):
    controls = {"shuffled_controls": 1} if model == "frozen" else {}
    engine = opened(tmp_path, probing={"model": model, **controls})
    plan = make_plan(engine, final_training=True)
    (probes,) = (part for part in plan.parts if part.what == "probes")
    expected = 5 if controls else 3  # three tasks, and controls of two candidates
    assert probes.num_to_do == expected
    note = f"dull cannot be ranked and is put last: {WHY}."
    assert note in plan.notes
    outcome = run.choose(engine)
    assert outcome.done.probes == expected
    assert note in outcome.notes


def test_a_method_may_still_choose_it(tmp_path):
    engine = opened(tmp_path, method={"name": "top", "k": 3})
    assert set(run.choose(engine).selection.auxiliary_tasks) == {"related", "words", "dull"}
    ids, taus = engine.instance_taus("dull", complete=True)
    assert len(ids) == 12
    assert not taus.any()


def test_it_has_no_place_among_the_figures(tmp_path):
    engine = opened(tmp_path)
    ranking = run.rank(engine)
    picture = ranking_picture(ranking, run.select(engine, ranking))
    assert [row[1] for row in picture.table.rows] == list(ranking.task_order[:-1])
    table = RankingResult(**vars(ranking)).to_pandas()
    assert table["tau"].isna().tolist() == [False, False, True]


def test_where_nobody_is_left_that_is_said(tmp_path):
    with pytest.raises(SelectionError, match=f"no candidate to rank for 'goal': dull: {WHY}"):
        run.rank(opened(tmp_path / "one", (TASKS[0], DULL)))
    dull = FakeTask("goal", one_label=True)
    with pytest.raises(SelectionError, match=f"for the primary task 'goal': {WHY}"):
        run.rank(opened(tmp_path / "two", (dull, TASKS[1])))


def test_an_importance_without_differences_is_put_last(tmp_path, monkeypatch):
    sources = {
        "goal": [random_source(0)],
        "dull": [Source(np.zeros((5, 2, 4)))],
        "related": [random_source(1)],
    }
    engine = opened(tmp_path, (TASKS[0], FakeTask("dull"), TASKS[1]))
    monkeypatch.setattr(engine.probes, "of_tasks", lambda: sources)
    ranking = run.rank(engine)
    assert ranking.task_order == ("related", "dull")
    assert ranking.candidates[1].note.startswith("its head importance is zero everywhere")
    assert with_unranked(ranking, {}) == ranking


def rows_with(kind, **constant):
    rows = [
        {"text_a": f"the {word} tower", "label": "ab"[number % 2]}
        for number, word in enumerate(("old", "slow", "dark", "muddy", "quiet", "red") * 2)
    ]
    if kind == "regression":
        rows = [{**row, "label": number / 3} for number, row in enumerate(rows)]
    if kind == "tagging":
        tags = ["D", "A", "N"] if not constant else ["X"] * 3
        return [{"tokens": row["text_a"].split(), "labels": tags} for row in rows]
    return [{**row, **constant} for row in rows]


CASES = {
    "label": ("single", {"label": "b"}, "the same label, 'b'"),
    "score": ("regression", {"label": 2}, "the same score, 2.0"),
    "tag": ("tagging", {"labels": "X"}, "the same label, 'X'"),
    "text": ("single", {"text_a": "the red tower"}, "the same text"),
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder("bert", tmp_path_factory.mktemp("encoder") / "bert")


@pytest.mark.parametrize("case", CASES)
def test_what_all_have_in_common_is_said_of_a_real_run(tmp_path, encoder, case):
    kind, constant, expected = CASES[case]
    path = write_run_file(
        tmp_path,
        encoder,
        ("topic", "match"),
        probing={"model": "frozen"},
        output_dir=str(tmp_path / "out"),
    )
    rows = "".join(json.dumps(row) + "\n" for row in rows_with(kind, **constant))
    (tmp_path / "tasks" / "dull.jsonl").write_text(rows)
    metric = {"regression": "pearson"}.get(kind, "accuracy")
    paths = {"train": "dull.jsonl", "val": "dull.jsonl"}
    config = {"name": "dull", "kind": kind, "metric": metric, "paths": paths}
    if kind != "regression":
        config["labels"] = ["a", "b", "X", "D", "A", "N"]
    (tmp_path / "tasks" / "dull.json").write_text(json.dumps(config))
    values = yaml.safe_load(path.read_text())
    values["tasks"].append(str(tmp_path / "tasks" / "dull.json"))
    path.write_text(yaml.safe_dump(values))
    planned = run_command("plan", "--no-measure", "--json", path)
    note = "dull cannot be ranked and is put last: all 12 instances that are looked at have "
    note += f"{expected}."
    assert note in json.loads(planned.out)["notes"]
    done = run_command("run", "--json", path)
    assert done.code == 0, done.err
    outcome = json.loads(done.out)
    assert [each["task_name"] for each in outcome["ranking"]["candidates"]] == ["match", "dull"]
    assert note in outcome["notes"]
