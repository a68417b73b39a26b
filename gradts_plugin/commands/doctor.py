"""`gradts-select doctor`: what is installed, and what to type to mend it."""

from __future__ import annotations

import click

from gradts_plugin.commands import options


@click.command(cls=options.Command)
def command() -> int:
    """Prints the diagnosis; exit code 1 where no run can start."""
    from gradts_plugin import doctor

    diagnosis = doctor.diagnose()
    click.echo(doctor.render(diagnosis))
    return 0 if diagnosis.usable else 1
