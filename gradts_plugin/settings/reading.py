"""JSON and YAML files read, with the line of what is broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from gradts_plugin.errors import ConfigError


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ConfigError: the file is missing or broken; says the line.
    """
    try:
        return json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}: broken JSON: {error.msg}") from error


def read_yaml(path: Path) -> Any:
    """Reads a YAML file (safe loading only).

    Raises:
        ConfigError: the file is missing or broken; says the line.
    """
    try:
        return yaml.safe_load(_read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}{line}: broken YAML: {problem}") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: is a folder, a file is needed") from error
    except PermissionError as error:
        raise ConfigError(f"{path}: may not be read") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error
