"""Tasks of the DeepMind control suite (Tassa et al. 2018), drawn by MuJoCo."""

from __future__ import annotations

import os
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from envs.pixels import Outcome
from envs.rendering import GL_HELP, choose_gl, draw_fast
from worldmodel.errors import EnvError

UNLIMITED = 1e10  # what MuJoCo gives as the bound of a control without one


class DmcSimulator:
    """A suite task without its time limit, seen by its camera 0.

    Args:
        domain, task: as in ``suite.load``.
        size: (height, width) of its frames.
        fast: see `envs.rendering.draw_fast`.

    Raises EnvError for an unknown domain or task, and when OpenGL does not work.
    """

    def __init__(self, domain: str, task: str, *, size: tuple[int, int], fast: bool) -> None:
        suite = _import_suite()
        _check_known("domain", domain, suite.TASKS_BY_DOMAIN)
        _check_known(f"task of {domain}", task, suite.TASKS_BY_DOMAIN[domain])
        self._env = suite.load(domain, task, task_kwargs={"time_limit": float("inf")})
        bounds = self._env.action_spec()
        limits = np.stack([bounds.minimum, bounds.maximum])
        low, high = np.where(np.abs(limits) < UNLIMITED, limits, np.inf * np.sign(limits))
        self.action_space = Box(low, high, dtype=np.float64)
        self._camera = _camera(self._env.physics, size, fast)

    def reset(self, seed: int | None) -> None:
        """A seed gives the episode that ``suite.load(..., task_kwargs={"random": seed})`` starts with."""
        if seed is not None:
            if seed >= 2**32:
                raise EnvError(f"seed {seed} is too large for dm_control: give one below 2**32")
            self._env.task.random.seed(seed)
        self._env.reset()

    def step(self, action: np.ndarray) -> Outcome:
        """Discount 0 at the end is termination; an end without it is truncation."""
        step = self._env.step(action)
        terminated = step.last() and step.discount == 0
        return Outcome(float(step.reward), terminated, step.last() and not terminated)

    def render(self) -> np.ndarray:
        """The frame (H, W, 3) uint8."""
        return self._camera.render()

    def close(self) -> None:
        """Frees OpenGL and MuJoCo memory."""
        self._env.physics.free()


def _import_suite() -> ModuleType:
    choose_gl()
    try:
        from dm_control import suite
    except Exception as error:  # OpenGL libraries fail to load in many ways
        raise _gl_error(error) from error
    return suite


def _camera(physics: Any, size: tuple[int, int], fast: bool) -> Any:
    """One camera kept for all frames: ``physics.render`` makes a new one for each, at 1.3 ms."""
    from dm_control.mujoco import Camera

    height, width = size
    offscreen = physics.model.vis.global_
    offscreen.offheight, offscreen.offwidth = max(offscreen.offheight, height), max(offscreen.offwidth, width)
    if fast:
        draw_fast(physics.model)
    try:
        return Camera(physics, height, width, camera_id=0)
    except Exception as error:  # as above: drivers raise what they please
        raise _gl_error(error) from error


def _gl_error(error: Exception) -> EnvError:
    backend, reason = os.environ.get("MUJOCO_GL"), str(error) or type(error).__name__
    return EnvError(
        f"MuJoCo cannot draw with MUJOCO_GL={backend} ({reason}): unset MUJOCO_GL to have one chosen, "
        f"before anything imports dm_control; where none works, {GL_HELP}"
    )


def _check_known(what: str, name: str, known: Any) -> None:
    if name not in known:
        near = get_close_matches(name, known)
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        raise EnvError(f"dm_control has no {what} named {name!r}: {guess}there are {', '.join(sorted(known))}")
