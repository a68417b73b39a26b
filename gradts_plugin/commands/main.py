"""`gradts-select`: finds the command, and says in one line what the user can mend.

What a command computes with is imported when it runs, and not for help or completion.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Final

import click
from click.shell_completion import shell_complete

from gradts_plugin import __version__
from gradts_plugin.commands.refusals import PROGRAM, refusal, say, warnings_told
from gradts_plugin.errors import ConfigError, nearest

#: Command -> (module, what it does).
COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "init": ("init", "a first run file and task configs for a folder of your files"),
    "run": ("run", "a whole run from a YAML run file, or a jiant run with the phases added"),
    "plan": ("plan", "what a run file would train, how long, how much"),
    "probe": ("jiant_probe", "measure the head importance of every task of a jiant set-up"),
    "rank": ("rank", "rank the candidates of a run file or a jiant set-up, with intervals"),
    "select": ("jiant_select", "select auxiliaries and write a new jiant config"),
    "compare": ("compare", "selection methods side by side on your tasks: scores, costs, regret"),
    "task": ("task", "what a task config reads: rows, labels, lengths, and what is left out"),
    "data": ("data", "task data from the hub or a folder, as files"),
    "export": ("export", "a finished selection for another framework"),
    "runs": ("runs", "the finished runs below a folder: selections, gains, costs"),
    "report": ("report", "the report of a finished run or comparison, drawn again"),
    "figures": ("figures", "the figures of a finished run or comparison, for a paper"),
    "demo": ("demo", "the whole job on generated tasks"),
    "doctor": ("doctor", "what is installed, and what to type to mend it"),
    "host": ("jiant_host", "start any jiant entry point on today's Python"),
}

EPILOG = """\
\b
gradts-select init data        your files: task configs and a run file
gradts-select run run.yaml     everything, from task files
gradts-select plan run.yaml    what that would take
gradts-select run --jiant_task_container_config_path C --output_dir O ...
                               a jiant run, with probing and selection before it
gradts-select rank --json ...  taus and intervals of an existing jiant set-up
gradts-select host -m jiant.proj.main.export_model ...
                               any jiant entry point on today's Python
"""


class _Commands(click.Group):
    """Imports a command when it is run or asked about."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            if ctx.resilient_parsing:
                return None
            raise ConfigError(f"no such command {cmd_name!r}; {nearest(cmd_name, COMMANDS)}")
        module, text = COMMANDS[cmd_name]
        command: click.Command = import_module(f"gradts_plugin.commands.{module}").command
        command.help = text
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


GROUP = _Commands(
    PROGRAM,
    help="Choose the auxiliary tasks that help a primary task (GradTS), inside jiant.",
    epilog=EPILOG,
    no_args_is_help=False,
    subcommand_metavar="COMMAND ...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
click.version_option(__version__, message=f"gradts-plugin {__version__}")(GROUP)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; exit code 2 and one line for an error the user can mend."""
    variable = "_GRADTS_SELECT_COMPLETE"
    if os.environ.get(variable):
        sys.exit(shell_complete(GROUP, {}, PROGRAM, variable, os.environ[variable]))
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs a command and returns its exit code."""
    try:
        with (
            warnings_told(),
            GROUP.make_context(PROGRAM, list(arguments), obj=tuple(arguments)) as context,
        ):
            return int(GROUP.invoke(context))
    except click.exceptions.Exit as leaving:  # after help
        return leaving.exit_code
    except KeyboardInterrupt:
        say("interrupted; what is finished is stored, run the same command again to go on")
        return 130
    except Exception as error:
        lines = refusal(error)
        if lines is None:
            raise
        say(*lines)
        return 2
