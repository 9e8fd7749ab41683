"""What several test files share."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from envs.rendering import choose_gl
from worldmodel.errors import EnvError
from worldmodel.hardware import prepare_threads
from worldmodel.pictures.video import write_video


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
