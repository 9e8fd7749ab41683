"""Parameters and multiply-adds of a model, part by part, without the memory that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from worldmodel.build import build
from worldmodel.config import ModelConfig
from worldmodel.model import Model
from worldmodel.rssm import RSSM
from worldmodel.spec import EnvSpec
from worldmodel.svg import SVG

PARTS = ("encoder", "features", "decoder", "frame_predictor", "posterior", "prior")
HEADS = ("reward", "continuation")
JUDGES = ("actor_critic.policy", "actor_critic.critics")  # of models that have them


def summarise(config: ModelConfig, action_size: int, frame_size: tuple[int, int]) -> dict[str, dict[str, int]]:
    """For each part, and the total without heads: parameters, and multiply-adds for one frame of one row.

    The model is made on torch's meta device: no memory, so the largest fits anywhere.
    """
    spec = none_spec(action_size, frame_size)
    with torch.device("meta"):
        model = build(config, spec)
    work = multiply_adds(model, action_size, frame_size)
    rows = {
        name: {"parameters": parameters(model.get_submodule(name)), "multiply_adds": work[name]}
        for name in (*PARTS, *HEADS, *(JUDGES if model.actor_critic else ()))
    }
    total = {key: sum(rows[name][key] for name in PARTS) for key in ("parameters", "multiply_adds")}
    return {**rows, "total without heads": total}


def none_spec(action_size: int, frame_size: tuple[int, int]) -> EnvSpec:
    """Of no environment, for a model that is looked at alone."""
    return EnvSpec("none", "none", "box", action_size, (-1.0,) * action_size, (1.0,) * action_size, 1, 0, frame_size)


def parameters(module: torch.nn.Module) -> int:
    """How many numbers training adjusts."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(model: Model, action_size: int, frame_size: tuple[int, int]) -> dict[str, int]:
    """Of each part, for one frame of one row."""
    if isinstance(model, RSSM):
        work, feature = _of_states(model, action_size, frame_size)
    else:
        work, feature = _of_video(model, action_size, frame_size)
    action = torch.zeros(1, action_size, device="meta")
    for name, head in (("reward", model.reward), ("continuation", model.continuation)):
        work[name], _ = count(head, feature, action, feature)
    if model.actor_critic:
        policy, critics = JUDGES
        work[policy], _ = count(model.actor_critic.act, feature)
        work[critics], _ = count(model.actor_critic.values, feature, action)
    return work


def count(part: Callable[..., Any], *inputs: Any) -> tuple[int, Any]:
    """Multiply-adds of a call, and what it gives."""
    with FlopCounterMode(display=False) as counter:
        output = part(*inputs)
    return counter.get_total_flops() // 2, output


def _of_states(model: RSSM, action_size: int, frame_size: tuple[int, int]) -> tuple[dict[str, int], Any]:
    action = torch.zeros(1, action_size, device="meta")
    work: dict[str, int] = {}
    work["encoder"], (seen, _) = count(model.encoder, torch.zeros(1, 3, *frame_size, device="meta"))
    feature = model.first_feature(seen)
    work["frame_predictor"], deterministic = count(model.frame_predictor, feature, action)
    work["posterior"], _ = count(model.explain, deterministic, seen)
    work["prior"], _ = count(model.expect, deterministic)
    work["features"], embedding = count(model.features.embedding, feature)
    work["decoder"], _ = count(model.decoder, embedding, ())
    return work, feature


def _of_video(model: SVG, action_size: int, frame_size: tuple[int, int]) -> tuple[dict[str, int], Any]:
    frame = torch.zeros(1, 3, *frame_size, device="meta")
    action = torch.zeros(1, action_size, device="meta")
    work: dict[str, int] = {}
    work["encoder"], (embedding, skips) = count(model.encoder, frame)
    up, feature = count(model.features, embedding, action, embedding)
    down, _ = count(model.features.embedding, feature)
    work["features"] = up + down
    for name, part in (("posterior", model.posterior), ("prior", model.prior)):
        work[name], _ = count(part, feature, part.initial(feature))
    z = torch.zeros(1, *model.noise_shape, device="meta")
    x = model.inputs(feature, z, action)
    work["frame_predictor"], _ = count(model.frame_predictor, x, model.frame_predictor.initial(x))
    work["decoder"], _ = count(model.decoder, embedding, skips)
    return work, feature
