"""Policies that Stable-Baselines3 trained, as actors: to collect episodes with, or to compare a planner against."""

from __future__ import annotations

import zipfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces

from agents.actor import explored
from envs.filtered import Filter
from envs.spec import action_space, action_vector
from envs.view import outward, push_frames, stack_frames
from worldmodel.errors import CheckpointError, ConfigError
from worldmodel.hardware import without_autocast
from worldmodel.hashes import sha256
from worldmodel.spec import EnvSpec

if TYPE_CHECKING:
    from stable_baselines3.common.policies import BasePolicy

ALGORITHMS = {
    **dict.fromkeys(("A2C", "DQN", "PPO", "SAC", "TD3"), "stable_baselines3"),
    **dict.fromkeys(("RecurrentPPO", "TQC"), "sb3_contrib"),
}
"""Each algorithm that can be loaded, and the package it comes from."""


class SB3Actor:
    """An SB3 policy of frames, or of a model's features, as an `agents.actor.Actor`.

    Of frames it sees as many at a time as its observation space holds, see `envs.view.stack_frames`. One that is
    recurrent remembers the episode.

    Without exploration it takes the policy's best action. With any, a policy that is a distribution (A2C, PPO,
    RecurrentPPO, SAC, TQC) samples from it, however large `exploration` is; one that knows its best action only (DQN,
    TD3) gets the noise that `agents.actor.explored` describes. Either follows from the generator alone, and SB3's
    global streams stay untouched.

    Args:
        policy: as `load_sb3` gives it, or one that is being trained.
        spec: of the environment to act in.
        filter: of one row, giving what `kind_seen` says of a policy of features; None for one of frames.

    Raises ConfigError when the policy was not trained on such observations and actions.
    """

    def __init__(self, policy: BasePolicy, spec: EnvSpec, filter: Filter | None = None) -> None:
        _check_fits(policy, spec, filter)
        self._policy: Any = policy
        self._filter = filter
        self._frame_stack = frames_seen(policy.observation_space, spec)
        self._spec = spec
        self._samples = _is_distribution(policy)
        self._gsde = any(getattr(part, "use_sde", False) for part in policy.modules())  # SAC's says so in its actor

    def reset(self, frame: np.ndarray) -> None:
        """A new episode begins with `frame` (H, W, 3) uint8."""
        self._memory = None
        if self._filter is None:
            self._frames = stack_frames(frame[None, None], self._frame_stack)
        else:
            self._features = self._filter.begin(frame[None])

    def act(self, generator: torch.Generator, exploration: float = 0.0) -> np.ndarray:
        """The next action (a,) float32 in [-1, 1], or one-hot; see the class for `exploration`."""
        if exploration == 0 or not self._samples:
            return explored(self._predict(deterministic=True), self._spec, generator, exploration)
        seed = int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))
        device = self._policy.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else ()):
            torch.manual_seed(seed)  # of the streams that SB3's distributions draw from
            if self._gsde:
                self._policy.reset_noise()  # its matrix would else be that of an earlier episode
            return self._predict(deterministic=False)

    def observe(self, action: np.ndarray, frame: np.ndarray, generator: torch.Generator) -> None:
        """Remembers the frame (H, W, 3) uint8, or filters it."""
        if self._filter is None:
            self._frames = push_frames(self._frames, frame[None])
        else:
            self._features = self._filter.advance(action[None], frame[None])

    def _predict(self, *, deterministic: bool) -> np.ndarray:
        # Of the policy and not of its algorithm, whose DQN would draw from numpy's global stream.
        with without_autocast(self._policy.device):  # in which it was trained
            seen = self._frames[0] if self._filter is None else outward(self._features, 0)
            action, self._memory = self._policy.predict(seen, self._memory, deterministic=deterministic)
        return action_vector(self._spec, action)


def load_sb3(path: Path, algorithm: str, *, trusted: bool = False) -> BasePolicy:
    """The policy in a zip that ``model.save(path)`` wrote, on the CPU, without the algorithm's memory of experience.

    An SB3 zip holds pickled objects (cloudpickle): loading one **runs code** that it brings. Load none that you would
    not run as a program.

    Args:
        path: the zip.
        algorithm: that trained it, of `ALGORITHMS`.
        trusted: whether its code may run.

    Raises:
        ConfigError: SB3 is not installed, the algorithm is none of those, or the zip is not trusted.
        CheckpointError: there is no such file, it cannot be loaded as that algorithm, or what it last saw shows that
            VecNormalize changed its observations: how, the zip does not tell.
    """
    if algorithm not in ALGORITHMS:
        raise ConfigError(f"algorithm is {algorithm!r}: set one of {', '.join(ALGORITHMS)}")
    try:
        package = import_module(ALGORITHMS[algorithm])
    except ImportError as error:
        raise ConfigError(f"SB3 is not installed ({error}): pip install 'svg-worldmodel[sb3]'") from error
    if not path.is_file():
        raise CheckpointError(f"{path} is no file: give the zip that model.save wrote, its suffix included")
    if not _is_sb3_zip(path):
        raise CheckpointError(f"{path} is no zip of SB3 (it holds no `data`): give the one that model.save wrote")
    if trusted is not True:
        raise ConfigError(
            f"{path} runs the code that it brings when it is loaded; its SHA-256 is {sha256(path)}: "
            "if you trust whoever made it, set trusted=true"
        )
    try:
        # A buffer is made anew on loading, at its full size: gigabytes of frames, and nobody here fills it.
        model = getattr(package, algorithm).load(path, device="cpu", buffer_size=1, n_steps=1)
    except Exception as error:  # of whatever kind: unpickling runs foreign code, and other algorithms lack other parts
        mend = "name the algorithm that saved it, and install what it needs"
        raise CheckpointError(f"{path} cannot be loaded as {algorithm} ({error!r}): {mend}") from error
    if not _is_within(model._last_obs, model.observation_space):
        raise CheckpointError(
            f"{path} was trained on observations beyond {model.observation_space}, as VecNormalize makes them in a way "
            "that the zip does not tell: train with norm_obs=False, features are normalised already"
        )
    return model.policy


def kind_seen(policy: BasePolicy) -> str:
    """What a policy was trained on, of `envs.view.KINDS`: ``frames``, vectors such as ``features``, or ``both``."""
    space = policy.observation_space
    if isinstance(space, spaces.Dict):
        return "both"
    return "features" if len(space.shape or ()) == 1 else "frames"


def frames_seen(space: spaces.Space[Any], spec: EnvSpec) -> int:
    """How many of the environment's frames a policy of this observation space sees at a time; 0 if it sees others."""
    if not (isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3):
        return 0
    shape = space.shape
    for size, channels in ((shape[:2], shape[2]), (shape[1:], shape[0])):  # SB3 puts channels first when it trains
        if size == spec.frame_size and channels % 3 == 0:
            return channels // 3
    return 0


def _is_sb3_zip(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "data" in archive.namelist()
    except Exception:  # of whatever a damaged file makes it raise: BadZipFile, and others
        return False


def _is_within(seen: Any, space: spaces.Space[Any]) -> bool:
    """Whether rows of observations, or none, are of the space."""
    if seen is None:
        return True
    if isinstance(space, spaces.Dict):
        return all(_is_within(seen[key], part) for key, part in space.items())
    return all(space.contains(row) for row in seen)


def _is_distribution(policy: BasePolicy) -> bool:
    """Whether there is something to sample from; DDPG's policies are TD3's."""
    from stable_baselines3.dqn.policies import DQNPolicy
    from stable_baselines3.td3.policies import TD3Policy

    return not isinstance(policy, DQNPolicy | TD3Policy)


def _check_fits(policy: BasePolicy, spec: EnvSpec, filter: Filter | None) -> None:
    seen = policy.observation_space
    if filter is not None and seen not in (filter.observation_space, _channels_first(filter.observation_space)):
        raise ConfigError(
            f"the policy sees {seen}, the model gives features {filter.observation_space}: "
            "give the model in whose features it was trained, or none for a policy of frames"
        )
    if filter is None and not frames_seen(seen, spec):
        raise ConfigError(
            f"the policy sees {seen}, {spec.env}/{spec.task} shows uint8 frames {(*spec.frame_size, 3)}: set env.size "
            "to what it was trained on, or train it on frames of this environment, as they are or in VecFrameStack, "
            "without norm_obs of VecNormalize"
        )
    taken = action_space(spec)
    if policy.action_space != taken:
        raise ConfigError(
            f"the policy acts in {policy.action_space}, {spec.env}/{spec.task} takes {taken}: "
            "give the environment that it was trained in, made by envs.make_env"
        )


def _channels_first(space: spaces.Space[Any]) -> spaces.Space[Any]:
    """Where there are pictures, as SB3 turns them when it trains."""
    from stable_baselines3.common.vec_env import VecTransposeImage

    if isinstance(space, spaces.Dict):
        return spaces.Dict({key: _channels_first(part) for key, part in space.items()})
    if isinstance(space, spaces.Box) and len(space.shape) == 3:
        return VecTransposeImage.transpose_space(space)
    return space
