"""Fitting a model to a folder, as people run it: what it leaves, a kill and what follows, and the errors they see."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from worldmodel.checkpoint import read_checkpoint
from worldmodel.comparison import differences
from worldmodel.episode import Episode, episode_path, save_episode
from worldmodel.pretrained import from_pretrained
from worldmodel.records import read_records
from worldmodel.series import latest
from worldmodel.spec import EnvSpec

ROOT = Path(__file__).resolve().parent.parent
SPEC = EnvSpec("noise", "none", "box", 1, (-1.0,), (1.0,), 1, 0, (16, 16))
UPDATES = 20
TINY = ["model.hidden=16", "model.feature=16", "model.latent=4", "model.head=16", "train.batch=2", "train.window=6"]
SHORT = ["held_out=0.2", "context=2", "horizon=3", f"updates={UPDATES}", "save_every=2", "precision=32-true"]


def start(*overrides: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "worldmodel.train", *TINY, *SHORT, *overrides]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def train(*overrides: str) -> tuple[int, str, str]:
    """Exit status, output and errors."""
    process = start(*overrides)
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def fill(folder: Path, lengths: list[int]) -> Path:
    folder.mkdir(parents=True)
    for index, length in enumerate(lengths):
        rng = np.random.default_rng(index)
        frames = rng.integers(0, 256, (length + 1, 16, 16, 3), dtype=np.uint8)
        actions, rewards = rng.uniform(-1, 1, (length, 1)), rng.normal(size=length)
        episode = Episode(frames, np.float32(actions), np.float32(rewards), False, True, SPEC, index, "random")
        save_episode(episode, episode_path(folder, index))
    return folder


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some longer and some shorter than a window."""
    return fill(tmp_path_factory.mktemp("data") / "episodes", [9, 3, 12, 4, 9])


@pytest.fixture(scope="module")
def whole(episodes: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An uninterrupted run's folder and output."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    status, output, errors = train(f"data={episodes}", f"run={run}")
    assert status == 0, errors
    return run, output


def test_a_run_leaves_its_configuration_records_and_newest_checkpoints(whole: tuple[Path, str]) -> None:
    run, output = whole
    assert output.splitlines()[-1] == str(run / "checkpoints" / "000020")
    best = json.loads((run / "checkpoints" / "best.json").read_text())["checkpoint"]
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"000018", "000020", best, "best.json"}
    config = OmegaConf.load(run / "config.yaml")
    assert (config.model.hidden, config.train.window, config.updates) == (16, 6, UPDATES)

    records = run / "metrics.jsonl"
    (header,) = read_records(records, "header")
    assert header["command"].startswith("python -m worldmodel.train model.hidden=16")
    assert header["config"]["train"]["batch"] == 2 and header["versions"]["torch"] == torch.__version__
    fits, validations = read_records(records, "fit"), read_records(records, "validation")
    assert [record["updates"] for record in fits] == list(range(2, UPDATES + 1, 2))
    assert [record["updates"] for record in validations] == list(range(2, UPDATES + 1, 2))
    errors = {f"{record['updates']:06d}": np.mean(record["frame"]) for record in validations}
    assert best == min(errors, key=lambda name: errors[name])
    assert all(np.isfinite(record["loss"]) and record["skipped"] == 0 for record in fits)
    assert {len(record[kind]) for record in validations for kind in ("reward", "frame")} == {3}


DIVERGING = """
import sys
from dataclasses import replace
import torch
from worldmodel import train
from worldmodel.svg import SVG
imagine, steps, diverging = SVG.imagine, 0, int(sys.argv.pop(1))
def further_off(model, state, action, **others):
    global steps
    prediction = imagine(model, state, action, **others)
    if not torch.is_inference_mode_enabled():
        return prediction
    steps += 1
    factor = 1e30 if steps <= diverging else 1.0
    return replace(prediction, state=replace(prediction.state, feature=factor * prediction.state.feature))
SVG.imagine = further_off
train.main()
"""


@pytest.mark.parametrize("diverging", [3, 1000])
def test_a_model_that_diverges_as_it_imagines_is_told_and_never_the_best(
    episodes: Path, tmp_path: Path, diverging: int
) -> None:
    """In the three steps of the first validation, or in all; a fit that goes on may mend it."""
    overrides = [f"data={episodes}", "run=run", *TINY, *SHORT, "updates=6", "accelerator=cpu"]
    command = [sys.executable, "-W", "error", "-c", DIVERGING, str(diverging), *overrides]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    validations = read_records(tmp_path / "run" / "metrics.jsonl", "validation")
    counts = [record["nonfinite"] for record in validations]
    lines = [line for line in done.stdout.splitlines() if line.startswith("update ")]
    assert [count > 0 for count in counts] == ["the model diverges in imagination" in line for line in lines]
    best = tmp_path / "run" / "checkpoints" / "best.json"
    if diverging == 3:
        assert counts[0] > 0 and validations[0]["frame"][-1] is None and counts[1:] == [0, 0]
        assert json.loads(best.read_text())["checkpoint"] in ("000004", "000006")
    else:
        assert min(counts) > 0 and not best.exists()


def test_the_checkpoint_is_a_model_with_contexts_of_its_data(whole: tuple[Path, str]) -> None:
    run, _ = whole
    model, contexts = from_pretrained(run), read_checkpoint(run / "checkpoints" / "000020").contexts
    assert (model.spec, model.config.hidden, model.config.feature) == (SPEC, 16, 16)
    assert contexts.frames.shape == (16, 2, 3, 16, 16) and contexts.actions.shape == (16, 1, 1)
    assert model.imagine(model.initial(contexts.frames, contexts.actions), contexts.actions[:, 0]).reward.shape == (16,)


def test_a_killed_run_goes_on_to_the_same_weights(episodes: Path, whole: tuple[Path, str], tmp_path: Path) -> None:
    run = tmp_path / "killed"
    process = start(f"data={episodes}", f"run={run}")
    while process.poll() is None and not list((run / "checkpoints").glob("0*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert errors.endswith("\nstopped by SIGTERM\n") and "Traceback" not in errors
    saved = latest(run / "checkpoints")
    assert saved is not None and int(saved.name[:6]) < UPDATES

    status, output, errors = train("resume=true", f"run={run}")
    assert status == 0, errors
    assert output.splitlines()[-1] == str(run / "checkpoints" / "000020")
    uninterrupted = read_checkpoint(whole[0] / "checkpoints" / "000020")
    resumed = read_checkpoint(run / "checkpoints" / "000020")
    assert set(resumed.weights) == set(uninterrupted.weights)
    for name, weight in uninterrupted.weights.items():
        assert torch.equal(resumed.weights[name], weight), name

    records = run / "metrics.jsonl"
    assert len(read_records(records, "header")) == len(read_records(records, "resume")) == 1
    for kind in ("fit", "validation"):  # none twice, and none lost
        expected = read_records(whole[0] / "metrics.jsonl", kind)
        assert [r["updates"] for r in read_records(records, kind)] == [r["updates"] for r in expected]
    assert read_records(records, "validation")[-1] == read_records(whole[0] / "metrics.jsonl", "validation")[-1]


STOPPED = """
import os, signal
from worldmodel import train
save, calls = train.save_pretrained, []
def stop_at_the_third(*args, **others):
    calls.append(args)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGTERM)
    save(*args, **others)
train.save_pretrained = stop_at_the_third
train.main()
"""


def test_a_run_that_is_stopped_as_it_begins_to_save_repeats_no_record(
    episodes: Path, whole: tuple[Path, str], tmp_path: Path
) -> None:
    """Its log is ahead of the checkpoint that it saves instead, which is of the updates alone."""
    run = tmp_path / "run"
    command = [sys.executable, "-c", STOPPED, *TINY, *SHORT, f"data={episodes}", f"run={run}"]
    variables = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 128 + signal.SIGTERM and "Traceback" not in done.stderr, done.stderr
    assert len(read_records(run / "metrics.jsonl", "validation")) == 3
    assert sorted(path.name for path in (run / "checkpoints").glob("0*"))[:2] == ["000002", "000004"]
    status, _, errors = train("resume=true", f"run={run}")
    assert status == 0, errors
    assert list(differences(whole[0], run)) == []


def test_a_run_goes_on_with_the_episodes_it_was_begun_with(episodes: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(episodes, data)
    assert train(f"data={data}", f"run={run}", "updates=4")[0] == 0
    more = fill(tmp_path / "more", [7])
    shutil.copy(more / "000000.safetensors", data / "000009.safetensors")
    status, _, errors = train("resume=true", f"run={run}", "updates=6")
    assert status == 2 and "error: the 5 episodes to fit are not the 4 that" in errors, errors
    assert "(1 new, 0 gone): give the same data=" in errors
    (data / "000009.safetensors").unlink()
    assert train("resume=true", f"run={run}", "updates=6")[0] == 0


def test_a_run_that_is_given_more_updates_ends_as_one_that_had_them(
    episodes: Path, whole: tuple[Path, str], tmp_path: Path
) -> None:
    """Though it made a checkpoint where the other made none."""
    run = tmp_path / "longer"
    for overrides in ((f"data={episodes}", "updates=7"), ("resume=true", f"updates={UPDATES}")):
        status, _, errors = train(*overrides, f"run={run}")
        assert status == 0, errors
    expected, found = (read_checkpoint(folder / "checkpoints" / "000020").weights for folder in (whole[0], run))
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (None, "is not a folder: collect episodes, or give a folder of them"),
        ([], "holds no episodes (*.safetensors): collect episodes"),
        ([1, 1, 1], "no episode has 3 frames, the longest of 1 has 2: ask for shorter windows"),
    ],
)
def test_data_that_cannot_be_fitted_is_one_line(lengths: list[int] | None, message: str, tmp_path: Path) -> None:
    if lengths is not None:
        fill(tmp_path / "data", lengths)
    status, _, errors = train(f"data={tmp_path / 'data'}", f"run={tmp_path / 'run'}")
    (line,) = errors.splitlines()
    assert status == 2 and line.startswith("error: ") and message in line


def test_a_run_is_not_overwritten(episodes: Path, whole: tuple[Path, str]) -> None:
    run, _ = whole
    before = (run / "metrics.jsonl").read_bytes()
    status, _, errors = train(f"data={episodes}", f"run={run}")
    assert status == 2
    assert errors == f"error: {run} already holds a run: add resume=true to go on with it, or choose another run=\n"
    assert (run / "metrics.jsonl").read_bytes() == before


def test_an_unknown_key_is_an_error_that_names_it(episodes: Path, tmp_path: Path) -> None:
    status, _, errors = train(f"data={episodes}", f"run={tmp_path / 'run'}", "train.windows=6")
    assert (status, errors) == (2, "error: there is no setting train.windows: did you mean train.window\n")
    assert not (tmp_path / "run").exists()


def test_several_folders_are_one_data_set(episodes: Path, tmp_path: Path) -> None:
    """Seen by what it says of the longest episode: neither folder alone has 6 episodes that long."""
    fill(tmp_path / "more", [14])
    both = f"data=[{episodes},{tmp_path / 'more'}]"
    status, _, errors = train(both, f"run={tmp_path / 'run'}", "train.unrolling.context=20", "train.window=22")
    assert status == 2
    assert "no episode has 21 frames, the longest of 5 has 15" in errors, errors  # one of the six is held out
