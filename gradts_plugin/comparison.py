"""Selection methods side by side: what each selects, what that scores, and what it costs to know.

Every method works on the same data, with the same training settings, through the same host and
store; its cost is what it would take with nothing stored (`pipeline.Session.costs`).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pluggy

from gradts_plugin import pipeline, sessions
from gradts_plugin.config import CompareFile, GradTSSettings, parse_settings
from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.files import check_folder_name, write_json_atomic
from gradts_plugin.plugins import collect_registry
from gradts_plugin.records import Cost, Ranking, Trial

#: Every subset is trained for the oracle up to so many candidates.
MAX_CANDIDATES_FOR_ALL_SUBSETS = 4

#: Name of the comparison in its output folder.
COMPARISON = "comparison.json"


@dataclass(frozen=True)
class MethodResult:
    """What one method came to for one primary.

    Attributes:
        method: its name in the comparison.
        selection: `pipeline.selection_as_dict`.
        ranking: task -> what it was ranked by, best first; None where it ranks nothing.
        trial: the selection's training, over all evaluation seeds.
        cost: until the selection is known, with nothing stored.
        regret: the oracle's score less this one's.
    """

    method: str
    selection: Mapping[str, Any]
    ranking: Mapping[str, float] | None
    trial: Trial
    cost: Cost
    regret: float


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
) -> Comparison:
    """Runs every method for every primary; killed, it goes on where it stopped.

    Args:
        compare_file: tasks, primaries, methods and the training all of them share.
        manager: the plugins.
        report: told a line about each finished method.

    Returns:
        The comparison; also written to `comparison.json` after each primary.

    Raises:
        ConfigError: a method's settings are wrong; nothing was run then.
    """
    settings = {
        (primary, name): settings_of(compare_file, primary, name)
        for primary in compare_file.primaries
        for name in compare_file.methods
    }
    check_methods(compare_file, list(collect_registry(manager).methods))
    first = sessions.open_run_file(
        compare_file.model_copy(update={"primary_task": compare_file.primaries[0]}), manager
    )
    finished: list[PrimaryResult] = []
    for primary in compare_file.primaries:
        finished.append(
            _compare_primary(
                compare_file,
                primary,
                functools.partial(_open, first, settings, primary),
                report,
            )
        )
        comparison = Comparison(tuple(finished), compare_file.evaluation_seeds)
        write_json_atomic(compare_file.output_dir / COMPARISON, comparison_as_dict(comparison))
    return comparison


def _open(
    first: pipeline.Session,
    settings: Mapping[tuple[str, str], GradTSSettings],
    primary: str,
    name: str,
) -> pipeline.Session:
    folder = first.output_dir / "methods" / primary / check_folder_name(name)
    return sessions.reopen(first, settings[primary, name], output_dir=folder)


def settings_of(compare_file: CompareFile, primary: str, name: str) -> GradTSSettings:
    """The settings of one method for one primary: the file's own, and what the method changes."""
    values = compare_file.model_dump(include=set(GradTSSettings.model_fields), exclude_unset=True)
    values["training"] = compare_file.training.model_dump(exclude_unset=True)
    values |= {"primary_task": primary, **_candidates(compare_file, primary)}
    for key, value in compare_file.methods[name].items():
        nested = isinstance(value, Mapping) and isinstance(values.get(key), Mapping)
        values[key] = {**values[key], **value} if nested else value
    return parse_settings(GradTSSettings, values, where=f"methods.{name}")


def _candidates(compare_file: CompareFile, primary: str) -> dict[str, Any]:
    if compare_file.candidate_tasks is None:
        return {}
    return {"candidate_tasks": [name for name in compare_file.candidate_tasks if name != primary]}


def _compare_primary(
    compare_file: CompareFile,
    primary: str,
    open_method: Callable[[str], pipeline.Session],
    report: Callable[[str], None],
) -> PrimaryResult:
    chosen = []
    for name in compare_file.methods:
        session = open_method(name)
        outcome = pipeline.choose(session)
        trial = evaluate(
            session,
            outcome.selection.auxiliary_tasks,
            compare_file.evaluation_seeds,
            outcome.selection.kept_instances,
            outcome.selection.mixing_ratios,
        )
        chosen.append((name, outcome, trial))
        report(
            f"{primary}, {name}: {', '.join(trial.auxiliary_tasks) or 'none'} scores "
            f"{trial.score:.4f} after {outcome.cost.num_steps} steps, "
            f"{outcome.cost.seconds:.0f} s"
        )
    candidates = tuple(pipeline.tasks_of(session))[1:]
    order = next((found.ranking.task_order for _, found, _ in chosen if found.ranking), candidates)
    trials: dict[tuple[str, ...], Trial] = {
        (): evaluate(session, (), compare_file.evaluation_seeds)
    }
    for subset in oracle_subsets(candidates, order) if compare_file.oracle else ():
        trials[_key(subset)] = evaluate(session, subset, compare_file.evaluation_seeds)
        report(f"{primary}, oracle: {', '.join(subset) or 'none'} {trials[_key(subset)].score:.4f}")
    for _, _, trial in chosen:
        if not trial.num_kept and not trial.mixing_ratios:
            trials.setdefault(_key(trial.auxiliary_tasks), trial)
    oracle = max(trials.values(), key=lambda trial: trial.score)
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
                regret=oracle.score - trial.score,
            )
            for name, outcome, trial in chosen
        ),
    )


def _values(ranking: Ranking | None) -> dict[str, float] | None:
    if ranking is None:
        return None
    return {candidate.task_name: candidate.tau for candidate in ranking.candidates}


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
    auxiliary_tasks: Sequence[str],
    seeds: int,
    kept_instances: Mapping[str, Any] | None = None,
    mixing_ratios: Mapping[str, int] | None = None,
) -> Trial:
    """Trains a selection over all evaluation seeds; nothing of it counts as a method's cost."""
    settings, costs = session.settings, dict(session.costs)
    trial = settings.trial.model_copy(update={"seeds": seeds})
    session.settings = settings.model_copy(update={"trial": trial})
    try:
        scored = pipeline.score_tasks(
            session, tuple(auxiliary_tasks), kept_instances or {}, mixing_ratios or {}
        )
    finally:
        session.settings = settings
        session.costs = costs
    for folder in scored.output_dirs:  # only scores are compared, and weights are large
        (folder / pipeline.WEIGHTS_FILE).unlink(missing_ok=True)
    return scored


# --- what it adds up to ---------------------------------------------------------------------------


def gain_agreement(result: PrimaryResult, values: Mapping[str, float]) -> float | None:
    """How well a ranking foretells what each candidate alone adds: Kendall's tau-b.

    Args:
        result: its `subsets` hold every single candidate.
        values: task -> what it was ranked by.

    Returns:
        In [-1, 1]; None where a side is constant or a single was not trained.
    """
    from scipy.stats import kendalltau

    scores = {trial.auxiliary_tasks: trial.score for trial in result.subsets}
    if any((name,) not in scores for name in values):
        return None
    tau = kendalltau(list(values.values()), [scores[name,] for name in values]).statistic
    return None if np.isnan(tau) else float(tau)


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
                        "gain_agreement": found.ranking and gain_agreement(result, found.ranking),
                    }
                    for found in result.methods
                },
            }
            for result in comparison.primaries
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
                f"{found.trial.score - result.alone.score:+.4f}",
                f"{found.regret:.4f}",
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
            parts.append(
                _table(
                    ("method", "test score"),
                    [
                        (found.method, f"{np.mean(found.trial.test_scores):.4f}")
                        for found in result.methods
                    ],
                )
            )
    return "\n\n".join([*parts, "## Means over the primaries", _means(comparison)])


def _means(comparison: Comparison) -> str:
    by_method: dict[str, list[tuple[PrimaryResult, MethodResult]]] = {}
    for result in comparison.primaries:
        for found in result.methods:
            by_method.setdefault(found.method, []).append((result, found))
    rows = []
    for method, pairs in by_method.items():
        gains = [found.trial.score - result.alone.score for result, found in pairs]
        agreements = [
            agreement
            for result, found in pairs
            if found.ranking
            for agreement in [gain_agreement(result, found.ranking)]
            if agreement is not None
        ]
        rows.append(
            (
                method,
                f"{np.mean([found.regret for _, found in pairs]):.4f}",
                f"{np.mean(gains):+.4f}",
                f"{min(gains):+.4f}",
                f"{np.mean(agreements):+.2f}" if agreements else "",
                f"{np.mean([found.cost.num_steps for _, found in pairs]):.0f}",
                f"{np.mean([found.cost.num_examples for _, found in pairs]):.0f}",
                f"{np.mean([found.cost.seconds for _, found in pairs]):.0f}",
            )
        )
    return _table(
        (
            "method",
            "regret",
            "gain",
            "worst gain",
            "ranking against single gains (tau)",
            "steps",
            "examples",
            "s",
        ),
        rows,
    )


def _score(trial: Trial) -> str:
    spread = f" ± {trial.spread:.4f}" if trial.spread is not None else ""
    return f"{trial.score:.4f}{spread}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
