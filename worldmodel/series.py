"""A run's checkpoints: numbered, so that the newest is known; the last few and the best are kept.

RUN/checkpoints/000012            after the 12th step (episodes of a run that plays, updates of one that only fits)
RUN/checkpoints/000013-fit-00150  stopped within the 13th, once 150 of its updates were made
RUN/checkpoints/best.json         which of them was best, and by what
"""

from __future__ import annotations

import json
import logging
import re
import secrets
from pathlib import Path

from worldmodel.checkpoint import CONFIG, require
from worldmodel.errors import CheckpointError, VersionError
from worldmodel.files import remove_folder, remove_leftovers, verify_manifest, write_atomic

KEEP = 2  # newest checkpoints, should one of them be damaged
BEST = "best.json"
_NAME = re.compile(r"(\d{6,})(?:-fit-(\d{6,}))?")
_log = logging.getLogger(__name__)


def numbered(folder: Path, number: int, *, within: int | None = None) -> Path:
    """The checkpoint of a number within a run's checkpoints; or the one `within` updates before that."""
    return folder / (f"{number:06d}" if within is None else f"{number:06d}-fit-{within:06d}")


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run's; None when there are none.

    Passes over damaged ones, with a warning each. Raises CheckpointError when all are damaged, rather than let a run
    begin anew over them; VersionError when they are of another version.
    """
    paths = _in_order(folder)
    foreign: VersionError | None = None
    for path in reversed(paths):
        try:
            verify_manifest(path)
            return path
        except CheckpointError as error:
            _log.warning("passing over checkpoint %s: %s", path, error)
            foreign = error if isinstance(error, VersionError) else foreign
    if foreign:
        raise foreign
    if paths:
        raise CheckpointError(f"all {len(paths)} checkpoints in {folder} are damaged: restore one, or start a new run")
    return None


def recover(folder: Path) -> Path | None:
    """The newest whole checkpoint, for its run to go on from; raises as `latest`.

    Damaged ones after it are renamed: the run comes by the same numbers again, and `prune` counts whole ones alone.
    """
    newest = latest(folder)
    paths = _in_order(folder)
    for path in paths[paths.index(newest) + 1 :] if newest else ():
        path.rename(path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}"))
    return newest


def prune(folder: Path, keep: int = KEEP) -> None:
    """Deletes all but the newest `keep` >= 1 checkpoints and the best, and what killed writes left.

    Damaged ones that `recover` renamed are deleted as those of their number are.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}: keep at least 1 checkpoint")
    remove_leftovers(folder)
    best, paths = _read_best(folder), _in_order(folder)
    for path in paths[:-keep]:
        if path.name != best:
            remove_folder(path)
    oldest = min((path.name for path in paths[-keep:]), key=_place, default="")
    for path in folder.glob("*.damaged-*"):
        if (match := _NAME.match(path.name)) and oldest and _place(match[0]) < _place(oldest):
            remove_folder(path)


def mark_best(folder: Path, number: int, **measured: float) -> None:
    """Writes which checkpoint is the best so far, and what says so, such as ``return_mean=812.3``.

    To be called once it is saved, and before `prune`.
    """
    found = {"checkpoint": numbered(folder, number).name, **measured}
    write_atomic(folder / BEST, (json.dumps(found, indent=2, allow_nan=False) + "\n").encode())


def resolve(path: Path) -> Path:
    """The checkpoint meant by a path: a checkpoint's folder, a run's folder for its newest, ``checkpoints/best``.

    Raises CheckpointError saying what is there instead.
    """
    checkpoints = path / "checkpoints"
    if path.name == "best" and (path.parent / BEST).is_file():
        path = path.parent / _read_best(path.parent)
    elif not (path / CONFIG).is_file() and checkpoints.is_dir():
        found = latest(checkpoints)
        if found is None:
            raise CheckpointError(f"{checkpoints} holds no checkpoint yet: let the run save one, or give another run")
        return found
    require(path)
    return path


def _read_best(folder: Path) -> str:
    """The name of the best; "" where none is marked, or the mark is damaged: the next save writes it anew."""
    try:
        name = json.loads((folder / BEST).read_bytes())["checkpoint"]
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        _log.warning("passing over %s, which is damaged: %r", folder / BEST, error)
        return ""
    return name if isinstance(name, str) and _NAME.fullmatch(name) else ""


def _in_order(folder: Path) -> list[Path]:
    """Oldest first."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if _NAME.fullmatch(path.name))
    return sorted(found, key=lambda path: _place(path.name))


def _place(name: str) -> tuple[int, bool, int]:
    """In the order of checkpoints: of the same number, one from within it is older than the one at its end."""
    match = _NAME.fullmatch(name)
    assert match is not None
    return int(match[1]), match[2] is None, int(match[2] or 0)
