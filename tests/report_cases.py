"""Reports made by hand, of the shape and size of real ones."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from gradts_plugin.comparison.oracle import best_subset
from gradts_plugin.comparison.results import Comparison, PrimaryResult, method_result
from gradts_plugin.records import (
    Cost,
    Counters,
    Outcome,
    RankedTask,
    Ranking,
    Selection,
    TaskInfo,
    TaskShares,
    Trial,
)
from gradts_plugin.report.record import (
    HeadMap,
    InstanceExample,
    InstancesInfo,
    InstanceTaus,
    ProbeInfo,
    RunReport,
)
from gradts_plugin.scores import Effect, Gain, Round

FOURTEEN = tuple(
    "rte qqp mrpc mnli qnli wnli dmeld stsb cola meld sst2 ner pos sc".split()  # noqa: SIM905
)


def trial_of(auxiliary_tasks, scores, **changes):
    values = {
        "auxiliary_tasks": tuple(auxiliary_tasks),
        "scores": tuple(scores),
        "num_kept": {},
        "num_steps": 120 * (1 + len(auxiliary_tasks)),
        "seconds": 31.5 * (1 + len(auxiliary_tasks)),
        "reused": False,
        **changes,
    }
    return Trial(**values)


def matrix_of(values):
    return tuple(tuple(row) for row in np.round(values, 4).tolist())


def round_of(effects, *, number=1, num_trainings=12, fit=0.75):
    """A round of a search: auxiliaries -> (gain, low, high, P(helps)), best first."""
    found = tuple(
        Effect(names, Gain(*values, num_seeds=2, num_instances=0, covers=("seeds",)))
        for names, values in effects.items()
    )
    return Round(number, found, found[0] if found else None, fit, num_trainings, 12)


def report_of(names=FOURTEEN, *, method="fg", num_layers=12, num_heads=12, **changes):
    """A report over tasks, the first of them the primary, the two best-ranked selected.

    Changes are of the report, its outcome or its selection, by the names of their fields.
    """
    stream = np.random.default_rng(0)
    primary, *candidates = names
    number = len(names)
    profiles = stream.random((number, num_layers * num_heads))
    # The nearer in the list, the more alike.
    for place in range(1, number):
        profiles[place] = 0.75 * profiles[place - 1] + 0.25 * profiles[place]
    taus = np.corrcoef(profiles).round(4)
    ranked = sorted(candidates, key=lambda name: -taus[0, names.index(name)])
    values = [float(taus[0, names.index(name)]) for name in ranked]
    chosen = tuple(ranked[:2])
    trials = (
        trial_of((), (0.588, 0.574, 0.596)),
        trial_of(ranked[:1], (0.603, 0.596, 0.621)),
        trial_of(ranked[:2], (0.617, 0.625, 0.632), reused=True),
        trial_of(ranked[:3], (0.610, 0.599, 0.602)),
        trial_of(ranked[:4], (0.585, 0.601, 0.592)),
        trial_of(ranked[:2], (0.629, 0.634, 0.640), num_kept=dict.fromkeys(chosen, 412)),
    )
    edges = np.linspace(-0.35, 0.75, 41)
    theta = float(edges[20])
    draws = [stream.normal(value / 2, 0.12, 800).clip(-0.34, 0.74) for value in values]
    instances = tuple(
        InstanceTaus(
            task=name,
            num_instances=800,
            median=float(np.median(draw)),
            counts=tuple(np.histogram(draw, edges)[0].tolist()),
            kept_counts=(
                tuple(np.histogram(draw[draw >= theta], edges)[0].tolist())
                if name in chosen
                else None
            ),
            kept=(InstanceExample(7, 0.61, "A man is eating. | Somebody eats."),)
            if name in chosen
            else (),
            dropped=(InstanceExample(8, -0.2, "hm . | 7 7 7"),) if name in chosen else (),
        )
        for name, draw in zip(ranked, draws, strict=True)
    )
    shared = 1 / number
    parts = {
        "method": method,
        "primary_task": primary,
        "auxiliary_tasks": chosen,
        "reason": f"{primary} with {', '.join(chosen)} scores 0.6247",
        "trials": trials,
        "selected": trials[-1],
        "alone": trials[0],
        "config_path": Path("selected_config.json"),
        "cost": Cost(5120, 163840, 4210.5),
        "seconds": {"probe": 1168.2, "rank": 0.8, "select": 931.4, "rewrite": 0.2, "train": 80.1},
        "done": Counters(
            training_steps=4012,
            training_runs=21,
            training_runs_reused=3,
            probes=12,
            probes_reused=2,
        ),
        "ranking": Ranking(
            primary_task=primary,
            candidates=tuple(
                RankedTask(name, value, (value - 0.05, value + 0.04), None if last else 0.87)
                for name, value, last in zip(
                    ranked, values, [False] * (number - 2) + [True], strict=True
                )
            ),
            confidence=0.95,
            num_seeds=2,
            covers=("instances", "fine-tuning seeds"),
            num_heads_total=num_layers * num_heads,
            task_names=tuple(names),
            task_taus=taus,
        ),
        "method_title": "GradTS-fg",
        "method_summary": "The auxiliaries, and of those the instances like the primary's.",
        "ranker_title": "GradTS",
        "num_kept": dict.fromkeys(chosen, 412),
        "tasks": tuple(TaskInfo(name, "classification", 1000, "cd" * 32) for name in names),
        "head_maps": tuple(
            HeadMap(name, matrix_of(profile.reshape(num_layers, num_heads)))
            for name, profile in zip(names, profiles, strict=True)
        ),
        "probes": tuple(
            ProbeInfo(name, seed, 800, 0.55 + 0.02 * place, 92.4)
            for place, name in enumerate(names)
            for seed in (0, 1)
        ),
        "instances": InstancesInfo(theta, tuple(edges.tolist()), instances),
        "shares_before": TaskShares("ProportionalMultiTaskSampler", dict.fromkeys(names, shared)),
        "shares_after": TaskShares(
            "ProportionalMultiTaskSampler",
            {primary: 1000 / 1824, **dict.fromkeys(chosen, 412 / 1824)},
        ),
        "settings": {"method": method, "seeds": 2, "fine_tuning": {"epochs": 3}},
        "provenance": {
            "host": "jiant",
            "encoder": "bert-base-cased",
            "versions": {"gradts-plugin": "0.1.0", "jiant": "2.2.0", "torch": "2.13.0"},
            "encoder_fingerprint": "ab" * 32,
            "task_fingerprints": dict.fromkeys(names, "cd" * 32),
        },
        "comparison": comparison_of((primary,), ("fg", "alone")),
    }
    return changed(parts, **changes)


def changed(parts, **changes):
    """A report out of parts, or another one with some of its parts changed."""
    if isinstance(parts, RunReport):
        parts = {**vars(parts.selection), **vars(parts.outcome), **vars(parts)}
    parts = {**parts, **changes}
    selection = Selection(**of_record(Selection, parts))
    outcome = Outcome(**of_record(Outcome, {**parts, "selection": selection}))
    return RunReport(**of_record(RunReport, {**parts, "outcome": outcome}))


def of_record(record, parts):
    return {field.name: parts[field.name] for field in fields(record) if field.name in parts}


METHODS = (
    *("alone", "all", "random", "largest", "embedding", "logme", "gradients"),
    *("gradts-thres", "gradts-trial", "gradts-fg", "autosem-p1", "autosem"),
)


def comparison_of(primaries=("rte", "mrpc", "cola"), methods=METHODS):
    """A comparison over primaries, three seeds each; the later a method, the more it costs."""
    stream = np.random.default_rng(1)
    compared = {}
    for primary in primaries:
        alone = trial_of((), tuple(0.55 + 0.01 * stream.standard_normal(3)))
        trials = {
            name: alone
            if name == "alone"
            else trial_of(
                ("qqp", "mnli")[: 1 + place % 2],
                tuple(0.55 + 0.005 * (place - 4) + 0.01 * stream.standard_normal(3)),
                test_scores=(0.5, 0.52, 0.54),
            )
            for place, name in enumerate(methods)
        }
        compared[primary] = primary_result(trials, alone)
    return Comparison(3, compared)


def primary_result(trials, alone):
    """What methods came to for a primary; the oracle is the best of them."""
    oracle = best_subset(trials.values())
    return PrimaryResult(
        alone=alone,
        oracle=oracle,
        subsets=(alone, oracle),
        methods={
            name: method_result(
                Selection(name, "p", trial.auxiliary_tasks, "by hand"),
                None,
                trial,
                Cost(40 * place, 1280 * place, 21.5 * place) if place else Cost(),
                alone=alone,
                oracle=oracle,
                subsets=(),
            )
            for place, (name, trial) in enumerate(trials.items())
        },
    )


def rescored(result, **scores):
    """A primary's result with other scores of some methods; costs stay in their order."""
    trials = {
        name: replace(method.trial, scores=scores.get(name, method.trial.scores))
        for name, method in result.methods.items()
    }
    return primary_result(
        trials, replace(result.alone, scores=scores.get("alone", result.alone.scores))
    )
