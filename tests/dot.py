"""The README's example of somebody's own environment, word for word."""

import gymnasium
import numpy as np


class Dot(gymnasium.Env):
    """A dot that is to be brought to the grey square in the middle."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gymnasium.spaces.Box(0, 1, (2,))  # not looked at: what the model sees is `render`
    action_space = gymnasium.spaces.Box(-1, 1, (2,))

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.random(2)
        return self.place, {}

    def step(self, action):
        self.place = np.clip(self.place + 0.05 * action, 0, 1)
        return self.place, 1 - np.abs(self.place - 0.5).sum(), False, False, {}

    def render(self):
        frame = np.zeros((64, 64, 3), np.uint8)
        frame[28:36, 28:36] = 90
        x, y = (self.place * 56).astype(int)
        frame[y : y + 8, x : x + 8] = 255, 160, 0
        return frame
