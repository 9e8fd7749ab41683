"""What is reported of others' methods from pixels after 100,000 environment frames of the DeepMind control suite.

Mean returns over seeds, out of 1000, with each method's own action repeats. `reported` names the tables where numbers
were found, and says which have not been traced to one yet: trace those, or leave them out, before leaning on them.
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
        reported: where the numbers stand.
        returns: by task; a task that is not reported is missing.
        lower: where another number is quoted too; the higher one is in `returns`.
    """

    name: str
    paper: str
    reported: str
    returns: Mapping[Task, int]
    lower: Mapping[Task, int] = {}  # nobody changes it


METHODS = (
    Method(
        "PlaNet",
        "Hafner et al. 2019, Learning Latent Dynamics for Planning from Pixels, arXiv:1811.04551",
        "Xia et al. 2026 (COVR, AAAI), comparison at 100k; the lower one is not traced",
        {SWINGUP: 563, REACHER: 82, CUP: 0, FINGER: 560},
        {SWINGUP: 297},
    ),
    Method(
        "Dreamer",
        "Hafner et al. 2020, Dream to Control: Learning Behaviors by Latent Imagination, arXiv:1912.01603",
        "swing-up: Huang et al. 2023 (Simoun), table 1; the rest as the comparison at 100k of Hansen et al. 2022 "
        "(TD-MPC) is quoted, not checked in the paper; a lower series, 139, 125, 73 and 8, is quoted too",
        {SWINGUP: 326, REACHER: 314, CUP: 246, FINGER: 341},
        {SWINGUP: 139},
    ),
    Method(
        "DreamerV2",
        "Hafner et al. 2021, Mastering Atari with Discrete World Models, arXiv:2010.02193",
        "not traced",
        {SWINGUP: 387, BALANCE: 803, REACHER: 211, CUP: 532, FINGER: 323},
    ),
    Method(
        "DreamerV3",
        "Hafner et al. 2023, Mastering Diverse Domains through World Models, arXiv:2301.04104",
        "not traced",
        {SWINGUP: 550, BALANCE: 932, REACHER: 374, CUP: 862, FINGER: 493},
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
        "Huang et al. 2023 (Simoun), table 1; balance is not traced",
        {SWINGUP: 759, BALANCE: 943, REACHER: 601, CUP: 913, FINGER: 901},
    ),
    Method(
        "TD-MPC",
        "Hansen et al. 2022, Temporal Difference Learning for Model Predictive Control, arXiv:2203.04955",
        "the paper, comparison at 100k",
        {SWINGUP: 770, REACHER: 628, CUP: 933, FINGER: 943},
    ),
    Method(
        "EfficientZero",
        "Ye et al. 2021, Mastering Atari Games with Limited Data, arXiv:2111.00210",
        "Hansen et al. 2022 (TD-MPC), comparison at 100k, as it is quoted, not checked in the paper",
        {SWINGUP: 813, REACHER: 952, CUP: 942},
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
