"""Ways to break an encoder folder, each by its name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tiny_encoders import write_wordpiece_vocabulary

Breaks = Callable[[Path], object]

WEIGHTS = "model.safetensors"


def config(**changes: Any) -> Breaks:
    """Sets keys of config.json; None removes one."""

    def broken(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text()) | changes
        kept = {key: value for key, value in values.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(kept))

    return broken


def content(name: str, given: bytes | str) -> Breaks:
    """Puts something else into a file."""
    data = given.encode() if isinstance(given, str) else given
    return lambda folder: (folder / name).write_bytes(data)


def cut(name: str, share: float) -> Breaks:
    """Keeps only the first share of a file."""

    def broken(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(share * len(data))])

    return broken


def gone(*names: str) -> Breaks:
    """Deletes files."""

    def broken(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return broken


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, Any]]) -> Breaks:
    """Changes the stored weights."""

    def broken(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        save_file(change(found), folder / WEIGHTS, metadata={"format": "pt"})

    return broken


def in_numbers(kind: torch.dtype) -> Breaks:
    """Stores the weights as other numbers."""

    def broken(folder: Path) -> None:
        weights(lambda found: {name: value.to(kind) for name, value in found.items()})(folder)
        config(dtype=str(kind).removeprefix("torch."))(folder)

    return broken


def one_weight(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Breaks:
    """Changes one stored weight."""
    return weights(lambda found: found | {name: change(found[name]).contiguous()})


def without(*parts: str) -> Breaks:
    """Leaves out the weights whose names hold one of the parts."""
    return weights(
        lambda found: {
            name: value for name, value in found.items() if not any(part in name for part in parts)
        }
    )


def as_bin(given: Any) -> Breaks:
    """pytorch_model.bin in the place of the safetensors file; bytes are written as they are."""

    def broken(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        if isinstance(given, bytes):
            (folder / "pytorch_model.bin").write_bytes(given)
        else:
            torch.save(given, folder / "pytorch_model.bin")

    return broken


def sharded(index: str) -> Breaks:
    """An index of shards in the place of the file of weights."""

    def broken(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
        (folder / f"{WEIGHTS}.index.json").write_text(index)

    return broken


def tokenizer(**changes: Any) -> Breaks:
    """Sets keys of tokenizer_config.json, and leaves it to the others to say what it is."""

    def broken(folder: Path) -> None:
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return broken


def vocabulary(text: str) -> Breaks:
    """vocab.txt alone, with other pieces."""

    def broken(folder: Path) -> None:
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.txt").write_text(text)

    return broken


def other_words(folder: Path) -> None:
    """A vocabulary of another script, and no characters to fall back on."""
    (folder / "tokenizer.json").unlink()
    write_wordpiece_vocabulary(folder, [])
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(0x4E00, 0x4E00 + 200))]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")


def more_tokens(folder: Path) -> None:
    """Two tokens are added to the tokenizer, and to it alone."""
    import transformers

    found = transformers.AutoTokenizer.from_pretrained(folder, use_fast=False)
    found.add_tokens(["<user>", "<url>"])
    found.save_pretrained(folder)


def one_id_too_high(folder: Path) -> None:
    """One token has an id far behind the others."""
    values = json.loads((folder / "tokenizer.json").read_text())
    values["model"]["vocab"]["!"] = 10**6
    (folder / "tokenizer.json").write_text(json.dumps(values))


def one_segment_type(folder: Path) -> None:
    """An encoder that was made without segments."""
    config(type_vocab_size=1)(folder)
    one_weight("embeddings.token_type_embeddings.weight", lambda found: found[:1])(folder)


def few_positions(folder: Path) -> None:
    """Fewer positions than rows are long (`tiny_runs`: 24)."""
    config(max_position_embeddings=20)(folder)
    one_weight("embeddings.position_embeddings.weight", lambda found: found[:20])(folder)


def positions_without_the_two_of_padding(folder: Path) -> None:
    """As many positions as rows are long, of which roberta cannot use two."""
    config(max_position_embeddings=24)(folder)
    one_weight("embeddings.position_embeddings.weight", lambda found: found[:24])(folder)


def files_of(other: str) -> Breaks:
    """The tokenizer files of another tiny encoder, which lies beside."""

    def broken(folder: Path) -> None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(folder.parent / other / name, folder / name)

    return broken


_CONFIG_VALUES: Mapping[str, tuple[Any, ...]] = {
    "num_hidden_layers": (0, -1, 3, 2.5, "2", [2]),
    "hidden_size": (0, -32, 33, 64, "x"),
    "num_attention_heads": (0, 3, -2, "2"),
    "intermediate_size": (0, 65, "64"),
    "vocab_size": (10, 300, "246", {}),
    "max_position_embeddings": (0, 64, "136"),
    "type_vocab_size": (1, "2"),
    "hidden_act": ("zelu", 3),
    "layer_norm_eps": ("a",),
    "hidden_dropout_prob": (2.0, "a"),
    "attention_probs_dropout_prob": (-1.0, []),
    "pad_token_id": (1000, "x"),
    "model_type": ("roberta", "albert", "deberta-v2", "distilbert", "bret", 3),
    "architectures": (["RobertaForMaskedLM"],),
    "dtype": ("float17", 0),
}

#: What every model folder can suffer: of bert.
OF_BERT: Mapping[str, Breaks] = {
    **{
        f"{key} = {value!r}": config(**{key: value})
        for key, values in _CONFIG_VALUES.items()
        for value in values
    },
    "config.json: empty": content("config.json", ""),
    "config.json: a list": content("config.json", "[]"),
    "config.json: null": content("config.json", "null"),
    "config.json: text": content("config.json", "layers: 2"),
    "config.json: bytes": content("config.json", b"\xff\xfe\x00"),
    "config.json: cut": cut("config.json", 0.5),
    "config.json: gone": gone("config.json"),
    "config.json: no model_type": config(model_type=None),
    "weights: empty": content(WEIGHTS, ""),
    "weights: text": content(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"),
    "weights: cut": cut(WEIGHTS, 0.5),
    "weights: cut in the header": cut(WEIGHTS, 0.01),
    "weights: gone": gone(WEIGHTS),
    "weights: no tensors": weights(lambda found: {}),
    "weights: another name": weights(lambda found: {f"x.{key}": found[key] for key in found}),
    "weights: no second layer": without("layer.1."),
    "weights: no value of one layer": without("layer.1.attention.self.value.weight"),
    "weights: no words": without("word_embeddings"),
    "weights: fewer words": one_weight("embeddings.word_embeddings.weight", lambda w: w[:99]),
    "weights: NaN": one_weight("encoder.layer.1.output.dense.bias", lambda w: w * float("nan")),
    "weights: infinite": one_weight(
        "embeddings.word_embeddings.weight", lambda w: w.index_fill(0, torch.tensor(5), torch.inf)
    ),
    "weights: huge": weights(lambda found: {key: found[key] * 1e30 for key in found}),
    "weights: another shape": one_weight("encoder.layer.0.output.dense.weight", lambda w: w.T),
    "pytorch_model.bin: empty": as_bin(b""),
    "pytorch_model.bin: text": as_bin(b"not found"),
    "pytorch_model.bin: half a zip": as_bin(b"PK\x03\x04 cut off"),
    "pytorch_model.bin: no tensors": as_bin({}),
    "pytorch_model.bin: a list": as_bin([1, 2]),
    "pytorch_model.bin: numbers": as_bin({"embeddings.word_embeddings.weight": 3}),
    "pytorch_model.bin: an object": as_bin(Path("x")),
    "shards: one is gone": sharded(
        json.dumps(
            {
                "metadata": {},
                "weight_map": {
                    "embeddings.word_embeddings.weight": "model-00001-of-00002.safetensors",
                    "pooler.dense.bias": "model-00002-of-00002.safetensors",
                },
            }
        )
    ),
    "shards: broken index": sharded('{"weight_map": '),
    "shards: empty index": sharded("{}"),
    "tokenizer.json: empty": content("tokenizer.json", ""),
    "tokenizer.json: {}": content("tokenizer.json", "{}"),
    "tokenizer.json: a list": content("tokenizer.json", "[]"),
    "tokenizer.json: cut": cut("tokenizer.json", 0.5),
    "tokenizer.json: bytes": content("tokenizer.json", b"\xff\xfe\x00"),
    "tokenizer.json: gone, and vocab.txt": gone("tokenizer.json", "vocab.txt"),
    "tokenizer.json: roberta's": files_of("roberta"),
    "tokenizer_config.json: cut": cut("tokenizer_config.json", 0.5),
    "tokenizer_config.json: empty": content("tokenizer_config.json", ""),
    "tokenizer_config.json: a list": content("tokenizer_config.json", "[]"),
    "tokenizer_class: a number": tokenizer(tokenizer_class=3),
    "tokenizer_class: RobertaTokenizer": tokenizer(tokenizer_class="RobertaTokenizer"),
    "tokenizer_class: T5Tokenizer": tokenizer(tokenizer_class="T5Tokenizer"),
    "no cls_token": tokenizer(cls_token=None),
    "vocab.txt: empty": vocabulary(""),
    "vocab.txt: no special tokens": vocabulary("the\nold\n"),
    "vocab.txt: another script": other_words,
    "two tokens too many": more_tokens,
    "one id too high": one_id_too_high,
    "one segment type": one_segment_type,
    "few positions": few_positions,
}

#: What other architectures can suffer: kind -> ways.
OF_OTHERS: Mapping[str, Mapping[str, Breaks]] = {
    "roberta": {
        "two positions too few": positions_without_the_two_of_padding,
        "merges.txt: cut, and no tokenizer.json": lambda folder: (
            gone("tokenizer.json")(folder),
            content("merges.txt", "#version: 0.2\nh e l\n")(folder),
        ),
        "vocab.json: cut, and no tokenizer.json": lambda folder: (
            gone("tokenizer.json")(folder),
            cut("vocab.json", 0.5)(folder),
        ),
        "model_type = 'bert'": config(model_type="bert"),
        "no second layer": without("layer.1."),
    },
    "albert": {
        "no inner layer": without("albert_layers.0.attention.key"),
        "spiece.model: cut, and no tokenizer.json": lambda folder: (
            gone("tokenizer.json")(folder),
            cut("spiece.model", 0.5)(folder),
        ),
        "num_hidden_groups = 2": config(num_hidden_groups=2),
        "num_hidden_layers = '2'": config(num_hidden_layers="2"),
        "classifier_dropout_prob = -1": config(classifier_dropout_prob=-1),
    },
    "deberta-v2": {
        "spm.model: empty, and no tokenizer.json": lambda folder: (
            gone("tokenizer.json")(folder),
            content("spm.model", "")(folder),
        ),
        "position_buckets = 'x'": config(position_buckets="x"),
        "pos_att_type = 3": config(pos_att_type=3),
        "no relative embeddings": without("rel_embeddings"),
    },
    "xlm-roberta": {
        "sentencepiece: text, and no tokenizer.json": lambda folder: (
            gone("tokenizer.json")(folder),
            content("sentencepiece.bpe.model", "not found")(folder),
        ),
        "no second layer": without("layer.1."),
    },
}
