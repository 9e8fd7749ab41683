"""Keys that are held, as an action."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from worldmodel.spec import EnvSpec


class Keyboard:
    """What a person does.

    Vectors: arrows move the first two numbers, D and A, W and S, E and Q the next three, by 1 either way; what no key
    moves is 0. Choices: the left and the right arrow are the first two, digits all of the first ten; the last choice is
    kept until another.
    """

    PAIRS = (("ArrowRight", "ArrowLeft"), ("ArrowUp", "ArrowDown"), ("d", "a"), ("w", "s"), ("e", "q"))

    def __init__(self, spec: EnvSpec) -> None:
        self._spec = spec
        self._choice = 0
        self._held: Sequence[str] = ()

    def hold(self, keys: Sequence[str]) -> None:
        """These keys, by their names in browsers, are down now, the newest last, and no others."""
        self._held = keys
        for key in keys:
            if key in self.choices():
                self._choice = self.choices()[key]

    def action(self) -> np.ndarray:
        """(a,) in [-1, 1], or one-hot."""
        a = self._spec.action_size
        if self._spec.action_kind == "discrete":
            return np.eye(a, dtype=np.float32)[self._choice]
        action = np.zeros(a, np.float32)
        for i, (up, down) in enumerate(self.PAIRS[:a]):
            action[i] = (up in self._held) - (down in self._held)
        return action

    def choices(self) -> dict[str, int]:
        """The choice that each key stands for; none where actions are vectors."""
        if self._spec.action_kind != "discrete":
            return {}
        keys = {str(i): i for i in range(min(10, self._spec.action_size))}
        return keys | dict(zip(("ArrowLeft", "ArrowRight")[: self._spec.action_size], (0, 1), strict=False))

    def legend(self) -> list[list[str]]:
        """Pairs of a key and what it does, for a page to show."""
        if self._spec.action_kind == "discrete":
            return [[key, f"choice {choice}"] for key, choice in self.choices().items()]
        a = self._spec.action_size
        return [
            [key, f"action {sign}" if a == 1 else f"action {i} {sign}"]
            for i, pair in enumerate(self.PAIRS[:a])
            for key, sign in zip(pair, "+−", strict=True)
        ]
