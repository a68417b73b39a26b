"""Ways to break a jiant set-up: its container config, jiant's arguments, task configs, caches."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

Config = dict[str, Any]

#: The place of a value: keys from outside to inside.
Place = tuple[str, ...]

#: Values of other types, and out of range: none is right anywhere.
WRONG = (None, "x", "", 0, -1, 1.5, float("nan"), True, [], {}, ["x"], {"x": 1})

SAMPLERS: Mapping[str, Config] = {
    "SpecifiedProbMultiTaskSampler": {"task_to_unweighted_probs": {"cola": 5, "rte": 1, "stsb": 2}},
    "TemperatureMultiTaskSampler": {"temperature": 2.0, "examples_cap": 10},
    "TimeDependentProbMultiTaskSampler": {
        "task_to_unnormalized_prob_funcs_dict": dict.fromkeys(("cola", "rte", "stsb"), "1 + t"),
        "max_steps": 100,
    },
}


def places(values: Any, above: Place = ()) -> Iterator[Place]:
    """Every place of a nested mapping but the outermost."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield (*above, key)
            yield from places(value, (*above, key))


def changed(config: Config, place: Place, change: Callable[[Config, str], None]) -> Config:
    """A copy with something done at a place, to the mapping that holds it."""
    config = copy.deepcopy(config)
    inner = config
    for key in place[:-1]:
        inner = inner[key]
    change(inner, place[-1])
    return config


def put(value: Any) -> Callable[[Config, str], None]:
    """Puts a value."""
    return lambda inner, key: inner.__setitem__(key, value)


def removed(inner: Config, key: str) -> None:
    """Removes the key."""
    del inner[key]


def misspelt(inner: Config, key: str) -> None:
    """Leaves a letter out of the key."""
    inner[key[:-1]] = inner.pop(key)


def is_right(place: Place, value: Any) -> bool:
    """What jiant takes at a place, among the values of `WRONG`."""
    key = place[-1]
    if value is None:
        optional = ("taskmodel_config_map", "eval_subset_num", "examples_cap")
        return (
            key in optional
            or place[-2:-1] == ("taskmodel_config_map",)
            or (place == ("sampler_config", "max_steps"))
        )
    if key == "warmup_steps":
        return type(value) is int and value == 0
    if key == "temperature" or place[-2:-1] == ("task_to_unweighted_probs",):
        return value == 1.5
    if key in ("train_val_task_list", "val_task_list", "test_task_list"):
        return value == []
    if "taskmodel_config_map" in place:
        return isinstance(value, dict)  # jiant ignores what it does not know
    if place[-2:-1] == ("task_to_taskmodel_map",):
        return value == "x"  # the name of a head
    # Nothing predicts, and nobody asks for a labelled test set.
    return key in ("test", "test_labels") and value == ""


def of_values(config: Config) -> Iterator[tuple[str, Config]]:
    """Every place removed, misspelt, and with every wrong value."""
    for place in places(config):
        where = ".".join(place)
        optional = "taskmodel_config_map" in place or place[-1] == "test" or place[0] == "gradts"
        if not optional:
            yield f"{where}: removed", changed(config, place, removed)
        if place[-1] != "taskmodel_config_map" and place[-2:-1] != ("taskmodel_config_map",):
            yield f"{where}: misspelt", changed(config, place, misspelt)
        for value in WRONG:
            if not is_right(place, value):
                yield f"{where} = {value!r}", changed(config, place, put(value))


def of_samplers(config: Config) -> Iterator[tuple[str, Config]]:
    """The same of the other samplers."""
    for name, values in SAMPLERS.items():
        sampler = {"sampler_type": name, **values}
        for way, broken in of_values({"sampler_config": sampler}):
            if "sampler_config" in broken:
                yield f"{name}: {way}", config | broken
        for key in ("temperatur", "cap"):
            yield f"{name}: {key} too many", config | {"sampler_config": sampler | {key: 1}}
    functions = dict.fromkeys(("cola", "rte", "stsb"), "1 + t")
    for way, function in {"a name": "1 + s", "no formula": "1 +", "NaN": "0 / t"}.items():
        sampler = {
            "sampler_type": "TimeDependentProbMultiTaskSampler",
            "task_to_unnormalized_prob_funcs_dict": functions | {"rte": function},
            "max_steps": 100,
        }
        yield f"TimeDependent: {way}", config | {"sampler_config": sampler}
    sampler = {**sampler, "task_to_unnormalized_prob_funcs_dict": functions, "max_steps": 1}
    yield "TimeDependent: fewer steps", config | {"sampler_config": sampler}
    for kind in ("Uniform", "uniform", "ProportionalMultitaskSampler", "BaseMultiTaskSampler"):
        yield f"sampler {kind}", config | {"sampler_config": {"sampler_type": kind}}


def of_meaning(config: Config) -> Iterator[tuple[str, Config]]:
    """Values of the right type that do not go together."""

    def at(place: str, value: Any) -> tuple[str, Config]:
        return f"{place} = {value!r}", changed(config, tuple(place.split(".")), put(value))

    for key in config["task_run_config"]:
        yield at(f"task_run_config.{key}", ["cola", "rt"])
        yield at(f"task_run_config.{key}", ["cola", "cola"])
    yield at("global_train_config.warmup_steps", 1000)
    yield at("task_config_path_dict.rte", "/gone.json")
    yield at("task_config_path_dict.rte", "/")
    yield at("task_config_path_dict.other", config["task_config_path_dict"]["rte"])
    yield at("task_cache_config_dict.rte.train", "/gone")
    yield at("task_cache_config_dict.rte.val_labels", "/gone")
    yield at("task_cache_config_dict.rte.dev", "/gone")
    for other in ("cola", "stsb"):
        its_train = config["task_cache_config_dict"][other]["train"]
        yield at("task_cache_config_dict.rte.train", its_train)
        yield at("task_config_path_dict.rte", config["task_config_path_dict"][other])
    yield at("taskmodels_config.task_to_taskmodel_map.rte", "stsb")
    yield at("taskmodels_config.task_to_taskmodel_map.rte", "a.b")
    yield at("taskmodels_config.task_to_taskmodel_map.other", "other")
    yield at("metric_aggregator_config.metric_aggregator_type", "WeightedMetricAggregator")
    yield at("metric_aggregator_config.weights_dict", {})
    for weights in ({"cola": 1}, dict.fromkeys(("cola", "rte", "stsb"), 0)):
        given = {"metric_aggregator_type": "WeightedMetricAggregator", "weights_dict": weights}
        yield at("metric_aggregator_config", given)
    yield at("gradts.primary_task", "colla")
    yield at("gradts.candidate_tasks", ["cola"])
    yield at("gradts.method", "tral")
    yield at("grdts", {})


#: jiant's arguments: name -> values that cannot be used.
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "model_load_mode": ("bogus", "", "from_transformer", "all", "partial_heads", "encoder_only"),
    "learning_rate": ("-1", "0", "nan", "inf", "x"),
    "max_grad_norm": ("-1", "0", "nan", "x"),
    "model_config_path": ("/gone/config.json", "/"),
    "model_path": ("/gone/model.p", "/", "CONTAINER"),
    "hf_pretrained_model_name_or_path": ("/gone", "FOLDER", ""),
}

#: The same of jiant's run script alone.
RUN_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "eval_every_steps": ("-1", "x"),
    "save_every_steps": ("-3",),
    "save_checkpoint_every_steps": ("-3",),
    "no_improvements_for_n_evals": ("-1",),
    "seed": ("-7", "99999999999"),
    "adam_epsilon": ("-1", "nan"),
    "optimizer_type": ("adamx",),
    "local_rank": ("0",),
}


def _task(**changes: Any) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        path = folder / "tasks" / "rte_config.json"
        values = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: values[key] for key in values if values[key] != "gone"}))

    return broken


def _cache(name: str, content: bytes | None) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        path = folder / "cache" / "rte" / name
        if content is None:
            path.unlink() if path.is_file() else shutil.rmtree(path)
        else:
            path.write_bytes(content)

    return broken


#: Files of the set-up.
FILES: Mapping[str, Callable[[Path], None]] = {
    "task: kwargs of another": _task(kwargs={"languag": "en"}),
    "task: kwargs null": _task(kwargs=None),
    "task: kwargs a list": _task(kwargs=[1]),
    "task: kwargs text": _task(kwargs="en"),
    "task: paths null": _task(paths=None),
    "task: paths a list": _task(paths=["train"]),
    "task: paths text": _task(paths="train.jsonl"),
    "task: paths gone": _task(paths="gone"),
    "task: task gone": _task(task="gone"),
    "task: task null": _task(task=None),
    "task: task a list": _task(task=["rte"]),
    "task: name gone": _task(name="gone"),
    "task: unknown": _task(task="rt"),
    "task: needs kwargs": _task(task="udpos"),
    "task: empty": lambda folder: (folder / "tasks" / "rte_config.json").write_text(""),
    "task: a list": lambda folder: (folder / "tasks" / "rte_config.json").write_text("[]"),
    "task: null": lambda folder: (folder / "tasks" / "rte_config.json").write_text("null"),
    "cache: gone": _cache("train", None),
    "cache: no data_args": _cache("train/data_args.p", None),
    "cache: broken data_args": _cache("train/data_args.p", b"broken"),
    "cache: no chunk": _cache("train/data_00000.chunk", None),
    "cache: broken chunk": _cache("train/data_00000.chunk", b"broken"),
    "cache: empty chunk": _cache("train/data_00000.chunk", b""),
    "cache: broken dev chunk": _cache("val/data_00000.chunk", b"broken"),
    "cache: broken dev labels": _cache("val_labels/data_00000.chunk", b"broken"),
    "weights: empty": lambda folder: (folder / "weights.p").write_bytes(b""),
    "weights: text": lambda folder: (folder / "weights.p").write_text("not found"),
}
