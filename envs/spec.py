"""Between an environment's actions and the vectors that models and episodes hold."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from worldmodel.errors import EnvError
from worldmodel.spec import EnvSpec

__all__ = ["EnvSpec", "action_vector", "env_action", "env_spec"]


def env_spec(env: gymnasium.Env[Any, Any]) -> EnvSpec:
    """What a model must know of `env`, through any wrappers; EnvError for an environment that is not one of ours."""
    spec = getattr(env.unwrapped, "env_spec", None)
    if not isinstance(spec, EnvSpec):
        raise EnvError(f"{env} has no env_spec: make it with envs.make_env")
    return spec


def action_vector(spec: EnvSpec, action: Any) -> np.ndarray:
    """The environment's action as a vector (a,) float32: itself, or one-hot when discrete.

    Raises EnvError for an action that the environment does not have.
    """
    a = spec.action_size
    if spec.action_kind == "discrete":
        if not (np.ndim(action) == 0 and action in range(a)):
            raise EnvError(f"action {action!r} is not one of the integers 0 to {a - 1} of {spec.task}")
        return np.eye(a, dtype=np.float32)[int(action)]
    vector = np.array(action, np.float32)
    _check_shape(spec, vector)
    return vector


def env_action(spec: EnvSpec, vector: np.ndarray) -> np.ndarray | int:
    """The environment's action for a vector (a,): itself as float32, or the index of its largest entry when discrete.

    Raises EnvError for a vector of another size.
    """
    _check_shape(spec, vector)
    return int(np.argmax(vector)) if spec.action_kind == "discrete" else np.array(vector, np.float32)


def _check_shape(spec: EnvSpec, vector: np.ndarray) -> None:
    if np.shape(vector) != (spec.action_size,):
        raise EnvError(f"an action of shape {np.shape(vector)} does not fit {spec.task}: give ({spec.action_size},)")
