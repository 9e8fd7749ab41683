"""An environment that fails now and then, in every way that one can."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import numpy as np
from dot import Dot

EVERY = 12  # episodes, on average, between two failures


class Flaky(Dot):
    """Fails at a random step of some of its episodes; by chance of its own, so that a second try may succeed."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.doom = random.randrange(10) if random.random() < 1 / EVERY else -1
        self.steps = 0
        return super().reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        place, reward, terminated, truncated, info = super().step(action)
        self.steps += 1
        if self.steps == self.doom:
            match random.randrange(5):
                case 0:
                    raise RuntimeError("the simulator fails")
                case 1:
                    reward = float("nan")
                case 2:
                    self.render = lambda: np.zeros((3, 64, 64), np.uint8)
                case 3:
                    os._exit(1)
                case 4:
                    time.sleep(3600)
        return place, reward, terminated, truncated, info
