"""From an id to a Gymnasium environment: registered, or anybody's own by its import path."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium
from gymnasium.wrappers import TimeLimit

from worldmodel.errors import EnvError

EXTRAS = {"ale_py": "atari"}  # which of our extras installs a package
DRAWS = "its constructor is to take render_mode, as Gymnasium's do; or set env.frames=observation"


class Found(NamedTuple):
    """An environment without its time limit, and the limit that it had, in steps; None where it had none."""

    env: gymnasium.Env[Any, Any]
    time_limit: int | None


def find_env(id: str, kwargs: Mapping[str, Any]) -> Found:
    """The environment of an id.

    Args:
        id: as registered (``CartPole-v1``); or ``module:Name``, which imports the module, then takes its attribute
            ``Name``, a class or callable that gives a ``gymnasium.Env``, or the id ``Name`` it has registered.
        kwargs: for the constructor.

    Raises EnvError when there is no such module or environment, or it cannot be made; from the error that others' code
    raised, if it is one of theirs.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if "DISPLAY" not in os.environ:
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    module_name, colon, name = id.partition(":")
    module = _import(id, module_name) if colon else None
    own: Callable[..., Any] | None = getattr(module, name, None)
    try:
        env = _make_registered(id, kwargs) if own is None else own(**kwargs)
    except Exception as error:
        if own is None and isinstance(error, gymnasium.error.UnregisteredEnv):
            raise _unknown(id, name, module, error) from None
        cause = None if _is_refusal(error, own) else error
        mend = f"; {DRAWS}" if cause is None and "'render_mode'" in str(error) else ""
        raise EnvError(f"{id} cannot be made with {dict(kwargs)}: {type(error).__name__}: {error}{mend}") from cause
    if not isinstance(env, gymnasium.Env):
        raise EnvError(f"{id} gives {type(env).__qualname__}, not a gymnasium.Env: name a class that inherits from it")
    if isinstance(env, TimeLimit):
        return Found(env.env, env._max_episode_steps)
    return Found(env, None)


def _make_registered(id: str, kwargs: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """Without checks of observations nobody reads."""
    with warnings.catch_warnings():
        # said again, better, as an EnvError
        warnings.filterwarnings("ignore", message=".*not in the possible render_modes")
        return gymnasium.make(id, disable_env_checker=True, **kwargs)


def _is_refusal(error: Exception, own: Callable[..., Any] | None) -> bool:
    """Whether it was raised at the door, for arguments that are not taken, before code of the environment ran."""
    trace = error.__traceback__
    if own is not None:
        return trace is not None and trace.tb_next is None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    raised_in = trace.tb_frame.f_globals.get("__name__") if trace is not None else None
    return isinstance(error, gymnasium.error.Error) or raised_in == gymnasium.envs.registration.__name__


def _import(id: str, name: str) -> ModuleType:
    try:
        return import_module(name)
    except Exception as error:
        said = f"{id} needs the module {name!r}, which cannot be imported ({type(error).__name__}: {error})"
        if name in EXTRAS:
            raise EnvError(f"{said}: pip install 'svg-worldmodel[{EXTRAS[name]}]'") from None
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            mend = "give its dotted name, and have its folder on the Python path: start there, or set PYTHONPATH"
            raise EnvError(f"{said}: {mend}") from None
        raise EnvError(f"{said}: see to what it imports and does") from error


def _unknown(id: str, name: str, module: ModuleType | None, error: Exception) -> EnvError:
    if module is None:
        near, what = get_close_matches(id, gymnasium.registry), f"Gymnasium has no environment {id!r}"
        guess = f"is the package that registers it installed, and named, as in env.id=package:{id}?"
    else:
        near = get_close_matches(name, [*vars(module), *gymnasium.registry])
        what = f"{module.__name__} has no {name!r} and registers no such environment"
        guess = "name a class in it that inherits from gymnasium.Env"
    guess = f"did you mean {' or '.join(near)}?" if near else guess
    return EnvError(f"{what}: {guess} ({error})")
