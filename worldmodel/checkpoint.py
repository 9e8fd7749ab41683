"""A checkpoint: a folder with a model's configuration, weights and start contexts, and what training needs to go on.

    config.json            schema version, the model's configuration, the environment's spec
    model.safetensors      the weights
    contexts.safetensors   a few true start windows, so that the model can dream without its data
    trainer.pt             optional: the trainer's state; read with weights_only, so it cannot run code
    manifest.json          SHA-256 of each of these

This file knows nothing of the model itself: `worldmodel.pretrained` turns folders into models and back.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from worldmodel.errors import CheckpointError, ConfigError, DataError
from worldmodel.files import atomic_folder, read_manifest, verify_manifest
from worldmodel.spec import EnvSpec

SCHEMA_VERSION = 1
CONFIG, WEIGHTS, CONTEXTS, TRAINER = "config.json", "model.safetensors", "contexts.safetensors", "trainer.pt"
_ALIEN = f"{TRAINER} holds more than tensors, numbers, strings, mappings and lists of them: {{}}"


@dataclass(frozen=True, eq=False)
class Contexts:
    """True windows to start dreams from.

    Attributes:
        frames: (n, k, c, h, w) uint8.
        actions: (n, k-1, a) float32 in [-1, 1], between the frames.

    Raises DataError when types or shapes do not fit.
    """

    frames: Tensor
    actions: Tensor

    def __post_init__(self) -> None:
        if self.frames.dtype != torch.uint8 or self.actions.dtype != torch.float32:
            found = f"{self.frames.dtype} frames, {self.actions.dtype} actions"
            raise DataError(f"contexts have {found}: give uint8 frames, float32 actions")
        frames, actions = tuple(self.frames.shape), tuple(self.actions.shape)
        if len(frames) != 5 or len(actions) != 3 or actions[:2] != (frames[0], frames[1] - 1):
            raise DataError(f"contexts have frames {frames}, actions {actions}: give (n, k, c, h, w) and (n, k-1, a)")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint folder holds.

    Attributes:
        folder: where it lies.
        model_config: as written, with lists for tuples.
        spec: the environment the model was trained for.
        weights: the model's state dict, on the CPU.
        contexts: true start windows.
    """

    folder: Path
    model_config: dict[str, Any]
    spec: EnvSpec
    weights: dict[str, Tensor]
    contexts: Contexts

    def trainer(self) -> dict[str, Any]:
        """The trainer's state, tensors on the CPU; read here and not before, since only training needs it.

        Raises CheckpointError when it is damaged, or the checkpoint was written without.
        """
        if TRAINER not in read_manifest(self.folder):
            raise CheckpointError(
                f"{self.folder} has no {TRAINER}: its model can act, but not train on; give a run's checkpoint"
            )
        verify_manifest(self.folder, [TRAINER])
        return _load_trainer(self.folder / TRAINER)


def write_checkpoint(
    folder: Path,
    *,
    model_config: dict[str, Any],
    spec: EnvSpec,
    weights: Mapping[str, Tensor],
    contexts: Contexts,
    trainer: dict[str, Any] | None,
) -> None:
    """Writes a checkpoint folder, whole or not at all.

    Args:
        folder: must not exist.
        model_config: what JSON can hold.
        spec: the environment the model was trained for.
        weights: a state dict; tensors that share memory are written once for each name.
        contexts: true start windows.
        trainer: nested mappings and lists of tensors, numbers and strings; None for a model that is only to act.

    Raises CheckpointError when the folder exists, or `trainer` holds anything else; OSError when the disk refuses.
    """
    with atomic_folder(folder) as temporary:
        config = {"schema_version": SCHEMA_VERSION, "model": model_config, "spec": spec.to_json()}
        (temporary / CONFIG).write_text(json.dumps(config, indent=2))
        _save_tensors(weights, temporary / WEIGHTS)
        _save_tensors({"frames": contexts.frames, "actions": contexts.actions}, temporary / CONTEXTS)
        if trainer is not None:
            _save_trainer(trainer, temporary / TRAINER)


def read_checkpoint(folder: Path) -> Checkpoint:
    """Reads a checkpoint folder, all but the trainer's state, after checking what it reads against the manifest.

    Raises CheckpointError: not a checkpoint, a file missing or damaged, or another schema version.
    """
    require(folder)
    verify_manifest(folder, [CONFIG, WEIGHTS, CONTEXTS])
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        version = config["schema_version"]
        if version != SCHEMA_VERSION:
            said = f"{folder} has schema version {version!s:.40}, this code reads {SCHEMA_VERSION}"
            raise CheckpointError(f"{said}: use the code that wrote it")
        return Checkpoint(
            folder=folder,
            model_config=config["model"],
            spec=EnvSpec.from_json(config["spec"]),
            weights=load_file(folder / WEIGHTS),
            contexts=Contexts(**load_file(folder / CONTEXTS)),
        )
    except (OSError, ValueError, LookupError, TypeError, SafetensorError, DataError, RecursionError) as error:
        raise CheckpointError(
            f"{folder} cannot be read ({error!r:.300}): it was not written as a checkpoint"
        ) from error


def require(folder: Path) -> None:
    """Raises CheckpointError, saying what is there instead, unless a folder is a checkpoint's by its contents."""
    if not folder.is_dir():
        found = "it is a file" if folder.is_file() else "it does not exist"
    elif not (folder / CONFIG).is_file():
        names = sorted(entry.name for entry in folder.iterdir())
        listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        found = f"it has no {CONFIG} (it holds {listed or 'nothing'})"
    else:
        return
    raise CheckpointError(
        f"{folder} is not a checkpoint folder: {found}; give one, such as RUN/checkpoints/000012, or a run folder that "
        "contains checkpoints/"
    )


@contextmanager
def as_saved(folder: Path) -> Iterator[None]:
    """Around what is made of a trainer's state: CheckpointError where it is not what this command saves."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, ConfigError) as error:
        raise CheckpointError(
            f"{folder / TRAINER} is not what this command saves ({error!r:.200}): resume the run by the command and "
            "version that began it"
        ) from error


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        save_file(_separate(tensors), path)
    except SafetensorError as error:  # which tells of the disk in words alone
        if found := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error
        raise


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each tensor contiguous, on the CPU and in memory of its own, as safetensors wants them."""
    separate: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        address = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone() if address in seen else tensor
        seen.add(address)
    return separate


def _save_trainer(state: dict[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as file:
            torch.save(state, file)
    except RuntimeError as error:  # torch's own, in place of the disk's
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise
    except (pickle.PicklingError, AttributeError, TypeError) as error:  # which of them depends on the object
        raise CheckpointError(_ALIEN.format(error)) from error
    _load_trainer(path, mmap=True)  # refuses now, not at resume, what could not be read back; reads no tensors


def _load_trainer(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    try:
        _check_stored(path)
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        said = str(error)  # with much advice, to read it even so
        reason, *_ = (said.partition("Unpickler error: ")[2] or said).splitlines()
        raise CheckpointError(_ALIEN.format(reason)) from error
    except Exception as error:  # of whatever a file that was made to harm makes it raise
        told = (str(error).strip() or repr(error)).splitlines()[0]
        raise CheckpointError(f"{path} cannot be read ({told}): it was not written as a trainer's state") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}: it was not written as a trainer's state")
    return state


def _check_stored(path: Path) -> None:
    """ValueError for a file that would grow when it is read: torch writes zip files, and packs nothing in them."""
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > path.stat().st_size:
        raise ValueError(f"its {path.stat().st_size} bytes would become {size}")
