"""Simulator steps that planning takes, against dm_control's own: ``python -m benchmarks.simulator``.

Prints microseconds a simulator step for `PixelEnv.advance`, which draws nothing and makes no observation, and for
dm_control's `Environment.step`, interleaved, and their ratio; and what putting a snapshot back costs.
"""

from __future__ import annotations

import numpy as np

from benchmarks.measured import seconds
from envs import make_env
from envs.rendering import choose_gl

TASKS = (("cartpole", "swingup", 8), ("reacher", "easy", 4), ("cheetah", "run", 4), ("walker", "walk", 2))
DECISIONS = 200
ROUNDS = 5


def main() -> None:
    """Prints a line a task."""
    print(f"{'':<18}{'ours µs':>10}{'dm_control µs':>16}{'ratio':>8}{'restore µs':>13}")
    for domain, task, repeat in TASKS:
        ours, theirs, restore = measure(domain, task, repeat)
        print(f"{domain + ' ' + task:<18}{ours:>10.1f}{theirs:>16.1f}{ours / theirs:>8.2f}{restore:>13.1f}")


def measure(domain: str, task: str, repeat: int) -> tuple[float, float, float]:
    """Microseconds, the least of some rounds: a simulator step of ours, of dm_control's, and one restore."""
    choose_gl()
    from dm_control import suite

    settings = {"backend": "dm_control", "name": domain, "domain": domain, "task": task, "action_repeat": repeat}
    env = make_env({**settings, "time_limit": 0, "size": [64, 64]})
    other = suite.load(domain, task, task_kwargs={"time_limit": float("inf")})
    env.reset(seed=0)
    other.reset()
    snapshot = env.snapshot()
    actions = np.random.default_rng(0).uniform(-1, 1, (DECISIONS, env.env_spec.action_size)).astype(np.float32)

    def ours() -> None:
        for action in actions:
            env.advance(action)

    def theirs() -> None:
        for action in actions:
            for _ in range(repeat):
                other.step(action)

    def restore() -> None:
        for _ in actions:
            env.restore(snapshot)

    rounds = np.array([[seconds(run) for run in (ours, theirs, restore)] for _ in range(ROUNDS)])
    best = rounds.min(0) / DECISIONS * 1e6
    env.close()
    return best[0] / repeat, best[1] / repeat, best[2]


if __name__ == "__main__":
    main()
