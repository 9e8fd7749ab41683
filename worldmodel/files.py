"""Files and folders that are whole or absent: what a killed process leaves behind can always be read or recognised.

A file is written under a temporary name beside its target, synced to disk, and renamed. A folder is filled under a
temporary name, listed with the SHA-256 of every file in `manifest.json`, synced, and renamed. Renames are synced
too, so that a power cut keeps writes in the order they were made in.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from worldmodel.errors import CheckpointError, DataError, VersionError

MANIFEST = "manifest.json"
MANIFEST_VERSION = 1
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.partial")


def temporary_path(path: Path) -> Path:
    """A fresh name in the same folder, so that renaming it to `path` never crosses file systems."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file, replacing any before it; whoever looks sees the old one or the new one, never a part.

    The folder of `path` must exist. Raises OSError, and leaves nothing behind, when the disk refuses.
    """
    temporary = temporary_path(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Makes a new folder: fill the one that is given; on leaving it gets its manifest and its name.

    An exception inside leaves nothing behind. Parents are made as needed.
    Raises CheckpointError when `path` already exists.
    """
    if os.path.lexists(path):
        raise CheckpointError(f"{path} already exists: choose another name, or move it away")
    make_folder(path.parent)
    temporary = temporary_path(path)
    temporary.mkdir()
    try:
        yield temporary
        _seal(temporary)
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The same without a manifest: a folder to fill; an empty one of that name gives way, another is an OSError."""
    make_folder(path.parent)
    temporary = temporary_path(path)
    temporary.mkdir()
    try:
        yield temporary
        for _ in _synced(temporary):
            pass
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Makes a folder and its parents where they are missing, each so that it lasts through a power cut."""
    for parent in reversed([path, *path.parents]):
        if not parent.is_dir():
            parent.mkdir(exist_ok=True)
            _sync_folder(parent.parent)


def check_empty(folder: Path) -> None:
    """DataError where a folder that is to be written is there and not empty, or is a file."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty: give a new folder")


def verify_manifest(folder: Path, names: Iterable[str] | None = None) -> None:
    """Compares files with `manifest.json`: all that it lists, or only `names`, which it must list.

    Raises CheckpointError naming the first file that is missing, damaged, unlisted, or outside the folder.
    """
    listed = read_manifest(folder)
    for name in listed if names is None else names:
        if name not in listed:
            raise CheckpointError(f"{folder / MANIFEST} does not list {name}: the folder is not whole, copy it again")
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{path} is missing: copy the folder again, or use another checkpoint")
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read ({error.strerror}): copy the folder again") from error
        if digest != listed[name]:
            raise CheckpointError(
                f"{path} is damaged: its SHA-256 {digest[:12]}… is not the {listed[name][:12]}… of {MANIFEST}; "
                "copy the folder again, or use another checkpoint"
            )


def read_manifest(folder: Path) -> dict[str, str]:
    """The files a folder should hold, and the SHA-256 of each, in hexadecimal.

    Raises CheckpointError when it is missing or unreadable, or names something outside the folder.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        version, listed = manifest.get("schema_version", "0"), manifest["sha256"]
        valid = all(isinstance(name, str) and isinstance(digest, str) for name, digest in listed.items())
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing: {folder} is not a whole checkpoint, copy it again") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r:.300}): copy the folder again") from error
    if version != MANIFEST_VERSION:
        raise VersionError(
            f"{path} has schema version {version}, this code reads {MANIFEST_VERSION}: use the code that wrote it"
        )
    if not valid:
        raise CheckpointError(f"{path} is damaged (it must map names to SHA-256 strings): copy the folder again")
    root = folder.resolve()
    for name in listed:
        try:
            (folder / name).is_file()  # or not, but a name that can be asked for
            # Resolved, so that neither "..", nor an absolute name, nor a link leads out.
            inside = (folder / name).resolve().is_relative_to(root)
        except (OSError, ValueError, RuntimeError) as error:  # too long; a zero byte; links that go round in circles
            raise CheckpointError(
                f"{path} names {name[:80]!r}, which cannot be a file's name ({error!s:.40}): do not use this folder"
            ) from error
        if not inside:
            raise CheckpointError(f"{path} names {name!r}, which lies outside {folder}: do not use this folder")
    return dict(listed)


def remove_folder(folder: Path) -> None:
    """Deletes a folder with all it holds; a kill half-way leaves a leftover, not a damaged folder of that name."""
    temporary = temporary_path(folder)
    os.rename(folder, temporary)
    shutil.rmtree(temporary)


def is_leftover(path: Path) -> bool:
    """Whether a name is one that a killed write left behind."""
    return _TEMPORARY.fullmatch(path.name) is not None


def remove_leftovers(folder: Path) -> None:
    """Deletes what killed writes left in a folder; nobody may be writing in it."""
    for path in filter(is_leftover, folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _seal(folder: Path) -> None:
    """Syncs everything in a folder to disk, then its manifest, then the folder itself."""
    digests = {}
    for path in _synced(folder):
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    manifest = {"schema_version": MANIFEST_VERSION, "sha256": digests}
    write_atomic(folder / MANIFEST, json.dumps(manifest, indent=2).encode())


def _synced(folder: Path) -> Iterator[Path]:
    """The files in a folder, each once it is synced to disk; at last the folders are."""
    paths = sorted(folder.rglob("*"))
    for path in filter(Path.is_file, paths):
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        yield path
    for path in (*filter(Path.is_dir, paths), folder):
        _sync_folder(path)


def _sync_folder(folder: Path) -> None:
    """Makes renames in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
