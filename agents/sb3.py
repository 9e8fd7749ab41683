"""Dreams, and real environments through a model's eyes, for Stable-Baselines3: what knows the rules of its VecEnv."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from envs.dream import Dream
from envs.filtered import Filter, check_filtered
from envs.spec import EnvSpec, action_vectors
from envs.view import outward
from worldmodel.errors import EnvError
from worldmodel.svg import WorldModel


class ImaginedVecEnv(VecEnv):
    """A dream that SB3's algorithms train in: ``ImaginedVecEnv(load_dream("pretrained/cartpole", num_envs=16))``.

    A row whose episode ends restarts in the same step; its info holds ``terminal_observation``, and as every info
    ``TimeLimit.truncated``. `get_attr`, `set_attr` and `env_method` reach one `Row` for each row of the dream. Options
    are for environments that know any, and have no effect.
    """

    def __init__(self, dream: Dream) -> None:
        self._dream = dream
        self._rows = [Row(dream, index) for index in range(dream.num_envs)]
        self._actions: np.ndarray | None = None
        super().__init__(dream.num_envs, dream.observation_space, dream.action_space)

    def reset(self) -> VecEnvObs:
        """New episodes in all rows, from the seeds that `seed` has set, if it has since the last reset."""
        observation = self._dream.reset(self._seeds)
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._actions = None
        self._reset_seeds()
        self._reset_options()
        return outward(observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions of the next `step_wait`."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """One decision in every row; raises as `Dream.step` does, and EnvError without actions."""
        if self._actions is None:
            raise EnvError("there are no actions to take: call step_async(actions) first")
        actions, self._actions = self._actions, None
        step = self._dream.step(actions)
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": bool(truncated)} for truncated in step.truncated]
        if not step.ended.any():
            return outward(step.observation), step.rewards, step.ended, infos
        for row in np.flatnonzero(step.ended):
            infos[row]["terminal_observation"] = outward(step.observation, int(row))
            self.reset_infos[row] = {}
        return outward(self._dream.restart(step.ended)), step.rewards, step.ended, infos

    def close(self) -> None:
        """Closes the dream."""
        self._dream.close()

    def get_images(self) -> Sequence[np.ndarray]:
        """The present frame of every row, each (H, W, 3) uint8."""
        return list(self._dream.frames())

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Of some rows, or of all; AttributeError where one lacks it."""
        return [row.get_wrapper_attr(attr_name) for row in self._chosen(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets it in some rows, or in all."""
        for row in self._chosen(indices):
            setattr(row, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Calls a method of some rows, or of all."""
        return [row.get_wrapper_attr(method_name)(*args, **kwargs) for row in self._chosen(indices)]

    def env_is_wrapped(self, wrapper_class: type[gymnasium.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """No row is wrapped."""
        return [is_wrapped(row, wrapper_class) for row in self._chosen(indices)]

    def _chosen(self, indices: VecEnvIndices) -> Iterable[Row]:
        return [self._rows[index] for index in self._get_indices(indices)]


class Row(gymnasium.Env[Any, Any]):
    """What stands for one row where SB3 asks for an environment of its own; all rows step and reset together."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  # as Gymnasium declares it
    render_mode = "rgb_array"

    def __init__(self, dream: Dream, index: int) -> None:
        self.observation_space = dream.observation_space
        self.action_space = dream.action_space
        self._dream = dream
        self._index = index

    def render(self) -> Any:
        """The row's present frame (H, W, 3) uint8."""
        return self._dream.frames()[self._index]


class FilteredVecEnv(VecEnvWrapper):
    """Real environments side by side that show a model's features of their frames, filtered in one call for all.

    What `envs.filtered.FilteredEnv` is to one environment; a policy trained in a dream acts, or trains on, in this.

    Args:
        venv: of environments that `envs.make_env` made.
        model, observation, precision: see `envs.filtered.Filter`.

    Raises CheckpointError for an environment that the model was not trained on, EnvError for one that is not ours, or
    whose frames or actions a wrapper has changed.
    """

    def __init__(
        self, venv: VecEnv, model: WorldModel, *, observation: str = "features", precision: str = "auto"
    ) -> None:
        spec = venv.get_attr("env_spec")[0] if venv.has_attr("env_spec") else None
        if not isinstance(spec, EnvSpec):
            raise EnvError(f"{venv} has no env_spec: make its environments with envs.make_env")
        check_filtered(model, spec, venv.observation_space, venv.action_space)
        self._spec = spec
        self._filter = Filter(model, num_envs=venv.num_envs, observation=observation, precision=precision)
        self._taken: np.ndarray | None = None
        super().__init__(venv, observation_space=self._filter.observation_space)

    def reset(self) -> VecEnvObs:
        """New episodes in all rows."""
        return outward(self._filter.begin(_frames(self.venv.reset())))

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions of the next `step_wait`; raises EnvError for those that the environment does not have."""
        self._taken = action_vectors(self._spec, actions, self.num_envs)
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """The environments' own steps, filtered; a row whose episode ended begins the next with its first frame."""
        if self._taken is None:
            raise EnvError("there are no actions to take: call step_async(actions) first")
        vectors, self._taken = self._taken, None
        found, rewards, dones, infos = self.venv.step_wait()
        frames = _frames(found)
        ended, seen = np.flatnonzero(dones), frames.copy()
        for row in ended:
            seen[row] = infos[row]["terminal_observation"]
        observation = self._filter.advance(vectors, seen)
        for row in ended:
            infos[row]["terminal_observation"] = outward(observation, int(row))
        if len(ended):
            observation = self._filter.begin(frames, np.asarray(dones))
        return outward(observation), rewards, dones, infos


def _frames(observation: VecEnvObs) -> np.ndarray:
    """What environments of frames give, (b, H, W, 3) uint8."""
    assert isinstance(observation, np.ndarray)  # as their spaces say
    return observation
