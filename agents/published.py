"""What others' papers report from pixels after 100,000 environment frames of the DeepMind control suite.

Means over each paper's own seeds, out of 1000, of agents with action repeats of their own. Where papers give a method
different numbers the highest stands here, and the others in `lower`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

ENV_FRAMES = 100_000

Task = tuple[str, str]
"""`env` and `task`, as in `EnvSpec` and in records."""

SWINGUP: Task = ("cartpole", "swingup")
BALANCE: Task = ("cartpole_balance", "balance")
REACHER: Task = ("reacher", "easy")
CUP: Task = ("cup", "catch")
FINGER: Task = ("finger", "spin")


class Method(NamedTuple):
    """A method and its returns.

    Attributes:
        name: for labels.
        paper: that presents it, with its arXiv number where it has one.
        reported: where the numbers stand, if elsewhere.
        returns: by task; a task that is not reported is missing.
        lower: what else is quoted.
    """

    name: str
    paper: str
    returns: Mapping[Task, int]
    reported: str | None = None
    lower: Mapping[Task, int] = {}  # nobody changes it


METHODS = (
    Method(
        "PlaNet",
        "Hafner et al. 2019, Learning Latent Dynamics for Planning from Pixels, arXiv:1811.04551",
        {SWINGUP: 563, REACHER: 82, CUP: 0, FINGER: 560},
        reported="Kostrikov et al. 2021 (DrQ); the lower one Laskin et al. 2020 (CURL)",
        lower={SWINGUP: 297},
    ),
    Method(
        "Dreamer",
        "Hafner et al. 2020, Dream to Control: Learning Behaviors by Latent Imagination, arXiv:1912.01603",
        {SWINGUP: 326, BALANCE: 472, REACHER: 125, CUP: 73, FINGER: 8},
        reported="swing-up Laskin et al. 2020 (CURL); the others, and the lower one, later comparisons",
        lower={SWINGUP: 139},
    ),
    Method(
        "DreamerV2",
        "Hafner et al. 2021, Mastering Atari with Discrete World Models, arXiv:2010.02193",
        {SWINGUP: 387, BALANCE: 803, REACHER: 211, CUP: 532, FINGER: 323},
        reported="later comparisons",
    ),
    Method(
        "DreamerV3",
        "Hafner et al. 2023, Mastering Diverse Domains through World Models, arXiv:2301.04104",
        {SWINGUP: 550, BALANCE: 932, REACHER: 374, CUP: 862, FINGER: 493},
        reported="later comparisons",
    ),
    Method(
        "CURL",
        "Laskin et al. 2020, CURL: Contrastive Unsupervised Representations for Reinforcement Learning, "
        "arXiv:2004.04136",
        {SWINGUP: 582, REACHER: 538, CUP: 769, FINGER: 767},
    ),
    Method(
        "DrQ",
        "Kostrikov et al. 2021, Image Augmentation Is All You Need, arXiv:2004.13649",
        {SWINGUP: 759, BALANCE: 943, REACHER: 600, CUP: 914, FINGER: 901},
        reported="balance later comparisons",
    ),
    Method(
        "TD-MPC",
        "Hansen et al. 2022, Temporal Difference Learning for Model Predictive Control, arXiv:2203.04955",
        {SWINGUP: 770, REACHER: 628, CUP: 933, FINGER: 943},
    ),
    Method(
        "EfficientZero",
        "Ye et al. 2021, Mastering Atari Games with Limited Data, arXiv:2111.00210",
        {SWINGUP: 813, REACHER: 493, CUP: 952, FINGER: 1000},
        reported="Hansen et al. 2022 (TD-MPC)",
    ),
    Method(
        "Simoun",
        "Huang et al. 2023, Simoun: Synergizing Interactive Motion-appearance Understanding for Vision-based "
        "Reinforcement Learning, ICCV",
        {SWINGUP: 851},
    ),
)


def published_returns(env: str, task: str) -> dict[str, int]:
    """By method, what is reported of a task; empty for one that is not in the list."""
    return {method.name: method.returns[env, task] for method in METHODS if (env, task) in method.returns}
