"""One example of a custom task, on its way to jiant's rows."""

# No `from __future__ import annotations`: jiant looks at the types of fields.
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradts_plugin.hosts.jiant.compat import apply_mends

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.tasks.core import BaseExample, BaseTokenizedExample
from jiant.tasks.lib import stsb, udpos
from jiant.tasks.lib.templates import multiple_choice
from jiant.tasks.lib.templates.shared import double_sentence_featurize, single_sentence_featurize


def regression_row(label_id: float, **values: Any) -> Any:
    """jiant's regression row; jiant's featurisation calls every target label_id, the row label."""
    return stsb.DataRow(label=label_id, **values)


@dataclass
class TokenizedText(BaseTokenizedExample):  # type: ignore[misc]  # jiant is untyped
    """One text or two, cut into word pieces.

    Attributes:
        target: label id, or score.
        row_class: makes the data row.
    """

    guid: str
    text_a: list[str]
    text_b: list[str] | None
    target: int | float
    row_class: Callable[..., Any]

    def featurize(self, tokenizer: Any, feat_spec: Any) -> Any:
        """Adds special tokens, cuts and pads as jiant does."""
        shared = {
            "guid": self.guid,
            "label_id": self.target,
            "tokenizer": tokenizer,
            "feat_spec": feat_spec,
            "data_row_class": self.row_class,
        }
        if self.text_b is None:
            return single_sentence_featurize(input_tokens=self.text_a, **shared)
        return double_sentence_featurize(
            input_tokens_a=self.text_a, input_tokens_b=self.text_b, **shared
        )


@dataclass
class TextExample(BaseExample):  # type: ignore[misc]  # jiant is untyped
    """One text or two, with a label id (or a score)."""

    guid: str
    text_a: str
    text_b: str | None
    target: int | float
    row_class: Callable[..., Any]

    def tokenize(self, tokenizer: Any) -> TokenizedText:
        """Cuts the texts into word pieces."""
        return TokenizedText(
            guid=self.guid,
            text_a=tokenizer.tokenize(self.text_a),
            text_b=None if self.text_b is None else tokenizer.tokenize(self.text_b),
            target=self.target,
            row_class=self.row_class,
        )


@dataclass
class TaggingExample(BaseExample):  # type: ignore[misc]  # jiant is untyped
    """Words with one label id each, None for a word that is not learned and not scored."""

    guid: str
    tokens: tuple[str, ...]
    label_ids: tuple[int | None, ...]

    def tokenize(self, tokenizer: Any) -> Any:
        """Cuts each word into pieces, the first of which carries the label.

        As in jiant's udpos: a word that cannot be cut, or into more than 100 pieces (addresses of
        the web, mostly), becomes one unknown token.
        """
        pieces: list[str] = []
        labels: list[int | None] = []
        for word, label_id in zip(self.tokens, self.label_ids, strict=True):
            cut = tokenizer.tokenize(word)
            if not 0 < len(cut) <= udpos.ARBITRARY_OVERLY_LONG_WORD_CONSTRAINT:
                cut = [tokenizer.unk_token]
            pieces += cut
            labels += [label_id] + [None] * (len(cut) - 1)
        return udpos.TokenizedExample(
            guid=self.guid,
            tokens=pieces,
            labels=labels,
            label_mask=[int(label is not None) for label in labels],
        )


@dataclass
class ChoiceExample(BaseExample):  # type: ignore[misc]  # jiant is untyped
    """A text and the choices that may go with it."""

    guid: str
    prompt: str
    choices: tuple[str, ...]
    label_id: int

    def tokenize(self, tokenizer: Any) -> Any:
        """Cuts the text and the choices into word pieces."""
        return multiple_choice.TokenizedExample(
            guid=self.guid,
            prompt=tokenizer.tokenize(self.prompt),
            choice_list=[tokenizer.tokenize(choice) for choice in self.choices],
            label_id=self.label_id,
        )
