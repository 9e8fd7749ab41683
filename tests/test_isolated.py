"""An environment in a process of its own plays as it would here, and whatever becomes of that process is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from misbehaving import HANGS_S, STEPS, Misbehaving, settings
from test_failures import DRAWN, SAID, WHO, until_it_fails, whole

from envs import env_spec, isolated, make_env
from envs.isolated import IsolatedEnv
from worldmodel.errors import ConfigError, EnvError, EnvFailure, foreign_trace

pytestmark = pytest.mark.faults

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 1.5
AFTER = "after simulator step {}: the episode is lost, reset() starts it anew"
MEND = "set env_timeout higher if it may take longer"
ENDED = {
    "exit": f"{WHO} died (exit status 7) in step() {AFTER.format(1)}",
    "exit_in_reset": f"{WHO} died (exit status 7) in reset() {AFTER.format(0)}",
    "kill": f"{WHO} died (SIGKILL) in step() {AFTER.format(1)}",
    "crash": f"{WHO} died (SIGSEGV) in step() {AFTER.format(1)}",
    **{
        name: f"{WHO} took more than {TIMEOUT:g} s in {where}() {AFTER.format(steps)}; {MEND}"
        for name, where, steps in (
            ("hang", "step", 1),
            ("hang_in_reset", "reset", 0),
            ("hang_on_to_the_lock", "step", 1),
            ("litter", "step", 1),
        )
    },
}
# Of misdeeds that are told where they are done, those whose way here is a different one.
TOLD = ("raise", "raise_in_reset", "stubborn", "lambda", "leave", "recurse", "none", "huge", "chw")
PARENT = """
import sys
from pathlib import Path
from envs import make_env
from misbehaving import settings
import numpy as np

if __name__ == "__main__":
    _, script, misdeed, timeout = sys.argv
    env = make_env(settings(Path(script), misdeed), timeout=float(timeout))
    env.reset()
    env.step(np.zeros(1))
    print("playing", flush=True)
    env.step(np.zeros(1)) if "hang" in misdeed else sys.stdin.read()
"""


def living(mark: str) -> list[int]:
    """The processes with that in their environment variables, but for this one and the one that tracks semaphores."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark.encode() in (process / "environ").read_bytes()  # empty once it has ended
            tracks = b"resource_tracker" in (process / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if marked and not tracks and int(process.name) != os.getpid():
            found.append(int(process.name))
    return found


def until(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[IsolatedEnv, Path, str]]:
    """An environment, its script, and what marks the processes that are started for it."""
    script = tmp_path_factory.mktemp("played") / "script"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARK", f"mark-{os.getpid()}-played")
        env = make_env(settings(script), timeout=TIMEOUT)
        assert isinstance(env, IsolatedEnv)
        yield env, script, os.environ["MARK"]
        env.close()
        assert living(os.environ["MARK"]) == []


def test_it_plays_as_it_would_here(tmp_path: Path) -> None:
    config = settings(tmp_path / "script")
    here, there = make_env(config), make_env(config, timeout=TIMEOUT)
    assert env_spec(there) == env_spec(here) and there.metadata == here.metadata
    assert (there.observation_space, there.action_space) == (here.observation_space, here.action_space)
    with pytest.raises(EnvError, match=r"there is no frame yet: call reset\(\) first"):
        there.render()
    for seed in (7, None, 8):  # without one it goes on from the stream
        frames = [env.reset(seed=seed)[0] for env in (here, there)]
        np.testing.assert_array_equal(*frames)
        for _ in range(STEPS):
            answers = [env.step(np.zeros(1, np.float32)) for env in (here, there)]
            np.testing.assert_array_equal(answers[0][0], answers[1][0])
            assert answers[0][1:] == answers[1][1:]
            answers[1][0][:] = 0  # the caller's own
            np.testing.assert_array_equal(here.render(), there.render())
    for env in (here, there):
        with pytest.raises(EnvError, match=r"there is no episode to step in: call reset\(\) first"):
            env.step(np.zeros(1))
        with pytest.raises(EnvError, match="does not tell where its bodies are"):
            env.positions()
    there.close()
    there.close()


@pytest.mark.usefixtures("gl")
def test_mujoco_draws_there_as_here_and_tells_where_bodies_are() -> None:
    reacher = {"backend": "dm_control", "name": "reacher", "domain": "reacher", "task": "easy"}
    config = reacher | {"action_repeat": 4, "time_limit": 1000, "size": [32, 32]}
    envs = make_env(config), make_env(config, timeout=60)
    for env in envs:
        env.reset(seed=3)
        env.step(np.ones(2))
    np.testing.assert_array_equal(*(env.render() for env in envs))
    np.testing.assert_array_equal(*(env.positions() for env in envs))
    for env in envs:
        env.close()


def test_errors_keep_their_kind_and_words_and_the_process(played: tuple[IsolatedEnv, Path, str]) -> None:
    env, _, mark = played
    whole(env)
    (process,) = living(mark)
    env.reset()
    with pytest.raises(EnvError, match=r"is not a vector of 1 numbers in \[-1, 1\]") as raised:
        env.step(np.zeros(3))
    assert raised.type is EnvError and foreign_trace(raised.value) == ""
    assert env.step(np.zeros(1))[1] == 1  # the episode goes on
    with pytest.raises(EnvError, match=r"process of its own, where it cannot be copied .*: set env_timeout=null"):
        env.snapshot()
    assert living(mark) == [process]


def begins_anew(env: IsolatedEnv, mark: str, ended: Any) -> None:
    """After a reset alone, in another process than the one that ended."""
    with pytest.raises(EnvError, match=r"there is no episode to step in: call reset\(\) first"):
        env.step(np.zeros(1))
    whole(env)
    (another,) = living(mark)
    assert another != ended


@pytest.mark.parametrize("misdeed", TOLD)
def test_a_failure_is_told_as_it_would_be_here(misdeed: str, played: tuple[IsolatedEnv, Path, str]) -> None:
    env, script, mark = played
    whole(env)
    (process,) = living(mark)
    script.write_text(misdeed)
    assert until_it_fails(env).startswith(SAID[misdeed])
    assert living(mark) == []
    begins_anew(env, mark, process)


@pytest.mark.parametrize("misdeed", ENDED)
def test_one_that_hangs_or_dies_is_ended_and_made_anew(misdeed: str, played: tuple[IsolatedEnv, Path, str]) -> None:
    env, script, mark = played
    whole(env)
    (process,) = living(mark)
    script.write_text(misdeed)
    start = time.monotonic()
    assert until_it_fails(env) == ENDED[misdeed]
    assert time.monotonic() - start < HANGS_S / 10
    assert until(lambda: living(mark) == [], 5)
    begins_anew(env, mark, process)


class Delicate(Misbehaving):
    """Once it has raised it does nothing else; it is not made where a file says so, and has much to do at its end."""

    broken = False

    def __init__(self, script: str, render_mode: str | None = None) -> None:
        super().__init__(script, render_mode)
        if Path(script).with_suffix(".gone").exists():
            raise OSError("no display")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict]:
        if self.broken:
            raise RuntimeError("the renderer is gone")
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        self.broken = self.steps == 1
        return super().step(action)

    def close(self) -> None:
        time.sleep(HANGS_S)


@contextmanager
def delicate(folder: Path) -> Iterator[tuple[Any, Path]]:
    """One that has played, and its script."""
    script = folder / "script"
    env = make_env(settings(script) | {"id": f"{__name__}:Delicate"}, timeout=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isolated, "GRACE_S", 0.5)
        env.reset()
        yield env, script
        env.close()


@pytest.mark.parametrize("misdeed", ["raise", "nan", "chw"])
def test_what_a_failure_broke_for_good_is_whole_in_a_new_process(misdeed: str, tmp_path: Path) -> None:
    with delicate(tmp_path) as (env, script):
        script.write_text(misdeed)
        until_it_fails(env)
        assert env.reset()[0].shape == (16, 16, 3)


def test_closing_does_not_wait_for_one_that_hangs(tmp_path: Path) -> None:
    with delicate(tmp_path) as (env, _):
        start = time.monotonic()
        env.close()
        assert time.monotonic() - start < HANGS_S / 10


def test_one_that_cannot_be_made_anew_is_a_failure_until_it_can(tmp_path: Path) -> None:
    with delicate(tmp_path) as (env, script):
        script.write_text("kill")
        until_it_fails(env)
        script.with_suffix(".gone").touch()
        said = f"{__name__}:Delicate did not begin again"
        for _ in range(2):
            told = until_it_fails(env)
            assert told.startswith(said) and "no display" in told and told.endswith("reset() starts it anew")
        script.with_suffix(".gone").unlink()
        assert env.reset()[0].shape == (16, 16, 3)


@pytest.mark.parametrize("misdeed", ["chw", "floats", "nothing"])
def test_a_wrong_first_frame_of_a_new_process_is_a_failure(misdeed: str, played: tuple[IsolatedEnv, Path, str]) -> None:
    env, script, mark = played
    whole(env)
    script.write_text(f"kill\n{misdeed}_in_reset")
    assert until_it_fails(env) == ENDED["kill"]
    lost = "the episode is lost, reset() starts it anew"
    assert until_it_fails(env) == f"{WHO} did not begin again ({DRAWN[misdeed]}): {lost}"
    assert living(mark) == []
    whole(env)


@pytest.mark.parametrize("misdeed", ["chw", "floats"])
def test_the_very_first_frame_is_a_mistake_if_it_is_wrong(misdeed: str, tmp_path: Path) -> None:
    env = make_env(settings(tmp_path / "script", f"{misdeed}_in_reset"), timeout=TIMEOUT)
    with pytest.raises(EnvError) as raised:
        env.reset()
    assert raised.type is EnvError and str(raised.value) == DRAWN[misdeed]
    env.close()


def test_an_interruption_leaves_no_answer_for_the_next_call(played: tuple[IsolatedEnv, Path, str]) -> None:
    env, script, mark = played
    script.write_text("hang")
    env.reset()
    env.step(np.zeros(1))

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            env.step(np.zeros(1))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert living(mark) == []
    whole(env)


def test_it_leaves_ctrl_c_to_its_parent(played: tuple[IsolatedEnv, Path, str]) -> None:
    env, _, mark = played
    env.reset()
    (process,) = living(mark)
    os.kill(process, signal.SIGINT)
    whole(env)
    assert living(mark) == [process]


class Reluctant(gymnasium.Env[Any, Any]):
    """Is not made as it should be."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, how: str, render_mode: str | None = None) -> None:
        if how == "raise":
            raise AttributeError("no such file")
        os._exit(9) if how == "exit" else time.sleep(HANGS_S)


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("raise", EnvError, r"Reluctant cannot be made with {'how': 'raise', .*}: AttributeError: no such file"),
        ("exit", EnvFailure, r"Reluctant died \(exit status 9\) as it was made"),
        ("hang", EnvFailure, r"Reluctant took more than 2 s as it was made"),
    ],
)
def test_one_that_cannot_be_made_leaves_no_process(
    how: str, kind: type, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARK", f"mark-{os.getpid()}-{how}")
    if how == "hang":
        monkeypatch.setattr(isolated, "START_S", 2.0)
    config = settings(tmp_path / "script") | {"id": f"{__name__}:Reluctant", "kwargs": {"how": how}}
    with pytest.raises(EnvError, match=said) as raised:
        make_env(config, timeout=TIMEOUT)
    assert raised.type is kind and living(os.environ["MARK"]) == []
    assert ("in __init__" in foreign_trace(raised.value)) == (how == "raise")


def test_mistakes_in_the_settings_are_the_same_mistakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARK", f"mark-{os.getpid()}-mistaken")
    config = settings(tmp_path / "script")
    with pytest.raises(EnvError, match="misbehaving has no 'Behaving'") as raised:
        make_env(config | {"id": "misbehaving:Behaving"}, timeout=TIMEOUT)
    assert raised.type is EnvError
    with pytest.raises(ConfigError, match=r"env\.size is \[17, 16\]"):
        make_env(config | {"size": [17, 16]}, timeout=TIMEOUT)
    for wrong in (0, -1.0, float("nan"), float("inf"), 100_000, True, "2"):
        with pytest.raises(ConfigError, match=r"env_timeout is .*: set seconds > 0, 86400 at most, or null"):
            make_env(config, timeout=wrong)
    assert living(os.environ["MARK"]) == []


def test_one_that_nobody_closes_ends_with_the_last_who_knew_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARK", f"mark-{os.getpid()}-forgotten")
    env = make_env(settings(tmp_path / "script"), timeout=TIMEOUT)
    assert len(living(os.environ["MARK"])) == 1
    del env
    assert until(lambda: living(os.environ["MARK"]) == [], 5)


@contextmanager
def parent(folder: Path, misdeed: str, timeout: float = 60.0) -> Iterator[subprocess.Popen[str]]:
    """A process that plays in one that is to do that, or waits for the end of its input; it leaves none."""
    mark = f"mark-{os.getpid()}-parent-{misdeed}."
    variables = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "MARK": mark}
    (folder / "parent.py").write_text(PARENT)
    call = [sys.executable, str(folder / "parent.py"), str(folder / "script"), misdeed, str(timeout)]
    pipe = subprocess.PIPE
    with subprocess.Popen(call, env=variables, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "playing\n"
        time.sleep(0.2)  # until it is in that step
        assert len(living(mark)) == 2
        try:
            yield process
        finally:
            process.kill()
    assert until(lambda: living(mark) == [], 15)


@pytest.mark.parametrize(
    ("misdeed", "timeout"),
    [("", 60.0), ("hang", 60.0), pytest.param("hang_on_to_the_lock", 1.0, marks=pytest.mark.slow)],
)
def test_a_killed_parent_leaves_no_process(misdeed: str, timeout: float, tmp_path: Path) -> None:
    """Idle, busy, or where only its own alarm can end it."""
    with parent(tmp_path, misdeed, timeout) as process:
        process.kill()


def test_a_parent_that_ends_does_not_wait_for_one_that_is_deaf_to_sigterm(tmp_path: Path) -> None:
    with parent(tmp_path, "deafen_in_reset") as process:
        process.communicate(timeout=10)
        assert process.returncode == 0
