"""Who acts, by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from agents.actor import Actor, RandomActor
from agents.planners import make_planner
from agents.planning import UNVALUED, PlanningAgent, usual_horizon
from agents.sb3_policy import SB3Actor, kind_seen, load_sb3
from agents.simulator import SimulatorAgent
from envs.filtered import Filter
from envs.isolated import IsolatedEnv
from envs.pixels import PixelEnv
from worldmodel.errors import ConfigError
from worldmodel.model import Model
from worldmodel.pretrained import check_fits, from_pretrained
from worldmodel.spec import EnvSpec

NEEDS = {"random": None, "planner": "checkpoint", "simulator": None, "sb3": "sb3"}
"""Each policy, and the setting that it alone needs."""


def make_actor(config: Mapping[str, Any], env: PixelEnv | IsolatedEnv, *, device: torch.device) -> Actor:
    """The actor that the key ``policy`` names.

    ``random``; ``planner``, which plans in the model of ``checkpoint``; ``simulator``, the same planner in the
    environment's own simulator; ``sb3``, a policy that Stable-Baselines3 saved, of frames, of the features of
    the model of ``checkpoint``, or of both.

    Args:
        config: the plain values of `configs/collect.yaml`.
        env: what it will act in.
        device: where a model is put.

    Raises ConfigError for settings that are missing or do not go together, CheckpointError for a model of another
    environment.
    """
    spec, policy = env.env_spec, config["policy"]
    if policy not in NEEDS:
        raise ConfigError(f"policy is {policy!r}: set one of {', '.join(NEEDS)}")
    if (needed := NEEDS[policy]) and not config[needed]:
        raise ConfigError(f"policy={policy} lacks {needed}: set {needed}= to the path of one")
    match policy:
        case "planner":
            model = _model_for(config, spec, device)
            planner = make_planner(config["planner"], spec, horizon=usual_horizon(model))
            return PlanningAgent(model, planner, latents=config["latents"])
        case "simulator":
            if isinstance(env, IsolatedEnv):
                raise ConfigError(
                    "policy=simulator plans in the environment, which must run in this process: set env_timeout=null"
                )
            return SimulatorAgent(env, make_planner(config["planner"], spec, horizon=UNVALUED))
        case "sb3":
            saved = load_sb3(Path(config["sb3"]), config["algorithm"], trusted=config["trusted"])
            if (seen := kind_seen(saved)) == "frames":
                return SB3Actor(saved, spec)
            if not config["checkpoint"]:
                raise ConfigError(
                    f"the policy in {config['sb3']} sees {saved.observation_space}, not frames alone: "
                    "set checkpoint= to the model in whose features it was trained"
                )
            model = _model_for(config, spec, device)
            eyes = Filter(model, num_envs=1, observation=seen, precision=config["precision"])
            return SB3Actor(saved, spec, eyes)
        case _:
            return RandomActor(spec, persistence=config["persistence"])


def _model_for(config: Mapping[str, Any], spec: EnvSpec, device: torch.device) -> Model:
    model = from_pretrained(config["checkpoint"], feedback=config["feedback"], device=device)
    check_fits(model.spec, spec, config["checkpoint"])
    return model
