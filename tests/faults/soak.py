"""Lets a run collect, fit and plan for half an hour under random faults: ``python tests/faults/soak.py --minutes 30``.

It is killed, stopped and started again, its newest checkpoint and its log are damaged, and its environment raises,
hangs, dies and draws nonsense. It passes if the run then ends by itself, all it left can be read and planned in, no
process and no temporary file is left, and its memory is flat. What it prints is the count of everything, as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from worldmodel.episode import load_episode
from worldmodel.errors import CheckpointError
from worldmodel.files import is_leftover, verify_manifest
from worldmodel.pretrained import from_pretrained
from worldmodel.records import read_all_records
from worldmodel.series import numbered

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SETTINGS = [
    *("env=gymnasium", "env.id=flaky:Flaky", "env.time_limit=24", "env.size=[16,16]", "env_timeout=5", "context=2"),
    *("train.batch=2", "train.window=6", "train.unrolling.open_loop=3", "episodes=1000000", "seed_episodes=2"),
    *("first_updates=20", "updates=5", "evaluate_every=10", "evaluation_episodes=1", "planner.horizon=3"),
    *("planner.candidates=8", "planner.iterations=1", "planner.elites=2", "accelerator=cpu", "precision=32-true"),
    *("model.stages=[[8,1],[8,1]]", "model.hidden=16", "model.feature=16", "model.head=16"),
]
CALM = 1 / 3  # of the time at the end, in which only the environment fails, and memory is watched
WARM = 60.0  # seconds until a process has everything loaded
WATCHED = 60  # seconds, at least
GROWTH = 1.05  # of its memory, from the first to the last fifth of that time


class Soak:
    """One run, whatever befalls it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.chance = random.Random(seed)
        self.counts: Counter[str] = Counter()
        path = os.pathsep.join(map(str, (HERE, ROOT / "tests", ROOT)))
        self.environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

    def start(self, *overrides: str) -> subprocess.Popen[bytes]:
        begun = (self.run / "config.yaml").exists()
        settings = [*(["resume=true"] if begun else SETTINGS), *overrides]
        command = [sys.executable, "-m", "agents.cem_plan", *settings, f"run={self.run}"]
        self.counts["starts"] += 1
        log = (self.folder / "log.txt").open("ab")
        return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def leg(self, until: float) -> None:
        """A start, and a fault some seconds later."""
        process = self.start()
        end = min(until, time.monotonic() + self.chance.uniform(5, 60))
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.1)
        if process.poll() is None:
            signum = self.chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
            process.send_signal(signum)
            self.check(process.wait(120), signum)
        else:
            self.check(process.returncode, None)
        if self.chance.random() < 0.4:
            self.damage()

    def check(self, status: int, signum: signal.Signals | None) -> None:
        """An end is by the signal, or by an environment that failed thrice in a row."""
        if signum is not None and status in (-signum, 128 + signum):
            self.counts[signum.name] += 1
        elif status == 2 and "the environment failed" in self.last_line():
            self.counts["ended by the environment"] += 1
        else:
            raise SystemExit(f"status {status} after {signum}: see {self.folder / 'log.txt'}")

    def last_line(self) -> str:
        """Of what the run's processes printed."""
        lines = (self.folder / "log.txt").read_text().splitlines()
        return lines[-1] if lines else ""

    def damage(self) -> None:
        """To the newest checkpoint, where the one before is whole, or to what was written after it."""
        names = sorted(filter(is_whole, (self.run / "checkpoints").glob("0*")))
        # The best may be whole and old: a run goes back by one, and refuses to forget more.
        if len(names) < 2 or int(names[-1].name[:6]) - int(names[-2].name[:6]) > 1:
            return
        match self.chance.randrange(3):
            case 0:
                path = self.chance.choice(sorted(names[-1].iterdir()))
                path.write_bytes(path.read_bytes()[: self.chance.randrange(path.stat().st_size)])
                self.counts["checkpoints cut short"] += 1
            case 1:
                path = self.chance.choice(sorted(names[-1].iterdir()))
                data = bytearray(path.read_bytes())
                data[self.chance.randrange(len(data))] ^= 1 << self.chance.randrange(8)
                path.write_bytes(data)
                self.counts["checkpoints with a flipped bit"] += 1
            case 2:
                with (self.run / "metrics.jsonl").open("ab") as file:
                    file.write(b'{"kind": "fit", "lo')
                self.counts["logs with half a line"] += 1

    def calm(self, seconds: float) -> list[float]:
        """The run for some time without faults but its environment's: its memory in MB, second by second."""
        memory: list[float] = []
        process, begun, end = self.start(), time.monotonic(), time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(1)
            if process.poll() is not None:  # three failures in a row: a new process, whose memory is another
                self.check(process.returncode, None)
                process, begun = self.start(), time.monotonic()
                memory.clear()
            elif time.monotonic() - begun > WARM:
                memory.append(resident(process.pid))
        process.send_signal(signal.SIGTERM)
        self.check(process.wait(120), signal.SIGTERM)
        return memory

    def finish(self) -> None:
        """Lets it come to its end, whatever the environment does."""
        episodes = len(list((self.run / "episodes").glob("*.safetensors")))
        for _ in range(20):
            status = self.start(f"episodes={episodes + 1}").wait(300)
            if status == 0:
                return
            self.check(status, None)
        raise SystemExit("the run does not come to its end")

    def verify(self) -> None:
        """All that it left can be read, and used."""
        for folder in ("episodes", "evaluation"):
            for path in (self.run / folder).iterdir():
                load_episode(path)
                self.counts[f"{folder} read"] += 1
        records = read_all_records(self.run / "metrics.jsonl")
        self.counts["records read"] = len(records)
        self.counts["failures of the environment, recorded"] = sum(r["kind"] == "env_failure" for r in records)
        whole = [path.name for path in (self.run / "checkpoints").glob("0*") if is_whole(path)]
        self.counts["checkpoints whole"] = len(whole)
        episodes = len(list((self.run / "episodes").iterdir()))
        assert numbered(self.run / "checkpoints", episodes).name in whole, whole
        model = from_pretrained(self.run)
        assert all(bool(weight.isfinite().all()) for weight in model.parameters())
        left = [path for path in self.run.rglob("*") if is_leftover(path)]
        assert not left, left
        running = processes_in(self.folder)
        assert not running, running
        command = [sys.executable, "-m", "agents.cem_plan", *SETTINGS, f"checkpoint={self.run}", "run=planned"]
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True, capture_output=True, timeout=300)


def is_whole(checkpoint: Path) -> bool:
    """Whether all its files are as they were written."""
    try:
        verify_manifest(checkpoint)
    except CheckpointError:
        return False
    return True


def resident(pid: int) -> float:
    """MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def processes_in(folder: Path) -> list[str]:
    """Command lines of processes that work in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(path / "cwd")) == folder:
                found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it has ended, or is somebody else's
    return found


def main() -> None:
    """The soak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder).resolve(), arguments.seed)
        begun, seconds = time.monotonic(), 60 * arguments.minutes
        try:
            while time.monotonic() - begun < (1 - CALM) * seconds:
                soak.leg(begun + (1 - CALM) * seconds)
            memory = soak.calm(CALM * seconds)
            soak.finish()
            soak.verify()
        except BaseException:
            sys.stderr.write((soak.folder / "log.txt").read_text()[-5000:])
            raise
        if len(memory) < WATCHED:
            raise SystemExit(f"{soak.counts}: memory was watched for {len(memory)} s only, set more --minutes")
        part = len(memory) // 5
        first, last = float(np.median(memory[:part])), float(np.median(memory[-part:]))
        found = {
            "minutes": round((time.monotonic() - begun) / 60, 1),
            **soak.counts,
            "memory watched for, s": len(memory),
            "memory in its first fifth, MB": round(first, 1),
            "memory in its last fifth, MB": round(last, 1),
        }
        print(json.dumps(found, indent=2))
        if not last < GROWTH * first:
            raise SystemExit(f"memory grew from {first:.1f} to {last:.1f} MB")


if __name__ == "__main__":
    main()
