"""The sentences of the demo, and one maker of rows for each task.

Three tasks compare two *notes* ("Emma bought seven lamps at the market on Friday."): do they say
the same, in which detail do they differ, how many details do they share? All three need one skill:
to find the same detail in both texts. Naming the topic of a sentence, the mood of a review and the
parts of a note need other skills, and guessing how a coin fell needs none.

Nothing but the answer depends on the label: sentence patterns, replaced details and their
replacements are drawn before or without it, so that neither text of a pair gives it away alone.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gradts_plugin.demo import words

#: A note's details by name.
Note = Mapping[str, str]
Row = dict[str, Any]

DETAILS: Final[Mapping[str, Sequence[str]]] = {
    "person": words.PERSONS,
    "verb": words.VERBS,
    "number": words.NUMBERS,
    "thing": words.THINGS,
    "place": words.PLACES,
    "time": words.TIMES,
}

#: The details in which two notes of a pair may differ.
COMPARED: Final = ("person", "thing", "place", "time")

#: Shares of them that two notes can have in common.
SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)

NOTE_PATTERNS: Final = (
    "{person} {verb} {number} {thing} {place} {time}.",
    "{Time}, {person} {verb} {number} {thing} {place}.",
    "{Place}, {person} {verb} {number} {thing} {time}.",
    "It was {time} that {person} {verb} {number} {thing} {place}.",
    "{Number} {thing} were {verb} by {person} {place} {time}.",
)

REVIEW_PATTERNS: Final = (
    "The {judged} was {adverb} {first} {remark}.",
    "I found the {judged} {adverb} {first} and {second}.",
    "If you ask me, the {judged} was {first} and {second}.",
    "{Remark}, the {judged} was {first}.",
    "My friends called the {judged} {first}, and it was {adverb} {second}.",
)

TAGS: Final = ("O", "PERSON", "NUMBER", "THING", "PLACE", "TIME")


def same_row(rng: random.Random, label: str) -> Row:
    """Do two notes say the same in other words? If not, one or two details differ."""
    note = _note(rng)
    changed = _changed(rng, note, rng.sample(COMPARED, rng.choice((1, 2))))
    return _two_notes(rng, note, note if label == "yes" else changed)


def difference_row(rng: random.Random, label: str) -> Row:
    """In which detail do two notes differ?"""
    note = _note(rng)
    return _two_notes(rng, note, _changed(rng, note, [label]))


def overlap_row(rng: random.Random, label: float) -> Row:
    """Which share of four details do two notes have in common?"""
    note = _note(rng)
    num_changed = round((1 - label) * len(COMPARED))
    return _two_notes(rng, note, _changed(rng, note, rng.sample(COMPARED, num_changed)))


def topic_row(rng: random.Random, label: str) -> Row:
    """What is the sentence about?"""
    return {"text_a": " ".join(rng.choice(part) for part in words.TOPICS[label]) + "."}


def mood_row(rng: random.Random, label: str) -> Row:
    """Was it good or bad?"""
    first, second = rng.sample(words.JUDGEMENTS[label], 2)
    details = {
        "judged": rng.choice(words.JUDGED),
        "adverb": rng.choice(words.ADVERBS),
        "first": first,
        "second": second,
        "remark": rng.choice(words.REMARKS),
    }
    return {"text_a": _sentence(rng.choice(REVIEW_PATTERNS), details)}


def coin_row(rng: random.Random, label: str) -> Row:  # noqa: ARG001  # that is the point
    """A sentence of one of the other kinds; its label is drawn without looking at it."""
    topic, mood = rng.choice(list(words.TOPICS)), rng.choice(list(words.JUDGEMENTS))
    return rng.choice([topic_row(rng, topic), mood_row(rng, mood)])


def parts_row(rng: random.Random, label: None) -> Row:  # noqa: ARG001  # one per word instead
    """Which words of a note are the person, number, thing, place and time?"""
    note = _note(rng)
    tokens = (
        _sentence(rng.choice(NOTE_PATTERNS), note).replace(",", " ,").replace(".", " .").split()
    )
    # The last word of a place or time carries its tag: "at the market" is marked at "market".
    tag_of = {note[tag.lower()].split()[-1].lower(): tag for tag in TAGS if tag != "O"}
    return {"tokens": tokens, "labels": [tag_of.get(token.lower(), "O") for token in tokens]}


def _note(rng: random.Random) -> dict[str, str]:
    return {name: rng.choice(choices) for name, choices in DETAILS.items()}


def _changed(rng: random.Random, note: Note, details: Sequence[str]) -> dict[str, str]:
    """A copy of a note with other values for some details."""
    others = {
        name: rng.choice([value for value in DETAILS[name] if value != note[name]])
        for name in details
    }
    return {**note, **others}


def _two_notes(rng: random.Random, first: Note, second: Note) -> Row:
    """Two notes in different sentence patterns, so that no two texts are ever equal."""
    pattern_a, pattern_b = rng.sample(NOTE_PATTERNS, 2)
    return {"text_a": _sentence(pattern_a, first), "text_b": _sentence(pattern_b, second)}


def _sentence(pattern: str, details: Mapping[str, str]) -> str:
    """Fills a pattern; a capitalised place holder starts the sentence."""
    capitalised = {
        name.capitalize(): value[0].upper() + value[1:] for name, value in details.items()
    }
    return pattern.format(**details, **capitalised)
