"""Importing jiant's tasks needs two names that transformers has moved."""

from __future__ import annotations

from typing import Any

from gradts_plugin.hosts.jiant.lookup import module_named
from gradts_plugin.hosts.jiant.mends.mend import Mend

_MOVED_NAMES = ("whitespace_tokenize", "BasicTokenizer")


def _bert_tokenization() -> Any:
    return module_named("transformers.models.bert.tokenization_bert")


def _names_have_moved() -> bool:
    return not all(hasattr(_bert_tokenization(), name) for name in _MOVED_NAMES)


def _put_back_moved_names() -> None:
    legacy = module_named("transformers.models.bert.tokenization_bert_legacy")
    for name in _MOVED_NAMES:
        setattr(_bert_tokenization(), name, getattr(legacy, name))


MEND = Mend(
    name="tokenizer_helpers",
    mends="importing jiant's tasks fails: whitespace_tokenize and BasicTokenizer have moved",
    versions="transformers >= 5.0",
    needed=_names_have_moved,
    apply=_put_back_moved_names,
)
