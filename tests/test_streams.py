"""A row's streams follow from its seed; its starts do so whenever they are drawn."""

from __future__ import annotations

from envs.streams import Streams


def drawn(streams: Streams) -> list[float]:
    """The starts of three episodes, and a step before each."""
    found = []
    for _ in range(3):
        found += [streams.steps.random(), streams.next_start().random()]
        streams.episode += 1
    return found


def test_a_seed_gives_every_number_and_another_gives_others() -> None:
    first = drawn(Streams(4))
    assert first == drawn(Streams(4)) and len(set(first)) == 6
    assert not set(first) & set(drawn(Streams(5)))


def test_without_a_seed_streams_differ() -> None:
    assert not set(drawn(Streams())) & set(drawn(Streams()))


def test_starts_and_steps_do_not_move_each_other() -> None:
    streams, expected = Streams(4), drawn(Streams(4))
    assert [streams.next_start().random() for _ in range(5)] == [expected[1]] * 5
    streams.episode = 2
    assert streams.next_start().random() == expected[5]
    assert [streams.steps.random() for _ in range(3)] == expected[::2]
