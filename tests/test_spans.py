"""Tags that mark spans are known in every scheme; others are refused the metric."""

from __future__ import annotations

import pytest

from gradts_plugin.errors import ConfigError
from gradts_plugin.tasks.spans import check_spans, span_tags


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["B-a-b", "I-a-b", "O"], ["B-a-b", "I-a-b", "O"]),
        (
            ["B-a", "M-a", "E-a", "S-a", "L-a", "U-a", "W-a"],
            ["B-a", "I-a", "E-a", "S-a", "E-a", "S-a", "S-a"],
        ),
        (["a-b-B", "a-b-I"], ["B-a-b", "I-a-b"]),
        (["b_S", "i_S", "o"], ["B-S", "I-S", "O"]),
        (["B:a", "I:a", "O"], ["B-a", "I-a", "O"]),
        (["B", "M", "E", "S"], ["B-_", "I-_", "E-_", "S-_"]),
        (["B-", "O"], ["B-_", "O"]),
    ],
)
def test_every_scheme_in_one_form(labels, expected):
    assert span_tags(labels) == dict(zip(labels, expected, strict=True))
    check_spans(labels, "here")


@pytest.mark.parametrize("labels", [["NOUN", "VERB"], ["O", "S"], ["O", "X"], ["E-x", "O"]])
def test_labels_without_a_span_are_none(labels):
    assert span_tags(labels) == {}


def test_labels_that_mark_no_span_are_refused():
    with pytest.raises(ConfigError) as caught:
        check_spans(["B-x", "I-x", "O", "X"], "task 't'")
    assert str(caught.value) == (
        "task 't': metric: 'seqeval_f1' scores spans (B-x, I-x, O and the like), and 'X' marks "
        "none; map them to 'O' or to a tag with label_map ({'X': 'O'}), or take 'accuracy' or "
        "'macro_f1', which score words"
    )
    with pytest.raises(ConfigError, match=r"'A', 'B2', 'C', \.\.\. mark none; for plain tags take"):
        check_spans(["A", "B2", "C", "D"], "here")
