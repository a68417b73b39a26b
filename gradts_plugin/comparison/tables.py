"""A comparison as Markdown tables."""

from __future__ import annotations

from collections.abc import Sequence

from gradts_plugin.comparison.results import Comparison, MethodResult, PrimaryResult
from gradts_plugin.records import Trial
from gradts_plugin.scores import Gain, mean_score, score_spread, shown_score

#: Name of the tables in the comparison's output folder.
COMPARISON_TABLES = "comparison.md"

#: How sure a gain is.
GAIN_COLUMNS = ("95 % interval", "P(helps)")


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown tables: one for each primary, and the means."""
    parts = []
    for primary, result in comparison.primaries.items():
        parts += [
            f"## {primary}",
            f"Alone {result.alone.shown}; oracle: "
            f"{_tasks(result.oracle)} {result.oracle.shown}, "
            f"the best of {len(result.subsets)} subsets{_gain_of_oracle(result)}.",
            _table(
                (
                    *("method", "selected", "dev score", "gain", *GAIN_COLUMNS),
                    *("regret", "steps", "examples", "s"),
                ),
                [_row(name, found) for name, found in result.methods.items()],
            ),
        ]
        if any(found.trial.test_scores for found in result.methods.values()):
            header = ("method", "test score", "test gain", *GAIN_COLUMNS)
            parts.append(_table(header, _test_rows(result)))
        parts += [f"Note: {note}" for note in result.notes]
    return "\n\n".join([*parts, "## Means over the primaries", _means(comparison)])


def _row(name: str, found: MethodResult) -> Sequence[str]:
    return (
        name,
        _tasks(found.trial),
        found.trial.shown,
        shown_score(found.gain, "+.4f", spread=found.gain_spread),
        *gain_cells(found.interval),
        shown_score(found.regret),
        f"{found.cost.num_steps}",
        f"{found.cost.num_examples}",
        f"{found.cost.seconds:.0f}",
    )


def gain_cells(gain: Gain | None) -> tuple[str, str]:
    """A gain's interval and P(helps) for `GAIN_COLUMNS`; empty where nothing was selected."""
    return ("", "") if gain is None else (gain.shown_interval, gain.shown_p_helps)


def _gain_of_oracle(result: PrimaryResult) -> str:
    gain = result.oracle_interval
    return "" if gain is None else f" ({gain.shown})"


def _tasks(trial: Trial) -> str:
    return ", ".join(trial.auxiliary_tasks) or "none"


def _test_rows(result: PrimaryResult) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, found in result.methods.items():
        scores = found.trial.test_scores
        shown = shown_score(mean_score(scores), spread=score_spread(scores)) if scores else ""
        gained = shown_score(found.test_gain, "+.4f") if scores else ""
        rows.append((name, shown, gained, *gain_cells(found.test_interval)))
    return rows


def _means(comparison: Comparison) -> str:
    means = comparison.means
    with_test = any(row.test_gain is not None for row in means.values())
    header = ["method", "regret", "gain", "worst gain", *["test gain"] * with_test]
    header += ["ranking against single gains (tau)", "steps", "examples", "s"]
    rows = [
        [
            name,
            shown_score(row.regret),
            shown_score(row.gain, "+.4f"),
            shown_score(row.worst_gain, "+.4f"),
            *["" if row.test_gain is None else f"{row.test_gain:+.4f}"] * with_test,
            "" if row.agreement is None else f"{row.agreement:+.2f}",
            f"{row.num_steps:.0f}",
            f"{row.num_examples:.0f}",
            f"{row.seconds:.0f}",
        ]
        for name, row in means.items()
    ]
    return _table(header, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *("---:" for _ in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
