"""A run's end: its numbers in a table, its learning curve, and its model's dream."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from agents.closing import draw_curve, draw_dream, returns_table
from worldmodel.build import build
from worldmodel.config import ModelConfig
from worldmodel.episode import Episode
from worldmodel.errors import DataError
from worldmodel.pictures.video import CAPTION_HEIGHT, SEPARATOR
from worldmodel.spec import EnvSpec
from worldmodel.svg import SVG

SPEC = EnvSpec("line", "reach", "box", 1, (-1.0,), (1.0,), 1, 0, (16, 16))
COLOUR = (200, 60, 120)


def model() -> SVG:
    torch.manual_seed(0)
    sizes = {"patch": 1, "feature": 8, "hidden": 8, "layers": 1, "latent": 2, "head": 8}
    config = ModelConfig(
        layer="dense",
        recurrence="lstm",
        features="frame",
        backbone="vgg",
        K=1,
        M=1,
        stages=((8, 1),),
        advance="residual",
        skips=False,
        **sizes,
    )
    return build(config, SPEC).eval()


def episode(length: int) -> Episode:
    """In frames of one colour."""
    return Episode(
        frames=np.tile(np.array(COLOUR, np.uint8), (length + 1, 16, 16, 1)),
        actions=np.zeros((length, 1), np.float32),
        rewards=np.zeros(length, np.float32),
        terminated=False,
        truncated=True,
        spec=SPEC,
        seed=0,
        actor="planner",
    )


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_the_table_has_mean_spread_and_count_of_each_policy() -> None:
    table = returns_table({"random policy": [1.0, 3.0], "planner": [-2.0, -2.0, 400.0, 4.0]})
    header, chance, planned = (line.split() for line in table.splitlines())
    assert header == ["mean", "std", "min", "max", "episodes"]
    assert chance == ["random", "policy", "2.0", "1.0", "1.0", "3.0", "2"]
    assert planned == ["planner", "100.0", "173.2", "-2.0", "400.0", "4"]  # deviations 102, 102, 300, 96
    assert len({len(line) for line in table.splitlines()}) == 1


def test_the_video_shows_the_whole_episode_and_the_given_frames_in_each_column(tmp_path: Path) -> None:
    made = draw_dream(tmp_path, model(), episode(6), context=3)
    assert made == [tmp_path / "dream.mp4", tmp_path / "dream.png"]
    with av.open(tmp_path / "dream.mp4") as container:
        shown = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert len(shown) == 7
    happened, imagined, difference = (
        shown[:, CAPTION_HEIGHT + 24, column * (48 + SEPARATOR) + 24] for column in range(3)
    )
    np.testing.assert_allclose(happened, [COLOUR] * 7, atol=8)
    np.testing.assert_allclose(imagined[:3], [COLOUR] * 3, atol=8)
    np.testing.assert_allclose(difference[:3], 0, atol=8)
    assert np.abs(imagined[3:] - np.float32(COLOUR)).max(-1).min() > 16  # it has learned nothing
    assert pixels(tmp_path / "dream.png").shape[1] > 7 * 2 * 16


def test_an_episode_shorter_than_the_context_is_shown_too(tmp_path: Path) -> None:
    draw_dream(tmp_path, model(), episode(1), context=5)
    with av.open(tmp_path / "dream.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == 2


def write(folder: Path, *records: dict) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


CHANCE = {"kind": "random_policy", "env_frames": 0, "returns": [9.0, 11.0], "return_mean": 10.0}
EVALUATION = {"kind": "evaluation", "env_frames": 400, "returns": [20.0, 30.0], "return_mean": 25.0}


def test_the_curve_is_drawn_from_the_records(tmp_path: Path) -> None:
    write(tmp_path, CHANCE, {"kind": "episode", "env_frames": 400}, EVALUATION)
    assert draw_curve(tmp_path) == tmp_path / "learning_curve.png"
    one = pixels(tmp_path / "learning_curve.png")
    assert one.shape[:2] == (600, 960) and one.std() > 0
    write(tmp_path, CHANCE, EVALUATION, {**EVALUATION, "env_frames": 800})
    draw_curve(tmp_path)
    assert not np.array_equal(one, pixels(tmp_path / "learning_curve.png"))


@pytest.mark.parametrize("records", [[], [CHANCE], [EVALUATION]])
def test_without_evaluations_there_is_no_curve(tmp_path: Path, records: list[dict]) -> None:
    write(tmp_path, *records)
    with pytest.raises(DataError, match="has no evaluation yet"):
        draw_curve(tmp_path)
    assert not (tmp_path / "learning_curve.png").exists()
