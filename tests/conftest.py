"""What several test files share."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import pytest
from hypothesis import settings
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from envs.rendering import choose_gl
from worldmodel.errors import EnvError
from worldmodel.hardware import prepare_threads
from worldmodel.pictures.video import write_video

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, print_blob=True)
settings.load_profile("repeatable")  # the same examples every time: a change fails for what it changes


def pytest_addoption(parser: pytest.Parser) -> None:
    """`make faults` asks for all of them."""
    parser.addoption("--faults", choices=("few", "all"), default="few", help="how many faults tests/faults injects")


@pytest.fixture
def faults(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """How many faults to inject: the first number in the ordinary suite, the second in `make faults`."""
    return lambda few, all: all if request.config.getoption("--faults") == "all" else few


@pytest.fixture(scope="session")
def gl() -> None:
    """Skips where MuJoCo cannot draw, naming the packages."""
    try:
        choose_gl()
    except EnvError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True, scope="session")
def threads() -> None:
    """As commands compute: numbers below 1e-38 are zero."""
    prepare_threads()


@pytest.fixture
def moviepy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Gymnasium's and SB3's recorders use of MoviePy, which does not go with the Pillow that is tested."""

    class ImageSequenceClip:
        def __init__(self, frames: Sequence[np.ndarray], fps: float) -> None:
            self.frames, self.fps = np.stack(frames), fps

        def write_videofile(self, path: str, logger: object = None) -> None:
            write_video(Path(path), self.frames, fps=self.fps)

    module = ModuleType("moviepy.video.io.ImageSequenceClip")
    module.__dict__["ImageSequenceClip"] = ImageSequenceClip
    for name in ("moviepy", "moviepy.video", "moviepy.video.io"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """A real browser, without a window; skips where there is none, naming the package."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium to test pages in: sudo apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])  # root has no sandbox
        yield browser
        browser.close()


class Watched:
    """A page, and all that it complained of and asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.set_default_timeout(60_000)
        page.on("console", lambda message: self._heard(message))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(message.text)


@pytest.fixture
def watched(chromium: Browser) -> Iterator[Callable[..., Watched]]:
    """Opens pages of a size and colour scheme, each in a context of its own."""
    contexts = []

    def open_page(*, width: int = 1100, height: int = 800, scheme: Literal["light", "dark"] = "light") -> Watched:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        return Watched(context.new_page())

    yield open_page
    for context in contexts:
        context.close()
