"""Two lines save a model and bring it back with the same predictions, or say what does not fit."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from worldmodel.build import build
from worldmodel.checkpoint import Contexts, read_checkpoint, write_checkpoint
from worldmodel.config import ModelConfig
from worldmodel.errors import CheckpointError, ConfigError
from worldmodel.pretrained import check_fits, from_pretrained, save_pretrained
from worldmodel.series import numbered, resolve
from worldmodel.spec import EnvSpec
from worldmodel.svg import SVG, channels_last

SPEC = EnvSpec("line", "reach", "box", 2, (-1.0, -1.0), (1.0, 1.0), 4, 0, (16, 16))
DENSE = ModelConfig(
    layer="dense",
    recurrence="lstm",
    features="frame",
    backbone="vgg",
    K=1.0,
    M=1.0,
    stages=((8, 1), (8, 1)),
    patch=2,
    feature=8,
    hidden=8,
    layers=2,
    latent=4,
    advance="residual",
    skips=False,
    head=8,
)
CONV = replace(DENSE, layer="conv", advance="bounded", skips=True)


def trained(config: ModelConfig = DENSE, seed: int = 0, feedback: str = "features") -> SVG:
    """A model none of whose parts is as it was made."""
    torch.manual_seed(0)
    model, generator = build(config, SPEC, feedback=feedback), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight + 0.3 * torch.randn(weight.shape, generator=generator))
        model.statistics.frame_mean.uniform_(0.3, 0.7, generator=generator)
        model.statistics.frame_std.fill_(0.2)
        model.statistics.reward_mean.fill_(-3.0)
        model.statistics.reward_std.fill_(7.0)
    return channels_last(model).eval()


def contexts() -> Contexts:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (3, 2, 3, 16, 16), dtype=torch.uint8, generator=generator)
    return Contexts(frames, 2 * torch.rand(3, 1, 2, generator=generator) - 1)


@torch.inference_mode()
def dream(model: SVG) -> tuple[Tensor, Tensor, Tensor]:
    """Frames, rewards and continues (3, 2, ...) of two steps from the contexts, z drawn."""
    start, generator = contexts(), torch.Generator().manual_seed(2)
    noise = torch.randn(3, 3, *model.noise_shape, generator=generator)
    state, steps = model.initial(start.frames, start.actions, noise=noise[:, :1]), []
    for i in range(2):
        prediction = model.imagine(state, start.actions[:, 0] / (i + 1), noise=noise[:, i + 1])
        state = prediction.state
        steps.append((model.decode(state), prediction.reward, prediction.continues))
    frames, rewards, continues = (torch.stack(values, 1) for values in zip(*steps, strict=True))
    return frames, rewards, continues


@pytest.mark.parametrize("config", [DENSE, CONV], ids=["dense", "conv"])
def test_one_checkpoint_predicts_the_same_under_both_feedbacks(config: ModelConfig, tmp_path: Path) -> None:
    save_pretrained(tmp_path / "a", trained(config), contexts())
    dreams = []
    for feedback in ("features", "pixels"):
        again = from_pretrained(tmp_path / "a", feedback=feedback)
        assert (again.config, again.spec, again.training) == (config, SPEC, False)
        dreams.append(dream(again))
        for before, after in zip(dream(trained(config, feedback=feedback)), dreams[-1], strict=True):
            assert torch.equal(before, after)
    features, pixels = dreams
    assert not torch.equal(features[1], pixels[1])
    assert features[1].std() > 0.01 and features[0].std() > 0.01  # not the same because constant


def test_a_run_folder_means_its_newest_checkpoint(tmp_path: Path) -> None:
    for number in (9, 10):
        save_pretrained(numbered(tmp_path / "checkpoints", number), trained(seed=number), contexts())
    expected, older = trained(seed=10).state_dict(), trained(seed=9).state_dict()
    weights = from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in expected.items())
    weights = from_pretrained(tmp_path / "checkpoints" / "000009").state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in older.items())


def test_a_runs_model_is_given_away_without_what_only_training_needs(tmp_path: Path) -> None:
    """As the README does it."""
    run, given = numbered(tmp_path / "checkpoints", 7), tmp_path / "given"
    save_pretrained(run, trained(), contexts(), trainer={"updates": 3})
    newest = resolve(tmp_path)
    save_pretrained(given, from_pretrained(newest), read_checkpoint(newest).contexts)
    names = {path.name for path in run.iterdir()} - {"trainer.pt"}
    assert {path.name for path in given.iterdir()} == names and "manifest.json" in names
    for name in names - {"manifest.json"}:
        assert (given / name).read_bytes() == (run / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature": 16}, r"size mismatch for encoder"),
        ({"layers": 3}, r"Missing key"),
        ({"skips": True}, r"size mismatch for decoder"),
    ],
)
def test_weights_that_do_not_fit_their_configuration_are_an_error(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model = trained()
    write_checkpoint(
        tmp_path / "a",
        model_config={**asdict(DENSE), **changes},
        spec=SPEC,
        weights=model.state_dict(),
        contexts=contexts(),
        trainer=None,
    )
    with pytest.raises(
        CheckpointError, match=rf"(?s)a: the weights do not fit config\.json \(.*{message}.*use the ver"
    ):
        from_pretrained(tmp_path / "a")


def test_a_configuration_of_another_version_is_an_error(tmp_path: Path) -> None:
    config = {**asdict(DENSE), "dropout": 0.1}
    weights = trained().state_dict()
    write_checkpoint(tmp_path / "a", model_config=config, spec=SPEC, weights=weights, contexts=contexts(), trainer=None)
    with pytest.raises(
        CheckpointError, match=r"a: config\.json: .*argument 'dropout'.*; use the version that wrote it"
    ):
        from_pretrained(tmp_path / "a")


def test_other_feedbacks_and_places_are_errors(tmp_path: Path) -> None:
    save_pretrained(tmp_path / "a", trained(), contexts())
    with pytest.raises(ConfigError, match=r"feedback is 'pixel': set one of features, pixels"):
        from_pretrained(tmp_path / "a", feedback="pixel")
    with pytest.raises(CheckpointError, match=r"b is not a checkpoint folder: it does not exist"):
        from_pretrained(tmp_path / "b")
    with pytest.raises(CheckpointError, match=r"a already exists"):
        save_pretrained(tmp_path / "a", trained(), contexts())


def test_a_model_fits_its_own_environment_only() -> None:
    check_fits(SPEC, EnvSpec.from_json(SPEC.to_json()), "runs/a")
    other = replace(SPEC, action_size=3, action_low=(-1.0,) * 3, action_high=(1.0,) * 3)
    with pytest.raises(CheckpointError) as raised:
        check_fits(SPEC, other, "runs/a")
    message = str(raised.value)
    assert "the model in runs/a was trained on another environment: action_size 2 (model) against 3 (env" in message
    assert "action_low [-1.0, -1.0] (model) against [-1.0, -1.0, -1.0] (environment)" in message
    differing, _, mend = message.partition("; give ")
    assert "env.action_repeat=" in mend
    assert not any(name in differing for name in ("action_repeat", "frame_size", "task", "time_limit"))
    with pytest.raises(CheckpointError, match=r"environment: frame_size \[16, 16\] \(model\) against \[16, 32\] \(env"):
        check_fits(SPEC, replace(SPEC, frame_size=(16, 32)), "runs/a")
    with pytest.raises(CheckpointError, match=r"\(episodes\); give episodes of the environment it was trained on, or"):
        check_fits(SPEC, replace(SPEC, frame_size=(16, 32)), "runs/a", "episodes")


@torch.inference_mode()
def test_the_model_that_comes_with_the_project_imagines_in_a_few_megabytes() -> None:
    folder = Path(__file__).parent.parent / "pretrained" / "cartpole"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 10_000_000
    model = from_pretrained(folder)
    assert (model.spec.env, model.spec.task, model.spec.frame_size) == ("cartpole", "swingup", (64, 64))
    contexts = read_checkpoint(folder).contexts
    k = 3  # of five frames: the first of which is not told how things move
    prediction = model.imagine(
        model.initial(contexts.frames[:, :k], contexts.actions[:, : k - 1]), contexts.actions[:, k - 1]
    )
    assert prediction.reward.min() >= -0.5 and prediction.reward.max() <= 8.5  # at most 1 a simulator step
    before, after = contexts.frames[:, k - 1] / 255, contexts.frames[:, k] / 255
    assert (model.decode(prediction.state) - after).square().mean() < (before - after).square().mean() / 2
