"""Commands whose environment fails go on, or stop with what was saved; no process stays, and no piece of an episode."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, Outcome, running
from misbehaving import settings
from test_failures import DRAWN, SAID, WHO
from test_isolated import ENDED, TIMEOUT, living

from agents.seeds import seed_of
from worldmodel.episode import load_episode
from worldmodel.records import read_records

pytestmark = pytest.mark.faults

TIMED = f"env_timeout={TIMEOUT}"
CPU = ("accelerator=cpu", "precision=32-true")
COMMON = [
    *("env=gymnasium", "env.id=misbehaving:Misbehaving", "env.name=misbehaving", "++env.kwargs.script=script"),
    *("env.size=[16,16]", "seed=5"),
]
LEARNING = [
    *CPU,
    *("train.batch=2", "train.window=6", "train.unrolling.open_loop=3", "context=2", "evaluate_every=1"),
    *("episodes=2", "seed_episodes=1", "first_updates=1", "updates=1", "evaluation_episodes=1"),
    *("planner.horizon=3", "planner.candidates=8", "planner.iterations=1", "planner.elites=2"),
    *("model.stages=[[8,1],[8,1]]", "model.hidden=16", "model.feature=16", "model.head=16"),
]


class Enduring:
    """A command in a folder of its own, and what its environment is to do there."""

    def __init__(self, command: Any, folder: Path, mark: str) -> None:
        self._command, self.folder, self._mark = command, folder, mark

    def __call__(self, misdeeds: list[str], *overrides: str, status: int = 0) -> Outcome:
        """Runs it, and checks what must be so however it ends."""
        settings(self.folder / "script", *misdeeds)
        outcome = self._command("run=run", *overrides)
        assert outcome.status == status, outcome
        assert len(living(self._mark)) == 1  # the command
        left = [path.suffix for name in ("episodes", "evaluation") for path in (self.folder / "run" / name).glob("*")]
        assert set(left) <= {".safetensors"}
        if status:
            assert "Traceback" not in outcome.stderr
        return outcome

    def seeds(self) -> list[int]:
        """Of the episodes that were collected."""
        return [load_episode(path).seed for path in sorted((self.folder / "run" / "episodes").iterdir())]

    def failures(self) -> list[tuple[Any, ...]]:
        """As recorded."""
        records = read_records(self.folder / "run" / "metrics.jsonl", "env_failure")
        return [tuple(record[key] for key in ("stream", "episode", "attempt", "error")) for record in records]


@pytest.fixture
def enduring(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    module, *common = request.param
    mark = f"mark-{os.getpid()}-{module}."
    path = f"{ROOT}:{ROOT / 'tests'}"
    with running(module, tmp_path, *COMMON, *common, PYTHONPATH=path, MARK=mark) as command:
        yield Enduring(command, tmp_path, mark)
    assert living(mark) == []


def tried(*indices: int) -> list[int]:
    """Seeds of a run of seed 5: of an episode's first attempt, and of its further ones by what numbers them."""
    return [
        seed_of(5, "retry" if attempt else "collect", 3 * index + attempt if attempt else index)
        for index, attempt in (divmod(number, 10) for number in indices)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("enduring", [("agents.collect", *CPU, "policy=random", "episodes=3")], indirect=True)
def test_collecting_goes_on_after_failures_and_stops_where_they_do_not_end(enduring: Enduring) -> None:
    said = enduring(["hang", "kill", "", "kill", "chw_in_reset", "", "exit_in_reset"], TIMED).stderr
    assert enduring.seeds() == tried(2, 12, 21)
    expected = [("collect", 0, 1, ENDED["hang"]), ("collect", 0, 2, ENDED["kill"]), ("collect", 1, 1, ENDED["kill"])]
    again = f"{WHO} did not begin again ({DRAWN['chw']}): the episode is lost, reset() starts it anew"
    expected += [("collect", 1, 2, again), ("collect", 2, 1, ENDED["exit_in_reset"])]
    assert enduring.failures() == expected
    assert f"attempt 2 of 3 at episode 0 (collect): {ENDED['kill']}\n" in said

    before = enduring.seeds()
    said = enduring(["", "always crash"], TIMED, "episodes=6", "resume=true", status=2).stderr
    assert said.splitlines()[-1] == (
        "error: the environment failed in each of 3 attempts at episode 4 (collect): mend it; what was saved stays. "
        f"The last time: {ENDED['crash']}"
    )
    assert enduring.seeds() == [*before, *tried(30)]
    assert enduring.failures()[5:] == [("collect", 4, attempt, ENDED["crash"]) for attempt in (1, 2, 3)]

    enduring([], "env_timeout=null", "episodes=6", "resume=true")
    assert enduring.seeds() == [*before, *tried(30, 40, 50)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "enduring", [("agents.collect", *CPU, "policy=random", "episodes=2", "workers=2")], indirect=True
)
def test_workers_environments_die_apart_from_them(enduring: Enduring) -> None:
    said = enduring(["always kill"], TIMED, status=2).stderr
    assert "failed in each of 3 attempts at episode " in said and ENDED["kill"] in said
    told = enduring.failures()
    assert told and {(stream, error) for stream, _, _, error in told} == {("collect", ENDED["kill"])}
    for episode in {episode for _, episode, _, _ in told}:  # the other worker's may have been in hand, or not begun
        assert [attempt for _, one, attempt, _ in told if one == episode] == [1, 2, 3]
    assert not list(enduring.folder.rglob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("enduring", [("agents.cem_plan", *LEARNING)], indirect=True)
def test_the_main_job_goes_on_after_failures_and_from_where_they_did_not_end(enduring: Enduring) -> None:
    # Forecast, chance, episode 0, its evaluation; then episode 1 for ever.
    misdeeds = ["raise", "kill", "", "hang", "nan", "", "exit", "", "always kill"]
    outcome = enduring(misdeeds, TIMED, status=2)
    assert "budget hour: 2 episodes, 2 updates; for an unknown time (misbehaving:Misbehaving raised" in outcome.stdout
    assert outcome.stderr.splitlines()[-1].startswith(
        "error: the environment failed in each of 3 attempts at episode 1 (collect): mend it; what was saved stays."
    )
    saved = enduring.failures()[:4]
    assert [(stream, episode, attempt) for stream, episode, attempt, _ in saved] == [
        ("evaluate", 0, 1),
        ("collect", 0, 1),
        ("collect", 0, 2),
        ("evaluate", 0, 1),
    ]
    assert saved[2][3] == SAID["nan"] and enduring.failures()[4:] == [
        ("collect", 1, attempt, ENDED["kill"]) for attempt in (1, 2, 3)
    ]
    assert enduring.seeds() == tried(2)

    told = enduring.failures()
    enduring([], "env_timeout=null", "resume=true")
    assert enduring.seeds() == tried(2, 10) and enduring.failures() == told


@pytest.mark.slow
@pytest.mark.parametrize(
    "enduring",
    [
        (
            "agents.model_free",
            *("env_frames=16", "evaluate_every=16", "evaluation_episodes=1", "frame_stack=2", "device=cpu"),
            *("ppo.num_envs=1", "ppo.n_steps=16", "ppo.batch_size=16", "ppo.n_epochs=1", "env.size=[48,48]"),
        )
    ],
    indirect=True,
)
def test_learning_without_a_model_evaluates_on_and_stops_where_it_fails(enduring: Enduring) -> None:
    # An evaluation of chance, two episodes and the beginning of a third to learn from, and the evaluation after.
    enduring(["kill", "", "", "", "", "nan", ""], TIMED)
    assert enduring.failures() == [("evaluate", 0, 1, ENDED["kill"]), ("evaluate", 0, 1, SAID["nan"])]
    outcome = enduring(["", "kill"], TIMED, "run=again", status=2)
    assert outcome.stderr.splitlines()[-1] == f"error: {ENDED['kill']}"
