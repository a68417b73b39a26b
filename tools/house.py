"""Measures the house: how long its files and functions are, what is typed, who imports whom.

    python tools/house.py                                        this checkout
    python tools/house.py --root docs/house_before.json --root . before and after
    python tools/house.py --check                                exit code 1 beyond a limit
    python tools/house.py --json > docs/house_before.json        numbers to compare with later

Lines are physical lines of the package's .py files (no tests, no templates); a function's lines are
its signature, docstring and body; a 90th percentile is the value at that rank, rounded up.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from import_graph import circles, floors, import_graph, module_files, room_graph

PACKAGE = "gradts_plugin"

#: The two files that say what the program does.
FRONT_DOORS = ("hookspecs.py", "run.py")

LONG_FUNCTION = 50

_UNTYPED_DICT = re.compile(r"\b(?:dict|Mapping)\[str, Any\]")

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class House:
    """What is measured; the titles of the table stand in `TITLES`."""

    num_files: int
    num_lines: int
    file_median: float
    file_p90: int
    file_max: int
    num_functions: int
    function_median: float
    function_p90: int
    long_functions_percent: float
    typed_percent: float
    untyped_dicts_per_1000_lines: float
    root_modules: int
    root_folders: int
    front_door_lines: int
    rooms: int
    floors: int
    arrows: int
    circles: int


TITLES: Mapping[str, str] = {
    "num_files": "files",
    "num_lines": "lines in all",
    "file_median": "lines of a file: median",
    "file_p90": "lines of a file: 90th percentile",
    "file_max": "lines of a file: most",
    "num_functions": "functions",
    "function_median": "lines of a function: median",
    "function_p90": "lines of a function: 90th percentile",
    "long_functions_percent": f"functions above {LONG_FUNCTION} lines, %",
    "typed_percent": "functions fully typed, %",
    "untyped_dicts_per_1000_lines": "`dict[str, Any]` and `Mapping[str, Any]` per 1,000 lines",
    "root_modules": "modules at the root",
    "root_folders": "folders at the root",
    "front_door_lines": f"lines of {' + '.join(FRONT_DOORS)}",
    "rooms": "rooms (modules and folders at the root)",
    "floors": "floors",
    "arrows": "arrows (room imports room)",
    "circles": "circles of modules that import each other",
}

#: The most that `--check` lets pass.
LIMITS: Mapping[str, float] = {
    "file_median": 110,
    "file_max": 500,
    "long_functions_percent": 1.5,
    "untyped_dicts_per_1000_lines": 4,
    "root_modules": 14,
    "front_door_lines": 599,
    "circles": 0,
}


def measure(root: Path) -> House:
    """Measures the package of a checkout."""
    package = root / PACKAGE
    files = module_files(package)
    texts = {path: path.read_text(encoding="utf-8") for path in files.values()}
    lengths = [len(text.splitlines()) for text in texts.values()]
    functions = [function for text in texts.values() for function in _functions(text)]
    heights = [(function.end_lineno or 0) - function.lineno + 1 for function in functions]
    rooms = room_graph(package)
    return House(
        num_files=len(files),
        num_lines=sum(lengths),
        file_median=statistics.median(lengths),
        file_p90=_p90(lengths),
        file_max=max(lengths),
        num_functions=len(functions),
        function_median=statistics.median(heights),
        function_p90=_p90(heights),
        long_functions_percent=_percent([height > LONG_FUNCTION for height in heights]),
        typed_percent=_percent([_is_typed(function) for function in functions]),
        untyped_dicts_per_1000_lines=round(
            1000 * sum(len(_UNTYPED_DICT.findall(text)) for text in texts.values()) / sum(lengths),
            1,
        ),
        root_modules=sum(path.parent == package for path in files.values()),
        root_folders=sum(path.name == "__init__.py" for path in package.glob("*/*.py")),
        front_door_lines=sum(
            len(text.splitlines())
            for path, text in texts.items()
            if path in [package / name for name in FRONT_DOORS]
        ),
        rooms=len(rooms),
        floors=len(floors(rooms)),
        arrows=sum(len(targets) for targets in rooms.values()),
        circles=len(circles(import_graph(package))),
    )


def read(root: Path) -> House:
    """Measures a checkout, or reads the numbers that `--json` wrote."""
    if root.is_dir():
        return measure(root)
    return House(**json.loads(root.read_text(encoding="utf-8")))


def table(houses: Sequence[House], *, markdown: bool) -> str:
    """The numbers, one row each; two houses stand as before and after."""
    heads = ["before", "after"] if len(houses) == 2 else ["now"] * len(houses)
    rows = [["", *heads, "at most"]]
    for item in fields(House):
        limit = LIMITS.get(item.name)
        values = [getattr(house, item.name) for house in houses]
        rows.append([TITLES[item.name], *map(_number, values), _number(limit)])
    if markdown:
        rows.insert(1, ["---", *["---:"] * (len(houses) + 1)])
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)
    width = max(len(row[0]) for row in rows)
    return "\n".join(
        row[0].ljust(width) + "".join(f"{cell:>9}" for cell in row[1:]) for row in rows
    )


def beyond_limits(house: House) -> list[str]:
    """What is more than it may be, a line each."""
    return [
        f"{TITLES[name]}: {_number(getattr(house, name))}, at most {_number(limit)}"
        for name, limit in LIMITS.items()
        if getattr(house, name) > limit
    ]


def _functions(text: str) -> list[_Function]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, _Function)]


def _is_typed(function: _Function) -> bool:
    given = function.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    parameters += [parameter for parameter in (given.vararg, given.kwarg) if parameter]
    return function.returns is not None and all(
        parameter.annotation or (position == 0 and parameter.arg in ("self", "cls"))
        for position, parameter in enumerate(parameters)
    )


def _p90(values: Sequence[int]) -> int:
    return sorted(values)[-(-9 * len(values) // 10) - 1]


def _percent(answers: Sequence[bool]) -> float:
    return round(100 * sum(answers) / len(answers), 1)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,g}" if value == int(value) else f"{value:,.1f}"


def main() -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--root",
        type=Path,
        action="append",
        help="a checkout, or a file that --json wrote; given twice: before and after",
    )
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    parser.add_argument("--json", action="store_true", help="the numbers of the last root")
    parser.add_argument("--check", action="store_true", help="exit code 1 beyond a limit")
    given = parser.parse_args()
    houses = [read(root) for root in given.root or [Path(__file__).parents[1]]]
    print(
        json.dumps(asdict(houses[-1]), indent=2)
        if given.json
        else table(houses, markdown=given.markdown)
    )
    broken = beyond_limits(houses[-1]) if given.check else []
    for line in broken:
        print(line, file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
