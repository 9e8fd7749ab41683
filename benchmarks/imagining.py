"""Decisions a second in a model's imagination, against one process of the real environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from benchmarks.measured import Measured, fastest, rate
from benchmarks.workload import CARTPOLE, new_model
from envs import env_spec, make_env
from envs.pixels import PixelEnv
from worldmodel.config import ModelConfig
from worldmodel.spec import EnvSpec
from worldmodel.svg import SVG, channels_last
from worldmodel.trainer import make_fabric


def against_environment(
    model_config: ModelConfig,
    env: Mapping[str, Any],
    *,
    draw: bool,
    rows: int = 64,
    steps: int = 15,
    decisions: int = 20,
    budget: float = 10.0,
) -> Measured:
    """Imagining `rows` futures side by side, features fed back, against stepping an environment that draws each frame.

    A decision is `action_repeat` simulator steps in either.

    Args:
        env: settings of the environment.
        draw: whether every imagined frame is decoded.
        steps, decisions: how far a timed run goes, in imagination and in the environment.

    Extra: ``baseline_fast``, the environment with cheaper shadows and edges.
    """
    settings = {**env, "time_limit": 0}
    real = [make_env(settings, rendering=rendering) for rendering in ("standard", "fast")]
    model = channels_last(new_model(model_config, env_spec(real[0]))).eval()
    dreaming = dream(model, rows, steps, make_fabric("cpu", 1, "auto"), draw=draw)
    times = fastest(dreaming, *(play(one, decisions) for one in real), budget=budget)
    for one in real:
        one.close()
    value, baseline, fast = rows * steps / times[0], decisions / times[1], decisions / times[2]
    return rate(value, baseline, "decisions/s", baseline_fast=fast)


def against_cpu(
    model_config: ModelConfig,
    *,
    accelerator: str,
    draw: bool,
    rows: int,
    steps: int = 15,
    spec: EnvSpec = CARTPOLE,
    budget: float = 5.0,
) -> Measured:
    """Imagining `rows` futures side by side on an accelerator against the same on this machine's processor."""
    fabrics = [make_fabric(where, 1, "auto") for where in (accelerator, "cpu")]
    models = [channels_last(new_model(model_config, spec)).to(fabric.device).eval() for fabric in fabrics]
    runs = [dream(model, rows, steps, fabric, draw=draw) for model, fabric in zip(models, fabrics, strict=True)]
    value, baseline = (rows * steps / time for time in fastest(*runs, budget=budget))
    return rate(value, baseline, "decisions/s")


def dream(model: SVG, rows: int, steps: int, fabric: Fabric, *, draw: bool) -> Callable[[], None]:
    """Random actions from one filtered context each, in the fabric's precision; done when all is computed."""
    spec, generator = model.spec, torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (rows, 5, 3, *spec.frame_size), dtype=torch.uint8, generator=generator)
    actions = 2 * torch.rand(rows, 4 + steps, spec.action_size, generator=generator) - 1
    frames, actions = frames.to(model.device), actions.to(model.device)
    with torch.inference_mode(), fabric.autocast():
        start = model.initial(frames, actions[:, :4])

    @torch.inference_mode()
    def run() -> None:
        state = start
        with fabric.autocast():
            for action in actions[:, 4:].unbind(1):
                state = model.imagine(state, action).state
                if draw:
                    model.decode(state)
        state.feature.sum().item()  # an accelerator is waited for

    return run


def play(env: PixelEnv, decisions: int) -> Callable[[], None]:
    """Random actions in an episode that goes on from call to call."""
    actions = np.random.default_rng(0).uniform(-1, 1, (decisions, env.env_spec.action_size)).astype(np.float32)
    env.reset(seed=0)

    def run() -> None:
        for action in actions:
            env.step(action)

    return run
