"""Options as fields of records, and help that shows arguments and sections of options."""

from __future__ import annotations

import dataclasses
import functools
import shlex
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import click

if TYPE_CHECKING:
    from gradts_plugin.settings.run_file import RunFile

RunFileT = TypeVar("RunFileT", bound="RunFile")

#: Paths as they were given; what is wrong with one is said where it is read.
PATH = click.Path(path_type=Path)


class _Option(click.Option):
    def __init__(self, *names: Any, section: str, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.section = section


class _Argument(click.Argument):
    section = "Arguments"

    def __init__(self, *names: Any, text: str, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.text = text

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return self.make_metavar(ctx), self.text


class Command(click.Command):
    """A command whose help explains its arguments, and has sections of options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes arguments and options, each under its section's title."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                title = getattr(parameter, "section", "Options")
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


class FileCommand(Command):
    """A command on a file that is another command where jiant's own arguments are given."""

    def __init__(
        self,
        *names: Any,
        otherwise: click.Command,
        names_file: Callable[[Sequence[str]], bool],
        **settings: Any,
    ) -> None:
        super().__init__(*names, **settings)
        self._otherwise = otherwise
        self._names_file = names_file

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Reads arguments that name a file; others are read by the other command."""
        if self._names_file(args):
            return super().make_context(info_name, args, parent, **extra)
        return self._otherwise.make_context(info_name, args, parent, **extra)


class UnreadCommand(Command):
    """A command that passes its arguments on unread."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Leaves every argument as it is."""
        ctx.params["arguments"] = tuple(args)
        return []


def argument(name: str, text: str, **settings: Any) -> Callable[[Any], Any]:
    """Decorates a command with an argument; its own help says what it is."""
    return click.argument(name, cls=_Argument, text=text, **{"type": PATH, **settings})


def given(
    text: str, default: Any = dataclasses.MISSING, *, section: str = "Options", **settings: Any
) -> Any:
    """A field of a record that is an option of commands, required where it has no default.

    Args:
        text: its help.
        default: its value where it is not given.
        section: its section of the help.
        settings: click's own; `typed` is what is typed where that is not the field's name.
    """
    metadata = {"help": text, "section": section, **settings}
    return dataclasses.field(default=default, metadata=metadata)


def without_own(arguments: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Arguments without our own flags and options with a value, wherever they stand."""
    valued = {place for place, each in enumerate(arguments) if each in ("--set", "--jobs")}
    return [
        argument
        for place, argument in enumerate(arguments)
        if argument not in flags and place not in valued and place - 1 not in valued
    ]


def takes(*records: type) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Decorates a command that is called with these records, made of the options they declare."""

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def collected(**values: Any) -> int:
            made = [
                record(
                    **{field.name: values.pop(field.name) for field in dataclasses.fields(record)}
                )
                for record in records
            ]
            return function(*made, **values)

        for record in reversed(records):
            hints = get_type_hints(record)
            for field in reversed(dataclasses.fields(record)):
                collected = _option(field, hints[field.name])(collected)
        return collected

    return decorate


def _option(field: dataclasses.Field[Any], hint: Any) -> Callable[[Any], Any]:
    settings = dict(field.metadata)
    typed = settings.pop("typed", f"--{field.name}")
    kinds = [each for each in get_args(hint) or (hint,) if each not in (types.NoneType, ...)]
    (kind,) = kinds
    settings["multiple"] = get_origin(hint) is tuple
    if kind is bool:
        settings["is_flag"] = True
    else:
        settings.setdefault("type", PATH if kind is Path else kind)
    required = field.default is dataclasses.MISSING
    default = {} if required else {"default": field.default}
    return click.option(typed, field.name, cls=_Option, required=required, **default, **settings)


@dataclass(frozen=True)
class Shown:
    """How a command shows what it does, and what it came to."""

    as_json: bool = given("print the result as JSON", False, typed="--json")
    quiet: bool = given("no progress", False)
    plain: bool = given("progress as lines", False)


@dataclass(frozen=True)
class Changed:
    """What is changed of a file's settings."""

    changes: tuple[str, ...] = given(
        "change a setting of the file, e.g. training.max_steps=200; repeatable",
        (),
        typed="--set",
        metavar="KEY=VALUE",
    )

    @property
    def typed(self) -> str:
        """As they are typed, with a blank before each; empty without any."""
        return "".join(f" --set {shlex.quote(change)}" for change in self.changes)


@dataclass(frozen=True)
class Executed:
    """How many processes make what is needed."""

    jobs: int | None = given("make so many probes or trainings at a time, in workers", None)

    def applied_to(self, run_file: RunFileT) -> RunFileT:
        """A run file that says so, too."""
        if self.jobs is None:
            return run_file
        given = {**run_file.executor.model_dump(), "jobs": self.jobs}
        if given["kind"] == "local":
            given["kind"] = "processes"
        executor = type(run_file.executor).model_validate(given)
        return run_file.model_copy(update={"executor": executor})


@dataclass(frozen=True)
class Planned:
    """Whether a command only says what it would do."""

    dry_run: bool = given("only say what would be trained", False, typed="--dry-run")
    no_measure: bool = given("with --dry-run: no times", False, typed="--no-measure")


@dataclass(frozen=True)
class Logged:
    """What a command writes of what happens, beside its own log: settings of these names."""

    tensorboard: bool = given("also write TensorBoard event files", False)
    mlflow: bool = given("also tell MLflow of the run", False)
    wandb: bool = given("also tell Weights & Biases of the run", False)

    @property
    def flags(self) -> dict[str, bool]:
        """Those that are set, as settings."""
        names = [field.name for field in dataclasses.fields(Logged)]
        return {name: True for name in names if getattr(self, name)}


#: Those flags, as they are typed.
LOGGED = tuple(f"--{field.name}" for field in dataclasses.fields(Logged))
