"""The method from end to end: probe, rank, select, rewrite, train.

What the host loads comes before (`engine.opening`). Nothing here computes: probes, trainings and
values are found or made by the engine.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from gradts_plugin.engine.context import Context
from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.engine.notes import gain_notes, notes_on
from gradts_plugin.engine.session import Session
from gradts_plugin.engine.trials import with_length_of_alone
from gradts_plugin.errors import SelectionError, nearest
from gradts_plugin.gains.gain import dev_and_test_gain
from gradts_plugin.json_forms import JsonObject, to_json
from gradts_plugin.ranking.by_value import with_unranked
from gradts_plugin.records import Outcome, Ranking, Selection, TrainingPlan, Trial
from gradts_plugin.stores.checksums import write_summed
from gradts_plugin.stores.files import json_bytes, remove_abandoned, write_json_atomic

#: Name of the rewritten host configuration in the output folder.
REWRITTEN_CONFIG = "selected_config.json"

#: Name of a ranking in the output folder, where ranking was all that was asked for.
RANKING = "ranking.json"

#: Name of the outcome in the output folder.
RESULT = "result.json"


def run(engine: Engine) -> Outcome:
    """Runs all phases, and the training that was asked for.

    Args:
        engine: the run.

    Returns:
        The outcome; also written to `result.json` in the output folder.
    """
    outcome = choose(engine)
    selected, alone = train_selection(engine, outcome.selection)
    gain, test_gain = dev_and_test_gain(selected, alone, engine.trainings.trials)
    outcome = dataclasses.replace(
        outcome,
        selected=selected,
        alone=alone,
        weights=engine.trainings.weights.paths_of(selected),
        gain=gain,
        test_gain=test_gain,
        notes=(*notes_on(engine, outcome.selection), *gain_notes(gain)),
    )
    write_result(engine.session, outcome)
    return outcome


def choose(engine: Engine, config_path: Path | None = None) -> Outcome:
    """Probes, ranks, selects and rewrites; the training is left to the host.

    Args:
        engine: the run.
        config_path: where the rewritten configuration goes; None: into the output folder.

    Returns:
        The outcome, without final training; also written to `result.json`.
    """
    session = engine.session
    method, _ = session.method
    ranking = rank(engine) if method.needs_ranking else None
    selection = select(engine, ranking)
    cost = session.accounts.cost
    path = config_path or session.output_dir / REWRITTEN_CONFIG
    outcome = Outcome(
        ranking=ranking,
        selection=selection,
        config_path=rewrite(engine, selection, ranking, path),
        selected=None,
        alone=None,
        done=session.accounts.counters,
        seconds=session.accounts.seconds,
        cost=cost,
        earlier_weights=engine.trainings.weights.delivered_before,
        notes=notes_on(engine, selection),
    )
    write_result(session, outcome)
    return outcome


def rank(engine: Engine) -> Ranking:
    """Ranks the candidates with the ranker that the settings name."""
    session = engine.session
    ranker, own = session.ranker
    if ranker.needs_probes:
        engine.probes.of_tasks()  # before, so that it is a phase of its own
    with session.phase("rank", 1), _selection_errors(session):
        ranking = with_unranked(
            ranker.rank(Context(engine, rankable_only=True), own), session.nothing_to_learn
        )
        session.hook.after_candidates_ranked(ranking=ranking)
    return ranking


def select(engine: Engine, ranking: Ranking | None) -> Selection:
    """Chooses auxiliaries (and instances) with the method that the settings name."""
    session = engine.session
    method, own = session.method
    candidates = tuple(session.tasks)[1:]
    most_trials = (1 + len(candidates)) * session.settings.training_seeds
    with _selection_errors(session), session.phase("select", most_trials):
        selection = method.select(Context(engine, ranking), own)
        engine.trainings.forget_unused()
        unknown = [name for name in selection.auxiliary_tasks if name not in candidates]
        if unknown:
            raise SelectionError(
                f"method {method.name!r} selected {unknown[0]!r}, which is no candidate; "
                f"{nearest(unknown[0], candidates)}"
            )
        selection = with_length_of_alone(selection, engine.trainings)
        session.hook.after_tasks_selected(selection=selection)
    return selection


def rewrite(engine: Engine, selection: Selection, ranking: Ranking | None, path: Path) -> Path:
    """Writes the host configuration that trains exactly the selection."""
    session = engine.session
    with session.phase("rewrite", 1), _selection_errors(session):
        recipe = final_plan(engine, selection).recipe
        config = session.host.rewrite(selection, recipe, path.parent)
        config["gradts"] = {
            **session.settings.model_dump(mode="json", exclude_unset=True),
            "selection": {
                **config.get("gradts", {}).get("selection", {}),
                **_provenance(session, selection, ranking),
                "recipe": to_json(recipe),
            },
        }
        if path.parent == session.output_dir:
            write_summed(path, json_bytes(config))
        else:  # in a folder of the user's
            write_json_atomic(path, config)
        session.hook.after_config_rewritten(path=path)
    return path


def _provenance(session: Session, selection: Selection, ranking: Ranking | None) -> JsonObject:
    """Where a configuration comes from; what differs from run to run (times) is left out."""
    infos = session.tasks.values()
    return {
        **session.host.provenance,
        "encoder_fingerprint": session.host.encoder_fingerprint,
        "task_fingerprints": {info.name: info.fingerprint for info in infos},
        **to_json(selection),
        "trials": [
            to_json(trial, only=("auxiliary_tasks", "scores")) for trial in selection.trials
        ],
        "ranking": None if ranking is None else to_json(ranking.candidates),
    }


def train_selection(engine: Engine, selection: Selection) -> tuple[Trial, Trial]:
    """Trains the selection, and the primary alone to compare; stored runs are not repeated.

    Returns:
        The selection's run, whose weights are kept, and the primary's own.
    """
    session, trainings = engine.session, engine.trainings
    # With as many seeds as it was tried with: more than others, where it was confirmed.
    tried = selection.trial_of_selected()
    seeds = trainings.trial_seeds(
        max(session.settings.training_seeds, 0 if tried is None else len(tried.scores))
    )
    final, of_alone = TrialRequest.of(selection, seeds), TrialRequest((), seeds)
    with session.phase("train", 2 * len(seeds)):
        trainings.make_ahead([final, of_alone] if selection.auxiliary_tasks else [final])
        selected = trainings.score(final)
        trainings.weights.deliver(selected)
        if not selection.auxiliary_tasks:
            return selected, selected
        alone = trainings.score(of_alone)
        trainings.weights.remove_all()  # a killed run may have left others
        return selected, alone


def final_plan(engine: Engine, selection: Selection) -> TrainingPlan:
    """The selection's training, as the hooks are told of it."""
    seeds = engine.trainings.trial_seeds()
    return engine.trainings.trial_plan(TrialRequest.of(selection, seeds), seeds[0], "training")


def write_result(session: Session, outcome: Outcome) -> None:
    """Writes what a run came to into its output folder."""
    write_summed(session.output_dir / RESULT, json_bytes(to_json(outcome)))
    for folder in (session.output_dir, session.stores.root):
        remove_abandoned(folder)  # what runs left that were killed
    session.stores.claims.sweep()
    session.hook.after_result_written(outcome=outcome)


@contextlib.contextmanager
def _selection_errors(session: Session) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        session.hook.on_selection_error(primary_task=session.settings.primary_task, error=error)
        raise
