"""Which modules are an encoder's projections, and which encoders are refused."""

import pytest
from probing_cases import ENCODERS, attention_layers, tiny_encoder
from torch import nn
from transformers import DistilBertConfig, DistilBertModel

from gradts_plugin.errors import UnsupportedEncoderError
from gradts_plugin.probing.projections import SUPPORTED_ENCODERS, find_projections


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "albert"])
def test_finds_every_layer_in_order(name):
    encoder = tiny_encoder(name, num_hidden_layers=3)
    found = find_projections(encoder)
    assert (found.num_layers, found.num_heads) == (3, 4)
    expected = attention_layers(encoder)
    for layer, (key, value, output) in zip(found.layers, expected, strict=True):
        assert layer.key is key
        assert layer.value is value
        assert layer.output is output


def test_albert_repeats_shared_layers_as_the_model_applies_them():
    encoder = tiny_encoder("albert", num_hidden_layers=5, num_hidden_groups=2, inner_group_num=2)
    called = []
    for name, module in encoder.named_modules():
        if name.endswith("attention.key"):
            module.register_forward_hook(lambda module, args, output: called.append(module))
    encoder(**encoder.dummy_inputs)
    found = find_projections(encoder)
    assert found.num_layers == 10
    assert [layer.key for layer in found.layers] == called


@pytest.mark.parametrize(
    ("settings", "shared"),
    [
        ({"share_att_key": True}, True),
        ({"share_att_key": False}, False),
        ({"share_att_key": True, "relative_attention": False}, False),
    ],
)
def test_deberta_says_whether_keys_read_positions_too(settings, shared):
    found = find_projections(tiny_encoder("deberta-v2", **settings))
    assert [layer.key_reads_positions for layer in found.layers] == [shared] * 2


def test_a_subclass_made_by_the_host_is_recognised():
    # jiant gives a loaded model a class of its own at run time.
    encoder = tiny_encoder("roberta")
    encoder.__class__ = type("JiantRobertaModel", (encoder.__class__,), {})
    assert find_projections(encoder).num_layers == 2


def test_supported_encoders():
    assert set(SUPPORTED_ENCODERS) == set(ENCODERS)


def test_another_architecture_is_refused_by_name():
    config = DistilBertConfig(vocab_size=40, dim=24, n_layers=1, n_heads=2, hidden_dim=32)
    with pytest.raises(
        UnsupportedEncoderError, match=r"'distilbert' encoder; did you mean 'albert'"
    ):
        find_projections(DistilBertModel(config))
    with pytest.raises(
        UnsupportedEncoderError, match="cannot probe a 'Linear' encoder; valid: alb"
    ):
        find_projections(nn.Linear(2, 2))


def test_another_layout_is_refused():
    encoder = tiny_encoder("bert")
    del encoder.encoder.layer[1].attention.self.value
    with pytest.raises(UnsupportedEncoderError, match=r"built differently.*value"):
        find_projections(encoder)


def test_an_encoder_without_layers_is_refused():
    with pytest.raises(UnsupportedEncoderError, match="no attention layers"):
        find_projections(tiny_encoder("bert", num_hidden_layers=0))


def test_adapters_are_refused():
    encoder = tiny_encoder("bert")
    attention = encoder.encoder.layer[0].attention.self
    attention.key = nn.Sequential(attention.key)
    with pytest.raises(UnsupportedEncoderError, match=r"key projection .* is a Sequential"):
        find_projections(encoder)


def test_outputs_that_heads_cannot_share_are_refused():
    encoder = tiny_encoder("bert")
    encoder.encoder.layer[0].attention.self.key = nn.Linear(24, 22)
    with pytest.raises(UnsupportedEncoderError, match=r"22 key outputs .* by 4 heads"):
        find_projections(encoder)
