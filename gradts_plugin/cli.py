"""`gradts-select`: the command line."""

from __future__ import annotations

import argparse
import errno
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from gradts_plugin import __version__, console, pipeline, sessions
from gradts_plugin.config import RunFile, parse_settings
from gradts_plugin.errors import ConfigError, GradTSError
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.report.figures import correlation_figure_info, draw_task_correlations

DESCRIPTION = "Choose the auxiliary tasks that help a primary task (GradTS), inside jiant."

EPILOG = """\
gradts-select run run.yaml                        everything, from task files
gradts-select run --jiant_task_container_config_path C --output_dir O ...
                                                  a jiant run, with probing and selection before it
gradts-select rank --json ...                     taus and intervals of an existing jiant set-up
gradts-select host -m jiant.proj.main.export_model ...
                                                  any jiant entry point on today's Python
"""


#: What a disk refuses; every other OSError is a defect.
_DISK_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; exit code 2 and one line for an error the user can mend."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Runs a command and returns its exit code."""
    errors = Console(stderr=True, highlight=False)
    try:
        return _dispatch(list(arguments))
    except GradTSError as error:
        message = " ".join(str(error).split())
        errors.print(f"gradts-select: {message}", markup=False, soft_wrap=True)
        return 2
    except (OSError, RuntimeError) as error:
        refusal = _disk_refusal(error)
        if refusal is None:
            raise
        errors.print(f"gradts-select: {refusal}", markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        errors.print(
            "gradts-select: interrupted; what is finished is stored, run the same command again "
            "to go on",
            soft_wrap=True,
        )
        return 130


def _disk_refusal(error: OSError | RuntimeError) -> str | None:
    """What to say where the disk refused one of jiant's own files; None for any other error."""
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return f"cannot write {error.filename or 'a file'}: {error.strerror}"
    # All that torch.save says of a file it could not write to its end.
    if "inline_container" in str(error) or "PytorchStreamWriter" in str(error):
        return "cannot write a file of weights or cached rows: the disk is full"
    return None


def _dispatch(arguments: list[str]) -> int:
    # jiant's own arguments are passed through unread, so these two come before the parser.
    if arguments[:1] == ["host"]:
        from gradts_plugin.hosts.jiant.launch import run_host_module

        if arguments[1:] in ([], ["-h"], ["--help"]):
            sys.stdout.write("usage: gradts-select host -m MODULE | SCRIPT.py [its arguments]\n")
            return 0
        sessions.attach_tasks(make_plugin_manager())
        run_host_module(arguments[1:])
        return 0
    if arguments[:1] == ["run"] and not _names_run_file(arguments[1:]):
        return _run_host(arguments[1:])
    parsed = _parser().parse_args(arguments)
    return int(parsed.command(parsed))


def _names_run_file(arguments: Sequence[str]) -> bool:
    """True for `run FILE [--json] [--quiet]`, False for jiant's arguments; help is ours."""
    own = [argument for argument in arguments if argument not in ("--json", "--quiet")]
    if not own or any(argument in ("-h", "--help") for argument in own):
        return True
    # jiant's command line begins with its mode or an option, never with a file.
    return not own[0].startswith("-") and own[0] not in ("run", "continue", "run_with_continue")


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see {self.prog} --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="gradts-select",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"gradts-plugin {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    command = commands.add_parser(
        "run", help="a whole run from a YAML run file, or a jiant run with the phases added"
    )
    command.add_argument("run_file", type=Path, help="YAML run file, or jiant's own arguments")
    command.add_argument("--json", action="store_true", help="print the outcome as JSON")
    command.add_argument("--quiet", action="store_true", help="no progress")
    command.set_defaults(command=_run_file)

    for name, function, text in (
        ("probe", _probe, "fine-tune and probe the tasks of a jiant set-up"),
        ("rank", _rank, "rank the candidates, with confidence intervals"),
        ("select", _select, "select auxiliaries and write a new jiant config"),
    ):
        command = commands.add_parser(name, help=text)
        _add_host_arguments(command)
        if name == "select":
            command.add_argument(
                "--output_config_path", type=Path, help="where the new container config goes"
            )
        command.set_defaults(command=function)

    command = commands.add_parser("demo", help="the whole job on generated tasks")
    command.add_argument("--output_dir", type=Path, default=Path("gradts-demo"))
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--quiet", action="store_true", help="no progress")
    command.set_defaults(command=_demo)

    command = commands.add_parser("doctor", help="what is installed, and what to type to mend it")
    command.set_defaults(command=_doctor)

    commands.add_parser("host", help="start any jiant entry point on today's Python")
    return parser


def _add_host_arguments(command: argparse.ArgumentParser) -> None:
    host = command.add_argument_group("jiant's own arguments")
    host.add_argument("--jiant_task_container_config_path", type=Path, required=True)
    host.add_argument("--hf_pretrained_model_name_or_path", required=True)
    host.add_argument("--model_path", required=True)
    host.add_argument("--model_config_path")
    host.add_argument("--model_load_mode", default="from_transformers")
    host.add_argument("--learning_rate", type=float, default=1e-5)
    host.add_argument("--max_grad_norm", type=float, default=1.0)
    host.add_argument("--no_cuda", action="store_true")
    host.add_argument("--output_dir", type=Path, help="default: gradts/ beside the config")
    own = command.add_argument_group("the selection (over the config's gradts block)")
    own.add_argument("--gradts_config", type=Path, help="YAML file with the gradts block's keys")
    own.add_argument("--primary_task")
    own.add_argument("--candidate_tasks", help="comma-separated")
    own.add_argument("--method")
    own.add_argument("--seeds", type=int)
    own.add_argument("--seed", type=int)
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument("--quiet", action="store_true", help="no progress")


def _manager(quiet: bool) -> Any:
    progress = console.ProgressPlugin(Console(stderr=True), quiet=quiet)
    return make_plugin_manager([progress]), progress


def _run_file(parsed: argparse.Namespace) -> int:
    run_file = sessions.read_run_file(parsed.run_file)
    return _run(run_file, quiet=parsed.quiet, as_json=parsed.json)


def _run(run_file: RunFile, *, quiet: bool, as_json: bool) -> int:
    manager, progress = _manager(quiet)
    try:
        outcome = pipeline.run(sessions.open_run_file(run_file, manager))
    finally:
        progress.close()
    picture = run_file.output_dir / "task_correlations.png"
    drawn = importlib.util.find_spec("matplotlib") is not None
    if drawn:
        draw_task_correlations(correlation_figure_info(outcome.ranking), picture)
    if as_json:
        _print_json(pipeline.outcome_as_dict(outcome))
    else:
        console.print_outcome(Console(), outcome)
        if drawn:
            Console().print(f"Task correlations: {picture}", highlight=False, soft_wrap=True)
    return 0


def _run_host(arguments: Sequence[str]) -> int:
    manager, progress = _manager(quiet=False)
    try:
        outcome = sessions.run_host(arguments, manager)
    finally:
        progress.close()
    if outcome is not None:
        console.print_outcome(Console(), outcome)
    return 0


def _session(parsed: argparse.Namespace, manager: Any) -> pipeline.Session:
    from gradts_plugin.hosts.jiant.training import HostArguments

    path = parsed.jiant_task_container_config_path
    config, block = sessions.read_container_config(path)
    candidates = parsed.candidate_tasks.split(",") if parsed.candidate_tasks else None
    settings = sessions.merge_settings(
        block,
        parsed.gradts_config,
        {
            "primary_task": parsed.primary_task,
            "candidate_tasks": candidates,
            "method": parsed.method,
            "seeds": parsed.seeds,
            "seed": parsed.seed,
        },
        where=f"{path}: gradts",
    )
    output_dir = _output_dir(parsed)
    return sessions.open_session(
        config,
        HostArguments(
            hf_pretrained_model_name_or_path=parsed.hf_pretrained_model_name_or_path,
            model_path=parsed.model_path,
            model_config_path=parsed.model_config_path,
            model_load_mode=parsed.model_load_mode,
            learning_rate=parsed.learning_rate,
            max_grad_norm=parsed.max_grad_norm,
            no_cuda=parsed.no_cuda,
        ),
        settings,
        manager,
        output_dir=output_dir,
        log_file=output_dir / "host.log",
    )


def _output_dir(parsed: argparse.Namespace) -> Path:
    config: Path = parsed.jiant_task_container_config_path
    output_dir: Path = parsed.output_dir or config.parent / "gradts"
    return output_dir.absolute()


def _probe(parsed: argparse.Namespace) -> int:
    manager, progress = _manager(parsed.quiet)
    try:
        session = _session(parsed, manager)
        sources = pipeline.probe_tasks(session)
    finally:
        progress.close()
    result = {
        name: [
            {"instances": source.shape[0], "layers": source.shape[1], "heads": source.shape[2]}
            for source in of_task
        ]
        for name, of_task in sources.items()
    }
    if parsed.json:
        _print_json({"probes": result, "done": vars(session.counters)})
    else:
        out = Console(highlight=False)
        for name, of_task in result.items():
            for probed in of_task:
                out.print(f"{name}: {probed['instances']} instances", soft_wrap=True)
        out.print(
            f"{session.counters.probes} probed, {session.counters.probes_reused} found stored in "
            f"{session.output_dir if session.settings.store is None else session.settings.store}",
            soft_wrap=True,
        )
    return 0


def _rank(parsed: argparse.Namespace) -> int:
    manager, progress = _manager(parsed.quiet)
    try:
        session = _session(parsed, manager)
        ranking = pipeline.rank(session, pipeline.probe_tasks(session))
    finally:
        progress.close()
    if parsed.json:
        _print_json(pipeline.ranking_as_dict(ranking))
    else:
        out = Console()
        out.print(console.ranking_table(ranking))
        out.print(console.coverage_note(ranking), soft_wrap=True, style="dim")
    return 0


def _select(parsed: argparse.Namespace) -> int:
    manager, progress = _manager(parsed.quiet)
    source = parsed.jiant_task_container_config_path
    target = parsed.output_config_path or _output_dir(parsed) / pipeline.REWRITTEN_CONFIG
    sessions.require_other_file(source, target)
    try:
        session = _session(parsed, manager)
        outcome = pipeline.choose(session, target.absolute())
    finally:
        progress.close()
    if parsed.json:
        _print_json(pipeline.outcome_as_dict(outcome))
    else:
        console.print_outcome(Console(), outcome)
    return 0


def _demo(parsed: argparse.Namespace) -> int:
    from gradts_plugin.demo import run_file_values

    values = run_file_values(parsed.output_dir.absolute(), seed=parsed.seed)
    return _run(parse_settings(RunFile, values, where="demo"), quiet=parsed.quiet, as_json=False)


def _doctor(_parsed: argparse.Namespace) -> int:
    from gradts_plugin.doctor import diagnose, render

    diagnosis = diagnose()
    Console().print(render(diagnosis))
    return 0 if diagnosis.usable else 1


def _print_json(values: Any) -> None:
    sys.stdout.write(json.dumps(values, indent=2) + "\n")
