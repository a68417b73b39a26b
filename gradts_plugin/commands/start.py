"""Where `gradts-select` begins: also where what it needs is missing, which `doctor` then says."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command line, or says in a line which package is missing."""
    # Before torch is loaded: threads that wait for each other burn the cores that the others, or
    # other programs, need; beside other work a training took three to seven times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from gradts_plugin.commands.main import main as command_line

        command_line()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "gradts_plugin" or not missing:
            raise
        if sys.argv[1:2] == ["doctor"]:
            sys.exit(_diagnosed())
        print(  # noqa: T201  # click may be what is missing
            f"gradts-select: the package {missing!r} is not installed; "
            "`gradts-select doctor` says what to type",
            file=sys.stderr,
        )
        sys.exit(2)


def _diagnosed() -> int:
    from gradts_plugin import doctor

    diagnosis = doctor.diagnose()
    print(doctor.render(diagnosis))  # noqa: T201
    return 0 if diagnosis.usable else 1
