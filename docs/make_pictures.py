"""Photographs pages for docs/report.md: `python docs/make_pictures.py --run FOLDER`.

FOLDER is the output folder of a run, such as `gradts-demo/run`. With `--runs FOLDER` the page of
all runs below a folder is photographed, too. The page of a comparison is drawn from
`benchmarks/results/comparison.json`. Needs a headless Chromium.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image

from gradts_plugin.comparison.results import Comparison
from gradts_plugin.json_forms import from_json
from gradts_plugin.report.comparison_page import write_comparison_page
from gradts_plugin.report.files import read_report
from gradts_plugin.report.run_page import write_run_page
from gradts_plugin.report.runs import finished_runs
from gradts_plugin.report.runs_page import write_runs_page

IMAGES: Final = Path(__file__).parent / "images"
COMPARISON: Final = Path(__file__).parents[1] / "benchmarks" / "results" / "comparison.json"
_BROWSERS: Final = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")

#: Width and height of a picture.
_SIZE: Final = (900, 1000)

#: The page of some runs is short, and its table wide.
_SIZE_OF_RUNS: Final = (1280, 540)


def main() -> None:
    """Draws the pages as they are now, and photographs them."""
    parser = argparse.ArgumentParser(description="Pictures of pages.")
    parser.add_argument("--run", type=Path, required=True, help="output folder of a run")
    parser.add_argument("--runs", type=Path, help="a folder with several of them")
    arguments = parser.parse_args()
    browser = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise SystemExit("a headless Chromium is needed")
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run.html"
        write_run_page(read_report(arguments.run), run)
        photograph(browser, run, "report_light")
        photograph(browser, run, "report_dark", dark=True, top=985)
        comparison = Path(folder) / "comparison.html"
        results = json.loads(COMPARISON.read_text(encoding="utf-8"))["results"]
        del results["means"]
        write_comparison_page(from_json(Comparison, results, where=COMPARISON.name), comparison)
        photograph(browser, comparison, "comparison_light")
        if arguments.runs:
            runs = Path(folder) / "runs.html"
            write_runs_page(finished_runs(arguments.runs), runs, arguments.runs.name)
            photograph(browser, runs, "runs_light", size=_SIZE_OF_RUNS)


def photograph(
    browser: str,
    page: Path,
    name: str,
    *,
    dark: bool = False,
    top: int = 0,
    size: tuple[int, int] = _SIZE,
) -> None:
    """Writes a picture of a page into `IMAGES`.

    Args:
        browser: the program.
        page: the page.
        name: of the picture.
        dark: in dark mode.
        top: so far below the page's top the picture begins, in pixels.
        size: width and height of the picture, in pixels.
    """
    width, height = size
    path = IMAGES / f"{name}.png"
    subprocess.run(  # noqa: S603
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            f"--window-size={width},{top + height}",
            f"--screenshot={path}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
    )
    with Image.open(path) as picture:
        shown = picture.convert("RGB").crop((0, top, width, top + height))
    shown.quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    main()
