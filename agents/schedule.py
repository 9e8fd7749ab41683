"""How much a run does, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass

from worldmodel.errors import ConfigError, check_number, check_whole


@dataclass(frozen=True)
class Schedule:
    """How much of what; counts, never clocks. See `configs/cem_plan.yaml`. Raises ConfigError for what cannot be."""

    seed: int
    episodes: int
    seed_episodes: int
    first_updates: int
    updates: int
    exploration: float
    final_exploration: float
    exploration_episodes: int
    evaluate_every: int
    evaluation_episodes: int
    context: int

    def __post_init__(self) -> None:
        least = {"seed": 0, "episodes": 1, "seed_episodes": 1, "first_updates": 1, "updates": 1}
        least |= {"exploration_episodes": 1, "evaluate_every": 1, "evaluation_episodes": 1, "context": 1}
        for key, minimum in least.items():
            check_whole(key, getattr(self, key), minimum)
        if self.seed_episodes > self.episodes:
            raise ConfigError(
                f"seed_episodes ({self.seed_episodes}) exceed episodes ({self.episodes}): "
                f"set seed_episodes <= {self.episodes}"
            )
        for key in ("exploration", "final_exploration"):
            check_number(key, getattr(self, key), least=0)

    def noise(self, played: int) -> float:
        """Exploration of the episode after so many: it falls linearly from the first planned one on, then stays."""
        fallen = min(1.0, max(0, played - self.seed_episodes) / self.exploration_episodes)
        return self.exploration + fallen * (self.final_exploration - self.exploration)

    def due(self, played: int) -> bool:
        """Whether an evaluation belongs after so many episodes: every few planned ones, and after the last."""
        planned = played >= self.seed_episodes
        return planned and (played % self.evaluate_every == 0 or played == self.episodes)


@dataclass(frozen=True)
class Progress:
    """Where a run stands at an episode boundary.

    Attributes:
        episodes: played and fitted to.
        env_frames: simulator steps they took, action repeat included.
        wall_clock_s: seconds spent collecting, planning and fitting, over resumes.
        evaluation_s: seconds spent evaluating.
        metrics_bytes: length of `metrics.jsonl`.
        best_episodes, best_return: of the evaluation with the highest mean return so far; None before the first.
    """

    episodes: int = 0
    env_frames: int = 0
    wall_clock_s: float = 0.0
    evaluation_s: float = 0.0
    metrics_bytes: int = 0
    best_episodes: int | None = None
    best_return: float | None = None
