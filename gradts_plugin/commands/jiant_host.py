"""`gradts-select host`: any of jiant's own programs, with the mends."""

from __future__ import annotations

import click

from gradts_plugin.commands import options


@click.command(
    cls=options.UnreadCommand,
    options_metavar="-m MODULE | SCRIPT.py [its arguments]",
    add_help_option=False,
)
@click.pass_context
def command(context: click.Context, *, arguments: tuple[str, ...]) -> int:
    """Starts the program, which may end the process itself."""
    if arguments in ((), ("-h",), ("--help",)):
        click.echo(context.get_help())
        return 0
    from gradts_plugin import plugins
    from gradts_plugin.hosts.jiant.launch import run_host_module
    from gradts_plugin.hosts.jiant.opening import attach_tasks

    attach_tasks(plugins.make_plugin_manager().hook)
    run_host_module(arguments)
    return 0
