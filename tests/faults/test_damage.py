"""Every damage to a checkpoint or an episode is one typed error, and a run falls back to the checkpoint before."""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from doing import make_episode
from saving import write

from worldmodel.checkpoint import read_checkpoint
from worldmodel.episode import load_episode, save_episode
from worldmodel.errors import CheckpointError, DataError
from worldmodel.series import latest, numbered

pytestmark = pytest.mark.faults


def damages(path: Path, percents: int, flips: int) -> Iterator[str]:
    """The file cut to each share of itself, or with one bit flipped, one after another; at last as it was."""
    whole = path.read_bytes()
    chance = random.Random(path.name)
    for part in range(percents):
        path.write_bytes(whole[: len(whole) * part // percents])
        yield f"cut to {part}/{percents}"
    for position in chance.sample(range(8 * len(whole)), flips):
        data = bytearray(whole)
        data[position // 8] ^= 1 << position % 8
        path.write_bytes(data)
        yield f"bit {position} flipped"
    path.write_bytes(whole)


def test_checkpoints(tmp_path: Path, faults: Callable[[int, int], int], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    before = write(numbered(tmp_path, 1))
    newest = write(numbered(tmp_path, 2), trainer={"updates": 3, "moments": torch.rand(500)})
    percents = flips = faults(10, 100)
    counts = {}
    for path in sorted(newest.iterdir()):
        counts[path.name] = 0
        for damage in damages(path, percents, flips):
            with pytest.raises(CheckpointError) as error:
                read_checkpoint(newest).trainer()
            assert newest.name in str(error.value) and "\n" not in str(error.value)
            caplog.clear()
            assert latest(tmp_path) == before, damage
            assert f"passing over checkpoint {newest}" in caplog.text
            counts[path.name] += 1
        read_checkpoint(newest).trainer()  # as it was
    assert latest(tmp_path) == newest
    total = sum(counts.values())
    print(f"{total} damaged checkpoints ({percents} lengths and {flips} flipped bits of each of {len(counts)} files):")
    print(f"{total} typed errors, {total} times the checkpoint before was taken, and said so; 0 went unnoticed")


def test_episodes(tmp_path: Path, faults: Callable[[int, int], int]) -> None:
    path = tmp_path / "000000.safetensors"
    save_episode(make_episode(3, 40), path)
    percents = flips = faults(10, 100)
    for _ in damages(path, percents, flips):
        with pytest.raises(DataError) as error:
            load_episode(path)
        assert path.name in str(error.value) and "\n" not in str(error.value)
    load_episode(path)
    print(f"{percents + flips} damaged episodes ({percents} lengths, {flips} flipped bits): as many typed errors")


def test_a_folder_of_damaged_checkpoints_is_not_begun_anew(tmp_path: Path) -> None:
    for number in (1, 2):
        (write(numbered(tmp_path, number)) / "trainer.pt").unlink()
    with pytest.raises(CheckpointError, match=r"all 2 checkpoints in .* are damaged: restore one, or start a new run"):
        latest(tmp_path)
    shutil.rmtree(tmp_path / "000001")
    shutil.rmtree(tmp_path / "000002")
    assert latest(tmp_path) is None
