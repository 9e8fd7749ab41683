"""A stretch of an episode as it happened, and as a model imagines it under the same actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import colormaps

from worldmodel.episode import Episode
from worldmodel.errors import DataError, check_whole
from worldmodel.futures import imagine_futures
from worldmodel.pictures.video import difference
from worldmodel.svg import WorldModel

SPREAD_LEVELS = 64  # grey levels of deviation that the colours of a spread reach to


@dataclass(frozen=True, eq=False)
class OpenLoop:
    """What happened and what was imagined, over t decisions; nothing of the last t + 1 - context frames was given.

    Attributes:
        real: (t+1, h, w, 3) uint8.
        actions: (t, a), in [-1, 1] or one-hot; actions[i] takes frame i to frame i + 1 and earns rewards[i].
        rewards: (t,).
        imagined: (t+1, h, w, 3) uint8, the given frames and then those of the mean of each z.
        imagined_rewards: (t,) float; NaN of decisions between given frames.
        samples: (n, t+1, h, w, 3) uint8, the same of n futures whose z are drawn.
        sample_rewards: (n, t) float.
        context: frames given, in 1..t.
        discrete: whether actions are choices.
    """

    real: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    imagined: np.ndarray
    imagined_rewards: np.ndarray
    samples: np.ndarray
    sample_rewards: np.ndarray
    context: int
    discrete: bool

    @property
    def difference(self) -> np.ndarray:
        """Of what happened and the mean's future: absolute, of each channel, (t+1, h, w, 3) uint8."""
        return difference(self.real, self.imagined)

    @property
    def spread(self) -> np.ndarray:
        """Deviation of each pixel over samples in grey levels, the root of the channels' mean square: (t+1, h, w)."""
        if len(self.samples) == 0:
            return np.zeros(self.real.shape[:-1])
        return np.sqrt(self.samples.astype(np.float32).var(0).mean(-1))

    def part(self, frames: int) -> OpenLoop:
        """The first `frames` of it, more than the context, or all where there are fewer."""
        t = min(frames, len(self.real)) - 1
        return OpenLoop(
            real=self.real[: t + 1],
            actions=self.actions[:t],
            rewards=self.rewards[:t],
            imagined=self.imagined[: t + 1],
            imagined_rewards=self.imagined_rewards[:t],
            samples=self.samples[:, : t + 1],
            sample_rewards=self.sample_rewards[:, :t],
            context=self.context,
            discrete=self.discrete,
        )


@torch.inference_mode()
def imagine_open_loop(
    model: WorldModel,
    episode: Episode,
    *,
    context: int,
    horizon: int | None = None,
    samples: int = 0,
    start: int = 0,
    seed: int = 0,
) -> OpenLoop:
    """Filters some frames of an episode with the mean of each z, and imagines on under the actions that were taken.

    Args:
        model: in evaluation mode.
        context: frames given, from `start` on; at least 1.
        horizon: decisions imagined, at least 1; None for all until the episode's end.
        samples: futures whose z are drawn, beside that of their means.
        start: index of the first given frame.
        seed: of the draws.

    Raises DataError where the episode is too short for these, ConfigError for numbers out of range.
    """
    for name, value, least in (("context", context, 1), ("samples", samples, 0), ("start", start, 0)):
        check_whole(name, value, least)
    left = len(episode) - start - (context - 1)
    if horizon is not None:
        check_whole("horizon", horizon, 1)
    if left < (horizon or 1):
        mend = f"set horizon <= {left}" if left > 0 else "set an earlier start, or a shorter context"
        raise DataError(
            f"{context} frames from frame {start} on leave {max(left, 0)} of {len(episode)} decisions to imagine, "
            f"{horizon or 1} are wanted: {mend}"
        )
    steps = left if horizon is None else horizon
    chosen = slice(start, start + context - 1 + steps)
    frames = episode.frames[start : chosen.stop + 1]
    actions, rewards = episode.actions[chosen], episode.rewards[chosen]
    given = torch.from_numpy(np.array(frames[:context])).permute(0, 3, 1, 2)[None]
    taken = torch.from_numpy(np.array(actions, np.float32))[None]
    rows, generator = 1 + samples, torch.Generator().manual_seed(seed)
    drawn, earned = imagine_futures(model, given, taken, context, samples, generator)
    before = np.broadcast_to(frames[:context], (rows, *frames[:context].shape))
    imagined = np.concatenate([before, drawn[0].permute(0, 1, 3, 4, 2).numpy()], 1)
    unknown = np.full((rows, context - 1), np.nan, np.float32)
    imagined_rewards = np.concatenate([unknown, earned[0].numpy()], 1)
    return OpenLoop(
        real=np.array(frames),
        actions=np.array(actions),
        rewards=np.array(rewards),
        imagined=imagined[0],
        imagined_rewards=imagined_rewards[0],
        samples=imagined[1:],
        sample_rewards=imagined_rewards[1:],
        context=context,
        discrete=episode.spec.action_kind == "discrete",
    )


def coloured_spread(rollout: OpenLoop) -> np.ndarray:
    """Its spread in colours, black for none and bright for `SPREAD_LEVELS` or more: (t+1, h, w, 3) uint8."""
    shades = colormaps["inferno"](np.clip(rollout.spread / SPREAD_LEVELS, 0, 1))
    return (255 * shades[..., :3]).round().astype(np.uint8)
