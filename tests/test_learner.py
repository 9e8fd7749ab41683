"""The loop's pieces: who plays when, how often the model is fitted and measured, and that a saved run goes on."""

from __future__ import annotations

import copy
import math
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from agents.learner import Learner
from agents.loop import learn
from agents.planners import CEM, Plan, Planner
from agents.planning import PlanningAgent
from agents.run import Run, drop_unsaved
from agents.schedule import Progress, Schedule
from agents.seeds import seed_of
from worldmodel import command, units
from worldmodel.build import build
from worldmodel.checkpoint import read_checkpoint
from worldmodel.config import ModelConfig
from worldmodel.episode import Episode, episode_path, load_episode
from worldmodel.errors import CheckpointError, ConfigError, EnvFailure
from worldmodel.losses import Weights
from worldmodel.pretrained import from_pretrained
from worldmodel.records import Records, read_records
from worldmodel.replay import Replay
from worldmodel.rollout import Unrolling
from worldmodel.spec import EnvSpec
from worldmodel.svg import SVG
from worldmodel.trainer import TrainConfig, Trainer, make_fabric

DECISIONS, REPEAT = 4, 3  # of an episode; simulator steps of a decision
SPEC = EnvSpec("fade", "out", "box", 1, (-1.0,), (1.0,), REPEAT, DECISIONS * REPEAT, (8, 8))
SCHEDULE = Schedule(
    seed=0,
    episodes=4,
    seed_episodes=2,
    first_updates=3,
    updates=2,
    exploration=0.3,
    final_exploration=0.1,
    exploration_episodes=4,
    evaluate_every=2,
    evaluation_episodes=3,
    context=2,
)


class Fade(gymnasium.Env[np.ndarray, Any]):
    """A grey drawn by the seed that the actions lighten and darken; the reward is the action."""

    observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, failing: Sequence[int] = ()) -> None:
        self.failing, self.begun, self.closed = failing, 0, False  # by number, the episodes in which it fails

    def _frame(self) -> np.ndarray:
        return np.full((8, 8, 3), self.grey, np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.grey, self.count = float(self.np_random.uniform(50, 200)), 0
        self.begun += 1
        return self._frame(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.grey, self.count = self.grey + 10 * float(action[0]), self.count + 1
        if self.count == 2 and self.begun - 1 in self.failing:
            raise EnvFailure("it faded")
        return self._frame(), float(action[0]), False, self.count == DECISIONS, {}

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True)
class Steady:
    """Always plans the same."""

    horizon: int = 2

    def plan(
        self,
        score: Any,
        low: Tensor,
        high: Tensor,
        *,
        warm_start: Plan | None,
        generator: torch.Generator,
        proposals: Tensor | None = None,
    ) -> Plan:
        actions = torch.full((self.horizon, 1), 0.25)
        return Plan(actions=actions, mean=actions, elites=actions[None], score=0.0)


def tiny() -> SVG:
    torch.manual_seed(0)
    sizes = {"patch": 1, "feature": 8, "hidden": 8, "layers": 1, "latent": 2, "head": 8}
    config = ModelConfig(
        layer="dense",
        recurrence="lstm",
        features="frame",
        backbone="vgg",
        K=1,
        M=1,
        stages=((8, 1),),
        advance="residual",
        skips=False,
        **sizes,
    )
    return build(config, SPEC)


def make(
    folder: Path,
    schedule: Schedule = SCHEDULE,
    *,
    progress: Progress = Progress(),  # noqa: B008  # frozen
    planner: Planner = Steady(),
    model: SVG | None = None,
    failing: Sequence[int] = (),
) -> Learner:
    folder.mkdir(exist_ok=True)
    model = model or tiny()
    terms = ("beta", "observed", "forced", "open_loop", "feature", "reward", "continuation")
    weights = Weights(reconstruction="l2", **dict.fromkeys(terms, 1.0))
    unrolling = Unrolling(context=1, open_loop=2, stride=1, draw_observed=1.0, draw_forced=1.0, draw_open_loop=1.0)
    config = TrainConfig(batch=2, window=4, learning_rate=1e-3, clip=10, unrolling=unrolling, weights=weights)
    trainer = Trainer(model, config, make_fabric("cpu", 1, "32-true"))
    run = Run(folder, {}, {}, schedule, Fade(failing), model, trainer, progress)
    records = Records(folder, keep=progress.metrics_bytes)
    return Learner(run, actor=PlanningAgent(model, planner), name="planner", records=records)


def play(learner: Learner, count: int) -> list[tuple[Episode, list[int]]]:
    """Episodes, and the updates after each."""
    return [(learner.collect(), list(learner.fit())) for _ in range(count)]


def same(a: Episode, b: Episode) -> bool:
    return np.array_equal(a.frames, b.frames) and np.array_equal(a.actions, b.actions)


def test_chance_plays_first_and_then_the_planner_explores(tmp_path: Path) -> None:
    learner = make(tmp_path)
    episodes = [episode for episode, _ in play(learner, 4)]
    learner.records.close()
    assert [episode.actor for episode in episodes] == ["random", "random", "planner", "planner"]
    assert len({episode.seed for episode in episodes}) == 4
    noise = np.concatenate([episode.actions for episode in episodes[2:]]) - 0.25
    assert (noise != 0).all() and np.abs(noise).max() < 1
    for index, episode in enumerate(episodes):
        assert same(load_episode(episode_path(tmp_path / "episodes", index)), episode)
    records = read_records(tmp_path / "metrics.jsonl", "episode")
    assert [record["actor"] for record in records] == ["random", "random", "planner", "planner"]
    returns = [episode.actions.sum() for episode in episodes]  # a reward is the action
    assert [record["episode_return"] for record in records] == pytest.approx(returns)


def test_the_model_is_fitted_once_the_seed_episodes_are_there(tmp_path: Path) -> None:
    learner = make(tmp_path)
    before = [parameter.clone() for parameter in learner.model.parameters()]
    assert [updates for _, updates in play(learner, 1)] == [[]]
    assert all(torch.equal(*pair) for pair in zip(before, learner.model.parameters(), strict=True))
    assert [updates for _, updates in play(learner, 3)] == [[1, 2, 3], [1, 2], [1, 2]]
    learner.records.close()
    assert not all(torch.equal(*pair) for pair in zip(before, learner.model.parameters(), strict=True))
    records = read_records(tmp_path / "metrics.jsonl", "fit")
    assert [(record["episodes"], record["updates"]) for record in records] == [(2, 3), (3, 5), (4, 7)]
    assert all(np.isfinite(record["loss"]) and record["skipped"] == 0 for record in records)


def test_frames_count_action_repeat_and_seed_episodes_but_no_evaluation(tmp_path: Path) -> None:
    learner = make(tmp_path)
    learner.evaluate_random()
    play(learner, 2)
    learner.evaluate()
    play(learner, 1)
    learner.records.close()
    path = tmp_path / "metrics.jsonl"
    assert [record["env_frames"] for record in read_records(path, "episode")] == [12, 24, 36]
    assert [record["env_frames"] for record in read_records(path, "random_policy")] == [0]
    assert [record["env_frames"] for record in read_records(path, "evaluation")] == [24]
    assert learner.progress.env_frames == 36


@pytest.mark.parametrize(
    ("seed_episodes", "evaluate_every", "episodes", "due"),
    [(3, 4, 10, [4, 8, 10]), (4, 4, 8, [4, 8]), (5, 2, 9, [6, 8, 9]), (2, 1, 4, [2, 3, 4]), (1, 50, 3, [3])],
)
def test_evaluations_are_every_few_episodes_and_after_the_last(
    seed_episodes: int, evaluate_every: int, episodes: int, due: list[int]
) -> None:
    counts = {"seed_episodes": seed_episodes, "evaluate_every": evaluate_every, "episodes": episodes}
    schedule = replace(SCHEDULE, **counts)
    assert [played for played in range(1, episodes + 1) if schedule.due(played)] == due


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"episodes": 0}, "episodes is 0: set a whole number >= 1"),
        ({"evaluate_every": 0}, "evaluate_every is 0: set a whole number >= 1"),
        ({"seed": -1}, "seed is -1: set a whole number >= 0"),
        ({"episodes": "abc"}, "episodes is 'abc': set a whole number >= 1"),
        ({"seed_episodes": 5}, r"seed_episodes \(5\) exceed episodes \(4\): set seed_episodes <= 4"),
        ({"exploration": math.nan}, "exploration is nan: set a finite number >= 0"),
        ({"final_exploration": -0.1}, "final_exploration is -0.1: set a finite number >= 0"),
        ({"exploration_episodes": 0}, "exploration_episodes is 0: set a whole number >= 1"),
    ],
)
def test_a_schedule_that_cannot_be_is_an_error(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(SCHEDULE, **changes)


def test_exploration_falls_from_the_first_planned_episode_on() -> None:
    assert [SCHEDULE.noise(played) for played in range(9)] == pytest.approx(
        [0.3, 0.3, 0.3, 0.25, 0.2, 0.15, 0.1, 0.1, 0.1]
    )


def test_episodes_beyond_the_checkpoint_are_dropped(tmp_path: Path) -> None:
    killed = make(tmp_path)
    play(killed, 4)
    killed.records.close()
    with pytest.raises(CheckpointError, match=r"holds 4 episodes, its newest checkpoint knows 1: restore the check"):
        drop_unsaved(tmp_path, 1)
    drop_unsaved(tmp_path, 3)
    assert sorted(path.stem for path in (tmp_path / "episodes").iterdir()) == ["000000", "000001", "000002"]
    with pytest.raises(CheckpointError, match=r"lacks 000003\.safetensors, 000004\.safetensors of the 5 episodes that"):
        drop_unsaved(tmp_path, 5)


def test_an_episode_that_is_missing_is_not_made_up_for_by_another(tmp_path: Path) -> None:
    killed = make(tmp_path)
    play(killed, 4)
    killed.records.close()
    episode_path(tmp_path / "episodes", 1).unlink()
    with pytest.raises(CheckpointError, match=r"lacks 000001\.safetensors of the 3 episodes that its newest"):
        drop_unsaved(tmp_path, 3)
    assert len(list((tmp_path / "episodes").iterdir())) == 3


def test_evaluations_start_alike_without_exploration_and_teach_nothing(tmp_path: Path) -> None:
    learner = make(tmp_path)
    chance = learner.evaluate_random()
    trained = [episode.seed for episode, _ in play(learner, 2)]
    first = learner.evaluate()
    trained += [episode.seed for episode, _ in play(learner, 2)]
    second = learner.evaluate()
    learner.records.close()
    assert len(chance) == len(first) == 3
    assert len({episode.frames[0, 0, 0, 0] for episode in first}) == 3
    for a, b, c in zip(chance, first, second, strict=True):
        assert a.seed == b.seed == c.seed and np.array_equal(a.frames[0], b.frames[0]) and same(b, c)
        assert b.seed not in trained and (b.actions == 0.25).all() and not (a.actions == 0.25).any()
    assert len(list((tmp_path / "episodes").iterdir())) == 4
    assert len(list((tmp_path / "evaluation").iterdir())) == 3
    assert all(map(same, learner.evaluated(), second))
    record = read_records(tmp_path / "metrics.jsonl", "evaluation")[-1]
    assert record["returns"] == [1.0, 1.0, 1.0] and record["return_mean"] == 1.0  # 4 decisions of 0.25


def test_a_saved_run_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    planner = CEM(horizon=2, candidates=4, iterations=1, elites=2)
    whole = make(tmp_path / "whole", planner=planner)
    play(whole, 4)
    whole.records.close()

    killed = make(tmp_path / "cut", planner=planner)
    play(killed, 3)
    path = killed.save()
    play(killed, 1)  # lost
    killed.records.close()
    state = read_checkpoint(path).trainer()
    progress = Progress(**state["progress"])
    assert progress.episodes == 3 and progress.env_frames == 36
    resumed = make(tmp_path / "cut", planner=planner, model=from_pretrained(path), progress=progress)
    resumed.trainer.load_state_dict(state["trainer"])
    play(resumed, 1)
    resumed.records.close()

    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    for index in range(4):
        a, b = (load_episode(episode_path(tmp_path / name / "episodes", index)) for name in ("whole", "cut"))
        assert same(a, b) and (a.seed, a.actor) == (b.seed, b.actor)
    for kind in ("episode", "fit"):
        records = [read_records(tmp_path / name / "metrics.jsonl", kind) for name in ("whole", "cut")]
        assert [{**r, "seconds": 0} for r in records[0]] == [{**r, "seconds": 0} for r in records[1]]


@pytest.mark.parametrize("torn", [False, True])
def test_a_run_is_saved_between_updates_and_never_within_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torn: bool
) -> None:
    """A second signal may come when weights have moved and the update is not counted yet."""
    learner = make(tmp_path)
    update, count = learner.trainer._update, iter(range(9))

    def interrupted(*arguments: Any) -> dict[str, float]:
        terms = update(*arguments)
        if next(count) == 1:
            os.kill(os.getpid(), signal.SIGINT)
            if torn:
                os.kill(os.getpid(), signal.SIGINT)
        return terms

    monkeypatch.setattr(learner.trainer, "_update", interrupted)
    before = signal.signal(signal.SIGINT, command._interrupt)
    try:
        with pytest.raises(command.Interrupted):
            learn(learner)
    finally:
        signal.signal(signal.SIGINT, before)
        learner.records.close()
    saved = sorted(path.name for path in (tmp_path / "checkpoints").glob("0*"))
    assert saved == (["000001"] if torn else ["000001", "000002-fit-000002"])
    if not torn:
        state = read_checkpoint(tmp_path / "checkpoints" / saved[-1]).trainer()
        assert (state["trainer"]["updates"], len(state["terms"]), state["progress"]["episodes"]) == (2, 2, 2)


def test_a_model_that_diverges_in_imagination_is_told_of_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learner = make(tmp_path)
    play(learner, 1)
    with torch.no_grad():
        for weight in learner.model.decoder.parameters():
            weight.fill_(torch.nan)
    learner.evaluate()
    (told,) = read_records(tmp_path / "metrics.jsonl", "diverged")
    assert "finite" in told["why"] and "nothing is filmed" in caplog.text
    assert len(read_records(tmp_path / "metrics.jsonl", "evaluation")) == 1
    learner.records.close()


def test_an_evaluation_leaves_a_film_of_the_dream_in_tensorboard(tmp_path: Path) -> None:
    learner = make(tmp_path)
    list(play(learner, 2))
    learner.evaluate()
    learner.records.close()
    board = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0})
    board.Reload()
    (event,) = board.Images("dream")
    assert event.step == learner.progress.env_frames
    with Image.open(BytesIO(event.encoded_image_string)) as image:
        assert image.n_frames == len(learner.evaluated()[0]) + 1


def failures(folder: Path) -> list[tuple[Any, ...]]:
    """What is recorded of them, in order; each with how many episodes there were."""
    records = read_records(folder / "metrics.jsonl", "env_failure")
    assert all(record["error"] == "it faded" and record["env_frames"] == 12 * record["episodes"] for record in records)
    return [tuple(record[key] for key in ("stream", "episode", "attempt", "seed", "episodes")) for record in records]


def test_an_episode_in_which_the_environment_fails_is_played_again_and_recorded(tmp_path: Path) -> None:
    learner = make(tmp_path, failing=(1, 2))
    episodes = [episode for episode, _ in play(learner, 3)]
    learner.close()
    seeds = [seed_of(0, "collect", index) for index in range(3)]
    assert [episode.seed for episode in episodes] == [seeds[0], seed_of(0, "retry", 5), seeds[2]]
    assert [load_episode(path).seed for path in sorted((tmp_path / "episodes").iterdir())] == [
        episode.seed for episode in episodes
    ]
    assert failures(tmp_path) == [("collect", 1, 1, seeds[1], 1), ("collect", 1, 2, seed_of(0, "retry", 4), 1)]
    assert learner.progress.episodes == 3 and learner.progress.env_frames == 36
    assert len(read_records(tmp_path / "metrics.jsonl", "episode")) == 3


def test_an_environment_that_fails_each_time_leaves_the_run_where_it_stood(tmp_path: Path) -> None:
    learner = make(tmp_path, failing=(2, 3, 4))
    play(learner, 2)
    before = replace(learner.progress)
    with pytest.raises(
        EnvFailure, match=r"failed in each of 3 attempts at episode 2 \(collect\): mend it; what was saved"
    ):
        learner.collect()
    assert replace(learner.progress, wall_clock_s=0) == replace(before, wall_clock_s=0)
    assert [path.stem for path in sorted((tmp_path / "episodes").iterdir())] == ["000000", "000001"]
    assert [attempt for _, _, attempt, *_ in failures(tmp_path)] == [1, 2, 3]
    learner.collect()  # it can be gone on with
    learner.close()
    assert learner.env.closed  # type: ignore[attr-defined]


def test_an_evaluation_in_which_the_environment_fails_has_the_same_starts(tmp_path: Path) -> None:
    whole, learner = make(tmp_path / "whole"), make(tmp_path / "failed", failing=(0, 2, 3))
    expected, found = (one.evaluate_random() for one in (whole, learner))
    whole.close()
    learner.close()
    assert all(same(a, b) for a, b in zip(expected, found, strict=True))
    starts = [seed_of(0, "evaluate", index) for index in range(2)]
    assert failures(tmp_path / "failed") == [
        ("evaluate", 0, 1, starts[0], 0),
        ("evaluate", 1, 1, starts[1], 0),
        ("evaluate", 1, 2, starts[1], 0),
    ]


def earning_more(folder: Path) -> Learner:
    """Two seed episodes were fitted; since then each action earns a hundred times as much."""
    learner = make(folder)
    play(learner, 2)
    step = learner.env.step
    learner.env.step = lambda action: (*(found := step(action))[:1], 100 * found[1], *found[2:])
    return learner


def test_a_model_counts_rewards_in_the_unit_of_what_is_earned_by_now(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    learner = earning_more(tmp_path)
    play(learner, 1)
    learner.records.close()
    first, second = (record["reward_unit"] for record in read_records(tmp_path / "metrics.jsonl", "fit"))
    assert second > 10 * first and second == learner.model.statistics.reward_std.item()
    assert "rewards have grown: they are counted in a unit of" in caplog.text


def test_a_signal_amid_a_change_of_the_unit_waits_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model half of whose parts count in another unit would be saved, and gone on with."""
    learner = earning_more(tmp_path)
    learner.collect()
    expected = copy.deepcopy(learner.model)
    units.change_unit(expected, *Replay(tmp_path / "episodes").reward_statistics())

    def rescale(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        original(*arguments)

    original = units._rescale
    monkeypatch.setattr(units, "_rescale", rescale)
    before = signal.signal(signal.SIGTERM, command._interrupt)
    try:
        with pytest.raises(command.Interrupted) as raised:
            next(learner.fit())
    finally:
        signal.signal(signal.SIGTERM, before)
    learner.records.close()
    assert not raised.value.torn
    for name, weight in expected.state_dict().items():
        assert torch.equal(learner.model.state_dict()[name], weight), name
