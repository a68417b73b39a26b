"""Selection methods side by side: what each selects, what that scores, and what it costs to know.

Every method works on the same data, with the same training settings, through the same host and
store; its cost is what it would take with nothing stored (`pipeline.Session.costs`).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pluggy

from gradts_plugin import pipeline, plan, sessions
from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.plugins import Registry, collect_registry
from gradts_plugin.records import Cost, Ranking, Trial
from gradts_plugin.scores import (
    Score,
    mean_score,
    score_difference,
    score_differences,
    score_spread,
    shown_score,
)
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores.files import check_folder_name, write_bytes_atomic, write_json_atomic

#: Every subset is trained for the oracle up to so many candidates.
MAX_CANDIDATES_FOR_ALL_SUBSETS = 4

#: Names of the comparison in its output folder: for programs, and for people.
COMPARISON = "comparison.json"
COMPARISON_TABLES = "comparison.md"

#: Keys that all methods of a comparison share, or that it sets itself.
_NOT_A_METHODS_OWN = (
    "enabled",
    "exact_resume",
    "primary_task",
    "reshuffle_epochs",
    "seeded_sampler",
    "store",
    "tensorboard",
    "trim_batches",
)

#: Told before each part: how many trainings are left at most, and what is done now.
Expectation = Callable[[int, str], None]


@dataclass(frozen=True)
class MethodResult:
    """What one method came to for one primary.

    Attributes:
        method: its name in the comparison.
        selection: `pipeline.selection_as_dict`.
        ranking: task -> what it was ranked by, best first; None where it ranks nothing.
        trial: the selection's training, over all evaluation seeds.
        cost: until the selection is known, with nothing stored.
        regret: the oracle's score less this one's; None where a score is undefined.
    """

    method: str
    selection: Mapping[str, Any]
    ranking: Mapping[str, float] | None
    trial: Trial
    cost: Cost
    regret: Score


@dataclass(frozen=True)
class PrimaryResult:
    """All methods for one primary.

    Attributes:
        primary_task: the task to help.
        alone: trained alone, over all evaluation seeds.
        subsets: every subset that was trained for the oracle, or was selected.
        oracle: the one with the best mean score.
        methods: in the order of the settings.
    """

    primary_task: str
    alone: Trial
    subsets: tuple[Trial, ...]
    oracle: Trial
    methods: tuple[MethodResult, ...]


@dataclass(frozen=True)
class Comparison:
    """All primaries.

    Attributes:
        primaries: in the order of the settings.
        seeds: evaluation seeds.
    """

    primaries: tuple[PrimaryResult, ...]
    seeds: int


def compare(
    compare_file: CompareFile,
    manager: pluggy.PluginManager,
    *,
    report: Callable[[str], None] = lambda _: None,
    expect: Expectation = lambda _number, _what: None,
    on_opened: Callable[[pipeline.Session], None] = lambda _: None,
) -> Comparison:
    """Runs every method for every primary; killed, it goes on where it stopped.

    Args:
        compare_file: tasks, primaries, methods and the training all of them share.
        manager: the plugins.
        report: told a line about each finished method.
        expect: told before each part how many trainings are left at most, and what is done now.
        on_opened: told of the session on all tasks before any method runs.

    Returns:
        The comparison; also written to `comparison.json` and `comparison.md` after each primary.

    Raises:
        ConfigError: a method's settings are wrong; nothing was run then.
    """
    settings = {
        (primary, name): settings_of(compare_file, primary, name)
        for primary in compare_file.primaries
        for name in compare_file.methods
    }
    registry = collect_registry(manager)
    check_methods(compare_file, list(registry.methods))
    _check_settings(settings, registry)
    # Every task is prepared: one that is no candidate for this primary may be it for the next.
    everything = {"primary_task": compare_file.primaries[0], "candidate_tasks": None}
    first = sessions.open_run_file(
        compare_file.model_copy(update=everything),
        manager,
        check_task_names=functools.partial(_check_tasks, compare_file, settings),
    )
    on_opened(first)
    left = _TrainingsLeft(first, compare_file, settings)
    finished: list[PrimaryResult] = []
    for primary in compare_file.primaries:
        finished.append(
            _compare_primary(
                compare_file,
                primary,
                functools.partial(_open, first, settings, primary),
                report,
                functools.partial(_expected, left, expect, primary),
            )
        )
        comparison = Comparison(tuple(finished), compare_file.evaluation_seeds)
        write_json_atomic(compare_file.output_dir / COMPARISON, comparison_as_dict(comparison))
        _write_tables(compare_file.output_dir / COMPARISON_TABLES, compare_file, comparison)
    return comparison


def _expected(left: _TrainingsLeft, expect: Expectation, primary: str, part: str | None) -> None:
    expect(*left.before(primary, part))


def _write_tables(path: Path, compare_file: CompareFile, comparison: Comparison) -> None:
    length = compare_file.training
    trained = f"{length.max_steps} steps" if length.max_steps else f"{length.epochs:g} epochs"
    text = (
        "# Selection methods compared\n\n"
        f"Each selection is trained for {trained}, over {comparison.seeds} seeds; methods choose "
        "with other ones, unless they name a `seed`. ± is the standard deviation over the seeds "
        "(of a gain: of the differences seed by seed). Steps, examples and seconds: until the "
        "selection is known, with nothing stored.\n\n"
        f"{markdown(comparison)}\n"
    )
    write_bytes_atomic(path, text.encode())


class _TrainingsLeft:
    """How many trainings are left at most; what is stored, or shared by methods, is not known."""

    def __init__(
        self,
        first: pipeline.Session,
        compare_file: CompareFile,
        settings: Mapping[tuple[str, str], GradTSSettings],
    ) -> None:
        self._first = first
        self._file = compare_file
        self._settings = settings
        # (primary, method; None: the oracle) -> upper bound.
        self._bounds = {
            (primary, part): self._bound(primary, part)
            for primary in compare_file.primaries
            for part in (*compare_file.methods, None)
        }

    def before(self, primary: str, part: str | None) -> tuple[int, str]:
        """What to expect before a part: the number of trainings, and what the part is."""
        parts = list(self._bounds)
        here = parts.index((primary, part))
        for key in parts[here:]:
            if key[0] == primary:  # by now more may be stored
                self._bounds[key] = self._bound(*key)
        return sum(self._bounds[key] for key in parts[here:]), f"{primary}, {part or 'oracle'}"

    def _bound(self, primary: str, part: str | None) -> int:
        seeds = self._file.evaluation_seeds
        if part is None:
            candidates = _shared_candidates(self._first, self._file, primary)
            subsets = oracle_subsets(candidates, candidates) if self._file.oracle else []
            return seeds * (1 + len(subsets))
        session = dataclasses.replace(self._first, settings=self._settings[primary, part])
        planned = plan.make_plan(session, final_training=False, look_ahead=False)
        own = sum(found.num_to_do or 0 for found in planned.parts if "probes" not in found.what)
        return own + seeds


def _open(
    first: pipeline.Session,
    settings: Mapping[tuple[str, str], GradTSSettings],
    primary: str,
    name: str,
) -> pipeline.Session:
    folder = first.output_dir / "methods" / primary / check_folder_name(name)
    return sessions.reopen(first, settings[primary, name], output_dir=folder)


def settings_of(compare_file: CompareFile, primary: str, name: str | None) -> GradTSSettings:
    """The settings of one method for one primary: the file's own, and what the method changes.

    Selections are scored with the file's own seeds, `seed` and those after it; methods choose with
    the seeds after these, so that a lucky training decides and scores nothing at once.

    Args:
        compare_file: the comparison.
        primary: the task to help.
        name: of the method; None: what all methods share.
    """
    values = compare_file.model_dump(include=set(GradTSSettings.model_fields), exclude_unset=True)
    values["training"] = compare_file.training.model_dump(exclude_unset=True)
    values |= {"primary_task": primary, **_candidates(compare_file, primary)}
    if name is None:
        return parse_settings(GradTSSettings, values, where="compare file")
    values["seed"] = compare_file.seed + compare_file.evaluation_seeds
    for key, value in compare_file.methods[name].items():
        if key in _NOT_A_METHODS_OWN:
            raise ConfigError(f"methods.{name}.{key}: is the same for all methods; leave it out")
        nested = isinstance(value, Mapping) and isinstance(values.get(key), Mapping)
        values[key] = {**values[key], **value} if nested else value
    return parse_settings(GradTSSettings, values, where=f"methods.{name}")


def _check_settings(settings: Mapping[tuple[str, str], GradTSSettings], registry: Registry) -> None:
    """Refuses unknown names in any method's settings before anything runs."""
    for (_, name), found in settings.items():
        check_folder_name(name, what="method name")
        try:
            registry.measure(found.probing.importance)
            registry.correlation(found.ranking.correlation)
            registry.ranker(found.ranking.ranker)
        except ConfigError as error:
            raise ConfigError(f"methods.{name}.{error}") from error


def _check_tasks(
    compare_file: CompareFile,
    settings: Mapping[tuple[str, str], GradTSSettings],
    known: Sequence[str],
) -> None:
    """Refuses unknown primaries and candidates before anything is written."""
    for primary in compare_file.primaries:
        if primary not in known:
            raise ConfigError(f"primaries: unknown task {primary!r}; {nearest(primary, known)}")
    for found in settings.values():
        pipeline.candidate_tasks(found, known)


def _shared_candidates(
    session: pipeline.Session, compare_file: CompareFile, primary: str
) -> tuple[str, ...]:
    """The candidates that the file itself names for a primary, whatever single methods do."""
    names = [info.name for info in session.host.tasks()]
    return pipeline.candidate_tasks(settings_of(compare_file, primary, None), names)


def _candidates(compare_file: CompareFile, primary: str) -> dict[str, Any]:
    if compare_file.candidate_tasks is None:
        return {}
    return {"candidate_tasks": [name for name in compare_file.candidate_tasks if name != primary]}


def _compare_primary(
    compare_file: CompareFile,
    primary: str,
    open_method: Callable[[str], pipeline.Session],
    report: Callable[[str], None],
    before: Callable[[str | None], None],
) -> PrimaryResult:
    chosen = []
    shared = settings_of(compare_file, primary, None)
    for name in compare_file.methods:
        session = open_method(name)
        before(name)
        outcome = pipeline.choose(session)
        trial = evaluate(
            session,
            shared,
            outcome.selection.auxiliary_tasks,
            compare_file.evaluation_seeds,
            outcome.selection.kept_instances,
            outcome.selection.mixing_ratios,
        )
        chosen.append((name, outcome, trial))
        report(
            f"{primary}, {name}: {', '.join(trial.auxiliary_tasks) or 'none'} scores "
            f"{shown_score(trial.score)} after {outcome.cost.num_steps} steps, "
            f"{outcome.cost.seconds:.0f} s"
        )
    before(None)
    candidates = _shared_candidates(session, compare_file, primary)
    order = oracle_order(candidates, [found.ranking for _, found, _ in chosen if found.ranking])
    trials: dict[tuple[str, ...], Trial] = {
        (): evaluate(session, shared, (), compare_file.evaluation_seeds)
    }
    for subset in oracle_subsets(candidates, order) if compare_file.oracle else ():
        trials[_key(subset)] = evaluate(session, shared, subset, compare_file.evaluation_seeds)
        shown = shown_score(trials[_key(subset)].score)
        report(f"{primary}, oracle: {', '.join(subset) or 'none'} {shown}")
    for _, _, trial in chosen:
        if not trial.num_kept and not trial.mixing_ratios:
            trials.setdefault(_key(trial.auxiliary_tasks), trial)
    oracle = max(trials.values(), key=Trial.comparable)
    return PrimaryResult(
        primary_task=primary,
        alone=trials[()],
        subsets=tuple(trials.values()),
        oracle=oracle,
        methods=tuple(
            MethodResult(
                method=name,
                selection=pipeline.selection_as_dict(outcome.selection),
                ranking=_values(outcome.ranking),
                trial=trial,
                cost=outcome.cost,
                regret=score_difference(oracle.score, trial.score),
            )
            for name, outcome, trial in chosen
        ),
    )


def _values(ranking: Ranking | None) -> dict[str, float] | None:
    if ranking is None:
        return None
    return {candidate.task_name: candidate.tau for candidate in ranking.candidates}


def oracle_order(candidates: Sequence[str], rankings: Sequence[Ranking]) -> tuple[str, ...]:
    """The ranking whose prefixes the oracle looks at.

    Args:
        candidates: all of them.
        rankings: of the compared methods, in their order.

    Returns:
        The first ranking by GradTS of exactly these candidates; without one the first other
        ranking; without any the order in which the candidates were given.
    """
    fitting = [found for found in rankings if set(found.task_order) == set(candidates)]
    fitting.sort(key=lambda found: found.ranker != "heads")
    return fitting[0].task_order if fitting else tuple(candidates)


def oracle_subsets(candidates: Sequence[str], order: Sequence[str]) -> list[tuple[str, ...]]:
    """The subsets an oracle looks at.

    Args:
        candidates: all of them.
        order: the same, best first.

    Returns:
        Every non-empty subset of up to 4 candidates; of more, every single one and every prefix of
        the order.
    """
    if len(candidates) <= MAX_CANDIDATES_FOR_ALL_SUBSETS:
        sizes = range(1, len(candidates) + 1)
        return [subset for size in sizes for subset in itertools.combinations(candidates, size)]
    singles = [(name,) for name in candidates]
    return [*singles, *(tuple(order[:size]) for size in range(2, len(order) + 1))]


def _key(auxiliary_tasks: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(auxiliary_tasks))


def evaluate(
    session: pipeline.Session,
    shared: GradTSSettings,
    auxiliary_tasks: Sequence[str],
    seeds: int,
    kept_instances: Mapping[str, Any] | None = None,
    mixing_ratios: Mapping[str, int] | None = None,
) -> Trial:
    """Trains a selection over all evaluation seeds; nothing of it counts as a method's cost.

    Args:
        session: a method's.
        shared: the length of the training and the first seed, the same for all methods.
        auxiliary_tasks: the selection.
        seeds: how many.
        kept_instances: of the selection.
        mixing_ratios: of the selection.
    """
    settings, costs = session.settings, dict(session.costs)
    trial = settings.trial.model_copy(update={"seeds": seeds})
    same = {"trial": trial, "training": shared.training, "seed": shared.seed}
    session.settings = settings.model_copy(update=same)
    try:
        scored = pipeline.score_tasks(
            session, tuple(auxiliary_tasks), kept_instances or {}, mixing_ratios or {}
        )
    finally:
        session.settings = settings
        session.costs = costs
    # Only scores are compared, and weights are large: those of the method's trials go, too.
    for weights in session.output_dir.glob(f"trials/*/{pipeline.WEIGHTS_FILE}"):
        weights.unlink()
    return scored


# --- what it adds up to ---------------------------------------------------------------------------


def gain_agreement(result: PrimaryResult, values: Mapping[str, float]) -> float | None:
    """How well a ranking foretells what each candidate alone adds: Kendall's tau-b.

    Args:
        result: its `subsets` hold every single candidate.
        values: task -> what it was ranked by.

    Returns:
        In [-1, 1]; None where a side is constant, or a single was not trained or has no score.
    """
    from scipy.stats import kendalltau

    scores = {trial.auxiliary_tasks: trial.score for trial in result.subsets}
    singles = [score for name in values if (score := scores.get((name,))) is not None]
    if len(values) < 2 or len(singles) < len(values):
        return None
    # Places, not values: forward selection's need not fall. Equal neighbours share a place.
    figures = np.array(list(values.values()))
    places = np.concatenate([[0], np.cumsum(figures[1:] != figures[:-1])])
    tau = kendalltau(-places, singles).statistic
    return None if np.isnan(tau) else float(tau)


def gain(trial: Trial, alone: Trial) -> Score:
    """How much better than the primary alone a selection scored on the dev set."""
    return score_difference(trial.score, alone.score)


def gain_spread(trial: Trial, alone: Trial) -> float | None:
    """Standard deviation of the gain over the seeds, seed by seed; None with one seed.

    Both trials share the seeds' heads and data order, so their differences vary less than each.
    """
    if len(trial.scores) != len(alone.scores):
        return None
    return score_spread(score_differences(trial.scores, alone.scores))


def gain_on_test(trial: Trial, alone: Trial) -> float | None:
    """The gain on the test set; None where a side was not scored on it, or is undefined."""
    return score_difference(mean_score(trial.test_scores), mean_score(alone.test_scores))


@dataclass(frozen=True)
class MethodMeans:
    """What one method came to, averaged over the primaries.

    Attributes:
        method: its name.
        regret: mean; None where one is undefined.
        gain: mean; None where one is undefined.
        worst_gain: the smallest over the primaries; None where one is undefined.
        test_gain: mean; None where a primary was not scored on a test set.
        agreement: mean of `gain_agreement` where there is one; None where there is none.
        num_steps: mean cost in optimiser steps.
        num_examples: mean cost in instances trained on or probed.
        seconds: mean cost in time.
    """

    method: str
    regret: Score
    gain: Score
    worst_gain: Score
    test_gain: Score
    agreement: float | None
    num_steps: float
    num_examples: float
    seconds: float


def means(comparison: Comparison) -> list[MethodMeans]:
    """Each method's means over the primaries, in the order of the settings."""
    by_method: dict[str, list[tuple[PrimaryResult, MethodResult]]] = {}
    for result in comparison.primaries:
        for found in result.methods:
            by_method.setdefault(found.method, []).append((result, found))
    rows = []
    for method, pairs in by_method.items():
        gains = [gain(found.trial, result.alone) for result, found in pairs]
        agreements = [
            gain_agreement(result, found.ranking) if found.ranking else None
            for result, found in pairs
        ]
        rows.append(
            MethodMeans(
                method=method,
                regret=mean_score([found.regret for _, found in pairs]),
                gain=mean_score(gains),
                worst_gain=min((found for found in gains if found is not None), default=None)
                if None not in gains
                else None,
                test_gain=mean_score(
                    [gain_on_test(found.trial, result.alone) for result, found in pairs]
                ),
                agreement=mean_score([tau for tau in agreements if tau is not None]),
                num_steps=float(np.mean([found.cost.num_steps for _, found in pairs])),
                num_examples=float(np.mean([found.cost.num_examples for _, found in pairs])),
                seconds=float(np.mean([found.cost.seconds for _, found in pairs])),
            )
        )
    return rows


def best_method(comparison: Comparison) -> str:
    """The method with the least mean regret; of equal ones the one that costs least time."""
    return min(
        means(comparison),
        key=lambda found: (math.inf if found.regret is None else found.regret, found.seconds),
    ).method


def comparison_as_dict(comparison: Comparison) -> dict[str, Any]:
    """A comparison as JSON values."""
    return {
        "seeds": comparison.seeds,
        "primaries": {
            result.primary_task: {
                "alone": pipeline.trial_as_dict(result.alone),
                "oracle": pipeline.trial_as_dict(result.oracle),
                "subsets": [pipeline.trial_as_dict(trial) for trial in result.subsets],
                "methods": {
                    found.method: {
                        "selection": dict(found.selection),
                        "ranking": found.ranking and dict(found.ranking),
                        "trial": pipeline.trial_as_dict(found.trial),
                        "cost": asdict(found.cost),
                        "regret": found.regret,
                        "gain": gain(found.trial, result.alone),
                        "gain_spread": gain_spread(found.trial, result.alone),
                        "test_gain": gain_on_test(found.trial, result.alone),
                        "gain_agreement": found.ranking and gain_agreement(result, found.ranking),
                    }
                    for found in result.methods
                },
            }
            for result in comparison.primaries
        },
        "means": {
            found.method: {key: value for key, value in asdict(found).items() if key != "method"}
            for found in means(comparison)
        },
    }


def check_methods(compare_file: CompareFile, known: Sequence[str]) -> None:
    """Refuses methods that name an unknown selection method, before anything runs.

    Raises:
        ConfigError: names the method and the nearest valid choice.
    """
    for name, values in compare_file.methods.items():
        method = values.get("method")
        if method not in known:
            raise ConfigError(
                f"methods.{name}.method: unknown value {method!r}; {nearest(str(method), known)}"
            )


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown tables: one for each primary, and the means."""
    parts = []
    for result in comparison.primaries:
        rows = [
            (
                found.method,
                ", ".join(found.trial.auxiliary_tasks) or "none",
                _score(found.trial),
                shown_gain(found.trial, result.alone),
                shown_score(found.regret),
                f"{found.cost.num_steps}",
                f"{found.cost.num_examples}",
                f"{found.cost.seconds:.0f}",
            )
            for found in result.methods
        ]
        parts += [
            f"## {result.primary_task}",
            f"Alone {_score(result.alone)}; oracle: "
            f"{', '.join(result.oracle.auxiliary_tasks) or 'none'} {_score(result.oracle)}, the "
            f"best of {len(result.subsets)} subsets.",
            _table(
                ("method", "selected", "dev score", "gain", "regret", "steps", "examples", "s"),
                rows,
            ),
        ]
        if any(found.trial.test_scores for found in result.methods):
            parts.append(_table(("method", "test score", "test gain"), _test_rows(result)))
    return "\n\n".join([*parts, "## Means over the primaries", _means(comparison)])


def _test_rows(result: PrimaryResult) -> list[tuple[str, str, str]]:
    rows = []
    for found in result.methods:
        scores = found.trial.test_scores
        shown = _with_spread(mean_score(scores), score_spread(scores)) if scores else ""
        gained = shown_score(gain_on_test(found.trial, result.alone), "+.4f") if scores else ""
        rows.append((found.method, shown, gained))
    return rows


def _means(comparison: Comparison) -> str:
    found = means(comparison)
    with_test = any(row.test_gain is not None for row in found)
    header = ["method", "regret", "gain", "worst gain", *["test gain"] * with_test]
    header += ["ranking against single gains (tau)", "steps", "examples", "s"]
    rows = [
        [
            row.method,
            shown_score(row.regret),
            shown_score(row.gain, "+.4f"),
            shown_score(row.worst_gain, "+.4f"),
            *["" if row.test_gain is None else f"{row.test_gain:+.4f}"] * with_test,
            "" if row.agreement is None else f"{row.agreement:+.2f}",
            f"{row.num_steps:.0f}",
            f"{row.num_examples:.0f}",
            f"{row.seconds:.0f}",
        ]
        for row in found
    ]
    return _table(header, rows)


def shown_gain(trial: Trial, alone: Trial) -> str:
    """A gain in words, with its spread where there is one."""
    return _with_spread(gain(trial, alone), gain_spread(trial, alone), "+.4f")


def _with_spread(score: Score, spread: Score, form: str = ".4f") -> str:
    return shown_score(score, form) + (f" ± {spread:.4f}" if spread is not None else "")


def _score(trial: Trial) -> str:
    return _with_spread(trial.score, trial.spread)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
