"""A run's folder: made once, gone on with by the same configuration, used by one process at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, cast

import yaml
from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from worldmodel.errors import ConfigError
from worldmodel.files import remove_leftovers, write_atomic
from worldmodel.provenance import last_origin, other_machine, other_versions
from worldmodel.settings import check_kinds

CONFIG = "config.yaml"
ANYWAY = "anyway"
_locks: dict[tuple[int, int], FileLock] = {}  # held until this process ends
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


def run_config(config: DictConfig, overrides: Sequence[str], *, fixed: Sequence[str]) -> DictConfig:
    """The configuration a run is to use: as composed, or for a resumed run the one in its folder.

    Over that one go the plain values given on the command line (``episodes=80``). Environment, model and other groups,
    what is `fixed`, and the versions of packages cannot change, unless ``resume=anyway`` says so; then what was given
    on the command line wins. Whether a file is `trusted` is said anew each time: a run's folder may be somebody else's.

    Args:
        config: as composed; `run` names the folder, `resume` says whether it must hold a run.
        overrides: the command line's, ``key=value``.
        fixed: plain values that cannot change either.

    Raises ConfigError: the folder holds a run and `resume` is not set, or holds none and it is, another process runs in
    it, or what cannot change does: all of it is listed, as it was and as it is.
    """
    folder = Path(config.run)
    written = folder / CONFIG
    if config.resume not in (False, True, ANYWAY):
        raise ConfigError(f"resume is {config.resume!r}: set true, false, or {ANYWAY} to go on with what has changed")
    if not config.resume:
        if written.exists():
            raise ConfigError(f"{folder} already holds a run: add resume=true to go on with it, or choose another run=")
        return config
    if not written.exists():
        raise ConfigError(f"{folder} holds no run to resume (no {CONFIG}): give run= the folder of one, or drop resume")
    lock_run(folder)
    saved = read_config(folder)
    lacking = sorted(set(config) - set(saved))
    if lacking:
        raise ConfigError(f"{written} lacks {', '.join(lacking)}: resume with the version that began it")
    kinds, known = (cast(dict[str, Any], OmegaConf.to_container(each)) for each in (config, saved))
    if odd := sorted(key for key in kinds if isinstance(kinds[key], dict) != isinstance(known[key], dict)):
        raise ConfigError(f"{written} has another kind of {', '.join(odd)}: resume with the version that began it")
    values = {"run": str(folder), "resume": True, **({"trusted": config.trusted} if "trusted" in config else {})}
    merged = OmegaConf.merge(saved, values)
    assert isinstance(merged, DictConfig)
    changes: list[str] = []
    for override in overrides:
        path = override.lstrip("+~").partition("=")[0]
        key = path.partition(".")[0].partition("/")[0]
        if key not in saved or key in values:
            continue
        # A group is chosen whole; within one, and beside them, a single value is set.
        path = path if OmegaConf.select(config, path) is not None else key
        now = _plain(config, path)
        if key in fixed or isinstance(saved[key], DictConfig):
            changes += _differences(path, _plain(merged, path), now)
        OmegaConf.update(merged, path, now, merge=False, force_add=True)
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


def make_run(config: DictConfig) -> Path:
    """The run's folder, with the configuration in it: the next to resume it need not say again what changed.

    To be called once everything that can refuse the configuration has seen it, so that a mistake leaves no run behind.
    From then on until its end, this process is the only one that can run there (ConfigError when another is), and what
    killed writes left there is gone.
    """
    folder = Path(config.run)
    folder.mkdir(parents=True, exist_ok=True)
    lock_run(folder)
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
    """ConfigError when the run's folder holds a run already: to be called early, where much work comes before it."""
    if (Path(config.run) / CONFIG).exists():
        raise ConfigError(f"{config.run} already holds a run: choose another run=")


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
    found = OmegaConf.select(config, path)
    return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found


def _differences(path: str, then: Any, now: Any) -> Iterator[str]:
    """Values that differ between two plain configurations, each with both."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in [*then, *(key for key in now if key not in then)]:
            yield from _differences(f"{path}.{key}", then.get(key), now.get(key))
    elif then != now:
        yield f"{path} {then} then, {now} now"
