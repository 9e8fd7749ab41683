"""Where a run came from, and what is no longer as it was then."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

HEADER = b'{"kind": "header"'  # how the line of a log begins that tells where its run comes from
DISTRIBUTIONS = (
    *("svg-worldmodel", "torch", "lightning-fabric", "numpy", "pillow", "gymnasium", "dm-control", "mujoco", "ale-py"),
    "stable-baselines3",
)


def provenance(config: dict[str, Any]) -> dict[str, Any]:
    """Where a run comes from: the fields of its header record; its seeds are in its configuration."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "command": shlex.join(["python", *_module(), *sys.argv[1:]]),
        "versions": versions(),
        "config": config,
    }


def versions() -> dict[str, str]:
    """Of Python and of what decides a run's numbers; "" for what is not installed."""
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def machine() -> str:
    """System, processor and cores, in words."""
    return f"{platform.system()} {platform.machine()}, {processor()}, {os.cpu_count()} cores"


def processor() -> str:
    """The processor's name, or its architecture where the system does not say."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or torch.backends.cpu.get_cpu_capability()


def last_origin(metrics: Path) -> dict[str, Any]:
    """The record of how a run was begun or last resumed, from its `metrics.jsonl`; empty where there is none.

    A line that a killed run left unfinished is passed over.
    """
    origin: dict[str, Any] = {}
    if metrics.is_file():
        for line in metrics.read_bytes().splitlines():
            if line.startswith((HEADER, b'{"kind": "resume"')):
                try:
                    origin = json.loads(line)
                except ValueError:
                    continue
    return origin


def other_versions(origin: dict[str, Any]) -> list[str]:
    """What is installed in another version than when a run was begun, each with both."""
    then, now = origin.get("versions"), versions()
    if not isinstance(then, dict):
        return []
    return [f"{name} {then[name]} then, {now[name]} now" for name in now if then.get(name, now[name]) != now[name]]


def other_machine(origin: dict[str, Any]) -> list[str]:
    """What else decides the last digits of a run's numbers, and is not as it was then."""
    now = {"machine": machine(), "threads": torch.get_num_threads(), "commit": _git("rev-parse", "HEAD")}
    return [f"{key} {origin[key]} then, {value} now" for key, value in now.items() if origin.get(key, value) != value]


def _module() -> list[str]:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return ["-m", spec.name] if spec else [sys.argv[0]]


def _git(*arguments: str) -> str:
    """Output of git in the package's own folder; empty where there is no repository.

    Without the lock that `git status` takes by itself, which would be in the way of whoever commits meanwhile.
    """
    command = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
