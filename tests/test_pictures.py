"""Pictures show the right pixels at the right places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from worldmodel.errors import ConfigError, DataError
from worldmodel.pictures.curve import curve_figure, learning_curve
from worldmodel.pictures.dream import GAP, LABEL_HEIGHT, LABEL_WIDTH, dream, strip
from worldmodel.pictures.errors import draw_errors, errors_figure
from worldmodel.pictures.video import (
    BACKGROUND,
    CAPTION_HEIGHT,
    CONTEXT,
    IMAGINED,
    SEPARATOR,
    TIMELINE,
    columns,
    write_video,
)
from worldmodel.spec import EnvSpec
from worldmodel.state import Skips, State
from worldmodel.svg import Prediction

RED, GREEN, BLUE, GREY = (220, 30, 30), (30, 200, 30), (30, 30, 220), (128, 128, 128)


def quarters(t: int, h: int, w: int) -> np.ndarray:
    """Red, green over blue, grey; the grey grows lighter over time."""
    frames = np.empty((t, h, w, 3), np.uint8)
    top, left = h // 2, w // 2
    frames[:, :top, :left], frames[:, :top, left:] = RED, GREEN
    frames[:, top:, :left] = BLUE
    frames[:, top:, left:] = np.linspace(20, 235, t).astype(np.uint8)[:, None, None, None]
    return frames


def decoded(path: Path) -> tuple[np.ndarray, float]:
    """Frames (t, h, w, 3) uint8 and frames per second of a video file."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
        rate = float(stream.average_rate)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]), rate


@pytest.mark.parametrize("fps", [25, 12.5])
def test_a_video_decodes_to_the_frames_that_were_written(tmp_path: Path, fps: float) -> None:
    frames = quarters(11, 16, 24)
    write_video(tmp_path / "clip.mp4", frames, fps=fps, scale=3)
    shown, rate = decoded(tmp_path / "clip.mp4")
    assert shown.shape == (11, 48, 72, 3) and rate == fps
    # The middle of each quarter, before and after enlargement: enlarged by whole squares, in the same place and order.
    np.testing.assert_allclose(shown[:, 12::24, 18::36], frames[:, 4::8, 6::12], atol=8)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_an_odd_video_gains_a_row_and_a_column_of_its_edge(tmp_path: Path) -> None:
    write_video(tmp_path / "odd.mp4", quarters(3, 15, 33), fps=10)
    shown, _ = decoded(tmp_path / "odd.mp4")
    assert shown.shape == (3, 16, 34, 3)
    np.testing.assert_allclose(shown[-1, -1, -1], [235] * 3, atol=8)


def test_a_video_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"an older, longer file" * 10_000)
    write_video(path, quarters(2, 16, 16), fps=5)
    assert len(decoded(path)[0]) == 2


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((2, 3, 8, 8), np.uint8),
    ],
)
def test_a_video_of_anything_but_frames_is_an_error(tmp_path: Path, frames: np.ndarray) -> None:
    with pytest.raises(DataError, match="give uint8"):
        write_video(tmp_path / "clip.mp4", frames, fps=5)
    assert not list(tmp_path.iterdir())


def test_a_video_with_impossible_settings_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fps is 0"):
        write_video(tmp_path / "clip.mp4", quarters(2, 8, 8), fps=0)
    with pytest.raises(ConfigError, match="scale is 0"):
        write_video(tmp_path / "clip.mp4", quarters(2, 8, 8), fps=5, scale=0)


def test_columns_show_what_happened_what_was_imagined_and_the_difference() -> None:
    real = np.full((4, 8, 10, 3), 200, np.uint8)
    imagined = real.copy()
    imagined[2:, :4] = 240
    imagined[2:, 4:] = 150
    shown = columns(real, imagined, context=2, scale=5)
    assert shown.shape == (4, CAPTION_HEIGHT + 40 + TIMELINE, 3 * 50 + 2 * SEPARATOR, 3) and shown.dtype == np.uint8
    body = shown[:, CAPTION_HEIGHT : CAPTION_HEIGHT + 40]
    starts = [i * (50 + SEPARATOR) for i in range(3)]
    left, middle, right = (body[:, :, start : start + 50] for start in starts)
    assert (left == 200).all()
    assert (middle[:2] == 200).all() and (middle[2:, :20] == 240).all() and (middle[2:, 20:] == 150).all()
    assert (right[:2] == 0).all() and (right[2:, :20] == 40).all() and (right[2:, 20:] == 50).all()
    assert (body[:, :, 50 : 50 + SEPARATOR] == BACKGROUND).all()


def test_columns_mark_where_the_context_ends() -> None:
    frames = quarters(4, 32, 32)
    shown = columns(frames, frames, context=3, scale=4)
    middle = shown[:, :CAPTION_HEIGHT, 128 + SEPARATOR : 256 + SEPARATOR]

    def has(pixels: np.ndarray, colour: tuple[int, int, int]) -> bool:
        return bool((pixels == colour).all(-1).any())

    assert [has(frame, CONTEXT) for frame in middle] == [True, True, True, False]
    assert [has(frame, IMAGINED) for frame in middle] == [False, False, False, True]
    timeline = shown[:, -1]
    width, quarter = timeline.shape[1], timeline.shape[1] // 4
    assert [(frame == CONTEXT).all(-1).sum() // (quarter - 1) for frame in timeline] == [1, 2, 3, 3]
    assert (timeline[:, 3 * width // 4] == 255).all()
    assert has(timeline[3], IMAGINED) and not has(timeline[2], IMAGINED)
    assert (shown[:, :CAPTION_HEIGHT, :128].max((1, 2, 3)) > 200).all()  # the left caption is there throughout


def test_columns_that_do_not_fit_are_errors() -> None:
    frames = quarters(4, 8, 8)
    with pytest.raises(DataError, match=r"imagined frames are uint8 \(3, 8, 8, 3\): give both as uint8 \(4, 8, 8, 3\)"):
        columns(frames, frames[:3], context=1)
    with pytest.raises(DataError, match="a context of 5 frames does not fit 4"):
        columns(frames, frames, context=5)


EVALUATIONS = [
    {"env_frames": 40_000, "returns": [300.0, 420.0, 350.0]},
    {"env_frames": 5_000, "returns": [90.0, 130.0]},
    {"env_frames": 100_000, "returns": [610.0, 700.0, 650.0], "seconds": 12},
]


def test_a_learning_curve_is_a_picture_of_known_size(tmp_path: Path) -> None:
    learning_curve(tmp_path / "curve.png", EVALUATIONS, random_return=60.0)
    with Image.open(tmp_path / "curve.png") as image:
        assert image.size == (960, 600)
        pixels = np.asarray(image.convert("RGB")).astype(int)
    blue = (pixels[..., 2] - pixels[..., 0]) > 60
    assert blue.any(0).sum() > 500  # the line of the mean spans the plot
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_a_learning_curve_draws_means_episodes_and_the_random_policy_in_order() -> None:
    (axes,) = curve_figure(EVALUATIONS, random_return=60.0).axes
    random_line, mean_line = axes.lines
    assert mean_line.get_xydata().tolist() == [[5_000, 110], [40_000, 1070 / 3], [100_000, 1960 / 3]]
    assert list(random_line.get_ydata()) == [60, 60]
    dots = axes.collections[0].get_offsets().tolist()
    assert sorted(dots) == sorted([r["env_frames"], value] for r in EVALUATIONS for value in r["returns"])


@pytest.mark.parametrize(
    "evaluations", [[], [{"env_frames": 5}], [{"returns": [1.0]}], [{"env_frames": 5, "returns": []}]]
)
def test_a_curve_of_nothing_is_an_error(tmp_path: Path, evaluations: list) -> None:
    with pytest.raises(DataError):
        learning_curve(tmp_path / "curve.png", evaluations, random_return=0.0)


class Counter:
    """The feature is a grey level that each action adds to; decodes to a frame of it, its left half twice as bright."""

    spec = EnvSpec("grey", "grey", "box", 1, (-1.0,), (1.0,), 1, 0, (6, 8))
    noise_shape = (2,)
    device = torch.device("cpu")

    def initial(self, frames: Tensor, actions: Tensor, *, noise: Tensor | None = None) -> State:
        b, k, c, h, w = frames.shape
        assert (b, c, h, w) == (1, 3, 6, 8) and actions.shape == (1, k - 1, 1) and frames.dtype == torch.uint8
        self.given = k
        feature = frames[:, -1].float().mean((1, 2, 3))[:, None] / 255
        return State(feature, Skips((), torch.arange(1)), (), (), ())

    def observe(self, state: State, action: Tensor, frame: Tensor, *, noise: Tensor | None = None) -> State:
        raise AssertionError("open loop: nothing is observed after the context")

    def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction:
        drift = 0.0 if noise is None else noise.sum()
        return Prediction(replace(state, feature=state.feature + action + drift), torch.zeros(1), torch.ones(1))

    def decode(self, state: State) -> Tensor:
        frame = state.feature[..., None, None].expand(1, 3, 6, 8).clone()
        frame[..., :4] *= 2
        return frame


def test_a_dream_shows_the_context_then_what_the_true_actions_lead_to() -> None:
    model = Counter()
    frames = np.full((5, 6, 8, 3), 51, np.uint8)  # 0.2
    frames[0] = 255
    actions = np.array([[9.0], [0.2], [0.2], [0.2]], np.float32)
    shown = dream(model, frames, actions, context=2)
    assert shown.shape == frames.shape and shown.dtype == np.uint8 and model.given == 2
    np.testing.assert_array_equal(shown[:2], frames[:2])
    assert shown[2:, :, 4:].reshape(3, -1).T.tolist()[0] == [102, 153, 204]  # 0.4, 0.6, 0.8 of 255
    assert shown[2:, :, :4].reshape(3, -1).T.tolist()[0] == [204, 255, 255]  # twice that, clipped


def test_a_dream_takes_its_own_noise_at_every_step() -> None:
    frames, actions = np.full((4, 6, 8, 3), 51, np.uint8), np.zeros((3, 1), np.float32)
    shown = dream(Counter(), frames, actions, context=1, noise=torch.tensor([[0.1, 0.1], [0.0, 0.2], [0.0, 0.0]]))
    assert shown[:, 0, -1, 0].tolist() == [51, 102, 153, 153]


def test_a_dream_that_does_not_fit_is_an_error() -> None:
    frames, actions = np.zeros((4, 6, 8, 3), np.uint8), np.zeros((3, 1), np.float32)
    with pytest.raises(DataError, match=r"3 actions go with uint8 \(4, h, w, 3\)"):
        dream(Counter(), frames[:3], actions, context=1)
    with pytest.raises(DataError, match="a context of 4 frames leaves none of 4 to imagine"):
        dream(Counter(), frames, actions, context=4)
    with pytest.raises(DataError, match=r"3 imagined steps need \(3, 2\)"):
        dream(Counter(), frames, actions, context=1, noise=torch.zeros(3, 1))


def test_a_strip_shows_evenly_spaced_frames_and_where_the_context_ends(tmp_path: Path) -> None:
    real = np.repeat(np.arange(21, dtype=np.uint8) * 10, 8 * 16 * 3).reshape(21, 8, 16, 3)
    imagined = real.copy()
    imagined[6:] += 7
    strip(tmp_path / "strip.png", real, imagined, 6, columns=5, scale=3)
    with Image.open(tmp_path / "strip.png") as image:
        shown = np.asarray(image)
    assert shown.shape == (LABEL_HEIGHT + 3 * (24 + GAP), LABEL_WIDTH + 5 * (48 + GAP), 3)
    middles = LABEL_WIDTH + GAP + np.arange(5) * (48 + GAP) + 24
    tops = LABEL_HEIGHT + np.arange(3) * (24 + GAP) + 12
    cells = shown[tops[:, None], middles, 0].tolist()
    assert cells == [[0, 50, 100, 150, 200], [0, 50, 107, 157, 207], [0, 0, 7, 7, 7]]  # frames 0, 5, 10, 15, 20
    lines = (shown == CONTEXT).all((0, 2)).nonzero()[0]
    assert lines.tolist() == list(range(middles[2] - 24 - GAP, middles[2] - 24))


def test_a_short_strip_shows_every_frame(tmp_path: Path) -> None:
    frames = quarters(3, 8, 8)
    strip(tmp_path / "strip.png", frames, frames, 3)
    with Image.open(tmp_path / "strip.png") as image:
        assert image.size == (LABEL_WIDTH + 3 * (16 + GAP), LABEL_HEIGHT + 3 * (16 + GAP))


def test_a_strip_of_one_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="columns is 1"):
        strip(tmp_path / "strip.png", quarters(3, 8, 8), quarters(3, 8, 8), 2, columns=1)


ERRORS = {
    "good data": {"reward": [0.5, None, 1.5, 2.0], "frame": [0.1, 0.2, 0.3, None]},
    "its own data": {"reward": [0.6, 0.7, 0.8, 0.9], "frame": [None, None, None, None]},
}


def test_errors_are_a_panel_a_quantity_and_a_line_a_model_with_gaps() -> None:
    reward, frame = errors_figure(ERRORS).axes
    assert [axes.get_title() for axes in (reward, frame)] == ["reward", "frame"]
    for axes in (reward, frame):
        assert axes.get_xlabel() == "imagined steps" and axes.get_ylim()[0] == 0
        mean, *lines = axes.lines
        assert list(mean.get_ydata()) == [1, 1]  # as good as the mean
        assert [line.get_label() for line in lines] == list(ERRORS)
        assert all(list(line.get_xdata()) == [1, 2, 3, 4] for line in lines)
    gap = float("nan")
    np.testing.assert_array_equal(reward.lines[1].get_ydata(), [0.5, gap, 1.5, 2.0])
    np.testing.assert_array_equal(reward.lines[2].get_ydata(), [0.6, 0.7, 0.8, 0.9])
    np.testing.assert_array_equal(frame.lines[1].get_ydata(), [0.1, 0.2, 0.3, gap])
    np.testing.assert_array_equal(frame.lines[2].get_ydata(), [gap] * 4)
    assert [text.get_text() for text in reward.get_legend().get_texts()] == list(ERRORS)


def test_errors_are_drawn_into_a_file_alone(tmp_path: Path) -> None:
    draw_errors(tmp_path / "errors.png", ERRORS)
    with Image.open(tmp_path / "errors.png") as image:
        assert image.size == (2 * 504, 432)
    assert [path.name for path in tmp_path.iterdir()] == ["errors.png"]


@pytest.mark.parametrize("errors", [{}, {"good data": {}}])
def test_no_errors_are_an_error(tmp_path: Path, errors: dict) -> None:
    with pytest.raises(DataError, match="there are no errors to draw: measure a model at least"):
        draw_errors(tmp_path / "errors.png", errors)
