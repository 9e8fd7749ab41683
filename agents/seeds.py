"""Every seed of a run, from its one seed.

Episodes, evaluations and fits each draw from streams of their own, numbered: what is done at step n does not depend on
how often the run was killed before it.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

Stream = Literal["collect", "evaluate", "fit", "model", "contexts", "goals", "policy", "dream", "trust", "retry"]
STREAMS = get_args(Stream)  # by number: new ones come last


def seed_of(run_seed: int, stream: Stream, index: int = 0) -> int:
    """A seed in [0, 2**31) for the index-th thing of a stream."""
    sequence = np.random.SeedSequence([run_seed, STREAMS.index(stream), index])
    return int(sequence.generate_state(1)[0] >> 1)
