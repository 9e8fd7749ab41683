"""Commands with a Hydra configuration, and what Hydra refuses in one line, with its mend."""

from __future__ import annotations

import argparse
import difflib
import functools
import os
import re
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from worldmodel.command import command, end
from worldmodel.errors import ConfigError
from worldmodel.settings import check_kinds

FULL_ERROR = "HYDRA_FULL_ERROR"  # Hydra's own switch: raise what it finds, in place of printing it


def configured(name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Makes a function a command whose settings are those of ``configs/NAME.yaml``, by Hydra.

    Everything `worldmodel.command.command` does is done. A setting that there is none of, a choice that there is none
    of, and one that cannot be parsed are told in one line too (exit status 2), so too where ``+`` adds one; where
    HYDRA_FULL_ERROR is 1, by Hydra, with a traceback.
    """

    def decorate(main: Callable[[DictConfig], None]) -> Callable[[], None]:
        begun = False  # by then settings are composed, and errors are not about them

        @functools.wraps(main)
        def checked(config: DictConfig) -> None:
            _check_keys(name, config)
            check_kinds(config)
            main(config)

        guarded = command(checked)

        @functools.wraps(main)
        def task(config: DictConfig) -> None:
            nonlocal begun
            begun = True
            _switch(given)
            guarded(config)

        given = os.environ.get(FULL_ERROR)
        composed = hydra.main(version_base="1.3", config_path="pkg://configs", config_name=name)(task)

        @functools.wraps(main)
        def entry() -> None:
            nonlocal begun, given
            begun, given = False, os.environ.get(FULL_ERROR)
            _switch("1")
            try:
                composed()
            except (HydraException, OmegaConfBaseException, ValueError) as error:
                if begun or given == "1":
                    raise
                end(_told(name, error))
            finally:
                _switch(given)

        return entry

    return decorate


def _switch(value: str | None) -> None:
    """Sets what commands that this one begins, and Hydra once the command has begun, are to find."""
    if value is None:
        os.environ.pop(FULL_ERROR, None)
    else:
        os.environ[FULL_ERROR] = value


def _check_keys(name: str, config: DictConfig) -> None:
    """Raises ConfigError where ``+`` or ``~`` on the command line made another set of settings than the command reads.

    Within a group it is for those who read the group, where it is read, to refuse what it does not have, or lacks.
    """
    overrides: Any = OmegaConf.to_container(HydraConfig.get().overrides.task)
    if not any(override.startswith(("+", "~")) for override in overrides):
        return
    known = _plain(hydra.compose(HydraConfig.get().job.config_name))
    for key in map(str, config):
        if key not in known:
            raise ConfigError(_unknown(name, key, known))
    for key in known:
        if key not in config:
            raise ConfigError(f"{key} is missing: leave ~{key} out")


def _told(name: str, error: Exception) -> str:
    """What Hydra refuses, in one line."""
    text = " ".join(str(error).partition("Config search path:")[0].split()).rstrip(".")
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override!r} cannot be read: write KEY=VALUE, and text with =, brackets or quotes in quotes twice, "
            "KEY=\"'TEXT'\""
        )
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return f"{group} is {choice!r}: set one of {', '.join(error.options)}"
    if found := re.match(r"Could not override '([^']*)'", text):
        return _unknown(name, found[1], _chosen(name))
    if found := re.match(r"Multiple values for ([^.]+)\.", text):
        return f"{found[1]} is chosen already: choose another by {found[1]}=, without +"
    if isinstance(error, ConfigCompositionException):
        cause = f" ({' '.join(str(error.__cause__).split())})" if error.__cause__ else ""
        return f"{text}{cause}: configs/{name}.yaml lists the settings"
    return f"the settings cannot be composed ({text})"


def _chosen(name: str) -> dict[str, Any]:
    """All settings of the configuration and of the groups' members that the command line chooses."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config-name", "-cn", default=name)
    options, others = parser.parse_known_args()
    choices = [other for other in others if (files("configs") / other.partition("=")[0]).is_dir()]
    with hydra.initialize_config_module("configs", version_base="1.3"):
        return _plain(hydra.compose(options.config_name, overrides=choices))


def _unknown(name: str, key: str, known: dict[str, Any]) -> str:
    named: dict[str, list[str]] = {}
    for path in _keys(known):
        named.setdefault(path.rpartition(".")[2].lower(), []).append(path)
    last = key.rpartition(".")[2].lower()
    close = [last] if last in named else difflib.get_close_matches(last, named, n=2, cutoff=0.7)
    meant = " or ".join(path for found in close for path in named[found])
    mend = f"did you mean {meant}" if meant else f"configs/{name}.yaml and its groups list them"
    return f"there is no setting {key}: {mend}"


def _plain(config: DictConfig) -> dict[str, Any]:
    return cast(dict[str, Any], OmegaConf.to_container(config))


def _keys(known: dict[str, Any]) -> Iterator[str]:
    """All settings, dotted, groups among them."""
    for key, value in known.items():
        yield key
        if isinstance(value, dict):
            yield from (f"{key}.{within}" for within in _keys(value))
