"""Whether two runs did the same: their records but for clocks, their episodes, and their newest weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from worldmodel.checkpoint import WEIGHTS
from worldmodel.episode import load_episode, read_header
from worldmodel.errors import DataError
from worldmodel.files import read_manifest
from worldmodel.records import HAPPENED, read_all_records
from worldmodel.series import latest

CLOCKS = frozenset(("seconds", "wall_clock_s", "evaluation_s", "planning_s"))


def repeatable_records(folder: Path) -> list[dict[str, Any]]:
    """All records of what a run did, not of what happened to it, and without what a clock gave.

    Raises DataError where there is no log, or a line that is no record.
    """
    path = folder / "metrics.jsonl"
    if not path.is_file():
        raise DataError(f"{folder} has no metrics.jsonl: give the folder of a run")
    records = [record for record in read_all_records(path) if record["kind"] not in HAPPENED]
    return [{key: value for key, value in record.items() if key not in CLOCKS} for record in records]


def digests(folder: Path) -> dict[str, str]:
    """SHA-256, in hexadecimal, of a run's episodes and of its newest checkpoint's weights, by their paths in it.

    Of episodes it is that of their contents: a file lists its metadata in any order.
    """
    episodes = [path for part in ("episodes", "evaluation") for path in sorted((folder / part).glob("*.safetensors"))]
    found = {}
    for path in episodes:
        load_episode(path)  # checks it
        found[path] = read_header(path).digest
    if newest := latest(folder / "checkpoints"):
        found[newest / WEIGHTS] = read_manifest(newest)[WEIGHTS]
    return {path.relative_to(folder).as_posix(): digest for path, digest in found.items()}


def differences(a: Path, b: Path) -> Iterator[str]:
    """What the run in `b` did otherwise than the one in `a`, a line each; nothing where they did the same.

    Of records, the first that differ are told: the rest follows from them.
    """
    ours, theirs = repeatable_records(a), repeatable_records(b)
    for index, (record, other) in enumerate(zip(ours, theirs, strict=False)):
        keys = [key for key in record | other if record.get(key) != other.get(key)]
        if keys:
            for key in keys:
                yield f"record {index} ({record['kind']}): {key} {record.get(key)} there, {other.get(key)} here"
            break
    else:
        if len(ours) != len(theirs):
            yield f"{len(ours)} records there, {len(theirs)} here"
    before, after = digests(a), digests(b)
    for name in sorted(before | after):
        there, here = before.get(name), after.get(name)
        if there != here:
            yield f"{name}: SHA-256 {_short(there)} there, {_short(here)} here"


def _short(digest: str | None) -> str:
    return f"{digest[:12]}…" if digest else "missing"
