"""Folders of episodes: which of them are fitted, and which are left to measure with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worldmodel.errors import ConfigError, DataError, check_number
from worldmodel.settings import check_texts


def episode_paths(folder: Path) -> list[Path]:
    """A folder's episodes, in the order in which they were made; DataError where there are none."""
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        found = "holds no episodes (*.safetensors)" if folder.is_dir() else "is not a folder"
        raise DataError(f"{folder} {found}: collect episodes, or give a folder of them (a run has its in episodes/)")
    return paths


def split(folder: Path, share: float) -> tuple[list[Path], list[Path]]:
    """A folder's episodes in two: those to fit, and the last ones, a `share` in [0, 1) of them, to measure with.

    At least one is left to fit. Raises DataError for a folder without episodes, ConfigError for another share.
    """
    check_number("held_out", share)
    if not 0 <= share < 1:
        raise ConfigError(f"held_out is {share}: set the share of episodes in [0, 1)")
    paths = episode_paths(folder)
    fitted = max(1, len(paths) - round(share * len(paths)))
    return paths[:fitted], paths[fitted:]


def split_all(folders: str | Sequence[str], share: float) -> tuple[list[Path], list[Path]]:
    """The same of one folder, or of each of several; ConfigError where they are no texts."""
    check_texts("data", folders)
    parts = [split(Path(folder), share) for folder in ([folders] if isinstance(folders, str) else folders)]
    return [path for fitted, _ in parts for path in fitted], [path for _, held_out in parts for path in held_out]
