"""A run's folder: made once, gone on with by the same configuration, used by one process at a time."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, cast

import yaml
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from worldmodel.errors import ConfigError
from worldmodel.files import make_folder, remove_leftovers, write_atomic
from worldmodel.provenance import last_origin, other_machine, other_versions
from worldmodel.settings import check_kinds

CONFIG = "config.yaml"
MADE = (CONFIG, "metrics.jsonl", "checkpoints")  # what tells that a folder holds a run
CHOSEN = ("model", "budget")  # a model is its checkpoint's, a budget a choice of several settings
ANYWAY = "anyway"
_locks: dict[tuple[int, int], FileLock] = {}  # held until this process ends
_ABSENT = "not set"
_log = logging.getLogger(__name__)


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


def run_config(config: DictConfig, overrides: Sequence[str], *, free: Sequence[str]) -> DictConfig:
    """The configuration a run is to use: as composed, or for a resumed run the one in its folder.

    Over that one go the values given on the command line. Those that are `free` change what is yet to be done
    (``episodes=80``); any other change, and other versions of packages, would end in other results: they are refused,
    unless ``resume=anyway`` allows them. Groups, such as a model or an environment, cannot be chosen anew at all.
    Whether a file is `trusted` is said anew each time: a run's folder may be somebody else's.

    Args:
        config: as composed; `run` names the folder, `resume` says whether it must hold a run.
        overrides: the command line's, ``key=value``.
        free: settings that may change.

    Raises ConfigError: the folder holds a run and `resume` is not set, or holds none and it is, another process runs in
    it, or what cannot change does: all of it is listed, as it was and as it is.
    """
    folder = Path(config.run)
    if config.resume not in (False, True, ANYWAY):
        raise ConfigError(f"resume is {config.resume!r}: set true, false, or {ANYWAY} to go on with what has changed")
    if not config.resume:
        if (folder / CONFIG).exists():
            raise ConfigError(f"{folder} already holds a run: add resume=true to go on with it, or choose another run=")
        return config
    if not (folder / CONFIG).exists():
        raise ConfigError(f"{folder} holds no run to resume (no {CONFIG}): give run= the folder of one, or drop resume")
    lock_run(folder)
    saved = _known(config, folder)
    own = {"run": str(folder), "resume": config.resume, **({"trusted": config.trusted} if "trusted" in config else {})}
    merged = OmegaConf.merge(saved, own)
    assert isinstance(merged, DictConfig)
    chosen, choices, changes = [], [], []
    for override in overrides:
        path = override.lstrip("+~").partition("=")[0]
        key = path.partition(".")[0]
        if key not in saved or key in own:
            continue
        now, then = _plain(config, path), _plain(merged, path)
        differing = [*_differences(path, then, now)]
        if isinstance(then, dict) or override.startswith("~") or key in CHOSEN:
            chosen += differing
            choices += [f"{override.partition('=')[0]}="] if differing else []
        elif differing:
            OmegaConf.update(merged, path, now, force_add=True)
            changes += [] if path in free else differing
    if chosen:
        raise ConfigError(
            f"{folder} was begun with another choice: {'; '.join(chosen)}: leave {' '.join(choices)} out, "
            "or begin another run"
        )
    origin = last_origin(folder / "metrics.jsonl")
    changes += other_versions(origin)
    if changes and config.resume != ANYWAY:
        raise ConfigError(
            f"{folder} was begun otherwise: {'; '.join(changes)}: resume it as it was, "
            f"or with resume={ANYWAY} to go on with what has changed"
        )
    for change in [*changes, *other_machine(origin)]:
        _log.warning("%s goes on with %s: it may not end as it would have", folder, change)
    check_kinds(merged)
    return merged


def _known(config: DictConfig, folder: Path) -> DictConfig:
    """The configuration in a run's folder, if it is one of this command; ``resume=anyway`` fills what it lacks."""
    saved = read_config(folder)
    lacking = sorted(set(config) - set(saved))
    if lacking and config.resume != ANYWAY:
        raise ConfigError(
            f"{folder / CONFIG} lacks {', '.join(lacking)}: resume with the version that began it, "
            f"or with resume={ANYWAY} to go on with the defaults of today"
        )
    for key in lacking:
        saved[key] = _plain(config, key)
    kinds, known = (cast(dict[str, Any], OmegaConf.to_container(each)) for each in (config, saved))
    if odd := sorted(key for key in kinds if isinstance(kinds[key], dict) != isinstance(known[key], dict)):
        raise ConfigError(
            f"{folder / CONFIG} has another kind of {', '.join(odd)}: resume with the version that began it"
        )
    return saved


def make_run(config: DictConfig) -> Path:
    """The run's folder, with the configuration in it: the next to resume it need not say again what changed.

    To be called once everything that can refuse the configuration has seen it, so that a mistake leaves no run behind.
    From then on until its end, this process is the only one that can run there, and what killed writes left there is
    gone. Raises ConfigError when another is, or has made a run there in the meantime.
    """
    folder = Path(config.run)
    try:
        make_folder(folder)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made ({error.strerror}): choose another run=") from error
    lock_run(folder)
    if not config.get("resume") and (found := [name for name in MADE if (folder / name).exists()]):
        raise ConfigError(f"{folder} already holds a run ({found[0]}): choose another run=")
    for place in (folder, *filter(Path.is_dir, folder.iterdir())):
        remove_leftovers(place)
    remembered = OmegaConf.merge(config, {"resume": False}) if "resume" in config else config
    write_atomic(folder / CONFIG, OmegaConf.to_yaml(remembered, resolve=True).encode())
    return folder


def new_run(config: DictConfig) -> Path:
    """The folder of a run that is over too soon to be resumed; raises as `check_new`."""
    check_new(config)
    return make_run(config)


def check_new(config: DictConfig) -> None:
    """ConfigError when the run's folder holds a run already, or cannot be made.

    To be called early, where much work comes before it.
    """
    folder = Path(config.run)
    if (folder / CONFIG).exists():
        raise ConfigError(f"{folder} already holds a run: choose another run=")
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        raise ConfigError(f"{folder} cannot be made, {nearest} is no folder to write in: choose another run=")


def lock_run(folder: Path) -> None:
    """Keeps other processes from running in an existing folder until this one ends; ConfigError when one does already.

    The system gives the lock back when a process ends, however it does.
    """
    status = folder.stat()
    place = status.st_dev, status.st_ino  # which a folder keeps when it is moved
    if place in _locks:
        return
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        mend = "wait for its end, or choose another run="
        raise ConfigError(f"another process is running in {folder}: {mend}") from error
    _locks[place] = lock


def _plain(config: DictConfig, path: str) -> Any:
    """A value as plain data; `_ABSENT` where there is none."""
    found = OmegaConf.select(config, path, default=_ABSENT)
    return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found


def _differences(path: str, then: Any, now: Any) -> Iterator[str]:
    """Values that differ between two plain configurations, each with both."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in [*then, *(key for key in now if key not in then)]:
            yield from _differences(f"{path}.{key}", then.get(key, _ABSENT), now.get(key, _ABSENT))
    elif then != now:
        yield f"{path} {then} then, {now} now"
