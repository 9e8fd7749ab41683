"""Episodes are the same whoever plays them; what goes wrong in a worker is told, and what is in hand is filed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from agents.collecting import Failure
from agents.seeds import seed_of
from agents.workers import Collector, Played, collect
from worldmodel.episode import Episode, episode_path, load_episode
from worldmodel.errors import EnvError, WorldModelError

# A walk with wind; episodes of seeds `ill` go wrong at their second step, the others begin with a pause.
WIND = """
import os
import time

import gymnasium
import numpy as np

from worldmodel.errors import EnvError


class Walk(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, ill=(), how="mistake", pause=0.0):
        self.ill, self.how, self.pause = ill, how, pause

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        time.sleep(0 if seed in self.ill else self.pause)
        self.seed, self.place, self.steps = seed, float(self.np_random.uniform(100, 150)), 0
        return np.full((16, 16, 3), self.place, np.uint8), {}

    def step(self, action):
        self.steps += 1
        if self.seed in self.ill and self.steps == 2:
            if self.how == "death":
                os._exit(7)
            if self.how == "failure":
                raise OSError("a gust")
            raise EnvError("the rope broke at step 2: tie another")
        self.place += 10 * float(action[0]) + float(self.np_random.normal())
        return np.full((16, 16, 3), self.place, np.uint8), -abs(self.place - 125), False, self.steps == 4, {}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A planner in the simulator of that walk, with noise, as configs/collect.yaml would say it."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "wind.py").write_text(WIND)
    env = {"backend": "gymnasium", "name": "walk", "id": "wind:Walk", "kwargs": {}, "frames": "observation"}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)  # which the workers inherit
        yield {
            "env": env | {"action_repeat": 1, "time_limit": 0, "size": [16, 16]},
            "planner": {"kind": "cem", "horizon": 2, "candidates": 6, "iterations": 2, "elites": 2},
            "policy": "simulator",
            "seed": 3,
            "exploration": 0.3,
            "rendering": "standard",
            "env_timeout": None,
            "accelerator": "cpu",
            "precision": "32-true",
        }


def ill(config: dict[str, Any], seeds: list[int], how: str = "mistake") -> dict[str, Any]:
    return config | {"env": config["env"] | {"kwargs": {"ill": seeds, "how": how, "pause": 0.3}}}


def seeds_of(index: int) -> list[int]:
    """Of an episode's attempts, in a run of seed 3."""
    return [seed_of(3, "collect", index), *(seed_of(3, "retry", 3 * index + attempt) for attempt in (1, 2))]


class Broken(NamedTuple):
    """A collection that an error ended: what it had filed and told by then, and the error's message."""

    folder: Path
    filed: list[Path]
    told: list[Played]
    message: str


def check_same(a: Episode, b: Episode) -> None:
    for part in ("frames", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(a, part), getattr(b, part), err_msg=part)
    for part in ("terminated", "truncated", "spec", "seed", "actor"):
        assert getattr(a, part) == getattr(b, part), part


def test_one_worker_plays_here_and_yields_each_episode_as_it_is_filed(config: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "episodes"
    collector = Collector(config, folder)
    assert not folder.exists() and collector.spec.env == "walk"
    playing = collect(collector, [5, 2], workers=1, failed=pytest.fail)
    for index in (5, 2):
        played = next(playing)
        episode = load_episode(episode_path(folder, index))
        assert played == Played(index, episode.total, 4, 4) == Played.read(index, episode_path(folder, index))
        assert (episode.seed, episode.actor) == (seed_of(3, "collect", index), "simulator")
        assert episode_path(folder, 2).exists() == (index == 2)
    assert list(playing) == []


def test_an_episode_does_not_depend_on_those_before_it(config: dict[str, Any], tmp_path: Path) -> None:
    list(collect(Collector(config, tmp_path / "a"), [0, 1], workers=1, failed=pytest.fail))
    list(collect(Collector(config, tmp_path / "b"), [1], workers=1, failed=pytest.fail))
    first, second, alone = (
        load_episode(episode_path(tmp_path / name, index)) for name, index in (("a", 0), ("a", 1), ("b", 1))
    )
    check_same(second, alone)
    assert not np.array_equal(first.actions, second.actions)


def test_nothing_to_play_starts_nobody(config: dict[str, Any], tmp_path: Path) -> None:
    for workers in (1, 2):
        assert list(collect(Collector(config, tmp_path / "episodes"), [], workers=workers, failed=pytest.fail)) == []
    assert not (tmp_path / "episodes").exists()


@pytest.fixture(scope="module")
def broken(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Broken:
    """Two workers were to play a thousand episodes; the one numbered 5 raised an error."""
    folder = tmp_path_factory.mktemp("broken") / "episodes"
    told: list[Played] = []
    with pytest.raises(EnvError) as raised:
        told.extend(
            collect(
                Collector(ill(config, [seed_of(3, "collect", 5)]), folder), range(1000), workers=2, failed=pytest.fail
            )
        )
    return Broken(folder, list(folder.iterdir()), told, str(raised.value))


@pytest.mark.slow
def test_two_workers_play_the_same_episodes_as_one(config: dict[str, Any], broken: Broken, tmp_path: Path) -> None:
    alone = list(collect(Collector(config, tmp_path), range(5), workers=1, failed=pytest.fail))
    # The last of them was in hand when number 5 went wrong.
    assert {episode_path(broken.folder, index) for index in range(5)} <= set(broken.filed)
    for index in range(5):
        check_same(*(load_episode(episode_path(folder, index)) for folder in (tmp_path, broken.folder)))
    assert [played for played in broken.told if played.index < 5] != []
    assert all(played in alone for played in broken.told if played.index < 5)


@pytest.mark.slow
def test_a_worker_s_error_is_raised_here_in_its_own_words_and_ends_the_rest(broken: Broken) -> None:
    assert broken.message == "the rope broke at step 2: tie another"
    assert episode_path(broken.folder, 5) not in broken.filed and len(broken.filed) < 20
    for path in broken.filed:
        assert len(load_episode(path)) == 4


@pytest.mark.slow
def test_a_worker_s_death_is_an_error_too(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(
        WorldModelError, match=r"one of 2 workers died \(.*\), perhaps .*: resume with fewer; .* env_timeout="
    ):
        list(
            collect(
                Collector(ill(config, [seed_of(3, "collect", 0)], "death"), tmp_path / "episodes"),
                [0],
                workers=2,
                failed=pytest.fail,
            )
        )


GUST = "wind:Walk raised OSError('a gust') in step() at simulator step 2: the episode is lost, reset() begins another"


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_environment_s_failures_are_told_here_and_cost_no_episode(
    workers: int, config: dict[str, Any], tmp_path: Path
) -> None:
    told: list[Failure] = []
    sick = [*seeds_of(0)[:2], seeds_of(2)[0]]
    collector = Collector(ill(config, sick, "failure"), tmp_path / "episodes")
    played = list(collect(collector, [0, 1, 2], workers=workers, failed=told.append))
    assert sorted(one.index for one in played) == [0, 1, 2]
    found = [load_episode(episode_path(tmp_path / "episodes", index)).seed for index in range(3)]
    assert found == [seeds_of(0)[2], seeds_of(1)[0], seeds_of(2)[1]]
    expected = [(0, 1, sick[0]), (0, 2, sick[1]), (2, 1, sick[2])]
    assert sorted(told, key=lambda one: (one.episode, one.attempt)) == [
        Failure("collect", *which, GUST) for which in expected
    ]
