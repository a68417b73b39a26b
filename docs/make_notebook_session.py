"""Writes docs/notebook.md: the cells of a notebook, and what each shows.

    python docs/make_notebook_session.py

The cells are run one after the other as a notebook runs them: what the last line of a cell
evaluates to is shown, as HTML where it has any. Pictures go to images/; see `recording` for the
rest.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import recording

PAGE: Final = Path(__file__).parent / "notebook.md"
IMAGES: Final = PAGE.parent / "images"

#: Name -> source. `QUICK` stands for the lengths that a test makes shorter.
CELLS: Final[Mapping[str, str]] = {
    "run": """\
from gradts_plugin import GradTS

names = ["notes", "changes", "overlap", "parts", "topics"]
what = dict(
    model={"name_or_path": "encoder", "max_seq_length": 48},
    tasks=[f"texts/gradts/tasks/{name}.json" for name in names],
    primary_task="notes",
    method={"name": "trial", "patience": 1, "confirm": 0},
    training=QUICK,
)
gradts = GradTS(output_dir="runs/notes", **what)
gradts.rank()""",
    "result": """\
result = gradts.run()
result""",
    "frames": """\
result.trials.to_pandas()[["auxiliary_tasks", "score", "num_steps"]]""",
    "plugin": '''\
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.offers import Ranker
from gradts_plugin.ranking.by_value import ranked_by_value


def rank_by_shared_words(context, _settings):
    """The share of the primary's words that a candidate's texts have, too."""
    words = {}
    for name in (context.primary_task, *context.candidate_tasks):
        texts = context.texts(name, max_instances=200, seed=0).values()
        words[name] = {word for text in texts for word in text.lower().split()}
    own = words.pop(context.primary_task)
    shares = {name: len(own & other) / len(own) for name, other in words.items()}
    return ranked_by_value(context, shares, ranker="shared-words", measure="share of words")


class SharedWords:
    @hookimpl
    def extend_rankers(self):
        return [Ranker(name="shared-words", rank=rank_by_shared_words, title="Shared words")]


other = {**what, "ranking": {"ranker": "shared-words"}}
GradTS(output_dir="runs/words", plugins=[SharedWords()], **other).rank()''',
    "compared": """\
{"steps": result.cost.num_steps, "page": result.report_path.name}""",
}

#: What `QUICK` is on the page.
QUICK: Final = {"max_steps": 20, "batch_size": 16, "learning_rate": 2e-4}


@dataclass(frozen=True)
class Cell:
    """A cell that was run.

    Attributes:
        name: where the page has it.
        source: what was typed.
        shown: what it shows: HTML, or text.
        is_html: which.
    """

    name: str
    source: str
    shown: str
    is_html: bool


def session(folder: Path, encoder: Path, *, quick: Mapping[str, Any] = QUICK) -> list[Cell]:
    """Runs the cells of the page.

    Args:
        folder: an empty folder, where everything is written.
        encoder: becomes `encoder` in it.
        quick: lengths of the trainings.
    """
    import make_session

    make_session.write_texts(folder / "texts")
    (folder / "encoder").symlink_to(encoder.absolute())
    recording.run("gradts-select init texts --primary notes --model encoder", folder)
    names: dict[str, Any] = {}
    cells = []
    with contextlib.chdir(folder):
        for name, source in CELLS.items():
            typed = source.replace("QUICK", json.dumps(dict(quick)))
            cell = _run(name, typed, names)
            cells.append(replace(cell, shown=recording.told(cell.shown, folder)))
    return cells


def _run(name: str, source: str, names: dict[str, Any]) -> Cell:
    *before, last = ast.parse(source).body
    if not isinstance(last, ast.Expr):
        raise TypeError(f"the last line of cell {name} shows nothing")
    exec(compile(ast.Module(before, []), name, "exec"), names)  # noqa: S102
    value = eval(compile(ast.Expression(last.value), name, "eval"), names)  # noqa: S307
    as_html = getattr(value, "_repr_html_", None)
    if as_html is None:
        return Cell(name, source, repr(value), is_html=False)
    return Cell(name, source, as_html(), is_html=True)


def page(cells: Sequence[Cell]) -> tuple[str, dict[str, bytes]]:
    """The text of the page, and its pictures: file name -> content."""
    pictures: dict[str, bytes] = {}

    def kept(found: re.Match[str]) -> str:
        name = f"notebook_{len(pictures) + 1}.svg"
        pictures[name] = base64.b64decode(found[1])
        return f"images/{name}"

    shown = {}
    for cell in cells:
        output = f"```text\n{cell.shown}\n```"
        if cell.is_html:
            text = re.sub(r"data:image/svg\+xml;base64,([^\"]+)", kept, cell.shown)
            text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # of pandas
            output = re.sub(r"\s*\n\s*", "\n", text.strip())  # a blank would begin code
        shown[cell.name] = f"```python\n{cell.source}\n```\n\n{output}"
    return re.sub(r"\[\[(.+?)\]\]", lambda found: shown[found[1]], _PAGE), pictures


_PAGE: Final = """\
# In a notebook, recorded

<!-- Written by docs/make_notebook_session.py; change that, not this page. -->

The files of [a first run](first_run.md), after `gradts-select init texts --primary notes`, and a
tiny encoder: no score below means anything. Every cell was run as it stands here, with what it
shows. [From Python](python.md) says the rest.

`rank` probes each task and puts the candidates in order:

[[run]]

`run` goes on from there: what is stored is not made again. A result shows itself, with pictures:

[[result]]

Everything in it is a record, or a table of pandas:

[[frames]]

A ranker of one's own needs no package: a function, and an object that offers it. This one asks for
texts, and trains nothing ([all hooks](hooks.md), [as a package](example_plugin/README.md)):

[[plugin]]

What it took to know the selection, and the page to open ([how to read it](report.md)):

[[compared]]
"""


def main() -> None:
    """Runs the cells, and writes the page and its pictures."""
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as folder:
        cells = session(Path(folder), recording.tiny_encoder(Path(made) / "encoder"))
    text, pictures = page(cells)
    for name, content in pictures.items():
        (IMAGES / name).write_bytes(content)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
