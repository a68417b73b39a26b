"""Who makes what a run needs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from gradts_plugin.settings.parsing import Settings


class ExecutorSettings(Settings):
    """Who makes probes and trainings; what is selected does not depend on it.

    Attributes:
        kind: local: this process, one after the other; processes: several processes of this
            machine; ray: tasks of a Ray cluster.
        jobs: so many at a time; null: one for each GPU, without any one for each core; ray: as many
            as the cluster has room for.
        threads: of each process; null: its share of the cores; ray: `cpus_per_job`. Sums over
            another number of threads may differ in their last digit.
        address: of the Ray cluster, host:port; auto: the one that this machine is part of; local:
            this machine alone, for as long as the run takes.
        cpus_per_job: cores of a node that a job takes (ray).
        gpus_per_job: GPUs of a node that a job takes, 0.25 for four jobs on each (ray); null: one
            where the cluster has any.
    """

    kind: Literal["local", "processes", "ray"] = "local"
    jobs: Annotated[int, Field(gt=0, le=512)] | None = None
    threads: Annotated[int, Field(gt=0, le=512)] | None = None
    address: str = "auto"
    cpus_per_job: Annotated[int, Field(gt=0, le=512)] = 1
    gpus_per_job: Annotated[float, Field(ge=0, le=1)] | None = None

    @field_validator("address")
    @classmethod
    def _is_no_client(cls, value: str) -> str:
        if "://" in value:
            raise ValueError(
                f"host:port, auto or local is needed, found {value!r}: start the run on a node of "
                "the cluster, which has its files, too"
            )
        return value
