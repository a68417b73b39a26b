"""`gradts-select`: the command line."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from gradts_plugin import __version__, console, pipeline, plan, sessions
from gradts_plugin.errors import ConfigError, GradTSError
from gradts_plugin.planning.rates import measure
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.report.figures.files import FORMATS
from gradts_plugin.report.writing import write_comparison_report, write_report
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.stores.files import size_on_disk

DESCRIPTION = "Choose the auxiliary tasks that help a primary task (GradTS), inside jiant."

EPILOG = """\
gradts-select run run.yaml                        everything, from task files
gradts-select plan run.yaml                       what that would take
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


#: Flags of `run` that are not jiant's.
_RUN_FLAGS = ("--json", "--quiet", "--plain", "--tensorboard", "--dry-run", "--no-measure")

#: All that torch.save says of a file it could not write to its end.
_TORCH_SAVE_ERRORS = ("inline_container", "PytorchStreamWriter", "iostream error")


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
    if any(words in str(error) for words in _TORCH_SAVE_ERRORS):
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
    parsed.arguments = arguments
    return int(parsed.command(parsed))


def _names_run_file(arguments: Sequence[str]) -> bool:
    """True for `run FILE [flags]`, False for jiant's arguments; help is ours."""
    own = [argument for argument in arguments if argument not in _RUN_FLAGS]
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
    _add_progress_flags(command)
    _add_dry_run_flags(command)
    command.set_defaults(command=_run_file)

    command = commands.add_parser("plan", help="what a run file would train, how long, how much")
    command.add_argument("run_file", type=Path, help="YAML run file")
    command.add_argument("--json", action="store_true", help="print the plan as JSON")
    command.add_argument("--no-measure", action="store_true", help="measure no time")
    command.add_argument("--quiet", action="store_true", help="no progress")
    command.add_argument("--plain", action="store_true", help="progress as lines")
    command.set_defaults(command=_plan)

    for name, function, text in (
        ("probe", _probe, "measure the head importance of every task of a jiant set-up"),
        ("rank", _rank, "rank the candidates, with confidence intervals"),
        ("select", _select, "select auxiliaries and write a new jiant config"),
    ):
        command = commands.add_parser(name, help=text)
        _add_host_arguments(command)
        if name == "select":
            command.add_argument(
                "--output_config_path", type=Path, help="where the new container config goes"
            )
            _add_dry_run_flags(command)
        command.set_defaults(command=function)

    command = commands.add_parser(
        "compare", help="selection methods side by side on your tasks: scores, costs, regret"
    )
    command.add_argument("compare_file", type=Path, help="YAML compare file")
    command.add_argument("--json", action="store_true", help="print the comparison as JSON")
    command.add_argument("--quiet", action="store_true", help="no progress")
    command.add_argument("--plain", action="store_true", help="progress as lines")
    command.set_defaults(command=_compare)

    _add_file_commands(commands)

    command = commands.add_parser("demo", help="the whole job on generated tasks")
    command.add_argument(
        "--output_dir", type=Path, default=Path("gradts-demo"), help="tasks and run go there"
    )
    command.add_argument("--seed", type=int, default=0, help="of the generated tasks and the run")
    command.add_argument("--quiet", action="store_true", help="no progress")
    command.set_defaults(command=_demo)

    command = commands.add_parser("doctor", help="what is installed, and what to type to mend it")
    command.set_defaults(command=_doctor)

    commands.add_parser("host", help="start any jiant entry point on today's Python")
    return parser


def _add_file_commands(commands: Any) -> None:
    command = commands.add_parser("data", help="task data from the hub or a folder, as files")
    command.add_argument("source", metavar="NAME", help="glue, a shipped task, hub name or folder")
    command.add_argument("--output", type=Path, required=True, help="becomes a run file's data_dir")
    command.add_argument("--tasks", default="", help="shipped tasks to fill, comma-separated")
    command.add_argument("--config", help="the dataset's subset")
    command.add_argument("--revision", help="branch, tag or commit on the hub")
    command.add_argument("--max_rows", type=int, help="of each split, a seeded sample")
    command.add_argument("--quiet", action="store_true", help="no progress")
    new = command.add_argument_group("a set that is not shipped: a task config is written, too")
    new.add_argument("--name", help="of the task")
    new.add_argument("--kind", help="single, pair, regression, tagging or multiple_choice")
    new.add_argument("--metric", help="default: accuracy, Pearson or span F1")
    new.add_argument("--positive_label", help="for the metric f1")
    for role, text in (
        ("text_a", "the text, or the first of a pair"),
        ("text_b", "the second text of a pair"),
        ("label", "class or score"),
        ("tokens", "tagging: the words"),
        ("labels", "tagging: one tag per word"),
        ("choices", "multiple choice: the answers"),
    ):
        new.add_argument(f"--{role}", metavar="FIELD", help=text)
    for split in ("train", "val", "test"):
        new.add_argument(
            f"--{split}_split", metavar="SPLIT", help=f"the dataset's name of the {split} split"
        )
    command.set_defaults(command=_data)

    command = commands.add_parser("export", help="a finished selection for another framework")
    command.add_argument("framework", choices=["mt-dnn"], help="mt-dnn: github.com/namisan/mt-dnn")
    command.add_argument("run", type=Path, help="a run's folder, or a selection's config")
    command.add_argument("--output", type=Path, required=True, help="a new folder")
    command.add_argument("--init_checkpoint", help="start from this, not from the run's encoder")
    command.set_defaults(command=_export)

    command = commands.add_parser(
        "report", help="the report of a finished run or comparison, drawn again"
    )
    command.add_argument("run", type=Path, help="a run's folder, or a comparison's")
    command.add_argument("--output", type=Path, help="default: report.html in the folder")
    command.set_defaults(command=_report)

    command = commands.add_parser(
        "figures", help="the figures of a finished run or comparison, for a paper"
    )
    command.add_argument("run", type=Path, help="a run's folder, or a comparison's")
    command.add_argument(
        "--format", choices=FORMATS, default="svg", help="csv and json: the plain numbers"
    )
    command.add_argument("--output", type=Path, help="default: figures/ in the folder")
    command.set_defaults(command=_figures)


def _add_host_arguments(command: argparse.ArgumentParser) -> None:
    host = command.add_argument_group("jiant's own arguments")
    host.add_argument(
        "--jiant_task_container_config_path",
        type=Path,
        required=True,
        help="the tasks, as jiant's own programs wrote it",
    )
    host.add_argument(
        "--hf_pretrained_model_name_or_path", required=True, help="hub name or local folder"
    )
    host.add_argument("--model_path", required=True, help="weights that jiant exported")
    host.add_argument("--model_config_path", help="their config.json, where jiant exported one")
    host.add_argument(
        "--model_load_mode", default="from_transformers", help="what the weights are a state of"
    )
    host.add_argument("--learning_rate", type=float, default=1e-5, help="peak, in every training")
    host.add_argument("--max_grad_norm", type=float, default=1.0, help="gradients are clipped here")
    host.add_argument("--no_cuda", action="store_true", help="stay on the CPU")
    host.add_argument("--output_dir", type=Path, help="default: gradts/ beside the config")
    own = command.add_argument_group("the selection (over the config's gradts block)")
    own.add_argument("--gradts_config", type=Path, help="YAML file with the gradts block's keys")
    own.add_argument("--primary_task", help="the task to help")
    own.add_argument("--candidate_tasks", help="comma-separated; default: all others")
    own.add_argument("--method", help="thres, trial, fg, top, alone, all, autosem-p1, autosem")
    own.add_argument("--seeds", type=int, help="fine-tuning seeds per task")
    own.add_argument("--seed", type=int, help="everything random derives from it")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    _add_progress_flags(command)


def _add_progress_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--quiet", action="store_true", help="no progress")
    command.add_argument("--plain", action="store_true", help="progress as lines")
    command.add_argument(
        "--tensorboard", action="store_true", help="also write TensorBoard event files"
    )


def _add_dry_run_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dry-run", action="store_true", help="only say what would be trained")
    command.add_argument("--no-measure", action="store_true", help="with --dry-run: no times")


def _manager(quiet: bool, plain: bool = False) -> Any:
    progress = console.ProgressPlugin(_progress_console(), quiet=quiet, plain=plain)
    return make_plugin_manager([progress]), progress


def _progress_console() -> Console:
    # Bound to the stream of now: what jiant prints is sent to the log by exchanging sys.stderr.
    # And never a moving bar in a file, whatever FORCE_COLOR says.
    return Console(file=sys.stderr, force_interactive=None if sys.stderr.isatty() else False)


def _expect(
    progress: console.ProgressPlugin,
    session: pipeline.Session,
    phases: Collection[str],
    *,
    quiet: bool = False,
) -> None:
    """Tells the progress what these phases will do, where that can be told."""
    if quiet:
        return
    with contextlib.suppress(GradTSError):  # the run itself says it, where it belongs
        planned = plan.make_plan(session, final_training="train" in phases, look_ahead=False)
        parts = [part for part in planned.parts if part.phase in phases]
        unknown = any(part.num_to_do is None for part in parts)
        at_most = any(part.upper_bound for part in parts)
        progress.expect(
            {phase: work for phase, work in planned.work.items() if phase in phases},
            bound="≥" if unknown else "≤" if at_most else "",
        )


def _run_file(parsed: argparse.Namespace) -> int:
    if parsed.dry_run:
        return _plan(parsed)
    run_file = sessions.read_run_file(parsed.run_file)
    if parsed.tensorboard:
        run_file = run_file.model_copy(update={"tensorboard": True})
    return _run(run_file, quiet=parsed.quiet, plain=parsed.plain, as_json=parsed.json)


def _plan(parsed: argparse.Namespace) -> int:
    run_file = sessions.read_run_file(parsed.run_file)
    manager, progress = _manager(parsed.quiet, parsed.plain)
    try:
        with sessions.run_file_to_plan(run_file, manager) as session:
            planned = _planned(session, final_training=True, no_measure=parsed.no_measure)
            prepared = size_on_disk(session.output_dir)
    finally:
        progress.close()
    if parsed.json:
        _print_json({**dataclasses.asdict(planned), "prepared_bytes": prepared})
    else:
        command = f"gradts-select run {shlex.quote(str(parsed.run_file))}"
        console.print_plan(Console(), planned, prepared_bytes=prepared, next_commands=[command])
    return 0


def _planned(session: pipeline.Session, *, final_training: bool, no_measure: bool) -> plan.Plan:
    """The plan, with measured times where something has to be trained."""
    planned = plan.make_plan(session, final_training=final_training)
    if planned.nothing_to_do:
        return planned
    rates = measure(session, steps=not no_measure)
    return plan.make_plan(session, final_training=final_training, rates=rates)


def _run(run_file: RunFile, *, quiet: bool, as_json: bool, plain: bool = False) -> int:
    manager, progress = _manager(quiet, plain)
    try:
        session = sessions.open_run_file(run_file, manager)
        _expect(progress, session, ("probe", "rank", "select", "train"), quiet=quiet)
        outcome = pipeline.run(session)
    finally:
        progress.close()
    report = write_report(session, outcome)
    if as_json:
        _print_json(pipeline.outcome_as_dict(outcome))
    else:
        console.print_outcome(
            Console(),
            outcome,
            files={"Report": report},
            next_commands=_training_commands(session, outcome),
        )
    return 0


def _training_commands(session: pipeline.Session, outcome: pipeline.Outcome) -> list[str]:
    """How jiant itself trains a selection."""
    from gradts_plugin.hosts.jiant.host import JiantHost
    from gradts_plugin.hosts.jiant.launch import training_command

    if not isinstance(session.host, JiantHost):
        return []
    return [
        training_command(
            Path(console.shown_path(outcome.config_path)),
            session.host.arguments.with_paths(console.shown_path),
            session.settings.training,
            seed=session.settings.seed,
            output_dir=Path(console.shown_path(session.output_dir / "jiant")),
        )
    ]


def _run_host(arguments: Sequence[str]) -> int:
    own = {argument for argument in arguments if argument in _RUN_FLAGS}
    refused = sorted(own - {"--quiet", "--plain", "--tensorboard"})
    if refused:
        raise ConfigError(
            f"{refused[0]} needs a run file; for a jiant set-up: gradts-select select {refused[0]} "
            "with the same arguments"
        )
    quiet = "--quiet" in own
    manager, progress = _manager(quiet, "--plain" in own)
    try:
        outcome = sessions.run_host(
            [argument for argument in arguments if argument not in own],
            manager,
            tensorboard="--tensorboard" in own,
            on_opened=lambda session: _expect(
                progress, session, ("probe", "rank", "select"), quiet=quiet
            ),
        )
    finally:
        progress.close()
    if outcome is not None:
        console.print_outcome(Console(), outcome)
    return 0


def _session(
    parsed: argparse.Namespace, manager: Any, *, looked_at_in: Path | None = None
) -> pipeline.Session:
    """Opens a jiant set-up; to be looked at only, in a temporary folder."""
    from gradts_plugin.hosts.jiant.arguments import HostArguments

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
            "tensorboard": parsed.tensorboard or None,
        },
        where=f"{path}: gradts",
    )
    output_dir = _output_dir(parsed)
    if looked_at_in is not None:
        store = settings.store or output_dir / "store"
        settings = settings.model_copy(update={"store": store})
        output_dir = looked_at_in
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
    manager, progress = _manager(parsed.quiet, parsed.plain)
    try:
        session = _session(parsed, manager)
        _expect(progress, session, ("probe",), quiet=parsed.quiet)
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
        console.print_next(out, [_same_arguments(parsed, "rank")])
    return 0


def _rank(parsed: argparse.Namespace) -> int:
    manager, progress = _manager(parsed.quiet, parsed.plain)
    try:
        session = _session(parsed, manager)
        _expect(progress, session, ("probe", "rank"), quiet=parsed.quiet)
        ranking = pipeline.rank(session)
    finally:
        progress.close()
    if parsed.json:
        _print_json(pipeline.ranking_as_dict(ranking))
    else:
        out = Console()
        out.print(console.ranking_table(ranking))
        out.print(console.coverage_note(ranking), style="dim", highlight=False)
        console.print_next(out, [_same_arguments(parsed, "select")])
    return 0


def _same_arguments(parsed: argparse.Namespace, name: str) -> str:
    """The command line that was given, for another command."""
    lines = [f"gradts-select {name}"]
    for argument in parsed.arguments[1:]:
        if argument.startswith("--"):
            lines.append(argument)
        else:
            lines[-1] += f" {shlex.quote(argument)}"
    return " \\\n    ".join(lines)


def _select(parsed: argparse.Namespace) -> int:
    if parsed.dry_run:
        return _plan_select(parsed)
    manager, progress = _manager(parsed.quiet, parsed.plain)
    source = parsed.jiant_task_container_config_path
    target = parsed.output_config_path or _output_dir(parsed) / pipeline.REWRITTEN_CONFIG
    sessions.require_other_file(source, target)
    try:
        session = _session(parsed, manager)
        _expect(progress, session, ("probe", "rank", "select"), quiet=parsed.quiet)
        outcome = pipeline.choose(session, target.absolute())
    finally:
        progress.close()
    report = write_report(session, outcome)
    if parsed.json:
        _print_json(pipeline.outcome_as_dict(outcome))
    else:
        commands = _training_commands(session, outcome)
        console.print_outcome(Console(), outcome, files={"Report": report}, next_commands=commands)
    return 0


def _plan_select(parsed: argparse.Namespace) -> int:
    manager, progress = _manager(parsed.quiet, parsed.plain)
    try:
        with tempfile.TemporaryDirectory(prefix="gradts-plan-") as folder:
            session = _session(parsed, manager, looked_at_in=Path(folder))
            planned = _planned(session, final_training=False, no_measure=parsed.no_measure)
    finally:
        progress.close()
    if parsed.json:
        _print_json(dataclasses.asdict(planned))
    else:
        parsed.arguments = [
            argument
            for argument in parsed.arguments
            if argument not in ("--dry-run", "--no-measure")
        ]
        console.print_plan(Console(), planned, next_commands=[_same_arguments(parsed, "select")])
    return 0


def _compare(parsed: argparse.Namespace) -> int:
    from gradts_plugin import comparison, comparison_console
    from gradts_plugin.hosts.jiant.launch import training_command

    compare_file = sessions.read_compare_file(parsed.compare_file)
    progress = comparison_console.ComparisonProgress(
        _progress_console(), quiet=parsed.quiet, plain=parsed.plain
    )
    opened: list[Any] = []
    try:
        compared = comparison.compare(
            compare_file,
            make_plugin_manager([progress]),
            report=progress.say,
            expect=progress.expect_trainings,
            on_opened=opened.append,
        )
    finally:
        progress.close()
    folder, primary = compare_file.output_dir, compare_file.primaries[0]
    page = write_comparison_report(folder)
    if parsed.json:
        _print_json(comparison.comparison_as_dict(compared))
        return 0
    chosen = folder / "methods" / primary / comparison.best_method(compared)
    command = training_command(
        Path(console.shown_path(chosen / pipeline.REWRITTEN_CONFIG)),
        opened[0].host.arguments.with_paths(console.shown_path),
        compare_file.training,
        seed=compare_file.seed,
        output_dir=Path(console.shown_path(chosen / "jiant")),
    )
    comparison_console.print_comparison(
        Console(),
        compared,
        files=[
            *([] if page is None else [page]),
            folder / comparison.COMPARISON_TABLES,
            folder / comparison.COMPARISON,
        ],
        next_commands=[command],
    )
    return 0


@contextlib.contextmanager
def _data_progress(*, quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A bar over the files in a terminal, a line per file elsewhere."""
    import datasets
    from huggingface_hub.utils import logging
    from rich.progress import Progress

    errors = Console(stderr=True, highlight=False, quiet=quiet)
    datasets.disable_progress_bars()
    # Each attempt to reach the hub would be a line.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    with Progress(console=errors, disable=quiet or not errors.is_terminal) as progress:
        bar = progress.add_task("", total=None)

        def report(done: int, total: int, what: str) -> None:
            finished = not what.endswith("loading")
            if finished:
                progress.console.print(what, markup=False, soft_wrap=True)
            progress.update(bar, completed=done, total=total, description="" if finished else what)

        yield report


def _data(parsed: argparse.Namespace) -> int:
    from gradts_plugin.tasks.download import write_data
    from gradts_plugin.tasks.requests import DataRequest

    given = {
        role: getattr(parsed, role)
        for role in ("text_a", "text_b", "label", "tokens", "labels", "choices")
    }
    splits = {split: getattr(parsed, f"{split}_split") for split in ("train", "val", "test")}
    request = DataRequest(
        source=parsed.source,
        tasks=tuple(name for name in parsed.tasks.split(",") if name),
        subset=parsed.config,
        revision=parsed.revision,
        max_rows=parsed.max_rows,
        name=parsed.name,
        kind=parsed.kind,
        metric=parsed.metric,
        positive_label=parsed.positive_label,
        fields={role: name for role, name in given.items() if name},
        splits={split: name for split, name in splits.items() if name},
    )
    with _data_progress(quiet=parsed.quiet) as report:
        tasks = write_data(request, parsed.output, report=report)
    out = Console(highlight=False)
    new = [str(task.config_path) for task in tasks if task.config_path]
    where = "" if new else f"data_dir: {parsed.output}, "
    names = ", ".join(new or [task.name for task in tasks])
    out.print(f"For a run file: {where}tasks: [{names}]", markup=False, soft_wrap=True)
    return 0


def _export(parsed: argparse.Namespace) -> int:
    from gradts_plugin.export.mtdnn import export_selection

    written = export_selection(parsed.run, parsed.output, init_checkpoint=parsed.init_checkpoint)
    out = Console(highlight=False)
    for task, name in written.names.items():
        renamed = "" if name == task else f" (there {name})"
        out.print(f"{task}{renamed}: {written.num_train[task]} training rows", soft_wrap=True)
    out.print(f"Train it with: {written.script} MT_DNN_FOLDER", soft_wrap=True)
    return 0


def _report(parsed: argparse.Namespace) -> int:
    from gradts_plugin.report.comparison_page import write_comparison_page
    from gradts_plugin.report.files import (
        REPORT_HTML,
        holds_comparison,
        read_comparison,
        read_report,
    )
    from gradts_plugin.report.run_page import write_run_page

    path = parsed.output or parsed.run / REPORT_HTML
    if holds_comparison(parsed.run):
        write_comparison_page(read_comparison(parsed.run), path)
    else:
        write_run_page(read_report(parsed.run), path)
    Console(highlight=False).print(f"Report: {path}", soft_wrap=True, markup=False)
    return 0


def _figures(parsed: argparse.Namespace) -> int:
    from gradts_plugin.report.figures.comparison import comparison_pictures
    from gradts_plugin.report.figures.files import write_pictures
    from gradts_plugin.report.figures.run import pictures
    from gradts_plugin.report.files import holds_comparison, read_comparison, read_report

    drawn = (
        comparison_pictures(read_comparison(parsed.run))
        if holds_comparison(parsed.run)
        else pictures(read_report(parsed.run))
    )
    folder = parsed.output or parsed.run / "figures"
    out = Console(highlight=False)
    for path in write_pictures(drawn, folder, parsed.format):
        out.print(str(path), soft_wrap=True, markup=False)
    return 0


def _demo(parsed: argparse.Namespace) -> int:
    from gradts_plugin.demo import run_file_values

    values = run_file_values(parsed.output_dir.absolute(), seed=parsed.seed)
    return _run(parse_settings(RunFile, values, where="demo"), quiet=parsed.quiet, as_json=False)


def _doctor(_parsed: argparse.Namespace) -> int:
    from gradts_plugin.doctor import diagnose, render

    diagnosis = diagnose()
    Console().print(render(diagnosis), crop=False)
    return 0 if diagnosis.usable else 1


def _print_json(values: Any) -> None:
    sys.stdout.write(json.dumps(values, indent=2) + "\n")
