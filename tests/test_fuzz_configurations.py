"""Configurations whose values are any others are valid, and can be used, or are told of by an error of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from dreaming import BOX, CHOICE, CONV, DENSE, PAIR
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from agents.planners import make_planner
from agents.schedule import Schedule
from envs import make_env
from worldmodel.build import build
from worldmodel.config import ModelConfig
from worldmodel.errors import WorldModelError
from worldmodel.spec import EnvSpec
from worldmodel.trainer import TrainConfig

pytestmark = pytest.mark.faults

CONFIGS = Path(__file__).parents[1] / "configs"
ODD = st.one_of(
    *(st.none(), st.booleans(), st.integers(-3, 40), st.sampled_from([2**31, 2**63, -(2**63), 10**30])),
    *(
        st.floats(allow_subnormal=False),
        st.text(max_size=3),
        st.sampled_from(["cem", "lstm", "rssm", "pair", "conv", "light", "l2", "nan"]),
    ),
    *(st.lists(st.integers(-1, 70), max_size=3), st.just({}), st.just({"a": 1})),
    st.lists(st.lists(st.integers(-1, 16), max_size=3), max_size=3),
)


def changed(plain: Mapping[str, Any], data: st.DataObject) -> dict[str, Any]:
    """Some of a configuration's values are others, one may be gone, and one more may be there."""
    found = dict(plain)
    for key in data.draw(st.lists(st.sampled_from(sorted(plain)), min_size=1, max_size=3), "keys"):
        if isinstance(plain[key], dict) and plain[key] and data.draw(st.booleans()):
            found[key] = changed(plain[key], data)
        else:
            found[key] = data.draw(ODD, key)
    if data.draw(st.integers(0, 9)) == 0:
        found.pop(data.draw(st.sampled_from(sorted(found))))
    if data.draw(st.integers(0, 9)) == 0:
        found[data.draw(st.text(max_size=3))] = data.draw(ODD)
    return found


@settings(max_examples=400)
@given(st.sampled_from([DENSE, CONV, PAIR]), st.sampled_from([BOX, CHOICE]), st.data())
def test_a_models_configuration_is_valid_or_told(config: ModelConfig, spec: EnvSpec, data: st.DataObject) -> None:
    given = changed(json.loads(json.dumps(asdict(config))), data)
    try:
        made = ModelConfig.from_mapping(given)
        assume(max(made.feature, made.hidden, made.head, made.latent, *(w for w, _ in made.stages)) <= 4096)
        assume(max(made.K, made.M) < 8 and made.layers + made.critics + sum(b for _, b in made.stages) < 40)
        with torch.device("meta"):
            build(made, spec)
    except WorldModelError as error:
        assert str(error)


def plain(path: str) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / path), resolve=False)
    return found


@settings(max_examples=400)
@given(st.sampled_from(["control", "svg", "svg_prime"]), st.data())
def test_how_to_train_is_valid_or_told(name: str, data: st.DataObject) -> None:
    try:
        made = TrainConfig.from_mapping(changed(plain(f"train/{name}.yaml"), data))
        assert made.window > made.unrolling.context >= 1 and 0 < made.learning_rate < 1e400
    except WorldModelError as error:
        assert str(error)


@settings(max_examples=400)
@given(st.sampled_from(["cem", "icem", "mppi", "policy", "random_shooting"]), st.sampled_from([BOX, CHOICE]), st.data())
def test_a_planner_plans_or_is_told(name: str, spec: EnvSpec, data: st.DataObject) -> None:
    try:
        planner = make_planner(changed(plain(f"planner/{name}.yaml"), data), spec, horizon=5)
        assume(planner.horizon * getattr(planner, "candidates", 1) * getattr(planner, "iterations", 1) < 10**5)
    except WorldModelError as error:
        assert str(error)
        return
    bound = torch.ones(spec.action_size)
    proposals = torch.zeros(1, planner.horizon, spec.action_size)
    proposals[..., 0] = 1
    found = planner.plan(
        lambda candidates: candidates.sum((1, 2)),
        -bound if spec.action_kind == "box" else 0 * bound,
        bound,
        warm_start=None,
        generator=torch.Generator().manual_seed(0),
        proposals=proposals,
    )
    assert found.actions.shape == (planner.horizon, spec.action_size) and bool(found.actions.isfinite().all())


@settings(max_examples=300)
@given(st.data())
def test_a_schedule_is_valid_or_told(data: st.DataObject) -> None:
    least = dict.fromkeys(("seed_episodes", "first_updates", "updates", "evaluate_every", "evaluation_episodes"), 1)
    whole = {"seed": 0, "episodes": 9, "exploration": 0.5, "final_exploration": 0.1, "exploration_episodes": 3}
    given = changed({**least, **whole, "context": 2}, data)
    assume(set(given) == {*least, *whole, "context"})
    try:
        made = Schedule(**given)
        assert made.noise(5) >= 0 and made.due(made.episodes)
    except WorldModelError as error:
        assert str(error)


@settings(max_examples=100)
@given(st.data())
def test_an_environment_is_made_or_told(data: st.DataObject) -> None:
    known = {"backend": "gymnasium", "name": "a", "id": "CartPole-v1", "kwargs": {}, "frames": "render"}
    given = changed({**known, "action_repeat": 1, "time_limit": 9, "size": [16, 16]}, data)
    sizes = given.get("size")
    assume(not isinstance(sizes, list) or all(not isinstance(side, int) or side < 2000 for side in sizes))
    try:
        env = make_env(given)
    except WorldModelError as error:
        assert str(error)
        return
    env.close()
