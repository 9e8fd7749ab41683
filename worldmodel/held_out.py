"""Episodes that a checkpoint's model was not fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from worldmodel.errors import DataError, check_number
from worldmodel.folders import split
from worldmodel.run_folder import read_config
from worldmodel.settings import check_texts


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
    """DataError where the run of a checkpoint fitted its model to any of these episodes' files."""
    if (run := _run_of(checkpoint)) is None:
        return
    fitted = {*(run / "episodes").resolve().glob("*.safetensors"), *_fitted_to(run)}
    if seen := sum(path.resolve() in fitted for path in files):
        raise DataError(
            f"the model of {checkpoint} was fitted to {seen} of {len(files)} episodes of {files[0].parent}: "
            "give data= it never saw"
        )


def _run_of(checkpoint: Path) -> Path | None:
    return checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else None


def _left_out(run: Path) -> list[Path]:
    """By `worldmodel.train`."""
    folders, share = _train_data(run)
    return [path for folder in folders for path in split(folder, share)[1]]


def _fitted_to(run: Path) -> list[Path]:
    """Files that `worldmodel.train` fitted to."""
    folders, share = _train_data(run)
    return [path.resolve() for folder in folders if folder.is_dir() for path in split(folder, share)[0]]


def _train_data(run: Path) -> tuple[Sequence[Path], float]:
    """Its folders of data, and the share of each that it holds out; none where the run is of another command."""
    config: Any = OmegaConf.to_container(read_config(run))
    if "held_out" not in config:
        return [], 0.0
    data, share = config.get("data"), config["held_out"]
    check_texts("data", data)
    check_number("held_out", share, least=0)
    return [Path(folder) for folder in ([data] if isinstance(data, str) else data)], float(share)
