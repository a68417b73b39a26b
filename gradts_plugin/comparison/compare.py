"""Selection methods side by side: what each selects, what that scores, and what it costs to know.

Every method works on the same data, with the same training settings, through the same host and
store; its cost is what it would take with nothing stored (`engine.accounts.Accounts.costs`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pluggy

from gradts_plugin import run
from gradts_plugin.comparison.methods import (
    MethodSettings,
    check_methods,
    check_tasks,
    settings_of,
)
from gradts_plugin.comparison.oracle import best_subset, oracle_order, oracle_subsets
from gradts_plugin.comparison.results import (
    COMPARISON,
    Comparison,
    PrimaryResult,
    method_result,
)
from gradts_plugin.comparison.tables import COMPARISON_TABLES, markdown
from gradts_plugin.comparison.trainings_left import TrainingsLeft, shared_candidates
from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import Executor, Job, SelectionRequest, TrialRequest
from gradts_plugin.engine.notes import notes_on_compared
from gradts_plugin.engine.session import Session
from gradts_plugin.gains.gain import dev_and_test_gain
from gradts_plugin.json_forms import to_json
from gradts_plugin.opening import open_run_file, reopen
from gradts_plugin.plugins import collect_registry
from gradts_plugin.records import Outcome, Ranking, Selection, Trial
from gradts_plugin.scores import shown_score
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.stores.checksums import write_summed
from gradts_plugin.stores.files import check_folder_name, json_bytes, write_bytes_atomic

#: Told before each part: how many trainings are left at most, and what is done now.
Expectation = Callable[[int, str], None]


def compare(
    compare_file: CompareFile,
    manager: pluggy.PluginManager,
    *,
    report: Callable[[str], None] = lambda _: None,
    expect: Expectation = lambda _number, _what: None,
    on_opened: Callable[[Session], None] = lambda _: None,
    executor: Executor | None = None,
) -> Comparison:
    """Runs every method for every primary; killed, it goes on where it stopped.

    Args:
        compare_file: tasks, primaries, methods and the training all of them share.
        manager: the plugins.
        report: told a line about each finished method.
        expect: told before each part how many trainings are left at most, and what is done now.
        on_opened: told of the session on all tasks before any method runs.
        executor: makes what can be made apart; None: this process makes everything.

    Returns:
        The comparison; also written to `comparison.json` and `comparison.md` after each primary.

    Raises:
        ConfigError: a method's settings are wrong; nothing was run then.
    """
    settings = checked_settings(compare_file, manager)
    with open_run_file(
        of_all_tasks(compare_file),
        manager,
        check_task_names=functools.partial(check_tasks, compare_file, settings),
        executor=executor,
    ) as engine:
        on_opened(engine.session)
        return _compare(compare_file, engine.session, settings, report, expect)


def _compare(
    compare_file: CompareFile,
    first: Session,
    settings: MethodSettings,
    report: Callable[[str], None],
    expect: Expectation,
) -> Comparison:
    """Every primary, on the session on all tasks."""
    left = TrainingsLeft(first, compare_file, settings)

    def before(primary: str, part: str | None) -> None:
        expect(*left.before(primary, part))

    if first.executor is not None:
        number, _ = left.before(compare_file.primaries[0], next(iter(compare_file.methods)))
        expect(number, "all methods, in workers")
        _select_elsewhere(first, first.executor, settings, report)
    finished: dict[str, PrimaryResult] = {}
    for primary in compare_file.primaries:
        one = _OnePrimary(compare_file, primary, first, settings, report, before)
        finished[primary] = one.compare()
        comparison = Comparison(compare_file.evaluation_seeds, dict(finished))
        write_summed(compare_file.output_dir / COMPARISON, json_bytes(to_json(comparison)))
        _write_tables(compare_file, comparison)
    return comparison


def _select_elsewhere(
    first: Session, executor: Executor, settings: MethodSettings, report: Callable[[str], None]
) -> None:
    """Has workers select by every method for every primary.

    Each method is then asked here as without workers, and finds what it needs stored.
    """
    jobs: dict[tuple[str, str], Job] = {}
    for (primary, name), own in sorted(settings.items(), key=lambda each: each[0][1]):
        folder = _folder_of(first, primary, name)
        session = first.with_settings(own, output_dir=folder)
        method, _ = session.method
        if method.needs_ranking and session.ranker[0].needs_probes:
            probes = Engine.of(session).probes
            probes.make_ahead([*probes.needed(), *probes.needed_controls()])  # methods share them
        if not (folder / run.RESULT).exists():
            jobs[primary, name] = Job(own, folder, SelectionRequest())
    made = executor.make(list(jobs.values()))
    for number, ((primary, name), done) in enumerate(zip(jobs, made, strict=True), start=1):
        report(
            f"{primary}, {name}: a worker selected ({number} of {len(jobs)}) after "
            f"{done.training_runs} trainings"
        )


def _folder_of(first: Session, primary: str, method: str) -> Path:
    """Where a method selects for a primary."""
    return first.output_dir / "methods" / primary / check_folder_name(method)


def checked_settings(compare_file: CompareFile, manager: pluggy.PluginManager) -> MethodSettings:
    """The settings of every method for every primary.

    Raises:
        ConfigError: a method's settings are wrong.
    """
    settings = {
        (primary, name): settings_of(compare_file, primary, name)
        for primary in compare_file.primaries
        for name in compare_file.methods
    }
    check_methods(compare_file, settings, collect_registry(manager))
    return settings


def of_all_tasks(compare_file: CompareFile) -> CompareFile:
    """The file as every task is prepared: no candidate for this primary may be it for the next."""
    everything = {"primary_task": compare_file.primaries[0], "candidate_tasks": None}
    return compare_file.model_copy(update=everything)


@dataclass(frozen=True)
class _OnePrimary:
    """All methods for one primary."""

    file: CompareFile
    primary: str
    first: Session
    settings: MethodSettings
    report: Callable[[str], None]
    before: Callable[[str, str | None], None]

    def compare(self) -> PrimaryResult:
        """Every method, then the oracle."""
        shared = settings_of(self.file, self.primary, None)
        # What scores selections is no method's: its costs and weights are counted nowhere.
        scoring = reopen(
            self.first, shared, output_dir=self.first.output_dir / "scores" / self.primary
        )
        chosen = {name: self._choose(name, scoring) for name in self.file.methods}
        self.before(self.primary, None)
        rankings = [outcome.ranking for outcome, _ in chosen.values() if outcome.ranking]
        trials = self._trained_subsets(scoring, rankings)
        for _, trial in chosen.values():
            if not trial.num_kept and not trial.mixing_ratios:
                trials.setdefault(_key(trial.auxiliary_tasks), trial)
        alone, subsets = trials[()], tuple(trials.values())
        oracle = best_subset(subsets)
        return PrimaryResult(
            alone=alone,
            oracle=oracle,
            subsets=subsets,
            methods={
                name: method_result(
                    outcome.selection,
                    _values(outcome.ranking),
                    trial,
                    outcome.cost,
                    alone=alone,
                    oracle=oracle,
                    subsets=subsets,
                )
                for name, (outcome, trial) in chosen.items()
            },
            oracle_interval=dev_and_test_gain(oracle, alone, subsets)[0],
            notes=notes_on_compared(scoring, ranked=bool(rankings)),
        )

    def _choose(self, name: str, scoring: Engine) -> tuple[Outcome, Trial]:
        folder = _folder_of(self.first, self.primary, name)
        engine = reopen(self.first, self.settings[self.primary, name], output_dir=folder)
        self.before(self.primary, name)
        outcome = run.choose(engine)
        # Only scores are compared, and weights are large.
        engine.trainings.weights.remove_all()
        trial = evaluate(scoring, outcome.selection)
        self.report(
            f"{self.primary}, {name}: {', '.join(trial.auxiliary_tasks) or 'none'} scores "
            f"{shown_score(trial.score)} after {outcome.cost.num_steps} steps, "
            f"{outcome.cost.seconds:.0f} s"
        )
        return outcome, trial

    def _trained_subsets(
        self, scoring: Engine, rankings: list[Ranking]
    ) -> dict[tuple[str, ...], Trial]:
        candidates = shared_candidates(self.first, scoring.session.settings)
        order = oracle_order(candidates, rankings)
        subsets = oracle_subsets(candidates, order) if self.file.oracle else []
        seeds = scoring.trainings.trial_seeds()
        scoring.trainings.make_ahead([TrialRequest(subset, seeds) for subset in ((), *subsets)])
        trials: dict[tuple[str, ...], Trial] = {(): evaluate_subset(scoring, ())}
        for subset in subsets:
            trials[_key(subset)] = trial = evaluate_subset(scoring, subset)
            shown = shown_score(trial.score)
            self.report(f"{self.primary}, oracle: {', '.join(subset) or 'none'} {shown}")
        return trials


def evaluate(scoring: Engine, selection: Selection) -> Trial:
    """Trains a selection over all evaluation seeds, and keeps no weights.

    Args:
        scoring: the run whose settings say how long selections are trained, and with which seeds.
        selection: what is trained.
    """
    return _evaluated(
        scoring,
        TrialRequest(
            selection.auxiliary_tasks,
            scoring.trainings.trial_seeds(),
            selection.kept_instances,
            selection.mixing_ratios,
            selection.block_steps,
        ),
    )


def evaluate_subset(scoring: Engine, auxiliary_tasks: tuple[str, ...]) -> Trial:
    """Trains a subset of whole candidates over all evaluation seeds (see `evaluate`)."""
    return _evaluated(scoring, TrialRequest(auxiliary_tasks, scoring.trainings.trial_seeds()))


def _evaluated(scoring: Engine, request: TrialRequest) -> Trial:
    trial = scoring.trainings.score(request)
    scoring.trainings.weights.remove_all()
    return trial


def _write_tables(compare_file: CompareFile, comparison: Comparison) -> None:
    length = compare_file.training
    trained = f"{length.max_steps} steps" if length.max_steps else f"{length.epochs:g} epochs"
    text = (
        "# Selection methods compared\n\n"
        f"Each selection is trained for {trained}, over {comparison.seeds} seeds; methods choose "
        "with other ones, unless they name a `seed`. ± is the standard deviation over the seeds "
        "(of a gain: of the differences seed by seed). Intervals and P(helps) are of gains, on dev "
        "and on test. Steps, examples and seconds: until the "
        "selection is known, with nothing stored.\n\n"
        f"{markdown(comparison)}\n"
    )
    write_bytes_atomic(compare_file.output_dir / COMPARISON_TABLES, text.encode())


def _values(ranking: Ranking | None) -> dict[str, float] | None:
    if ranking is None:
        return None
    return {candidate.task_name: candidate.tau for candidate in ranking.candidates}


def _key(auxiliary_tasks: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(auxiliary_tasks))
