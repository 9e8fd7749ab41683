"""The batched core of imagined environments: rows that a model dreams side by side, each from a seed of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from envs.spec import action_space, action_vectors
from envs.starts import Starts, filtered
from envs.streams import Streams
from envs.view import KINDS, Observation, features, observation_space, push_frames, stack_frames
from worldmodel.errors import ConfigError, EnvError, WorldModelError, check_whole
from worldmodel.hardware import autocast, chosen_precision
from worldmodel.pixels import pixels
from worldmodel.state import State
from worldmodel.svg import WorldModel

LATENTS = ("sample", "mean")
HORIZON = 50  # decisions, as in SimPLe (Kaiser et al. 2020)
_GOLDEN = (5**0.5 - 1) / 2  # its multiples are spread evenly over [0, 1), however many one takes


@dataclass(frozen=True, eq=False)
class Step:
    """What one decision led to in each row, before any row restarts.

    Attributes:
        observation: after it.
        rewards: (b,) float32, of the decision, as the real environment gives them.
        terminated: (b,) bool, ended by the task.
        truncated: (b,) bool, ended by the horizon and not by the task.
    """

    observation: Observation
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    @property
    def ended(self) -> np.ndarray:
        """(b,) bool: either way."""
        return self.terminated | self.truncated


class Dream:
    """Imagines `num_envs` rows in a model, with one call of it a step; environments are faces of this.

    A row starts from a true context, filtered with the mean of each posterior z. Its episode goes on until the horizon,
    or until the task terminates: that is drawn at each step from the probability of the model's continuation head, so
    that returns are those of the model's own task, in the mean over dreams. After a `reset` of all rows, first horizons
    are of different lengths, so that rows do not all end together; row 0 gets the full one.

    Everything random in a row comes from the row's own streams: a row of a given seed dreams the same whoever dreams
    beside it, as far as sums over batches of other sizes round alike. Every array given is the caller's own.

    A model may be fitted further while it is dreamed in; call `reset` then, since the states are those of its old
    weights.

    Args:
        model: to dream in, on any device.
        starts: what gives contexts, of any lengths; may be replaced, for all episodes from the next `reset` on.
        num_envs: rows, b.
        horizon: decisions until an episode is truncated.
        observation: ``frames``, ``features`` or ``both``, see `envs.view`; frames are drawn only if observed or asked
            for. A row's first frame is the context's last, as it was seen.
        frame_stack: how many frames are seen at a time, as SB3's VecFrameStack shows them; but where that would begin
            with zeros, a dream begins with the frames of its context.
        latents: ``sample`` draws each z from the prior, ``mean`` takes its mean.
        stagger: False gives full horizons after a `reset` too: to evaluate in a dream, where returns are compared.
        precision: ``auto`` (bfloat16 where the device is fast at it, as models are fitted and planned in), or one of
            `worldmodel.hardware.PRECISIONS`.

    Raises ConfigError for settings that cannot be.
    """

    def __init__(
        self,
        model: WorldModel,
        starts: Starts,
        *,
        num_envs: int,
        horizon: int = HORIZON,
        observation: str = "frames",
        frame_stack: int = 1,
        latents: str = "sample",
        stagger: bool = True,
        precision: str = "auto",
    ) -> None:
        check_whole("num_envs", num_envs, 1)
        check_whole("horizon", horizon, 1)
        if latents not in LATENTS:
            raise ConfigError(f"latents is {latents!r}: set one of {', '.join(LATENTS)}")
        self.spec = model.spec
        self.starts = starts
        self.num_envs = num_envs
        self.observation_space = observation_space(model, observation, frame_stack)
        self.action_space = action_space(model.spec)
        self._model = model
        self._horizon = horizon
        self._kinds = KINDS[observation]
        self._frame_stack = frame_stack
        self._samples = latents == "sample"
        self._precision = chosen_precision(precision, model.device.type)
        self._first_horizons = np.full(num_envs, horizon)
        if stagger:
            self._first_horizons -= np.floor(horizon * (np.arange(num_envs) * _GOLDEN % 1)).astype(int)
        self._horizons = np.zeros(num_envs, int)  # of the episode that each row is in
        self._elapsed = np.zeros(num_envs, int)
        self._running = np.zeros(num_envs, bool)
        self._closed = False
        self._streams = [Streams() for _ in range(num_envs)]
        # Each row's next start, filtered with those of all other rows that lack one.
        self._next: State | None = None
        self._next_seen = np.zeros((num_envs, *self.spec.frame_size, 3 * frame_stack), np.uint8)
        self._ready = np.zeros(num_envs, bool)
        self._state: State | None = None
        self._seen = np.zeros_like(self._next_seen)  # frames, the newest last
        self._drawn = np.zeros(num_envs, bool)  # whether the newest is that of the present state

    def reset(self, seeds: Sequence[int | None], rows: np.ndarray | None = None) -> Observation:
        """New episodes in `rows` (b,) bool, or in all: the observation of every row.

        Args:
            seeds: of each row; a seed starts the row's streams anew, None goes on with them.

        Raises EnvError when it is closed, or while there are rows that were never reset and are not now.
        """
        self._check_open()
        rows = np.ones(self.num_envs, bool) if rows is None else rows
        if not (rows | self._running).all():
            missing = np.flatnonzero(~(rows | self._running)).tolist()
            raise EnvError(f"rows {missing} are in no episode, and the mask leaves them out: reset them too")
        for row in np.flatnonzero(rows).tolist():
            if (seed := seeds[row]) is not None:
                self._streams[row] = Streams(seed)
        self._ready[rows] = False  # they may be of other streams, or filtered by weights that have changed
        return self._restart(rows, self._first_horizons) if rows.all() else self.restart(rows)

    def restart(self, rows: np.ndarray) -> Observation:
        """The same as an episode's end asks for: streams go on, and horizons are full."""
        self._check_open()
        return self._restart(rows, np.full(self.num_envs, self._horizon))

    def step(self, actions: Any) -> Step:
        """One decision in each row: actions (b, a) in [-1, 1], or (b,) integers where they are choices.

        Raises EnvError when it is closed or a row is in no episode, and for actions that the environment does not
        have; WorldModelError, naming step and row, when the model imagines what is not finite: it goes on after a
        `reset` only.
        """
        self._check_open()
        if self._state is None or not self._running.all():
            ended = np.flatnonzero(~self._running).tolist()
            raise EnvError(f"rows {ended} are in no episode: call reset() first, and after each episode's end")
        vectors = torch.from_numpy(action_vectors(self.spec, actions, self.num_envs)).to(self._model.device)
        noise, chance = self._chance()
        self._elapsed += 1
        self._running[:] = False  # until all of the step is known to be good
        with self._acting():
            prediction = self._model.imagine(self._state, vectors, noise=noise)
            self._state = prediction.state
            self._drawn[:] = False
            self._check_finite("reward", prediction.reward)
            self._check_finite("continuation", prediction.continues)
            observation = self._observe(prediction.state)
        terminated = chance >= prediction.continues.cpu().double().numpy()
        truncated = ~terminated & (self._elapsed >= self._horizons)
        self._running = ~(terminated | truncated)
        rewards = prediction.reward.float().cpu().numpy().copy()
        return Step(observation, rewards, terminated, truncated)

    def frames(self) -> np.ndarray:
        """The present frame of every row, (b, H, W, 3) uint8; EnvError before the first reset."""
        self._check_open()
        if self._state is None:
            raise EnvError("there is no frame yet: call reset() first")
        with self._acting():
            return self._draw(self._state)[..., -3:].copy()

    def close(self) -> None:
        """Lets go of every state; may be called twice."""
        self._closed = True
        self._state = self._next = None
        self._running[:] = False

    def _restart(self, rows: np.ndarray, horizons: np.ndarray) -> Observation:
        """New episodes in `rows`, each with its next start."""
        self._running[rows] = False  # until their starts are known to be good
        with self._acting():
            if not self._ready[rows].all():
                self._prepare()
            assert self._next is not None
            mask = torch.from_numpy(rows.copy()).to(self._model.device)
            self._state = self._next if self._state is None else self._state.put(mask, self._next[mask])
            self._elapsed[rows] = 0
            self._horizons[rows] = horizons[rows]
            self._seen[rows] = self._next_seen[rows]
            self._drawn[rows] = True
            observation = self._observe(self._state)
        self._ready[rows] = False
        self._running[rows] = True
        for row in np.flatnonzero(rows):
            self._streams[row].episode += 1
        return observation

    def _prepare(self) -> None:
        """Filters the next start of every row that lacks one, together."""
        lacking = np.flatnonzero(~self._ready).tolist()
        drawn = {row: self.starts.draw(self._streams[row].next_start()) for row in lacking}
        fresh = filtered(self._model, list(drawn.values()))
        mask = torch.from_numpy(~self._ready).to(self._model.device)
        self._next = fresh if self._next is None else self._next.put(mask, fresh)
        for row, context in drawn.items():
            self._next_seen[row] = stack_frames(context.frames.permute(0, 1, 3, 4, 2).numpy(), self._frame_stack)[0]
        self._ready[:] = True

    def _chance(self) -> tuple[Tensor | None, np.ndarray]:
        """Noise for each row's z, and for each a number in [0, 1) that decides whether its task terminates."""
        noise = None
        if self._samples:
            rows = [streams.steps.standard_normal(self._model.noise_shape, np.float32) for streams in self._streams]
            noise = torch.from_numpy(np.stack(rows)).to(self._model.device)
        return noise, np.array([streams.steps.random() for streams in self._streams])

    def _observe(self, state: State) -> Observation:
        self._check_finite("feature", state.feature)
        observation = {}
        if "frames" in self._kinds:
            observation["frames"] = self._draw(state).copy()
        if "features" in self._kinds:
            observation["features"] = features(state).cpu().numpy()
        return observation

    def _draw(self, state: State) -> np.ndarray:
        """The rows' frames, stacked; each state is decoded once at most."""
        if not self._drawn.all():
            decoded = self._model.decode(state)
            self._check_finite("frame", decoded)
            fresh = ~self._drawn
            self._seen[fresh] = push_frames(self._seen, pixels(decoded))[fresh]
            self._drawn[:] = True
        return self._seen

    def _check_finite(self, what: str, values: Tensor) -> None:
        finite = torch.isfinite(values.reshape(self.num_envs, -1)).all(1)
        if not finite.all():
            row = int(torch.nonzero(~finite)[0])
            raise WorldModelError(
                f"the {what} that the model imagines in row {row} at step {self._elapsed[row]} of its episode is not "
                "finite: nothing of it is given to learn from; go back to an earlier checkpoint, or shorten the horizon"
            )

    def _check_open(self) -> None:
        if self._closed:
            raise EnvError("the imagined environment is closed: make another")

    @contextmanager
    def _acting(self) -> Iterator[None]:
        with torch.inference_mode(), autocast(self._model.device, self._precision):
            yield
