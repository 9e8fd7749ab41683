"""The numbers of the published model, of one small enough to count by hand, and the command that prints them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from omegaconf import OmegaConf

from worldmodel.config import ModelConfig
from worldmodel.size import summarise
from worldmodel.summary import table

ROOT = Path(__file__).resolve().parent.parent

# One stage of one block on frames of 2x2, which a dense network sees as 1x1. Hidden widths are 8.
TINY = ModelConfig(
    layer="dense",
    recurrence="lstm",
    features="frame",
    backbone="vgg",
    K=1,
    M=1,
    stages=((8, 1),),
    patch=1,
    feature=4,
    hidden=8,
    layers=1,
    latent=2,
    advance="residual",
    skips=False,
    head=8,
)


def svg_prime(K: float, M: float) -> ModelConfig:
    settings = OmegaConf.to_container(OmegaConf.load(ROOT / "configs" / "model" / "svg_prime.yaml"))
    return ModelConfig(**{**cast(dict[str, Any], settings), "K": K, "M": M})


@pytest.mark.parametrize(("K", "M", "millions"), [(1, 1, 83.0), (2, 2, 325), (5, 3, 796)])
def test_svg_prime_is_as_large_as_published(K: int, M: int, millions: float) -> None:
    """With z of 10 and actions of 4, heads excluded."""
    config = svg_prime(K, M)
    assert config.latent == 10
    total = summarise(config, 4, (64, 64))["total without heads"]
    assert total["parameters"] / 1e6 == pytest.approx(millions, rel=0.02)


def test_the_work_of_svg_prime() -> None:
    rows = summarise(svg_prime(1, 1), 4, (64, 64))
    work = {name: row["multiply_adds"] / 1e9 for name, row in rows.items()}
    assert work["encoder"] == pytest.approx(0.8, rel=0.05)
    assert work["decoder"] == pytest.approx(1.2, rel=0.05)
    assert work["frame_predictor"] + work["posterior"] + work["prior"] == pytest.approx(5.0, rel=0.05)
    assert work["posterior"] == work["prior"]


def test_work_grows_with_the_frame_and_parameters_do_not() -> None:
    """A convolutional model's, heads aside: they read whole maps."""
    small, large = (summarise(svg_prime(0.125, 0.0625), 4, (side, 2 * side)) for side in (16, 32))
    for name in ("encoder", "decoder", "frame_predictor", "posterior", "prior", "total without heads"):
        assert large[name]["parameters"] == small[name]["parameters"]
        assert large[name]["multiply_adds"] == 4 * small[name]["multiply_adds"]


def test_a_model_counted_by_hand() -> None:
    lstm, lstm_work = 16 * 32 + 32, 16 * 32  # (input 8 and hidden 8) to four gates of 8
    gaussian = {
        "parameters": (4 * 8 + 8) + lstm + 2 * (8 * 2 + 2),
        "multiply_adds": 4 * 8 + lstm_work + 2 * 8 * 2,
    }
    head = {  # two features of 4 and an action to 8, 8, 1; two normalisations
        "parameters": (9 * 8 + 8) + (8 * 8 + 8) + 2 * 2 * 8 + (8 + 1),
        "multiply_adds": 9 * 8 + 8 * 8 + 8,
    }
    expected = {
        # 3x3 kernels without bias at four positions, a normalisation, 8 to the feature
        "encoder": {"parameters": 3 * 8 * 9 + 2 * 8 + (8 * 4 + 4), "multiply_adds": 4 * 3 * 8 * 9 + 8 * 4},
        "features": {"parameters": 0, "multiply_adds": 0},  # the embedding itself
        "decoder": {"parameters": (4 * 8 + 8) + (8 * 3 * 9 + 3), "multiply_adds": 4 * 8 + 4 * 8 * 3 * 9},
        # feature 4, latent 2 and action 1 to 8; back to a feature
        "frame_predictor": {"parameters": (7 * 8 + 8) + lstm + (8 * 4 + 4), "multiply_adds": 7 * 8 + lstm_work + 8 * 4},
        "posterior": gaussian,
        "prior": gaussian,
        "reward": head,
        "continuation": head,
        "total without heads": {"parameters": 2411, "multiply_adds": 3544},
    }
    assert summarise(TINY, 1, (2, 2)) == expected


def test_features_of_two_frames_counted_by_hand() -> None:
    """Two embeddings of 4 and an action to 8 (the hidden width), 8, 4; and from 4 to 8, 4 back."""
    found = summarise(replace(TINY, recurrence="none", features="pair"), 1, (2, 2))["features"]
    up, down = [9 * 8, 8 * 8, 8 * 4], [4 * 8, 8 * 4]
    others = (8 + 8 + 4) + (8 + 4) + 3 * 2 * 8  # biases, and three normalisations
    assert found == {"parameters": sum(up + down) + others, "multiply_adds": sum(up + down)}


def test_the_table_is_in_millions() -> None:
    shown = table({"encoder": {"parameters": 2_031_900, "multiply_adds": 780_926_976}})
    header, encoder = shown.splitlines()
    assert header.split() == ["parameters", "multiply-adds"]
    assert encoder.split() == ["encoder", "2.032", "M", "780.93", "M"]


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "worldmodel.summary", *overrides]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_the_command_prints_json_and_leaves_nothing_behind(tmp_path: Path) -> None:
    outcome = run(tmp_path, "model=svg_prime", "model.K=1", "model.M=1", "json=true")
    assert outcome.returncode == 0, outcome.stderr
    assert json.loads(outcome.stdout) == summarise(svg_prime(1, 1), 4, (64, 64))
    assert list(tmp_path.iterdir()) == []


def test_the_command_names_the_setting_to_mend(tmp_path: Path) -> None:
    outcome = run(tmp_path, "model=svg_prime", "size=[60,64]")
    assert outcome.returncode == 2 and outcome.stdout == ""
    assert outcome.stderr.strip() == "error: frames are 60x64: this model needs sides that are multiples of 8"


def test_a_policy_and_critics_are_counted_where_there_are_any() -> None:
    """Of 4 features and an action, to 8, 8 and 1; the target critics are not trained, and not counted."""
    rows = summarise(replace(TINY, critics=2), 1, (2, 2))
    rest = (8 * 8 + 8) + 2 * 2 * 8 + (8 + 1)
    assert rows["actor_critic.policy"] == {"parameters": (4 * 8 + 8) + rest, "multiply_adds": 4 * 8 + 8 * 8 + 8}
    assert rows["actor_critic.critics"] == {
        "parameters": 2 * ((5 * 8 + 8) + rest),
        "multiply_adds": 2 * (5 * 8 + 8 * 8 + 8),
    }
    assert rows["total without heads"] == summarise(TINY, 1, (2, 2))["total without heads"]
