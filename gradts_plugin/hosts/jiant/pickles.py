"""jiant's pickled files, loaded by an allow-list: a pickle of any other kind could run code.

jiant keeps tokenised rows and checkpoints as pickles, in folders that people share. Of what such a
file names, only classes of jiant's that hold values, arrays and tensors are made.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Iterator
from types import SimpleNamespace
from typing import IO, Any, Final

import torch

from gradts_plugin.errors import DataError

_SETS: Final = ("set", "frozenset")

#: What arrays, tensors, containers and random streams are made with.
_VALUES: Final = {
    *(f"{builtins}.{kind}" for builtins in ("__builtin__", "builtins") for kind in _SETS),
    "_codecs.encode",
    "collections.OrderedDict",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),  # it had two names
    *(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")),
    "numpy.random._mt19937.MT19937",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._pickle.__randomstate_ctor",
    "torch.Size",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor_v2",
    "torch.device",
}


class _Refused(pickle.UnpicklingError):
    """The pickle names something that is on no list; its text is the name."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, name: str, /) -> Any:
        """What a pickle names, if it only holds values."""
        if f"{module_name}.{name}" in _VALUES or _is_of_torch(module_name, name):
            return super().find_class(module_name, name)
        if module_name.partition(".")[0] == "jiant":
            try:
                importlib.import_module(module_name)  # installed code, not the file's
            except ImportError as error:
                raise _Refused(f"{module_name}.{name}") from error
        for found in _value_classes():
            if (found.__module__, found.__qualname__) == (module_name, name):
                return found
        raise _Refused(f"{module_name}.{name}")


def _load_stream(stream: IO[bytes], **options: Any) -> Any:
    return _Unpickler(stream, **options).load()


#: What `torch.load` takes in the place of the module pickle.
_MODULE: Final = SimpleNamespace(Unpickler=_Unpickler, load=_load_stream, __name__=__name__)


def load(path: Any, **options: Any) -> Any:
    """`torch.load` by the allow-list; nothing of a refused file is made.

    Args:
        path: or an open file.
        **options: of `torch.load`.

    Raises:
        DataError: the file names something else.
        Exception: what a damaged pickle raises.
    """
    options |= {"weights_only": False, "pickle_module": _MODULE}
    try:
        return torch.load(path, **options)  # by our own unpickler
    except _Refused as error:
        raise DataError(
            f"{path}: holds {error}, which is none of jiant's rows or states; it is not loaded, "
            "because that could run code: remove the file, or make it anew"
        ) from error


def _is_of_torch(module_name: str, name: str) -> bool:
    """Storages and types of numbers."""
    if module_name not in ("torch", "torch.storage"):
        return False
    is_storage = name.endswith("Storage") and name.isidentifier()
    return is_storage or isinstance(getattr(torch, name, None), torch.dtype)


def _value_classes() -> Iterator[type]:
    """jiant's dataclasses, and those that tasks of plugins derive from them, as far as imported."""
    from jiant.tasks.evaluate.core import RecordLabelData
    from jiant.utils.python.datastructures import ExtendedDataClassMixin

    yield RecordLabelData
    waiting: list[type] = [ExtendedDataClassMixin]
    while waiting:
        derived: list[type] = waiting.pop().__subclasses__()
        yield from derived
        waiting += derived
