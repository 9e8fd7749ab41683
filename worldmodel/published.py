"""What is reported of others' methods from pixels after 100,000 environment frames of the DeepMind control suite.

Mean returns over seeds, out of 1000, with each method's own action repeats. `reported` names the table where a number
was found, the paper's own or another's that quotes it; a number that is in none is not listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

ENV_FRAMES = 100_000

Task = tuple[str, str]
"""`env` and `task`, as in `EnvSpec` and in records."""

SWINGUP: Task = ("cartpole", "swingup")
REACHER: Task = ("reacher", "easy")
CUP: Task = ("cup", "catch")
FINGER: Task = ("finger", "spin")


class Method(NamedTuple):
    """A method and its returns.

    Attributes:
        name: for labels.
        paper: that presents it, with its arXiv number where it has one.
        reported: where the numbers stand.
        returns: by task; a task that is not reported is missing.
    """

    name: str
    paper: str
    reported: str
    returns: Mapping[Task, int]


METHODS = (
    Method(
        "PlaNet",
        "Hafner et al. 2019, Learning Latent Dynamics for Planning from Pixels, arXiv:1811.04551",
        "Xia et al. 2026 (COVR, AAAI), comparison at 100k",
        {SWINGUP: 563, REACHER: 82, CUP: 0, FINGER: 560},
    ),
    Method(
        "Dreamer",
        "Hafner et al. 2020, Dream to Control: Learning Behaviors by Latent Imagination, arXiv:1912.01603",
        "Huang et al. 2023 (Simoun), table 1",
        {SWINGUP: 326},
    ),
    Method(
        "CURL",
        "Laskin et al. 2020, CURL: Contrastive Unsupervised Representations for Reinforcement Learning, "
        "arXiv:2004.04136",
        "the paper, table 1; the same in Huang et al. 2023 (Simoun), table 1",
        {SWINGUP: 582, REACHER: 538, CUP: 769, FINGER: 767},
    ),
    Method(
        "DrQ",
        "Kostrikov et al. 2021, Image Augmentation Is All You Need, arXiv:2004.13649",
        "Huang et al. 2023 (Simoun), table 1",
        {SWINGUP: 759, REACHER: 601, CUP: 913, FINGER: 901},
    ),
    Method(
        "TD-MPC",
        "Hansen et al. 2022, Temporal Difference Learning for Model Predictive Control, arXiv:2203.04955",
        "the paper, comparison at 100k",
        {SWINGUP: 770, REACHER: 628, CUP: 933, FINGER: 943},
    ),
    Method(
        "Simoun",
        "Huang et al. 2023, Simoun: Synergizing Interactive Motion-appearance Understanding for Vision-based "
        "Reinforcement Learning, ICCV",
        "the paper, table 1",
        {SWINGUP: 851, REACHER: 910, CUP: 971, FINGER: 872},
    ),
)


def published_returns(env: str, task: str) -> dict[str, int]:
    """By method, what is reported of a task; empty for one that is not in the list."""
    return {method.name: method.returns[env, task] for method in METHODS if (env, task) in method.returns}
