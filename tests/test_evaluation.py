"""A model's video measured: the right frames against the right frames, and a command that says what it did."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Command, running
from dreaming import DENSE, PAIR, Counter, contexts, trained
from hydra import compose, initialize_config_module
from PIL import Image
from test_open_loop import episode
from torch import Tensor

from worldmodel.episode import save_episode
from worldmodel.errors import ConfigError, DataError
from worldmodel.evaluate import measures
from worldmodel.gaussian import kl
from worldmodel.hashes import sha256
from worldmodel.metrics.clips import RandomFeatures
from worldmodel.metrics.evaluation import AVERAGE, COPY, GIVEN, MEAN, REAL, SAMPLE, Evaluation, evaluate_video, halves
from worldmodel.metrics.frames import psnr
from worldmodel.pictures.evaluation import evaluation_figure
from worldmodel.pretrained import save_pretrained
from worldmodel.replay import Batch
from worldmodel.state import State

MOTION = {"motion": RandomFeatures(motion=True)}


def rising(count: int, length: int, by: int = 1, first: int = 10) -> Batch:
    """Windows of grey frames, `first` + 20 · row at first, then `by` lighter each; actions and rewards are 0.5."""
    grey = first + 20 * torch.arange(count)[:, None] + by * torch.arange(length)
    return Batch(
        frames=grey.to(torch.uint8)[..., None, None, None].expand(-1, -1, 3, 64, 64).contiguous(),
        actions=torch.full((count, length - 1, 2), 0.5),
        rewards=torch.full((count, length - 1), 0.5),
        continues=torch.ones(count, length - 1),
        mask=torch.ones(count, length - 1),
    )


def decibels(*steps: float) -> list[float]:
    """PSNR of frames that are so many grey levels off."""
    return [-20 * np.log10(step / 255) if step else 100.0 for step in steps]


def measured(windows: Batch, reference: Batch, context: int = 2, samples: int = 2) -> Evaluation:
    return evaluate_video(
        Counter(),
        windows,
        reference,
        context=context,
        samples=samples,
        frame_metrics={"psnr": psnr},
        streams=MOTION,
    )


def test_each_prediction_is_compared_with_its_own_frame() -> None:
    """`Counter` draws what comes one grey level lighter a step: exactly so here, and one off per step there."""
    reference = rising(3, 6, first=100)
    right = measured(rising(3, 6), reference)
    assert (right.windows, right.horizon, right.context, right.samples) == (3, 4, 2, 2)
    assert right.frames["psnr"][MEAN] == pytest.approx(decibels(0, 0, 0, 0))
    assert right.frames["psnr"][COPY] == pytest.approx(decibels(1, 2, 3, 4))
    average = round(float(reference.frames[:, 2:].double().mean()))
    expected = [np.mean(decibels(*(average - (10 + 20 * row + step) for row in range(3)))) for step in range(2, 6)]
    assert right.frames["psnr"][AVERAGE] == pytest.approx(expected)
    assert right.frames["reward"][MEAN] == [0, 0, 0, 0]  # a step earns the mean of its action
    assert right.by_window["psnr"][MEAN] == [100, 100, 100] and "kl" not in right.frames
    late = measured(rising(3, 6, by=2), reference)
    assert late.frames["psnr"][MEAN] == pytest.approx(decibels(1, 2, 3, 4))
    assert late.frames["psnr"][COPY] == pytest.approx(decibels(2, 4, 6, 8))


class Draws(Counter):
    """Whose frames are lighter by 10 times its z."""

    def decode(self, state: State) -> Tensor:
        total, steps, pixel = state.feature.unbind(1)
        shift = total - steps  # each step's action sums to 1
        return ((pixel + steps + 10 * shift) / 255).clamp(0, 1).view(-1, 1, 1, 1).expand(-1, 3, 64, 64)


def test_the_best_sample_is_one_and_the_mean_is_of_all() -> None:
    windows, reference = rising(2, 5, first=100), rising(2, 5, first=100)
    found = evaluate_video(
        Draws(),
        windows,
        reference,
        context=2,
        samples=3,
        frame_metrics={"psnr": psnr},
        streams={},
        seed=7,
    ).frames["psnr"]
    noise = torch.randn(2, 4, 1, generator=(generator := torch.Generator().manual_seed(7)))
    steps = torch.stack([noise, *(torch.randn(2, 4, 1, generator=generator) for _ in range(2))], 2)[:, 1:, :, 0]
    off = (10 * steps.cumsum(2)).round()  # grey levels, (window, sample, step)
    scores = -20 * torch.log10(off.abs() / 255)
    best = scores.mean(2).argmax(1)
    assert found[MEAN] == pytest.approx(decibels(0, 0, 0))
    assert found["mean of 3"] == pytest.approx(scores.mean((0, 1)).tolist(), abs=0.5)
    assert found["best of 3"] == pytest.approx(scores[torch.arange(2), best].mean(0).tolist(), abs=0.5)


def test_clips_that_stand_still_are_far_and_real_ones_near() -> None:
    rng = np.random.default_rng(0)

    def flying(seed: int) -> Batch:
        batch = rising(24, 8)
        frames = torch.zeros_like(batch.frames)
        for clip in frames:
            x, y, dx, dy = rng.integers(0, 50), rng.integers(0, 50), *rng.integers(-2, 3, 2)
            for step, frame in enumerate(clip):
                frame[:, max(0, y + step * dy) :, max(0, x + step * dx) :][:, :9, :9] = 255
        return replace(batch, frames=frames)

    clips = measured(flying(0), flying(1), samples=1).clips["motion"]
    assert set(clips) == {MEAN, SAMPLE, COPY, REAL}
    assert clips[COPY]["frechet"] > 5 * clips[REAL]["frechet"]
    assert clips[MEAN] == clips[SAMPLE] and clips[MEAN]["frechet"] > 5 * clips[REAL]["frechet"]


def test_the_kl_is_that_of_posterior_and_prior_and_none_where_they_are_equal() -> None:
    model, windows = trained(DENSE), rising(2, 5)
    found = evaluate_video(model, windows, windows, context=2, samples=0, frame_metrics={}, streams={})
    nats = []
    state = model.initial(windows.frames[:, :1], windows.actions[:, :0])
    with torch.inference_mode():
        for i in range(4):
            embedding, _ = model.encode(windows.frames[:, i + 1])
            posterior, _ = model.posterior(embedding, state.posterior)
            prior, _ = model.prior(state.feature, state.prior)
            nats.append(float(kl(posterior, prior).flatten(1).sum(1).mean()))
            state = model.observe(state, windows.actions[:, i], windows.frames[:, i + 1])
    assert found.frames["kl"][GIVEN] == pytest.approx(nats[1:], rel=1e-4) and min(nats) > 0
    with torch.no_grad():
        for mine, its in zip(model.posterior.parameters(), model.prior.parameters(), strict=True):
            mine.zero_(), its.zero_()
    same = evaluate_video(model, windows, windows, context=2, samples=0, frame_metrics={}, streams={})
    assert same.frames["kl"][GIVEN] == [0, 0, 0]


def test_metrics_are_not_computed_in_the_models_precision() -> None:
    windows, reference = rising(3, 6), rising(3, 6, first=100)

    def found() -> Evaluation:
        return evaluate_video(
            Counter(),
            windows,
            reference,
            context=2,
            samples=1,
            frame_metrics={"mean": lambda x, true: torch.nn.functional.conv2d(true, x[0]).mean((2, 3))},
            streams=MOTION,
        )

    plain = found()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = found()
    assert rounded.frames["mean"] == plain.frames["mean"] and rounded.clips == plain.clips


def test_what_cannot_be_compared_is_an_error() -> None:
    with pytest.raises(DataError, match="must be whole, and as many"):
        measured(rising(3, 6), rising(2, 6))
    with pytest.raises(ConfigError, match="context is 5 frames, windows have 6"):
        measured(rising(3, 6), rising(3, 6), context=5)
    with pytest.raises(ConfigError, match="samples is -1"):
        measured(rising(3, 6), rising(3, 6), samples=-1)


def test_halves_share_no_episode(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.safetensors" for i in range(4)]
    for i, path in enumerate(paths):
        frames = np.full((13, 64, 64, 3), i, np.uint8)
        save_episode(replace(episode(12), frames=frames), path)
    windows, reference = halves(paths, 20, context=2, horizon=3)
    of_windows, of_reference = (batch.frames[:, 0, 0, 0, 0].tolist() for batch in (windows, reference))
    assert of_windows == [0, 2, 0, 2, 0, 2] and of_reference == [1, 3, 1, 3, 1, 3]  # three each, in turn
    assert windows.frames.shape[:2] == (6, 5) and windows.mask.all()
    assert len(halves(paths, 4, context=2, horizon=3)[0].frames) == 4
    elsewhere = tmp_path / "more" / "4.safetensors"
    save_episode(episode(12), elsewhere)
    with pytest.raises(DataError, match="2 episodes of 2 folders make no two halves"):
        halves([paths[0], elsewhere], 20, context=2, horizon=3)
    with pytest.raises(DataError, match="there is 1 episode: give two or more"):
        halves(paths[:1], 20, context=2, horizon=6)
    with pytest.raises(DataError, match=r"half of the \d+ episodes have 0 whole windows of \d+ \+ \d+ frames: set"):
        halves(paths, 20, context=2, horizon=12)


def test_a_figure_has_a_panel_a_metric_and_a_line_a_row() -> None:
    found = measured(rising(3, 6), rising(3, 6))
    axes = evaluation_figure(found).axes
    assert [panel.get_title(loc="left") for panel in axes] == [
        "PSNR, dB, higher is better",
        "reward error / variance, lower is better",
    ]
    for panel, (_, rows) in zip(axes, found.frames.items(), strict=True):
        assert {line.get_label(): list(line.get_ydata()) for line in panel.lines} == dict(rows)
        assert all(list(line.get_xdata()) == [1, 2, 3, 4] for line in panel.lines)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the main job: a checkpoint, and an evaluation of two episodes."""
    run = tmp_path_factory.mktemp("run")
    save_pretrained(run / "checkpoints" / "000003", trained(PAIR), contexts())
    for index in range(2):
        save_episode(episode(12 + index), run / "evaluation" / f"{index:06d}.safetensors")
    return run


@pytest.fixture(scope="module")
def evaluate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    with running("worldmodel.evaluate", tmp_path_factory.mktemp("home"), "accelerator=cpu") as command:
        yield command


def test_the_command_writes_what_it_prints(evaluate: Command, run: Path, tmp_path: Path) -> None:
    status, output, errors = evaluate(
        f"checkpoint={run}", "windows=3", "context=2", "horizon=4", "samples=2", f"run={tmp_path / 'seen'}"
    )
    assert status == 0, errors
    found = json.loads((tmp_path / "seen" / "evaluation.json").read_text())
    assert (found["windows"], found["horizon"], found["context"], found["samples"]) == (2, 4, 2, 2)  # of 3, there are 2
    assert set(found["resize"].values()) == {"none"} and found["extractors"]["random motion"] == MOTION["motion"].hash
    assert found["header"]["config"]["checkpoint"] == str(run)
    rows = {
        line[:18].strip(): line[18:].split()
        for line in output.splitlines()
        if line[:18].strip() in found["by_window"]["psnr"]
    }
    for row, values in found["frames"]["psnr"].items():
        clips = found["clips"]["appearance"].get(row)
        shown = rows[row][0]
        assert shown == (f"{np.mean(values):.3f}" if clips is None else f"{clips['frechet']:.3f}")
    assert f"random motion: SHA-256 {MOTION['motion'].hash}" in output
    with Image.open(tmp_path / "seen" / "evaluation.png") as image:
        assert image.size[0] > 1000


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["horizon=30"], "error: half of the 2 episodes have 0 whole windows of 2 + 30 frames"),
        (["windows=1"], "error: windows is 1: set a whole number >= 2"),
        (["weights.vgg16=none.pth"], "error: none.pth cannot be read"),
        (["weights.lpips_alexnet=config.yaml"], "error: weights.lpips_alexnet is given without weights.alexnet"),
        (["checkpoint=nowhere"], "error: nowhere is not a checkpoint folder"),
    ],
)
def test_mistakes_are_a_line(evaluate: Command, run: Path, overrides: list[str], says: str, tmp_path: Path) -> None:
    common = [f"checkpoint={run}", "windows=3", "context=2", "horizon=4", f"run={tmp_path / 'mistaken'}"]
    outcome = evaluate(*common, *overrides)
    assert outcome.status == 2 and outcome.stderr.startswith(says), outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1 and not (tmp_path / "mistaken" / "config.yaml").exists()


def test_weights_come_in_pairs_and_with_their_hashes(tmp_path: Path) -> None:
    (tmp_path / "linear.pth").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"lpips_vgg16 is given without weights\.vgg16"):
        measures({"lpips_vgg16": str(tmp_path / "linear.pth")})
    (tmp_path / "vgg16.pth").write_bytes(b"")
    digest = sha256(tmp_path / "vgg16.pth")
    given = {"vgg16": str(tmp_path / "vgg16.pth")}
    with pytest.raises(ConfigError, match=rf"SHA-256 {digest}, and weights\.vgg16_sha256 is not set: it is not loaded"):
        measures(given)
    with pytest.raises(ConfigError, match=rf"SHA-256 {digest}, weights\.vgg16_sha256 is 12ab: it is not loaded"):
        measures({**given, "vgg16_sha256": "12ab"})
    with pytest.raises(ConfigError, match="cannot be read as weights"):  # it is looked at
        measures({**given, "vgg16_sha256": digest.upper()})
    frames, streams, hashes = measures({})
    assert list(frames) == ["psnr", "ssim"] and list(streams) == ["appearance", "motion"] and len(hashes) == 2
    assert sha256(tmp_path / "linear.pth").startswith("e3b0c442")


@pytest.mark.parametrize(("name", "context", "measured_for"), [("robot", 2, 18), ("human", 5, 25), ("car", 5, 25)])
def test_protocols_are_the_papers(name: str, context: int, measured_for: int) -> None:
    with initialize_config_module("configs", version_base="1.3"):
        evaluate = compose("evaluate", overrides=[f"protocol/evaluate={name}", "checkpoint=run"])
        train = compose("train_model", overrides=[f"protocol/train={name}", "data=data", "model=svg_prime"])
    assert (evaluate.context, evaluate.horizon, evaluate.feedback) == (context, measured_for, "pixels")
    assert (train.context, train.train.unrolling.context, train.train.window) == (context, context, context + 10)
