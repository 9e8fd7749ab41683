"""What a run leaves for people and commands to read: `metrics.jsonl` and TensorBoard."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from worldmodel.errors import DataError
from worldmodel.files import write_atomic
from worldmodel.pictures.video import Frames, gif
from worldmodel.provenance import HEADER

LARGEST = 1e100  # of a record's numbers: their squares are numbers too
HAPPENED = frozenset(("header", "resume", "env_failure"))  # kinds of records that no repetition brings back


class Records:
    """Appends objects to `metrics.jsonl`, an object a line, and draws their numbers in TensorBoard.

    Args:
        folder: the run folder.
        keep: bytes of an existing `metrics.jsonl` that belong to the state the run goes on from. What a killed run
            wrote after its last checkpoint is cut off, but for what happened to it (`HAPPENED`): that it was begun or
            resumed, and how its environment failed.

    Raises DataError when `metrics.jsonl` has fewer bytes than are to be kept.
    """

    def __init__(self, folder: Path, *, keep: int = 0) -> None:
        path = folder / "metrics.jsonl"
        written = path.read_bytes() if path.exists() else b""
        if len(written) < keep:
            raise DataError(
                f"{path} has {len(written)} bytes of the {keep} the checkpoint knows: restore it, or start anew"
            )
        kept = written[:keep] + b"".join(_happened(written[keep:]))
        if kept != written or not path.exists():
            write_atomic(path, kept)
        self._begun = any(line.startswith(HEADER) for line in kept.splitlines())
        self._file = path.open("ab")
        self._board = SummaryWriter(str(folder / "tensorboard"))

    def sync(self) -> int:
        """Syncs `metrics.jsonl` to disk, for a checkpoint to count on; its bytes so far, those kept included."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def begin(self, step: int, **values: Any) -> None:
        """What a command writes first: a `header` of how the run was begun, or `resume` where the log has one already.

        So the log of a run that was killed before it had one has it from the command that goes on with the run.
        """
        self.write("resume" if self._begun else "header", step, **values)

    def write(self, kind: str, step: int, **values: Any) -> None:
        """One line ``{"kind": kind, ...}``; plain numbers are drawn against `step` in TensorBoard as ``kind/name``.

        Numbers that are not finite are no JSON: give None in their place.
        """
        self._file.write((json.dumps({"kind": kind, **values}, allow_nan=False) + "\n").encode())
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self._board.add_scalar(f"{kind}/{name}", value, step)
        self._board.flush()

    def film(self, name: str, step: int, frames: Frames, *, fps: float) -> None:
        """Frames to look at in TensorBoard, moving, among its images at `step`.

        As a GIF: torch's own `add_video` does not go with MoviePy 2.
        """
        height, width, _ = frames[0].shape
        picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif(frames, fps=fps))
        summary = Summary(value=[Summary.Value(tag=name, image=picture)])
        self._board._get_file_writer().add_summary(summary, step)
        self._board.flush()

    def close(self) -> None:
        """Syncs both to disk."""
        self.sync()
        self._file.close()
        self._board.close()


def _happened(lines: bytes) -> Iterator[bytes]:
    """The lines that tell what happened to a run; not one that a killed run left unfinished."""
    for line in lines.splitlines(keepends=True):
        try:
            if line.endswith(b"\n") and json.loads(line)["kind"] in HAPPENED:
                yield line
        except (ValueError, LookupError, TypeError, RecursionError):
            continue


def whole_lines(path: Path) -> int:
    """Bytes of a log until the end of its last whole line; 0 where there is none."""
    return path.read_bytes().rfind(b"\n") + 1 if path.is_file() else 0


def read_records(path: Path, kind: str) -> list[dict[str, Any]]:
    """The records of one kind, in the order written; raises as `read_all_records`."""
    return [record for record in read_all_records(path) if record["kind"] == kind]


@contextmanager
def telling(path: Path) -> Iterator[None]:
    """Around what is made of a log's records: DataError naming the log where they are not as we write them."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise DataError(f"{path} has a record that is not as we write it ({error!r:.200}): give another log") from error


def numbers(values: Any) -> list[float]:
    """Numbers of a record; ValueError where they are none, not finite, or not in a list."""
    if not isinstance(values, list) or not values:
        raise ValueError(f"{values!r:.80} where there should be a list of numbers")
    return [number(value) for value in values]


def number(value: Any) -> float:
    """A number of a record; ValueError where it is none, or not finite."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= LARGEST:
        raise ValueError(f"{value!r:.80} where there should be a number")
    return value


def text(value: Any) -> str:
    """A word of a record; ValueError where it is none."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.80} where there should be text")
    return value


def read_all_records(path: Path) -> list[dict[str, Any]]:
    """All records, in the order written; DataError for a line that is none."""
    records = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                record["kind"]
            except (ValueError, LookupError, TypeError, RecursionError) as error:
                raise DataError(
                    f"{path} is no log (line {number}: {error!r:.200}): give metrics.jsonl files"
                ) from error
            records.append(record)
    return records
