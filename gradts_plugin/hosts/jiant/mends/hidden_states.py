"""transformers finds an encoder's outputs by the name of its class, which jiant changes."""

from __future__ import annotations

from typing import Any

from gradts_plugin.hosts.jiant.lookup import module_named
from gradts_plugin.hosts.jiant.mends.mend import Mend, release, transformers_package


def _outputs_are_found_by_class_name() -> bool:
    return release(transformers_package().__version__) >= (5, 0)


def _keep_encoder_class_names() -> None:
    # jiant turns the encoder into an instance of a class made on the spot. transformers looks up
    # which outputs a model records by str(class), so the new class must print as the old one.
    primary = module_named("jiant.proj.main.modeling.primary")

    def init(self: Any, baseObject: Any) -> None:  # noqa: N803 (jiant's name)
        base = type(baseObject)
        names = {"__module__": base.__module__, "__qualname__": base.__qualname__}
        self.__class__ = type(base.__name__, (type(self), base), names)
        self.__dict__ = baseObject.__dict__

    primary.JiantTransformersModel.__init__ = init


MEND = Mend(
    name="hidden_states",
    mends="the encoder silently returns no hidden states",
    versions="transformers >= 5.0",
    needed=_outputs_are_found_by_class_name,
    apply=_keep_encoder_class_names,
)
