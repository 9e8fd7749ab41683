"""What is done in processes that are killed, crash, or meet a disk that refuses."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from saving import SPEC, write

from worldmodel.command import command
from worldmodel.episode import Episode, episode_path, save_episode
from worldmodel.series import mark_best, numbered, prune

ROOT = Path(__file__).resolve().parents[2]
AGENTS = "cem_plan collect collecting dream_ppo learner loop ppo_imagine run workers"
MODELS = "checkpoint episode files hashes held_out pretrained records run_folder series train units"
KEEPERS = {  # what plays, fits, writes down, saves and goes on
    *(str(ROOT / "agents" / f"{name}.py") for name in AGENTS.split()),
    *(str(ROOT / "worldmodel" / f"{name}.py") for name in MODELS.split()),
}
CALLS = ("open", "fsync", "rename", "replace", "unlink", "rmdir", "mkdir")  # of os


def say(what: Any) -> None:
    """In one write, which a kill does not cut in two."""
    os.write(1, (json.dumps(what) + "\n").encode())


def save_checkpoint(folder: str, number: int, size: int) -> None:
    """As a run does after each step: the checkpoint, then the mark of the best, then what is too old goes."""
    path = numbered(Path(folder), number)
    weights = {"w": torch.full((size,), float(number))}
    write(path, weights=weights, trainer={"number": number, "moments": torch.full((2 * size,), float(number))})
    mark_best(Path(folder), number - number % 3 or 1, return_mean=float(number))
    prune(Path(folder))


def save_checkpoints(folder: str, first: int, size: int) -> None:
    """One after another until it is killed, and says each that is saved."""
    for number in count(first):
        save_checkpoint(folder, number, size)
        say(number)


def make_episode(number: int, length: int) -> Episode:
    frames = np.full((length + 1, *SPEC.frame_size, 3), number % 256, np.uint8)
    rewards = np.full(length, number, np.float32)
    return Episode(frames, np.zeros((length, 2), np.float32), rewards, False, True, SPEC, number, "random")


def save_one_episode(folder: str, number: int, length: int) -> None:
    """Two share a file: the second takes the place of the first."""
    save_episode(make_episode(number, length), episode_path(Path(folder), number // 2))


def save_episodes(folder: str, length: int) -> None:
    """One after another until it is killed, and says each that is filed; every second replaces the one before."""
    for number in count():
        save_one_episode(folder, number, length)
        say(number)


def crash_at(step: int, after: bool, function: str, *arguments: Any) -> None:
    """Ends the process, as a kill would, at the step-th call of `CALLS`: before it, or right after."""
    steps = count()

    def crashing(call: Callable[..., Any]) -> Callable[..., Any]:
        def crash(*args: Any, **kwargs: Any) -> Any:
            now = next(steps) == step
            if now and not after:
                os._exit(9)
            try:
                return call(*args, **kwargs)
            finally:
                if now:
                    os._exit(9)

        return crash

    for name in CALLS:
        setattr(os, name, crashing(getattr(os, name)))
    globals()[function](*arguments)


def calls_of(function: str, *arguments: Any) -> None:
    """Says the calls of `CALLS` that are made, each with the paths it is about."""
    made: list[list[str]] = []

    def telling(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def tell(*args: Any, **kwargs: Any) -> Any:
            paths = [os.readlink(f"/proc/self/fd/{arg}") if name == "fsync" else str(arg) for arg in args[:2]]
            made.append([name, *paths])
            return call(*args, **kwargs)

        return tell

    for name in CALLS:
        setattr(os, name, telling(name, getattr(os, name)))
    globals()[function](*arguments)
    say(made)


def run_command(module: str, folder: str, settings: list[str], target: int, signum: int) -> None:
    """Runs a command in `folder`, sends it a signal at the target-th call or return of a function of `KEEPERS`.

    Without a target says where each of them was; what the command itself says goes to ``output.txt`` there.
    """
    os.chdir(folder)
    answers = os.dup(1)
    output = os.open("output.txt", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    places: list[str] = []

    def watch(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or code.co_filename not in KEEPERS:
            return
        places.append(f"{event} of {code.co_qualname} ({Path(code.co_filename).name})")
        if len(places) == target:
            sys.setprofile(None)
            os.kill(os.getpid(), signum)

    sys.argv = [module, *settings]
    sys.setprofile(watch)
    try:
        import_module(module).main()
    except Exception:
        traceback.print_exc()
        raise
    finally:
        sys.setprofile(None)
        if not target:
            os.dup2(answers, 1)
            say(places)


def as_command(function: str, *arguments: Any) -> None:
    """As an entry point ends: with a status, and a line on standard error."""
    command(globals()[function])(*arguments)


def as_nobody(function: str, *arguments: Any) -> None:
    """Without the rights of root."""
    os.setgid(65534)
    os.setuid(65534)
    as_command(function, *arguments)
