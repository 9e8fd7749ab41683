"""Windows are where they say they are, drawn fairly, and read without keeping episodes in memory."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from worldmodel.episode import Episode, episode_path, save_episode
from worldmodel.errors import ConfigError, DataError
from worldmodel.folders import split, split_all
from worldmodel.replay import Batch, Replay
from worldmodel.spec import EnvSpec

SPEC = EnvSpec("count", "up", "box", 2, (-1.0, -1.0), (1.0, 1.0), 4, 0, (2, 4))


def counting(number: int, length: int, *, terminated: bool = False, spec: EnvSpec = SPEC) -> Episode:
    """Everything in it tells its episode and its time; the last column of its frames differs from the others."""
    frames = np.zeros((length + 1, *spec.frame_size, 3), np.uint8)
    frames[..., 0] = number
    frames[..., 1] = np.arange(length + 1)[:, None, None]
    frames[:, :, -1, 2] = 255
    times = np.arange(length, dtype=np.float32)
    actions = np.stack([np.full_like(times, number / 100), times / 1000], 1)
    return Episode(frames, actions, 1000 * number + times, terminated, not terminated, spec, number, "random")


def fill(folder: Path, lengths: Sequence[int], terminated: Sequence[int] = ()) -> Path:
    for number, length in enumerate(lengths):
        save_episode(counting(number, length, terminated=number in terminated), episode_path(folder, number))
    return folder


def places(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(b, t) each: the episodes and times that the frames show."""
    return batch.frames[:, :, 0, 0, 0].numpy().astype(int), batch.frames[:, :, 1, 0, 0].numpy().astype(int)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_frames_actions_and_rewards_of_a_window_belong_together(tmp_path: Path) -> None:
    batch = Replay(fill(tmp_path, [30, 9, 17])).sample(200, 6, rng(), minimum=6)
    assert batch.frames.shape == (200, 6, 3, 2, 4) and batch.frames.dtype == torch.uint8
    assert (batch.frames[:, :, 2, :, -1] == 255).all() and (batch.frames[:, :, 2, :, :-1] == 0).all()
    episodes, times = places(batch)
    assert set(episodes[:, 0]) == {0, 1, 2}
    np.testing.assert_array_equal(episodes, np.repeat(episodes[:, :1], 6, 1))
    np.testing.assert_array_equal(times, times[:, :1] + np.arange(6))
    # actions[i] takes frames[i] to frames[i+1] and earns rewards[i]
    np.testing.assert_array_equal(batch.rewards, np.float32(1000 * episodes + times)[:, :-1])
    np.testing.assert_array_equal(batch.actions[..., 0], np.float32(episodes[:, :-1]) / np.float32(100))
    np.testing.assert_array_equal(batch.actions[..., 1], np.float32(times[:, :-1]) / np.float32(1000))
    assert (batch.mask == 1).all() and (batch.continues == 1).all()
    assert {batch.actions.dtype, batch.rewards.dtype, batch.continues.dtype, batch.mask.dtype} == {torch.float32}


def test_what_lies_beyond_the_end_is_padding_and_masked(tmp_path: Path) -> None:
    lengths = np.array([12, 3, 5])  # all but the first shorter than the window
    batch = Replay(fill(tmp_path, lengths)).sample(300, 8, rng(), minimum=3)
    episodes, times = places(batch)
    last = lengths[episodes[:, 0], None]
    expected = times[:, :1] + np.arange(8)
    np.testing.assert_array_equal(times, np.minimum(expected, last))
    real = expected[:, :-1] < last
    np.testing.assert_array_equal(batch.mask, real.astype(np.float32))
    assert real.sum(1).min() == 2 and real.sum(1).max() == 7
    np.testing.assert_array_equal(batch.rewards, np.where(real, 1000 * episodes[:, :-1] + times[:, :-1], 0))
    assert (batch.actions.numpy()[~real] == 0).all()
    assert (batch.continues == 1).all()  # ended by the time limit, all of them


def test_continues_is_zero_exactly_where_the_task_ended(tmp_path: Path) -> None:
    lengths = np.array([12, 4, 6])
    batch = Replay(fill(tmp_path, lengths, terminated=[1, 2])).sample(300, 5, rng(), minimum=2)
    episodes, times = places(batch)
    starts = times[:, :1] + np.arange(4)
    ended = (episodes[:, :-1] > 0) & (starts == lengths[episodes[:, :1]] - 1)
    assert ended.sum() > 50
    np.testing.assert_array_equal(batch.continues, 1 - ended.astype(np.float32))
    assert (batch.mask.numpy()[ended] == 1).all()


def test_the_last_transition_is_drawn_as_often_as_those_in_the_middle(tmp_path: Path) -> None:
    batch = Replay(fill(tmp_path, [20])).sample(20_000, 5, rng(), minimum=2)
    _, times = places(batch)
    seen = np.bincount(times[:, :-1][batch.mask.bool().numpy()], minlength=20)
    # Each start is drawn 1000 times on average; a transition from the fourth on lies in four windows.
    assert np.abs(seen[3:] - 4000).max() < 5 * np.sqrt(4000)


def test_every_start_is_as_likely_as_any_other(tmp_path: Path) -> None:
    lengths, minimum = [3, 40, 1, 11], 3
    batch = Replay(fill(tmp_path, lengths)).sample(10_400, 8, rng(), minimum=minimum)
    episodes, times = places(batch)
    drawn = Counter(zip(episodes[:, 0].tolist(), times[:, 0].tolist(), strict=True))
    starts = [(number, start) for number, length in enumerate(lengths) for start in range(length + 2 - minimum)]
    assert set(drawn) == set(starts) and len(starts) == 2 + 39 + 10
    expected = 10_400 / len(starts)
    chi_square = sum((drawn[start] - expected) ** 2 / expected for start in starts)
    assert chi_square < 50 + 5 * np.sqrt(2 * 50)  # mean and 5 deviations of its distribution, 50 degrees of freedom


def test_the_same_seed_draws_the_same_batch(tmp_path: Path) -> None:
    replay = Replay(fill(tmp_path, [30, 20], terminated=[1]))
    first, again, other = (replay.sample(16, 5, rng(seed), minimum=2) for seed in (1, 1, 2))
    for field in fields(Batch):
        assert torch.equal(getattr(first, field.name), getattr(again, field.name))
    assert not torch.equal(first.frames, other.frames)


def test_batches_do_not_share_memory(tmp_path: Path) -> None:
    replay = Replay(fill(tmp_path, [30]))
    first, again = (replay.sample(4, 5, rng(), minimum=2) for _ in range(2))
    kept = again.frames.clone()
    first.frames.zero_()
    assert torch.equal(again.frames, kept)


def test_counts(tmp_path: Path) -> None:
    replay = Replay(fill(tmp_path, [10, 5]))
    assert (replay.episodes, replay.steps, replay.spec) == (2, 15, SPEC)


def test_what_a_killed_save_left_is_no_episode(tmp_path: Path) -> None:
    fill(tmp_path, [10])
    (tmp_path / ".000001.safetensors.0123abcd.partial").write_bytes(b"half")
    assert Replay(tmp_path).episodes == 1


def test_contexts_are_true_windows_and_differ_while_they_can(tmp_path: Path) -> None:
    replay = Replay(fill(tmp_path, [6, 2, 9]))
    contexts = replay.contexts(11, 4, rng())  # 4 and 7 starts: every one, once
    episodes, times = contexts.frames[:, :, 0, 0, 0], contexts.frames[:, :, 1, 0, 0]
    found = {(int(episode), int(time)) for episode, time in zip(episodes[:, 0], times[:, 0], strict=True)}
    assert found == {(0, start) for start in range(4)} | {(2, start) for start in range(7)}
    assert (times == times[:, :1] + torch.arange(4)).all()
    assert torch.equal(contexts.actions[..., 1], times[:, :-1] / 1000)
    assert contexts.frames.shape == (11, 4, 3, 2, 4) and contexts.actions.shape == (11, 3, 2)
    assert replay.contexts(30, 4, rng()).frames.shape[0] == 30
    assert replay.contexts(3, 99, rng()).frames.shape[1] == 11 - 1  # no episode has more
    single = replay.contexts(5, 1, rng())
    assert single.frames.shape == (5, 1, 3, 2, 4) and single.actions.shape == (5, 0, 2)


def test_no_context_ends_where_the_task_terminated(tmp_path: Path) -> None:
    """From there nobody acts; after a truncation one would."""
    replay = Replay(fill(tmp_path, [6, 2], terminated=[0]))
    for k, last in ((4, {(0, 3), (0, 4), (0, 5)}), (1, {(0, i) for i in range(6)} | {(1, i) for i in range(3)})):
        frames = replay.contexts(60, k, rng()).frames[:, -1]
        assert {(int(frame[0, 0, 0]), int(frame[1, 0, 0])) for frame in frames} == last
    assert replay.contexts(2, 99, rng()).frames.shape[1] == 6


def test_beginnings_are_the_first_frames_of_episodes(tmp_path: Path) -> None:
    found = Replay(fill(tmp_path, [10, 3, 1])).beginnings(60, rng())
    assert found.frames.shape == (60, 1, 3, 2, 4) and found.actions.shape == (60, 0, 2)
    assert (found.frames[:, 0, 1] == 0).all() and set(found.frames[:, 0, 0, 0, 0].tolist()) == {0, 1, 2}


def test_statistics_of_all_frames_are_those_of_numpy(tmp_path: Path) -> None:
    random = rng(3)
    background = random.integers(0, 200, (2, 4, 3))
    frames = [(background + random.integers(0, 50, (length + 1, 2, 4, 3))).astype(np.uint8) for length in (9, 4)]
    rewards = [random.normal(1e4, 1, length).astype(np.float32) for length in (9, 4)]
    for number in range(2):
        episode = replace(counting(number, len(rewards[number])), frames=frames[number], rewards=rewards[number])
        save_episode(episode, episode_path(tmp_path, number))
    found = Replay(tmp_path).frame_statistics(1000, rng())
    x = np.concatenate(frames).transpose(0, 3, 1, 2) / 255
    assert found.frame_mean.shape == (3, 2, 4) and found.frame_mean.dtype == np.float32
    np.testing.assert_allclose(found.frame_mean, x.mean(0), rtol=1e-6)
    assert found.frame_std == pytest.approx(np.sqrt(((x - x.mean(0)) ** 2).mean()), rel=1e-12)
    mean, deviation = Replay(tmp_path).reward_statistics()
    assert mean == pytest.approx(np.concatenate(rewards).mean(dtype=np.float64), rel=1e-12)
    assert deviation == pytest.approx(np.concatenate(rewards).std(dtype=np.float64), rel=1e-9)


def test_where_the_camera_moves_each_channel_has_one_mean(tmp_path: Path) -> None:
    frames = rng(3).integers(0, 256, (40, 2, 4, 3), dtype=np.uint8)
    save_episode(replace(counting(0, 39), frames=frames), episode_path(tmp_path, 0))
    found = Replay(tmp_path).frame_statistics(1000, rng())
    x = frames.transpose(0, 3, 1, 2) / 255
    means = x.mean((0, 2, 3))
    np.testing.assert_allclose(found.frame_mean, np.broadcast_to(means[:, None, None], (3, 2, 4)), rtol=1e-6)
    assert found.frame_std == pytest.approx(np.sqrt(((x - means[:, None, None]) ** 2).mean()), rel=1e-9)


def test_statistics_of_a_sample_are_near_and_repeatable(tmp_path: Path) -> None:
    replay = Replay(fill(tmp_path, [250, 100]))
    first, again, other = (replay.frame_statistics(100, rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.frame_mean, again.frame_mean)
    assert not np.array_equal(first.frame_mean, other.frame_mean)
    times = np.concatenate([np.arange(251), np.arange(101)])
    deviation = times.std() / 255 / np.sqrt(100)
    assert abs(first.frame_mean[1, 0, 0] - times.mean() / 255) < 4 * deviation


def test_constant_frames_and_rewards_have_no_deviation(tmp_path: Path) -> None:
    still = replace(counting(0, 50), frames=np.full((51, 2, 4, 3), 17, np.uint8), rewards=np.full(50, 0.1, np.float32))
    save_episode(still, episode_path(tmp_path, 0))
    found = Replay(tmp_path).frame_statistics(40, rng())
    assert found.frame_std == 0 and Replay(tmp_path).reward_statistics()[1] < 1e-12
    assert found.frame_mean == pytest.approx(17 / 255)


def test_the_last_episodes_are_held_out(tmp_path: Path) -> None:
    fill(tmp_path, [2] * 10)
    fitted, held_out = split(tmp_path, 0.2)
    assert [path.stem for path in held_out] == ["000008", "000009"] and len(fitted) == 8
    assert Replay(fitted).episodes == 8 and set(
        Replay(held_out).sample(20, 2, rng(), minimum=2).frames[:, 0, 0, 0, 0].tolist()
    ) == {8, 9}
    assert split(tmp_path, 0)[1] == [] and len(split(tmp_path, 0.99)[0]) == 1
    with pytest.raises(ConfigError, match=r"held_out is 1: set the share of episodes in \[0, 1\)"):
        split(tmp_path, 1)


def test_a_folder_without_episodes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no episodes"):
        Replay(tmp_path)
    with pytest.raises(DataError, match=r"nowhere is not a folder"):
        Replay(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no episodes to replay"):
        Replay([])
    with pytest.raises(DataError, match=r"000003\.safetensors does not exist"):
        Replay([episode_path(tmp_path, 3)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_repeat": 2}, r"000001\.safetensors .* than .*000000\.safetensors: action_repeat 2 against 4; keep"),
        ({"env": "other", "time_limit": 9}, r"env other against count; time_limit 9 against 0; keep"),
    ],
)
def test_mixed_environments_are_an_error_that_names_the_fields(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    fill(tmp_path, [4])
    save_episode(counting(1, 4, spec=replace(SPEC, **changes)), episode_path(tmp_path, 1))
    with pytest.raises(DataError, match=message):
        Replay(tmp_path)


def test_windows_that_no_episode_fills_are_an_error(tmp_path: Path) -> None:
    replay = Replay(fill(tmp_path, [4, 9]))
    replay.sample(4, 30, rng(), minimum=10)
    with pytest.raises(DataError, match=r"no episode has 11 frames, the longest of 2 has 10: ask for shorter"):
        replay.sample(4, 30, rng(), minimum=11)
    for minimum in (1, 6):
        with pytest.raises(ConfigError, match=rf"minimum is {minimum} .* set it in 2\.\.5"):
            replay.sample(4, 5, rng(), minimum=minimum)


def test_files_that_are_cut_off_changed_or_gone_are_named(tmp_path: Path) -> None:
    replay = Replay(fill(tmp_path, [9]))
    path = episode_path(tmp_path, 0)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match=r"000000\.safetensors changed since it was indexed"):
        replay.sample(4, 3, rng(), minimum=2)
    with pytest.raises(DataError, match=r"000000\.safetensors is cut off"):
        Replay(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"000000\.safetensors cannot be opened"):
        replay.frame_statistics(5, rng())


MEASURE = """
import sys
from pathlib import Path
import numpy as np
from worldmodel.replay import Replay

def anonymous_kib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

def after_reading(folder):
    replay, rng = Replay(Path(folder)), np.random.default_rng(0)
    shown = set()
    for _ in range(300):
        shown |= set(replay.sample(16, 20, rng, minimum=2).frames[:, 0, 0, 0, 0].tolist())
    replay.frame_statistics(1000, rng)
    return anonymous_kib(), replay.episodes, len(shown)

few, *_ = after_reading(sys.argv[1])
many, episodes, shown = after_reading(sys.argv[2])
print(few, many, episodes, shown)
"""


def test_memory_does_not_grow_with_the_episodes_read(tmp_path: Path) -> None:
    spec = replace(SPEC, frame_size=(64, 64))
    for number in range(10):
        save_episode(counting(number, 24, spec=spec), episode_path(tmp_path / "few", number))
    (tmp_path / "many").mkdir()
    for number in range(300):
        shutil.copy(episode_path(tmp_path / "few", number % 10), episode_path(tmp_path / "many", number))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "few"), str(tmp_path / "many")]
    result = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    few, many, episodes, shown = map(int, result.stdout.split())
    assert (episodes, shown) == (300, 10)
    total = sum(path.stat().st_size for path in (tmp_path / "many").iterdir()) / 1024
    assert total > 80_000  # KiB: would show, were they kept
    assert many - few < 4_000 and many / few < 1.1


def test_folders_are_split_each(tmp_path: Path) -> None:
    for folder, count in (("a", 4), ("b", 2)):
        for index in range(count):
            save_episode(counting(index, 3), episode_path(tmp_path / folder, index))
    paths = [str(tmp_path / folder) for folder in "ab"]
    fitted, held_out = split_all(paths, 0.5)
    assert [path.relative_to(tmp_path).as_posix() for path in held_out] == [
        "a/000002.safetensors",
        "a/000003.safetensors",
        "b/000001.safetensors",
    ]
    assert len(fitted) == 3 and split_all(paths[0], 0.5) == split(tmp_path / "a", 0.5)
