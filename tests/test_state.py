"""Rows of a state stay together, whatever is repeated, chosen, merged or stacked."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from worldmodel.recurrent import Cells
from worldmodel.state import Skips, State, concatenate


def numbered(names: list[int], *shape: int, plus: float = 0) -> Tensor:
    """(b, *shape): every element of a row is the row's name, plus a fraction that tells the tensor."""
    return torch.tensor(names).float().add(plus).reshape(-1, *[1] * len(shape)).expand(-1, *shape).clone()


def state(*names: int, frames: bool = False) -> State:
    rows = list(names)
    cells: list[Cells] = []
    for base, layers in ((0.1, 2), (0.3, 1), (0.5, 1)):
        pairs = [(base + layer / 100, base + layer / 100 + 0.05) for layer in range(layers)]
        cells.append(tuple((numbered(rows, 3, plus=h), numbered(rows, 3, plus=c)) for h, c in pairs))
    maps = (numbered(rows, 2, 4, 4, plus=0.7), numbered(rows, 3, 2, 2, plus=0.8))
    frame = numbered(rows, 3, 4, 4, plus=0.9) if frames else None
    return State(numbered(rows, 5), Skips(maps, torch.arange(len(rows))), cells[0], cells[1], cells[2], frame)


def tensors(found: State) -> list[Tensor]:
    cells = [*found.frame_predictor, *found.posterior, *found.prior]
    frames = [] if found.frame is None else [found.frame]
    return [found.feature, *found.skips.gather(), *(tensor for pair in cells for tensor in pair), *frames]


def check(found: State, *names: int, frames: bool = False) -> None:
    """Every tensor of the state, skips as the decoder sees them, is that of a state made of these rows."""
    expected = tensors(state(*names, frames=frames))
    assert len(found) == len(names) and len(tensors(found)) == len(expected)
    assert all(map(torch.equal, tensors(found), expected))


@pytest.mark.parametrize("frames", [False, True])
def test_repeating_puts_a_row_s_copies_side_by_side(frames: bool) -> None:
    check(state(4, 7, frames=frames).repeat(3), 4, 4, 4, 7, 7, 7, frames=frames)
    check(state(4, 7, frames=frames).repeat(1), 4, 7, frames=frames)


def test_maps_are_shared_not_copied() -> None:
    one = state(4, 7, 9)
    for other in (one.repeat(1000), one[1:], one.repeat(5)[torch.tensor([14, 0])]):
        assert all(a is b for a, b in zip(other.skips.maps, one.skips.maps, strict=True))
    assert one[1:].repeat(2).skips.rows.tolist() == [1, 1, 2, 2]
    assert one.repeat(2).skips.gather()[1][:, 0, 0, 0].tolist() == pytest.approx([4.8, 4.8, 7.8, 7.8, 9.8, 9.8])


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (slice(1, 3), (5, 6)),
        (slice(None, None, 2), (4, 6)),
        ([3, 0], (7, 4)),
        (torch.tensor([2, 2, 1]), (6, 6, 5)),
        (torch.tensor([True, False, False, True]), (4, 7)),
        (slice(0, 0), ()),
    ],
    ids=["slice", "stride", "list", "tensor", "mask", "none"],
)
def test_rows_are_chosen_by_slice_list_tensor_or_mask(rows: Tensor | slice | list[int], names: tuple[int, ...]) -> None:
    check(state(4, 5, 6, 7, frames=True)[rows], *names, frames=True)
    check(state(4, 5, 6, 7)[rows], *names)


def test_choosing_from_chosen_rows() -> None:
    check(state(4, 5, 6).repeat(2)[[1, 4, 5]][torch.tensor([False, True, True])].repeat(2), 6, 6, 6, 6)
    check(state(4, 5, 6)[[2, 0]].repeat(2)[[1, 2]], 6, 4)


@pytest.mark.parametrize("frames", [False, True])
def test_fresh_rows_are_put_in_place_in_order(frames: bool) -> None:
    going, fresh = state(1, 2, 3, frames=frames), state(7, 8, frames=frames)
    check(going.put(torch.tensor([True, False, True]), fresh), 7, 2, 8, frames=frames)
    check(going.put(torch.tensor([False, False, False]), fresh[[]]), 1, 2, 3, frames=frames)
    check(going.put(torch.tensor([True, True, True]), fresh.repeat(2)[1:]), 7, 8, 8, frames=frames)
    check(going[[2, 1, 0]].put(torch.tensor([False, True, False]), fresh[[1]]), 3, 8, 1, frames=frames)


@pytest.mark.parametrize(("mask", "rows"), [([True, False, True], 1), ([True, False], 1)])
def test_fresh_rows_must_be_as_many_as_the_mask_names(mask: list[bool], rows: int) -> None:
    with pytest.raises(ValueError, match=rf"a mask of {len(mask)}, {sum(mask)} of them True, and 1 fresh rows for 3"):
        state(1, 2, 3).put(torch.tensor(mask), state(7))


def test_states_are_stacked_in_order() -> None:
    check(concatenate([state(1), state(2, 3), state(4)]), 1, 2, 3, 4)
    check(concatenate([state(1, frames=True), state(2, 3, frames=True)]), 1, 2, 3, frames=True)
    check(concatenate([state(1, 2, 3)[[2, 0]], state(4, 5).repeat(2)[1:]]), 3, 1, 4, 5, 5)


def test_a_stack_keeps_frames_only_where_all_have_them() -> None:
    check(concatenate([state(1, frames=True), state(2)]), 1, 2)


def test_states_without_maps_are_repeated_merged_and_stacked() -> None:
    bare = replace(state(1, 2), skips=Skips((), torch.arange(2)))
    both = concatenate([bare, bare.repeat(2)]).put(torch.tensor([False, True] * 3), bare.repeat(2)[[3, 3, 0]])
    assert both.skips.gather() == () and both.feature[:, 0].tolist() == [1, 2, 1, 2, 2, 1]


def test_a_state_is_not_changed_by_what_is_made_of_it() -> None:
    one = state(1, 2, 3, frames=True)
    one.repeat(2), one[[0]], one.put(torch.tensor([False, True, False]), state(7, frames=True))
    check(one, 1, 2, 3, frames=True)
