"""BAIR's records, as small files of the same layout."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import Command, running

from worldmodel.bair import action_bounds, bair_episodes, bair_spec, find_records
from worldmodel.episode import load_episode
from worldmodel.errors import DataError


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, as protocol buffers write it: key, length, content."""
    length, size = b"", len(content)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def example(frames: np.ndarray, actions: np.ndarray) -> bytes:
    """TensorFlow's Example: features (1) of entries (1) with a key (1) and a value (2) of bytes (1) or floats (2)."""
    entries = b""
    for i, (frame, action) in enumerate(zip(frames, actions, strict=True)):
        for name, value in (
            (f"{i}/image_main/encoded", field(1, field(1, b"another camera"))),
            (f"{i}/image_aux1/encoded", field(1, field(1, frame.tobytes()))),
            (f"{i}/action", field(2, field(1, action.astype("<f4").tobytes()))),
            (f"{i}/endeffector_pos", field(2, field(1, np.zeros(3, "<f4").tobytes()))),
        ):
            entries += field(1, field(1, name.encode()) + field(2, value))
    return field(1, entries)


def write(path: Path, *examples: bytes) -> None:
    """TFRecords: length, its checksum, the record, its checksum; these are zeros here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(struct.pack("<QI", len(data), 0) + data + bytes(4) for data in examples))


def sequence(seed: int, t: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (t, 64, 64, 3), np.uint8), rng.uniform(-0.2, 0.2, (t, 4)).astype(np.float32)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    write(tmp_path / "train" / "traj_0_to_1.tfrecords", example(*sequence(0)), example(*sequence(1)))
    write(tmp_path / "train" / "traj_2_to_2.tfrecords", example(*sequence(2)))
    write(tmp_path / "test" / "traj_0_to_0.tfrecords", example(*sequence(3)))
    return tmp_path


@pytest.fixture(scope="module")
def import_bair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    with running("worldmodel.import_bair", tmp_path_factory.mktemp("home")) as command:
        yield command


def test_records_become_episodes_with_their_actions(import_bair: Command, records: Path) -> None:
    data = records / "data"
    outcome = import_bair(f"records={records}", f"data={data}")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout == f"3 episodes in {data / 'train'}\n1 episodes in {data / 'test'}\n"
    bounds = np.abs([sequence(seed)[1] for seed in range(3)]).max((0, 1))
    for part, seeds in (("train", (0, 1, 2)), ("test", (3,))):
        for seed, path in zip(seeds, sorted((data / part).iterdir()), strict=True):
            frames, actions = sequence(seed)
            episode = load_episode(path)
            np.testing.assert_array_equal(episode.frames, frames)
            np.testing.assert_allclose(episode.actions, (actions[:-1] / bounds).clip(-1, 1), rtol=1e-6)
            assert episode.spec.action_high == pytest.approx(bounds) and episode.truncated
    outcome = import_bair(f"records={records}", f"data={data}")
    assert outcome.status == 2 and "is not empty" in outcome.stderr
    outcome = import_bair(f"records={records / 'train'}", f"data={records / 'other'}")
    assert outcome.status == 2 and "holds no *.tfrecords" in outcome.stderr


def test_bad_records_are_named(tmp_path: Path) -> None:
    frames, actions = sequence(0)
    whole = example(frames, actions)
    cases = {
        "cut": (whole[: len(whole) // 2], "cut off"),
        "nonsense": (b"\xff" * 50, "no examples"),
        "small": (example(frames[:, :32], actions), "of 12288 bytes"),
        "one": (example(frames[:1], actions[:1]), "two or more"),
        "empty": (b"", "two or more"),
        "still": (example(frames, actions[:, :0]), "with an action each"),
    }
    spec = bair_spec(np.ones(4))
    for name, (data, says) in cases.items():
        path = tmp_path / f"{name}.tfrecords"
        write(path, data)
        if name == "cut":
            path.write_bytes(struct.pack("<QI", len(whole), 0) + data)
        with pytest.raises(DataError, match=says) as error:
            list(bair_episodes(path, spec))
        assert name in str(error.value)
    write(tmp_path / "a.tfrecords", whole, example(frames, actions[:, :3]))
    with pytest.raises(DataError, match="actions of 3 numbers, others have 4"):
        action_bounds([tmp_path / "a.tfrecords"])
    with pytest.raises(DataError, match="actions of 4 numbers, others have 3"):
        list(bair_episodes(tmp_path / "a.tfrecords", bair_spec(np.ones(3))))
    with pytest.raises(DataError, match="holds no"):
        find_records(tmp_path / "nowhere")
