"""Lets jiant 2.2.0 run on a current Python: one named mend per break, applied from outside.

jiant's last release pins Python packages of 2020. Nothing of jiant is edited or copied here. A mend
is applied only where the installed versions need it, and each restores what jiant computed on
its original versions; `faults` holds what was wrong with jiant itself.

Usage::

    from gradts_plugin.hosts.jiant.compat import apply_mends

    apply_mends()  # before the first import of jiant
    import jiant.proj.main.runscript
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import inspect
import math
import re
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import torch
from torch.optim.adam import adam

from gradts_plugin.errors import HostError, UnsupportedEncoderError

__all__ = [
    "HOST_VERSION",
    "MENDS",
    "SUPPORTED_ENCODERS",
    "AdamW",
    "Mend",
    "apply_mends",
    "keep_zero_gradients",
    "require_host",
    "require_supported_encoder",
]

#: The only jiant these mends are written for; it is the last release.
HOST_VERSION = "2.2.0"

#: Encoder architectures (transformers' `model_type`) that jiant runs on today's stack.
SUPPORTED_ENCODERS = ("bert", "roberta", "xlm-roberta", "albert", "deberta-v2")

_BROKEN_IN_HOST = {
    "electra": "jiant reads hidden states that it never asks the encoder for",
    "bart": "jiant's encode() for it does not accept the arguments jiant gives",
    "mbart": "jiant's encode() for it does not accept the arguments jiant gives",
    "xlm": "jiant's class for it is abstract and cannot be created",
}


@dataclasses.dataclass(frozen=True)
class Mend:
    """One break of jiant on newer packages, and what mends it.

    Attributes:
        name: stable name.
        mends: one sentence: what is broken without it.
        versions: the versions it is for.
        needed: whether the installed versions have the break.
        apply: mends it in this process; called at most once.
    """

    name: str
    mends: str
    versions: str
    needed: Callable[[], bool]
    apply: Callable[[], None]


def _module(name: str) -> Any:
    # Any, not ModuleType: these are modules whose names are looked up or replaced below.
    return importlib.import_module(name)


# --- torch ------------------------------------------------------------------------------------


def _release(version: str) -> tuple[int, ...]:
    """(2, 13) for "2.13.0+cpu"."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _loads_weights_only() -> bool:
    return _release(torch.__version__) >= (2, 6)


def _let_jiant_load_pickles() -> None:
    # Only for calls made from jiant's own modules: everybody else keeps the safe default. Modules
    # run with `python -m` are called __main__, so the package is asked, not the name.
    load = torch.load

    @functools.wraps(load)
    def load_for_caller(*args: Any, **kwargs: Any) -> Any:
        package = sys._getframe(1).f_globals.get("__package__") or ""
        if package.partition(".")[0] == "jiant":
            kwargs.setdefault("weights_only", False)
        return load(*args, **kwargs)

    torch.load = load_for_caller


def keep_zero_gradients(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Makes `zero_grad()` fill gradients with zeros, as torch did before 2.0.

    jiant trains one task a step and counts on zeros: with None the optimizers skip the heads of all
    other tasks, while with zeros these go on with their momentum and weight decay.

    Args:
        optimizer: changed in place.

    Returns:
        The same optimizer.
    """
    zero_grad = optimizer.zero_grad

    def zero_grad_with_zeros(set_to_none: bool = False) -> None:
        zero_grad(set_to_none=set_to_none)

    optimizer.zero_grad = zero_grad_with_zeros  # type: ignore[method-assign]
    return optimizer


def _zero_grad_drops_gradients() -> bool:
    parameters = inspect.signature(torch.optim.Optimizer.zero_grad).parameters
    return parameters["set_to_none"].default is True


def _keep_zero_gradients_of_host() -> None:
    model_setup = _module("jiant.shared.model_setup")
    create = model_setup.create_optimizer_from_params

    @functools.wraps(create)
    def create_optimizer_from_params(*args: Any, **kwargs: Any) -> Any:
        optimizer_scheduler = create(*args, **kwargs)
        keep_zero_gradients(optimizer_scheduler.optimizer)
        return optimizer_scheduler

    model_setup.create_optimizer_from_params = create_optimizer_from_params


# --- transformers -----------------------------------------------------------------------------


class AdamW(torch.optim.Optimizer):
    """Adam with decoupled weight decay, by the update rule of transformers before 4.50.

    It differs from `torch.optim.AdamW` in two places: epsilon is added to the root of the second
    moment before the bias correction, and the decay is applied after the update.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "correct_bias": correct_bias,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Updates every parameter that has a gradient.

        Args:
            closure: recomputes the loss, with gradients.

        Returns:
            The closure's loss, None without one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_step: dict[int, list[torch.Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_step.setdefault(self._count_step(parameter), []).append(parameter)
            for step, parameters in by_step.items():
                self._update(parameters, group, step)
        return loss

    def _count_step(self, parameter: torch.Tensor) -> int:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        return int(state["step"])

    def _update(self, parameters: list[torch.Tensor], group: dict[str, Any], step: int) -> None:
        """One fused pass over the parameters, 3-4 times as fast as one operation at a time.

        torch adds epsilon after the bias correction of the second moment; epsilon divided by that
        correction's root gives the older rule exactly.
        """
        beta1, beta2 = group["betas"]
        root = math.sqrt(1.0 - beta2**step)
        learning_rate = group["lr"]
        epsilon = group["eps"] / root
        if not group["correct_bias"]:
            learning_rate *= (1.0 - beta1**step) / root
        adam(
            parameters,
            [parameter.grad for parameter in parameters],  # type: ignore[misc]
            [self.state[parameter]["exp_avg"] for parameter in parameters],
            [self.state[parameter]["exp_avg_sq"] for parameter in parameters],
            [],
            [torch.tensor(step - 1.0, device=parameter.device) for parameter in parameters],
            foreach=False,
            fused=all(parameter.device.type in ("cpu", "cuda") for parameter in parameters),
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=learning_rate,
            weight_decay=0.0,
            eps=epsilon,
            maximize=False,
        )
        if group["weight_decay"] > 0.0:
            for parameter in parameters:
                parameter.mul_(1.0 - group["lr"] * group["weight_decay"])


class _TransformersWithAdamW(ModuleType):
    """Stands in for the name `transformers` inside one jiant module.

    An attribute set on the package itself would get lost: importing some of its submodules
    replaces the package in `sys.modules`.
    """

    AdamW = AdamW

    def __getattr__(self, name: str) -> Any:
        return getattr(_transformers(), name)


def _transformers() -> Any:
    return _module("transformers")


def _adamw_is_gone() -> bool:
    return not hasattr(_transformers(), "AdamW")


def _give_back_adamw() -> None:
    model_setup = _module("jiant.shared.model_setup")
    model_setup.transformers = _TransformersWithAdamW("transformers")


_MOVED_NAMES = ("whitespace_tokenize", "BasicTokenizer")


def _bert_tokenization() -> Any:
    return _module("transformers.models.bert.tokenization_bert")


def _names_have_moved() -> bool:
    return not all(hasattr(_bert_tokenization(), name) for name in _MOVED_NAMES)


def _put_back_moved_names() -> None:
    legacy = _module("transformers.models.bert.tokenization_bert_legacy")
    for name in _MOVED_NAMES:
        setattr(_bert_tokenization(), name, getattr(legacy, name))


def _outputs_are_found_by_class_name() -> bool:
    return _release(_transformers().__version__) >= (5, 0)


def _keep_encoder_class_names() -> None:
    # jiant turns the encoder into an instance of a class made on the spot. transformers looks up
    # which outputs a model records by str(class), so the new class must print as the old one.
    primary = _module("jiant.proj.main.modeling.primary")

    def init(self: Any, baseObject: Any) -> None:  # noqa: N803 (jiant's name)
        base = type(baseObject)
        names = {"__module__": base.__module__, "__qualname__": base.__qualname__}
        self.__class__ = type(base.__name__, (type(self), base), names)
        self.__dict__ = baseObject.__dict__

    primary.JiantTransformersModel.__init__ = init


def _tokenizer_classes_are_shared() -> bool:
    transformers = _transformers()
    shared: bool = (
        transformers.ElectraTokenizer is transformers.BertTokenizer
        or transformers.BartTokenizer is transformers.RobertaTokenizer
    )
    return shared


def _tell_tokenizers_apart() -> None:
    resolution = _module("jiant.shared.model_resolution")
    architectures = resolution.ModelArchitectures
    # jiant cannot run these two anyway (see _BROKEN_IN_HOST), so a shared tokenizer is the other's.
    unsupported = (architectures.ELECTRA, architectures.BART)
    inverse = resolution.TOKENIZER_CLASS_DICT.inverse
    for tokenizer_class, found in inverse.items():
        if len(found) > 1:
            inverse[tokenizer_class] = [name for name in found if name not in unsupported]


# --- python -----------------------------------------------------------------------------------


def _annotations_are_not_inherited() -> bool:
    return sys.version_info >= (3, 10)


def _collate_inherited_fields() -> None:
    structures = _module("jiant.utils.python.datastructures")

    def get_annotations(cls: Any) -> dict[str, Any]:
        return {field.name: field.type for field in dataclasses.fields(cls)}

    structures.ExtendedDataClassMixin.get_annotations = classmethod(get_annotations)


#: In the order in which they are applied: what an import of jiant needs comes first.
MENDS: tuple[Mend, ...] = (
    Mend(
        name="tokenizer_helpers",
        mends="importing jiant's tasks fails: whitespace_tokenize and BasicTokenizer have moved",
        versions="transformers >= 5.0",
        needed=_names_have_moved,
        apply=_put_back_moved_names,
    ),
    Mend(
        name="pickled_files",
        mends="torch.load refuses jiant's caches and checkpoints, which hold jiant's own classes",
        versions="torch >= 2.6",
        needed=_loads_weights_only,
        apply=_let_jiant_load_pickles,
    ),
    Mend(
        name="adamw",
        mends="jiant's default optimizer, transformers.AdamW, no longer exists",
        versions="transformers >= 4.50",
        needed=_adamw_is_gone,
        apply=_give_back_adamw,
    ),
    Mend(
        name="zero_gradients",
        mends="the heads of tasks that are not in the batch silently miss their update",
        versions="torch >= 2.0",
        needed=_zero_grad_drops_gradients,
        apply=_keep_zero_gradients_of_host,
    ),
    Mend(
        name="hidden_states",
        mends="the encoder silently returns no hidden states",
        versions="transformers >= 5.0",
        needed=_outputs_are_found_by_class_name,
        apply=_keep_encoder_class_names,
    ),
    Mend(
        name="batch_fields",
        mends="most batch classes silently collate to nothing: annotations are no longer inherited",
        versions="Python >= 3.10",
        needed=_annotations_are_not_inherited,
        apply=_collate_inherited_fields,
    ),
    Mend(
        name="tokenizer_classes",
        mends="tasks that align words with pieces fail: two architectures share a tokenizer class",
        versions="transformers >= 5.0",
        needed=_tokenizer_classes_are_shared,
        apply=_tell_tokenizers_apart,
    ),
)

_applied: list[str] = []


def require_host() -> None:
    """Checks that the host is installed.

    Raises:
        HostError: jiant is missing, or another version than 2.2.0; says what to type.
    """
    advice = f"type: pip install --no-deps jiant=={HOST_VERSION} (or, with uv: uv sync)"
    try:
        found = importlib.metadata.version("jiant")
    except importlib.metadata.PackageNotFoundError as error:
        raise HostError(f"jiant is not installed; {advice}") from error
    if found != HOST_VERSION:
        raise HostError(f"jiant {found} is installed, but {HOST_VERSION} is needed; {advice}")


def apply_mends() -> tuple[str, ...]:
    """Applies every mend that the installed versions need. Call it before importing jiant.

    Calling it again does nothing.

    Returns:
        Names of the mends that are applied in this process.

    Raises:
        HostError: jiant is missing, another version, or lacks something it imports.
    """
    require_host()
    try:
        _apply(mend for mend in MENDS if mend.name not in _applied)
    except ModuleNotFoundError as error:
        raise HostError(
            f"jiant needs the package {error.name!r}, which is not installed; "
            "`gradts-select doctor` says what to type"
        ) from error
    return tuple(_applied)


def _apply(mends: Iterable[Mend]) -> None:
    for mend in mends:
        if mend.needed():
            mend.apply()
            _applied.append(mend.name)


def require_supported_encoder(model_type: str) -> None:
    """Checks that jiant can run an encoder architecture.

    Args:
        model_type: as in the encoder's config.json, e.g. "bert".

    Raises:
        UnsupportedEncoderError: it cannot; says why.
    """
    if model_type in SUPPORTED_ENCODERS:
        return
    why = _BROKEN_IN_HOST.get(model_type, "jiant has no class for it")
    raise UnsupportedEncoderError(
        f"encoder architecture {model_type!r} cannot be used: {why}; "
        f"supported: {', '.join(SUPPORTED_ENCODERS)}"
    )
