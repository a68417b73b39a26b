"""Thresholds of tau: a number, or a quantile of the taus it is applied to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gradts_plugin.settings.parsing import Settings


class Quantile(Settings):
    """A threshold given as a quantile of the taus it is applied to."""

    quantile: Annotated[float, Field(ge=0, le=1)]


#: A tau.
Tau = Annotated[float, Field(ge=-1, le=1)]
