"""A dream to play in, beside reality under the same actions: all of `agents.play` but its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from worldmodel.spec import EnvSpec
from worldmodel.svg import WorldModel

PERSON = "person"
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
        imagined: return since the start, in the dream of the mean.
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
        self._begin(given)
        self._real = given[-1] if self._env is not None else None
        self._returns = np.zeros(self._rows)
        self._earned = 0.0
        self._reality_over = ""
        self.view = View(0, 0, None, given[-1], self._real, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, "")
        return self.view

    def drive(self, driver: str) -> None:
        """Lets somebody else act from the next decision on; ConfigError for a name that is not in `drivers`."""
        if driver not in self.drivers:
            raise ConfigError(f"the driver is {driver!r}: choose one of {', '.join(self.drivers)}")
        self.driver = driver
        self._begin(self.view.dream[None])

    def resync(self) -> View:
        """The dream goes on from where reality is; WorldModelError where there is none."""
        if self._real is None:
            raise WorldModelError("there is no reality beside this dream: its environment could not be made")
        self._state = self._reality.repeat(self._rows)
        self._begin(self._real[None])
        self.view = replace(self.view, since=0, dream=self._real, spread=0.0, over=self._reality_over)
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
        rewards = prediction.reward.double().cpu().numpy()
        imagined = (prediction.state.feature, prediction.reward, prediction.continues)
        if not all(bool(values.isfinite().all()) for values in imagined):
            raise WorldModelError(
                f"what the model imagines at step {last.step + 1} is not finite: begin anew, or resync"
            )
        frames = pixels(self._model.decode(prediction.state))
        real_reward, reality_over = self._step_reality(vector)  # if it fails, the dream has not gone on either
        self._state = prediction.state
        self._returns += rewards
        if self.driver != PERSON:
            self._policies[self.driver].advance(self._state[:1])
        over = "the task is over in the dream" if float(prediction.continues[0]) < OVER else ""
        self.view = View(
            step=last.step + 1,
            since=last.since + 1,
            action=np.array(action, np.float32),
            dream=frames[0],
            real=self._real,
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
        self._real = np.array(frame)
        self._reality = self._model.observe(self._reality, vector[None], self._tensor(self._real[None]))
        self._earned += float(reward)
        if terminated or truncated:
            self._reality_over = "the task is over in reality" if terminated else "reality's time is up"
        return float(reward), self._reality_over

    def _begin(self, frames: np.ndarray) -> None:
        """Drivers have seen frames (t, H, W, 3), the last of them now."""
        for policy in self._policies.values():
            policy.begin(frames[None])

    def _tensor(self, frames: np.ndarray) -> Tensor:
        """Frames (t, H, W, 3) as (t, 3, H, W) on the model's device."""
        return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).to(self._model.device)


class Keyboard:
    """Keys that are held, as an action.

    Vectors: arrows move the first two numbers, D and A, W and S, E and Q the next three, by 1 either way; what no key
    moves is 0. Choices: the left and the right arrow are the first two, digits all of the first ten; the last choice is
    kept until another.
    """

    PAIRS = (("ArrowRight", "ArrowLeft"), ("ArrowUp", "ArrowDown"), ("d", "a"), ("w", "s"), ("e", "q"))

    def __init__(self, spec: EnvSpec) -> None:
        self._spec = spec
        self._choice = 0
        self._held: Sequence[str] = ()

    def hold(self, keys: Sequence[str]) -> None:
        """These keys, by their names in browsers, are down now, the newest last, and no others."""
        self._held = keys
        for key in keys:
            if key in self.choices():
                self._choice = self.choices()[key]

    def action(self) -> np.ndarray:
        """(a,) in [-1, 1], or one-hot."""
        a = self._spec.action_size
        if self._spec.action_kind == "discrete":
            return np.eye(a, dtype=np.float32)[self._choice]
        action = np.zeros(a, np.float32)
        for i, (up, down) in enumerate(self.PAIRS[:a]):
            action[i] = (up in self._held) - (down in self._held)
        return action

    def choices(self) -> dict[str, int]:
        """The choice that each key stands for; none where actions are vectors."""
        if self._spec.action_kind != "discrete":
            return {}
        keys = {str(i): i for i in range(min(10, self._spec.action_size))}
        return keys | dict(zip(("ArrowLeft", "ArrowRight")[: self._spec.action_size], (0, 1), strict=False))

    def legend(self) -> list[list[str]]:
        """Pairs of a key and what it does, for a page to show."""
        if self._spec.action_kind == "discrete":
            return [[key, f"choice {choice}"] for key, choice in self.choices().items()]
        a = self._spec.action_size
        return [
            [key, f"action {sign}" if a == 1 else f"action {i} {sign}"]
            for i, pair in enumerate(self.PAIRS[:a])
            for key, sign in zip(pair, "+−", strict=True)
        ]
