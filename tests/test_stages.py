"""The ladder's stages, with a stand-in for Python that notes how it is called."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agents.stages import Stages
from worldmodel.errors import WorldModelError

CONFIG: dict[str, Any] = {
    **{"seed": 7, "accelerator": "cpu", "precision": "32-true", "rendering": "fast", "workers": 3},
    **{"evaluation_episodes": 5, "good_episodes": 20, "good_exploration": 0.3, "good_updates": 3000},
    "feedback": "pixels",
    "latents": "mean",
    "planner": {"kind": "icem", "horizon": 12, "initial_std": 0.5},
}
COMMON = ["seed=7", "accelerator=cpu", "precision=32-true"]
PLANNER = ["planner=icem", "++planner.horizon=12", "++planner.initial_std=0.5"]
GIVEN = [
    *("env=cartpole", "env.time_limit=40", "+env.more=1", "model=svg", "model.K=2", "train.batch=2"),
    *("planner=icem", "planner.horizon=12", "good_updates=3000", "seed=7"),
]

# Notes its arguments in calls.jsonl, makes the run folder's config.yaml as commands do, and then does what `end` says.
STAND_IN = """#!{python}
import json, signal, sys, time
from pathlib import Path
home = Path({home!r})
folder = Path(next(argument[4:] for argument in sys.argv if argument.startswith("run=")))
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.yaml").touch()
def stop(*_):
    (home / "stopped").touch()
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
with (home / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + chr(10))
end = (home / "end").read_text()
if end == "hang":
    time.sleep(60)
sys.exit(int(end))
"""


class Ladder:
    """A folder of a ladder, in which stages run the stand-in."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.run = home / "ladder"
        self.ends("0")

    def ends(self, how: str) -> None:
        (self.home / "end").write_text(how)

    def stages(self, **changes: Any) -> Stages:
        return Stages(self.run, CONFIG | changes, GIVEN)

    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.home / "calls.jsonl").read_text().splitlines()]


@pytest.fixture
def ladder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ladder:
    python = tmp_path / "python"
    python.write_text(STAND_IN.format(python=sys.executable, home=str(tmp_path)))
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return Ladder(tmp_path)


def test_the_simulators_score_is_taken_on_as_many_episodes_without_noise(ladder: Ladder) -> None:
    assert ladder.stages().score_simulator() == ladder.run / "simulator" / "metrics.jsonl"
    (call,) = ladder.calls()
    environment = ["env=cartpole", "env.time_limit=40", "+env.more=1"]
    played = ["policy=simulator", "episodes=5", "exploration=0.0", "workers=3", *PLANNER]
    place = ["rendering=fast", *COMMON, f"run={ladder.run / 'simulator'}"]
    assert call == ["-m", "agents.collect", *environment, *played, *place]


def test_good_data_is_collected_with_noise_and_a_model_fitted_to_it_and_the_main_jobs(ladder: Ladder) -> None:
    online = ladder.home / "on line"
    (online / "episodes").mkdir(parents=True)
    assert ladder.stages().fit_good_data(online) == ladder.run / "good_model"
    collected, fitted = ladder.calls()
    assert collected[:2] == ["-m", "agents.collect"] and collected[-1] == f"run={ladder.run / 'good_data'}"
    assert {"episodes=20", "exploration=0.3", "env=cartpole", *PLANNER} < set(collected)
    good, model = ladder.run / "good_data" / "episodes", ["model=svg", "model.K=2", "train.batch=2"]
    data = f'data=["{good}","{online / "episodes"}"]'
    place = [*COMMON, f"run={ladder.run / 'good_model'}"]
    assert fitted == ["-m", "worldmodel.train", *model, data, "updates=3000", *place]


def test_the_main_job_gets_environment_and_model_but_plans_as_it_does(ladder: Ladder) -> None:
    assert ladder.stages().learn_online() == ladder.run / "online"
    (call,) = ladder.calls()
    settings = ["feedback=pixels", "latents=mean", "rendering=fast", *COMMON, f"run={ladder.run / 'online'}"]
    assert call == ["-m", "agents.cem_plan", *GIVEN[:6], *settings]


def test_stages_go_on_where_they_stopped_by_the_settings_of_now(ladder: Ladder, capsys: pytest.CaptureFixture) -> None:
    ladder.ends("2")
    with pytest.raises(
        WorldModelError, match="the command above failed: mend what it says, then go on with resume=true"
    ):
        ladder.stages(good_episodes=2).fit_good_data(ladder.home)
    assert len(ladder.calls()) == 1  # nothing is fitted to data that is not there
    ladder.ends("0")
    ladder.stages(good_episodes=4).fit_good_data(ladder.home)
    first, again, fitted = ladder.calls()
    assert f'data=["{ladder.run / "good_data" / "episodes"}"]' in fitted  # nothing else where nothing is kept
    assert "resume=true" not in first + fitted and again[-1] == "resume=true"
    assert again[:-1] == [{"episodes=2": "episodes=4"}.get(argument, argument) for argument in first]
    shown = capsys.readouterr().out.splitlines()
    assert shown == ["$ python " + " ".join(call) for call in ladder.calls()]


def test_a_ladder_that_is_stopped_ends_its_stage_in_order(ladder: Ladder) -> None:
    """Killed at once, a stage would leave processes of its own behind."""

    class Stop(BaseException):
        pass

    def stop(signum: int, frame: Any) -> None:
        while not (ladder.home / "calls.jsonl").exists():
            time.sleep(0.01)
        raise Stop

    ladder.ends("hang")
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        began = time.monotonic()
        with pytest.raises(Stop):
            ladder.stages().score_simulator()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert (ladder.home / "stopped").exists() and time.monotonic() - began < 30
