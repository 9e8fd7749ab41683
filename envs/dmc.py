"""Tasks of the DeepMind control suite (Tassa et al. 2018), drawn by MuJoCo."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from envs.pixels import Outcome
from envs.rendering import GL_HELP, choose_gl, draw_fast
from envs.snapshot import Snapshot, copy_mujoco, take
from worldmodel.errors import EnvError

UNLIMITED = 1e10  # what MuJoCo gives as the bound of a control without one
BULKY = ("tex_", "mesh_", "hfield_", "skin_", "bvh_")


@dataclass(frozen=True)
class DmcSnapshot:
    """A moment of a `DmcSimulator`."""

    task: Snapshot
    put_data_back: Callable[[], None]
    episode: list[np.ndarray]


class DmcSimulator:
    """A suite task without its time limit, seen by its camera 0.

    Args:
        domain, task: as in ``suite.load``.
        size: (height, width) of its frames.
        fast: see `envs.rendering.draw_fast`.

    Raises EnvError for an unknown domain or task, and when OpenGL does not work.
    """

    def __init__(self, domain: str, task: str, *, size: tuple[int, int], fast: bool) -> None:
        self._name = f"{domain} {task}"
        suite = _import_suite()
        _check_known("domain", domain, suite.TASKS_BY_DOMAIN)
        _check_known(f"task of {domain}", task, suite.TASKS_BY_DOMAIN[domain])
        env = suite.load(domain, task)
        # A step of `env` also makes observations, which nobody reads and which can cost as much as physics.
        self._task, self._physics = env.task, env.physics
        self._substeps = round(env.control_timestep() / env.physics.timestep())
        bounds = env.action_spec()
        limits = np.stack([bounds.minimum, bounds.maximum])
        low, high = np.where(np.abs(limits) < UNLIMITED, limits, np.inf * np.sign(limits))
        self.action_space = Box(low, high, dtype=np.float64)
        self._camera = _camera(self._physics, size, fast)
        self._model = _changeable(self._physics.model.ptr)
        self._episode = [array.copy() for array in self._model]  # values of the model in this episode

    def reset(self, seed: int | None) -> None:
        """A seed gives the episode that ``suite.load(..., task_kwargs={"random": seed})`` starts with."""
        if seed is not None:
            if seed >= 2**32:
                raise EnvError(f"seed {seed} is too large for dm_control: give one below 2**32")
            self._task.random.seed(seed)
        with self._physics.reset_context():
            self._task.initialize_episode(self._physics)
        self._episode = [array.copy() for array in self._model]

    def step(self, action: np.ndarray) -> Outcome:
        """Discount 0 at the end is termination; an end without it is truncation."""
        self._task.before_step(action, self._physics)
        self._physics.step(self._substeps)
        self._task.after_step(self._physics)
        discount = self._task.get_termination(self._physics)  # None while the episode goes on
        terminated = discount == 0
        return Outcome(float(self._task.get_reward(self._physics)), terminated, discount is not None and not terminated)

    def render(self) -> np.ndarray:
        """The frame (H, W, 3) uint8."""
        return self._camera.render()

    def snapshot(self) -> DmcSnapshot:
        """All of MuJoCo's data, so that steps go on to the last bit; the task; what it set in the model."""
        task = take(self._task, name=self._name, keep=(self._physics,))
        return DmcSnapshot(task, copy_mujoco(self._physics.data.ptr), self._episode)

    def restore(self, snapshot: DmcSnapshot) -> None:
        """Microseconds for the data, tens of them for the task's random numbers."""
        snapshot.task.restore()
        snapshot.put_data_back()
        if snapshot.episode is not self._episode:
            self._episode = snapshot.episode
            for array, values in zip(self._model, self._episode, strict=True):
                array[...] = values

    def positions(self) -> np.ndarray:
        """Centres of mass (m, 3) float64 metres, without the world: a body may turn about its origin."""
        return self._physics.data.xipos[1:].copy()

    def close(self) -> None:
        """Frees OpenGL and MuJoCo memory."""
        self._physics.free()


def _changeable(model: Any) -> list[np.ndarray]:
    """The arrays in which tasks set up an episode (reacher's target): all but shapes and pictures, some 10 kB."""
    names = [name for name in dir(model) if not name.startswith(("_", *BULKY))]
    arrays = [getattr(model, name) for name in names]
    return [array for array in arrays if isinstance(array, np.ndarray) and array.flags.writeable]


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
