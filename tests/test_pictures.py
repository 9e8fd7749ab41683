"""Pictures show the right pixels at the right places."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from worldmodel.errors import ConfigError, DataError
from worldmodel.pictures.curve import curve_figure, learning_curve
from worldmodel.pictures.errors import draw_errors, errors_figure
from worldmodel.pictures.video import Film, VideoWriter, write_gif, write_video

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


def test_a_film_is_drawn_as_it_is_written(tmp_path: Path) -> None:
    frames, drawn = quarters(5, 16, 24), []

    def draw(i: int) -> np.ndarray:
        drawn.append(i)
        return frames[i]

    film = Film(5, draw)
    write_video(tmp_path / "clip.mp4", film, fps=5)
    assert drawn == [0, 1, 2, 3, 4] and len(film) == 5
    np.testing.assert_allclose(decoded(tmp_path / "clip.mp4")[0][:, 4::8, 6::12], frames[:, 4::8, 6::12], atol=8)
    write_gif(tmp_path / "drawn.gif", film, fps=5)
    write_gif(tmp_path / "whole.gif", frames, fps=5)
    assert (tmp_path / "drawn.gif").read_bytes() == (tmp_path / "whole.gif").read_bytes()
    with pytest.raises(IndexError, match="frame 5 of 5"):
        film[5]


def test_a_video_that_fails_leaves_nothing_and_sizes_do_not_change(tmp_path: Path) -> None:
    complaint = r"a frame is uint8 \(8, 16, 3\): give uint8 \(h, w, 3\), all of one size"
    with pytest.raises(DataError, match=complaint), VideoWriter(tmp_path / "clip.mp4", fps=5) as writer:
        writer.add(np.zeros((8, 8, 3), np.uint8))
        writer.add(np.zeros((8, 16, 3), np.uint8))
    assert not list(tmp_path.iterdir())


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


def test_a_gif_repeats_the_frames_that_were_written(tmp_path: Path) -> None:
    frames = quarters(11, 16, 24)
    write_gif(tmp_path / "clip.gif", frames, fps=12.5)
    with Image.open(tmp_path / "clip.gif") as image:
        assert (image.n_frames, image.size, image.info["loop"], image.info["duration"]) == (11, (24, 16), 0, 80)
        shown = []
        for i in range(11):
            image.seek(i)
            shown.append(np.asarray(image.convert("RGB")))
    assert np.abs(np.stack(shown).astype(int) - frames).max() <= 12  # of one palette


def test_a_gif_with_impossible_settings_is_an_error(tmp_path: Path) -> None:
    for settings, complaint in (({"fps": 0}, "fps is 0"), ({"fps": 5, "colours": 1}, r"whole number in 2\.\.256")):
        with pytest.raises(ConfigError, match=complaint):
            write_gif(tmp_path / "clip.gif", quarters(2, 8, 8), **settings)
    with pytest.raises(DataError, match="give uint8"):
        write_gif(tmp_path / "clip.gif", quarters(2, 8, 8)[..., :1], fps=5)
    assert not list(tmp_path.iterdir())


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
