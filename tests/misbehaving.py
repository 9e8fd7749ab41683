"""An environment that goes wrong as its script says, an episode a line, and keeps well where that ends."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

SIDE, STEPS = 32, 8  # of its frames; of an episode
TURN = 2  # the step in which it goes wrong
HANGS_S = 1000


class Stubborn(Exception):
    """Can be pickled, and not unpickled."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


def fail(error: BaseException) -> None:
    raise error


def recurse() -> None:
    recurse()


def hang_on_to_the_lock() -> None:
    """No other thread of this process runs meanwhile."""
    ctypes.PyDLL(None).sleep(HANGS_S)


def litter() -> None:
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({HANGS_S})"])
    time.sleep(HANGS_S)


DEEDS = {
    "raise": lambda: fail(ValueError("no such joint")),
    "stubborn": lambda: fail(Stubborn("a", "b")),
    "lambda": lambda: fail(RuntimeError(lambda: None)),
    "stop": lambda: fail(StopIteration()),
    "memory": lambda: fail(MemoryError()),
    "leave": lambda: sys.exit(3),
    "recurse": recurse,
    "hang": lambda: time.sleep(HANGS_S),
    "hang_on_to_the_lock": hang_on_to_the_lock,
    "litter": litter,
    "deafen": lambda: signal.signal(signal.SIGTERM, lambda *_: None),  # as pygame does
    "exit": lambda: os._exit(7),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
}
REWARDS = {"nan": math.nan, "inf": -math.inf, "none": None, "words": "much", "many": np.ones(3), "huge": -1e39}
FRAMES = {
    "small": lambda frame: frame[:16],
    "floats": lambda frame: np.float32(frame / 255),
    "chw": lambda frame: frame.transpose(2, 0, 1),
    "nothing": lambda frame: None,
}


class Misbehaving(gymnasium.Env[Any, Any]):
    """A grey drawn by the seed, lighter with each step; a reward is the step's number.

    Args:
        script: a file of which each reset takes a line; one that begins with ``always `` stays. It names what is done
            in step TURN, or in the reset where it ends in ``_in_reset``: a key of the tables above, or ``four``.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def __init__(self, script: str, render_mode: str | None = None) -> None:
        self.script, self.render_mode = Path(script), render_mode

    @property
    def wrong(self) -> str:
        """What is to be done now."""
        name = self.misdeed.removesuffix("_in_reset")
        return name if self.steps == (0 if name != self.misdeed else TURN) else ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        lines = self.script.read_text().splitlines() or [""]
        self.misdeed = lines[0].removeprefix("always ")
        if self.misdeed == lines[0]:
            self.script.write_text("\n".join(lines[1:]))
        self.steps, self.grey = 0, int(self.np_random.integers(1, 200))
        DEEDS.get(self.wrong, lambda: None)()
        return self.render(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        DEEDS.get(self.wrong, lambda: None)()
        answer = self.render(), REWARDS.get(self.wrong, float(self.steps)), False, self.steps == STEPS, {}
        return answer[:4] if self.wrong == "four" else answer

    def render(self) -> Any:
        frame = np.full((SIDE, SIDE, 3), self.grey + self.steps, np.uint8)
        return FRAMES.get(self.wrong, lambda frame: frame)(frame)


def settings(script: Path, *misdeeds: str, frames: str = "render") -> dict[str, Any]:
    """Of the environment, with that written in its script."""
    script.write_text("\n".join(misdeeds))
    return {
        "backend": "gymnasium",
        "name": "misbehaving",
        "id": "misbehaving:Misbehaving",
        "kwargs": {"script": str(script)},
        "frames": frames,
        "action_repeat": 1,
        "time_limit": 0,
        "size": [16, 16],
    }
