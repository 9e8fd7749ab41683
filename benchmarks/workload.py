"""What is measured: the named models and planners of `configs/`, and episodes of noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from omegaconf import OmegaConf

from worldmodel.build import build
from worldmodel.config import ModelConfig
from worldmodel.episode import Episode, episode_path, save_episode
from worldmodel.spec import EnvSpec
from worldmodel.svg import SVG

ROOT = Path(__file__).resolve().parent.parent
CARTPOLE = EnvSpec("cartpole", "swingup", "box", 1, (-1.0,), (1.0,), 8, 1000, (64, 64))


def settings(group: str, name: str, **changes: Any) -> dict[str, Any]:
    """The values of ``configs/GROUP/NAME.yaml``, some of them changed."""
    loaded = OmegaConf.to_container(OmegaConf.load(ROOT / "configs" / group / f"{name}.yaml"), resolve=True)
    return {**cast(dict[str, Any], loaded), **changes}


def new_model(config: ModelConfig, spec: EnvSpec = CARTPOLE) -> SVG:
    """A model without any training, the same each time, whose dreams last their horizon: it expects tasks to go on."""
    torch.manual_seed(0)
    model = build(config, spec)
    assert isinstance(model, SVG)
    log_odds = model.continuation.layers[-1].get_parameter("bias")
    torch.nn.init.constant_(log_odds, 7.0)
    return model


def write_episodes(folder: Path, count: int, *, length: int, spec: EnvSpec = CARTPOLE) -> None:
    """Files of noise, each with `length` transitions; the rewards of the i-th are all i."""
    for index in range(count):
        rng = np.random.default_rng(index)
        episode = Episode(
            frames=rng.integers(0, 256, (length + 1, *spec.frame_size, 3), dtype=np.uint8),
            actions=rng.uniform(-1, 1, (length, spec.action_size)).astype(np.float32),
            rewards=np.full(length, index, np.float32),
            terminated=False,
            truncated=True,
            spec=spec,
            seed=index,
            actor="random",
        )
        save_episode(episode, episode_path(folder, index))
