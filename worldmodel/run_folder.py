"""A run's folder: made once, gone on with by the same configuration."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from worldmodel.errors import ConfigError
from worldmodel.files import write_atomic
from worldmodel.settings import check_kinds

CONFIG = "config.yaml"


def read_config(folder: Path) -> DictConfig:
    """The configuration that a run was made with; empty where the folder has none.

    It may be somebody else's, so it is plain values: no tag makes an object, no ``${...}`` is looked up (which could
    read the environment), and no alias grows into gigabytes. `make_run` writes none of these.

    Raises ConfigError where it is anything else.
    """
    path = folder / CONFIG
    if not path.is_file():
        return OmegaConf.create()
    try:
        text = path.read_text()
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it has aliases, which no run writes")
        config = OmegaConf.load(StringIO(text))
        if not isinstance(config, DictConfig):
            raise ValueError("it is a list")
        if looked_up := _interpolations(OmegaConf.to_container(config)):
            raise ValueError(f"it refers to {looked_up[0]}, where a run writes values alone")
    except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError, OmegaConfBaseException) as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{path} cannot be read as a run's configuration ({told}): restore it") from error
    return config


def _interpolations(value: Any) -> list[str]:
    """Strings within plain values that OmegaConf would look up."""
    if isinstance(value, dict):
        return [found for pair in value.items() for part in pair for found in _interpolations(part)]
    if isinstance(value, list):
        return [found for part in value for found in _interpolations(part)]
    return [value] if isinstance(value, str) and "${" in value else []


def run_config(config: DictConfig, overrides: Sequence[str], *, fixed: Sequence[str]) -> DictConfig:
    """The configuration a run is to use: as composed, or for a resumed run the one in its folder.

    Over that one go the plain values given on the command line (``episodes=80``); environment, model and other
    groups cannot change. Whether a file is `trusted` is said anew each time: a run's folder may be somebody else's.

    Args:
        config: as composed; `run` names the folder, `resume` says whether it must hold a run.
        overrides: the command line's, ``key=value``.
        fixed: plain values that cannot change either.

    Raises ConfigError: the folder holds a run and `resume` is not set, or holds none and it is, or what cannot change
    does.
    """
    folder = Path(config.run)
    written = folder / CONFIG
    if not config.resume:
        if written.exists():
            raise ConfigError(f"{folder} already holds a run: add resume=true to go on with it, or choose another run=")
        return config
    if not written.exists():
        raise ConfigError(f"{folder} holds no run to resume (no {CONFIG}): give run= the folder of one, or drop resume")
    saved = read_config(folder)
    lacking = sorted(set(config) - set(saved))
    if lacking:
        raise ConfigError(f"{written} lacks {', '.join(lacking)}: resume with the version that began it")
    kinds, known = (cast(dict[str, Any], OmegaConf.to_container(each)) for each in (config, saved))
    if odd := sorted(key for key in kinds if isinstance(kinds[key], dict) != isinstance(known[key], dict)):
        raise ConfigError(f"{written} has another kind of {', '.join(odd)}: resume with the version that began it")
    values = {"run": str(folder), "resume": True, **({"trusted": config.trusted} if "trusted" in config else {})}
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0].partition(".")[0]  # of what it changes, at the top level
        if isinstance(saved.get(key), DictConfig):
            if OmegaConf.to_container(config[key], resolve=True) != OmegaConf.to_container(saved[key]):
                raise ConfigError(f"{folder} was started with another {key}: resume it without {override}")
        elif key in fixed and config[key] != saved[key]:
            raise ConfigError(f"{folder} was started with {key} {saved[key]}: resume it without {override}")
        elif key in saved:
            values[key] = config[key]
    merged = OmegaConf.merge(saved, values)
    assert isinstance(merged, DictConfig)
    check_kinds(merged)
    return merged


def make_run(config: DictConfig) -> Path:
    """The run's folder, with the configuration in it: the next to resume it need not say again what changed.

    To be called once everything that can refuse the configuration has seen it, so that a mistake leaves no run behind.
    """
    folder = Path(config.run)
    folder.mkdir(parents=True, exist_ok=True)
    remembered = OmegaConf.merge(config, {"resume": False}) if "resume" in config else config
    write_atomic(folder / CONFIG, OmegaConf.to_yaml(remembered, resolve=True).encode())
    return folder


def new_run(config: DictConfig) -> Path:
    """The folder of a run that is over too soon to be resumed; raises as `check_new`."""
    check_new(config)
    return make_run(config)


def check_new(config: DictConfig) -> None:
    """ConfigError when the run's folder holds a run already: to be called early, where much work comes before it."""
    if (Path(config.run) / CONFIG).exists():
        raise ConfigError(f"{config.run} already holds a run: choose another run=")
