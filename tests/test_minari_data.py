"""Episodes go through Minari and come back as they were; other people's data sets become episodes, or say why not."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec as GymSpec
from minari.data_collector import EpisodeBuffer

from agents.minari_data import export_folder, import_dataset
from worldmodel.episode import UNKNOWN_SEED, Episode, episode_path, load_episode, read_header, save_episode
from worldmodel.errors import ConfigError, DataError
from worldmodel.spec import EnvSpec

ROOT = Path(__file__).resolve().parent.parent
# Sides of 32 and more: smaller pictures Minari would not store as JPEG anyhow. A bound that no decimal writes exactly.
BOX = EnvSpec("arm", "reach", "box", 2, (-0.1, -2.0), (1 / 3, 2.0), 4, 1000, (32, 48))
DISCRETE = replace(BOX, env="maze", action_kind="discrete", action_size=3, action_low=(), action_high=())
PICTURE = spaces.Box(0, 255, (40, 64, 3), np.uint8)
ID = "svg/test-v0"


@pytest.fixture(autouse=True)
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Minari keeps its data sets."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def noise(spec: EnvSpec, length: int, seed: int, *, terminated: bool, truncated: bool, actor: str) -> Episode:
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (length + 1, *spec.frame_size, 3), dtype=np.uint8)
    actions = np.float32(rng.uniform(-1, 1, (length, spec.action_size)))
    actions[0] = 1e-12  # which scaling to bounds and back would lose
    if spec.action_kind == "discrete":
        actions = np.eye(spec.action_size, dtype=np.float32)[rng.integers(spec.action_size, size=length)]
    rewards = np.float32(rng.normal(size=length) / 3)
    return Episode(frames, actions, rewards, terminated, truncated, spec, seed, actor)


def fill(folder: Path, spec: EnvSpec) -> list[Episode]:
    episodes = [
        noise(spec, 4, 5, terminated=True, truncated=False, actor="random"),
        noise(spec, 1, 2**31 - 1, terminated=False, truncated=True, actor="planner"),
        noise(spec, 7, 0, terminated=False, truncated=False, actor="planner"),
    ]
    for index, episode in enumerate(episodes):
        save_episode(episode, episode_path(folder, index))
    return episodes


def create(observation: spaces.Space, action: spaces.Space, episodes: list[dict[str, Any]], **others: Any) -> None:
    """A data set as anybody makes it."""
    buffers = [EpisodeBuffer(**episode) for episode in episodes]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Minari wishes for authors and environments
        minari.create_dataset_from_buffers(ID, buffers, observation_space=observation, action_space=action, **others)


def steps(observations: Any, actions: Any, **others: Any) -> dict[str, Any]:
    n = len(actions)
    ends = [False] * (n - 1)
    return {
        "observations": observations,
        "actions": actions,
        "rewards": np.arange(n, dtype=np.float64) + 0.5,
        "terminations": [*ends, True],
        "truncations": [*ends, False],
        **others,
    }


def pictures(count: int) -> np.ndarray:
    """The left half of picture i is of grey level 10 i, the right one white."""
    frames = np.full((count, *PICTURE.shape), 255, np.uint8)
    frames[:, :, :32] = 10 * np.arange(count, dtype=np.uint8)[:, None, None, None]
    return frames


@pytest.mark.parametrize("spec", [BOX, DISCRETE])
def test_episodes_come_back_as_they_were(tmp_path: Path, spec: EnvSpec) -> None:
    episodes = fill(tmp_path / "ours", spec)
    export_folder(tmp_path / "ours", ID)
    assert import_dataset(ID, tmp_path / "back", name="other", size=(64, 64)) == 3
    for index, episode in enumerate(episodes):
        again = load_episode(episode_path(tmp_path / "back", index))
        for part in ("frames", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(again, part), getattr(episode, part))
        for part in ("terminated", "truncated", "spec", "seed", "actor"):
            assert getattr(again, part) == getattr(episode, part), part
    assert len(list((tmp_path / "back").iterdir())) == 3


@pytest.mark.parametrize("spec", [BOX, DISCRETE])
def test_minari_reads_what_was_exported(tmp_path: Path, datasets: Path, spec: EnvSpec) -> None:
    first, *_ = fill(tmp_path / "ours", spec)
    assert export_folder(tmp_path / "ours", ID) == datasets / "svg" / "test-v0"
    assert list(minari.list_local_datasets()) == [ID]
    dataset = minari.load_dataset(ID)
    assert (len(dataset), dataset.total_steps) == (3, 12)
    assert dataset.observation_space == spaces.Box(0, 255, (32, 48, 3), np.uint8)
    assert dataset.storage.metadata["algorithm_name"] == "planner, random"
    data = dataset[0]
    np.testing.assert_array_equal(data.observations, first.frames)
    assert all(dataset.action_space.contains(action) for action in data.actions)
    if spec.action_kind == "discrete":
        assert data.actions.tolist() == first.actions.argmax(1).tolist()
    assert (data.terminations.tolist(), data.truncations.tolist()) == ([False] * 3 + [True], [False] * 4)
    assert "total_steps=4" in repr(data)


def test_foreign_pictures_are_resized_and_actions_scaled(tmp_path: Path) -> None:
    actions = np.array([[-2, 0], [6, 10], [2, 2.5]], np.float32)
    bounds = spaces.Box(np.array([-2, 0], np.float32), np.array([6, 10], np.float32))
    known = steps(pictures(4), actions, seed=7)
    cut = steps(pictures(2), actions[:1], terminations=[False], truncations=[True])
    env = GymSpec("Foreign-v3", entry_point="nowhere:None", max_episode_steps=200)
    create(PICTURE, bounds, [known, cut], jpeg_encoding=False, algorithm_name="SAC")
    minari.load_dataset(ID).storage.update_metadata({"env_spec": env.to_json()})
    assert import_dataset(ID, tmp_path / "back", name="foreign", size=(16, 32)) == 2
    first, second = (load_episode(episode_path(tmp_path / "back", index)) for index in range(2))
    assert first.spec == EnvSpec("foreign", "Foreign-v3", "box", 2, (-2.0, 0.0), (6.0, 10.0), 1, 200, (16, 32))
    np.testing.assert_array_equal(first.frames, pictures(4)[:, :16, 16:48])
    assert first.actions.tolist() == [[-1, -1], [1, 1], [0, -0.5]]
    assert first.rewards.tolist() == [0.5, 1.5, 2.5]
    assert (first.terminated, first.truncated, first.seed, first.actor) == (True, False, 7, "SAC")
    assert (second.terminated, second.truncated, second.seed) == (False, True, UNKNOWN_SEED)


def test_the_one_picture_of_several_observations_is_found_and_choices_become_one_hot(tmp_path: Path) -> None:
    space = spaces.Dict({"codes": spaces.Box(0, 255, (7, 7, 3), np.uint8), "camera": PICTURE})
    observations = {"codes": np.zeros((3, 7, 7, 3), np.uint8), "camera": pictures(3)}
    create(space, spaces.Discrete(3, start=5), [steps(observations, np.array([7, 5]))], jpeg_encoding=False)
    import_dataset(ID, tmp_path / "back", name=ID, size=(16, 32))
    episode = load_episode(episode_path(tmp_path / "back", 0))
    assert episode.spec == EnvSpec(ID, ID, "discrete", 3, (), (), 1, 0, (16, 32))
    assert episode.actions.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert episode.frames[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert episode.actor == "unknown"


STATE = spaces.Box(-1, 1, (4,), np.float32)
TWO = spaces.Dict({"left": PICTURE, "right": PICTURE})
ANGLES = spaces.Box(-np.inf, np.inf, (2,), np.float32)


@pytest.mark.parametrize(
    ("observation", "action", "complaint"),
    [
        (STATE, spaces.Discrete(2), r"0 pictures in an observation, Box\(-1.0, 1.0, \(4,\), float32\)"),
        (TWO, spaces.Discrete(2), r"2 pictures in an observation, Dict\('left'"),
        (PICTURE, ANGLES, "unbounded actions"),
        (PICTURE, spaces.MultiDiscrete([2, 2]), r"takes actions from MultiDiscrete\(\[2 2\]\)"),
    ],
)
def test_what_cannot_become_episodes_is_refused(
    tmp_path: Path, observation: spaces.Space, action: spaces.Space, complaint: str
) -> None:
    count = (2, *PICTURE.shape)
    seen: Any = {key: np.zeros(count, np.uint8) for key in TWO} if observation == TWO else np.zeros(count, np.uint8)
    seen = np.zeros((2, 4), np.float32) if observation == STATE else seen
    taken = np.zeros((1, *action.shape), action.dtype)  # type: ignore[misc]
    create(observation, action, [steps(seen, taken)])
    with pytest.raises(DataError, match=complaint):
        import_dataset(ID, tmp_path / "back", name="x", size=(64, 64))
    assert not (tmp_path / "back").exists()


def test_an_action_beyond_its_bounds_names_its_episode_and_leaves_nothing_behind(tmp_path: Path) -> None:
    good, bad = (steps(pictures(2), np.full((1, 1), action, np.float32)) for action in (1.0, 1.5))
    create(PICTURE, spaces.Box(-1, 1, (1,), np.float32), [good, bad])
    with pytest.raises(DataError, match=rf"episode 1 of {ID} .*\[1.5\].* must be in \[-1, 1\]"):
        import_dataset(ID, tmp_path / "back", name="x", size=(64, 64))
    assert {path.name for path in tmp_path.iterdir()} == {"minari"}


def test_a_failed_export_leaves_no_dataset(tmp_path: Path, datasets: Path) -> None:
    fill(tmp_path / "ours", BOX)
    damaged = episode_path(tmp_path / "ours", 2)
    with damaged.open("r+b") as file:
        file.seek(read_header(damaged).offsets["rewards"])
        file.write(b"\xff" * 4)  # NaN
    with pytest.raises(DataError, match=r"000002.*rewards\[0\] is nan"):
        export_folder(tmp_path / "ours", ID)
    assert [path.name for path in (datasets / "svg").iterdir()] == ["namespace_metadata.json"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    fill(tmp_path / "ours", BOX)
    export_folder(tmp_path / "ours", ID)
    with pytest.raises(DataError, match=rf"already exists: .*`minari delete {ID}`"):
        export_folder(tmp_path / "ours", ID)
    with pytest.raises(DataError, match="ours already holds something"):
        import_dataset(ID, tmp_path / "ours", name="x", size=(64, 64))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"`minari download atari/breakout/expert-v0`"):
        import_dataset("atari/breakout/expert-v0", tmp_path / "back", name="x", size=(64, 64))
    with pytest.raises(DataError, match="is not a folder"):
        export_folder(tmp_path / "nowhere", ID)


@pytest.mark.parametrize("dataset", ["test", "svg/test", "../test-v0", "svg/te st-v0"])
def test_a_malformed_id_is_refused(tmp_path: Path, dataset: str) -> None:
    fill(tmp_path / "ours", BOX)
    with pytest.raises(ConfigError, match="set namespace/name-v0"):
        export_folder(tmp_path / "ours", dataset)


@pytest.mark.parametrize("size", [64, (64,), (60, 64), (0, 64), (64.0, 64)])
def test_a_size_no_model_takes_is_refused(tmp_path: Path, size: Any) -> None:
    with pytest.raises(ConfigError, match="multiples of 16"):
        import_dataset(ID, tmp_path / "back", name="x", size=size)


@pytest.mark.parametrize("package", ["minari", "h5py"])
def test_a_missing_package_is_named_with_its_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install 'svg-worldmodel\[minari\]'"):
        import_dataset(ID, tmp_path / "back", name="x", size=(64, 64))


def test_a_dataset_of_a_later_schema_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "ours", BOX)
    export_folder(tmp_path / "ours", ID)
    storage = minari.load_dataset(ID).storage
    storage.update_metadata({"svg_worldmodel": {"schema_version": 2, "layout": "unheard of"}})
    with pytest.raises(DataError, match="schema version 2, this code reads 1"):
        import_dataset(ID, tmp_path / "back", name="x", size=(64, 64))


def test_a_dataset_that_minari_cannot_open_is_named(tmp_path: Path, datasets: Path) -> None:
    fill(tmp_path / "ours", BOX)
    export_folder(tmp_path / "ours", ID)
    (datasets / "svg" / "test-v0" / "data" / "metadata.json").write_text("{}")
    with pytest.raises(DataError, match=rf"cannot open {ID} .*: download it again"):
        import_dataset(ID, tmp_path / "back", name="x", size=(64, 64))


def test_the_commands_go_there_and_back(tmp_path: Path) -> None:
    episodes = fill(tmp_path / "ours", BOX)
    for module, data in (("minari_export", "ours"), ("minari_import", "back")):
        command = [sys.executable, "-m", f"agents.{module}", f"dataset={ID}", f"data={tmp_path / data}"]
        outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert (outcome.returncode, outcome.stderr) == (0, "")
    assert outcome.stdout == f"3 episodes in {tmp_path / 'back'}\n"
    last = load_episode(episode_path(tmp_path / "back", 2))
    np.testing.assert_array_equal(last.frames, episodes[2].frames)
