"""Gymnasium's faces of a dream keep Gymnasium's rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import gymnasium
import numpy as np
import pytest
from dreaming import BOX, CHOICE, CONV, Counter, actions_of, contexts, dream_of, trained
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import RecordVideo

import envs  # noqa: F401  # registers the environment
from envs.imagined import ImaginedEnv, ImaginedVectorEnv, load_dream
from worldmodel.checkpoint import Contexts
from worldmodel.episode import Episode, episode_path, save_episode
from worldmodel.errors import CheckpointError, ConfigError, DataError, EnvError
from worldmodel.pretrained import save_pretrained
from worldmodel.spec import EnvSpec

ID = "envs:worldmodel/Imagined-v0"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "checkpoint"
    save_pretrained(folder, trained(), contexts())
    return folder


def episode(spec: EnvSpec, value: int, length: int = 6) -> Episode:
    """Frames of one grey, growing by one a step."""
    frames = np.broadcast_to(
        np.arange(length + 1, dtype=np.uint8)[:, None, None, None] + np.uint8(value), (7, 64, 64, 3)
    )
    return Episode(
        frames=np.ascontiguousarray(frames),
        actions=np.zeros((length, spec.action_size), np.float32),
        rewards=np.zeros(length, np.float32),
        terminated=False,
        truncated=True,
        spec=spec,
        seed=0,
        actor="random",
    )


@pytest.mark.parametrize("observation", ["frames", "features", "both"])
def test_gymnasiums_checker_finds_nothing(checkpoint: Path, observation: str) -> None:
    check_env(gymnasium.make(ID, checkpoint=checkpoint, observation=observation).unwrapped)


def test_the_checker_finds_nothing_where_actions_are_choices() -> None:
    env = ImaginedEnv(dream_of(trained(CONV, CHOICE, "pixels"), observation="both"))
    check_env(env, skip_render_check=True)
    assert env.action_space == spaces.Discrete(3)
    assert env.render().shape == (64, 64, 3) and env.render().dtype == np.uint8


def test_spaces_are_the_real_environments() -> None:
    env = ImaginedEnv(dream_of(observation="both"))
    assert env.action_space == spaces.Box(-1, 1, (2,), np.float32)
    assert isinstance(env.observation_space, spaces.Dict)
    assert env.observation_space["frames"] == spaces.Box(0, 255, (64, 64, 3), np.uint8)
    assert env.observation_space["features"].dtype == np.float32


def test_the_registered_environments_are_the_two_faces(checkpoint: Path) -> None:
    single = gymnasium.make(ID, checkpoint=checkpoint, render_mode="rgb_array")
    several = gymnasium.make_vec(ID, num_envs=3, checkpoint=checkpoint, horizon=7, observation="features")
    assert isinstance(single.unwrapped, ImaginedEnv) and isinstance(several, ImaginedVectorEnv)
    first, _ = single.reset(seed=3)
    assert first.shape == (64, 64, 3) and several.reset(seed=3)[0].shape == (3, 16)
    assert several.spec is not None and several.spec.kwargs["checkpoint"] == checkpoint
    with pytest.raises(ConfigError, match="render_mode is 'human'"):
        gymnasium.make_vec(ID, num_envs=2, checkpoint=checkpoint, render_mode="human")


@pytest.mark.parametrize("spec", [BOX, CHOICE], ids=["box", "choice"])
def test_rows_are_what_environments_of_their_own_would_be(spec: EnvSpec) -> None:
    """The vector environment gives what Gymnasium's does of as many single ones: observations, ends and infos."""

    def alone() -> ImaginedEnv:
        return ImaginedEnv(dream_of(Counter(spec, 0.7), horizon=1000, observation="both"))

    ours = ImaginedVectorEnv(dream_of(Counter(spec, 0.7), 3, horizon=1000, observation="both"))
    theirs = SyncVectorEnv([alone] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    assert ours.metadata["autoreset_mode"] == ours.autoreset_mode == theirs.metadata["autoreset_mode"]
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
    ended = 0
    for seed in (5, [9, None, 11]):
        assert data_equivalence(ours.reset(seed=seed), theirs.reset(seed=seed))  # type: ignore[arg-type]
        for actions in actions_of(spec, 12, 3):
            found, expected = ours.step(actions), theirs.step(actions)
            for mine, other in zip(found[:1] + found[2:], expected[:1] + expected[2:], strict=True):
                assert data_equivalence(mine, other, exact=True)
            np.testing.assert_allclose(found[1], expected[1])
            ended += int((found[2] | found[3]).sum())
    assert ended > 5


def test_final_observations_are_those_of_the_episodes_that_ended() -> None:
    env = ImaginedVectorEnv(dream_of(num_envs=2, horizon=2, latents="mean", observation="features"))
    env.reset(seed=0)
    env.step(np.zeros((2, 2)))
    found, _, terminated, truncated, infos = env.step(np.ones((2, 2)))
    assert truncated[0] and not terminated.any()
    assert infos["_final_obs"].tolist() == infos["_final_info"].tolist() == truncated.tolist()
    assert infos["final_obs"][0] in env.single_observation_space
    assert not np.array_equal(infos["final_obs"][0], found[0])


def test_a_mask_resets_the_rows_it_names() -> None:
    env = ImaginedVectorEnv(dream_of(num_envs=3, horizon=50))
    start, _ = env.reset(seed=1)
    env.step(np.zeros((3, 2)))
    again, infos = env.reset(seed=1, options={"reset_mask": np.array([True, False, True])})
    assert infos == {}
    np.testing.assert_array_equal(again[[0, 2]], start[[0, 2]])
    assert again[1].tolist() != start[1].tolist()


@pytest.mark.parametrize(
    ("mask", "complaint"),
    [
        (np.array([True, False]), r"reset_mask is bool \(2,\): give an array of 3 bool"),
        (np.array([1, 0, 1]), r"reset_mask is int64 \(3,\)"),
        ([True, False, True], r"reset_mask is list"),
        (np.zeros(3, bool), r"reset_mask names none of 3 rows"),
    ],
)
def test_a_mask_that_cannot_be_is_refused(mask: Any, complaint: str) -> None:
    env = ImaginedVectorEnv(dream_of(num_envs=3))
    env.reset(seed=0)
    with pytest.raises(EnvError, match=complaint):
        env.reset(options={"reset_mask": mask})


def test_numpy_s_numbers_are_seeds_too() -> None:
    env = ImaginedVectorEnv(dream_of(num_envs=3))
    shown = [env.reset(seed=seed)[0] for seed in (4, np.int64(4), np.arange(4, 7), [4, 5, 6])]  # type: ignore[arg-type]
    assert all(np.array_equal(shown[0], other) for other in shown[1:])


def test_seeds_must_be_as_many_as_rows() -> None:
    with pytest.raises(EnvError, match="2 seeds for 3 rows"):
        ImaginedVectorEnv(dream_of(num_envs=3)).reset(seed=[1, 2])


def test_a_single_environment_is_a_dream_of_one_row() -> None:
    with pytest.raises(ConfigError, match="the dream has 2 rows: give one of 1"):
        ImaginedEnv(dream_of(num_envs=2))


def test_an_action_of_another_shape_is_refused() -> None:
    env = ImaginedEnv(dream_of())
    env.reset(seed=0)
    with pytest.raises(EnvError, match=r"\(1, 3\): reach takes numbers \(1, 2\)"):
        env.step(np.zeros(3))


def test_both_are_closed_for_good() -> None:
    for env, action in (
        (ImaginedEnv(dream_of()), np.zeros(2)),
        (ImaginedVectorEnv(dream_of(num_envs=2)), np.zeros((2, 2))),
    ):
        env.reset(seed=0)
        env.close()
        env.close()
        with pytest.raises(EnvError, match="is closed"):
            env.step(action)


def test_a_recorded_video_can_be_read(moviepy: None, tmp_path: Path) -> None:
    env = RecordVideo(ImaginedEnv(dream_of(horizon=5)), str(tmp_path / "videos"), episode_trigger=lambda _: True)
    env.reset(seed=0)
    while not env.step(np.zeros(2))[3]:
        pass
    env.close()
    (path,) = (tmp_path / "videos").glob("*.mp4")
    with av.open(path) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6


def test_a_vector_environment_draws_every_row() -> None:
    env = ImaginedVectorEnv(dream_of(num_envs=3))
    frames, _ = env.reset(seed=0)
    np.testing.assert_array_equal(np.stack(env.render()), frames)


def test_starts_are_the_checkpoints_contexts_without_data(checkpoint: Path) -> None:
    dream = load_dream(checkpoint, num_envs=1)
    shown = contexts().frames[:, -1].permute(0, 2, 3, 1).numpy()
    for seed in range(4):
        assert (dream.reset([seed])["frames"] == shown).all((1, 2, 3)).any()


def test_starts_are_windows_or_beginnings_of_the_data(checkpoint: Path, tmp_path: Path) -> None:
    for index, value in enumerate((10, 100)):
        save_episode(episode(BOX, value), episode_path(tmp_path, index))

    def seen(starts: Any) -> set[int]:
        dream = load_dream(checkpoint, num_envs=1, data=tmp_path, starts=starts)
        return {int(dream.reset([seed])["frames"][0, 0, 0, 0]) for seed in range(60)}

    assert seen("episodes") == {10, 100}
    assert seen("windows") == {*range(11, 17), *range(101, 107)}  # the last of two frames


def test_what_cannot_be_dreamed_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_envs is 0: set a whole number >= 1"):
        load_dream(checkpoint, num_envs=0)
    with pytest.raises(ConfigError, match="starts is 'random': set one of windows, episodes"):
        load_dream(checkpoint, num_envs=1, starts="random")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="starts=episodes lacks data"):
        load_dream(checkpoint, num_envs=1, starts="episodes")
    with pytest.raises(DataError, match="holds no episodes"):
        load_dream(checkpoint, num_envs=1, data=tmp_path)
    with pytest.raises(CheckpointError, match="does not exist"):
        load_dream(tmp_path / "gone", num_envs=1)
    nothing = Contexts(contexts().frames[:0], contexts().actions[:0])
    save_pretrained(tmp_path / "bare", trained(), nothing)
    with pytest.raises(DataError, match=r"there are 0 contexts, so no start states: give a folder of episodes"):
        load_dream(tmp_path / "bare", num_envs=1)


def test_data_of_another_environment_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    other = replace(BOX, action_repeat=2)
    save_episode(episode(other, 0), episode_path(tmp_path, 0))
    with pytest.raises(CheckpointError, match=r"another environment: action_repeat 4 \(model\) against 2"):
        load_dream(checkpoint, num_envs=1, data=tmp_path)
