"""A run's checkpoints: the newest whole one is found, the last and the best are kept."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from saving import flip, write

from worldmodel.checkpoint import read_checkpoint
from worldmodel.errors import CheckpointError, VersionError
from worldmodel.files import temporary_path
from worldmodel.series import latest, mark_best, numbered, prune, recover, resolve


def test_the_newest_whole_checkpoint_is_the_latest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "checkpoints"
    assert latest(folder) is None and numbered(folder, 12).name == "000012"
    for number in (2, 999_999, 1_000_000):
        write(numbered(folder, number))
    temporary_path(numbered(folder, 1_000_001)).mkdir()
    assert latest(folder) == folder / "1000000" and not caplog.records
    flip(folder / "1000000" / "trainer.pt")
    with caplog.at_level(logging.WARNING):
        assert latest(folder) == folder / "999999"
    assert "1000000" in caplog.text and "trainer.pt is damaged" in caplog.text
    for number in (2, 999_999):
        (numbered(folder, number) / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"all 3 checkpoints in .* are damaged"):
        latest(folder)


def test_a_run_taken_back_by_damage_can_come_by_the_same_number_again(tmp_path: Path) -> None:
    assert recover(tmp_path) is None
    for name in ("000001", "000002-fit-000007", "000002"):
        write(tmp_path / name)
    flip(tmp_path / "000002" / "model.safetensors")
    (tmp_path / "000002-fit-000007" / "trainer.pt").unlink()
    assert recover(tmp_path) == numbered(tmp_path, 1)
    aside = sorted(path.name.partition(".damaged-")[0] for path in tmp_path.iterdir())
    assert aside == ["000001", "000002", "000002-fit-000007"]
    write(numbered(tmp_path, 2), model_config={"again": True})
    assert latest(tmp_path) == numbered(tmp_path, 2)
    prune(tmp_path)
    assert len(list(tmp_path.iterdir())) == 4  # two whole ones, and what was moved aside
    for number in (3, 4):
        write(numbered(tmp_path, number))
        prune(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"000003", "000004"}


def test_another_version_is_not_damage(tmp_path: Path) -> None:
    manifest = write(numbered(tmp_path, 2)) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    for find in (latest, recover):
        with pytest.raises(VersionError, match="has schema version 2, this code reads 1: use the code that wrote it"):
            find(tmp_path)
    write(numbered(tmp_path, 1))
    assert latest(tmp_path) == numbered(tmp_path, 1)


def test_pruning_keeps_the_newest_and_what_is_not_a_checkpoint(tmp_path: Path) -> None:
    for number in (9, 10, 11, 1_000_000):
        write(numbered(tmp_path, number))
    (tmp_path / "best").mkdir()
    temporary_path(numbered(tmp_path, 12)).mkdir()
    prune(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"000011", "1000000", "best"}
    prune(tmp_path, keep=1)
    assert {path.name for path in tmp_path.iterdir()} == {"1000000", "best"}
    with pytest.raises(ValueError, match="keep is 0"):
        prune(tmp_path, keep=0)


def test_a_checkpoint_or_its_run_may_be_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for number in (1, 2):
        write(numbered(run / "checkpoints", number))
    (run / "config.yaml").write_text("a: 1")
    assert resolve(run) == run / "checkpoints" / "000002"
    assert resolve(run / "checkpoints" / "000001") == run / "checkpoints" / "000001"


def test_a_wrong_folder_is_told_what_it_holds_and_what_to_give(tmp_path: Path) -> None:
    for name in ("episodes", "videos"):
        (tmp_path / "stuff" / name).mkdir(parents=True)
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    message = r"stuff is not a checkpoint folder: it has no config\.json \(it holds episodes, videos\); give one"
    for read in (resolve, read_checkpoint):
        with pytest.raises(CheckpointError, match=message):
            read(tmp_path / "stuff")
    with pytest.raises(CheckpointError, match=r"none is not a checkpoint folder: it does not exist"):
        resolve(tmp_path / "none")
    with pytest.raises(CheckpointError, match=r"videos is not .* \(it holds nothing\)"):
        resolve(tmp_path / "stuff" / "videos")
    with pytest.raises(CheckpointError, match=r"holds no checkpoint yet"):
        resolve(tmp_path / "empty")
    file = write(tmp_path / "a") / "model.safetensors"
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a checkpoint folder: it is a file"):
        resolve(file)


def test_a_checkpoint_within_a_step_comes_before_the_one_at_its_end(tmp_path: Path) -> None:
    names = ["000009", "000010-fit-000000", "000010-fit-000150", "000010"]
    for name in names:
        write(tmp_path / name)
        assert latest(tmp_path) == tmp_path / name
    assert numbered(tmp_path, 10, within=150).name == names[2]
    prune(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names[2:])


def test_the_best_is_kept_and_can_be_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = tmp_path / "run"
    folder = run / "checkpoints"
    for number in range(1, 6):
        write(numbered(folder, number))
        if number == 2:
            mark_best(folder, 2, return_mean=812.5)
        prune(folder)
    assert {path.name for path in folder.iterdir()} == {"000002", "000004", "000005", "best.json"}
    assert json.loads((folder / "best.json").read_text()) == {"checkpoint": "000002", "return_mean": 812.5}
    assert resolve(folder / "best") == folder / "000002" and resolve(run) == folder / "000005"
    with pytest.raises(ValueError, match="not JSON compliant"):
        mark_best(folder, 4, return_mean=float("nan"))
    mark_best(folder, 4, return_mean=813.0)
    prune(folder)
    assert {path.name for path in folder.iterdir()} == {"000004", "000005", "best.json"}
    for damaged in ("", "[]", '{"checkpoint": "../../secret"}', '{"checkpoint": 3}'):
        (folder / "best.json").write_text(damaged)
        prune(folder)
        with pytest.raises(CheckpointError, match="is not a checkpoint folder"):
            resolve(folder / "best")
    assert "best.json, which is damaged" in caplog.text
