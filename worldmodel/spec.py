"""What a model must know of the environment its data came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from worldmodel.errors import DataError


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
        """Inverse of `to_json`; raises KeyError when a field is missing, DataError when one is of another kind."""
        values = {field.name: data[field.name] for field in fields(cls)}
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        for name, fits in _FITS.items():
            if not fits(plain[name]):
                raise DataError(f"says that its environment's {name} is {plain[name]!r:.80}: copy it again")
        bounds = 0 if plain["action_kind"] == "discrete" else plain["action_size"]
        if not len(plain["action_low"]) == len(plain["action_high"]) == bounds:
            raise DataError(
                f"says that its environment's {plain['action_size']} {plain['action_kind']} actions have "
                f"{len(plain['action_low'])} lower and {len(plain['action_high'])} upper bounds: copy it again"
            )
        return cls(**plain)


def _is_whole(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_numbers(value: object) -> bool:
    return isinstance(value, tuple) and all(type(number) in (int, float) and number == number for number in value)


_FITS: dict[str, Callable[[object], bool]] = {
    "env": _is_text,
    "task": _is_text,
    "action_kind": lambda value: value in ("box", "discrete"),
    "action_size": lambda value: _is_whole(value, 0),
    "action_low": _are_numbers,
    "action_high": _are_numbers,
    "action_repeat": lambda value: _is_whole(value, 1),
    "time_limit": lambda value: _is_whole(value, 0),
    "frame_size": lambda value: isinstance(value, tuple) and len(value) == 2 and all(_is_whole(v, 1) for v in value),
}
