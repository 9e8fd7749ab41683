"""Whatever order of rounds, stops, kills and damage a run meets, it goes on as if there had been none of it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doing import make_episode
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from saving import write

from agents.run import drop_unsaved
from worldmodel.checkpoint import read_checkpoint
from worldmodel.comparison import repeatable_records
from worldmodel.episode import episode_path, save_episode
from worldmodel.errors import CheckpointError
from worldmodel.files import temporary_path, verify_manifest
from worldmodel.records import Records
from worldmodel.series import latest, mark_best, numbered, prune, recover, resolve

pytestmark = pytest.mark.faults

UPDATES = 3  # of a round


def after(state: str, episode: int, update: int) -> str:
    """What a learner is after an update: nothing but the same updates in the same order leads to the same."""
    return hashlib.sha256(f"{state} {episode} {update}".encode()).hexdigest()[:16]


def quality(number: int) -> float:
    """Of an evaluation after so many episodes."""
    return float(number * 7 % 5)


class Run(RuleBasedStateMachine):
    """A learner whose whole state is a hash, in a run folder that is written by what real runs use."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.alive = False
        self.told = 0  # episodes in the last checkpoint that was said to be saved, and not damaged since
        self.resume()

    def teardown(self) -> None:
        if self.alive:
            self.records.close()
        shutil.rmtree(self.folder)

    @precondition(lambda self: not self.alive)
    @rule()
    def resume(self) -> None:
        """As `agents.run.begin` and `open_records` do."""
        newest = recover(self.folder / "checkpoints")
        found: dict[str, Any] = {"episodes": 0, "state": "", "bytes": 0, "fitted": None, "best": None}
        if newest:
            found = read_checkpoint(newest).trainer()
            drop_unsaved(self.folder, found["episodes"])
        else:
            shutil.rmtree(self.folder / "episodes", ignore_errors=True)
        assert found["episodes"] >= self.told, "what was said to be saved is lost"
        self.episodes, self.state, self.best = found["episodes"], found["state"], found["best"]
        self.within: int | None = found["fitted"]
        self.before = found["bytes"]
        self.records = Records(self.folder, keep=self.before)
        self.records.write("resume", self.episodes)
        self.alive = True

    @precondition(lambda self: self.alive and self.within is None)
    @rule()
    def play(self) -> None:
        save_episode(make_episode(self.episodes, 2), episode_path(self.folder / "episodes", self.episodes))
        self.episodes += 1
        self.records.write("episode", self.episodes, episodes=self.episodes)
        self.before = self.records.sync()
        self.within = 0

    @precondition(lambda self: self.alive and self.within is not None and self.within < UPDATES)
    @rule()
    def update(self) -> None:
        self.state = after(self.state, self.episodes, self.within)
        self.within += 1

    @precondition(lambda self: self.alive and self.within == UPDATES)
    @rule()
    def save(self) -> None:
        self.records.write("fit", self.episodes, episodes=self.episodes, state=self.state)
        if self.best is None or quality(self.episodes) > quality(self.best):
            self.best = self.episodes
        self.within = None
        self._write(numbered(self.folder / "checkpoints", self.episodes), self.records.sync())
        mark_best(self.folder / "checkpoints", self.best, quality=quality(self.best))
        prune(self.folder / "checkpoints")
        self.told = self.episodes
        assert read_checkpoint(resolve(self.folder / "checkpoints" / "best")).trainer()["episodes"] == self.best

    @precondition(lambda self: self.alive)
    @rule()
    def stop(self) -> None:
        """By a signal that is heard."""
        if self.within is not None:
            path = numbered(self.folder / "checkpoints", self.episodes, within=self.within)
            if not path.exists():
                self._write(path, self.before)
            else:
                verify_manifest(path)
        self.records.close()
        self.alive = False

    @precondition(lambda self: self.alive)
    @rule(half=st.booleans())
    def kill(self, half: bool) -> None:
        """Without a word, and perhaps in the midst of writing."""
        self.records.close()
        self.alive = False
        if half:
            with (self.folder / "metrics.jsonl").open("ab") as file:
                file.write(b'{"kind": "fit", "epis')
            folder = self.folder / "checkpoints"
            folder.mkdir(exist_ok=True)
            temporary_path(numbered(folder, self.episodes)).mkdir()

    @precondition(lambda self: not self.alive and self._whole() > 1)
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """To the newest checkpoint, where another is whole."""
        newest = latest(self.folder / "checkpoints")
        assert newest is not None
        path = data.draw(st.sampled_from(sorted(newest.iterdir())))
        content = path.read_bytes()
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        self.told = 0

    @invariant()
    def nothing_differs(self) -> None:
        """The state is that of a run without faults, and so is the log."""
        if not self.alive:
            return
        state, expected = "", []
        for number in range(1, self.episodes + 1):
            ended = number < self.episodes or self.within is None
            expected.append({"kind": "episode", "episodes": number})
            for update in range(UPDATES if ended else self.within or 0):
                state = after(state, number, update)
            if ended:
                expected.append({"kind": "fit", "episodes": number, "state": state})
        assert self.state == state
        assert repeatable_records(self.folder) == expected

    def _write(self, path: Path, kept: int) -> None:
        found = {"episodes": self.episodes, "state": self.state, "bytes": kept}
        write(path, trainer={**found, "fitted": self.within, "best": self.best})

    def _whole(self) -> int:
        return sum(map(is_whole, (self.folder / "checkpoints").glob("0*")))


def is_whole(checkpoint: Path) -> bool:
    try:
        verify_manifest(checkpoint)
    except CheckpointError:
        return False
    return ".damaged-" not in checkpoint.name


def test_any_order_of_events(faults: Callable[[int, int], int]) -> None:
    runs = faults(15, 150)
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Run,
        settings=settings(
            max_examples=runs, stateful_step_count=40, deadline=None, derandomize=True, suppress_health_check=checks
        ),
    )
    print(f"{runs} runs of up to 40 rounds, updates, stops, kills, damages and resumptions: the same state and log")
