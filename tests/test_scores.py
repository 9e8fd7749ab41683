"""Curves, their mean and range, and the list of what others report, at the right places."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from worldmodel.errors import DataError
from worldmodel.pictures.scores import LINE, Panel, Study, draw_scores, mean_and_range, scores_figure, spread
from worldmodel.published import METHODS, published_returns

SEEDS = [{20: 100.0, 40: 200.0}, {20: 300.0, 40: 500.0}]
REPORTED = {"high": 900.0, "low": 10.0, "near": 890.0}


def panel(title: str = "task", studies: int = 1) -> Panel:
    return Panel(
        title, [Study(f"study {i}", SEEDS) for i in range(studies)], chance=50.0, reported=REPORTED, at=100_000
    )


def test_the_mean_is_over_the_frames_that_all_seeds_span() -> None:
    frames, mean, low, high = mean_and_range([{10: 0.0, 30: 20.0, 50: 40.0}, {20: 30.0, 40: 50.0, 60: 99.0}])
    assert frames.tolist() == [20, 30, 40, 50]
    assert low.tolist() == [10, 20, 30, 40]  # the first seed, straight on between its evaluations
    assert high.tolist() == [30, 40, 50, 74.5]
    assert mean.tolist() == [20, 30, 40, 57.25]


@pytest.mark.parametrize(
    ("heights", "placed"),
    [
        ([0.2, 0.5, 0.9], [0.2, 0.5, 0.9]),  # far enough already
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.4, 0.5, 0.5, 0.5], [0.325, 0.425, 0.525, 0.625]),  # the push is handed on
        ([0.0, 0.0, 1.0, 1.0], [0.0, 0.1, 0.9, 1.0]),
    ],
)
def test_names_are_pushed_apart_as_little_as_need_be(heights: list[float], placed: list[float]) -> None:
    np.testing.assert_allclose(spread(heights, 0.1), placed, atol=1e-9)


def test_a_panel_draws_seeds_mean_range_chance_and_marks() -> None:
    (axes,) = scores_figure([panel()]).axes
    one, other, mean, chance, marks = axes.lines[:5]
    assert one.get_xydata().tolist() == [[20, 100], [40, 200]] and other.get_xydata().tolist() == [[20, 300], [40, 500]]
    assert mean.get_xydata().tolist() == [[20, 200], [40, 350]]
    assert list(chance.get_ydata()) == [50, 50]
    assert marks.get_xydata().tolist() == [[100_000, 10], [100_000, 890], [100_000, 900]]
    assert axes.get_xlim() == (0, 100_000) and axes.get_ylim() == (0, 1000)
    assert axes.get_title(loc="left") == "task, 2 seeds"
    assert [text.get_text() for text in axes.texts] == ["low 10", "near 890", "high 900"]


def test_where_nothing_is_reported_the_curves_set_the_ranges() -> None:
    alone = Panel("task", [Study("study", [{5: -800.0, 10: -200.0}])], chance=None, reported={}, at=100)
    (axes,) = scores_figure([alone]).axes
    assert axes.get_xlim() == (0, 10) and axes.get_ylim()[0] < -800 and not axes.texts


@pytest.mark.parametrize("env_task", sorted({task for method in METHODS for task in method.returns}))
@pytest.mark.parametrize("end", [100_000, 300_000])
def test_no_name_overlaps_another_or_is_cut(env_task: tuple[str, str], end: int) -> None:
    study = Study("study", [{20_000: 100.0, end: 900.0}] * 3)
    tasks = [Panel(" ".join(env_task), [study], 100.0, published_returns(*env_task), 100_000)]
    for count in (1, 2, 5):
        figure = scores_figure(tasks * count)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        whole = figure.bbox
        for axes in figure.axes:
            boxes = [text.get_window_extent() for text in axes.texts]
            assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 and box.y1 <= whole.y1 for box in boxes)
            for below, above in pairwise(boxes):
                assert above.y0 > below.y0 and above.y0 - below.y1 > -1.5  # pixels: letters have air above and below
            plots = [other.get_window_extent() for other in figure.axes if other is not axes]
            assert not any(box.overlaps(plot) for box in boxes for plot in plots)
        assert all(text.get_window_extent().x0 >= 0 for text in figure.findobj(Text) if text.get_text())


def test_the_lines_of_the_longest_list_fit() -> None:
    assert LINE * (len(METHODS) - 1) <= 1


def test_several_ways_to_learn_a_task_are_named() -> None:
    figure = scores_figure([panel(studies=2), panel("other")])
    first, second = figure.axes
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["study 0 (2 seeds)", "study 1 (2 seeds)"]
    assert first.get_title(loc="left") == "task" and second.get_legend() is None
    (legend,) = figure.legends
    names = ["mean over seeds", "one seed", "range of seeds", "random policy", "published, at 100k frames"]
    assert [text.get_text() for text in legend.get_texts()] == names


def test_the_picture_is_small_enough_for_a_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    seeds = [{1000 * x: float(rng.uniform(200, 900)) for x in range(20, 101, 20)} for _ in range(5)]
    reported = published_returns("cartpole", "swingup")
    draw_scores(tmp_path / "scores.png", [Panel("task", [Study("a", seeds)], 100.0, reported, 100_000)] * 5)
    assert (tmp_path / "scores.png").stat().st_size <= 200_000
    with Image.open(tmp_path / "scores.png") as image:
        assert image.size == (1040, 1196)


def test_a_figure_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="no log tells of learning"):
        scores_figure([])
