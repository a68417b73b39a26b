"""A complete little jiant set-up on disk: tasks, caches, a container config, runs.

Everything is generated from `tiny_encoders.SENTENCES` and a seed. Also runs on Python 3.8 with
jiant's original pins, where the parity numbers were recorded (tests/parity/record.py), so jiant is
imported inside the functions, after whatever the caller mends.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tiny_encoders import SENTENCES

#: jiant's task name -> kind. All of them are jiant's own tasks.
TASKS = {
    "cola": "classification",
    "rte": "classification",
    "stsb": "regression",
    "udpos": "tagging",
    "copa": "multiple_choice",
}

_TAGS = ("ADJ", "ADP", "DET", "NOUN", "VERB")


def _sentence(stream: np.random.RandomState) -> list[str]:
    # Two halves of the stock sentences: readable enough, and of very different lengths.
    first, second = stream.randint(len(SENTENCES), size=2)
    head = SENTENCES[first].split()[: 1 + stream.randint(7)]
    tail = SENTENCES[second].split()[4 + stream.randint(5) :]
    return head + tail


def _row(task: str, index: int, stream: np.random.RandomState) -> dict[str, Any]:
    first, second = _sentence(stream), _sentence(stream)
    shared = len(set(first) & set(second))
    if task == "cola":
        return {"text": " ".join(first), "label": str(int("the" in first))}
    if task == "rte":
        label = "entailment" if shared > 1 else "not_entailment"
        return {
            "premise": " ".join(first),
            "hypothesis": " ".join(second),
            "label": label,
            "idx": index,
        }
    if task == "stsb":
        score = 5.0 * shared / max(len(set(first) | set(second)), 1)
        return {"text_a": " ".join(first), "text_b": " ".join(second), "label": round(score, 2)}
    if task == "copa":
        return {
            "premise": " ".join(first),
            "choice1": " ".join(second),
            "choice2": " ".join(_sentence(stream)),
            "question": ("cause", "effect")[stream.randint(2)],
            "label": int(stream.randint(2)),
            "idx": index,
        }
    raise KeyError(task)


def _tagged(stream: np.random.RandomState) -> str:
    lines = [f"{word}\t{_TAGS[len(word) % len(_TAGS)]}" for word in _sentence(stream)]
    return "\n".join(lines) + "\n\n"


def write_task(folder: Path, task: str, num_train: int, num_val: int, seed: int = 0) -> Path:
    """Writes a task's data and its jiant task config; returns the config's path."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = np.random.RandomState([seed, list(TASKS).index(task)])
    paths = {}
    for phase, count in (("train", num_train), ("val", num_val), ("test", num_val)):
        path = folder / f"{task}.{phase}"
        if task == "udpos":
            text = "".join(_tagged(stream) for _ in range(count))
        else:
            rows = [_row(task, index, stream) for index in range(count)]
            text = "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")
        paths[phase] = str(path)
    config: dict[str, Any] = {"task": task, "name": task, "paths": paths}
    if task == "udpos":
        config["kwargs"] = {"language": "en"}
    config_path = folder / f"{task}_config.json"
    config_path.write_text(json.dumps(config), encoding="utf-8")
    return config_path


def cache_task(config_path: Path, encoder: Path, folder: Path, **options: Any) -> dict[str, str]:
    """Tokenises and caches a task through jiant; returns the cache folder of each phase."""
    import jiant.proj.main.tokenize_and_cache as tokenize_and_cache

    tokenize_and_cache.main(
        tokenize_and_cache.RunConfiguration(
            task_config_path=str(config_path),
            hf_pretrained_model_name_or_path=str(encoder),
            output_dir=str(folder),
            phases=["train", "val", "test"],
            **{"max_seq_length": 48, **options},
        )
    )
    return {phase: str(folder / phase) for phase in ("train", "val", "val_labels", "test")}


def container_config(
    config_paths: dict[str, str],
    caches: dict[str, dict[str, str]],
    max_steps: int,
    batch_size: int = 4,
    accumulation: int = 1,
    warmup_steps: int = 2,
    sampler: str = "ProportionalMultiTaskSampler",
) -> dict[str, Any]:
    """jiant's container config that trains on all tasks and evaluates all of them."""
    tasks = list(config_paths)
    return {
        "task_config_path_dict": config_paths,
        "task_cache_config_dict": caches,
        "sampler_config": {"sampler_type": sampler},
        "global_train_config": {"max_steps": max_steps, "warmup_steps": warmup_steps},
        "task_specific_configs_dict": {
            task: {
                "train_batch_size": batch_size,
                "eval_batch_size": 8,
                "gradient_accumulation_steps": accumulation,
                "eval_subset_num": 500,
            }
            for task in tasks
        },
        "taskmodels_config": {
            "task_to_taskmodel_map": {task: task for task in tasks},
            "taskmodel_config_map": dict.fromkeys(tasks),
        },
        "task_run_config": {
            "train_task_list": tasks,
            "train_val_task_list": tasks,
            "val_task_list": tasks,
            "test_task_list": tasks,
        },
        "metric_aggregator_config": {"metric_aggregator_type": "EqualMetricAggregator"},
    }


def write_setup(
    folder: Path,
    encoder: Path,
    tasks: Sequence[str],
    max_steps: int,
    num_train: int = 18,
    num_val: int = 10,
    cache_options: Any = None,
    **options: Any,
) -> Path:
    """Writes and caches tasks for an encoder; returns the path of the container config."""
    config_paths, caches = {}, {}
    for task in tasks:
        config_path = write_task(folder / "tasks", task, num_train, num_val)
        config_paths[task] = str(config_path)
        caches[task] = cache_task(
            config_path, encoder, folder / "cache" / task, **(cache_options or {})
        )
    path = folder / "container.json"
    path.write_text(
        json.dumps(container_config(config_paths, caches, max_steps, **options)), encoding="utf-8"
    )
    return path


def export_weights(encoder: Path, path: Path) -> Path:
    """Saves the encoder's weights as jiant's `--model_path` wants them."""
    import torch
    import transformers

    # As export_model does; the names of the weights then start with the architecture's.
    model = transformers.AutoModelForPreTraining.from_pretrained(str(encoder))
    torch.save(model.state_dict(), str(path))
    return path


def run_arguments(
    container: Path, encoder: Path, weights: Path, output_dir: Path, **options: Any
) -> Any:
    """jiant's arguments of a training run on the CPU."""
    import jiant.proj.main.runscript as runscript

    return runscript.RunConfiguration(
        jiant_task_container_config_path=str(container),
        output_dir=str(output_dir),
        hf_pretrained_model_name_or_path=str(encoder),
        model_path=str(weights),
        model_config_path=str(encoder / "config.json"),
        **{
            "do_train": True,
            "do_val": True,
            "no_cuda": True,
            "seed": 3,
            "learning_rate": 1e-3,
            **options,
        },
    )


def read_log(output_dir: Path, key: str) -> list[dict[str, Any]]:
    """All entries of jiant's log in the order of the log folders, without their times."""
    entries = []
    for path in sorted(output_dir.glob(f"*/{key}.zlog"), key=lambda found: found.parent.name):
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            del entry["TIMESTAMP"]
            entries.append(entry)
    return entries


def losses(output_dir: Path) -> list[Any]:
    """(task, loss) of every training step, in order."""
    return [(entry["task"], entry["loss_val"]) for entry in read_log(output_dir, "loss_train")]
