"""All mends."""

from __future__ import annotations

from gradts_plugin.hosts.jiant.mends import (
    adamw,
    batch_fields,
    encoder_loading,
    hidden_states,
    pickled_files,
    tokenizer_classes,
    tokenizer_helpers,
    zero_gradients,
)
from gradts_plugin.hosts.jiant.mends.mend import Mend

#: In the order in which they are applied: what an import of jiant needs comes first.
MENDS: tuple[Mend, ...] = (
    tokenizer_helpers.MEND,
    pickled_files.MEND,
    adamw.MEND,
    zero_gradients.MEND,
    hidden_states.MEND,
    encoder_loading.MEND,
    batch_fields.MEND,
    tokenizer_classes.MEND,
)
