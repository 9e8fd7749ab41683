"""What a model must know of the environment its data came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True)
class EnvSpec:
    """An environment as its episodes and its model see it; written into every episode and checkpoint.

    Attributes:
        env: short name, as in result folders (``cartpole``).
        task: the task within it (``swingup``), or the Gymnasium id (``CartPole-v1``).
        action_kind: ``box`` (vectors in [-1, 1]) or ``discrete`` (one-hot vectors).
        action_size: dimensions of a box action, or number of discrete choices.
        action_low, action_high: the simulator's own bounds that [-1, 1] is scaled to; empty when discrete.
        action_repeat: simulator steps per decision.
        time_limit: simulator steps after which an episode is truncated; 0 when there is none.
        frame_size: (height, width) in pixels.
    """

    env: str
    task: str
    action_kind: Literal["box", "discrete"]
    action_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    action_repeat: int
    time_limit: int
    frame_size: tuple[int, int]

    def to_json(self) -> dict[str, Any]:
        """Plain lists, numbers and strings."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EnvSpec:
        """Inverse of `to_json`; raises KeyError when a field is missing."""
        values = {field.name: data[field.name] for field in fields(cls)}
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)
