"""One row of each kind of task, encoded and differentiated before anything else is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gradts_plugin.errors import GradTSError, HostError
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.faults.batch_length import trim_batch
from gradts_plugin.hosts.jiant.pretrained import load_tokenizer, read_config, reason
from gradts_plugin.hosts.jiant.quiet import silenced

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main import preprocessing
from jiant.proj.main.components.container_setup import TaskmodelsConfig
from jiant.proj.main.modeling import model_setup
from jiant.proj.main.modeling.primary import JiantTransformersModelFactory, wrap_jiant_forward

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
        kind = (task.TASK_TYPE, int(np.max(row["data_row"].segment_ids, initial=0)))
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
    if len(model.tokenizer) > known:
        raise HostError(
            f"encoder {encoder!r}: its tokenizer has {len(model.tokenizer)} tokens, the encoder "
            f"has embeddings for {known}; resize them (resize_token_embeddings) and save it anew"
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
    used = int(np.max(getattr(row, "segment_ids", 0), initial=0)) + 1
    if types is not None and used > types.num_embeddings:
        raise HostError(
            f"task {task_name!r}: its pairs have {used} segment types, but encoder "
            f"{encoder_name!r} has {types.num_embeddings} (type_vocab_size); choose another encoder"
        )


def _differentiate(model: Any, task: Any, row: Row, where: str) -> None:
    batch, _ = task.collate_fn([row])
    model.zero_grad()
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
