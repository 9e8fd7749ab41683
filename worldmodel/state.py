"""`State`: everything a rollout needs to go on. No module remembers anything between calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from worldmodel.recurrent import Cells


@dataclass(frozen=True)
class Skips:
    """Encoder maps of the last observed frame, shared by rows and copied only when something decodes.

    Attributes:
        maps: one tensor (m, c, h, w) a stage, finest first; empty when the decoder takes none.
        rows: (b,) which of the m map rows each of the state's rows sees.
    """

    maps: tuple[Tensor, ...]
    rows: Tensor

    def gather(self) -> tuple[Tensor, ...]:
        """The maps of every row, each (b, c, h, w)."""
        return tuple(tensor[self.rows] for tensor in self.maps)


@dataclass(frozen=True)
class State:
    """Where a rollout stands; every tensor's first axis is the batch.

    Attributes:
        feature: of the last observed or imagined frame, (b, c) or (b, c, h, w).
        skips: of the last *observed* frame.
        frame_predictor, prior: cells after the last transition.
        posterior: cells after the last *observed* frame; `imagine` leaves them as they are.
        embedding: of the last frame (b, ...), observed or drawn; None when it was imagined as a feature alone.
        frame: the frame (b, c, height, width), standardised, that `feature` was encoded from: kept under pixel
            feedback, where it is at hand; None under feature feedback.
    """

    feature: Tensor
    skips: Skips
    frame_predictor: Cells
    posterior: Cells
    prior: Cells
    embedding: Tensor | None = None
    frame: Tensor | None = None

    def __len__(self) -> int:
        return self.feature.shape[0]

    def _rows(self, select: Callable[[Tensor], Tensor]) -> State:
        def cells(pairs: Cells) -> Cells:
            return tuple((select(hidden), select(cell)) for hidden, cell in pairs)

        return State(
            feature=select(self.feature),
            skips=Skips(self.skips.maps, select(self.skips.rows)),
            frame_predictor=cells(self.frame_predictor),
            posterior=cells(self.posterior),
            prior=cells(self.prior),
            embedding=None if self.embedding is None else select(self.embedding),
            frame=None if self.frame is None else select(self.frame),
        )

    def repeat(self, n: int) -> State:
        """Each row n times in a row: b -> (b n). Filter once, then fan out to candidates."""
        return self._rows(lambda tensor: tensor.repeat_interleave(n, 0))

    def __getitem__(self, rows: Tensor | slice | list[int]) -> State:
        """Some rows, by slice, index list, index tensor or boolean mask."""
        return self._rows(lambda tensor: tensor[rows])

    def put(self, mask: Tensor, fresh: State) -> State:
        """This state with the rows where `mask` (b,) is True replaced by those of `fresh`, one for each, in order.

        Restarts some rows. Raises ValueError when they are not as many.
        """
        b, m = len(self), int(mask.sum())
        if not (len(mask) == b and len(fresh) == m):
            raise ValueError(f"a mask of {len(mask)}, {m} of them True, and {len(fresh)} fresh rows for {b} rows")
        rows = torch.arange(b, device=mask.device)
        rows[mask] = torch.arange(b, b + m, device=mask.device)
        return concatenate([self, fresh])[rows]


def concatenate(states: list[State]) -> State:
    """States of the same model, one below the other: rows b1 + b2 + ..."""

    def cells(which: str) -> Cells:
        stacks = [getattr(state, which) for state in states]
        return tuple(
            (torch.cat([hidden for hidden, _ in layer]), torch.cat([cell for _, cell in layer]))
            for layer in zip(*stacks, strict=True)
        )

    # A state counts its map rows from zero: shift them by the maps above it. Rows no state sees any more are dropped.
    gathered = [state.skips.gather() for state in states]
    maps = tuple(torch.cat(stage) for stage in zip(*gathered, strict=True))

    def optional(which: str) -> Tensor | None:
        found = [getattr(state, which) for state in states]
        return None if any(tensor is None for tensor in found) else torch.cat(found)

    return State(
        feature=torch.cat([state.feature for state in states]),
        skips=Skips(maps, torch.arange(sum(map(len, states)), device=states[0].feature.device)),
        frame_predictor=cells("frame_predictor"),
        posterior=cells("posterior"),
        prior=cells("prior"),
        embedding=optional("embedding"),
        frame=optional("frame"),
    )
