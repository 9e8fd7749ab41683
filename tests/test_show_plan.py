"""What a planner thinks, filmed: the right futures in the right places, and numbers that agree."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from commands import Command, running
from dreaming import PAIR, Counter, contexts, trained
from PIL import Image

from agents.planners import CEM
from agents.planning import PlanningAgent
from agents.tracing import Tracing, Watched
from envs import make_env
from worldmodel.errors import DataError
from worldmodel.pictures.search import PLOTS, Searched, search_film
from worldmodel.pictures.video import CAPTION_HEIGHT, SEPARATOR
from worldmodel.pretrained import save_pretrained
from worldmodel.records import read_records

ENV = {
    **{"backend": "gymnasium", "name": "cartpole_gym", "id": "CartPole-v1", "kwargs": {}, "frames": "render"},
    **{"action_repeat": 2, "time_limit": 20, "size": [64, 64]},
}
TINY = [
    *("env=cartpole_gym", "env.action_repeat=2", "env.time_limit=20", "accelerator=cpu", "precision=32-true"),
    *("planner.candidates=8", "planner.iterations=2", "planner.elites=3", "planner.horizon=4"),
]


def searched(number: int, m: int = 2, steps: int = 3) -> Searched:
    """What was seen is of grey level 10 · number; step j of plan i is imagined to be 1 + j + 3 i above."""
    seen = np.full((8, 8, 3), 10 * number, np.uint8)
    above = 1 + np.arange(steps) + 3 * np.arange(m)[:, None]
    return Searched(
        frame=seen,
        futures=(seen + above[..., None, None, None]).astype(np.uint8),
        returns=np.array([2.0, 1.0][:m]),
        ahead=np.array([1, 3, 5][:steps]),
        scores=[np.array([1.0, 2.0, 3.0]), np.array([2.5, 3.0])],
        spreads=np.array([[1.0, 0.8], [0.5, 0.4]]),
    )


def test_each_decision_shows_what_was_seen_and_its_best_plans_futures() -> None:
    searches = [searched(i) for i in range(4)]
    frames = np.stack([*search_film(searches, [1.0, 2.0, 3.0, 4.0], [1.5, 2.5, None, None], scale=10)])
    label = 2 * CAPTION_HEIGHT + 20
    left = 160 + SEPARATOR + label
    assert frames.shape == (4, CAPTION_HEIGHT + 2 * (80 + SEPARATOR) + PLOTS, left + 3 * (80 + SEPARATOR), 3)
    for number, frame in enumerate(frames):
        assert (frame[CAPTION_HEIGHT : CAPTION_HEIGHT + 160, :160] == 10 * number).all()
        for i in range(2):
            for j in range(3):
                y, x = CAPTION_HEIGHT + i * (80 + SEPARATOR), left + j * (80 + SEPARATOR)
                assert (frame[y : y + 80, x : x + 80] == 10 * number + 1 + j + 3 * i).all()
        assert (frame[-PLOTS:] != frames[number - 1][-PLOTS:]).any()  # the mark moves


def test_what_does_not_fit_together_is_not_drawn() -> None:
    with pytest.raises(DataError, match="1 searches, 2 expected and 1 realised returns: give one of each"):
        search_film([searched(0)], [1.0, 2.0], [None])
    with pytest.raises(DataError, match="0 searches"):
        search_film([], [], [])


def test_what_is_noted_is_what_was_searched() -> None:
    """`Counter` draws the steps since the context in grey, and a step earns the mean of its action."""
    tracing = Tracing(CEM(horizon=5, candidates=30, iterations=3, elites=4))
    watched = Watched(PlanningAgent(Counter(), tracing), tracing, elites=2, columns=3)
    generator, frame = torch.Generator().manual_seed(0), np.full((64, 64, 3), 20, np.uint8)
    watched.reset(frame)
    action = watched.act(generator)
    watched.observe(action, frame + 5, generator)
    watched.act(generator)
    one, two = watched.searches
    assert (one.frame == 20).all() and (two.frame == 25).all()
    assert one.ahead.tolist() == [1, 3, 5]
    assert one.futures[0, :, 0, 0, 0].tolist() == [21, 23, 25] and one.futures.shape == (2, 3, 64, 64, 3)
    assert [len(scores) for scores in one.scores] == [30] * 3 and one.spreads.shape == (3, 5)
    assert one.spreads[-1].mean() < one.spreads[0].mean()
    assert one.returns[0] >= one.returns[1] > 0
    elites = tracing.iterations[-1].scores.sort(descending=True).values[:2]
    np.testing.assert_allclose(two.returns, elites, rtol=1e-5)
    assert len(watched.expected) == 2 and 0 < watched.expected[1] < 5
    watched.reset(frame)
    assert watched.searches == [] and watched.expected == []


def test_one_column_is_the_horizons_end() -> None:
    tracing = Tracing(CEM(horizon=4, candidates=8, iterations=1, elites=2))
    watched = Watched(PlanningAgent(Counter(), tracing), tracing, elites=1, columns=1)
    watched.reset(np.zeros((64, 64, 3), np.uint8))
    watched.act(torch.Generator().manual_seed(0))
    assert watched.searches[0].ahead.tolist() == [4]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    env = make_env(ENV)
    save_pretrained(home / "model", trained(PAIR, env.env_spec), contexts(env.env_spec))
    env.close()
    (home / "taken").mkdir()
    (home / "taken" / "config.yaml").touch()
    return home


@pytest.fixture(scope="module")
def show_plan(home: Path) -> Iterator[Command]:
    with running("agents.show_plan", home, *TINY, "checkpoint=model") as command:
        yield command


def test_it_films_an_episode_and_says_what_plans_were_worth(show_plan: Command, home: Path) -> None:
    outcome = show_plan("decision=1", "elites=2", "columns=2", "run=shown")
    assert outcome.status == 0, outcome.stderr
    told, worth, *files = outcome.stdout.splitlines()
    assert files == ["shown/plan.png", "shown/plan.mp4", "shown/metrics.jsonl", "shown/report.html"]
    with av.open(home / "shown" / "plan.mp4") as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    (record,) = read_records(home / "shown" / "metrics.jsonl", "plans")
    assert told.startswith(
        f"return {record['episode_return']:.1f} in {len(frames)} decisions; the picture is of decision 1"
    )
    assert record["horizon"] == 4 and record["env"] == "cartpole_gym"
    expected, realised = re.findall(r"-?\d+\.\d\d", worth)
    assert (expected, realised) == (f"{record['expected']:.2f}", f"{record['realised']:.2f}")
    report = (home / "shown" / "report.html").read_text()
    assert "What plans were worth" in report and f"<td>{expected}</td>" in report and "seed 0</h1>" in report
    assert len(frames) == math.ceil(record["episode_return"] / 2) >= 3  # 1 a step, two steps a decision
    with Image.open(home / "shown" / "plan.png") as image:
        picture = np.asarray(image)
    assert int(np.argmin([np.abs(picture.astype(int) - frame).mean() for frame in frames])) == 1


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["decision=10"], "error: decision is 10, an episode has 10 at most"),
        (["run=taken", "decision=1"], "error: taken already holds a run: choose another run="),
        (["elites=0"], "error: elites is 0: set a whole number >= 1"),
        (["env.action_repeat=3"], "error: the model in model was trained on another environment: action_repeat 2"),
        (["checkpoint=nowhere"], "error: nowhere is not a checkpoint folder"),
    ],
)
def test_mistakes_are_a_line(show_plan: Command, overrides: list[str], says: str) -> None:
    outcome = show_plan("run=mistaken", *overrides)
    assert outcome.status == 2 and outcome.stderr.startswith(says) and len(outcome.stderr.splitlines()) == 1
