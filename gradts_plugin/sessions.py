"""Opens sessions: from a run file, or from an existing jiant set-up."""

from __future__ import annotations

import contextlib
import copy
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import pluggy

from gradts_plugin import pipeline
from gradts_plugin.errors import ConfigError
from gradts_plugin.logs import attach_logs, check_logs
from gradts_plugin.plugins import collect_registry
from gradts_plugin.records import Selection, TrainingPlan, TrainStep
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.reading import read_json, read_yaml
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores.computed import ComputedValues
from gradts_plugin.stores.files import write_json_atomic
from gradts_plugin.stores.importances import GradientStore
from gradts_plugin.stores.trainings import TrialLedger

if TYPE_CHECKING:
    from gradts_plugin.hosts.jiant.host import JiantHost

#: Marks an output folder and says what run it holds.
RUN_RECORD = "run.json"

#: Settings that do not make another run of it: what they change is stored under a key of its own.
_FREE_TO_CHANGE = {
    "enabled",
    "method",
    "faithful",
    "ranking",
    "threshold",
    "trial",
    "fine_grained",
    "top",
    "autosem",
    "tensorboard",
    "primaries",
    "methods",
    "evaluation_seeds",
    "oracle",
}


def read_run_file(path: Path) -> RunFile:
    """Reads a run file; relative paths in it start at its folder.

    Raises:
        ConfigError: it is missing, broken or wrong.
    """
    values = read_yaml(path)
    run_file = parse_settings(RunFile, values, where=str(path))
    return with_absolute_paths(run_file, path.absolute().parent)


def read_compare_file(path: Path) -> CompareFile:
    """Reads a compare file; relative paths in it start at its folder.

    Raises:
        ConfigError: it is missing, broken or wrong.
    """
    compare_file = parse_settings(CompareFile, read_yaml(path), where=str(path))
    return with_absolute_paths(compare_file, path.absolute().parent)


RunFileT = TypeVar("RunFileT", bound=RunFile)


def with_absolute_paths(run_file: RunFileT, base: Path) -> RunFileT:
    """A copy of a run file whose relative paths start at a folder.

    Args:
        run_file: the run.
        base: an absolute path.
    """
    model = run_file.model.name_or_path
    if (base / model).is_dir():
        run_file = run_file.model_copy(
            update={"model": run_file.model.model_copy(update={"name_or_path": str(base / model)})}
        )
    tasks = tuple(str(base / name) if (base / name).is_file() else name for name in run_file.tasks)
    update: dict[str, Any] = {"tasks": tasks, "output_dir": base / run_file.output_dir}
    if run_file.data_dir is not None:
        update["data_dir"] = base / run_file.data_dir
    if run_file.store is not None:
        update["store"] = base / run_file.store
    return run_file.model_copy(update=update)


def open_run_file(
    run_file: RunFile,
    manager: pluggy.PluginManager,
    *,
    prepared_in: Path | None = None,
    check_task_names: Callable[[Sequence[str]], None] = lambda _: None,
) -> pipeline.Session:
    """Prepares jiant for a run file and opens the session.

    Args:
        run_file: the run, with absolute paths.
        manager: the plugins.
        prepared_in: another output folder, whose tokenised tasks are used where they fit.
        check_task_names: may refuse the names of the tasks before anything is written.

    Raises:
        GradTSError: see the parts; nothing is lost.
    """
    from gradts_plugin.hosts.jiant.encoder import check_encoder
    from gradts_plugin.hosts.jiant.preparing.checking import check_data
    from gradts_plugin.hosts.jiant.preparing.prepare import link_prepared, prepare
    from gradts_plugin.hosts.jiant.preparing.task_values import read_task_configs

    _check_names(manager, run_file)
    attach_tasks(manager)
    extra: dict[str, Path] = {}
    for named in reversed(manager.hook.extend_task_configs()):
        extra |= named
    check_output_dir(run_file.output_dir, run_file)
    _open_stores(run_file, run_file.output_dir)
    encoder = check_encoder(run_file.model)
    tasks = read_task_configs(run_file, extra)
    check_task_names(list(tasks))
    pipeline.candidate_tasks(run_file, list(tasks))
    check_data(run_file, tasks)
    # Only now is anything written.
    claim_output_dir(run_file.output_dir, run_file)
    attach_logs(manager, run_file, run_file.output_dir)
    log_file = run_file.output_dir / "host.log"
    if prepared_in is not None:
        link_prepared(prepared_in, run_file, tasks)
    start = time.perf_counter()
    with _phase(manager, "load", len(tasks)):
        config, arguments = prepare(
            run_file, tasks, encoder=encoder, hook=manager.hook, log_file=log_file
        )
    load_seconds = time.perf_counter() - start
    given = run_file.model_dump(include=set(GradTSSettings.model_fields), exclude_unset=True)
    given["training"] = run_file.training.model_dump(exclude_unset=True)  # its length at least
    settings = GradTSSettings.model_validate(given)
    session = open_session(
        config, arguments, settings, manager, output_dir=run_file.output_dir, log_file=log_file
    )
    session.seconds["load"] = load_seconds
    return session


def reopen(
    opened: pipeline.Session, settings: GradTSSettings, *, output_dir: Path
) -> pipeline.Session:
    """A session with other settings on the same host configuration, sharing the stores.

    Args:
        opened: a session on the same tasks and encoder.
        settings: the other settings; their `store` is not looked at.
        output_dir: where the new session writes.
    """
    shared = settings.model_copy(update={"store": opened.store.root.parent})
    host = cast("JiantHost", opened.host)  # every session of this module has one
    return open_session(
        host.container_config,
        host.arguments,
        shared,
        opened.manager,
        output_dir=output_dir,
        log_file=opened.output_dir / "host.log",
    )


@contextlib.contextmanager
def run_file_to_plan(
    run_file: RunFile, manager: pluggy.PluginManager
) -> Iterator[pipeline.Session]:
    """Opens a run file in a temporary folder, to look at it: its output folder stays untouched.

    What the output folder or the store holds already is found.

    Raises:
        GradTSError: as `open_run_file`.
    """
    output_dir = run_file.output_dir
    check_output_dir(output_dir, run_file)
    with tempfile.TemporaryDirectory(prefix="gradts-plan-") as folder:
        elsewhere = run_file.model_copy(
            update={"output_dir": Path(folder), "store": run_file.store or output_dir / "store"}
        )
        yield open_run_file(elsewhere, manager, prepared_in=output_dir)


def open_session(
    container_config: Mapping[str, Any],
    arguments: Any,
    settings: GradTSSettings,
    manager: pluggy.PluginManager,
    *,
    output_dir: Path,
    log_file: Path | None = None,
) -> pipeline.Session:
    """Opens a session on a jiant task-container config.

    Args:
        container_config: the config, without its `gradts` block's record of an earlier selection.
        arguments: `hosts.jiant.arguments.HostArguments`.
        settings: the settings.
        manager: the plugins.
        output_dir: where the session writes.
        log_file: where jiant's output goes; None: nowhere.
    """
    from gradts_plugin.hosts.jiant.host import JiantHost

    registry = _check_names(manager, settings)
    attach_tasks(manager)

    def on_step(plan: TrainingPlan, step: TrainStep) -> None:
        manager.hook.after_train_step(plan=plan, step=step)

    def rewrite(config: Mapping[str, Any], selection: Selection, folder: Path) -> dict[str, Any]:
        rewritten: dict[str, Any] = manager.hook.rewrite_config(
            config=config, selection=selection, output_dir=folder
        )
        return rewritten

    store, ledger, computed = _open_stores(settings, output_dir)
    attach_logs(manager, settings, output_dir)
    return pipeline.Session(
        host=JiantHost(
            container_config,
            arguments,
            settings,
            work_dir=output_dir,
            on_step=on_step,
            rewrite_config=rewrite,
            log_file=log_file,
        ),
        settings=settings,
        manager=manager,
        registry=registry,
        store=store,
        ledger=ledger,
        computed=computed,
        output_dir=output_dir,
    )


def _open_stores(
    settings: GradTSSettings, output_dir: Path
) -> tuple[GradientStore, TrialLedger, ComputedValues]:
    root = settings.store or output_dir / "store"
    return (
        GradientStore(root / "importances"),
        TrialLedger(root / "trainings"),
        ComputedValues(root / "computed"),
    )


def read_container_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a jiant task-container config and takes its `gradts` block out.

    A config that a selection wrote holds a record of what it changed; the original is restored
    first, so that selecting twice equals selecting once.

    Returns:
        The container config as it was before any selection, and the block's settings.

    Raises:
        ConfigError: the file is missing or broken.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: expected a task-container config, found {type(values).__name__}"
        )
    config = copy.deepcopy(values)
    block = config.pop("gradts", {})
    if not isinstance(block, dict):
        raise ConfigError(f"{path}: gradts: expected a mapping, found {type(block).__name__}")
    record = block.pop("selection", None)
    if record is not None:
        try:
            original = record["original"]
            config["task_run_config"] = {**config["task_run_config"], **original["task_run_config"]}
            config["sampler_config"] = original["sampler_config"]
            config["global_train_config"] = original["global_train_config"]
            for name, folder in original["train_caches"].items():
                config["task_cache_config_dict"][name]["train"] = folder
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{path}: gradts.selection is damaged ({error}): the original config cannot be "
                "restored; select on the config it was made from"
            ) from error
    return config, block


def require_other_file(source: Path, target: Path) -> None:
    """Refuses to write the rewritten config over the config it is made from.

    Raises:
        ConfigError: they are the same file.
    """
    if source.resolve() == target.resolve():
        raise ConfigError(
            f"the new config would replace the input config {source}, which is never changed; "
            "choose another --output_config_path or --output_dir"
        )


def merge_settings(
    block: Mapping[str, Any],
    gradts_config: Path | None,
    flags: Mapping[str, Any],
    *,
    where: str,
) -> GradTSSettings:
    """Settings from the block, a YAML file over it, and flags over both.

    Raises:
        ConfigError: a key or value is wrong.
    """
    values = dict(block)
    if gradts_config is not None:
        given = read_yaml(gradts_config)
        if not isinstance(given, Mapping):
            raise ConfigError(f"{gradts_config}: expected a mapping of settings")
        where = str(gradts_config)
        values |= given.get("gradts", given) if set(given) == {"gradts"} else given
    values |= {key: value for key, value in flags.items() if value is not None}
    return parse_settings(GradTSSettings, values, where=where)


def check_output_dir(folder: Path, run_file: RunFile) -> None:
    """Checks that an output folder is free, or this run's already; writes nothing.

    Raises:
        ConfigError: the folder holds another run or other files.
    """
    wanted = _identity(run_file)
    record = folder / RUN_RECORD
    if record.exists():
        found = read_json(record)
        if not isinstance(found, dict):
            raise ConfigError(f"{record} is damaged: expected the record of a run")
        for key in sorted({*found, *wanted}):
            if found.get(key) != wanted.get(key):
                raise ConfigError(
                    f"output_dir {folder} holds another run: its {key} is "
                    f"{_short(found.get(key))}, here it is {_short(wanted.get(key))}; choose "
                    f"another output_dir (set store to share what is already probed)"
                )
        return
    if folder.is_file():
        raise ConfigError(f"output_dir {folder} is a file")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"output_dir {folder} holds other files; choose an empty or new folder")


def claim_output_dir(folder: Path, run_file: RunFile) -> None:
    """Marks an output folder as this run's (see `check_output_dir`).

    Raises:
        StoreError: the disk is full, read-only or not permitted.
    """
    if not (folder / RUN_RECORD).exists():
        write_json_atomic(folder / RUN_RECORD, _identity(run_file))


def _identity(run_file: RunFile) -> dict[str, Any]:
    """What makes two runs the same run, as JSON values."""
    return run_file.model_dump(mode="json", exclude=_FREE_TO_CHANGE)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _check_names(manager: pluggy.PluginManager, settings: GradTSSettings) -> Any:
    """Refuses unknown measures, correlations and methods before anything runs."""
    registry = collect_registry(manager)
    registry.measure(settings.probing.importance)
    registry.correlation(settings.ranking.correlation)
    registry.ranker(settings.ranking.ranker)
    registry.method(settings.method)
    check_logs(settings)
    return registry


def attach_tasks(manager: pluggy.PluginManager) -> None:
    """Lets jiant load the tasks that plugins know, and custom task configs, in this process."""
    from gradts_plugin.hosts.jiant.tasks.attaching import attach

    def load_task(config: Mapping[str, Any], base_path: Path) -> Any:
        return manager.hook.load_task(config=config, base_path=base_path)

    attach(load_task)


@contextlib.contextmanager
def _phase(manager: pluggy.PluginManager, name: str, num_units: int) -> Iterator[None]:
    manager.hook.before_phase(phase=name, num_units=num_units)
    start = time.perf_counter()
    yield
    manager.hook.after_phase(phase=name, seconds=time.perf_counter() - start)


def run_host(
    arguments: Sequence[str],
    manager: pluggy.PluginManager,
    *,
    tensorboard: bool = False,
    on_opened: Callable[[pipeline.Session], None] = lambda _: None,
) -> pipeline.Outcome | None:
    """`gradts-select run <jiant's runscript arguments>`: trains as jiant does, phases added.

    Args:
        arguments: jiant's own, with or without its mode (run, continue, run_with_continue), and
            optionally `--gradts_config FILE`.
        manager: the plugins.
        tensorboard: set the setting of that name.
        on_opened: told of the session before anything runs.

    Returns:
        What was selected; None where nothing was: plain jiant, or a run that was continued.

    Raises:
        GradTSError: see the parts.
    """
    from gradts_plugin.hosts.jiant import runs

    mode, rest, gradts_config = runs.split_arguments(arguments)
    attach_tasks(manager)
    if mode == "continue":
        _continue_host(rest, gradts_config)
        return None
    configuration = runs.parse_run_arguments(rest)
    config_path = Path(configuration.jiant_task_container_config_path)
    config, block = read_container_config(config_path)
    if gradts_config is None and not block.get("enabled", bool(block)):
        runs.run_plainly(mode, rest)
        return None
    flags = {"tensorboard": tensorboard or None}
    settings = merge_settings(block, gradts_config, flags, where=f"{config_path}: gradts")
    if not settings.enabled:
        runs.run_plainly(mode, rest)
        return None
    output_dir = Path(configuration.output_dir).absolute() / "gradts"
    require_other_file(config_path, output_dir / pipeline.REWRITTEN_CONFIG)
    session = open_session(
        config,
        runs.host_arguments(configuration),
        settings,
        manager,
        output_dir=output_dir,
        log_file=output_dir / "host.log",
    )
    on_opened(session)
    outcome = pipeline.choose(session)
    plan = pipeline.final_plan(session, outcome.selection)

    def observe(step: TrainStep) -> None:
        manager.hook.after_train_step(plan=plan, step=step)

    with _phase(manager, "train", 1):
        runs.run_mended(
            mode,
            configuration,
            container_config_path=outcome.config_path,
            settings=settings,
            observe=observe,
        )
    return outcome


def _continue_host(arguments: Sequence[str], gradts_config: Path | None) -> None:
    """Resumes a jiant checkpoint; its run's own config says whether the plugin is enabled."""
    from gradts_plugin.hosts.jiant import runs

    configuration, checkpoint_path = runs.checkpointed_run(arguments)
    config_path = Path(configuration.jiant_task_container_config_path)
    _, block = read_container_config(config_path)
    if gradts_config is None and not block.get("enabled", bool(block)):
        runs.run_plainly("continue", arguments)
        return
    settings = merge_settings(block, gradts_config, {}, where=f"{config_path}: gradts")
    runs.resume_mended(configuration, checkpoint_path, settings=settings)
