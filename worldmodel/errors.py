"""The errors this project raises for bad input.

Each message says what is wrong, the numbers, and the mend. Entry points print the message without a traceback.
"""


class WorldModelError(Exception):
    """Base of every error a user can cause and mend."""


class ConfigError(WorldModelError):
    """A setting, or a combination of settings, that cannot work."""


class DataError(WorldModelError):
    """Episodes that are missing, malformed, or do not fit what they are used for."""


class CheckpointError(WorldModelError):
    """A checkpoint that is missing, damaged, or does not fit what it is used for."""


class DivergedError(WorldModelError):
    """A model whose loss, or whose imagination, is no longer finite."""


class EnvError(WorldModelError):
    """An environment that cannot be made, drawn, or used as asked."""


class EnvFailure(EnvError):
    """An environment that failed while it was played: the episode in hand is lost, another may be played."""


def check_whole(name: str, value: object, least: int) -> None:
    """Raises ConfigError unless the setting `name` is a whole number from `least` on."""
    if type(value) is not int or value < least:
        raise ConfigError(f"{name} is {value!r}: set a whole number >= {least}")
