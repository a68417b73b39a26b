"""A Transformer of some thousand weights with the instances of planted tasks, for fast tests.

It is built like a bert encoder as far as a probe looks, so that probes are real and take
milliseconds. Nothing is loaded, and transformers is not imported.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from types import SimpleNamespace
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gradts_plugin.records import IntArray, ProbeBatch, TrainingResult

NUM_LAYERS, NUM_HEADS, _WIDTH, _VOCABULARY, _LONGEST, _NUM_CHOICES = 2, 4, 16, 40, 8, 3

#: Token id of padding, and the label of tokens that have none.
_PADDING, _NO_TAG = 0, -100

Phase = Literal["train", "val"]


@dataclass(frozen=True)
class FakeTask:
    """A planted task.

    Attributes:
        name: unique within a host.
        kind: classification, regression, tagging or multiple_choice.
        num_train: training instances.
        num_dev: dev instances.
        topic: decides which words make which label: tasks of one topic are related; empty: the
            task's own.
        has_test: a labelled test split is scored after each training, too.
        one_label: all training instances have one label.
    """

    name: str
    kind: str = "classification"
    num_train: int = 12
    num_dev: int = 6
    topic: str = ""
    has_test: bool = False
    one_label: bool = False


#: One task of each kind; `related` is like the first.
ONE_OF_EACH = (
    FakeTask("goal", topic="goal", has_test=True),
    FakeTask("related", topic="goal"),
    FakeTask("words", "tagging", num_train=9),
    FakeTask("degree", "regression"),
    FakeTask("ending", "multiple_choice"),
)


@dataclass(frozen=True)
class Instances:
    """Some instances of a task, padded to one length.

    Attributes:
        tokens: int64 (N, T), or (N, C, T) for C choices; 0 where there is no token.
        labels: as in `ProbeBatch`.
    """

    tokens: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Number of instances."""
        return len(self.tokens)

    @property
    def mask(self) -> Tensor:
        """Which tokens are no padding."""
        return self.tokens != _PADDING

    def lengths(self) -> Tensor:
        """Tokens of each instance, of its longest choice."""
        return self.mask.sum(dim=-1).reshape(len(self), -1).amax(dim=1)

    def at(self, positions: Sequence[int]) -> Instances:
        """Some of them, padded no further than they need."""
        tokens, labels = self.tokens[list(positions)], self.labels[list(positions)]
        longest = int((tokens != _PADDING).sum(dim=-1).max())
        return Instances(
            tokens[..., :longest], labels[:, :longest] if labels.dim() == 2 else labels
        )


@cache
def planted(task: FakeTask, phase: Phase) -> Instances:
    """The instances of a task, the same whenever they are asked for."""
    count = task.num_train if phase == "train" else task.num_dev
    drawn = _generator(f"{task.name} {phase}")
    shape = (count, _NUM_CHOICES) if task.kind == "multiple_choice" else (count,)
    tokens = torch.randint(1, _VOCABULARY, (*shape, _LONGEST), generator=drawn)
    lengths = torch.randint(3, _LONGEST + 1, (*shape, 1), generator=drawn)
    tokens[torch.arange(_LONGEST) >= lengths] = _PADDING
    value_of_word = torch.randn(_VOCABULARY, generator=_generator(task.topic or task.name))
    value_of_word[_PADDING] = 0
    values = value_of_word[tokens].sum(dim=-1) / lengths.squeeze(-1)
    if task.kind == "tagging":
        tags = (value_of_word[tokens] > 0).long()
        return Instances(tokens, tags.masked_fill(tokens == _PADDING, _NO_TAG))
    if task.kind == "multiple_choice":
        return Instances(tokens, values.argmax(dim=-1))
    if task.one_label:
        values = torch.ones_like(values)
    return Instances(tokens, values if task.kind == "regression" else (values > 0).long())


def _generator(text: str) -> torch.Generator:
    return torch.Generator().manual_seed(zlib.crc32(text.encode()))


class _Attention(nn.Module):
    """Self-attention of several heads, with bert's names for its parts."""

    def __init__(self) -> None:
        super().__init__()
        projections = {name: nn.Linear(_WIDTH, _WIDTH) for name in ("query", "key", "value")}
        self.add_module("self", nn.ModuleDict(projections))
        self.output = nn.ModuleDict({"dense": nn.Linear(_WIDTH, _WIDTH)})

    def forward(self, states: Tensor, padding: Tensor) -> Tensor:
        """States (B, T, d) and where padding is, (B, T), to states (B, T, d)."""
        query, key, value = (
            projection(states).unflatten(-1, (NUM_HEADS, -1)).transpose(1, 2)
            for projection in self.get_submodule("self").children()
        )
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        attended = scores.masked_fill(padding[:, None, None], -1e4).softmax(dim=-1) @ value
        return states + torch.tanh(self.output["dense"](attended.transpose(1, 2).flatten(2)))


class FakeEncoder(nn.Module):
    """Embeddings and layers of self-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(model_type="bert", num_attention_heads=NUM_HEADS)
        self.embeddings = nn.Embedding(_VOCABULARY, _WIDTH)
        layers = [nn.ModuleDict({"attention": _Attention()}) for _ in range(NUM_LAYERS)]
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(layers)})

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (B, T) to hidden states (B, T, d)."""
        states: Tensor = self.embeddings(tokens)
        for layer in self.encoder.get_submodule("layer").children():
            states = layer.get_submodule("attention")(states, tokens == _PADDING)
        return states


class FakeModel(nn.Module):
    """The encoder, the same for every seed, with fresh heads for some tasks."""

    def __init__(self, tasks: Sequence[FakeTask], seed: int) -> None:
        super().__init__()
        # The CPU's generator only: for every other device, torch would write down a traceback.
        with torch.random.fork_rng([]):
            torch.default_generator.manual_seed(0)
            self.encoder = FakeEncoder()
            torch.default_generator.manual_seed(seed)
            self.heads = nn.ModuleList(nn.Linear(_WIDTH, _num_outputs(task)) for task in tasks)
        self._places = {task.name: place for place, task in enumerate(tasks)}

    def hidden_states(self, instances: Instances) -> Tensor:
        """Last hidden states, (B, T, d) or (B, C, T, d)."""
        if instances.tokens.dim() == 2:
            return cast("Tensor", self.encoder(instances.tokens))
        # One call per choice: a probe needs one row per instance in each.
        return torch.stack([self.encoder(tokens) for tokens in instances.tokens.unbind(1)], dim=1)

    def instance_losses(self, task: FakeTask, instances: Instances) -> Tensor:
        """Each instance's own mean loss, (B,)."""
        head = self.heads[self._places[task.name]]
        states = self.hidden_states(instances)
        if task.kind == "tagging":
            losses = functional.cross_entropy(
                head(states).transpose(1, 2), instances.labels, reduction="none"
            )
            return losses.sum(dim=1) / instances.mask.sum(dim=1)
        weights = instances.mask.unsqueeze(-1) / instances.mask.sum(dim=-1)[..., None, None]
        logits: Tensor = head((states * weights).sum(dim=-2))
        if task.kind == "regression":
            return functional.mse_loss(logits.squeeze(-1), instances.labels, reduction="none")
        logits = logits.squeeze(-1) if task.kind == "multiple_choice" else logits
        return functional.cross_entropy(logits, instances.labels, reduction="none")


def _num_outputs(task: FakeTask) -> int:
    return 1 if task.kind in ("regression", "multiple_choice") else 2


@dataclass(frozen=True)
class FakeTarget:
    """A lent model (see `records.ProbeTarget`)."""

    model: FakeModel
    encoder: FakeEncoder
    result: TrainingResult
    own_task: str
    tasks: Mapping[str, FakeTask]

    def batches(
        self,
        *,
        batch_size: int,
        max_instances: int | None,
        seed: int,
        task_name: str | None = None,
        phase: Phase = "train",
    ) -> Iterator[ProbeBatch]:
        """Yields a task's instances, sorted by length."""
        task = self.tasks[task_name or self.own_task]
        instances = planted(task, phase)
        lengths = instances.lengths()
        wanted = sorted(
            sample(len(instances), max_instances, seed), key=lambda at: int(lengths[at])
        )
        for start in range(0, len(wanted), batch_size):
            ids = wanted[start : start + batch_size]
            batch = instances.at(ids)
            yield ProbeBatch(
                example_ids=np.array(ids, dtype=np.int64),
                instance_losses=partial(self.model.instance_losses, task, batch),
                attention_mask=batch.mask,
                hidden_states=partial(self.model.hidden_states, batch),
                labels=batch.labels,
            )


def sample(count: int, limit: int | None, seed: int) -> list[int]:
    """Numbers of the instances that are looked at, ascending: all, or a seeded sample."""
    if limit is None or limit >= count:
        return list(range(count))
    drawn: IntArray = np.random.default_rng(seed).choice(count, size=limit, replace=False)
    return sorted(drawn.tolist())
