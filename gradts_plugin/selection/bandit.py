"""AUTOSEM's first stage: a bandit that learns inside one training run which tasks help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradts_plugin.json_forms import JsonObject, from_json, to_json
from gradts_plugin.records import FloatArray, IntArray
from gradts_plugin.scores import Score


@dataclass(frozen=True)
class _State:
    """What a bandit knows: of each arm, of the last round, and where its random stream is."""

    alpha: FloatArray
    beta: FloatArray
    rounds: IntArray
    arm: int
    score: float
    random: JsonObject


class BetaBernoulliBandit:
    """Thompson sampling over tasks whose use may change while the model learns.

    Guo et al. 2019 (AUTOSEM), stage 1. Every arm has a posterior Beta(alpha, beta). A round
    trains the arm with the largest draw, and pays 1 if the primary's dev score is at least that
    of the round before. Before the payment counts, all posteriors decay towards the prior:

        alpha_k <- (1 - decay) alpha_k + decay alpha0      beta_k likewise
        alpha_k* += reward                                 beta_k* += 1 - reward

    It is a `records.TaskScheduler`. The first round trains the first arm, the primary, and is
    compared with a score of 0, as in the original. The reproduction by the authors of GradTS
    (`first_round_counts` False) compares it with nothing: it pays 0 and leaves the posteriors as
    they are. An undefined score counts as 0.
    """

    def __init__(
        self,
        arms: Sequence[str],
        *,
        decay: float,
        alpha0: float,
        beta0: float,
        seed: int,
        first_round_counts: bool = True,
    ) -> None:
        """Knows nothing yet.

        Args:
            arms: task names, the primary first.
            decay: gamma, how much of what was learned is forgotten each round, in [0, 1].
            alpha0: prior; what is forgotten becomes it.
            beta0: prior.
            seed: of the draws.
            first_round_counts: whether the first round changes what is known.
        """
        self._arms = tuple(arms)
        self._decay, self._prior, self._seed = decay, (alpha0, beta0), seed
        self._alpha = np.full(len(self._arms), float(alpha0))
        self._beta = np.full(len(self._arms), float(beta0))
        self._rounds = np.zeros(len(self._arms), dtype=np.int64)
        self._arm = 0
        self._score = 0.0
        self._rng = np.random.default_rng(seed)
        self._first_round_counts = first_round_counts

    @property
    def identity(self) -> JsonObject:
        """Everything the decisions depend on beside the scores, as JSON values."""
        return {
            "scheduler": "beta-bernoulli bandit",
            "decay": self._decay,
            "prior": list(self._prior),
            "seed": self._seed,
            "first_round_counts": self._first_round_counts,
            "version": 1,  # raised when the same scores lead to other decisions
        }

    @property
    def utilities(self) -> dict[str, float]:
        """Each task's expected reward, alpha / (alpha + beta), in (0, 1)."""
        return {
            name: float(alpha / (alpha + beta))
            for name, alpha, beta in zip(self._arms, self._alpha, self._beta, strict=True)
        }

    @property
    def rounds(self) -> dict[str, int]:
        """How many rounds each task was trained."""
        return {name: int(count) for name, count in zip(self._arms, self._rounds, strict=True)}

    def next_task(self) -> str:
        """The task of the next round: the primary at first, then the largest posterior draw."""
        if self._rounds.any():
            draws = self._rng.beta(self._alpha, self._beta)
            self._arm = int(self._rng.choice(np.flatnonzero(draws == draws.max())))
        return self._arms[self._arm]

    def observe(self, score: Score) -> None:
        """Told the primary's dev score after the round; updates the posteriors."""
        score = 0.0 if score is None else score
        if self._first_round_counts or self._rounds.any():
            reward = float(score >= self._score)
            alpha0, beta0 = self._prior
            self._alpha = (1 - self._decay) * self._alpha + self._decay * alpha0
            self._beta = (1 - self._decay) * self._beta + self._decay * beta0
            self._alpha[self._arm] += reward
            self._beta[self._arm] += 1 - reward
        self._rounds[self._arm] += 1
        self._score = score

    def state(self) -> JsonObject:
        """Everything it knows, the random stream included."""
        random = self._rng.bit_generator.state
        known = _State(self._alpha, self._beta, self._rounds, self._arm, self._score, random)
        written: JsonObject = to_json(known)
        return written

    def restore(self, state: JsonObject) -> None:
        """Goes on exactly where `state` was taken."""
        known = from_json(_State, state, where="the bandit's state")
        self._alpha, self._beta, self._rounds = known.alpha, known.beta, known.rounds
        self._arm, self._score = known.arm, known.score
        self._rng.bit_generator.state = known.random
