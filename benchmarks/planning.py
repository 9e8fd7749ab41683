"""Seconds an action of planning in a model: a plan, and filtering the frame that its first action led to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch.utils.flop_counter import FlopCounterMode

from agents.planners import make_planner
from agents.planning import PlanningAgent, usual_horizon
from benchmarks.measured import Measured, duration, fastest
from benchmarks.peak import GIGA
from benchmarks.workload import CARTPOLE, new_model
from worldmodel.config import ModelConfig
from worldmodel.spec import EnvSpec
from worldmodel.svg import channels_last
from worldmodel.trainer import make_fabric


def against_float32(
    model_config: ModelConfig,
    planner: Mapping[str, Any],
    *,
    peak: float,
    spec: EnvSpec = CARTPOLE,
    budget: float = 15.0,
) -> Measured:
    """`PlanningAgent` in the precision that commands take here against the same in float32.

    Extra: ``gflops``, what its products and convolutions come to in a second, and ``peak_share``, that as a share of
    `peak` (GFLOP/s).
    """
    decide, plain = (decision(model_config, planner, spec, make_fabric("cpu", 1, each)) for each in ("auto", "32-true"))
    with FlopCounterMode(display=False) as counter:
        decide()
    value, baseline = fastest(decide, plain, budget=budget)
    gflops = counter.get_total_flops() / GIGA / value
    return duration(value, baseline, gflops=gflops, peak_share=gflops / peak)


def against_smaller(
    model_config: ModelConfig,
    planner: Mapping[str, Any],
    smaller: Mapping[str, Any],
    *,
    spec: EnvSpec = CARTPOLE,
    budget: float = 3.0,
) -> Measured:
    """A search against a smaller one, both in the precision that commands take here."""
    fabric = make_fabric("cpu", 1, "auto")
    return duration(
        *fastest(*(decision(model_config, each, spec, fabric) for each in (planner, smaller)), budget=budget)
    )


def against_cpu(
    model_config: ModelConfig,
    planner: Mapping[str, Any],
    *,
    accelerator: str,
    spec: EnvSpec = CARTPOLE,
    budget: float = 5.0,
) -> Measured:
    """A decision on an accelerator against the same on this machine's processor."""
    fabrics = [make_fabric(where, 1, "auto") for where in (accelerator, "cpu")]
    runs = [decision(model_config, planner, spec, fabric) for fabric in fabrics]
    return duration(*fastest(*runs, budget=budget))


def decision(
    model_config: ModelConfig, planner: Mapping[str, Any], spec: EnvSpec, fabric: Fabric
) -> Callable[[], None]:
    """One decision of an episode that goes on from call to call."""
    frame = np.random.default_rng(0).integers(0, 256, (*spec.frame_size, 3), dtype=np.uint8)
    generator = torch.Generator().manual_seed(0)
    model = channels_last(new_model(model_config, spec)).to(fabric.device).eval()
    agent = PlanningAgent(model, make_planner(planner, spec, horizon=usual_horizon(model)))
    agent.reset(frame)

    def decide() -> None:
        with fabric.autocast():
            agent.observe(agent.act(generator), frame, generator)

    return decide
