"""A crash between any two steps of a save leaves the old state or the new one; steps are in the order that lasts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forking import Forker, forking

from worldmodel.checkpoint import read_checkpoint
from worldmodel.episode import episode_path, load_episode
from worldmodel.files import remove_leftovers
from worldmodel.series import latest, resolve

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with forking() as found:
        yield found


def calls(forker: Forker, function: str, *arguments: Any) -> list[list[str]]:
    forked = forker.start("calls_of", function, *arguments)
    assert forked.end() == 0
    (made,) = forked.said
    return made


def fill(forker: Forker, folder: Path, count: int) -> None:
    for number in range(1, count + 1):
        assert forker.start("save_checkpoint", folder, number, 100).end() == 0


def test_a_checkpoints_steps(tmp_path: Path, forker: Forker) -> None:
    """Saving the fifth, which is not the best, and deleting the third, with a crash before and after each call."""
    fill(forker, tmp_path / "before", 4)
    shutil.copytree(tmp_path / "before", tmp_path / "counted")
    steps = len(calls(forker, "save_checkpoint", tmp_path / "counted", 5, 100))
    found = {"000004": 0, "000005": 0}
    for step in range(steps):
        for after in (False, True):
            folder = tmp_path / f"{step}-{after}"
            shutil.copytree(tmp_path / "before", folder)
            assert forker.start("crash_at", step, after, "save_checkpoint", folder, 5, 100).end() == 9
            newest = latest(folder)
            assert newest is not None and read_checkpoint(newest).trainer()["number"] == int(newest.name)
            found[newest.name] += 1
            assert resolve(folder / "best") == folder / "000003"
            read_checkpoint(folder / "000003").trainer()
            last = int(newest.name) + 1
            assert forker.start("save_checkpoint", folder, last, 100).end() == 0  # it goes on
            kept = {f"{last - 1:06d}", f"{last:06d}", resolve(folder / "best").name, "best.json"}
            assert {path.name for path in folder.iterdir()} == kept
            shutil.rmtree(folder)
    print(f"{2 * steps} crashes between the {steps} steps of saving a checkpoint: 0 losses; the newest was {found}")
    assert all(found.values())


def test_an_episodes_steps(tmp_path: Path, forker: Forker) -> None:
    """Saving one where there is one already."""
    assert forker.start("save_one_episode", tmp_path / "before", 0, 20).end() == 0
    shutil.copytree(tmp_path / "before", tmp_path / "counted")
    steps = len(calls(forker, "save_one_episode", tmp_path / "counted", 1, 20))
    found = {0: 0, 1: 0}
    for step in range(steps):
        for after in (False, True):
            folder = tmp_path / f"{step}-{after}"
            shutil.copytree(tmp_path / "before", folder)
            assert forker.start("crash_at", step, after, "save_one_episode", folder, 1, 20).end() == 9
            found[load_episode(episode_path(folder, 0)).seed] += 1
            remove_leftovers(folder)
            assert [path.name for path in folder.iterdir()] == ["000000.safetensors"]
    print(
        f"{2 * steps} crashes between the {steps} steps of saving an episode: 0 losses; found the old, the new: {found}"
    )
    assert all(found.values())


def test_steps_are_in_the_order_that_a_power_cut_keeps(tmp_path: Path, forker: Forker) -> None:
    """Every file and folder is synced before the rename that shows it, and the rename before anything is deleted."""
    fill(forker, tmp_path, 4)
    made = calls(forker, "save_checkpoint", tmp_path, 6, 100)
    shown = next(index for index, (name, *paths) in enumerate(made) if name == "rename" and "000006" in paths[-1])
    hidden = made[shown][1]
    synced = {path for name, path, *_ in made[:shown] if name == "fsync"}
    files = {f"{hidden}/{path.name}" for path in (tmp_path / "000006").iterdir()}
    renamed = {paths[0] for name, *paths in made[:shown] if name == "replace"}  # the manifest, under its first name
    assert len(files) == 5 and {path for path in files if not path.endswith("manifest.json")} < synced
    assert hidden in synced and renamed < synced
    confirmed = made.index(["fsync", str(tmp_path)], shown)
    assert confirmed <= shown + 2  # opened, synced
    deleted = [index for index, (name, *_) in enumerate(made) if name in ("unlink", "rmdir")]
    assert deleted and min(deleted) > confirmed
    print(f"{len(made)} steps of a save: {len(files)} files and their folder are synced, then renamed, then that is")
    print("synced, then older checkpoints are deleted")
