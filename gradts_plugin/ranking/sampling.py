"""What the rankers that look at a sample of instances are steered by."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gradts_plugin.settings.parsing import Affects, Settings


class SamplingSettings(Settings):
    """How much of a task a ranker looks at.

    Attributes:
        max_instances: so many instances of a task (a sample seeded by `ranking.seed`); None: all.
    """

    max_instances: Annotated[
        Annotated[int, Field(gt=0, le=10**9)] | None, Affects(("computed",))
    ] = 400
