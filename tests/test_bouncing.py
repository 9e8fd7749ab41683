"""A square that bounces at random: where it is, and that both futures come about as often."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import Command, running

from worldmodel.bouncing import bouncing_episode, bouncing_places
from worldmodel.episode import load_episode
from worldmodel.errors import ConfigError
from worldmodel.replay import Replay


def test_it_crosses_in_seven_steps_and_turns_at_walls() -> None:
    for seed in range(20):
        places = bouncing_places(np.random.default_rng(seed), 60, 64)
        assert places.min() >= 0 and places.max() <= 48
        steps = np.diff(places, axis=0)
        inside = (places[1:-1] > 8) & (places[1:-1] < 40)
        across = np.abs(steps[1:, 1])[inside[:, 1]]
        assert set(across.tolist()) <= {6, 7, 8} and len(across) > 20  # 48 / 7, rounded
        assert (np.sign(steps[1:, 1]) == np.sign(steps[:-1, 1]))[inside[:, 1]].all()


def test_both_ways_are_as_likely_and_depend_on_nothing_before() -> None:
    """After each turn at a side wall, far from floor and ceiling."""
    before, after = [], []
    for seed in range(300):
        places = bouncing_places(np.random.default_rng(seed), 40, 64)
        steps = np.diff(places, axis=0)
        for i in range(1, len(steps) - 2):
            turned = steps[i - 1, 1] * steps[i + 1, 1] < 0 < steps[i - 1, 1] * steps[i, 1]
            if turned and (places[i : i + 3, 0] > 8).all() and (places[i : i + 3, 0] < 40).all():
                before.append(steps[i - 1, 0] > 0)
                after.append(steps[i + 2, 0] > 0)  # in the step that touches the wall it goes on as before
    down = np.mean(after)
    assert len(after) > 500 and abs(down - 0.5) < 4 * 0.5 / len(after) ** 0.5
    same = np.mean(np.equal(before, after))
    assert abs(same - 0.5) < 4 * 0.5 / len(after) ** 0.5


def test_frames_show_where_it_is() -> None:
    episode = bouncing_episode(3, 12)
    places = bouncing_places(np.random.default_rng(3), 12, 32)
    for frame, (row, column) in zip(episode.frames, places, strict=True):
        rows, columns = np.nonzero(frame[..., 0] == 230)
        assert (rows.min(), columns.min()) == (row, column) and len(rows) == 64
        assert (rows.max(), columns.max()) == (row + 7, column + 7)
    assert episode.actions.shape == (12, 0) and episode.truncated
    np.testing.assert_array_equal(episode.frames, bouncing_episode(3, 12).frames)
    with pytest.raises(ConfigError, match="size is 40: set a multiple of 16"):
        bouncing_episode(0, 5, 40)


@pytest.fixture(scope="module")
def make_bouncing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    with running("worldmodel.make_bouncing", tmp_path_factory.mktemp("home")) as command:
        yield command


def test_the_command_makes_other_videos_to_measure_with(make_bouncing: Command, tmp_path: Path) -> None:
    given = ["episodes=3", "tested=2", "length=5", "size=16", "seed=7"]
    outcome = make_bouncing(f"data={tmp_path / 'data'}", *given)
    assert outcome.status == 0, outcome.stderr
    seeds = [
        load_episode(path).seed for part in ("train", "test") for path in sorted((tmp_path / "data" / part).iterdir())
    ]
    assert seeds == [7, 8, 9, 10, 11] and Replay(tmp_path / "data" / "train").steps == 15
    outcome = make_bouncing(f"data={tmp_path / 'data'}", *given)
    assert outcome.status == 2 and "is not empty" in outcome.stderr
