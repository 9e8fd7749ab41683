"""What holds for any input: hypothesis looks for one for which it does not."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_replay import counting, fill, places
from test_state import check, state

from worldmodel.episode import Episode, load_episode, read_header, save_episode
from worldmodel.errors import WorldModelError
from worldmodel.files import atomic_folder, read_manifest, verify_manifest
from worldmodel.replay import Replay
from worldmodel.spec import EnvSpec
from worldmodel.state import State, concatenate

pytestmark = pytest.mark.faults

NUMBERS = st.integers(0, 99)


@settings(max_examples=150)
@given(st.lists(NUMBERS, min_size=1, max_size=4), st.booleans(), st.data())
def test_states_are_lists_of_rows(rows: list[int], frames: bool, data: st.DataObject) -> None:
    found, names = state(*rows, frames=frames), rows
    for _ in range(data.draw(st.integers(1, 6), "operations")):
        operation = data.draw(st.sampled_from(["repeat", "index", "mask", "slice", "put", "concatenate"]))
        found, names = OPERATIONS[operation](found, names, frames, data)
        assume(names)
    check(found, *names, frames=frames)


def repeat(found: State, names: list[int], frames: bool, data: st.DataObject) -> tuple[State, list[int]]:
    n = data.draw(st.integers(1, max(1, 24 // len(names))))
    return found.repeat(n), [name for name in names for _ in range(n)]


def index(found: State, names: list[int], frames: bool, data: st.DataObject) -> tuple[State, list[int]]:
    chosen = data.draw(st.lists(st.integers(-len(names), len(names) - 1), min_size=1, max_size=6))
    return found[chosen], [names[i] for i in chosen]


def mask(found: State, names: list[int], frames: bool, data: st.DataObject) -> tuple[State, list[int]]:
    kept = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    return found[torch.tensor(kept)], [name for name, keep in zip(names, kept, strict=True) if keep]


def cut(found: State, names: list[int], frames: bool, data: st.DataObject) -> tuple[State, list[int]]:
    part = data.draw(st.slices(len(names)).filter(lambda part: part.step is None or part.step > 0))
    return found[part], names[part]


def put(found: State, names: list[int], frames: bool, data: st.DataObject) -> tuple[State, list[int]]:
    chosen = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    fresh = data.draw(st.lists(NUMBERS, min_size=sum(chosen), max_size=sum(chosen)))
    rest = iter(fresh)
    merged = found.put(torch.tensor(chosen), state(*fresh, frames=frames)) if fresh else found
    return merged, [next(rest) if new else name for name, new in zip(names, chosen, strict=True)]


def join(found: State, names: list[int], frames: bool, data: st.DataObject) -> tuple[State, list[int]]:
    other = data.draw(st.lists(NUMBERS, min_size=1, max_size=3))
    return concatenate([found, state(*other, frames=frames), found]), [*names, *other, *names]


OPERATIONS = {"repeat": repeat, "index": index, "mask": mask, "slice": cut, "put": put, "concatenate": join}


@settings(max_examples=100)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    ends=st.sets(st.integers(0, 4)),
    window=st.integers(2, 8),
    short=st.integers(0, 6),
    seed=st.integers(0, 2**32),
)
def test_windows_are_those_that_a_plain_reading_finds(
    lengths: list[int], ends: set[int], window: int, short: int, seed: int
) -> None:
    minimum = max(2, window - short)
    with tempfile.TemporaryDirectory() as folder:
        replay = Replay(fill(Path(folder), lengths, [*ends]))
        rng = np.random.default_rng(seed)
        possible = {(e, t) for e, length in enumerate(lengths) for t in range(length + 2 - minimum)}
        if not possible:
            try:
                replay.sample(4, window, rng, minimum=minimum)
                raise AssertionError("it drew from nothing")
            except WorldModelError:
                return
        batch = replay.sample(16, window, rng, minimum=minimum)
        wholes = [
            (e, turn * (window - 1)) for turn in range(12) for e, length in enumerate(lengths)
            if (turn + 1) * (window - 1) <= length
        ]  # fmt: skip
        assert replay.whole_windows(window) == len(wholes)
        known = {e: length + (e not in ends) for e, length in enumerate(lengths)}
        contexts = replay.contexts(6, minimum, rng)
        frames = contexts.frames[:, :, :2, 0, 0].numpy().astype(int)
        whole = replay.whole(len(wholes), window) if wholes else None
    episodes, times = places(batch)
    actions, rewards = batch.actions.numpy(), batch.rewards.numpy()
    for row in range(16):
        e, start = episodes[row, 0], times[row, 0]
        assert (e, start) in possible
        for i in range(window):
            assert (episodes[row, i], times[row, i]) == (e, min(start + i, lengths[e]))
        for i in range(window - 1):
            real = start + i < lengths[e]
            assert batch.mask[row, i] == real and rewards[row, i] == (1000 * e + start + i if real else 0)
            np.testing.assert_allclose(actions[row, i], [e / 100, (start + i) / 1000] if real else [0, 0], atol=1e-6)
            assert batch.continues[row, i] == (not (start + i == lengths[e] - 1 and e in ends))
    if whole is not None:
        found = list(zip(*(part[:, 0].tolist() for part in places(whole)), strict=True))
        assert found == wholes and bool(whole.mask.all())
    for window_frames in frames:  # (k, 2): episode and time
        e, start = window_frames[0]
        assert [tuple(pair) for pair in window_frames] == [(e, start + i) for i in range(len(window_frames))]
        assert len(window_frames) == min(minimum, max(known.values())) and start + len(window_frames) <= known[e]


SPECS = st.builds(
    lambda kind, size, bounds, repeat, limit, frame, words: EnvSpec(
        *words, kind, size, *((bounds[:size], bounds[4:][:size]) if kind == "box" else ((), ())), repeat, limit, frame
    ),
    kind=st.sampled_from(["box", "discrete"]),
    size=st.integers(1, 4),
    bounds=st.lists(st.floats(allow_nan=False, allow_subnormal=False), min_size=8, max_size=8).map(tuple),
    repeat=st.integers(1, 2**40),
    limit=st.integers(0, 2**40),
    frame=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    words=st.tuples(st.text(max_size=9), st.text(max_size=9)),
)


@settings(max_examples=150)
@given(
    spec=SPECS,
    length=st.integers(1, 6),
    flags=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(-1, 2**63),
    actor=st.text(max_size=20),
    draw=st.integers(0, 2**32),
)
def test_any_episode_comes_back(
    spec: EnvSpec, length: int, flags: tuple[bool, bool], seed: int, actor: str, draw: int
) -> None:
    rng = np.random.default_rng(draw)
    actions = rng.uniform(-1, 1, (length, spec.action_size)).astype(np.float32)
    if spec.action_kind == "discrete":
        actions = np.eye(spec.action_size, dtype=np.float32)[rng.integers(spec.action_size, size=length)]
    frames = rng.integers(0, 256, (length + 1, *spec.frame_size, 3), np.uint8)
    rewards = (rng.normal(size=length) * 10.0 ** rng.integers(-30, 30)).astype(np.float32)
    written = Episode(frames, actions, rewards, *flags, spec, seed, actor)
    with tempfile.TemporaryDirectory() as folder:
        save_episode(written, Path(folder) / "a.safetensors")
        found, header = load_episode(Path(folder) / "a.safetensors"), read_header(Path(folder) / "a.safetensors")
    for name in ("frames", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(found, name), getattr(written, name))
    for each in (found, header):
        assert (each.terminated, each.truncated, each.spec, each.seed, each.actor) == (*flags, spec, seed, actor)
    assert replace(written, seed=0).total == found.total


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..", "manifest.json") and len(name.encode()) < 200
)


@settings(max_examples=100)
@given(st.dictionaries(NAMES, st.binary(max_size=64), max_size=4), st.data())
def test_any_folder_is_listed_and_any_change_is_found(files: dict[str, bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "whole"
        with atomic_folder(folder) as temporary:
            for name, content in files.items():
                (temporary / name).write_bytes(content)
        assert set(read_manifest(folder)) == set(files)
        verify_manifest(folder)
        if not files:
            return
        name = data.draw(st.sampled_from(sorted(files)))
        content = data.draw(st.binary(max_size=64))
        assume(content != files[name])
        (folder / name).write_bytes(content)
        try:
            verify_manifest(folder)
            raise AssertionError(f"{name} was changed unseen")
        except WorldModelError as error:
            assert name in str(error)


def test_the_plain_reading_reads_what_is_there() -> None:
    """`counting` is what the windows above are compared by."""
    episode = counting(3, 4)
    assert episode.rewards.tolist() == [3000, 3001, 3002, 3003]
