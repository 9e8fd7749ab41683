"""Files from elsewhere that are used only if they are the ones that were meant: by their SHA-256."""

from __future__ import annotations

import hashlib
from pathlib import Path

from worldmodel.errors import ConfigError


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal; ConfigError where there is none."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise ConfigError(f"{path} cannot be read ({error}): give a file that is there") from error


def check_sha256(path: Path, expected: object, setting: str) -> str:
    """The hash of a file, once it is the expected one.

    Args:
        path: the file.
        expected: in hexadecimal; empty or None where nobody said it.
        setting: that says it, for the error.

    Raises ConfigError, which tells the file's own hash, for another one and for none.
    """
    found = sha256(path)
    if not expected:
        raise ConfigError(
            f"{path} has the SHA-256 {found}, and {setting} is not set: it is not loaded; compare that with the hash "
            f"that its publisher tells, and if it is the same set {setting}={found}"
        )
    if found != str(expected).lower():
        raise ConfigError(
            f"{path} has the SHA-256 {found}, {setting} is {expected}: it is not loaded; download it again, or give "
            "the hash of a file that you trust"
        )
    return found
