"""The script that measures the house, on a house of known size."""

from __future__ import annotations

import json
import xml.etree.ElementTree

import draw_rooms
import house
import pytest
from import_graph import circles, floors, import_graph, room_graph, without_shortcuts

LONG = "def long(a: int, *b: int) -> None:\n" + "    print(a)\n" * 50
FILES = {
    "__init__.py": "",
    "hookspecs.py": '"""Hooks."""\n',
    "run.py": "from gradts_plugin import hookspecs\n\n\ndef run(self, a):\n    pass\n",
    "low.py": "from typing import Any\n\nX: dict[str, Any] = {}\n\n\n" + LONG,
    "wing/__init__.py": "",
    "wing/one.py": "from gradts_plugin.wing.two import x\n\n\ndef f(self) -> None:\n    pass\n",
    "wing/two.py": "def g() -> None:\n    from gradts_plugin.low import X\n"
    "    from gradts_plugin.wing import one\n",
    "typed.py": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n"
    "    from gradts_plugin.run import run\n",
}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "gradts_plugin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_files_and_functions_are_measured(root):
    measured = house.measure(root)
    lengths = sorted(len(text.splitlines()) for text in FILES.values())
    assert (measured.num_files, measured.num_lines) == (8, sum(lengths))
    assert (measured.file_median, measured.file_p90, measured.file_max) == (3.5, 56, 56)
    assert (measured.num_functions, measured.function_p90) == (4, 51)
    assert measured.long_functions_percent == 25
    assert measured.typed_percent == 75
    assert measured.untyped_dicts_per_1000_lines == round(1000 / sum(lengths), 1)
    assert (measured.root_modules, measured.root_folders) == (5, 1)
    assert measured.front_door_lines == 1 + 5


def test_rooms_and_arrows_are_found_in_late_imports_but_not_in_those_for_types(root):
    graph = room_graph(root / "gradts_plugin")
    assert {room for room, targets in graph.items() if targets} == {"run", "wing"}
    assert graph["wing"] == {"low"}
    assert floors(graph) == [["hookspecs", "low", "typed"], ["run", "wing"]]
    measured = house.measure(root)
    assert (measured.rooms, measured.arrows, measured.floors, measured.circles) == (5, 2, 2, 1)


def test_a_circle_of_modules_is_named(root):
    found = circles(import_graph(root / "gradts_plugin"))
    assert found == [["gradts_plugin.wing.one", "gradts_plugin.wing.two"]]


def test_what_is_beyond_a_limit_fails_the_check(root, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["house.py", "--root", str(root), "--check"])
    assert house.main() == 1
    broken = capsys.readouterr().err
    assert "functions above 50 lines, %: 25, at most 1.5" in broken
    assert "circles" in broken
    assert "lines of a file" not in broken


def test_the_numbers_come_back_from_their_file(root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["house.py", "--root", str(root), "--json"])
    assert house.main() == 0
    path = tmp_path / "numbers.json"
    path.write_text(capsys.readouterr().out)
    assert json.loads(path.read_text())["num_files"] == 8
    both = [house.read(path), house.measure(root)]
    assert both[0] == both[1]
    assert "| files | 8 | 8 |  |" in house.table(both, markdown=True)


def test_the_picture_shows_every_room_and_no_arrow_that_others_imply(root):
    package = root / "gradts_plugin"
    (package / "top.py").write_text(
        '"""The <top>."""\n\nfrom gradts_plugin import run, wing, hookspecs\n'
    )
    assert without_shortcuts(room_graph(package))["top"] == ["run", "wing"]
    picture = xml.etree.ElementTree.fromstring(draw_rooms.draw(package))
    texts = {text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert texts == {"hookspecs", "run", "low", "typed", "wing/", "top"}
    assert "The <top>." in {
        title.text for title in picture.iter("{http://www.w3.org/2000/svg}title")
    }
    paths = picture.findall("{http://www.w3.org/2000/svg}path")
    assert len(paths) == 4
