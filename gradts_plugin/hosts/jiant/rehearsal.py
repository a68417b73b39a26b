"""One row of each kind of task, encoded and differentiated before anything else is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch

from gradts_plugin.errors import GradTSError, HostError
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.container import ContainerConfig
from gradts_plugin.hosts.jiant.encoder import read_weights
from gradts_plugin.hosts.jiant.faults.batch_length import trim_batch
from gradts_plugin.hosts.jiant.faults.unlabelled_batches import defined_tag_losses
from gradts_plugin.hosts.jiant.pretrained import (
    load_pretrained,
    load_tokenizer,
    read_config,
    reason,
)
from gradts_plugin.hosts.jiant.quiet import silenced
from gradts_plugin.hosts.jiant.training.samplers import TaskDict

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main import preprocessing
from jiant.proj.main.components import container_setup
from jiant.proj.main.components.container_setup import TaskmodelsConfig
from jiant.proj.main.modeling import model_setup
from jiant.proj.main.modeling.primary import JiantTransformersModelFactory, wrap_jiant_forward
from transformers import AutoModelForPreTraining

#: A tokenised row as jiant's datasets and caches hold it: `data_row` and `metadata`.
Row = Mapping[str, Any]

#: A task and its first training examples.
Sample = tuple[Any, Sequence[Any]]


def rehearse(encoder: str, max_seq_length: int, samples: Sequence[Sample]) -> None:
    """Tokenises some examples of each task, and runs one of each kind; writes nothing.

    Args:
        encoder: from `check_encoder`.
        max_seq_length: tokens of a row.
        samples: the tasks.

    Raises:
        HostError: the encoder cannot be loaded whole, or does not fit the tokenizer or a task.
    """
    tasks = {task.name: task for task, _ in samples}
    with silenced(None), torch.random.fork_rng():
        tokenizer = load_tokenizer(encoder)
        load_pretrained(AutoModelForPreTraining, encoder)  # as it will be exported
        heads = TaskmodelsConfig({name: name for name in tasks}, None)
        model = _explained(
            f"encoder {encoder!r}", model_setup.setup_jiant_model, encoder, None, tasks, heads
        )
        require_fitting_encoder(model, encoder)
        spec = JiantTransformersModelFactory.build_featurization_spec(
            read_config(encoder).model_type, max_seq_length
        )
        rows = {
            task.name: _explained(
                f"task {task.name!r} on encoder {encoder!r}",
                lambda task=task, examples=examples: (
                    preprocessing.convert_examples_to_dataset(
                        task=task,
                        examples=examples,
                        feat_spec=spec,
                        tokenizer=tokenizer,
                        phase="train",
                    ).data
                ),
            )
            for task, examples in samples
        }
        _require_known_tokens(tokenizer, encoder, [row for found in rows.values() for row in found])
        run_rows(model, encoder, {name: (tasks[name], found[0]) for name, found in rows.items()})


def rehearse_setup(config: ContainerConfig, arguments: HostArguments, *, alone: str) -> None:
    """Builds jiant's own container and model, and runs a row of each task; writes nothing.

    Args:
        config: a checked task-container config.
        arguments: jiant's own.
        alone: a task that is also trained alone.

    Raises:
        GradTSError: says what does not fit.
    """
    encoder, mode = arguments.hf_pretrained_model_name_or_path, arguments.model_load_mode
    with silenced(None), torch.random.fork_rng():
        make = container_setup.create_jiant_task_container_from_dict
        container = _explained("the task-container config", make, config, False)
        _explained("sampler_config", container.task_sampler.pop)
        _require_alike(container)
        weights = read_weights(arguments.model_path)
        model = _loaded(container.task_dict, container.taskmodels_config, arguments, weights)
        require_fitting_encoder(model, encoder)
        _require_encoder_in(weights, model.encoder, arguments)
        rows = {
            name: (task, _first_row(task, container.task_cache_dict[name]))
            for name, task in model.task_dict.items()
            if name in model.task_to_taskmodel_map
        }
        run_rows(model, encoder, rows)
        if not mode.startswith("from_transformers") and alone in rows:
            # Heads of tasks that are not trained are not there, and must not be missed.
            own = TaskmodelsConfig({alone: model.task_to_taskmodel_map[alone]}, None)
            _loaded({alone: container.task_dict[alone]}, own, arguments, weights)


def _loaded(
    tasks: TaskDict, heads: TaskmodelsConfig, arguments: HostArguments, weights: dict[str, Any]
) -> Any:
    """jiant's model of some tasks, with the weights that it starts from."""
    encoder = arguments.hf_pretrained_model_name_or_path
    setup = model_setup.setup_jiant_model
    model = _explained(f"encoder {encoder!r}", setup, encoder, None, tasks, heads)
    where = (
        f"model_path {arguments.model_path} with model_load_mode {arguments.model_load_mode!r} "
        f"for {', '.join(tasks)}"
    )
    _explained(where, model_setup.delegate_load, model, weights, arguments.model_load_mode)
    return model


def _require_encoder_in(weights: Mapping[str, Any], encoder: Any, arguments: HostArguments) -> None:
    """Refuses weights of another encoder; jiant would leave them out without a word."""
    path, prefixes = arguments.model_path, {"encoder"}  # as jiant itself names them
    if arguments.model_load_mode.startswith("from_transformers"):
        kind = encoder.config.model_type
        prefixes = {kind, kind.split("-")[0], encoder.base_model_prefix}
    named = [name.partition(".") for name in weights]
    inside = {name for prefix, _, name in named if prefix in prefixes}
    missing = [name for name in encoder.state_dict() if name not in inside and "pooler" not in name]
    if missing:
        raise HostError(
            f"model_path {path} has no weights for {missing[0]} of the encoder, and {len(missing)} "
            "are missing in all; it must be exported from this encoder, or needs another "
            "model_load_mode"
        )


def _require_alike(container: Any) -> None:
    """Refuses a head that serves tasks of several kinds: jiant makes it for the first alone."""
    served: dict[str, tuple[str, Any]] = {}
    for name, head in container.taskmodels_config.task_to_taskmodel_map.items():
        task = container.task_dict[name]
        needed = (task.TASK_TYPE, len(getattr(task, "LABELS", ())))
        first, kind = served.setdefault(head, (name, needed))
        if kind != needed:
            raise HostError(
                f"task_to_taskmodel_map: {first!r} and {name!r} share the head {head!r}, but not "
                "their kind and number of labels"
            )


def _first_row(task: Any, caches: Mapping[str, Any]) -> Row:
    """A training row, or a dev row of a task that is only scored; the others are looked at, too."""
    rows: dict[str, Any] = {}
    for phase, cache in caches.items():
        where = f"task {task.name!r}: its {phase} cache"
        if not len(cache):
            raise HostError(f"{where} has no rows")
        rows[phase] = _explained(where, next, cache.iter_all())
        if phase != "val_labels":
            _require_made_for(task, rows[phase]["data_row"], where)
    if "val_labels" in caches and len(caches["val_labels"]) != len(caches.get("val", ())):
        raise HostError(
            f"task {task.name!r}: {len(caches['val_labels'])} val_labels do not fit "
            f"{len(caches.get('val', ()))} rows of its val cache"
        )
    if "train" not in rows and "val" not in rows:
        raise HostError(f"task {task.name!r} has neither a train cache nor a val cache")
    return cast(Row, rows.get("train", rows.get("val")))


def _require_made_for(task: Any, row: Any, where: str) -> None:
    """Refuses rows of another task of jiant's: a module makes rows for its own, or a template."""
    made_by = type(row).__module__
    kinds = (type(task), getattr(task, "DataRow", object))
    own = {found.__module__ for kind in kinds for found in kind.__mro__}
    if made_by not in own and ".templates." not in made_by:
        raise HostError(f"{where} was made for another task, of {made_by}")


def run_rows(model: Any, encoder: str, rows: Mapping[str, tuple[Any, Row]]) -> None:
    """Encodes and differentiates rows: of tasks of one kind, the first.

    Args:
        model: jiant's.
        encoder: its name, for the messages.
        rows: a task's name -> the task and a row of it, as long as `max_seq_length`.

    Raises:
        HostError: the encoder has no place for the row, or something breaks or is not finite.
    """
    kinds = set()
    for name, (task, row) in rows.items():
        _require_room(model.encoder, encoder, name, row["data_row"])
        kind = (task.TASK_TYPE, _segment_types(row["data_row"]))
        if kind not in kinds:
            kinds.add(kind)
            where = f"task {name!r} on encoder {encoder!r}"
            _explained(where, _differentiate, model, task, row, where)


def require_fitting_encoder(model: Any, encoder: str) -> None:
    """Refuses weights that are no numbers, and more tokens than the encoder has embeddings.

    Args:
        model: jiant's.
        encoder: its name, for the message.

    Raises:
        HostError: there are some.
    """
    for name, weight in model.encoder.named_parameters():
        if not weight.isfinite().all():
            raise HostError(f"encoder {encoder!r}: weights of {name} are NaN or infinite")
    known = model.encoder.get_input_embeddings().num_embeddings
    highest = max(model.tokenizer.get_vocab().values(), default=0)
    if highest >= known:
        raise HostError(
            f"encoder {encoder!r}: the ids of its tokenizer go up to {highest}, but it has "
            f"embeddings for {known} tokens; resize them (resize_token_embeddings) and save it anew"
        )


def _require_known_tokens(tokenizer: Any, encoder: str, rows: Sequence[Row]) -> None:
    """Refuses a tokenizer that knows no word of any text."""
    special = tokenizer.all_special_ids
    inputs = [row["data_row"].input_ids for row in rows if hasattr(row["data_row"], "input_ids")]
    if inputs and all(np.isin(ids, special).all() for ids in inputs):
        raise HostError(
            f"the tokenizer of encoder {encoder!r} knows no word of the tasks' first "
            f"{len(inputs)} rows: all tokens are unknown; is it the encoder's?"
        )


def _require_room(encoder: Any, encoder_name: str, task_name: str, row: Any) -> None:
    """Refuses rows with more positions or segment types than the encoder has."""
    positions = getattr(encoder.embeddings, "position_embeddings", None)
    length = np.shape(row.input_ids)[-1] if hasattr(row, "input_ids") else 0
    if positions is not None:
        # roberta counts from behind its padding token.
        before = 0 if positions.padding_idx is None else positions.padding_idx + 1
        if length > positions.num_embeddings - before:
            raise HostError(
                f"task {task_name!r}: max_seq_length is {length}, but encoder {encoder_name!r} has "
                f"{positions.num_embeddings - before} positions; give at most so many"
            )
    types = getattr(encoder.embeddings, "token_type_embeddings", None)
    used = _segment_types(row)
    if types is not None and used > types.num_embeddings:
        raise HostError(
            f"task {task_name!r}: its pairs have {used} segment types, but encoder "
            f"{encoder_name!r} has {types.num_embeddings} (type_vocab_size); choose another encoder"
        )


def _segment_types(row: Any) -> int:
    return 1 + int(np.max(getattr(row, "segment_ids", 0), initial=0))


def _differentiate(model: Any, task: Any, row: Row, where: str) -> None:
    batch, _ = task.collate_fn([row])
    model.zero_grad()
    with defined_tag_losses():
        loss = wrap_jiant_forward(model, trim_batch(batch), task, compute_loss=True).loss
    loss.backward()
    gradients = [each.grad for each in model.encoder.parameters() if each.grad is not None]
    if not gradients:
        raise HostError(f"{where}: the loss does not depend on the encoder")
    if not all(bool(found.isfinite().all()) for found in (loss, *gradients)):
        raise HostError(f"{where}: the loss of the first row, or its gradient, is NaN or infinite")


def _explained(where: str, work: Any, *arguments: Any) -> Any:
    """What a step of jiant or transformers answers; whatever it raises becomes one line."""
    try:
        return work(*arguments)
    except GradTSError:
        raise
    except Exception as error:  # whatever does not fit breaks in its own way
        raise HostError(f"{where} cannot be run: {reason(error)}") from error
