"""Records what jiant 2.2.0 computes, as numbers that another stack can be compared with.

Runs unchanged on jiant's original pins and, after the mends, on today's stack. Everything that
could differ for no reason is fixed: text, vocabularies, start weights (from each weight's name),
the task sampler's seed, and dropout 0. Nothing else of jiant is changed.

To record again, with Python 3.8::

    pip install jiant==2.2.0 packaging==21.3
    python tests/parity/record.py tests/parity/recorded.json

`tests/test_host_parity.py` compares today's stack with the file.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import platform
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tiny_encoders import save_tiny_encoder
from tiny_jiant import TASKS, export_weights, losses, read_log, run_arguments, write_setup

#: name -> encoder, number of steps, micro-batches per step and jiant's name of the optimizer.
RUNS = {
    "bert": ("bert", 60, 1, "adam"),
    "roberta": ("roberta", 60, 1, "adam"),
    "bert, 2 micro-batches": ("bert", 20, 2, "adam"),
    "bert, radam": ("bert", 30, 1, "radam"),
}


def fill_weights(model):
    """Sets every weight from its name; torch draws other weights in every version."""
    import torch

    for name, parameter in model.named_parameters():
        stream = np.random.RandomState(zlib.crc32(name.encode()))
        values = 0.1 * stream.standard_normal(tuple(parameter.shape))
        if name.endswith("LayerNorm.weight"):
            values += 1.0
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(values.astype(np.float32)))


@contextlib.contextmanager
def comparable():
    """Fixes the start weights and the seed of the task sampler while it lasts."""
    import jiant.proj.main.components.task_sampler as task_sampler
    import jiant.proj.main.runscript as runscript

    create, setup = task_sampler.create_task_sampler, runscript.setup_runner

    def setup_runner(*args, **kwargs):
        runner = setup(*args, **kwargs)
        fill_weights(runner.jiant_model)
        return runner

    task_sampler.create_task_sampler = functools.partial(create, rng=11)
    runscript.setup_runner = setup_runner
    try:
        yield runscript
    finally:
        task_sampler.create_task_sampler, runscript.setup_runner = create, setup


def cache_digest(folder):
    """sha256 of a cache's rows: every field of every row and its metadata, in order."""
    import jiant.shared.caching as caching

    digest = hashlib.sha256()
    for datum in caching.ChunkedFilesDataCache(str(folder)).iter_all():
        fields = dict(datum["data_row"].to_dict(), **datum["metadata"])
        for name in sorted(fields):
            value = fields[name]
            if isinstance(value, np.ndarray):
                content = f"{value.shape}".encode() + value.astype(np.int64).tobytes()
            else:
                content = json.dumps(value).encode()
            digest.update(name.encode() + content)
    return digest.hexdigest()


def record(name, folder):
    """Runs one of `RUNS` in a folder.

    Returns:
        The losses as [task, loss] of each step, the metrics of each evaluation, and the digest of
        each task's and phase's cache.
    """
    kind, max_steps, accumulation, optimizer = RUNS[name]
    encoder = save_tiny_encoder(kind, folder / "encoder")
    weights = export_weights(encoder, folder / "weights.p")
    container = write_setup(
        folder,
        encoder,
        tuple(TASKS),
        max_steps,
        num_train=26,
        num_val=14,
        accumulation=accumulation,
    )
    output = folder / "output"
    with comparable() as runscript:
        arguments = run_arguments(
            container,
            encoder,
            weights,
            output,
            learning_rate=5e-4,
            optimizer_type=optimizer,
            eval_every_steps=20,
        )
        runscript.run_loop(arguments)
    return {
        "losses": [list(step) for step in losses(output)],
        "metrics": [entry["metrics"] for entry in read_log(output, "train_val")],
        "caches": {
            f"{task}/{phase}": cache_digest(folder / "cache" / task / phase)
            for task in TASKS
            for phase in ("train", "val", "test")
        },
    }


def main(path):
    """Records all runs and the versions they ran on."""
    import torch
    import transformers

    runs = {}
    for name in RUNS:
        with tempfile.TemporaryDirectory() as folder:
            runs[name] = record(name, Path(folder))
    versions = {
        "jiant": "2.2.0",
        "numpy": np.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    content = json.dumps({"versions": versions, "runs": runs}, indent=1)
    Path(path).write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
