"""Tiny random encoders with their tokenizers, on disk as a model hub would lay them out.

Everything is generated: text, vocabularies and weights. The vocabulary writers also run on
Python 3.8, where the parity numbers were recorded (tests/parity/record.py).
"""

from __future__ import annotations

import json
from pathlib import Path

KINDS = ("bert", "roberta", "xlm-roberta", "albert", "deberta-v2")

#: Plain sentences; every vocabulary is made of their words.
SENTENCES = (
    "the old gardener waters the red roses before the sun is up",
    "a small boat drifts along the quiet river near the stone bridge",
    "my sister bakes dark bread and sells it at the morning market",
    "nobody in the village remembers who built the tall wooden tower",
    "the teacher reads a long story while the children draw birds",
    "two tired horses pull the heavy cart up the muddy hill",
    "we lost the key under the kitchen table last winter",
    "the doctor from the next town walks home in the cold rain",
    "an angry goose chased the postman across the wide green field",
    "he plays slow music on a broken piano every evening",
    "the baker and the miller never agree about the price of flour",
    "fresh snow covers the empty road to the northern harbour",
)


def words_of(sentences: tuple[str, ...] = SENTENCES) -> list[str]:
    """All words, sorted."""
    return sorted({word for sentence in sentences for word in sentence.split()})


def write_wordpiece_vocabulary(folder: Path, words: list[str]) -> None:
    """Writes vocab.txt: the special tokens, every character and continuation, then the words."""
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces += characters + ["##" + character for character in characters]
    pieces += [word for word in words if len(word) > 1]
    folder.joinpath("vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")


def write_byte_bpe_vocabulary(folder: Path, words: list[str]) -> None:
    """Writes vocab.json and merges.txt: all bytes, then merges that build each word from the left.

    Words are written with and without the marker of a leading space.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [code for code in range(256) if code not in printable]
    alphabet = [chr(code) for code in printable] + [chr(256 + i) for i in range(len(rest))]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *alphabet]
    merges: dict[str, None] = {}
    for word in words:
        for spelling in (word, "\u0120" + word):
            for end in range(1, len(spelling)):
                merges[f"{spelling[:end]} {spelling[end]}"] = None
                if spelling[: end + 1] not in pieces:
                    pieces.append(spelling[: end + 1])
    pieces.append("<mask>")
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    folder.joinpath("vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    folder.joinpath("merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8"
    )


_SENTENCEPIECE = {
    "xlm-roberta": ("sentencepiece.bpe", {"unk_id": 0, "bos_id": 1, "eos_id": 2}),
    "albert": (
        "spiece",
        {
            "pad_id": 0,
            "unk_id": 1,
            "bos_id": -1,
            "eos_id": -1,
            "pad_piece": "<pad>",
            "control_symbols": ["[CLS]", "[SEP]"],
            "user_defined_symbols": ["[MASK]"],
        },
    ),
    "deberta-v2": (
        "spm",
        {
            "pad_id": 0,
            "bos_id": 1,
            "eos_id": 2,
            "unk_id": 3,
            "pad_piece": "[PAD]",
            "bos_piece": "[CLS]",
            "eos_piece": "[SEP]",
            "unk_piece": "[UNK]",
        },
    ),
}


def write_sentencepiece_model(kind: str, folder: Path) -> None:
    """Trains a sentencepiece model of about 150 pieces under the file name `kind` expects."""
    import sentencepiece

    name, options = _SENTENCEPIECE[kind]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 4),
        model_prefix=str(folder / name),
        vocab_size=150,
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    folder.joinpath(name + ".vocab").unlink()


_TOKENIZER_CLASSES = {
    "bert": "BertTokenizer",
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "albert": "AlbertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
}

_PAD_IDS = {"bert": 0, "roberta": 1, "xlm-roberta": 1, "albert": 0, "deberta-v2": 0}

_EXTRA_CONFIG = {
    "bert": {},
    "roberta": {"type_vocab_size": 1, "bos_token_id": 0, "eos_token_id": 2},
    "xlm-roberta": {"type_vocab_size": 1, "bos_token_id": 0, "eos_token_id": 2},
    "albert": {"classifier_dropout_prob": 0.0},
    # As in the published v3 models: relative positions only, no segment embeddings.
    "deberta-v2": {
        "relative_attention": True,
        "position_biased_input": False,
        "position_buckets": 16,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "type_vocab_size": 0,
        "max_relative_positions": -1,
    },
}


def save_tiny_encoder(
    kind: str,
    folder: Path,
    *,
    num_layers: int = 2,
    num_heads: int = 2,
    hidden: int = 32,
    dropout: float = 0.0,
    seed: int = 0,
) -> Path:
    """Writes an encoder with random weights and its tokenizer; both load with the Auto classes.

    Args:
        kind: one of `KINDS`.
        folder: created where missing.
        num_layers: Transformer layers.
        num_heads: heads per layer.
        hidden: hidden size, divisible by num_heads.
        dropout: of hidden states and attention.
        seed: of the weights.

    Returns:
        The folder, ready for `from_pretrained` and jiant's export_model.
    """
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    if kind == "bert":
        write_wordpiece_vocabulary(folder, words_of())
    elif kind == "roberta":
        write_byte_bpe_vocabulary(folder, words_of())
    else:
        write_sentencepiece_model(kind, folder)
    settings = {"tokenizer_class": _TOKENIZER_CLASSES[kind], "model_max_length": 128}
    folder.joinpath("tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    config = transformers.AutoConfig.for_model(
        kind,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        hidden_size=hidden,
        embedding_size=hidden,
        intermediate_size=2 * hidden,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        max_position_embeddings=136,
        initializer_range=0.1,
        pad_token_id=_PAD_IDS[kind],
        **_EXTRA_CONFIG[kind],
    )
    config.save_pretrained(str(folder))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), use_fast=False)
    tokenizer.save_pretrained(str(folder))
    config.vocab_size = len(tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.AutoModel.from_config(config)
    model.save_pretrained(str(folder))
    return folder
