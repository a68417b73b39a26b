"""Tags that mark spans, in every scheme in use, and as the one that spans are counted in.

Known are B, I and O; E, S, L, U, M and W for the ends, single words and middles of IOBES, BILOU,
BMES and BMEWO; before the type (`B-per`, `B_per`, `B:per`) or after it (`per-B`), or without one
(`B`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from gradts_plugin.errors import ConfigError

#: Letter of a scheme -> the letter of IOBES that means the same.
_IOBES: Mapping[str, str] = {
    **dict(zip("BIES", "BIES", strict=True)),
    **{"L": "E", "U": "S", "W": "S", "M": "I"},
}
_LETTERS = "[" + "".join(_IOBES) + "]"


def span_tags(labels: Sequence[str]) -> dict[str, str]:
    """The labels that mark spans, in IOBES with the letter first (`B-per`); `O` is among them.

    Args:
        labels: all labels of a task.

    Returns:
        Label -> its form in IOBES, in the reading that fits most labels; empty where they mark no
        spans. A label that is missing marks none.
    """
    read = max((_read(labels, reading) for reading in _READINGS), key=len)
    letters = {tag[0] for tag in read.values()}
    return read if letters & {"B", "I"} else {}


def check_spans(labels: Sequence[str], where: str) -> None:
    """Refuses to score spans of labels that mark none.

    Args:
        labels: all labels of a task.
        where: the task, for the message.

    Raises:
        ConfigError: names the labels that mark no span, and the metrics that fit.
    """
    known = span_tags(labels)
    odd = [label for label in labels if label not in known]
    if not odd:
        return
    named = ", ".join(repr(label) for label in odd[:3]) + (", ..." if len(odd) > 3 else "")
    remedy = (
        f"map them to 'O' or to a tag with label_map ({{{odd[0]!r}: 'O'}}), or take"
        if known
        else "for plain tags take"
    )
    raise ConfigError(
        f"{where}: metric: 'seqeval_f1' scores spans (B-x, I-x, O and the like), and {named} "
        f"{'marks' if len(odd) == 1 else 'mark'} none; {remedy} 'accuracy' or 'macro_f1', which "
        "score words"
    )


def _read(labels: Sequence[str], reading: Callable[[str], str | None]) -> dict[str, str]:
    return {
        label: tag
        for label in labels
        if (tag := "O" if label in ("O", "o") else reading(label)) is not None
    }


def _matched(pattern: re.Pattern[str], label: str) -> str | None:
    found = pattern.fullmatch(label)
    if found is None:
        return None
    parts = found.groupdict()
    return f"{_IOBES[parts['letter'].upper()]}-{parts.get('type') or '_'}"


#: The ways to write a tag: before its type, after it, without one; the first of equals wins.
_READINGS = [
    partial(_matched, re.compile(form.replace("LETTER", f"(?P<letter>{_LETTERS})"), re.I | re.S))
    for form in (
        *(f"LETTER[{separator}](?P<type>.*)" for separator in "-_:./|"),
        *(f"(?P<type>.*)[{separator}]LETTER" for separator in "-_:./|"),
        "LETTER",
    )
]
