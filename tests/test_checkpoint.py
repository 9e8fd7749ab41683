"""A checkpoint comes back exactly, or the file at fault is named."""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from saving import MODEL, SPEC, contexts, flip, write
from torch import nn

from worldmodel.checkpoint import read_checkpoint
from worldmodel.errors import CheckpointError, DataError
from worldmodel.files import atomic_folder

FILES = {"config.json", "model.safetensors", "contexts.safetensors", "trainer.pt", "manifest.json"}


def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.LazyLinear(2))
    loss = model(torch.rand(2, 3, 6, 8)).square().mean()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.125)
    loss.backward()
    optimizer.step()
    return model, optimizer


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
