"""Writes docs/commands.md and docs/task_config_keys.md: the command line and the task config keys.

    python docs/make_reference.py

The commands come from the command line itself, the keys from task_configs/schema.json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from gradts_plugin.commands import main

DOCS: Final = Path(__file__).parent
SCHEMA: Final = DOCS.parent / "task_configs" / "schema.json"

_NOTICE: Final = "<!-- Written by docs/make_reference.py from {}; change that, not this page. -->\n"

_COMMANDS_HEAD: Final = """\
# Commands

{notice}
`gradts-select COMMAND --help` prints the same. How the commands belong together is in
[usage](usage.md). Exit codes: 0 where all went well, 2 with one line for a mistake that you can
mend, 130 after Ctrl-C; `doctor` ends with 1 where no run can start.

Two commands also take arguments of jiant's and pass them on unread: `run`, where no run file is
named, and `host`.
"""

_KEYS_HEAD: Final = """\
# Keys of a task config

{notice}
Every key of a task config, from [`schema.json`](../task_configs/schema.json). Examples, and what
each kind of task needs, are in [task configs](task_configs.md).
"""

#: Classes of the schema, in the order of the page: name -> (title, key that holds it).
_PARTS: Final = {
    "Paths": "paths",
    "DatasetSource": "dataset",
    "Splits": "dataset.splits",
    "Fields": "fields",
}


def pages() -> dict[Path, str]:
    """The generated pages and their texts."""
    return {
        DOCS / "commands.md": commands_page(),
        DOCS / "task_config_keys.md": keys_page(json.loads(SCHEMA.read_text(encoding="utf-8"))),
    }


# --- commands -----------------------------------------------------------------------------------


def commands_page() -> str:
    """The text of docs/commands.md."""
    parts = [_COMMANDS_HEAD.format(notice=_NOTICE.format("gradts_plugin/commands"))]
    seen: dict[str, str] = {}
    context = main.GROUP.make_context(main.PROGRAM, [], resilient_parsing=True)
    for name, (_, text) in main.COMMANDS.items():
        parts.append(f"## `{name}`\n\n{_sentence(text)}\n")
        command = main.GROUP.get_command(context, name)
        assert command is not None
        for title, table in _tables(command):
            # Some commands share whole groups of arguments.
            shared = seen.setdefault(table, name)
            if shared == name:
                parts.append(f"{title}\n\n{table}".lstrip())
            else:
                parts.append(f"{title or 'Arguments'} as for [`{shared}`](#{shared}).\n")
    return "\n".join(parts)


def _tables(command: click.Command) -> Iterable[tuple[str, str]]:
    """(Title, table) of the command's own arguments, and of each section of others."""
    sections: dict[str, list[click.Parameter]] = {"": []}
    for parameter in command.params:
        section = getattr(parameter, "section", "Options")
        title = "" if section in ("Arguments", "Options") else f"**{section}:**"
        sections.setdefault(title, []).append(parameter)
    for title, parameters in sections.items():
        if parameters:
            rows = [(_name(each), _meaning(each)) for each in parameters]
            yield title, _table(("argument", "meaning"), rows)


def _name(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return f"`{parameter.metavar or parameter.name}`"
    assert isinstance(parameter, click.Option)
    values = {"path": " PATH", "integer": " N", "float": " X"}
    value = (
        f" {parameter.metavar}" if parameter.metavar else values.get(parameter.type.name, " TEXT")
    )
    return f"`{parameter.opts[0]}{'' if parameter.is_flag else value}`"


def _meaning(parameter: click.Parameter) -> str:
    is_option = isinstance(parameter, click.Option)
    parts = [str(getattr(parameter, "help" if is_option else "text"))]
    if isinstance(parameter.type, click.Choice):
        parts.append("one of " + ", ".join(f"`{choice}`" for choice in parameter.type.choices))
    if is_option and parameter.required:
        parts.append("**required**")
    default = parameter.to_info_dict()["default"]
    if default not in (None, False, ""):
        parts.append(f"default: `{default}`")
    return "; ".join(parts)


# --- keys ---------------------------------------------------------------------------------------


def keys_page(schema: Mapping[str, Any]) -> str:
    """The text of docs/task_config_keys.md."""
    parts = [
        _KEYS_HEAD.format(notice=_NOTICE.format("task_configs/schema.json")),
        _keys(schema),
    ]
    for name, place in _PARTS.items():
        part = schema["$defs"][name]
        parts.append(f"## `{place}`\n\n{_sentence(_summary(part))}\n")
        parts.append(_keys(part))
    return "\n".join(parts)


def _keys(part: Mapping[str, Any]) -> str:
    meanings = _meanings(part)
    rows = []
    for key, value in part["properties"].items():
        needed = key in part.get("required", ())
        default = "**required**" if needed else _default(value.get("default"))
        meaning = meanings.get(key, meanings.get("schema_url", "") if key == "$schema" else "")
        rows.append((f"`{key}`", _type(value), default, meaning))
    return _table(("key", "value", "default", "meaning"), rows)


def _summary(part: Mapping[str, Any]) -> str:
    return str(part.get("description", "")).split("\n\n", maxsplit=1)[0].replace("\n", " ")


def _meanings(part: Mapping[str, Any]) -> dict[str, str]:
    """What the docstring's `Attributes:` say of each key, without line breaks."""
    _, _, attributes = str(part.get("description", "")).partition("Attributes:\n")
    found = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", attributes, flags=re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text).rstrip(".") for name, text in found}


def _type(value: Mapping[str, Any]) -> str:
    match value:
        case {"anyOf": kinds}:
            return " or ".join(_type(each) for each in kinds if each.get("type") != "null")
        case {"$ref": str(name)}:
            return f"[object](#{_PARTS[name.rpartition('/')[2]].replace('.', '')})"
        case {"enum": choices}:
            text = ", ".join(f"`{choice}`" for choice in choices)
        case {"type": "array", "items": items}:
            text = f"list of {_type(items)}s"
        case {"type": "object", "additionalProperties": values}:
            text = f"object of {_type(values)}s"
        case {"exclusiveMinimum": 0}:
            text = "integer, at least 1"
        case {"maxLength": 1}:
            text = "one character"
        case _:
            text = str(value["type"])
    return text


def _default(value: Any) -> str:
    # A key without a value: what its meaning says happens then.
    if value in (None, {}) or (isinstance(value, Mapping) and not any(value.values())):
        return ""
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


# --- both ---------------------------------------------------------------------------------------


def _sentence(text: str | None) -> str:
    text = (text or "").rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in cells)} |\n" for cells in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text, encoding="utf-8")
