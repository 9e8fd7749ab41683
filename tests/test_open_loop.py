"""What happened and what was imagined: the right frames in the right places, on sheets and in films."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from dreaming import BOX, CHOICE, CONV, PAIR, Counter, trained

from worldmodel.episode import Episode
from worldmodel.errors import ConfigError, DataError
from worldmodel.pictures.open_loop import SPREAD_LEVELS, OpenLoop, coloured_spread, imagine_open_loop
from worldmodel.pictures.reel import MARGIN, open_loop_film
from worldmodel.pictures.sheet import GAP, LABEL_HEIGHT, LABEL_WIDTH, open_loop_figure, sheet_of
from worldmodel.pictures.signals import HEIGHT, Span, signals_image
from worldmodel.pictures.video import (
    BACKGROUND,
    CAPTION_HEIGHT,
    CONTEXT,
    IMAGINED,
    SEPARATOR,
    TEXT,
    TIMELINE,
    write_video,
)
from worldmodel.pixels import pixels
from worldmodel.spec import EnvSpec

STEP = 10  # grey levels from a frame to the next


def episode(length: int = 8, spec: EnvSpec = BOX) -> Episode:
    """Frame i is of grey level 10 i; reward i is i."""
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (length, spec.action_size)).astype(np.float32)
    if spec.action_kind == "discrete":
        actions = np.eye(spec.action_size, dtype=np.float32)[actions.argmax(1)]
    return Episode(
        frames=np.broadcast_to(
            (STEP * np.arange(length + 1, dtype=np.uint8))[:, None, None, None], (length + 1, *spec.frame_size, 3)
        ).copy(),
        actions=actions,
        rewards=np.arange(length, dtype=np.float32),
        terminated=False,
        truncated=True,
        spec=spec,
        seed=0,
        actor="random",
    )


def indexed(t: int = 7, context: int = 2, samples: int = 2, size: tuple[int, int] = (6, 8)) -> OpenLoop:
    """What happened is frame number i in grey level 10 i; the mean is 1 above it, and sample n is n + 1 above."""
    real = np.broadcast_to((STEP * np.arange(t + 1, dtype=np.uint8))[:, None, None, None], (t + 1, *size, 3)).copy()

    def above(by: int) -> np.ndarray:
        frames = real.copy()
        frames[context:] += np.uint8(by)
        return frames

    rewards = np.arange(t, dtype=np.float32)
    return OpenLoop(
        real=real,
        actions=np.linspace(-1, 1, t, dtype=np.float32)[:, None],
        rewards=rewards,
        imagined=above(1),
        imagined_rewards=rewards + 0.5,
        samples=np.stack([above(i + 2) for i in range(samples)]) if samples else np.zeros((0, *real.shape), np.uint8),
        sample_rewards=np.zeros((samples, t), np.float32),
        context=context,
        discrete=False,
    )


def greys(frames: np.ndarray) -> list[int]:
    """Of frames that are of one grey level each."""
    assert (frames == frames[:, :1, :1, :1]).all()
    return frames[:, 0, 0, 0].tolist()


def test_given_frames_are_shown_and_then_what_the_actions_lead_to() -> None:
    model, played = Counter(), episode()
    found = imagine_open_loop(model, played, context=3, samples=2, start=1)
    assert greys(found.real) == [STEP * i for i in range(1, 9)]
    assert greys(found.imagined) == [10, 20, 30, 31, 32, 33, 34, 35]  # the last given frame, and the steps since
    assert found.samples.shape == (2, 8, 64, 64, 3) and greys(found.samples[1]) == greys(found.imagined)
    np.testing.assert_array_equal(found.actions, played.actions[1:])
    np.testing.assert_array_equal(found.rewards, played.rewards[1:])
    assert np.isnan(found.imagined_rewards[:2]).all() and np.isnan(found.sample_rewards[:, :2]).all()
    np.testing.assert_allclose(found.imagined_rewards[2:], played.actions[3:].mean(1), atol=1e-6)
    assert model.calls["initial"] == [1] and model.calls["imagine"] == [3] * 5  # the context is filtered once


@pytest.mark.parametrize("model", [trained(PAIR), trained(CONV, CHOICE, "pixels")], ids=["pair", "pixels"])
def test_the_mean_takes_each_zs_mean_and_samples_draw_it_from_a_seed(model: torch.nn.Module) -> None:
    played = episode(6, model.spec)
    found, again, other = (imagine_open_loop(model, played, context=2, samples=3, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(found.samples, again.samples)
    np.testing.assert_array_equal(found.imagined, other.imagined)
    assert (found.samples != other.samples).any() and (found.samples[0] != found.samples[1]).any()
    frames = torch.from_numpy(played.frames).permute(0, 3, 1, 2)[None]
    actions = torch.from_numpy(played.actions)[None]
    with torch.inference_mode():
        state = model.initial(frames[:, :2], actions[:, :1])
        for i in range(1, 6):
            prediction = model.imagine(state, actions[:, i])
            state = prediction.state
            drawn = pixels(model.decode(state))[0].astype(int)
            assert np.abs(found.imagined[i + 1] - drawn).max() <= 1  # rows of batches of other sizes round otherwise
            assert found.imagined_rewards[i] == pytest.approx(prediction.reward.item(), abs=1e-4)


def test_a_horizon_ends_it_earlier() -> None:
    found = imagine_open_loop(Counter(), episode(), context=2, horizon=3)
    assert len(found.real) == len(found.imagined) == 5 and len(found.rewards) == 4 and len(found.samples) == 0


@pytest.mark.parametrize(
    ("settings", "kind", "complaint"),
    [
        ({"context": 9}, DataError, "9 frames from frame 0 on leave 0 of 8 decisions .* set an earlier start, or a sh"),
        ({"context": 5, "horizon": 9}, DataError, "leave 4 of 8 decisions to imagine, 9 are wanted: set horizon <= 4"),
        ({"context": 2, "start": 7}, DataError, "from frame 7 on leave 0 of 8"),
        ({"context": 0}, ConfigError, "context is 0: set a whole number >= 1"),
        ({"context": 2, "horizon": 0}, ConfigError, "horizon is 0: set a whole number >= 1"),
        ({"context": 2, "samples": -1}, ConfigError, "samples is -1: set a whole number >= 0"),
    ],
)
def test_a_rollout_that_does_not_fit_is_an_error(settings: dict, kind: type[Exception], complaint: str) -> None:
    with pytest.raises(kind, match=complaint):
        imagine_open_loop(Counter(), episode(), **settings)


def test_difference_and_spread_are_of_each_pixel() -> None:
    rollout = indexed(samples=2)
    assert greys(rollout.difference) == [0, 0, 1, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(rollout.spread[:, 0, 0], [0, 0] + [0.5] * 6)  # of 2 and 3
    black, _ = coloured_spread(rollout)[[0, 2], 0, 0]
    assert black.max() <= 4
    wide = indexed(samples=2)
    wide.samples[0, -1], wide.samples[1, -1] = 0, 2 * SPREAD_LEVELS + 20
    assert coloured_spread(wide)[-1].min((0, 1)).max() > 240
    assert (indexed(samples=0).spread == 0).all()


def test_a_part_ends_earlier() -> None:
    part, whole = indexed().part(4), indexed().part(99)
    assert greys(part.real) == [0, 10, 20, 30] and greys(part.samples[1]) == [0, 10, 23, 33]
    assert len(part.actions) == len(part.rewards) == len(part.imagined_rewards) == 3 and len(whole.real) == 8


def test_a_sheet_has_time_to_the_right_and_marks_where_the_context_ends() -> None:
    rollout = indexed(t=8, context=3)
    shown, span = sheet_of(rollout, 5, 3)  # every second of nine
    rows, columns = 6, 5
    assert shown.shape == (LABEL_HEIGHT + rows * (18 + GAP), LABEL_WIDTH + columns * (24 + GAP), 3)
    middles = LABEL_WIDTH + GAP + np.arange(columns) * (24 + GAP) + 12
    tops = LABEL_HEIGHT + np.arange(rows) * (18 + GAP) + 9
    assert shown[tops[:5, None], middles, 0].tolist() == [
        [0, 20, 40, 60, 80],
        [0, 20, 41, 61, 81],
        [0, 20, 42, 62, 82],
        [0, 20, 43, 63, 83],
        [0, 0, 1, 1, 1],
    ]
    lines = (shown == CONTEXT).all((0, 2)).nonzero()[0]
    assert lines.tolist() == list(range(middles[2] - 12 - GAP, middles[2] - 12))
    np.testing.assert_allclose(span.left + np.arange(0, 9, 2) * span.step, middles)


def test_a_short_sheet_shows_every_frame_and_without_samples_no_spread() -> None:
    shown, _ = sheet_of(indexed(t=2, context=1, samples=0), 12, 2)
    assert shown.shape == (LABEL_HEIGHT + 3 * (12 + GAP), LABEL_WIDTH + 3 * (16 + GAP), 3)


@pytest.mark.parametrize("scale", [2, 3, 4, 5, 7])
def test_a_figure_holds_the_sheet_pixel_by_pixel_with_rewards_and_actions_beneath(scale: int) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    rollout = indexed()
    sheet, span = sheet_of(rollout, 12, scale)
    figure = open_loop_figure(rollout, scale=scale)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3]
    assert drawn.shape == (len(sheet) + HEIGHT, sheet.shape[1], 3)
    np.testing.assert_array_equal(drawn[: len(sheet)], sheet)
    rewards, actions = figure.axes
    assert [text.get_text() for text in rewards.get_legend().get_texts()] == ["earned", "imagined"]
    lines = {line.get_label(): line for line in rewards.lines}
    assert list(lines["earned"].get_xdata()) == list(range(1, 8))  # reward i leads to frame i + 1
    assert list(lines["imagined"].get_ydata()) == [i + 0.5 for i in range(7)]
    x, _ = rewards.transData.transform([[4, 0]])[0]
    assert x == pytest.approx(span.left + 4 * span.step)  # beneath its frame
    assert list(actions.lines[-1].get_ydata()) == rollout.actions[:, 0].tolist()


def test_choices_are_drawn_by_their_number() -> None:
    found = imagine_open_loop(trained(PAIR, CHOICE), episode(6, CHOICE), context=2)
    assert found.discrete
    *_, actions = open_loop_figure(found).axes
    assert list(actions.lines[-1].get_ydata()) == found.actions.argmax(1).tolist()


def test_a_film_decodes_to_every_frame_in_its_place(tmp_path: Path) -> None:
    """Each panel carries the number of its frame, and its own."""
    rollout, scale = indexed(t=11, context=4, samples=3, size=(16, 16)), 4
    film = open_loop_film(rollout, scale=scale)
    frames = np.stack([*film])
    side, width = 16 * scale, 4 * 16 * scale + 3 * SEPARATOR
    assert frames.shape == (12, 2 * (CAPTION_HEIGHT + side) + TIMELINE + HEIGHT, width, 3)
    write_video(tmp_path / "film.mp4", film, fps=12)
    with av.open(tmp_path / "film.mp4") as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.width, stream.height) == (12, width, frames.shape[1])
        shown = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
    assert shown.shape == frames.shape
    middles = np.arange(4) * (side + SEPARATOR) + side // 2
    upper, lower = CAPTION_HEIGHT + side // 2, 2 * CAPTION_HEIGHT + side + side // 2
    numbers = STEP * np.arange(12)
    dreamed = np.where(np.arange(12) < 4, 0, 1)
    for place, expected in (
        ((upper, middles[0]), numbers),
        ((upper, middles[1]), numbers + dreamed),
        ((upper, middles[2]), dreamed),
        *(((lower, middles[i]), numbers + (i + 2) * dreamed) for i in range(3)),
    ):
        np.testing.assert_array_equal(frames[:, *place, 0], expected)
        np.testing.assert_allclose(shown[:, *place].astype(int).mean(-1), expected, atol=4)
    assert (frames[:, lower, middles[3]] == BACKGROUND).all()  # three samples


def test_a_film_marks_the_context_and_the_moment() -> None:
    rollout = indexed(t=7, context=3, samples=0, size=(40, 40))
    frames = np.stack([*open_loop_film(rollout, scale=3)])
    width = 3 * 120 + 2 * SEPARATOR
    assert frames.shape[2] == width  # without samples there is no spread

    def has(pixels: np.ndarray, colour: tuple[int, int, int]) -> bool:
        return bool((pixels == colour).all(-1).any())

    above = frames[:, :CAPTION_HEIGHT, 120 + SEPARATOR : 240 + SEPARATOR]
    assert [has(frame, CONTEXT) for frame in above] == [True] * 3 + [False] * 5
    assert [has(frame, IMAGINED) for frame in above] == [False] * 3 + [True] * 5
    assert all(has(frame[:CAPTION_HEIGHT, :120], TEXT) for frame in frames)
    bottom = CAPTION_HEIGHT + 120 + TIMELINE
    timeline = frames[:, bottom - 1]
    assert [(frame == CONTEXT).all(-1).sum() // (width // 8 - 1) for frame in timeline] == [1, 2, 3, 3, 3, 3, 3, 3]
    step = (width - MARGIN) / 8
    span = Span(left=MARGIN + step / 2, step=step)
    signals = signals_image(rollout, width, span)
    for i, frame in enumerate(frames):
        (marked,) = np.nonzero((frame[bottom:] != signals).any((0, 2)))
        assert marked.tolist() == [round(span.left + i * span.step)]
