"""Who makes what a run needs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gradts_plugin.settings.parsing import Settings


class ExecutorSettings(Settings):
    """Who makes probes and trainings; what is selected does not depend on it.

    Attributes:
        kind: local: this process, one after the other; processes: several processes of this
            machine.
        jobs: so many at a time; null: one for each GPU, without any one for each core.
        threads: of each process; null: its share of the cores. Sums over another number of
            threads may differ in their last digit.
    """

    kind: Literal["local", "processes"] = "local"
    jobs: Annotated[int, Field(gt=0, le=512)] | None = None
    threads: Annotated[int, Field(gt=0, le=512)] | None = None
