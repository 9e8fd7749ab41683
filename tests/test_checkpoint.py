"""A checkpoint comes back exactly, or the file at fault is named."""

from __future__ import annotations

import json
import logging
import shutil
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from worldmodel.checkpoint import Contexts, latest, numbered, prune, read_checkpoint, resolve, write_checkpoint
from worldmodel.errors import CheckpointError, DataError
from worldmodel.files import atomic_folder, temporary_path
from worldmodel.spec import EnvSpec

SPEC = EnvSpec("cartpole", "swingup", "box", 2, (-2.0, -1.0), (2.0, 1.0), 8, 1000, (6, 8))
MODEL = {"kind": "conv", "stages": [[8, 1], [16, 2]], "K": 0.5, "skips": True, "name": None}
FILES = {"config.json", "model.safetensors", "contexts.safetensors", "trainer.pt", "manifest.json"}


def contexts() -> Contexts:
    frames = torch.randint(0, 256, (4, 3, 6, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Contexts(frames=frames.permute(0, 1, 4, 2, 3), actions=torch.linspace(-1, 1, 16).reshape(4, 2, 2))


def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.LazyLinear(2))
    loss = model(torch.rand(2, 3, 6, 8)).square().mean()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.125)
    loss.backward()
    optimizer.step()
    return model, optimizer


def write(folder: Path, **changes: Any) -> Path:
    parts: dict[str, Any] = {
        "model_config": MODEL,
        "spec": SPEC,
        "weights": {"w": torch.arange(6.0).reshape(2, 3)},
        "contexts": contexts(),
        "trainer": {"updates": 3},
    }
    write_checkpoint(folder, **{**parts, **changes})
    return folder


def flip(path: Path, position: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_everything_comes_back_exactly(tmp_path: Path) -> None:
    model, optimizer = trained()
    state = {"optimizer": optimizer.state_dict(), "progress": {"episodes": 7, "seconds": 1.5}, "by": "planner"}
    folder = write(tmp_path / "new" / "a", weights=model.state_dict(), trainer=state)
    assert {path.name for path in folder.iterdir()} == FILES
    checkpoint = read_checkpoint(folder)
    assert (checkpoint.folder, checkpoint.model_config, checkpoint.spec) == (folder, MODEL, SPEC)
    assert set(checkpoint.weights) == set(model.state_dict())
    for name, weight in model.state_dict().items():
        assert checkpoint.weights[name].dtype == weight.dtype and torch.equal(checkpoint.weights[name], weight)
    assert torch.equal(checkpoint.contexts.frames, contexts().frames)
    assert torch.equal(checkpoint.contexts.actions, contexts().actions)
    found = checkpoint.trainer()
    assert found["progress"] == state["progress"] and found["by"] == "planner"
    _, fresh = trained()
    fresh.load_state_dict(found["optimizer"])
    assert fresh.param_groups[0]["lr"] == 0.125
    for key, moments in optimizer.state_dict()["state"].items():
        assert torch.equal(fresh.state_dict()["state"][key]["exp_avg"], moments["exp_avg"])


def test_strided_shared_and_partial_tensors_are_written(tmp_path: Path) -> None:
    base = torch.arange(24.0)
    weights = OrderedDict(
        channels_last=torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        transposed=base.reshape(4, 6).t(),
        tied=base,
        tied_again=base,
        part=base[3:9],
        only_part=torch.arange(100.0)[50:60],
        parameter=nn.Parameter(torch.rand(3).bfloat16()),
        empty=torch.empty(0, 4),
        count=torch.tensor(5),
    )
    found = read_checkpoint(write(tmp_path / "a", weights=weights)).weights
    assert set(found) == set(weights)
    for name, weight in weights.items():
        assert found[name].dtype == weight.dtype and torch.equal(found[name], weight), name
    assert (tmp_path / "a" / "model.safetensors").stat().st_size < 3000  # only_part is not 100 numbers


def test_a_checkpoint_to_act_has_no_trainer_and_says_so(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write(tmp_path / "a", trainer=None))
    assert {path.name for path in checkpoint.folder.iterdir()} == FILES - {"trainer.pt"}
    with pytest.raises(CheckpointError, match=r"a has no trainer\.pt: its model can act"):
        checkpoint.trainer()


@pytest.mark.parametrize("alien", [np.float64(3), Path("a"), lambda: None, SPEC, (i for i in ())])
def test_a_trainer_state_that_could_not_be_read_back_is_refused(tmp_path: Path, alien: Any) -> None:
    with pytest.raises(CheckpointError, match=r"trainer\.pt holds more than"):
        write(tmp_path / "a", trainer={"progress": [alien]})
    assert list(tmp_path.iterdir()) == []


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


def test_reading_a_trainer_state_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = write(tmp_path / "a")
    with atomic_folder(tmp_path / "foreign") as temporary:  # its manifest is right: whoever made it meant it
        shutil.copytree(whole, temporary, dirs_exist_ok=True)
        torch.save({"x": Bomb()}, temporary / "trainer.pt")
    checkpoint = read_checkpoint(tmp_path / "foreign")
    with pytest.raises(CheckpointError, match=r"trainer\.pt holds more than"):
        checkpoint.trainer()
    assert not (tmp_path / "exploded").exists()


def test_an_existing_checkpoint_is_never_overwritten(tmp_path: Path) -> None:
    for name in ("a", "000001"):
        write(tmp_path / name)
        with pytest.raises(CheckpointError, match=rf"{name} already exists"):
            write(tmp_path / name, model_config={})
        assert read_checkpoint(tmp_path / name).model_config == MODEL


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "contexts.safetensors"])
@pytest.mark.parametrize("damage", ["first", "last", "missing"])
def test_damage_is_found_and_its_file_named(tmp_path: Path, name: str, damage: str) -> None:
    path = write(tmp_path / "a") / name
    if damage == "missing":
        path.unlink()
    else:
        flip(path, 0 if damage == "first" else -1)
    with pytest.raises(CheckpointError, match=rf"a/?.*{name}"):
        read_checkpoint(tmp_path / "a")


def test_the_trainers_state_is_checked_when_it_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "a")
    flip(folder / "trainer.pt", 100)
    checkpoint = read_checkpoint(folder)  # enough to act
    with pytest.raises(CheckpointError, match=r"trainer\.pt is damaged"):
        checkpoint.trainer()


def test_a_manifest_is_needed_and_stays_inside(tmp_path: Path) -> None:
    path = write(tmp_path / "a") / "manifest.json"
    listed = json.loads(path.read_text())
    listed["sha256"]["../../secret"] = "0" * 64
    path.write_text(json.dumps(listed))
    with pytest.raises(CheckpointError, match=r"names '\.\./\.\./secret', which lies outside"):
        read_checkpoint(tmp_path / "a")
    del listed["sha256"]["../../secret"], listed["sha256"]["model.safetensors"]
    path.write_text(json.dumps(listed))
    with pytest.raises(CheckpointError, match=r"does not list model\.safetensors"):
        read_checkpoint(tmp_path / "a")
    path.unlink()
    with pytest.raises(CheckpointError, match=r"manifest\.json is missing"):
        read_checkpoint(tmp_path / "a")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"schema_version": 2}, r"has schema version 2, this code reads 1: use the code that wrote it"),
        ({"spec": {}}, r"cannot be read \(KeyError"),
        ([], r"cannot be read \(TypeError"),
    ],
)
def test_another_schema_is_refused(tmp_path: Path, config: Any, message: str) -> None:
    whole = write(tmp_path / "a")
    with atomic_folder(tmp_path / "b") as temporary:
        shutil.copytree(whole, temporary, dirs_exist_ok=True)
        if isinstance(config, dict):
            config = {**json.loads((whole / "config.json").read_text()), **config}
        (temporary / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "b")


def test_contexts_must_fit_together() -> None:
    good = contexts()
    with pytest.raises(DataError, match=r"torch\.float32 frames"):
        replace(good, frames=good.frames.float())
    with pytest.raises(DataError, match=r"actions \(4, 3, 2\): give"):
        replace(good, actions=torch.zeros(4, 3, 2))
    with pytest.raises(DataError, match=r"frames \(3, 3, 6, 8\)"):
        replace(good, frames=good.frames[0])


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


def test_a_run_taken_back_by_damage_can_come_by_the_same_number_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(numbered(tmp_path, 1))
    flip(write(numbered(tmp_path, 2)) / "model.safetensors")
    assert latest(tmp_path) == numbered(tmp_path, 1)
    write(numbered(tmp_path, 2), model_config={"again": True})
    found = latest(tmp_path)
    assert found == numbered(tmp_path, 2) and read_checkpoint(found).model_config == {"again": True}
    prune(tmp_path)
    aside = [path for path in tmp_path.iterdir() if path.name.startswith("000002.damaged-")]
    assert len(aside) == 1 and aside[0].name in caplog.text


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
