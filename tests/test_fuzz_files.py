"""Every loader against changed files: it reads them, or raises an error of ours, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dreaming import BOX, DENSE, contexts, trained
from fuzzing import fuzz
from omegaconf import OmegaConf
from PIL import Image
from test_bair import example, sequence, write
from test_videos import greys, pictures

from agents.goals import read_goal
from agents.minari_data import export_folder, import_dataset
from agents.sb3_policy import load_sb3
from envs.starts import ContextStarts
from worldmodel.bair import action_bounds, bair_episodes, bair_spec
from worldmodel.checkpoint import read_checkpoint
from worldmodel.episode import Episode, load_episode, load_rewards, read_header, save_episode
from worldmodel.files import MANIFEST, verify_manifest
from worldmodel.held_out import DATA, DataSplit, check_held_out, held_out_episodes
from worldmodel.metrics.networks import read_weights
from worldmodel.pictures.video import write_gif, write_video
from worldmodel.pretrained import from_pretrained, save_pretrained
from worldmodel.replay import Replay
from worldmodel.run_folder import read_config, run_config
from worldmodel.series import latest
from worldmodel.videos import Cut, read_actions, video_episodes, video_spec

pytestmark = pytest.mark.faults

SIZE = Cut((16, 16))


def episode(length: int = 5) -> Episode:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (length + 1, *BOX.frame_size, 3), np.uint8)
    actions = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
    return Episode(frames, actions, np.ones(length, np.float32), True, False, BOX, 3, "random")


def sealed(folder: Path) -> None:
    """Makes the manifest right for what is there: whoever changed a file may have meant it."""
    (folder / MANIFEST).unlink(missing_ok=True)
    from worldmodel.files import _seal

    _seal(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "checkpoints" / "000001"
    state = {"progress": {"episodes": 3}, "trainer": {"updates": 4, "optimizer": {"state": {0: torch.ones(3)}}}}
    save_pretrained(folder, trained(DENSE), contexts(), trainer=state)
    return folder


@pytest.mark.parametrize(
    ("name", "count"),
    [("config.json", 250), ("model.safetensors", 250), ("contexts.safetensors", 250), ("trainer.pt", 300)],
)
def test_checkpoints(checkpoint: Path, tmp_path: Path, name: str, count: int) -> None:
    folder = tmp_path / "000001"
    shutil.copytree(checkpoint, folder)

    def put(data: bytes) -> None:
        (folder / name).write_bytes(data)
        sealed(folder)

    def load() -> None:
        found = read_checkpoint(folder)
        if name == "trainer.pt":
            found.trainer()
        else:
            from_pretrained(folder)
            ContextStarts(found.contexts)

    fuzz(f"a checkpoint's {name}", (folder / name).read_bytes(), put, load, count)


def test_manifests(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "000001"
    shutil.copytree(checkpoint, folder)
    path = folder / MANIFEST

    def load() -> None:
        verify_manifest(folder)
        latest(folder.parent)
        read_checkpoint(folder)

    fuzz("manifests", path.read_bytes(), path.write_bytes, load, 500)


def test_episodes(tmp_path: Path) -> None:
    path = tmp_path / "000000.safetensors"
    save_episode(episode(), path)

    def load() -> None:
        read_header(path)
        load_rewards(path)
        load_episode(path)
        replay = Replay(tmp_path)
        replay.sample(2, 3, np.random.default_rng(0), minimum=2)
        replay.contexts(2, 2, np.random.default_rng(0))

    fuzz("episodes", path.read_bytes(), path.write_bytes, load, 1000)


def test_configurations_of_runs(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints" / "000001").mkdir(parents=True)
    path = run / "config.yaml"
    values = {"data": [str(tmp_path)], "held_out": 0.1, "seed": 3, "env": {"name": "a", "size": [64, 64]}, "goal": None}
    values |= {"run": str(run), "resume": False, "trusted": False}
    asked = OmegaConf.create({"run": str(run), "resume": True, "seed": 3, "env": values["env"], "trusted": False})

    def load() -> None:
        read_config(run).get("goal")
        run_config(asked, ["seed=3", "env=a"], free=())

    data = OmegaConf.to_yaml(OmegaConf.create(values)).encode()
    fuzz("configurations of runs, as YAML", data, path.write_bytes, load, 600)
    fuzz("configurations of runs, as JSON", json.dumps(values).encode(), path.write_bytes, load, 600)


def test_what_runs_say_of_their_data(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index:06d}.safetensors" for index in range(2)]
    for index, path in enumerate(paths):
        save_episode(replace(episode(), seed=index), path)
    given = DataSplit.of(paths[:1], paths[1:])
    given.save(tmp_path)

    def load() -> None:
        held_out_episodes(tmp_path / "checkpoints" / "000001")
        check_held_out(tmp_path / "checkpoints" / "000001", paths[1:])
        given.check_same(tmp_path)

    data = (tmp_path / DATA).read_bytes()
    fuzz("what runs say of their data", data, (tmp_path / DATA).write_bytes, load, 600)


def make_film(kind: str, path: Path) -> None:
    if kind == "png":
        Image.fromarray(pictures_frame()).save(path)
    elif kind == "gif":
        write_gif(path, greys(6), fps=10)
    else:
        write_video(path, greys(6), fps=10)


def pictures_frame() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


@pytest.mark.parametrize(("kind", "count"), [("gif", 300), ("mp4", 300)])
def test_videos(tmp_path: Path, kind: str, count: int) -> None:
    path = tmp_path / f"a.{kind}"
    make_film(kind, path)

    def load() -> None:
        for _ in video_episodes(path, SIZE, video_spec("test", SIZE)):
            pass

    fuzz(f"videos, {kind}", path.read_bytes(), path.write_bytes, load, count)


@pytest.mark.parametrize("kind", ["png", "bmp", "jpeg", "webp"])
def test_pictures(tmp_path: Path, kind: str) -> None:
    folder = pictures(tmp_path / "clip", greys(3, 16, 16))
    path = folder / f"1.{kind}"
    (folder / "1.png").unlink()
    Image.fromarray(pictures_frame()).save(path)

    def load() -> None:
        read_goal(path, (16, 16))
        list(video_episodes(folder, SIZE, video_spec("test", SIZE)))

    fuzz(f"pictures, {kind}", path.read_bytes(), path.write_bytes, load, 300)


@pytest.mark.parametrize("kind", ["npy", "csv"])
def test_actions(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    rows = np.random.default_rng(0).uniform(-1, 1, (5, 2)).astype(np.float32)
    np.save(path, rows) if kind == "npy" else np.savetxt(path, rows, delimiter=",")
    fuzz(f"actions, {kind}", path.read_bytes(), path.write_bytes, lambda: read_actions(path), 1000)


def test_records_of_bair(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecords"
    frames, actions = sequence(0, 2)
    write(path, example(frames, actions))

    def load() -> None:
        bounds = action_bounds([path])
        list(bair_episodes(path, bair_spec(bounds)))

    whole = path.read_bytes()
    fuzz("TFRecords", whole, path.write_bytes, load, 600)
    # The same, changed where there are no pixels, which are most of it.
    for index, frame in enumerate(frames):
        whole = whole.replace(frame.tobytes(), b"<%d>" % index)

    def put(data: bytes) -> None:
        for index, frame in enumerate(frames):
            data = data.replace(b"<%d>" % index, frame.tobytes())
        path.write_bytes(data)

    fuzz("TFRecords but for their pixels", whole, put, load, 600)


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_weights(tmp_path: Path, kind: str) -> None:
    from safetensors.torch import save_file

    path = tmp_path / f"a.{kind}"
    weights = {"features.0.weight": torch.arange(6.0), "features.0.bias": torch.ones(2)}
    torch.save(weights, path) if kind == "pth" else save_file(weights, path)
    fuzz(f"weights, {kind}", path.read_bytes(), path.write_bytes, lambda: read_weights(path), 500)


def test_zips_of_sb3(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data", "policy.pth", "pytorch_variables.pth"):
            archive.writestr(name, os.urandom(20))
    fuzz("zips of SB3", path.read_bytes(), path.write_bytes, lambda: load_sb3(path, "PPO"), 600)


@pytest.mark.parametrize("name", ["main_data.hdf5", "metadata.json"])
def test_data_sets_of_minari(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    for index in range(2):
        save_episode(episode(2 + index), tmp_path / "episodes" / f"{index}.safetensors")
    path = export_folder(tmp_path / "episodes", "svg/test-v0") / "data" / name
    out = tmp_path / "out"

    def load() -> None:
        shutil.rmtree(out, ignore_errors=True)
        import_dataset("svg/test-v0", out, name="any", size=[64, 64])

    fuzz(f"Minari's {name}", path.read_bytes(), path.write_bytes, load, 80)
