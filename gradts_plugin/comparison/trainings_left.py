"""How many trainings a comparison has left at most."""

from __future__ import annotations

from gradts_plugin.comparison.methods import MethodSettings, settings_of
from gradts_plugin.comparison.oracle import oracle_subsets
from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.engine.session import Session, candidate_tasks
from gradts_plugin.planning.plan import make_plan
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.settings.selection import GradTSSettings


class TrainingsLeft:
    """How many trainings are left at most; what is stored, or shared by methods, is not known."""

    def __init__(self, first: Session, compare_file: CompareFile, settings: MethodSettings) -> None:
        self._first = first
        self._file = compare_file
        self._settings = settings
        # (primary, method; None: the oracle) -> upper bound.
        self._bounds = {
            (primary, part): self._bound(primary, part)
            for primary in compare_file.primaries
            for part in (*compare_file.methods, None)
        }

    def before(self, primary: str, part: str | None) -> tuple[int, str]:
        """What to expect before a part: the number of trainings, and what the part is."""
        parts = list(self._bounds)
        here = parts.index((primary, part))
        for key in parts[here:]:
            if key[0] == primary:  # by now more may be stored
                self._bounds[key] = self._bound(*key)
        return sum(self._bounds[key] for key in parts[here:]), f"{primary}, {part or 'oracle'}"

    def _bound(self, primary: str, part: str | None) -> int:
        seeds = self._file.evaluation_seeds
        if part is None:
            shared = settings_of(self._file, primary, None)
            candidates = shared_candidates(self._first, shared)
            subsets = oracle_subsets(candidates, candidates) if self._file.oracle else []
            engine = Engine.of(self._first.with_settings(shared))
            return _of_alone(engine, seeds) + seeds * len(subsets)
        engine = Engine.of(self._first.with_settings(self._settings[primary, part]))
        planned = make_plan(engine, final_training=False, look_ahead=False)
        own = sum(found.num_to_do or 0 for found in planned.parts if "probes" not in found.what)
        return own + _of_alone(engine, seeds)  # what is selected takes no more than alone


def _of_alone(engine: Engine, num_seeds: int) -> int:
    """Trainings of the primary alone, which may be tried at two lengths."""
    return engine.trainings.num_trainings(TrialRequest((), range(num_seeds)))


def shared_candidates(session: Session, shared: GradTSSettings) -> tuple[str, ...]:
    """The candidates that the file itself names for a primary, whatever single methods do."""
    return candidate_tasks(shared, [info.name for info in session.host.tasks()])
