"""Writes docs/commands.md and docs/task_config_keys.md: the command line and the task config keys.

    python docs/make_reference.py

The commands come from the parser of the command line, the keys from task_configs/schema.json.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from gradts_plugin import cli

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
        DOCS / "commands.md": commands_page(cli._parser()),
        DOCS / "task_config_keys.md": keys_page(json.loads(SCHEMA.read_text(encoding="utf-8"))),
    }


# --- commands -----------------------------------------------------------------------------------


def commands_page(parser: argparse.ArgumentParser) -> str:
    """The text of docs/commands.md."""
    (commands,) = (
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    parts = [_COMMANDS_HEAD.format(notice=_NOTICE.format("gradts_plugin/cli.py"))]
    seen: dict[str, str] = {}
    for listed in commands._choices_actions:
        name = listed.dest
        parts.append(f"## `{name}`\n\n{_sentence(listed.help)}\n")
        for title, table in _tables(commands.choices[name]):
            # Some commands share whole groups of arguments.
            shared = seen.setdefault(table, name)
            if shared == name:
                parts.append(f"{title}\n\n{table}".lstrip())
            else:
                parts.append(f"{title or 'Arguments'} as for [`{shared}`](#{shared}).\n")
    return "\n".join(parts)


def _tables(command: argparse.ArgumentParser) -> Iterable[tuple[str, str]]:
    """(Title, table) of the command's own arguments, and of each group of others."""
    own: list[argparse.Action] = []
    others: list[tuple[str, list[argparse.Action]]] = []
    for group in command._action_groups:
        actions = [action for action in group._group_actions if action.dest != "help"]
        if group.title in ("positional arguments", "options"):
            own += actions
        else:
            others.append((f"**{group.title}:**", actions))
    for title, actions in (("", own), *others):
        if actions:
            rows = [(_name(each), _meaning(each)) for each in actions]
            yield title, _table(("argument", "meaning"), rows)


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    values = {Path: " PATH", int: " N", float: " X", None: " TEXT"}
    value = f" {action.metavar}" if action.metavar else values[action.type]
    return f"`{action.option_strings[0]}{'' if action.nargs == 0 else value}`"


def _meaning(action: argparse.Action) -> str:
    parts = [action.help or ""]
    if action.choices:
        parts.append("one of " + ", ".join(f"`{choice}`" for choice in action.choices))
    if action.required and action.option_strings:
        parts.append("**required**")
    if action.default not in (None, False, ""):
        parts.append(f"default: `{action.default}`")
    return "; ".join(part for part in parts if part)


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
