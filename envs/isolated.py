"""An environment in a process of its own: one that hangs or dies costs an episode, not the run."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from envs.pixels import NO_EPISODE, NO_FRAME, PixelEnv
from envs.spec import action_space
from worldmodel import errors
from worldmodel.errors import EnvError, EnvFailure, WorldModelError, foreign_trace
from worldmodel.processes import follow_parent

START_S = 120.0  # to import everything from a cold disk, find an OpenGL that draws, and make the environment
GRACE_S = 5.0  # to close an environment; and for a process to end
MAKE = "make"  # the first thing asked of it


class IsolatedEnv(gymnasium.Env[np.ndarray, Any]):
    """A `PixelEnv` in a process of its own, as far as playing in it goes.

    It gives the same frames and rewards, and raises the same errors. When it does not answer in time, or dies, it is
    killed with all that it has started, and an EnvFailure says which. No process outlives an EnvFailure, of whatever
    kind, as nobody knows what is left of its state: the next `reset` makes the environment anew, in a process whose
    random stream is a new one unless a seed is given. That process ends with this one, however this one ends.

    Args:
        make: makes the environment, there; so it must be picklable. What it makes may start programs, but nothing by
            `multiprocessing`, which allows that to no process that is to end with its parent.
        task: its name, for errors.
        timeout: seconds that a reset or a step may take, > 0. Making it has START_S.

    Raises what `make` does: errors of ours as they are, others as an EnvError; EnvFailure when it hangs or dies there.
    Once there was a frame, it is an EnvFailure too that it cannot be made anew, or that its first frame is wrong.
    """

    metadata = PixelEnv.metadata
    render_mode = PixelEnv.render_mode

    def __init__(self, make: Callable[[], PixelEnv], *, task: str, timeout: float) -> None:
        self._make = make
        self._task = task
        self._timeout = timeout
        self._child: _Child | None = None
        self._elapsed = 0  # simulator steps of this episode
        self._frame: np.ndarray | None = None
        self._start()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """As `PixelEnv.reset`; in a new process after an EnvFailure."""
        super().reset(seed=seed)
        self._elapsed = 0
        try:
            if self._child is None:
                self._start()
            self._frame, info = self._call("reset", seed=seed)
        except EnvFailure:
            raise
        except EnvError as error:
            if self._frame is None:
                raise  # settings that cannot work
            self.close()
            raise EnvFailure(
                f"{self._task} did not begin again ({error}): the episode is lost, reset() starts it anew"
            ) from error
        return self._frame.copy(), info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """As `PixelEnv.step`."""
        if self._child is None:
            raise EnvError(NO_EPISODE)
        self._frame, reward, terminated, truncated, info = self._call("step", action=action)
        self._elapsed += info["env_frames"]
        return self._frame.copy(), reward, terminated, truncated, info

    def render(self) -> np.ndarray:
        """The last frame drawn (H, W, 3) uint8, without asking for it; EnvError before the first reset."""
        if self._frame is None:
            raise EnvError(NO_FRAME)
        return self._frame.copy()

    def positions(self) -> np.ndarray:
        """As `PixelEnv.positions`; EnvError too while there is no process to ask."""
        if self._child is None:
            raise EnvError(NO_EPISODE)
        return self._call("positions")

    def snapshot(self) -> NoReturn:
        """Raises EnvError: a state stays where it is."""
        raise EnvError(
            f"{self._task} runs in a process of its own, where it cannot be copied and planned in: set env_timeout=null"
        )

    def close(self) -> None:
        """Closes the environment if that takes GRACE_S at most, and ends its process."""
        if self._child is not None:
            with suppress(WorldModelError):
                self._ask("close", GRACE_S)
        if self._child is not None:
            self._child.end()
            self._child = None

    def _start(self) -> None:
        self._child = _Child(self._make)
        self.env_spec = spec = self._ask(MAKE, START_S)
        self.observation_space = Box(0, 255, (*spec.frame_size, 3), np.uint8)
        self.action_space = action_space(spec)

    def _call(self, method: str, **arguments: Any) -> Any:
        """The answer within the timeout; no process outlives an EnvFailure."""
        try:
            return self._ask(method, self._timeout, **arguments)
        except EnvFailure:
            self.close()
            raise

    def _ask(self, method: str, seconds: float, **arguments: Any) -> Any:
        """What a method of the environment gives; raises what it does. Without an answer the process is ended."""
        assert self._child is not None
        where = "as it was made"
        if method != MAKE:
            where = f"in {method}() after simulator step {self._elapsed}: the episode is lost, reset() starts it anew"
        try:
            found = self._child.ask(method, seconds, arguments)
        except TimeoutError:
            self._end()
            mend = "" if method == MAKE else "; set env_timeout higher if it may take longer"
            raise EnvFailure(f"{self._task} took more than {seconds:g} s {where}{mend}") from None
        except EOFError:
            raise EnvFailure(f"{self._task} died ({self._end()}) {where}") from None
        except BaseException:  # an interruption: its answer would be taken for that to the next call
            self._end()
            raise
        if isinstance(found, _Told):
            if method == MAKE:
                self._end()
            raise found.error()
        return found

    def _end(self) -> str:
        assert self._child is not None
        child, self._child = self._child, None
        return child.end()


class _Child:
    """The process, as its parent sees it."""

    def __init__(self, make: Callable[[], PixelEnv]) -> None:
        context = multiprocessing.get_context("spawn")  # not by fork: OpenGL and torch's threads do not survive it
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        self._process.start()
        theirs.close()
        # Where nobody closes the environment, too, and before this process ends its daemons: by SIGTERM, which pygame
        # takes for a closed window, and then waits for them.
        self._kill = Finalize(self, _kill, (self._process,), exitpriority=0)

    def ask(self, method: str, seconds: float, arguments: dict[str, Any]) -> Any:
        """The answer; TimeoutError when it takes more seconds, EOFError when the process has died."""
        sentinel = self._process.sentinel
        try:
            self._connection.send((method, seconds, arguments))
            ready = wait([self._connection, sentinel], seconds)
            if self._connection in ready:  # or else what it has started may keep the other end open
                return self._connection.recv()
        except (EOFError, OSError):  # there is no other end, or no more of its answer
            ready = wait([sentinel], GRACE_S)
        raise EOFError if ready else TimeoutError

    def end(self) -> str:
        """Kills it and what it has started; how it ended, if it had ended by itself."""
        self._kill()
        self._connection.close()
        code = self._process.exitcode
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit status {code}"


def _kill(process: BaseProcess) -> None:
    assert process.pid is not None
    with suppress(ProcessLookupError):  # when it died before it had a group
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join(GRACE_S)


@dataclass(frozen=True)
class _Told:
    """An error as it goes from process to process: not every exception survives being pickled."""

    kind: str  # a class of `worldmodel.errors`
    message: str
    trace: str

    @classmethod
    def of(cls, error: BaseException, method: str) -> _Told:
        """Errors of ours keep their kind and message; others are an EnvError where the environment is made."""
        trace = foreign_trace(error)
        if isinstance(error, WorldModelError):
            kind = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
            return cls(kind.__name__, str(error), trace)
        kind = EnvError if method == MAKE else EnvFailure
        return cls(kind.__name__, f"the environment raised {error!r} in {method}()", trace)

    def error(self) -> WorldModelError:
        """The error, with the traceback of what the environment raised as a note, if it did."""
        error: WorldModelError = getattr(errors, self.kind)(self.message)
        if self.trace:
            error.add_note(f"In the environment's own process:\n{self.trace}")
        return error


def _serve(connection: Connection, make: Callable[[], PixelEnv]) -> None:
    """The process: answers until nobody is left to ask."""
    os.setpgrp()  # so that what the environment starts can be ended with it
    follow_parent(lambda: os.killpg(0, signal.SIGKILL))
    faulthandler.enable()  # a crash says where
    env: PixelEnv | None = None
    with suppress(EOFError, ConnectionError):
        while True:
            method, seconds, arguments = connection.recv()
            # Should it hang in foreign code and its parent be killed, no thread of Python's runs to end it.
            signal.setitimer(signal.ITIMER_REAL, seconds + GRACE_S)
            try:
                if env is None:
                    env = make()
                    answer: Any = env.env_spec
                else:
                    answer = getattr(env, method)(**arguments)
            except (Exception, SystemExit) as error:
                answer = _Told.of(error, method)
            connection.send(answer)
            signal.setitimer(signal.ITIMER_REAL, 0)
    if env is not None:
        env.close()
