"""An episode's file gives back exactly what was written, or says what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from worldmodel.episode import Episode, episode_path, load_episode, read_header, save_episode
from worldmodel.errors import DataError
from worldmodel.spec import EnvSpec

BOX = EnvSpec("cartpole", "swingup", "box", 2, (-2.0, -1.0), (2.0, 1.0), 8, 1000, (6, 8))
DISCRETE = replace(BOX, action_kind="discrete", action_low=(), action_high=())


def make_episode(length: int = 5, **changes: Any) -> Episode:
    rng = np.random.default_rng(length)
    parts: dict[str, Any] = {
        "frames": rng.integers(0, 256, (length + 1, 6, 8, 3), dtype=np.uint8),
        "actions": rng.uniform(-1, 1, (length, 2)).astype(np.float32),
        "rewards": rng.normal(size=length).astype(np.float32),
        "terminated": True,
        "truncated": False,
        "spec": BOX,
        "seed": 2**31 - 1,
        "actor": 'plänner "x"',
    }
    return Episode(**{**parts, **changes})


def changed(name: str, index: Any, value: float) -> dict[str, np.ndarray]:
    array = getattr(make_episode(), name).copy()
    array[index] = value
    return {name: array}


@pytest.mark.parametrize(("terminated", "truncated"), [(True, False), (False, True), (False, False)])
def test_an_episode_comes_back_exactly(tmp_path: Path, terminated: bool, truncated: bool) -> None:
    episode = make_episode(terminated=terminated, truncated=truncated)
    path = episode_path(tmp_path / "new folder", 12)
    save_episode(episode, path)
    assert path.name == "000012.safetensors"
    loaded = load_episode(path)
    for name in ("frames", "actions", "rewards"):
        found, written = getattr(loaded, name), getattr(episode, name)
        assert found.dtype == written.dtype and found.tobytes() == written.tobytes() and found.shape == written.shape
    assert (loaded.terminated, loaded.truncated) == (terminated, truncated)
    assert (loaded.spec, loaded.seed, loaded.actor) == (BOX, 2**31 - 1, 'plänner "x"')


def test_any_safetensors_reader_opens_the_file(tmp_path: Path) -> None:
    episode = make_episode(frames=make_episode().frames[:, ::-1])  # a view with strides of its own
    save_episode(episode, tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(tensors["frames"], episode.frames)
    assert set(tensors) == {"frames", "actions", "rewards", "terminated", "truncated"}
    assert tensors["terminated"].shape == () and tensors["terminated"].dtype == np.bool_


def test_the_header_says_all_but_the_arrays(tmp_path: Path) -> None:
    save_episode(make_episode(7), tmp_path / "a.safetensors")
    header = read_header(tmp_path / "a.safetensors")
    assert (header.length, header.spec, header.seed) == (7, BOX, 2**31 - 1)
    assert (header.actor, header.terminated, header.truncated) == ('plänner "x"', True, False)


def test_lengths_count_transitions_and_totals_repeat_actions() -> None:
    episode = make_episode(rewards=np.array([1, 2, 3, 4, 5.5], np.float32))
    assert (len(episode), episode.total, episode.env_frames) == (5, 15.5, 40)


def test_saving_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_episode(make_episode(9), path)
    save_episode(make_episode(3), path)
    assert len(load_episode(path)) == 3 and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": make_episode().frames / np.float32(255)}, r"frames are float32: they must be uint8"),
        ({"actions": make_episode().actions.astype(np.float64)}, r"actions are float64: they must be float32"),
        ({"rewards": np.ones(5, np.int64)}, r"rewards are int64"),
        ({"frames": make_episode().frames[1:]}, r"frames have shape \(5, 6, 8, 3\) where 5 actions .* \(6, 6, 8, 3\)"),
        ({"frames": make_episode().frames.transpose(0, 3, 1, 2)}, r"frames have shape \(6, 3, 6, 8\)"),
        ({"frames": make_episode().frames[..., :1]}, r"frames have shape \(6, 6, 8, 1\)"),
        ({"actions": np.zeros((5, 3), np.float32)}, r"actions have shape \(5, 3\) .* need \(5, 2\)"),
        ({"actions": np.zeros(5, np.float32)}, r"actions have shape \(5,\)"),
        ({"actions": np.zeros((), np.float32)}, r"no transitions"),
        ({"actions": np.zeros((0, 2), np.float32)}, r"no transitions"),
        ({"rewards": np.zeros(6, np.float32)}, r"rewards have shape \(6,\) .* need \(5,\)"),
        (changed("rewards", 3, np.nan), r"rewards\[3\] is nan"),
        (changed("rewards", 4, -np.inf), r"rewards\[4\] is -inf"),
        (changed("actions", (2, 1), 1.5), r"actions\[2\] is \[.*1\.5\]: they must be in \[-1, 1\]"),
        (changed("actions", (1, 0), np.nan), r"actions\[1\] is \[nan"),
        ({"spec": DISCRETE}, r"actions\[0\] .* one-hot"),
        (
            {"spec": DISCRETE, "actions": np.float32([[0, 1], [1, 0], [1, 1], [0, 1], [1, 0]])},
            r"actions\[2\] .*one-hot",
        ),
        ({"spec": DISCRETE, "actions": np.zeros((5, 2), np.float32)}, r"actions\[0\] .* one-hot"),
    ],
)
def test_a_malformed_episode_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_episode(**changes)


def test_one_hot_actions_are_accepted() -> None:
    actions = np.eye(2, dtype=np.float32)[[0, 1, 1, 0, 1]]
    assert len(make_episode(spec=DISCRETE, actions=actions)) == 5


@pytest.mark.parametrize("kept", [0, 5, 8, 60, 400, -1])
def test_a_cut_off_file_is_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.safetensors"
    save_episode(make_episode(), path)
    path.write_bytes(path.read_bytes()[:kept])
    for read in (load_episode, read_header):
        with pytest.raises(DataError, match=r"a\.safetensors (is cut off|cannot be read)"):
            read(path)


def test_what_is_no_episode_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.safetensors does not exist"):
        load_episode(tmp_path / "none.safetensors")
    with pytest.raises(DataError, match=r"cannot be read"):
        load_episode(tmp_path)
    (tmp_path / "text").write_text("a text of no particular interest")
    with pytest.raises(DataError, match=r"text is cut off or no episode"):
        load_episode(tmp_path / "text")
    (tmp_path / "json").write_bytes((2).to_bytes(8, "little") + b"[]")
    with pytest.raises(DataError, match=r"json cannot be read"):
        load_episode(tmp_path / "json")
    save_file({"frames": np.zeros(3)}, tmp_path / "weights")
    with pytest.raises(DataError, match=r"weights is a safetensors file but no episode"):
        load_episode(tmp_path / "weights")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": "3"}, r"has schema version 3, this code reads 2"),
        ({"spec": "{}"}, r"cannot be read as an episode \(KeyError"),
        ({"spec": json.dumps({**BOX.to_json(), "action_size": 1})}, r"1 box actions have 2 lower and 2 upper bounds"),
        (
            {"spec": json.dumps({**BOX.to_json(), "time_limit": 1.5})},
            r"environment's time_limit is 1\.5: copy it again",
        ),
        ({"seed": "nonsense"}, r"cannot be read as an episode \(JSONDecodeError"),
        ({"spec": json.dumps({**BOX.to_json(), "frame_size": [8, 6]})}, r"holds frames as U8 .* where .*8, 6, 3"),
        (
            {"spec": json.dumps({**BOX.to_json(), "action_size": 1, "action_low": [-1], "action_high": [1]})},
            r"holds actions as F32 \[5, 2\] where F32 \[5, 1\]",
        ),
    ],
)
def test_metadata_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    path = tmp_path / "a.safetensors"
    save_episode(make_episode(), path)
    data = path.read_bytes()
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    save_file(load_file(path), path, {**metadata, **changes})
    with pytest.raises(DataError, match=message):
        load_episode(path)


def test_a_file_with_an_impossible_reward_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_episode(make_episode(), path)
    data = path.read_bytes()
    nan = np.float32(np.nan).tobytes()
    path.write_bytes(data.replace(make_episode().rewards.tobytes(), make_episode().rewards[:4].tobytes() + nan))
    with pytest.raises(DataError, match=r"a\.safetensors: rewards\[4\] is nan"):
        load_episode(path)
