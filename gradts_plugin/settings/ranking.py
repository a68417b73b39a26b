"""How the candidates are ranked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gradts_plugin.settings.choice import Choice
from gradts_plugin.settings.parsing import Affects, Settings


class RankingSettings(Settings):
    """How the candidates are ranked, and how taus and their intervals are computed.

    Attributes:
        ranker: heads is GradTS; size, random, embedding, logme, gradients, matching, transfer,
            task-vectors, lookahead and donors are what it is compared with; or one that a plugin
            adds. With settings of its own: `{name: embedding, max_instances: 200}`.
        common: `remove` divides every task's profile by the mean profile of all tasks before
            correlating, because every task on one encoder shares the encoder's own profile;
            `keep` is the published correlation.
        correlation: correlates head importance.
        bootstrap: draws for the intervals.
        confidence: level of the intervals.
        seed: of the draws, and of the samples that other rankers than heads look at.
    """

    ranker: Annotated[Choice, Affects(("computed",))] = Choice(name="heads")
    common: Literal["keep", "remove"] = "keep"
    correlation: str = "kendall"
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = 1000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: Annotated[int, Field(ge=0, lt=2**32), Affects(("computed",))] = 0
