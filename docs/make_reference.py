"""Writes the pages of commands, of methods and rankers, and of the keys of task configs.

    python docs/make_reference.py

The commands come from the command line itself, methods and rankers from their records, the keys
from task_configs/schema.json.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from gradts_plugin.commands import main
from gradts_plugin.offers import Method, Ranker
from gradts_plugin.plugins import Registry, collect_registry, make_plugin_manager
from gradts_plugin.settings.parsing import NoSettings, Settings

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
named, and `host`. `rank` takes a run file, or the arguments of `probe`.
"""

_METHODS_HEAD: Final = """\
# Methods and rankers

{notice}
`method: trial` names one with its defaults, `method: {{name: trial, patience: 3}}` with settings; a
ranker likewise in `ranking: {{ranker: ...}}`. How GradTS works is in [the method](method.md), how
they compare in [comparing methods](compare.md), how to add one in [an example
plugin](example_plugin/README.md).
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
    "SkippedRows": "skip_rows",
    "Columns": "columns",
    "Division": "split",
    "HeldOut": "held_out",
    "DatasetSource": "dataset",
    "Splits": "dataset.splits",
    "Fields": "fields",
}


def pages() -> dict[Path, str]:
    """The generated pages and their texts."""
    return {
        DOCS / "commands.md": commands_page(),
        DOCS / "methods.md": methods_page(
            collect_registry(make_plugin_manager(entry_points=False))
        ),
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
    if default not in (None, False, "", ()):
        parts.append(f"default: `{default}`")
    return "; ".join(parts)


# --- methods and rankers ------------------------------------------------------------------------


def methods_page(registry: Registry) -> str:
    """The text of docs/methods.md, for everything that plugins offer."""
    parts = [_METHODS_HEAD.format(notice=_NOTICE.format("the records in gradts_plugin"))]
    sections: tuple[tuple[str, Mapping[str, Method[Any] | Ranker[Any]]], ...] = (
        ("Selection methods (`method`)", registry.methods),
        ("Rankers (`ranking.ranker`)", registry.rankers),
    )
    for title, offered in sections:
        rows = [(f"`{name}`", found.title, found.summary) for name, found in offered.items()]
        parts.append(f"## {title}\n\n{_table(('name', 'title', 'what it does'), rows)}")
        for place, (name, found) in enumerate(offered.items()):
            if found.settings.model_fields:
                parts.append(_own_settings(name, found, list(offered.values())[:place]))
    return "\n".join(parts)


def _own_settings(
    name: str, found: Method[Any] | Ranker[Any], earlier: Iterable[Method[Any] | Ranker[Any]]
) -> str:
    """The settings of a method or ranker; those that an earlier one has, too, are not repeated."""
    model = found.settings
    bases = [
        each
        for each in earlier
        if each.settings is not NoSettings and issubclass(model, each.settings)
    ]
    base = max(bases, key=lambda each: len(each.settings.model_fields), default=None)
    known = base.settings.model_fields if base else {}
    faithful = found.faithful if isinstance(found, Method) else {}
    meanings: dict[str, str] = {}
    for each in reversed(model.__mro__):
        meanings |= _meanings({"description": inspect.getdoc(each)})
    about = _summary({"description": inspect.getdoc(model)}).rstrip(".")
    rows = []
    for key, field in model.model_fields.items():
        if key in known:
            continue
        # A class with one setting says it all in its first line.
        meaning = meanings.get(key, about).replace("None:", "`null`:")
        published = [_plain(faithful[key]) if key in faithful else ""] if faithful else []
        rows.append((f"`{key}`", _plain(field.default), *published, meaning))
    shared = f" those of `{base.name}`" if base else ""
    if not rows:
        return f"Settings of `{name}`:{shared}.\n"
    header = ("setting", "default", *(("with `faithful`",) if faithful else ()), "meaning")
    return f"Settings of `{name}`:{shared and shared + ', and'}\n\n{_table(header, rows)}"


def _plain(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, Settings):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return "`{" + ", ".join(f"{key}: {item}" for key, item in value.items()) + "}`"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


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
            text = f"list of {_type(items)}"
            text += "" if text.endswith(")") else "s"
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
    if value in (None, {}, []) or (isinstance(value, Mapping) and not any(value.values())):
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
