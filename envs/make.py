"""From an `env` group of the configuration to an environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, overload

from envs.dmc import DmcSimulator
from envs.gym import GymSimulator
from envs.isolated import IsolatedEnv
from envs.pixels import PixelEnv, Simulator
from envs.rendering import RENDERINGS
from worldmodel.errors import ConfigError

COMMON_KEYS = {"backend", "name", "action_repeat", "time_limit", "size"}
OWN_KEYS = {"dm_control": {"domain", "task"}, "gymnasium": {"id", "kwargs", "frames"}}
FRAMES = ("render", "observation")
DAY_S = 86_400
USUAL_LIMIT = 1000  # simulator steps of an episode whose environment says nothing of it


@overload
def make_env(config: Mapping[str, Any], *, rendering: str = "standard", timeout: None = None) -> PixelEnv: ...


@overload
def make_env(
    config: Mapping[str, Any], *, rendering: str = "standard", timeout: float | None
) -> PixelEnv | IsolatedEnv: ...


def make_env(
    config: Mapping[str, Any], *, rendering: str = "standard", timeout: float | None = None
) -> PixelEnv | IsolatedEnv:
    """The environment a configuration describes.

    Args:
        config: plain values under exactly these keys: ``backend``; ``name``, short, for folders; ``action_repeat``,
            simulator steps per step; ``time_limit`` in simulator steps, 0 for none, None (backend gymnasium) for its
            own or else `USUAL_LIMIT`; ``size``, [height, width], multiples of 16; and ``domain``
            and ``task`` (backend dm_control) or ``id``, ``kwargs`` and ``frames`` (gymnasium, see
            `envs.gym.GymSimulator`).
        rendering: ``standard``, or ``fast``: cheaper shadows and edges, where MuJoCo draws for dm_control.
        timeout: seconds that a reset or a step may take; the environment then runs in a process of its own, which is
            ended when it takes longer. None: it runs in this one.

    Raises:
        ConfigError: for settings that cannot be meant.
        EnvError: for an environment that does not exist or cannot be drawn.
    """
    _check(config, rendering)
    if timeout is None:
        return _make(config, rendering)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= DAY_S:
        raise ConfigError(f"env_timeout is {timeout!r}: set seconds > 0, {DAY_S} at most, or null for no process apart")
    task = config["task"] if config["backend"] == "dm_control" else config["id"]
    return IsolatedEnv(partial(_make, dict(config), rendering), task=task, timeout=timeout)


def _make(config: Mapping[str, Any], rendering: str) -> PixelEnv:
    height, width = config["size"]
    simulator: Simulator
    time_limit = config["time_limit"]
    if config["backend"] == "dm_control":
        task = config["task"]
        simulator = DmcSimulator(config["domain"], task, size=(height, width), fast=rendering == "fast")
    else:
        task = config["id"]
        simulator = GymSimulator(task, config["kwargs"], frames=config["frames"], size=(height, width))
        if time_limit is None:
            time_limit = simulator.time_limit or USUAL_LIMIT
    try:
        return PixelEnv(
            simulator,
            env=config["name"],
            task=task,
            action_repeat=config["action_repeat"],
            time_limit=time_limit,
            size=(height, width),
        )
    except BaseException:
        simulator.close()
        raise


def _check(config: Mapping[str, Any], rendering: str) -> None:
    backend = config.get("backend")
    if not isinstance(backend, str) or backend not in OWN_KEYS:
        raise ConfigError(f"env.backend is {backend!r}: set one of {', '.join(OWN_KEYS)}")
    if rendering not in RENDERINGS:
        raise ConfigError(f"rendering is {rendering!r}: set one of {', '.join(RENDERINGS)}")
    expected = COMMON_KEYS | OWN_KEYS[backend]
    if missing := sorted(expected - set(config)):
        raise ConfigError(f"env lacks {', '.join(missing)}: {backend} needs {', '.join(sorted(expected))}")
    if unexpected := sorted(set(config) - expected):
        raise ConfigError(f"env has {', '.join(unexpected)}, which {backend} does not know: remove it")
    for key, least in (("action_repeat", 1), ("time_limit", 0)):
        if config[key] is None and key == "time_limit" and backend == "gymnasium":
            continue
        if not _is_integer(config[key]) or config[key] < least:
            raise ConfigError(f"env.{key} is {config[key]!r}: set an integer >= {least}")
    for key in sorted({"name", "domain", "task", "id"} & expected):
        if not (isinstance(config[key], str) and config[key]):
            raise ConfigError(f"env.{key} is {config[key]!r}: set a name")
    if "frames" in expected and config["frames"] not in FRAMES:
        raise ConfigError(f"env.frames is {config['frames']!r}: set one of {', '.join(FRAMES)}")
    if not isinstance(config.get("kwargs", {}), Mapping):
        raise ConfigError(f"env.kwargs is {config['kwargs']!r}: set a mapping, {{}} for none")
    size = config["size"]
    if not (isinstance(size, Sequence) and len(size) == 2 and all(map(_is_side, size))):
        raise ConfigError(f"env.size is {size}: set [height, width], positive multiples of 16")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_side(value: Any) -> bool:
    return _is_integer(value) and value > 0 and value % 16 == 0
