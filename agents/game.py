"""A dream to play in, beside reality under the same actions: all of `agents.play` but its page."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from agents.trust import Policy
from envs.spec import env_action
from envs.starts import Starts
from worldmodel.errors import ConfigError, WorldModelError, check_whole
from worldmodel.pixels import pixels
from worldmodel.svg import WorldModel

PERSON = "person"
HISTORY = 16  # frames that policies may look back on
OVER = 0.5  # the task is over in the dream once it goes on with a probability below this


@dataclass(frozen=True, eq=False)
class View:
    """What there is to see at one moment.

    Attributes:
        step: decisions since the start.
        since: decisions that the dream has gone on by itself, since the start or since it last took reality's state.
        action: (a,) that led here; None at the start.
        dream: (H, W, 3) uint8.
        real: (H, W, 3) uint8; None without a real environment.
        spread: deviation of the samples' pixels, the mean over the picture, in grey levels; None of fewer than two.
        reward, real_reward: of the last decision.
        imagined: return since the start, in the dream of the mean: what reality had earned when the dream last took its
            state, and what has been dreamed since.
        deviation: of that return over samples; None of fewer than two.
        earned: return since the start, in reality.
        over: why it cannot go on, or nothing.
    """

    step: int
    since: int
    action: np.ndarray | None
    dream: np.ndarray
    real: np.ndarray | None
    spread: float | None
    reward: float
    real_reward: float
    imagined: float
    deviation: float | None
    earned: float
    over: str


class Game:
    """One dream, with z at its mean, a few more that draw theirs, and reality; all take the same actions.

    Args:
        model: in evaluation mode.
        env: the environment that it models, made by `envs.make_env`; None for a dream alone.
        starts: where dreams begin that have no reality beside them.
        drivers: who may act in place of a person, by name.
        samples: dreams beside that of the mean, which tell how sure the model is.
        seed: of the first start; the next has the next one.

    Raises ConfigError for settings out of range.
    """

    def __init__(
        self,
        model: WorldModel,
        env: gymnasium.Env[np.ndarray, Any] | None,
        starts: Starts,
        *,
        drivers: Mapping[str, Policy],
        samples: int,
        seed: int,
    ) -> None:
        check_whole("samples", samples, 0)
        check_whole("seed", seed, 0)
        self.spec = model.spec
        self.drivers = [PERSON, *drivers]
        self.driver = PERSON
        self._model = model
        self._env = env
        self._starts = starts
        self._policies = dict(drivers)
        self._rows = 1 + samples
        self._seed = seed
        self.reset()

    def reset(self) -> View:
        """Another start."""
        self._generator = torch.Generator().manual_seed(self._seed)
        if self._env is not None:
            frame, _ = self._env.reset(seed=self._seed)
            given = np.array(frame)[None]
            taken = np.zeros((0, self.spec.action_size), np.float32)
        else:
            context = self._starts.draw(np.random.default_rng(self._seed))
            given = context.frames[0].permute(0, 2, 3, 1).numpy()
            taken = context.actions[0].numpy()
        self._seed += 1
        frames = self._tensor(given)[None]
        with torch.inference_mode():
            self._reality = self._model.initial(frames, torch.from_numpy(taken)[None].to(self._model.device))
            self._state = self._reality.repeat(self._rows)
        self._dreamed = deque(given, HISTORY)
        self._begin()
        self._happened = deque(given if self._env is not None else (), HISTORY)
        self._returns = np.zeros(self._rows)
        self._earned = 0.0
        self._reality_over = ""
        self.view = View(0, 0, None, given[-1], self._real(), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, "")
        return self.view

    def drive(self, driver: str) -> None:
        """Lets somebody else act from the next decision on; ConfigError for a name that is not in `drivers`."""
        if driver not in self.drivers:
            raise ConfigError(f"the driver is {driver!r}: choose one of {', '.join(self.drivers)}")
        self.driver = driver
        self._begin()

    def resync(self) -> View:
        """The dream goes on from where reality is, with what was earned there; WorldModelError where there is none."""
        real = self._real()
        if real is None:
            raise WorldModelError("there is no reality beside this dream: its environment could not be made")
        self._state = self._reality.repeat(self._rows)
        self._dreamed = self._happened.copy()
        self._begin()
        self._returns[:] = self._earned
        self.view = replace(
            self.view,
            since=0,
            dream=real,
            spread=0.0,
            imagined=self._earned,
            deviation=0.0,
            over=self._reality_over,
        )
        return self.view

    @torch.inference_mode()
    def step(self, action: np.ndarray) -> View:
        """One decision: a person's `action` (a,), or where somebody else drives, theirs. Nothing once it is over."""
        last = self.view
        if last.over:
            return last
        if self.driver != PERSON:
            action = self._policies[self.driver].act(self._state[:1])[0].cpu().numpy()
        vector = torch.from_numpy(np.array(action, np.float32)).to(self._model.device)
        noise = torch.randn(self._rows, *self._model.noise_shape, generator=self._generator)
        noise[0] = 0  # the mean
        prediction = self._model.imagine(self._state, vector.expand(self._rows, -1), noise=noise.to(self._model.device))
        rewards = prediction.reward.cpu().double().numpy()
        imagined = (prediction.state.feature, prediction.reward, prediction.continues)
        if not all(bool(values.isfinite().all()) for values in imagined):
            raise WorldModelError(
                f"what the model imagines at step {last.step + 1} is not finite: begin anew, or resync"
            )
        frames = pixels(self._model.decode(prediction.state))
        real_reward, reality_over = self._step_reality(vector)  # if it fails, the dream has not gone on either
        self._state = prediction.state
        self._returns += rewards
        self._dreamed.append(frames[0])
        if self.driver != PERSON:
            self._policies[self.driver].advance(self._state[:1])
        over = "the task is over in the dream" if float(prediction.continues[0]) < OVER else ""
        self.view = View(
            step=last.step + 1,
            since=last.since + 1,
            action=np.array(action, np.float32),
            dream=frames[0],
            real=self._real(),
            spread=float(frames[1:].astype(np.float32).std(0).mean()) if self._rows > 2 else None,
            reward=float(rewards[0]),
            real_reward=real_reward,
            imagined=float(self._returns[0]),
            deviation=float(self._returns[1:].std()) if self._rows > 2 else None,
            earned=self._earned,
            over=reality_over or over,
        )
        return self.view

    def close(self) -> None:
        """Closes the environment."""
        if self._env is not None:
            self._env.close()

    def _step_reality(self, vector: Tensor) -> tuple[float, str]:
        """Its reward, and why it cannot go on."""
        if self._env is None:
            return 0.0, ""
        taken = env_action(self.spec, vector.cpu().numpy())
        frame, reward, terminated, truncated, _ = self._env.step(taken)
        self._happened.append(np.array(frame))
        self._reality = self._model.observe(self._reality, vector[None], self._tensor(self._happened[-1][None]))
        self._earned += float(reward)
        if terminated or truncated:
            self._reality_over = "the task is over in reality" if terminated else "reality's time is up"
        return float(reward), self._reality_over

    def _begin(self) -> None:
        """Drivers have seen what was dreamed, the last of it now."""
        for policy in self._policies.values():
            policy.begin(np.stack(self._dreamed)[None])

    def _real(self) -> np.ndarray | None:
        """What reality shows."""
        return self._happened[-1] if self._happened else None

    def _tensor(self, frames: np.ndarray) -> Tensor:
        """Frames (t, H, W, 3) as (t, 3, H, W) on the model's device."""
        return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).to(self._model.device)
