"""A run's folder: made once, gone on with by the same configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from worldmodel.errors import ConfigError

CONFIG = "config.yaml"


def open_run(config: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """The configuration a run is to use, its folder made or found.

    A new run's configuration is written into its folder. A resumed run takes the one written there, and over it the
    plain values given on the command line (``episodes=80``); its environment, model and other groups cannot change.

    Args:
        config: as composed; `run` names the folder, `resume` says whether it must exist.
        overrides: the command line's, ``key=value``.

    Raises ConfigError: the folder holds a run and `resume` is not set, or holds none and it is, or a group changes.
    """
    folder = Path(config.run)
    written = folder / CONFIG
    if not config.resume:
        if written.exists():
            raise ConfigError(f"{folder} already holds a run: add resume=true to go on with it, or choose another run=")
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, written, resolve=True)
        return config
    if not written.exists():
        raise ConfigError(f"{folder} holds no run to resume (no {CONFIG}): give run= the folder of one, or drop resume")
    saved = OmegaConf.load(written)
    assert isinstance(saved, DictConfig)
    values = []
    for override in overrides:
        key, _, value = override.partition("=")
        if key in saved and isinstance(saved[key], DictConfig):
            if OmegaConf.to_container(config[key], resolve=True) != OmegaConf.to_container(saved[key]):
                raise ConfigError(f"{folder} was started with another {key}: resume it without {override}")
        elif key not in ("run", "resume"):
            values.append(f"{key}={value}")
    merged = OmegaConf.merge(saved, OmegaConf.from_dotlist(values), {"run": str(folder), "resume": True})
    assert isinstance(merged, DictConfig)
    return merged
