"""Ids are found in Gymnasium's registry or by import path, and what is amiss with them is said."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from dot import Dot

from envs import finding
from envs.finding import find_env
from worldmodel.errors import EnvError, foreign_trace

PACKAGE = """
import gymnasium
import numpy as np
from dot import Dot

def limited(**kwargs):
    return gymnasium.wrappers.TimeLimit(Dot(**kwargs), 3)

class Taker:
    pass

def broken(**kwargs):
    return {}["joint"]

def within(**kwargs):
    return gymnasium.make("Missing-v3")

def unsuited(**kwargs):
    return gymnasium.make("CartPole-v1", gravity=3)

colour = "red"
gymnasium.register("OwnDot-v0", entry_point=Dot, max_episode_steps=3)
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody's package on the Python path, as the folder that a command is started in is."""
    (tmp_path / "somebodys").mkdir()
    (tmp_path / "somebodys" / "__init__.py").touch()
    (tmp_path / "somebodys" / "envs.py").write_text(PACKAGE)
    (tmp_path / "somebodys" / "torn.py").write_text("import nowhere_to_be_found")
    (tmp_path / "somebodys" / "wrong.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(gymnasium.envs.registration, "registry", registry := dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", registry)
    for name in [name for name in sys.modules if name.partition(".")[0] == "somebodys"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("id", ["dot:Dot", "somebodys.envs:Dot", "somebodys.envs:limited", "somebodys.envs:OwnDot-v0"])
def test_a_class_a_callable_and_a_registered_id_are_found_without_their_time_limit(id: str) -> None:
    env, limit = find_env(id, {"render_mode": "rgb_array"})
    assert limit == {"somebodys.envs:limited": 3, "somebodys.envs:OwnDot-v0": 3}.get(id)
    assert isinstance(env.unwrapped, Dot) and env.render_mode == "rgb_array"
    env.reset(seed=0)
    assert not any(env.step(np.zeros(2))[3] for _ in range(4))


def test_a_registered_id_needs_no_module() -> None:
    env, limit = find_env("CartPole-v1", {"sutton_barto_reward": True})
    assert env.unwrapped._sutton_barto_reward and limit == 500


@pytest.mark.parametrize(
    ("id", "kwargs", "message"),
    [
        ("CartPol-v1", {}, "Gymnasium has no environment 'CartPol-v1': did you mean CartPole-v1"),
        ("Zzz-v1", {}, "no environment 'Zzz-v1': is the package that registers it installed.*env.id=package:Zzz-v1"),
        ("nowhere:CartPole-v1", {}, "nowhere:CartPole-v1 needs the module 'nowhere', .*on the Python path"),
        ("somebodys/envs.py:Dot", {}, "needs the module 'somebodys/envs.py', which cannot .*give its dotted name"),
        ("somebodys.envz:Dot", {}, "needs the module 'somebodys.envz', which cannot be .*give its dotted name"),
        ("somebodys.torn:Dot", {}, r"needs the module 'somebodys.torn', .*nowhere_to_be_found'\): see to what it impo"),
        (":Dot", {}, "needs the module '', which cannot be imported"),
        ("somebodys.envs:Dott", {}, "somebodys.envs has no 'Dott' and registers no such .*did you mean Dot"),
        ("somebodys.envs:Zzz-v0", {}, "somebodys.envs has no 'Zzz-v0' and registers no such environment: name a class"),
        ("somebodys.envs:Taker", {}, "somebodys.envs:Taker gives Taker, not a gymnasium.Env"),
        ("somebodys.envs:colour", {}, "envs:colour cannot be made with {}: TypeError: 'str' object is not callable"),
        ("dot:Dot", {"hue": 3}, "dot:Dot cannot be made with {'hue': 3}: .*unexpected keyword argument 'hue'"),
        ("CartPole-v1", {"gravity": 3}, "CartPole-v1 cannot be made with {'gravity': 3}: .*unexpected keyword"),
    ],
)
def test_what_cannot_be_found_or_made_is_explained(id: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        find_env(id, kwargs)


def test_a_package_of_an_extra_is_named_by_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ale_py", None)  # as if not installed
    with pytest.raises(EnvError, match=r"needs the module 'ale_py', .*: pip install 'svg-worldmodel\[atari\]'"):
        find_env("ale_py:ALE/Pong-v5", {})
    assert set(finding.EXTRAS) == {"ale_py"}


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("somebodys.wrong:Dot", r"'somebodys.wrong', which cannot be imported \(ZeroDivisionError: division"),
        ("somebodys.envs:broken", r"somebodys.envs:broken cannot be made with {}: KeyError: 'joint'"),
        ("somebodys.envs:within", r"somebodys.envs:within cannot be made with {}: NameNotFound: .*Missing"),
        ("somebodys.envs:unsuited", r"somebodys.envs:unsuited cannot be made with {}: TypeError: .*gravity"),
    ],
)
def test_what_ones_own_code_raises_is_told_with_its_traceback(id: str, message: str) -> None:
    with pytest.raises(EnvError, match=message) as raised:
        find_env(id, {})
    assert "somebodys" in foreign_trace(raised.value)


def test_a_mistake_in_the_settings_needs_no_traceback() -> None:
    names = ("CartPol-v1", "nowhere:CartPole-v1", "somebodys.envs:Dott")
    for id, kwargs in [*((name, {}) for name in names), ("CartPole-v1", {"gravity": 3}), ("dot:Dot", {"hue": 3})]:
        with pytest.raises(EnvError) as raised:
            find_env(id, kwargs)
        assert foreign_trace(raised.value) == ""
