"""What every stored number depends on: each setting and each version changes what it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pluggy
import pytest
from fake_runs import fake_file, open_fake

from gradts_plugin import run
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.errors import ConfigError
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.offers import Computation, Measure, Ranker, RankingContext
from gradts_plugin.opening import check_output_dir, claim_output_dir
from gradts_plugin.plugins import collect_registry, make_plugin_manager
from gradts_plugin.probing import importance
from gradts_plugin.ranking.by_value import ranked_by_value
from gradts_plugin.ranking.correlation import kendall
from gradts_plugin.records import Cost, Ranking, Recipe
from gradts_plugin.settings.choice import Choice
from gradts_plugin.settings.parsing import NoSettings, Settings, parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores import keys
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTask

TASKS = (FakeTask("goal"), FakeTask("related", topic="goal"), FakeTask("degree", "regression"))

#: What is changed: every setting matters here that matters anywhere.
BASE = {
    "primary_task": "goal",
    "training": {"max_steps": 4, "exposure": "total"},
    "fine_tuning": {"max_steps": 2},
    "ranking": {"bootstrap": 100, "ranker": {"name": "logme", "max_instances": 8}},
    "probing": {"model": "fine-tuned", "train_mode": True, "max_instances": 6},
}

TRAINED = {
    "recipe": "mt-dnn",
    "epochs": 2,
    "max_steps": 7,
    "batch_size": 3,
    "gradient_accumulation_steps": 2,
    "learning_rate": 0.5,
    "optimizer": "radam",
    "warmup_proportion": 0.5,
    "max_grad_norm": 2.0,
    "clip_once_per_step": False,
    "sampler": "epoch",
    "evaluations": 2,
    "precision": "bf16",
}

#: Of trainings of several tasks alone.
SHARED = {"exposure": "equal", "auxiliary_ratio": 2.0, "temperature": 1.0, "order": "mixed"}

#: What it affects -> setting -> another value than in `BASE`, or than its default.
OTHER: dict[str, dict[str, Any]] = {
    "": {
        "enabled": False,
        "method": "thres",
        "faithful": True,
        "training_seeds": 2,
        "keep_starts": 1.0,
        "tensorboard": True,
        "mlflow": True,
        "wandb": True,
        "ranking.common": "remove",
        "ranking.correlation": "other",
        "ranking.bootstrap": 101,
        "ranking.confidence": 0.5,
    },
    "run": {
        "primary_task": "related",
        "candidate_tasks": ["degree"],
        "seeds": 2,
        "store": "elsewhere",
        "exact_resume": False,
        "probing.shuffled_controls": 1,
    },
    "run probes": {
        "probing.model": "frozen",
        "probing.importance": "columns",
        "probing.train_mode": False,
        "probing.precision": "bf16",
        "probing.batch_size": 5,
        "probing.max_instances": 5,
        "probing.seed": 1,
    },
    "run trainings": {f"training.{name}": value for name, value in (TRAINED | SHARED).items()},
    "computed": {"ranking.ranker": "embedding", "ranking.seed": 1},
    "run probes computed": {
        f"fine_tuning.{name}": value for name, value in (TRAINED | SHARED).items()
    },
    "run probes trainings computed": {
        "seed": 1,
        "seeded_sampler": False,
        "seeded_heads": False,
        "reshuffle_epochs": False,
        "trim_batches": False,
    },
}

#: Of a run file alone.
OTHER_OF_FILE = {
    "host": "jiant",
    "model.name_or_path": "another",
    "model.max_seq_length": 8,
    "tasks": ["goal", "degree"],
    "data_dir": "elsewhere",
    "output_dir": "elsewhere",
    "max_train_examples": 5,
    "score_test": True,
}

#: Of a run file alone, too: who makes things changes nothing.
OTHER_OF_EXECUTOR = {
    "executor.kind": "processes",
    "executor.jobs": 3,
    "executor.threads": 2,
    "executor.address": "local",
    "executor.cpus_per_job": 2,
    "executor.gpus_per_job": 0.5,
}

#: Of rankers.
OTHER_OF_RANKERS = {"max_instances": 5, "linear_map": True, "scale": 0.3, "looks": 1}
OTHER_OF_RANKERS |= {"batch_size": 4, "step_size": 0.1, "sparsity": 0.5}

#: Settings that are read only together with others.
TOGETHER = {
    "probing.shuffled_controls": {"probing.model": "frozen"},
    "training.epochs": {"training.max_steps": None},
    "fine_tuning.epochs": {"fine_tuning.max_steps": None},
    "training.recipe": {"training.max_steps": None},
    "training.auxiliary_ratio": {"training.exposure": "equal"},
    "training.temperature": {"training.exposure": "equal"},
    "training.order": {"training.exposure": "equal"},
    "fine_tuning.recipe": {"fine_tuning.max_steps": None},
}

#: Kind of stored numbers -> their folder.
KINDS = {"probes": "importances", "trainings": "trainings", "computed": "computed"}


def leaves(model: type[Settings], outer: frozenset[str] = frozenset()) -> Iterator[Any]:
    """(key, what it says that it affects) of every setting that has none of its own."""
    for name, field in model.model_fields.items():
        affects = outer | {
            kind for kind in (*KINDS, "run") if name in model.names_that_affect(kind)
        }
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings) and inner is not Choice:
            yield from ((f"{name}.{key}", found) for key, found in leaves(inner, affects))
        else:
            yield name, affects


def with_values(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which keys, of sections too, have other values."""
    changed = dict(values)
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        changed |= {section: {**changed.get(section, {}), name: value}} if section else {key: value}
    return changed


def stored(folder: Path, values: Mapping[str, Any], host: FakeHost, plugins: Sequence[object] = ()):
    """Kind -> names of what is stored when probes, a training and the ranking were asked for."""
    store = folder / str(values.get("store", "store"))
    engine = open_fake(folder, {**values, "store": str(store)}, host=host, plugins=plugins)
    seed = engine.session.settings.seed
    engine.probes.all_of([needed for needed in engine.probes.needed() if needed.seed == seed])
    engine.trainings.score(TrialRequest(("degree",), engine.trainings.trial_seeds(1)))
    run.rank(engine)
    return {
        kind: {path.name for path in (store / name).glob("*")} - {"store.json"}
        for kind, name in KINDS.items()
    }


def made_anew(before: Mapping[str, set[str]], after: Mapping[str, set[str]]) -> set[str]:
    """Kinds of which something is needed that was not stored before."""
    return {kind for kind in KINDS if after[kind] - before[kind]}


class OtherCorrelation:
    """Offers one more correlation."""

    @hookimpl
    def extend_correlations(self) -> Mapping[str, Any]:
        return {"other": kendall}


@pytest.fixture(autouse=True)
def without_logs(monkeypatch):
    """Who listens has tests of its own; some would need packages that may be missing."""
    for name in ("attach_logs", "check_logs"):
        monkeypatch.setattr(f"gradts_plugin.opening.{name}", lambda *_: None)


# --- settings -------------------------------------------------------------------------------------

SETTINGS = dict(leaves(GradTSSettings))
VALUES = {key: value for changes in OTHER.values() for key, value in changes.items()}
AFFECTED = {key: set(kinds.split()) for kinds, changes in OTHER.items() for key in changes}


def test_every_setting_is_looked_at():
    assert AFFECTED == SETTINGS
    assert {*VALUES, *OTHER_OF_FILE, *OTHER_OF_EXECUTOR} == set(dict(leaves(RunFile)))


@pytest.fixture(scope="module")
def stored_by_base(tmp_path_factory):
    """What is stored for `BASE` with some changes; each is run once."""
    found: dict[str, Mapping[str, set[str]]] = {}

    def look_up(base: Mapping[str, Any]) -> Mapping[str, set[str]]:
        if str(base) not in found:
            folder = tmp_path_factory.mktemp("before")
            found[str(base)] = stored(folder, base, FakeHost(TASKS), [OtherCorrelation()])
        return found[str(base)]

    return look_up


@pytest.mark.parametrize("key", SETTINGS)
def test_a_setting_changes_the_stored_numbers_that_it_says(tmp_path, stored_by_base, key):
    base = with_values(BASE, TOGETHER.get(key, {}))
    host = FakeHost(TASKS)
    before = stored_by_base(base)
    changed = with_values(base, {key: VALUES[key]})
    after = stored(tmp_path / "after", changed, host, [OtherCorrelation()])
    assert all(before.values())
    found = made_anew(before, after)
    if key == "primary_task":  # asks for other trainings and values; the probes are the same
        found &= {"probes"}
    if key == "fine_tuning.evaluations":  # a fine-tuning is scored once, whatever is asked for
        assert not found
        return
    assert found == AFFECTED[key] - {"run"}


@pytest.mark.parametrize("key", dict(leaves(RunFile)))
def test_a_setting_makes_another_run_where_it_says_so(tmp_path, key):
    def run_file(changes):
        values = {**fake_file(tmp_path), **BASE, "tasks": [task.name for task in TASKS]}
        return parse_settings(RunFile, with_values(values, changes), where="test")

    base = TOGETHER.get(key, {})
    claim_output_dir(tmp_path, run_file(base))
    changed = run_file({**base, key: {**VALUES, **OTHER_OF_FILE, **OTHER_OF_EXECUTOR}[key]})
    # What only a run file has is of the host: it says by recipes and fingerprints what it changes.
    affected = set() if key in OTHER_OF_EXECUTOR else AFFECTED.get(key, {"run"})
    assert dict(leaves(RunFile))[key] == affected
    if "run" in affected:
        with pytest.raises(ConfigError, match=f"another run: its {key.partition('.')[0]} "):
            check_output_dir(tmp_path, changed)
    else:
        check_output_dir(tmp_path, changed)


RANKERS = collect_registry(make_plugin_manager(entry_points=False)).rankers


@pytest.mark.parametrize("name", RANKERS)
def test_a_rankers_own_setting_changes_what_it_says(tmp_path, name):
    model, host = RANKERS[name].settings, FakeHost(TASKS)
    values = {**BASE, "ranking": {"bootstrap": 100, "ranker": {"name": name}}}
    before = stored(tmp_path / "before", values, host)
    for number, (key, affects) in enumerate(leaves(model)):
        changed = with_values(
            values, {"ranking.ranker": {"name": name, key: OTHER_OF_RANKERS[key]}}
        )
        assert made_anew(before, stored(tmp_path / str(number), changed, host)) == affects


@pytest.mark.parametrize(
    ("base", "changes", "anew"),
    [
        ({"probing.train_mode": False}, {"probing.batch_size": 5}, set()),
        ({"probing.max_instances": None}, {"probing.max_instances": 12}, set()),
        ({"probing.max_instances": 13}, {"probing.max_instances": 12}, set()),
        ({"probing.max_instances": 12}, {"probing.max_instances": 11}, {"probes"}),
        ({"probing.model": "frozen"}, {"fine_tuning.max_steps": 7}, {"computed"}),
        ({"probing.model": "frozen"}, {"seed": 1}, {"trainings", "computed"}),
    ],
)
def test_what_cannot_matter_makes_nothing_anew(tmp_path, base, changes, anew):
    values, host = with_values(BASE, base), FakeHost(TASKS)
    before = stored(tmp_path / "before", values, host)
    assert made_anew(before, stored(tmp_path / "after", with_values(values, changes), host)) == anew


# --- versions -------------------------------------------------------------------------------------


@dataclasses.dataclass
class Offering:
    """A plugin with a measure and a ranker of some versions."""

    measure_version: int = 1
    ranker_version: int = 1

    @hookimpl
    def extend_head_importance_measures(self) -> Sequence[Measure]:
        return [Measure("own", importance.rows, version=self.measure_version)]

    @hookimpl
    def extend_rankers(self) -> Sequence[Ranker[NoSettings]]:
        return [Ranker("own", self._rank, title="Own", version=self.ranker_version)]

    def _rank(self, context: RankingContext, _settings: NoSettings) -> Ranking:
        (found,) = context.computed([Computation("own", {}, ("goal",), lambda: ({"a": 1}, Cost()))])
        values = dict.fromkeys(context.candidate_tasks, found["a"])
        return ranked_by_value(context, values, ranker="own", measure="nothing")


OWN_MEASURE, OWN_RANKER = {"probing.importance": "own"}, {"ranking.ranker": "own"}


@pytest.mark.parametrize(
    ("raised", "chosen", "anew"),
    [
        ({"measure_version": 2}, OWN_MEASURE, {"probes"}),
        ({"measure_version": 2}, OWN_RANKER, set()),
        ({"ranker_version": 2}, OWN_MEASURE, set()),
        ({"ranker_version": 2}, OWN_RANKER, {"computed"}),
    ],
)
def test_a_raised_version_makes_its_own_numbers_anew(tmp_path, raised, chosen, anew):
    values, host = with_values(BASE, chosen), FakeHost(TASKS)
    before = stored(tmp_path / "before", values, host, [Offering()])
    assert made_anew(before, stored(tmp_path / "after", values, host, [Offering(**raised)])) == anew


@pytest.mark.parametrize(
    ("chosen", "anew"), [({}, set()), (OWN_MEASURE, {"probes"}), (OWN_RANKER, {"computed"})]
)
def test_another_version_of_a_package_makes_the_numbers_of_its_plugin_anew(
    tmp_path, monkeypatch, chosen, anew
):
    values, host, plugin = with_values(BASE, chosen), FakeHost(TASKS), Offering()
    found = []
    for version in ("1.0", "1.1"):
        installed = [(plugin, SimpleNamespace(version=version))]
        monkeypatch.setattr(
            pluggy.PluginManager, "list_plugin_distinfo", lambda _, given=installed: given
        )
        found.append(stored(tmp_path / version, values, host, [plugin]))
    assert made_anew(*found) == anew


@pytest.mark.parametrize(("precision", "anew"), [("fp32", set()), ("bf16", {"probes"})])
def test_another_bf16_makes_bf16_probes_anew(tmp_path, monkeypatch, precision, anew):
    changes = {"probing.model": "frozen", "probing.precision": precision}
    values, host = with_values(BASE, changes), FakeHost(TASKS)
    before = stored(tmp_path / "before", values, host)
    monkeypatch.setattr(keys, "BF16_VERSION", keys.BF16_VERSION + 1)
    assert made_anew(before, stored(tmp_path / "after", values, host)) == anew


@pytest.mark.parametrize(
    ("model", "ranker", "anew"),
    [
        ("frozen", "logme", {"probes"}),
        ("fine-tuned", "logme", set()),
        ("fine-tuned", "matching", {"computed"}),
    ],
)
def test_another_fit_of_heads_makes_anew_what_fits_one(tmp_path, monkeypatch, model, ranker, anew):
    changes = {"probing.model": model, "ranking.ranker": ranker}
    values, host = with_values(BASE, changes), FakeHost(TASKS)
    before = stored(tmp_path / "before", values, host)
    monkeypatch.setattr(keys, "HEAD_FIT_VERSION", keys.HEAD_FIT_VERSION + 1)
    assert made_anew(before, stored(tmp_path / "after", values, host)) == anew


class NewerHost(FakeHost):
    """Trains in another way."""

    def recipe(self, *arguments: Any) -> Recipe:
        return dataclasses.replace(super().recipe(*arguments), host_version=2)


@pytest.mark.parametrize(
    ("changes", "anew"),
    [
        ({}, {"probes", "trainings", "computed"}),
        ({"probing.model": "frozen", "ranking.ranker": "embedding"}, {"trainings"}),
    ],
)
def test_another_version_of_the_host_makes_anew_what_it_trained(tmp_path, changes, anew):
    values = with_values(BASE, changes)
    before = stored(tmp_path / "before", values, FakeHost(TASKS))
    assert made_anew(before, stored(tmp_path / "after", values, NewerHost(TASKS))) == anew
