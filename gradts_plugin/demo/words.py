"""The vocabularies of the generated sentences.

Within a list every word fits every place its list is used in, so that any combination reads as
English; nearly all are single word pieces of BERT's uncased vocabulary, which keeps texts short.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# --- notes: who did what with how many of which things, where and when --------------------------

PERSONS: Final = _words(
    """Alice Anna Ben Bruno Clara Daniel David Diana Edith Emma Frank George Grace Helen Henry Irene
    Ivan Jack Jane Julia Karen Kevin Laura Leo Maria Martin Michael Nathan Nora Olivia Oscar Paula
    Peter Rachel Robert Samuel Simon Sofia Susan Teresa Thomas Victor Walter Wendy"""
)

#: Past participle and simple past in one word, and plausible with every thing below.
VERBS: Final = _words(
    "bought sold found lost ordered counted collected donated wrapped painted photographed"
)

NUMBERS: Final = _words(
    """two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty
    sixty"""
)

THINGS: Final = _words(
    """apples lamps chairs books tickets candles carpets bottles pencils shirts hats cameras mirrors
    guitars radios blankets baskets knives plates stamps coins maps letters tomatoes lemons
    potatoes eggs flowers clocks boxes"""
)

PLACES: Final = (
    "at the market", "at the station", "in the library", "at the harbour", "in the museum",
    "at the airport", "in the village", "at the hotel", "in the garden", "at the school",
    "in the park", "at the bakery", "in the theatre", "at the farm", "in the church",
    "at the stadium", "in the castle", "at the bank",
)  # fmt: skip

TIMES: Final = (
    "on Monday", "on Tuesday", "on Wednesday", "on Thursday", "on Friday", "on Saturday",
    "on Sunday", "in January", "in February", "in March", "in April", "in June", "in August",
    "in September", "in October", "in December",
)  # fmt: skip

# --- news: topic -> subjects, what they did, how ------------------------------------------------
TOPICS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "cooking": (
        ("The cook", "My grandmother", "The baker", "A chef", "The kitchen helper", "Our host",
         "The new waiter", "A hungry student"),
        ("baked a cake", "stirred the soup", "chopped the onions", "fried the fish",
         "seasoned the stew", "tasted the sauce", "kneaded the dough", "roasted a chicken"),
        ("for the guests", "with plenty of butter", "before dinner", "over a low flame",
         "with fresh herbs", "from an old recipe", "in a large pan", "without any salt"),
    ),
    "sport": (
        ("The team", "Our goalkeeper", "The young runner", "The coach", "A tennis player",
         "The swimmer", "The champion", "A tired cyclist"),
        ("won the final", "lost the match", "trained hard", "missed the penalty",
         "broke the record", "entered the race", "scored twice", "led the league"),
        ("before a loud crowd", "in the last minute", "after a long season", "despite an injury",
         "against all odds", "for the third time", "with great effort", "under a new captain"),
    ),
    "weather": (
        ("A cold wind", "Heavy rain", "The thick fog", "Bright sunshine", "A summer storm",
         "Light snow", "The heat wave", "A hard frost"),
        ("covered the valley", "reached the coast", "moved over the hills", "lasted all night",
         "ended by noon", "surprised the forecasters", "returned in the evening",
         "kept everybody indoors"),
        ("from the north", "across the region", "after a dry week", "with low clouds",
         "until the morning", "for several days", "along the river", "without a warning"),
    ),
}  # fmt: skip

# --- reviews: what is judged, and by which words ------------------------------------------------
JUDGED: Final = (
    "film", "hotel room", "meal", "concert", "train ride", "novel", "telephone", "guided tour",
    "coffee", "play", "service", "jacket", "lecture", "game", "museum visit", "haircut",
    "breakfast", "exhibition", "ferry trip", "website",
)  # fmt: skip

ADVERBS: Final = _words("really quite truly rather simply")

JUDGEMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "good": _words(
        "wonderful delightful splendid charming superb pleasant brilliant lovely fantastic perfect"
    ),
    "bad": _words(
        "terrible boring dreadful poor disappointing horrible dull shabby miserable frustrating"
    ),
}

REMARKS: Final = (
    "from start to finish", "as everybody said", "for the price", "this time", "in every way",
    "to be honest", "as far as I can tell", "according to my sister", "once again",
    "compared with last year",
)  # fmt: skip
