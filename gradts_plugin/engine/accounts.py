"""The accounts of a run: what was made, what was found, and what all of it costs to know."""

from __future__ import annotations

from dataclasses import dataclass, field

from gradts_plugin.records import Cost, Counters


@dataclass
class Accounts:
    """What a run did and used, written down by those who find or make it.

    Attributes:
        counters: what was made and what was found stored.
        seconds: wall time per phase.
        costs: what each probe, training and computed value that was used took when it was made, by
            digest: what this run would take with nothing stored.
    """

    counters: Counters = field(default_factory=Counters)
    seconds: dict[str, float] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)

    @property
    def cost(self) -> Cost:
        """What everything used so far took when it was computed."""
        return sum(self.costs.values(), Cost())

    def training_made(self, digest: str, cost: Cost) -> None:
        """Counts a training that was made, and of which `training_ran` told."""
        self.costs[digest] = cost

    def training_ran(self, num_steps: int) -> None:
        """Counts a training of the host, stored or not."""
        self.counters.training_runs += 1
        self.counters.training_steps += num_steps

    def training_found(self, digest: str, cost: Cost) -> None:
        """Counts a training that was found stored; each one once."""
        self.counters.training_runs_reused += digest not in self.costs
        self.costs[digest] = cost

    def probe_used(self, digest: str, cost: Cost, *, reused: bool) -> None:
        """Counts a probe."""
        self.counters.probes_reused += reused
        self.counters.probes += not reused
        self.costs[digest] = cost
