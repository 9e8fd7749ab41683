"""Copies of a simulator's state that can be put back in place, any number of times.

Attributes are pickled: that copies whatever has no life outside Python and numpy, keeps references among them, and
refuses the rest by itself. Named here is what stays in place instead: environments within environments, whose own
attributes are copied; means of drawing; and what copies its own state, as simulators and random streams do.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Collection
from copy import copy
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from types import FunctionType, ModuleType
from typing import Any

import gymnasium
import numpy as np

from worldmodel.errors import EnvError

# Drawn anew at each frame, or constant within an environment's life.
STAY = {
    "pygame.surface.Surface",
    "pygame.time.Clock",
    "pygame.font.Font",
    "mujoco._structs.MjModel",
    "mujoco.rendering.classic.renderer.Renderer",
    "gymnasium.envs.mujoco.mujoco_rendering.MujocoRenderer",
}


@dataclass(frozen=True)
class Snapshot:
    """The state of some objects at one moment; made by `take`."""

    owners: tuple[Any, ...]
    attributes: bytes  # of each owner in turn, as one stream
    kept: tuple[Any, ...]  # what the stream refers to by number
    foreign: tuple[Callable[[], Any], ...]  # put back the state of what keeps its place

    def restore(self) -> None:
        """Gives the owners their attributes of that moment."""
        stream = _Unpickler(BytesIO(self.attributes), self.kept)
        for owner, attributes in [(owner, stream.load()) for owner in self.owners]:
            vars(owner).clear()
            vars(owner).update(attributes)
        for put_back in self.foreign:
            put_back()


def take(owner: object, *, name: str, keep: Collection[object] = ()) -> Snapshot:
    """A copy of the attributes of `owner`, and of the Gymnasium environments found in them.

    Not copied: global random streams, files, and arrays' views of one another, which become arrays of their own.

    Args:
        owner: restored in place.
        name: of the environment, for errors.
        keep: objects that stay as they are.

    Raises EnvError when something in it cannot be copied.
    """
    stream = BytesIO()
    pickler = _Pickler(stream, owner, keep)
    try:
        for found in pickler.owners:  # grows meanwhile
            pickler.dump(dict(vars(found)))
    except Exception as error:  # whatever an object raises that will not be pickled
        raise EnvError(
            f"the state of {name} cannot be copied ({error}): that takes attributes of Python, numpy and pygame alone, "
            "or a simulator by MuJoCo or Atari's ale_py"
        ) from error
    return Snapshot(tuple(pickler.owners), stream.getvalue(), tuple(pickler.kept), tuple(pickler.foreign))


def copy_mujoco(data: Any) -> Callable[[], None]:
    """Copies an ``MjData`` whole, warm start and derived quantities included; what is returned puts that back."""
    import mujoco

    return partial(mujoco.mj_copyData, data, data.model, copy(data))


def _copy_atari(ale: Any) -> Callable[[], None]:
    """Copies an emulator, its random numbers included; what is returned puts that back."""
    if ale.getFloat("repeat_action_probability") > 0:
        # ALE 0.12 leaves the action that may be repeated out of its state
        raise ValueError("sticky actions are no part of Atari's state: set env.kwargs.repeat_action_probability=0")
    return partial(ale.restoreSystemState, ale.cloneSystemState())


class _Pickler(pickle.Pickler):
    """Copies all but what stays, which it numbers."""

    def __init__(self, stream: BytesIO, owner: object, keep: Collection[object]) -> None:
        super().__init__(stream, pickle.HIGHEST_PROTOCOL)
        self.owners = [owner]
        self.kept = [owner, *keep]
        self.foreign: list[Callable[[], Any]] = []
        self._numbers = {id(value): number for number, value in enumerate(self.kept)}

    def persistent_id(self, value: Any) -> int | None:
        if id(value) not in self._numbers and self._stays(value):
            self._numbers[id(value)] = len(self.kept)
            self.kept.append(value)
        return self._numbers.get(id(value))

    def _stays(self, value: Any) -> bool:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if isinstance(value, gymnasium.Env):
            self.owners.append(value)
        elif kind == "mujoco._structs.MjData":
            self.foreign.append(copy_mujoco(value))
        elif kind == "ale_py._ale_py.ALEInterface":
            self.foreign.append(_copy_atari(value))
        elif isinstance(value, np.random.RandomState):  # random streams too: five times faster than made anew
            self.foreign.append(partial(value.set_state, value.get_state()))
        elif isinstance(value, np.random.BitGenerator):
            self.foreign.append(partial(setattr, value, "state", value.state))
        elif isinstance(value, FunctionType):
            return value.__closure__ is None  # a closure may hold state
        else:
            return kind in STAY or isinstance(value, type | ModuleType)
        return True


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BytesIO, kept: tuple[Any, ...]) -> None:
        super().__init__(stream)
        self._kept = kept

    def persistent_load(self, number: Any) -> Any:
        return self._kept[number]
