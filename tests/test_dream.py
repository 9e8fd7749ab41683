"""The core of imagined environments: what a row dreams follows from its seed and actions, and from nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from dreaming import BOX, CHOICE, CONV, DENSE, PAIR, Counter, actions_of, contexts, dream_of, trained

from envs.dream import Dream
from envs.starts import ContextStarts, MixedStarts, Starts
from worldmodel.config import ModelConfig
from worldmodel.errors import ConfigError, EnvError, WorldModelError
from worldmodel.spec import EnvSpec
from worldmodel.svg import SVG, Prediction

ZEROS = np.zeros((3, 2), np.float32)


def pixels(observation: dict[str, np.ndarray]) -> list[int]:
    """What `Counter` draws: one number a row."""
    frames = observation["frames"]
    assert (frames == frames[:, :1, :1, :1]).all()
    return frames[:, 0, 0, 0].tolist()


def play(dream: Dream, seeds: list[int | None], actions: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Everything each step gives, rows first; rows whose episode ends restart."""
    found = [dream.reset(seeds)]
    for taken in actions:
        step = dream.step(taken)
        more = {"rewards": step.rewards, "terminated": step.terminated, "truncated": step.truncated}
        found.append({**step.observation, **more})
        if step.ended.any():
            found.append(dream.restart(step.ended))
    return found


def test_a_row_starts_with_the_last_frame_of_a_context_as_it_was_seen() -> None:
    dream, starts = dream_of(num_envs=3), contexts().frames[:, -1].permute(0, 2, 3, 1).numpy()
    shown = [dream.reset([seed] * 3)["frames"] for seed in range(20)]
    assert all((frames == frames[0]).all() for frames in shown)  # rows of one seed
    drawn = [int(np.flatnonzero((starts == frames[0]).all((1, 2, 3)))[0]) for frames in shown]
    assert set(drawn) == {0, 1, 2, 3}


def test_a_step_earns_what_the_model_says_in_one_call_of_it() -> None:
    model = Counter()
    dream = dream_of(model, 3, observation="features")
    dream.reset([0, 1, 2])
    step = dream.step([[0.5, 0.25], [-1, 1], [1, 1]])
    assert step.rewards.tolist() == [0.375, 0, 1] and step.rewards.dtype == np.float32
    assert step.observation["features"].dtype == np.float32 and not step.ended.any()
    assert model.calls["imagine"] == [3]


def test_frames_show_the_steps_since_the_start() -> None:
    dream = dream_of(num_envs=2)
    start = dream.reset([3, 4])["frames"][:, 0, 0, 0].astype(int)
    for step in (1, 2):
        assert pixels(dream.step(ZEROS[:2]).observation) == np.minimum(start + step, 255).tolist()
    np.testing.assert_array_equal(dream.frames()[:, 0, 0, 0], np.minimum(start + 2, 255))


def test_frames_are_drawn_only_when_observed_or_asked_for_and_once() -> None:
    model = Counter()
    dream = dream_of(model, 3, observation="features")
    dream.reset([0, 1, 2])
    dream.frames()
    assert model.calls["decode"] == []  # starts were seen
    dream.step(ZEROS)
    dream.step(ZEROS)
    assert model.calls["decode"] == []
    np.testing.assert_array_equal(dream.frames(), dream.frames())
    assert model.calls["decode"] == [3]


def test_frames_are_stacked_from_the_context_on() -> None:
    """A row's stack begins with its context's frames; before an episode's first frame, and there alone, are zeros."""
    known, first = contexts(count=1, length=3, seed=3), contexts(count=1, length=1, seed=1)
    starts = MixedStarts(ContextStarts(known), ContextStarts(first), 0.5)
    dream = Dream(Counter(), starts, num_envs=8, horizon=3, stagger=False, frame_stack=2, precision="32-true")
    assert dream.observation_space.shape == (64, 64, 6)
    shown = dream.reset([*range(8)])["frames"]
    a, b = known.frames[0, 1:].permute(0, 2, 3, 1).numpy()
    begun = np.concatenate([np.zeros_like(a), first.frames[0, 0].permute(1, 2, 0).numpy()], -1)
    kinds = [(row == np.concatenate([a, b], -1)).all() for row in shown]
    assert all(known or (row == begun).all() for known, row in zip(kinds, shown, strict=True)) and len(set(kinds)) == 2
    frames = [shown[..., 3:]]
    for _ in range(3):
        step = dream.step(np.zeros((8, 2)))
        np.testing.assert_array_equal(step.observation["frames"][..., :3], frames[-1])
        frames.append(step.observation["frames"][..., 3:])
        np.testing.assert_array_equal(dream.frames(), frames[-1])
    assert step.truncated.all()
    again = dream.restart(np.arange(8) < 4)["frames"]  # the others show what they showed
    np.testing.assert_array_equal(again[4:], step.observation["frames"][4:])
    assert all((row == np.concatenate([a, b], -1)).all() or (row == begun).all() for row in again[:4])


def test_latents_are_drawn_from_the_prior_or_are_its_means() -> None:
    def totals(latents: str) -> np.ndarray:
        """The sum of every z, of 200 rows after a step."""
        dream = dream_of(num_envs=200, latents=latents)
        dream.reset(list(range(200)))
        dream.step(np.zeros((200, 2)))
        assert dream._state is not None
        return dream._state.feature[:, 0].numpy()

    assert (totals("mean") == 0).all()
    drawn = totals("sample")
    assert abs(drawn.mean()) < 0.3 and 0.8 < drawn.std() < 1.2


def test_terminations_are_as_likely_as_the_model_says() -> None:
    dream = dream_of(Counter(continues=0.9), 50, horizon=1000)
    ended = [step["terminated"] for step in play(dream, list(range(50)), np.zeros((100, 50, 2))) if "rewards" in step]
    assert abs(np.mean(ended) - 0.1) < 0.02  # five deviations of a share of 5000
    certain = dream_of(Counter(continues=1.0), 50)
    assert not any(
        step["terminated"].any() for step in play(certain, [0] * 50, np.zeros((40, 50, 2))) if "rewards" in step
    )


def test_a_row_that_terminates_at_its_horizon_is_not_truncated() -> None:
    dream = dream_of(Counter(continues=0.0), 1, horizon=1)
    dream.reset([0])
    step = dream.step(np.zeros((1, 2)))
    assert step.terminated.tolist() == [True] and step.truncated.tolist() == [False]


def lengths_of(dream: Dream, steps: int) -> list[list[int]]:
    """The lengths of every row's episodes."""
    found: list[list[int]] = [[] for _ in range(dream.num_envs)]
    began = np.zeros(dream.num_envs, int)
    dream.reset([None] * dream.num_envs)
    for count in range(1, steps + 1):
        step = dream.step(np.zeros((dream.num_envs, 2)))
        for row in np.flatnonzero(step.truncated):
            found[row].append(count - began[row])
            began[row] = count
        if step.ended.any():
            dream.restart(step.ended)
    return found


def test_first_horizons_are_staggered_and_the_others_full() -> None:
    lengths = lengths_of(dream_of(num_envs=16, horizon=50), 150)
    first = [row[0] for row in lengths]
    assert first[0] == 50 and len(set(first)) == 16 and 1 <= min(first) <= 5
    assert np.abs(np.sort(first) - np.linspace(3, 50, 16)).max() < 4  # spread evenly
    assert {length for row in lengths for length in row[1:]} == {50}
    assert [row[0] for row in lengths_of(dream_of(num_envs=5, horizon=50), 60)] == first[:5]


def test_a_reset_staggers_anew() -> None:
    dream = dream_of(num_envs=4, horizon=10)
    assert lengths_of(dream, 30) == lengths_of(dream, 30)


def test_horizons_are_full_where_nothing_is_staggered_and_after_partial_resets() -> None:
    assert lengths_of(dream_of(num_envs=4, horizon=10, stagger=False), 30) == [[10, 10, 10]] * 4
    dream = dream_of(num_envs=4, horizon=10)
    dream.reset([None] * 4)
    dream.reset([None] * 4, np.array([False, True, True, True]))
    ends = [dream.step(np.zeros((4, 2))).ended for _ in range(10)]
    assert np.argmax(ends, 0).tolist() == [9, 9, 9, 9]


@pytest.mark.parametrize(
    ("config", "feedback", "spec"),
    [(DENSE, "features", BOX), (CONV, "pixels", BOX), (PAIR, "features", CHOICE)],
    ids=["dense", "conv-pixels", "pair-choice"],
)
def test_a_row_dreams_the_same_whoever_dreams_beside_it(config: ModelConfig, feedback: str, spec: EnvSpec) -> None:
    """Though rows beside it end, and starts are drawn in advance, at other times."""
    model, actions = trained(config, spec, feedback), actions_of(spec, 8, 3)
    with torch.no_grad():
        model.continuation.layers[-1].bias.fill_(1.0)  # tasks terminate often
    together = play_rows(dream_of(model, 3, observation="both", horizon=1000), [7, 8, 9], actions)
    assert together["ended"].sum(0).min() >= 1
    for row in range(3):
        others = actions_of(spec, 8, 2, seed=6)
        others[:, 0] = actions[:, row]
        beside = play_rows(dream_of(model, 2, observation="both", horizon=1000), [7 + row, 3], others)
        same(row_of(together, row), row_of(beside, 0))


def play_rows(dream: Dream, seeds: list[int | None], actions: np.ndarray) -> dict[str, np.ndarray]:
    """Each step's observation after restarts, its end of episodes and rewards: (t, b, ...)."""
    found = [{**dream.reset(seeds), "rewards": np.zeros(dream.num_envs, np.float32), "ended": np.zeros(dream.num_envs)}]
    for taken in actions:
        step = dream.step(taken)
        seen = dream.restart(step.ended) if step.ended.any() else step.observation
        found.append({**seen, "rewards": step.rewards, "ended": step.ended})
    return {key: np.stack([step[key] for step in found]) for key in found[0]}


def row_of(found: dict[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    return {key: array[:, row] for key, array in found.items()}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """As far as sums over batches of other sizes round alike."""
    for key in a:
        if key == "frames":
            assert np.abs(a[key].astype(int) - b[key]).max() <= 1
        else:
            np.testing.assert_allclose(a[key], b[key], atol=1e-4)


def test_a_seed_repeats_a_dream_and_another_gives_another() -> None:
    model, actions = trained(), actions_of(BOX, 6, 2)

    def dreamt(seeds: list[int | None]) -> dict[str, np.ndarray]:
        return play_rows(dream_of(model, 2, observation="both", horizon=4), seeds, actions)

    first, again, other = dreamt([1, 2]), dreamt([1, 2]), dreamt([1, 3])
    for key in first:
        np.testing.assert_array_equal(first[key], again[key])
    assert np.abs(first["features"][:, 1] - other["features"][:, 1]).max() > 0.01
    np.testing.assert_array_equal(first["features"][:, 0], other["features"][:, 0])


def test_without_a_seed_the_streams_go_on_and_with_one_they_start_anew() -> None:
    dream, starts = dream_of(trained(), 1, observation="both"), []
    for seed in (4, None, None, 4, None, None):
        starts.append((dream.reset([seed])["frames"], dream.step([[0, 0]]).observation["features"]))
    for before, after in zip(starts[:3], starts[3:], strict=True):
        for array, again in zip(before, after, strict=True):
            np.testing.assert_array_equal(array, again)
    assert not np.array_equal(starts[0][1], starts[1][1])


def test_some_rows_reset_and_the_others_go_on() -> None:
    dream = dream_of(num_envs=3)
    before = dream.reset([0, 1, 2])["frames"]
    dream.step(ZEROS)
    after = dream.reset([9, 1, 9], np.array([False, True, False]))["frames"]
    np.testing.assert_array_equal(after[1], before[1])
    expected = np.minimum(before[[0, 2], 0, 0, 0].astype(int) + 1, 255)
    np.testing.assert_array_equal(after[[0, 2], 0, 0, 0], expected)


def test_the_next_starts_of_all_rows_are_filtered_in_one_call() -> None:
    model = Counter()
    dream = dream_of(model, 8, horizon=40, observation="features")
    play(dream, [None] * 8, np.zeros((120, 8, 2)))
    assert model.calls["initial"][:3] == [1, 8, 8]  # of the spaces, of the reset, and of the second episodes
    assert len(model.calls["initial"]) <= 6  # 24 restarts or so


@pytest.mark.parametrize("model", [trained(PAIR), trained(CONV, feedback="pixels")], ids=["pair", "pixels"])
def test_contexts_of_several_lengths_start_the_rows_that_drew_them(model: SVG) -> None:
    """Each row dreams as it does beside rows whose contexts are all as long as its own."""
    short, long = (ContextStarts(contexts(count=1, length=length, seed=length)) for length in (1, 3))

    def dreamed(starts: Starts) -> np.ndarray:
        """(rows, features of three moments)"""
        dream = Dream(model, starts, num_envs=8, observation="features", latents="mean", precision="32-true")
        found = [
            dream.reset([*range(8)]),
            dream.restart(np.arange(8) % 2 == 0),
            dream.step(np.zeros((8, 2))).observation,
        ]
        return np.stack([observation["features"] for observation in found], 1)

    mixed, *alone = (dreamed(starts) for starts in (MixedStarts(long, short, 0.5), short, long))
    like_short, like_long = (np.isclose(mixed, other, atol=1e-5).all(2) for other in alone)
    assert (like_short ^ like_long).all() and all(like.any(0).all() for like in (like_short, like_long))


def test_a_reset_filters_anew_since_the_model_may_have_been_fitted_on() -> None:
    model = Counter()
    dream = dream_of(model, 2, horizon=2, observation="features")
    play(dream, [0, 1], np.zeros((3, 2, 2)))
    before = len(model.calls["initial"])
    dream.reset([None, None])
    assert model.calls["initial"][before:] == [2]


def test_arrays_are_the_callers_own() -> None:
    dream = dream_of(num_envs=2, observation="both")
    first = dream.reset([0, 1])
    step = dream.step(ZEROS[:2])
    kept = step.observation["frames"].copy()
    for array in (first["frames"], step.observation["frames"], dream.frames()):
        array[:] = 7
    np.testing.assert_array_equal(dream.frames(), kept)
    rows = np.array([True, False])
    np.testing.assert_array_equal(dream.restart(rows)["frames"][1], kept[1])


class Broken(Counter):
    """Imagines something that is not finite in row 1, from step 3 on."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def imagine(self, state: Any, action: torch.Tensor, *, noise: torch.Tensor | None = None) -> Prediction:
        found = super().imagine(state, action, noise=noise)
        if found.state.feature[1, 1] >= 3:
            place = {"reward": found.reward, "continuation": found.continues, "feature": found.state.feature[:, 0]}
            if self.what in place:
                place[self.what][1] = float("nan")
        return found

    def decode(self, state: Any) -> torch.Tensor:
        frames = super().decode(state).clone()
        if self.what == "frame" and state.feature[1, 1] >= 3:
            frames[1, 0, 5, 5] = float("nan")
        return frames


@pytest.mark.parametrize("what", ["reward", "continuation", "feature", "frame"])
def test_what_is_not_finite_stops_with_its_step_and_row(what: str) -> None:
    dream = dream_of(Broken(what), 3)
    dream.reset([0, 1, 2])
    dream.step(ZEROS)
    dream.step(ZEROS)
    with pytest.raises(WorldModelError, match=f"the {what} that the model imagines in row 1 at step 3 of its episode"):
        dream.step(ZEROS)
    with pytest.raises(EnvError, match=r"rows \[0, 1, 2\] are in no episode: call reset"):
        dream.step(ZEROS)
    dream.reset([0, 1, 2])
    dream.step(ZEROS)


def test_frames_that_are_not_finite_are_not_shown_either() -> None:
    dream = dream_of(Broken("frame"), 3, observation="features")
    dream.reset([0, 1, 2])
    for _ in range(3):
        dream.step(ZEROS)
    for _ in range(2):
        with pytest.raises(WorldModelError, match="the frame that the model imagines in row 1 at step 3"):
            dream.frames()


@pytest.mark.parametrize(
    ("spec", "actions", "complaint"),
    [
        (BOX, [[0, 0], [0, 1.01], [0, 0]], r"the action of row 1 is \[0.0, 1.01\], which reach does not have: clip"),
        (BOX, [[0, 0], [0, 0], [float("nan"), 0]], r"row 2 is \[nan, 0.0\]"),
        (BOX, [[0, 0], [0, 0]], r"actions are (float64|int64) \(2, 2\): reach takes numbers \(3, 2\)"),
        (BOX, [0, 0, 0], r"\(3,\): reach takes numbers \(3, 2\)"),
        (CHOICE, [0, 3, 0], r"the action of row 1 is 3, which reach does not have: give integers 0 to 2"),
        (CHOICE, [0, -1, 0], r"row 1 is -1"),
        (CHOICE, [0.0, 1.0, 0.0], r"actions are float64 \(3,\): reach takes 3 integers, one a row"),
        (CHOICE, [0, 1], r"actions are int64 \(2,\): reach takes 3 integers"),
    ],
)
def test_actions_that_the_environment_does_not_have_move_nothing(spec: EnvSpec, actions: Any, complaint: str) -> None:
    dream = dream_of(Counter(spec), 3)
    before = dream.reset([0, 1, 2])["frames"]
    with pytest.raises(EnvError, match=complaint):
        dream.step(actions)
    np.testing.assert_array_equal(dream.frames(), before)
    good = [0, 1, 2] if spec is CHOICE else [[1, -1]] * 3
    assert not dream.step(good).ended.any()


def test_choices_reach_the_model_one_hot() -> None:
    dream = dream_of(Counter(CHOICE), 3, latents="mean")
    dream.reset([0, 1, 2])
    assert dream.step(np.array([0, 1, 2])).rewards.tolist() == [pytest.approx(1 / 3)] * 3
    assert dream._state is not None and dream._state.feature[:, 0].tolist() == [1, 1, 1]


def test_steps_outside_an_episode_are_refused() -> None:
    dream = dream_of(num_envs=3)
    with pytest.raises(EnvError, match=r"rows \[0, 1, 2\] are in no episode: call reset\(\) first"):
        dream.step(ZEROS)
    with pytest.raises(EnvError, match="there is no frame yet"):
        dream.frames()
    with pytest.raises(EnvError, match=r"rows \[0, 2\] are in no episode, and the mask leaves them out"):
        dream.reset([0, 1, 2], np.array([False, True, False]))
    dream = dream_of(num_envs=3, horizon=1)
    dream.reset([0, 1, 2])
    dream.step(ZEROS)
    with pytest.raises(EnvError, match="and after each episode's end"):
        dream.step(ZEROS)


def test_a_closed_dream_is_closed() -> None:
    dream = dream_of(num_envs=3)
    dream.reset([0, 1, 2])
    dream.close()
    dream.close()
    for call in (lambda: dream.step(ZEROS), lambda: dream.reset([0, 1, 2]), dream.frames):
        with pytest.raises(EnvError, match="the imagined environment is closed: make another"):
            call()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_envs": 0}, "num_envs is 0: set a whole number >= 1"),
        ({"horizon": 0}, "horizon is 0: set a whole number >= 1"),
        ({"latents": "means"}, "latents is 'means': set one of sample, mean"),
        ({"observation": "pixels"}, "observation is 'pixels': set one of frames, features, both"),
        ({"frame_stack": 0}, "frame_stack is 0: set a whole number >= 1"),
        (
            {"frame_stack": 2, "observation": "features"},
            "frame_stack is 2, but only features are seen: set observation",
        ),
        ({"precision": "16"}, "precision is '16': set auto or one of bf16-mixed, 32-true"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Dream(Counter(), ContextStarts(contexts()), **{"num_envs": 2, **settings})


def test_a_live_model_dreams_with_its_present_weights_and_keeps_its_gradients() -> None:
    model = trained()
    dream = dream_of(model, 1, observation="features", latents="mean")
    dream.reset([0])
    before = dream.step([[0, 0]]).observation["features"]
    with torch.no_grad():
        model.frame_predictor.output.bias.add_(1.0 * torch.arange(8))
    dream.reset([0])
    assert np.abs(dream.step([[0, 0]]).observation["features"] - before).max() > 0.01
    model.reward(torch.zeros(1, 8), torch.zeros(1, 2), torch.zeros(1, 8)).sum().backward()
    assert model.reward.layers[-1].bias.grad is not None
