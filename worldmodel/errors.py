"""The errors this project raises for bad input.

Each message says what is wrong, the numbers, and the mend. Entry points print the message without a traceback.
"""

import sys
import traceback

LARGEST = 2**63 - 1  # whole number that torch and NumPy take


class WorldModelError(Exception):
    """Base of every error a user can cause and mend."""


class ConfigError(WorldModelError):
    """A setting, or a combination of settings, that cannot work."""


class DataError(WorldModelError):
    """Episodes that are missing, malformed, or do not fit what they are used for."""


class CheckpointError(WorldModelError):
    """A checkpoint that is missing, damaged, or does not fit what it is used for."""


class VersionError(CheckpointError):
    """A checkpoint that is whole, but was written by another version."""


class DivergedError(WorldModelError):
    """A model whose loss, or whose imagination, is no longer finite."""


class EnvError(WorldModelError):
    """An environment that cannot be made, drawn, or used as asked."""


class EnvFailure(EnvError):
    """An environment that failed while it was played: the episode in hand is lost, another may be played."""


def foreign_trace(error: BaseException | None) -> str:
    """The traceback of what others' code raised and `error`, one of ours, came of; empty where it came of nothing."""
    while isinstance(error, WorldModelError):
        if notes := getattr(error, "__notes__", ()):  # from another process
            return "\n".join(notes)
        error = error.__cause__
    return "" if error is None else "".join(traceback.format_exception(error))


def check_whole(name: str, value: object, least: int, most: int = LARGEST) -> None:
    """Raises ConfigError unless the setting `name` is a whole number from `least` to `most`."""
    if type(value) is not int or not least <= value <= most:
        end = "" if most == LARGEST else f" and <= {most}"
        raise ConfigError(f"{name} is {value!r}: set a whole number >= {least}{end}")


def check_number(name: str, value: object, *, least: float | None = None, above: float | None = None) -> None:
    """Raises ConfigError unless the setting `name` is a finite number, from `least` on or above `above`."""
    if type(value) is float or type(value) is int:
        finite = abs(value) <= (LARGEST if type(value) is int else sys.float_info.max)
        if finite and (least is None or value >= least) and (above is None or value > above):
            return
    end = "" if least is None else f" >= {least}"
    end += "" if above is None else f" > {above}"
    raise ConfigError(f"{name} is {value!r}: set a finite number{end}")
