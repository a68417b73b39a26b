"""Keys of version 0.1: the same settings as today's, told once, in every kind of file."""

from __future__ import annotations

import warnings

import pytest

from gradts_plugin.comparison.methods import settings_of
from gradts_plugin.errors import ConfigError
from gradts_plugin.plugins import collect_registry, make_plugin_manager
from gradts_plugin.settings import old_keys
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.settings.old_keys import OldKeyWarning, with_old_keys
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.settings.selection import GradTSSettings

REGISTRY = collect_registry(make_plugin_manager(entry_points=False))

#: What a run file needs beside.
FILE = {"model": {"name_or_path": "bert"}, "tasks": ["a", "b"], "output_dir": "out"}

#: Old key -> (a value, what it says today).
SECTIONS = {
    "trial.seeds": (3, {"training_seeds": 3}),
    "trial.confirm": (4, {"method": {"name": "trial", "confirm": 4}}),
    "trial.patience": (5, {"method": {"name": "trial", "patience": 5}}),
    "trial.max_auxiliaries": (6, {"method": {"name": "trial", "max_auxiliaries": 6}}),
    "trial.prefixes": ("threshold", {"method": {"name": "trial", "prefixes": "threshold"}}),
    "threshold": (0.25, {"method": {"name": "trial", "threshold": 0.25}}),
    "fine_grained.threshold": (
        {"quantile": 0.25},
        {"method": {"name": "fg", "instance_threshold": {"quantile": 0.25}}},
    ),
    "top.k": (7, {"method": {"name": "top", "k": 7}}),
    "autosem.rounds": (8, {"method": {"name": "autosem", "rounds": 8}}),
    "autosem.steps_per_round": (9, {"method": {"name": "autosem", "steps_per_round": 9}}),
    "autosem.decay": (0.5, {"method": {"name": "autosem", "decay": 0.5}}),
    "autosem.alpha0": (2.5, {"method": {"name": "autosem", "alpha0": 2.5}}),
    "autosem.beta0": (1.5, {"method": {"name": "autosem", "beta0": 1.5}}),
    "autosem.min_utility": (0.75, {"method": {"name": "autosem", "min_utility": 0.75}}),
    "autosem.top_k": (2, {"method": {"name": "autosem", "top_k": 2}}),
    "autosem.trials": (3, {"method": {"name": "autosem", "trials": 3}}),
}

OTHERS = {
    "trial.patience": ("fg", {"method": {"name": "fg", "patience": 5}}),
    "trial.confirm": ("fg", {"method": {"name": "fg", "confirm": 4}}),
    "threshold": ("thres", {"method": {"name": "thres", "threshold": 0.25}}),
    "autosem.rounds": ("autosem-p1", {"method": {"name": "autosem-p1", "rounds": 8}}),
    # Nothing steers a method that does not know it.
    "trial.seeds": ("alone", {"method": "alone", "training_seeds": 3}),
    "top.k": ("alone", {"method": "alone"}),
    "trial.max_auxiliaries": ("thres", {"method": "thres"}),
    "autosem.trials": ("autosem-p1", {"method": "autosem-p1"}),
}


def written(key, value):
    """The values of a file that says one key."""
    section, _, name = key.partition(".")
    return {section: {name: value} if name else value}


def method_of(today):
    choice = today.get("method", "trial")
    return choice["name"] if isinstance(choice, dict) else choice


def read(values, model=GradTSSettings):
    """Settings, and the old keys that were told of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        settings = parse_settings(model, values, where="file")
    assert all(each.category is OldKeyWarning for each in told)
    return settings, [each.message.key for each in told]


def chosen(settings):
    """All that a method and a ranker are steered by, defaults included."""
    return settings, REGISTRY.chosen_method(settings)[1], REGISTRY.chosen_ranker(settings)[1]


@pytest.mark.parametrize("extra", [{}, {"faithful": True}], ids=str)
@pytest.mark.parametrize("model", [GradTSSettings, RunFile])
@pytest.mark.parametrize(
    ("key", "method", "today"),
    [
        *((key, method_of(today), today) for key, (_, today) in SECTIONS.items()),
        *((key, method, today) for key, (method, today) in OTHERS.items()),
    ],
)
def test_a_section_of_a_method_is_read_as_its_settings(key, method, today, model, extra):
    beside = {**extra, **(FILE if model is RunFile else {})}
    old = {**beside, "method": method, **written(key, SECTIONS[key][0])}
    settings, told = read(old, model)
    same, told_today = read({**beside, "method": method, **today}, model)
    assert chosen(settings) == chosen(same)
    assert settings.method == same.method
    assert (told, told_today) == ([key], [])


@pytest.mark.parametrize("ranker", ["embedding", "logme", "gradients", "size", None])
def test_the_sample_of_a_ranking_is_the_rankers(ranker):
    named = {} if ranker is None else {"ranker": ranker}
    settings, told = read({"ranking": {**named, "max_instances": 9, "seed": 4}})
    choice = {"name": ranker, "max_instances": 9}
    today = {"ranker": choice} if ranker not in ("size", None) else named
    same, _ = read({"ranking": {**today, "seed": 4}})
    assert chosen(settings) == chosen(same)
    assert told == ["ranking.max_instances"]


def test_every_old_key_is_here():
    """The sections and their keys as version 0.1.0 had them."""
    told = {key.partition(".")[0] for key in SECTIONS}
    assert told == set(old_keys.OLD_METHOD_SECTIONS)
    methods = REGISTRY.methods
    today = {
        f"{section}.{key}"
        for section, name in (("trial", "trial"), ("top", "top"), ("autosem", "autosem"))
        for key in methods[name].settings.model_fields
    }
    assert today - set(SECTIONS) == {"trial.threshold"}


def test_what_is_said_in_todays_place_wins():
    values = {"method": {"name": "trial", "patience": 1}, "trial": {"patience": 2, "seeds": 3}}
    settings, told = read({**values, "training_seeds": 4})
    assert settings.method.own == {"patience": 1}
    assert settings.training_seeds == 4
    assert told == ["trial.patience", "trial.seeds"]


def test_the_warning_says_where_the_key_went():
    with pytest.warns(OldKeyWarning) as told:
        with_old_keys({"method": "fg", "fine_grained": {"threshold": 0.5}, "top": {"k": 1}})
    assert [str(each.message) for each in told] == [
        "the key 'fine_grained.threshold' is of version 0.1 and will not be read by the next one; "
        "it is now method: {name: fg, instance_threshold: ...}",
        "the key 'top.k' is of version 0.1 and will not be read by the next one; it is now a "
        "setting of the method top",
    ]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trial": {"patients": 3}}, "method: unknown key 'patients'; did you mean 'patience'"),
        ({"trial": 3}, "unknown key 'trial'"),
        ({"trial": {"seeds": 0}}, "training_seeds: must be above 0"),
        ({"method": "top", "top": {"k": "many"}}, "method: k: a whole number is needed"),
        ({"method": ["top"], "top": {"k": 1}}, "2 mistakes"),
    ],
)
@pytest.mark.filterwarnings("ignore::gradts_plugin.settings.old_keys.OldKeyWarning")
def test_mistakes_in_old_keys_are_refused_like_others(values, message):
    with pytest.raises(ConfigError, match=message):
        REGISTRY.check(parse_settings(GradTSSettings, values, where="file"))


# --- compare files --------------------------------------------------------------------------------


def compared(**values):
    """Each method's settings in a compare file, and the old keys that were told of."""
    file, told = read({**FILE, "primaries": ["a", "b"], **values}, CompareFile)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # all has been told
        found = {
            (primary, name): chosen(settings_of(file, primary, name))
            for primary in file.primaries
            for name in file.methods
        }
        assert settings_of(file, "a", None).training_seeds == file.evaluation_seeds
    return found, told


@pytest.mark.parametrize("key", SECTIONS)
def test_in_a_compare_file_a_section_steers_every_method_that_knows_it(key):
    value, today = SECTIONS[key]
    found, told = compared(**written(key, value))  # with the methods that are compared by default
    assert told == [key]
    without, _ = compared()
    setting = key.partition(".")[2] or key
    setting = next(iter(today["method"].keys() - {"name"})) if "method" in today else setting
    for place, (run, own, ranker) in found.items():
        expected = without[place][1]
        if setting in type(own).model_fields:
            changed = {**expected.model_dump(), setting: value}
            expected = parse_settings(type(own), changed, where="own")
        assert own == expected
        assert ranker == without[place][2]
        assert run.training_seeds == (3 if key == "trial.seeds" else 1)


def test_in_a_compare_file_a_methods_own_section_wins():
    found, told = compared(
        trial={"patience": 9, "confirm": 0},
        methods={
            "mine": {"method": "trial", "trial": {"patience": 1}},
            "plain": {"method": "trial"},
            "other": {"method": "fg", "fine_grained": {"threshold": 0.5}},
        },
    )
    assert sorted(told) == ["fine_grained.threshold", "trial.confirm", "trial.patience"]
    mine, plain, other = (found["a", name][1] for name in ("mine", "plain", "other"))
    assert (mine.patience, mine.confirm) == (1, 0)
    assert (plain.patience, plain.confirm) == (9, 0)
    assert (other.patience, other.confirm, other.instance_threshold) == (9, 0, 0.5)


def test_in_a_compare_file_the_sample_reaches_every_ranker_that_looks_at_one():
    found, told = compared(ranking={"max_instances": 9, "seed": 4})
    assert told == ["ranking.max_instances"]
    for (_, name), (run, _, ranker) in found.items():
        assert run.ranking.seed == 4
        assert getattr(ranker, "max_instances", 9) == 9, name
    assert sum(hasattr(ranker, "max_instances") for *_, ranker in found.values()) == 2 * 3


def test_in_a_compare_file_a_methods_own_sample_goes_to_the_shared_ranker():
    found, _ = compared(
        ranking={"ranker": "logme", "max_instances": 9},
        methods={
            "shared": {"method": "top"},
            "own": {"method": "top", "ranking": {"max_instances": 5}},
            "other": {"method": "top", "ranking": {"ranker": "size"}},
        },
    )
    shared, own, other = (found["a", name][0].ranking.ranker for name in ("shared", "own", "other"))
    assert (shared.own, own.own, other.own) == ({"max_instances": 9}, {"max_instances": 5}, {})
    assert (shared.name, own.name, other.name) == ("logme", "logme", "size")


def test_a_compared_method_without_a_method_is_still_refused():
    file, _ = read(
        {**FILE, "primaries": ["a"], "trial": {"patience": 1}, "methods": {"x": {"seeds": 2}}},
        CompareFile,
    )
    assert "method" not in file.methods["x"]
