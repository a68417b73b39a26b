"""What methods select on the bed, and what that is worth by rows and seeds that did not choose.

Every method runs as a user would run it, on the dev rows, with training seeds of its own from
`CHOOSING` on; all share one store, so that what one has trained another one finds, and counts as
its cost all the same. The ranking that methods start from is the committed one of the primary.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import bed
import numpy as np
from provenance import markdown_table

from gradts_plugin import run
from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.gains.gain import gain_among
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.json_forms import to_json
from gradts_plugin.offers import Ranker, RankingContext
from gradts_plugin.ranking.by_value import ranked_by_value
from gradts_plugin.records import Ranking, Trial
from gradts_plugin.scores import Gain, shown_score
from gradts_plugin.selection.search import SearchSettings
from gradts_plugin.settings.parsing import Settings
from gradts_plugin.stores.files import write_json_atomic

#: The first seed that methods choose with; those that score are below.
CHOOSING = 100

#: Races are also judged as if they had to be this sure; what they train does not go by it.
SURER = 0.9

#: Name -> the method as a run file has it; AUTOSEM's bandit gets its `rounds` besides.
METHODS: dict[str, Any] = {
    "designed, 12 trainings": {"name": "designed", "budget": 12},
    "race, 12 trainings": {"name": "race", "budget": 12},
    "trial": "trial",
    "thres": "thres",
    "AUTOSEM, first stage": "autosem-p1",
    "AUTOSEM": "autosem",
    "all": "all",
}


class RecordedSettings(Settings):
    """Which committed ranking is taken.

    Attributes:
        primary: of the bed.
        ranking: its name.
    """

    primary: str
    ranking: str = "heads"


def rank_as_recorded(context: RankingContext, settings: RecordedSettings) -> Ranking:
    """Ranks the candidates of a bed as its committed records do."""
    path = bed.rankings_path(settings.primary)
    values = json.loads(path.read_text())[settings.ranking]["values"]
    return ranked_by_value(context, values, ranker="recorded", measure=settings.ranking)


class RecordedRankings:
    """A plugin: rankings that were made on another machine."""

    @hookimpl
    def extend_rankers(self) -> list[Ranker]:
        """Offers them."""
        return [
            Ranker(
                name="recorded",
                rank=rank_as_recorded,
                title="Recorded",
                summary="A ranking of the committed records.",
                settings=RecordedSettings,
            )
        ]


def method_of(name: str, primary: str) -> Any:
    """A method as a run file of a primary has it.

    AUTOSEM's bandit has rounds of 5 steps each: as long as a training with auxiliaries.
    """
    method = METHODS[name]
    if name.startswith("AUTOSEM"):
        return {"name": method, "rounds": bed.steps_of(primary, longer=True) // 5}
    return method


Opened = Callable[..., AbstractContextManager[Engine]]


def path_of(primary: str) -> Path:
    """Where a primary's selections are written down."""
    return bed.RECORDS / f"{primary}.selections.json"


def select(
    primary: str, work: Path, opened: Opened, num_seeds: int, methods: list[str]
) -> list[str]:
    """Lets methods select, and scores what they selected; what is known is not done again.

    Args:
        primary: its name.
        work: outputs go below it.
        opened: opens a run, given what its run file changes.
        num_seeds: that score.
        methods: names out of `METHODS`.

    Returns:
        What each selected, a line each.
    """
    path = path_of(primary)
    found = json.loads(path.read_text()) if path.exists() else {}
    said = []
    for number, name in enumerate(METHODS):
        if name not in methods:
            continue
        if name not in found:
            ranker = {"name": "recorded", "primary": primary, "ranking": "heads"}
            with opened(
                method=method_of(name, primary),
                seed=CHOOSING,
                ranking={"ranker": ranker},
                output_dir=work / "selections" / f"{primary}-{number}",
            ) as engine:
                outcome = run.choose(engine)
            selection = outcome.selection
            found[name] = {
                "auxiliary_tasks": list(selection.auxiliary_tasks),
                "mixing_ratios": dict(selection.mixing_ratios),
                "reason": selection.reason,
                "cost": to_json(outcome.cost),
                "rounds": [to_json(each.best) for each in selection.rounds if each.best],
            }
            write_json_atomic(path, found)
        chosen = found[name]
        request = TrialRequest(
            tuple(chosen["auxiliary_tasks"]),
            range(num_seeds),
            mixing_ratios=chosen["mixing_ratios"],
        )
        with opened() as engine:
            trial = engine.trainings.score(request)
            engine.trainings.weights.remove_all()
        said.append(f"{primary}, {name}: {chosen['reason']}; scores {shown_score(trial.score)}")
    return said


def report(found: dict[str, dict[bed.Set, Trial]], order: str) -> dict[str, Any]:
    """What the selections of each method gain on test rows, beside the oracle's.

    Args:
        found: primary -> its trials, all of the same seeds.
        order: of their steps.

    Returns:
        `results` for JSON, `text` in parts.
    """
    rows, results = [], {}
    chosen_by = {
        primary: json.loads(path.read_text()) if (path := path_of(primary)).exists() else {}
        for primary in found
    }
    for name, certainty in itertools.product(METHODS, (None, SURER)):
        judged = {}
        for primary, trials in found.items():
            chosen = chosen_by[primary].get(name)
            if chosen is None or (certainty and not name.startswith("race")):
                continue
            if name.startswith("race"):
                chosen = _with_certainty(chosen, certainty or SearchSettings().certainty)
            if (one := _judged(chosen, trials)) is not None:
                judged[primary] = one
        if judged:
            title = f"{name}, certainty {certainty:g}" if certainty else name
            results[title] = judged
            rows.append((title, len(judged), *_summary(list(judged.values()))))
    if not rows:
        return {"results": {}, "text": []}
    header = ("method", "primaries", "selects none", "test gain", "of the oracle's", "hurt")
    each = [
        (primary, name, ", ".join(one["selected"]) or "none", *_cells(one["test_gain"]))
        for name, judged in results.items()
        for primary, one in judged.items()
    ]
    text = [
        f"## Methods, {order}",
        f"Each chose on dev rows with seeds from {CHOOSING} on; scored on test rows with seeds "
        "that no method chose with. The oracle is the set with the best dev score of those seeds, "
        "among all that were trained; hurt: primaries that lose more than a standard error. Cost "
        "of a selection with nothing stored, in optimiser steps.",
        markdown_table([*header, "steps"], rows),
        markdown_table(["primary", "method", "selected", "test gain", "P(helps)"], each),
    ]
    for judged in results.values():
        for one in judged.values():
            one["test_gain"] = to_json(one["test_gain"])
    return {"results": results, "text": text}


def _with_certainty(chosen: dict[str, Any], certainty: float) -> dict[str, Any]:
    """What a race would have selected had it had to be so sure."""
    best = chosen["rounds"][-1]
    is_sure = (best["gain"]["p_helps"] or 0.0) >= certainty
    return {**chosen, "auxiliary_tasks": best["auxiliary_tasks"] if is_sure else []}


def _judged(chosen: dict[str, Any], trials: dict[bed.Set, Trial]) -> dict[str, Any] | None:
    """What one selection is worth; None where it was not scored with all seeds."""
    alone = bed.alone_of(trials)
    ratios = chosen["mixing_ratios"]
    names = bed.set_of(chosen["auxiliary_tasks"], ratios)
    if names and (names, False) not in trials:
        return None
    every = list(trials.values())
    oracle = max(every, key=Trial.comparable)
    gain = gain_among(trials[names, False], alone, every, split="test") if names else None
    best = gain_among(oracle, alone, every, split="test") if oracle.auxiliary_tasks else None
    return {
        "selected": list(names),
        "test_gain": gain,
        "oracle": list(oracle.auxiliary_tasks),
        "oracle_gain": 0.0 if best is None else best.gain,
        "cost": chosen["cost"],
    }


def _summary(judged: list[dict[str, Any]]) -> tuple[object, ...]:
    gains = [0.0 if one["test_gain"] is None else one["test_gain"].gain for one in judged]
    oracle = sum(one["oracle_gain"] for one in judged)
    hurt = [
        one["test_gain"] is not None
        and one["test_gain"].gain < -(one["test_gain"].standard_error or 0.0)
        for one in judged
    ]
    return (
        sum(one["test_gain"] is None for one in judged),
        f"{np.mean(gains):+.3f}",
        f"{sum(gains) / oracle:.0%}" if oracle > 0 else "",
        sum(hurt),
        f"{np.mean([one['cost']['num_steps'] for one in judged]):.0f}",
    )


def _cells(gain: Gain | None) -> tuple[str, str]:
    if gain is None:
        return "", ""
    return f"{shown_score(gain.gain, '+.3f')} {gain.shown_interval}", gain.shown_p_helps
