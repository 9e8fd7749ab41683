"""Episodes that a checkpoint's model was not fitted to: known by their contents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worldmodel.episode import read_header
from worldmodel.errors import CheckpointError, DataError
from worldmodel.files import write_atomic
from worldmodel.folders import split
from worldmodel.run_folder import read_config

DATA = "data.json"  # in the folder of a run of `worldmodel.train`


@dataclass(frozen=True)
class DataSplit:
    """The episodes that a run of `worldmodel.train` was given, each as its digest (see `EpisodeHeader`) and its file.

    Attributes:
        fitted: those that the model is fitted to.
        held_out: the others.
    """

    fitted: list[tuple[str, str]]
    held_out: list[tuple[str, str]]

    @classmethod
    def of(cls, fitted: Sequence[Path], held_out: Sequence[Path]) -> DataSplit:
        """Of files; DataError for one that is no episode."""
        parts = ([(read_header(path).digest, str(path.resolve())) for path in part] for part in (fitted, held_out))
        return cls(*parts)

    @classmethod
    def load(cls, run: Path) -> DataSplit | None:
        """What a run's folder says; None for a run of another command. DataError for a missing or damaged file."""
        path = run / DATA
        if not path.is_file():
            if "held_out" not in read_config(run):
                return None
            raise DataError(f"{path} is missing, which says what {run} was fitted to: restore it, or fit anew")
        try:
            found = json.loads(path.read_bytes())
            parts = [[(str(digest), str(file)) for digest, file in found[name]] for name in ("fitted", "held_out")]
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise DataError(f"{path} cannot be read ({error!r:.300}): restore it") from error
        return cls(*parts)

    def save(self, run: Path) -> None:
        """Into a run's folder; raises OSError where the disk refuses."""
        write_atomic(run / DATA, json.dumps(vars(self), indent=0).encode())

    def check_same(self, run: Path) -> None:
        """CheckpointError unless these are the episodes, by their contents and in this order, of a run that goes on."""
        before = DataSplit.load(run)
        assert before is not None, f"{run} is a run of another command"
        for name, then, now in (
            ("to fit", before.fitted, self.fitted),
            ("held out", before.held_out, self.held_out),
        ):
            digests, known = ([digest for digest, _ in part] for part in (now, then))
            if digests != known:
                new, gone = len(set(digests) - set(known)), len(set(known) - set(digests))
                raise CheckpointError(
                    f"the {len(now)} episodes {name} are not the {len(then)} that {run} was begun with "
                    f"({new} new, {gone} gone): give the same data= and held_out=, or begin another run"
                )


def held_out_episodes(checkpoint: Path, data: Path | None = None) -> list[Path]:
    """Files of episodes to look at a model with.

    Args:
        checkpoint: its folder, as `worldmodel.checkpoint.resolve` gives it.
        data: an episode's file, or a folder of them; None for those that the checkpoint's own run held out: its newest
            evaluation, or what `worldmodel.train` left out.

    Raises DataError when there are none, and for data that the run fitted the model to.
    """
    if data is not None:
        files = [data] if data.is_file() else split(data, 0)[0]
        check_held_out(checkpoint, files)
        return files
    if (run := _run_of(checkpoint)) is not None:
        evaluated = sorted((run / "evaluation").glob("*.safetensors"))
        if found := evaluated or _left_out(run):
            return found
    raise DataError(f"no held-out data is known for {checkpoint}: set data= to a folder of episodes it never saw")


def check_held_out(checkpoint: Path, files: Sequence[Path]) -> None:
    """DataError where the run of a checkpoint fitted its model to any of these episodes, under whatever name."""
    if (run := _run_of(checkpoint)) is None:
        return
    given = DataSplit.load(run)
    fitted = {read_header(path).digest for path in (run / "episodes").glob("*.safetensors")}
    fitted |= {digest for digest, _ in given.fitted} if given else set()
    if seen := sum(read_header(path).digest in fitted for path in files):
        raise DataError(
            f"the model of {checkpoint} was fitted to {seen} of {len(files)} episodes of {files[0].parent}: give data= "
            "it never saw, or leave data= out for what its run held out"
        )


def _run_of(checkpoint: Path) -> Path | None:
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else None


def _left_out(run: Path) -> list[Path]:
    """By `worldmodel.train`."""
    given = DataSplit.load(run)
    paths = {Path(file): digest for digest, file in given.held_out} if given else {}
    if gone := [path for path, digest in paths.items() if not path.is_file() or read_header(path).digest != digest]:
        raise DataError(
            f"{len(gone)} of {len(paths)} episodes that {run} held out are no longer what and where they were "
            f"({gone[0]}): set data= to where they are now"
        )
    return list(paths)
