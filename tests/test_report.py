"""A run's report: what stands on it, that it needs no network, and that a browser shows what it should."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Watched
from dreaming import PAIR, contexts, trained
from matplotlib.figure import Figure
from test_open_loop import episode, indexed

from worldmodel.episode import save_episode
from worldmodel.errors import DataError
from worldmodel.pictures.losses import terms_figure
from worldmodel.pictures.page import LARGEST, embedded
from worldmodel.pictures.report import write_report
from worldmodel.pictures.themed import INK, themed_svg
from worldmodel.pictures.video import write_video
from worldmodel.pictures.viewer import COLUMNS, sprite, viewer_data
from worldmodel.pretrained import save_pretrained

HEADER = {
    "kind": "header",
    "commit": "0123456789abcdef",
    "dirty": False,
    "machine": "a machine",
    "command": "python -m agents.ppo_imagine note='<b>&'",
    "versions": {"torch": "2.0"},
    "config": {},
}
TASK = {"env": "cartpole", "task": "swingup", "seed": 3}
RECORDS: list[dict[str, Any]] = [
    HEADER,
    {"kind": "random_policy", "env_frames": 0, "returns": [100.0, 140.0], **TASK},
    *(
        {
            **{"kind": "fit", "episodes": i, "env_frames": 1000 * i, "updates": 200 * i, "seconds": 24.0},
            **{"loss": 1 / i, "open_loop/reward": 0.2, "forced/reward": 0.1, "policy": None},
        }
        for i in (1, 2)
    ),
    {"kind": "episode", "episodes": 1, "env_frames": 1000, "episode_return": 3.0, "seconds": 6.0},
    {"kind": "dream", "episodes": 1, "env_frames": 1000, "seconds": 2.0, "imagined_return": 4.0},
    {
        **{"kind": "evaluation", "env_frames": 50_000, "returns": [500.0, 700.0], **TASK},
        **{"wall_clock_s": 1800.0, "evaluation_s": 30.0},
    },
    {
        **{"kind": "trust", "env_frames": 50_000, "horizon": 20, "imagined": 41.5, "real": 40.25},
        **{"error": 3.0, "correlation": None},
    },
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a model, two held-out episodes, a video and a log; its report is written."""
    run = tmp_path_factory.mktemp("run")
    save_pretrained(run / "checkpoints" / "000003", trained(PAIR), contexts())
    for index in range(2):
        save_episode(episode(20), run / "evaluation" / f"{index:06d}.safetensors")
    (run / "config.yaml").write_text("context: 3\nnote: <script>alert(1)</script>\n")
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    write_video(run / "dream.mp4", np.zeros((4, 16, 16, 3), np.uint8), fps=5)
    assert write_report(run) == run / "report.html"
    return run


class Outline(HTMLParser):
    """Headings, cells, and the attributes of each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: dict[str, list[dict[str, str | None]]] = {}
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.setdefault(tag, []).append(dict(attrs))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and data.strip():
            self.texts.setdefault(self._open[-1], []).append(data.strip())


def test_it_says_what_the_run_did(run: Path) -> None:
    found = Outline((run / "report.html").read_text())
    assert found.texts["h1"] == ["cartpole, swingup, seed 3"]
    assert found.texts["h2"] == [
        *("Learning curve", "Evaluation", "What the model imagines", "Error against the horizon"),
        *("The model's size", "Losses", "The policy in the dream", "Trust in the dream", "Where the time went"),
        *("Videos", "Configuration"),
    ]
    cards = dict(zip(found.texts["dt"], found.texts["dd"], strict=True))
    assert cards == {
        **{"return": "600.0 ± 100.0", "random policy": "120.0 ± 20.0"},
        **{"environment frames": "50,000", "minutes": "30.0"},
    }
    cells = found.texts["td"]
    for row in (
        ["random policy", "120.0", "20.0", "100.0", "140.0", "2"],
        ["50,000", "600.0", "100.0", "500.0", "700.0", "2"],
        ["50,000", "41.50", "40.25", "3.00", "–"],
        ["playing", "0.1", "1", "6.00", "fitting", "0.8", "2", "24.00", "dreaming", "0.0", "1", "2.00"],
    ):
        assert any(cells[i : i + len(row)] == row for i in range(len(cells))), row
    assert found.texts["code"] == [HEADER["command"]]  # escaped, and whole


def test_nothing_on_it_is_fetched_and_everything_has_a_text(run: Path) -> None:
    text = (run / "report.html").read_text()
    found = Outline(text)
    assert not {"link", "iframe", "object"} & set(found.elements)
    for kind, attributes in found.elements.items():
        for given in attributes:
            for name in ("src", "href", "xlink:href"):
                assert (given.get(name) or "#").startswith(("data:", "#")), (kind, name, given[name])
            if kind in ("svg", "canvas"):
                assert given["role"] == "img" and given["aria-label"]
            if kind == "video":
                assert given["aria-label"]
            if kind == "img":
                assert given["alt"]
    assert "<script>alert" not in text and len(found.elements["svg"]) == 5
    anchors = {given["href"][1:] for given in found.elements["a"] if given.get("href")}
    assert anchors == {given["id"] for given in found.elements["section"]}
    ids = [given["id"] for every in found.elements.values() for given in every if given.get("id")]
    assert len(ids) == len(set(ids))


def test_a_folder_with_little_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no run \(neither config\.yaml nor metrics\.jsonl\)"):
        write_report(tmp_path)
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    found = Outline(write_report(tmp_path).read_text())
    assert found.texts["h1"] == [tmp_path.name] and found.texts["h2"] == ["Configuration"]
    collection = {"kind": "collection", "policy": "random", "returns": [1.0], **TASK}
    reaching = {"kind": "reaching", "policy": "by features", "final": [0.5, 0.0], "nearest": [0.25, 0.0], "reached": 1}
    lines = [json.dumps(record) + "\n" for record in (HEADER, collection, {**reaching, **TASK})]
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    (tmp_path / "ladder.txt").write_text("rungs")
    save_pretrained(tmp_path / "checkpoints" / "000001", trained(PAIR), contexts())  # that holds nothing out
    found = Outline(write_report(tmp_path).read_text())
    assert found.texts["h2"] == [
        *("Episodes", "Goals", "The ladder", "What the model imagines", "The model's size", "Configuration"),
    ]
    assert any(text.startswith("Not shown: no held-out data is known for") for text in found.texts["p"])
    assert found.texts["td"][:11] == [
        *("random", "1.0", "0.0", "1.0", "1.0", "1"),
        *("by features", "1", "2", "0.250", "0.125"),
    ]


def test_large_files_stay_outside(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"abc")
    (tmp_path / "large").write_bytes(bytes(LARGEST + 1))
    small = embedded(tmp_path / "small", "text/plain", "label")
    assert small is not None and small.url == "data:text/plain;base64,YWJj"
    assert embedded(tmp_path / "large", "x/y", "") is None and embedded(tmp_path / "none", "x/y", "") is None


def test_a_figure_takes_the_pages_ink_and_names_its_parts_apart() -> None:
    def draw() -> Figure:
        figure = Figure()
        axes = figure.add_subplot()
        axes.plot([0, 1], color="#abcdef")
        axes.set_title("a title")
        return figure

    one, other = (themed_svg(draw, description) for description in ("<one>", "other"))
    assert one == themed_svg(draw, "<one>") and 'aria-label="&lt;one&gt;"' in one
    assert INK not in one and "currentColor" in one and "#abcdef" in one and "a title" in one
    names = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, other)]
    assert names[0] and not names[0] & names[1]
    assert set(re.findall(r"url\(#([^)]+)\)", one)) <= names[0]
    assert "fill: #ffffff" not in one  # no background


def test_terms_share_a_panel_by_quantity() -> None:
    figure = terms_figure([record for record in RECORDS if record["kind"] == "fit"], "updates")
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == ["loss", "reward"]
    assert [line.get_label() for line in panels["reward"].lines] == ["open loop", "forced"]
    assert list(panels["loss"].lines[0].get_xdata()) == [200, 400]
    with pytest.raises(DataError, match="there are no terms to draw"):
        terms_figure([{"kind": "fit", "updates": 3, "loss": None}], "updates")


def test_a_sprite_holds_every_frame_in_its_place() -> None:
    from base64 import b64decode
    from io import BytesIO

    from PIL import Image

    frames = np.zeros((COLUMNS + 3, 8, 12, 3), np.uint8)
    frames[:] = (10 * np.arange(COLUMNS + 3))[:, None, None, None]
    kind, _, content = sprite(frames).partition(",")
    assert kind == "data:image/webp;base64"
    with Image.open(BytesIO(b64decode(content))) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    assert shown.shape == (16, 12 * COLUMNS, 3)
    for i in range(COLUMNS + 3):
        y, x = i // COLUMNS * 8, i % COLUMNS * 12
        assert np.abs(shown[y + 4, x + 6] - 10 * i).max() <= 4
    data = viewer_data(indexed(samples=2))
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["count"] == 8 and len(data["samples"]) == 2 and data["imagined_rewards"][0] == 0.5


GREY = "(canvas) => canvas.getContext('2d').getImageData(20, 20, 1, 1).data[0]"


def greys(watched: Watched) -> dict[str, int]:
    """What each canvas shows, of pictures of one grey level."""
    rows = ("real", "imagined", "sample", "difference")
    return {row: watched.page.eval_on_selector(f"canvas[data-row={row}]", GREY) for row in rows}


def test_a_browser_shows_the_frame_that_the_sliders_say(run: Path, watched: Callable[..., Watched]) -> None:
    seen = watched()
    page = seen.page
    page.goto((run / "report.html").as_uri())
    page.wait_for_selector("#viewer[data-shown='0/1']")
    assert greys(seen) == {"real": 0, "imagined": 0, "sample": 0, "difference": 0}
    page.focus("#time")
    for _ in range(7):
        page.keyboard.press("ArrowRight")
    page.wait_for_selector("#viewer[data-shown='7/1']")
    assert abs(greys(seen)["real"] - 70) <= 3 and page.inner_text("#told").startswith(
        "frame 7 was imagined; reward earned 6"
    )
    page.focus("#which")
    page.keyboard.press("End")
    page.wait_for_selector("#viewer[data-shown='7/4']")
    assert page.inner_text("#which-value") == "4 of 4" and page.inner_text("#time-value") == "7 of 20"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # plays
    page.wait_for_selector("#viewer[data-shown='9/4']")
    page.keyboard.press("Space")
    assert page.inner_text("#run") == "Play"
    assert seen.complaints == [] and seen.requests == [(run / "report.html").as_uri()] + [
        url for url in seen.requests if url.startswith("data:")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_colour_schemes(run: Path, watched: Callable[..., Watched], scheme: str) -> None:
    page = watched(width=360, height=740, scheme=scheme).page
    page.goto((run / "report.html").as_uri())
    page.wait_for_selector("#viewer[data-shown='0/1']")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360  # wide figures scroll by themselves
    paper, ink, title = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,"
        " getComputedStyle(document.querySelector('svg.figure text')).fill]"
    )
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (paper, ink, title)]
    assert (light[0] > light[1]) == (scheme == "light") and abs(light[0] - light[2]) > 300


def test_a_run_in_anothers_model_shows_that_model(run: Path, tmp_path: Path) -> None:
    save_episode(episode(12), tmp_path / "evaluation" / "000000.safetensors")
    (tmp_path / "config.yaml").write_text(f"checkpoint: {run}\ncontext: 2\n")
    found = Outline(write_report(tmp_path).read_text())
    assert found.texts["h2"][:3] == ["What the model imagines", "Error against the horizon", "The model's size"]
    (tmp_path / "config.yaml").write_text("checkpoint: nowhere\n")
    found = Outline(write_report(tmp_path).read_text())
    assert found.texts["h2"] == ["What the model imagines", "Configuration"]
    assert any(text.startswith("Not shown: nowhere is not a checkpoint") for text in found.texts["p"])
    (tmp_path / "dream.mp4").write_bytes(bytes(LARGEST + 1))
    found = Outline(write_report(tmp_path).read_text())
    assert "Too large for this page, and beside it in the run's folder: dream.mp4." in found.texts["p"]
