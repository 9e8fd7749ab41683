"""All seeds of a run follow from its own, and no two are one."""

from __future__ import annotations

import random

import numpy as np
import torch

from agents.seeds import STREAMS, seed_of


def test_a_seed_depends_on_nothing_but_its_arguments() -> None:
    first = [seed_of(3, stream, 5) for stream in STREAMS]
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    assert [seed_of(3, stream, 5) for stream in reversed(STREAMS)] == first[::-1]
    assert seed_of(3, "model") == seed_of(3, "model", 0)


def test_seeds_stay_what_they_were() -> None:
    """Or a run begun by an earlier version would not go on as it began."""
    found = [seed_of(0, "collect"), seed_of(0, "evaluate", 9), seed_of(7, "fit", 40), seed_of(0, "model")]
    assert found == [1484405855, 2103263975, 1202413331, 1306511473]


def test_runs_streams_and_indices_all_differ() -> None:
    seeds = [seed_of(run, stream, index) for run in range(5) for stream in STREAMS for index in range(100)]
    assert len(set(seeds)) == 5 * len(STREAMS) * 100


def test_seeds_fill_the_range_that_every_library_takes() -> None:
    seeds = np.array([seed_of(0, "collect", index) for index in range(1000)])
    assert all(type(seed_of(0, stream)) is int for stream in STREAMS)
    assert 0 <= seeds.min() < 0.01 * 2**31 and 0.99 * 2**31 < seeds.max() < 2**31
