"""Where the time of a piece of work in torch goes, by kind of operation."""

from __future__ import annotations

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

#: Kind of operation -> what the names of its operations in torch contain; the first that fits.
OPERATIONS = {
    "products of matrices": ("mm", "matmul", "linear", "einsum", "attention"),
    "softmax": ("softmax",),
    "other layers": ("layer_norm", "gelu", "dropout", "embedding", "tanh"),
    "optimiser": ("Optimizer", "_foreach", "_fused_adam", "addcdiv", "addcmul", "lerp", "sqrt"),
    "conversions and copies": ("copy", "::to", "contiguous", "clone", "fill", "zero", "cat"),
    "sums and elementwise": ("sum", "mean", "mul", "add", "abs", "div", "sub", "where"),
    "other": ("",),
}


def shares_of_operations(work: Callable[[], None]) -> dict[str, float]:
    """Share of the CPU time in each kind of operation, as torch's profiler has it."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    seconds = dict.fromkeys(OPERATIONS, 0.0)
    for event in profiled.key_averages():
        seconds[kind_of(event.key)] += event.self_cpu_time_total
    return {kind: value / sum(seconds.values()) for kind, value in seconds.items()}


def kind_of(operation: str) -> str:
    """The kind of an operation of this name."""
    return next(
        kind for kind, parts in OPERATIONS.items() if any(part in operation for part in parts)
    )
