"""transformers loads an encoder as its files have it; jiant needs it whole, and as it knew it."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

from gradts_plugin.hosts.jiant.lookup import module_named
from gradts_plugin.hosts.jiant.mends.mend import Mend, transformers_package
from gradts_plugin.hosts.jiant.pretrained import load_pretrained


def _load_whole_encoders() -> None:
    transformers = transformers_package()

    def loader(name: str) -> Any:
        load = functools.partial(load_pretrained, getattr(transformers, name))
        return SimpleNamespace(from_pretrained=load)

    module_named("jiant.proj.main.export_model").AutoModelForPreTraining = loader(
        "AutoModelForPreTraining"
    )
    module_named("jiant.proj.main.modeling.model_setup").transformers = SimpleNamespace(
        AutoModel=loader("AutoModel"), AutoTokenizer=transformers.AutoTokenizer
    )


MEND = Mend(
    name="encoder_loading",
    mends="encoders are half precision, tuples, chunked or in part random, as their files have it",
    versions="any transformers; in half precision >= 5.0",
    needed=lambda: True,
    apply=_load_whole_encoders,
)
