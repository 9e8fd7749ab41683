"""Dreams as environments: Gymnasium's two faces of `envs.dream.Dream`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.dream import HORIZON, Dream
from envs.starts import ContextStarts, EpisodeStarts, Starts, WindowStarts
from envs.view import outward
from worldmodel.checkpoint import read_checkpoint
from worldmodel.errors import ConfigError, EnvError
from worldmodel.pretrained import check_fits, from_pretrained
from worldmodel.replay import Replay
from worldmodel.series import resolve

METADATA: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 12}


def load_dream(
    checkpoint: Path | str,
    *,
    num_envs: int,
    data: Path | str | None = None,
    starts: Literal["windows", "episodes"] = "windows",
    horizon: int = HORIZON,
    observation: str = "frames",
    frame_stack: int = 1,
    latents: str = "sample",
    stagger: bool = True,
    feedback: str = "features",
    device: str | torch.device = "cpu",
    precision: str = "auto",
) -> Dream:
    """A dream in the model of a checkpoint folder, or of a run folder's newest checkpoint.

    Args:
        checkpoint: the folder.
        data: a folder of episodes to start from; None starts from the contexts that the checkpoint carries.
        starts: ``windows`` anywhere in the episodes, as long as the checkpoint's contexts; or ``episodes``, their
            first frames, which need `data`.
        feedback: ``features`` or ``pixels``: what an imagined step feeds to the next.
        device: where to put the model.
        other arguments: see `Dream`.

    Raises ConfigError for settings that cannot be; CheckpointError for a folder that is no checkpoint, or data of
    another environment; DataError where there is nothing to start from.
    """
    folder = resolve(Path(checkpoint))
    model = from_pretrained(folder, feedback=feedback, device=device)
    contexts = read_checkpoint(folder).contexts
    found: Starts
    if starts not in ("windows", "episodes"):
        raise ConfigError(f"starts is {starts!r}: set one of windows, episodes")
    if data is None:
        if starts == "episodes":
            raise ConfigError("starts=episodes lacks data: a checkpoint's contexts lie anywhere in their episodes")
        found = ContextStarts(contexts)
    else:
        replay = Replay(Path(data))
        check_fits(model.spec, replay.spec, str(checkpoint), "episodes")
        found = EpisodeStarts(replay) if starts == "episodes" else WindowStarts(replay, contexts.frames.shape[1])
    return Dream(
        model,
        found,
        num_envs=num_envs,
        horizon=horizon,
        observation=observation,
        frame_stack=frame_stack,
        latents=latents,
        stagger=stagger,
        precision=precision,
    )


class ImaginedEnv(gymnasium.Env[Any, Any]):
    """A dream of one row as a Gymnasium environment; registered as ``worldmodel/Imagined-v0``.

    Its draws come from the dream's own streams; a seed gives what row 0 of an `ImaginedVectorEnv` dreams under it.

    Raises ConfigError for a dream of more rows.
    """

    metadata = METADATA
    render_mode = "rgb_array"

    def __init__(self, dream: Dream) -> None:
        if dream.num_envs != 1:
            raise ConfigError(f"the dream has {dream.num_envs} rows: give one of 1, or make an ImaginedVectorEnv")
        self.observation_space = dream.observation_space
        self.action_space = dream.action_space
        self._dream = dream

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new episode; the same seed gives the same one, no seed the next of the stream."""
        super().reset(seed=seed)
        return outward(self._dream.reset([seed]), 0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One decision; raises as `Dream.step` does."""
        step = self._dream.step(np.asarray(action)[None])
        ended = bool(step.terminated[0]), bool(step.truncated[0])
        return outward(step.observation, 0), float(step.rewards[0]), *ended, {}

    def render(self) -> Any:
        """The present frame (H, W, 3) uint8."""
        return self._dream.frames()[0]

    def close(self) -> None:
        """Closes the dream."""
        self._dream.close()


class ImaginedVectorEnv(VectorEnv[Any, Any, Any]):
    """A dream as a Gymnasium vector environment that resets a row in the step in which its episode ends.

    Infos then hold ``final_obs``, an array of objects, and ``final_info``, each with its mask, as those of Gymnasium's
    own in mode SAME_STEP.
    """

    metadata = {**METADATA, "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  # as Gymnasium declares it
    render_mode = "rgb_array"
    autoreset_mode = AutoresetMode.SAME_STEP

    def __init__(self, dream: Dream) -> None:
        self.num_envs = dream.num_envs
        self.single_observation_space = dream.observation_space
        self.single_action_space = dream.action_space
        self.observation_space = batch_space(dream.observation_space, dream.num_envs)
        self.action_space = batch_space(dream.action_space, dream.num_envs)
        self._dream = dream

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """New episodes in all rows, or in those of ``options["reset_mask"]`` (b,) bool.

        Args:
            seed: row i's is seed + i, or the i-th of a list.

        Raises EnvError for a list or a mask of another length or kind.
        """
        seeds: list[int | None] = [None] * self.num_envs
        if isinstance(seed, int | np.integer):
            seeds = [int(seed) + row for row in range(self.num_envs)]
        elif seed is not None:
            seeds = [None if each is None else int(each) for each in seed]
        if len(seeds) != self.num_envs:
            raise EnvError(f"{len(seeds)} seeds for {self.num_envs} rows: give one for each, or a single number")
        mask = (options or {}).get("reset_mask")
        if mask is not None:
            mask = self._checked(mask)
        return outward(self._dream.reset(seeds, mask)), {}

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One decision in every row; raises as `Dream.step` does."""
        step = self._dream.step(actions)
        if not step.ended.any():
            return outward(step.observation), step.rewards, step.terminated, step.truncated, {}
        infos: dict[str, Any] = {}
        for row in np.flatnonzero(step.ended):
            final = {"final_obs": outward(step.observation, int(row)), "final_info": {}}
            infos = self._add_info(infos, final, int(row))
        observation = self._dream.restart(step.ended)
        return outward(observation), step.rewards, step.terminated, step.truncated, infos

    def render(self) -> tuple[np.ndarray, ...]:
        """The present frame of every row, each (H, W, 3) uint8."""
        return tuple(self._dream.frames())

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the dream."""
        self._dream.close()

    def _checked(self, mask: Any) -> np.ndarray:
        if not (isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == (self.num_envs,)):
            found = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise EnvError(f"reset_mask is {found}: give an array of {self.num_envs} bool, one a row")
        if not mask.any():
            raise EnvError(f"reset_mask names none of {self.num_envs} rows: set one or more, or do not reset")
        return mask


def imagined_env(checkpoint: Path | str, *, render_mode: str | None = None, **settings: Any) -> ImaginedEnv:
    """What ``gymnasium.make("envs:worldmodel/Imagined-v0", checkpoint=...)`` makes; settings as `load_dream`'s."""
    _check_render_mode(render_mode)
    return ImaginedEnv(load_dream(checkpoint, num_envs=1, **settings))


def imagined_vector_env(
    checkpoint: Path | str, *, num_envs: int, render_mode: str | None = None, **settings: Any
) -> ImaginedVectorEnv:
    """What ``gymnasium.make_vec`` makes of the same id."""
    _check_render_mode(render_mode)
    return ImaginedVectorEnv(load_dream(checkpoint, num_envs=num_envs, **settings))


def _check_render_mode(render_mode: str | None) -> None:
    if render_mode not in (None, "rgb_array"):
        raise ConfigError(f"render_mode is {render_mode!r}: a dream is drawn as 'rgb_array', and only when asked for")
