"""What the site needs beyond the pages: links that leave docs/ lead to copies on the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).resolve().parents[1]

#: Files outside docs/ that pages link to -> where they are on the site.
COPIES: Final = {
    "CHANGELOG.md": "changelog.md",
    "task_configs/schema.json": "schema.json",
    **{
        f"benchmarks/results/{path.name}": f"results/{path.name}"
        for path in sorted((ROOT / "benchmarks" / "results").glob("*"))
        if path.suffix in (".md", ".png", ".json")
    },
}

#: Files that have a page of their own in another form.
PAGES: Final = {"gradts_plugin/records.py": "api.md#records"}


def on_files(files: Files, config: Any) -> Files:
    """Adds the copies."""
    for source, place in COPIES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turns links out of docs/ to the copies; every other one stays, and mkdocs warns of it."""
    if page.file.src_uri.startswith("results/"):
        return re.sub(r"\]\((?:\.\./)+[^)]*\)", "]", markdown)  # to what is no part of the site
    for source, place in {**COPIES, **PAGES}.items():
        markdown = markdown.replace(f"](../{source})", f"]({place})")
    # GitHub colours this name, superfences knows only one word.
    return markdown.replace("```json lines\n", "```json\n")
