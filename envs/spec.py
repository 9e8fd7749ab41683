"""What a model must know of an environment, and between its actions and the vectors that models and episodes hold."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from worldmodel.errors import EnvError
from worldmodel.spec import EnvSpec

__all__ = ["EnvSpec", "action_space", "action_vector", "action_vectors", "describe", "env_action", "env_spec"]


def env_spec(env: gymnasium.Env[Any, Any]) -> EnvSpec:
    """What a model must know of `env`, through any wrappers; EnvError for an environment that is not one of ours."""
    spec = getattr(env.unwrapped, "env_spec", None)
    if not isinstance(spec, EnvSpec):
        raise EnvError(f"{env} has no env_spec: make it with envs.make_env")
    return spec


def describe(
    space: gymnasium.Space[Any], *, env: str, task: str, action_repeat: int, time_limit: int, size: tuple[int, int]
) -> EnvSpec:
    """The `EnvSpec` of a task whose simulator has this action space; EnvError for one that cannot be used."""
    kind: Literal["box", "discrete"]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    if isinstance(space, Discrete):
        kind, n = "discrete", int(space.n)
    elif isinstance(space, Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating):
        kind, n = "box", space.shape[0]
        low, high = tuple(space.low.tolist()), tuple(space.high.tolist())
        if not np.isfinite([low, high]).all():
            raise EnvError(f"{task} has unbounded actions, {space}: [-1, 1] can only be scaled to finite bounds")
    else:
        raise EnvError(f"{task} takes actions from {space}: only vectors (a one-dimensional Box) and Discrete will do")
    return EnvSpec(env, task, kind, n, low, high, action_repeat, time_limit, size)


def action_space(spec: EnvSpec) -> Box | Discrete:
    """Of every environment of ours that a spec describes, real or imagined."""
    return Box(-1, 1, (spec.action_size,), np.float32) if spec.action_kind == "box" else Discrete(spec.action_size)


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


def action_vectors(spec: EnvSpec, actions: Any, rows: int) -> np.ndarray:
    """The environment's actions, one a row, as vectors (rows, a) float32: themselves, or one-hot when discrete.

    Raises EnvError for a wrong number or kind of them, and for the first that the environment does not have.
    """
    a, given = spec.action_size, np.asarray(actions)
    if spec.action_kind == "discrete":
        if given.shape != (rows,) or not np.issubdtype(given.dtype, np.integer):
            raise EnvError(f"actions are {given.dtype} {given.shape}: {spec.task} takes {rows} integers, one a row")
        fits = (given >= 0) & (given < a)
        vectors, mend = np.eye(a, dtype=np.float32)[np.where(fits, given, 0)], f"give integers 0 to {a - 1}"
    else:
        if given.shape != (rows, a) or not np.issubdtype(given.dtype, np.number):
            raise EnvError(f"actions are {given.dtype} {given.shape}: {spec.task} takes numbers ({rows}, {a})")
        vectors, mend = given.astype(np.float32), "clip them to [-1, 1], and see to what makes NaN"
        fits = np.abs(vectors).max(1) <= 1  # NaN is not
    if not fits.all():
        row = int(np.flatnonzero(~fits)[0])
        raise EnvError(f"the action of row {row} is {given[row].tolist()}, which {spec.task} does not have: {mend}")
    return vectors


def env_action(spec: EnvSpec, vector: np.ndarray) -> np.ndarray | int:
    """The environment's action for a vector (a,): itself as float32, or the index of its largest entry when discrete.

    Raises EnvError for a vector of another size.
    """
    _check_shape(spec, vector)
    return int(np.argmax(vector)) if spec.action_kind == "discrete" else np.array(vector, np.float32)


def _check_shape(spec: EnvSpec, vector: np.ndarray) -> None:
    if np.shape(vector) != (spec.action_size,):
        raise EnvError(f"an action of shape {np.shape(vector)} does not fit {spec.task}: give ({spec.action_size},)")
