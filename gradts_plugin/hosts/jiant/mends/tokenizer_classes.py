"""jiant tells architectures apart by tokenizer classes, which some now share."""

from __future__ import annotations

from gradts_plugin.hosts.jiant.lookup import module_named
from gradts_plugin.hosts.jiant.mends.mend import Mend, transformers_package


def _tokenizer_classes_are_shared() -> bool:
    transformers = transformers_package()
    shared: bool = (
        transformers.ElectraTokenizer is transformers.BertTokenizer
        or transformers.BartTokenizer is transformers.RobertaTokenizer
    )
    return shared


def _tell_tokenizers_apart() -> None:
    resolution = module_named("jiant.shared.model_resolution")
    architectures = resolution.ModelArchitectures
    # jiant cannot run these two anyway (see _BROKEN_IN_HOST), so a shared tokenizer is the other's.
    unsupported = (architectures.ELECTRA, architectures.BART)
    inverse = resolution.TOKENIZER_CLASS_DICT.inverse
    for tokenizer_class, found in inverse.items():
        if len(found) > 1:
            inverse[tokenizer_class] = [name for name in found if name not in unsupported]


MEND = Mend(
    name="tokenizer_classes",
    mends="tasks that align words with pieces fail: two architectures share a tokenizer class",
    versions="transformers >= 5.0",
    needed=_tokenizer_classes_are_shared,
    apply=_tell_tokenizers_apart,
)
