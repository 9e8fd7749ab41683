"""Of what kind the settings of commands are, for a mistake to be told at the door; a name means the same in all."""

from __future__ import annotations

import math
from typing import Any

from omegaconf import DictConfig, OmegaConf

from worldmodel.errors import ConfigError

LONGEST = 255  # bytes of a file's name on Linux
TEXT = (
    *("a", "accelerator", "algorithm", "b", "dataset", "device", "feedback", "goal_cost", "host", "latents", "name"),
    *("pattern", "policy", "records", "rendering", "run", "videos"),
)
TEXT_OR_NULL = ("again", "beside", "checkpoint", "goal", "online", "sb3", "simulator")
TEXTS = ("data", "votes")  # one, or a list of them; null where a command says so


def check_kinds(config: DictConfig) -> None:
    """Raises ConfigError for a name, path or choice that is no text, such as a number or a list.

    So too for numbers that are not finite, wherever they stand: nothing here takes them, and logs cannot hold them.
    """
    given: Any = OmegaConf.to_container(config)
    check_finite("", given)
    for name, value in given.items():
        if name in TEXT or (name in TEXT_OR_NULL and value is not None):
            check_text(name, value)
        elif name in TEXTS and value is not None:
            check_texts(name, value)


def check_finite(name: str, value: object) -> None:
    """Raises ConfigError for a number within that is not finite, telling where it stands."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} is {value}: set a finite number")
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            check_finite(f"{name}.{key}" if name else str(key), part)


def check_texts(name: str, value: object) -> None:
    """Raises ConfigError unless the setting `name` is text, or a list of one or more."""
    for part in value if isinstance(value, list | tuple) and value else [value]:
        check_text(name, part)


def check_text(name: str, value: object) -> None:
    """Raises ConfigError unless the setting `name` is text, of one character or more, which a path can be."""
    if isinstance(value, str) and value and "\0" not in value:
        longest = max(len(part) for part in value.encode(errors="replace").split(b"/"))
        if longest > LONGEST:
            raise ConfigError(f"{name} is {value[:40]!r}... and has a name of {longest} bytes: files take {LONGEST}")
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    mend = f"set text, in quotes twice: {name}=\"'{value}'\"" if number else "set text"
    raise ConfigError(f"{name} is {value!r:.80}: {mend}")
