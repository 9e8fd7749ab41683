"""Whatever was said to be saved is there after a kill at any moment, and what the kill left behind is recognised."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forking import Forked, Forker, forking, is_busy, until_busy

from worldmodel.checkpoint import read_checkpoint
from worldmodel.episode import episode_path, load_episode
from worldmodel.files import is_leftover, remove_leftovers, verify_manifest
from worldmodel.series import latest, numbered, resolve

pytestmark = pytest.mark.faults

SIZE = 100_000  # numbers: a save takes some 20 ms
LENGTH = 2000  # transitions


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with forking() as found:
        yield found


def number_of(path: Path | None) -> int:
    return int(path.name) if path else 0


def kill(forked: Forked, folder: Path, wait_s: float) -> None:
    """Some seconds after it has begun to write in the folder; 0: surely amid a write, however seldom it writes."""
    if wait_s:
        until_busy(folder)
        time.sleep(wait_s)
    else:
        forked.stop_amid(folder)
    forked.kill()
    assert forked.end() == -9


def test_checkpoints(tmp_path: Path, forker: Forker, faults: Callable[[int, int], int]) -> None:
    chance = random.Random(0)
    kills, leftovers, newer, saves = faults(8, 50), 0, 0, 0
    for wait_s in [*(chance.uniform(0.001, 0.3) for _ in range(kills)), 0]:
        before = number_of(latest(tmp_path))
        forked = forker.start("save_checkpoints", tmp_path, before + 1, SIZE)
        kill(forked, tmp_path, wait_s)
        saved = forked.said[-1] if forked.said else before
        newest = latest(tmp_path)
        saves += number_of(newest) - before
        assert saved <= number_of(newest) <= saved + 1, "a checkpoint that was said to be saved is lost"
        newer += number_of(newest) > saved
        if newest is None:
            continue
        state = read_checkpoint(newest).trainer()
        assert state["number"] == number_of(newest) and state["moments"].eq(state["number"]).all()
        for path in tmp_path.glob("0*"):
            verify_manifest(path)
        if saved >= 1:
            best = number_of(resolve(tmp_path / "best"))
            assert best and read_checkpoint(numbered(tmp_path, best)).trainer()["number"] == best
        left = [path for path in tmp_path.iterdir() if is_leftover(path)]
        leftovers += bool(left)
        assert left or wait_s, "a save that was cut off left nothing"
        remove_leftovers(tmp_path)
        assert all(path.name == "best.json" or path.name.isdigit() for path in tmp_path.iterdir())
    print(f"{kills} kills at random and one amid a save, of {saves} saves of a checkpoint: 0 losses; {leftovers} kills")
    print(f"left something behind, all of it recognised; {newer} came between a save and its being said")


def test_episodes(tmp_path: Path, forker: Forker, faults: Callable[[int, int], int]) -> None:
    chance = random.Random(1)
    kills, leftovers, saves = faults(8, 50), 0, 0
    for wait_s in [*(chance.uniform(0.001, 0.2) for _ in range(kills)), 0]:
        folder = tmp_path / "episodes"
        folder.mkdir()
        forked = forker.start("save_episodes", folder, LENGTH)
        kill(forked, folder, wait_s)
        saved = forked.said[-1] if forked.said else -1
        for number in range(saved + 1):
            found = load_episode(episode_path(folder, number // 2))
            assert found.seed >= number, "an episode that was said to be saved is lost"
        whole = [load_episode(path) for path in folder.iterdir() if not is_leftover(path)]
        for episode in whole:
            assert len(episode) == LENGTH and (episode.frames == episode.seed % 256).all()
        assert max((episode.seed for episode in whole), default=-1) <= saved + 1
        saves += saved + 1
        left = is_busy(folder)
        leftovers += left
        assert left or wait_s, "a write that was cut off left nothing"
        remove_leftovers(folder)
        assert len(list(folder.iterdir())) == len(whole)
        shutil.rmtree(folder)
    print(f"{kills} kills at random and one amid a write, of {saves} writes of an episode: 0 losses; {leftovers} kills")
    print("left something behind, all of it recognised; every second write took the place of an earlier one")
