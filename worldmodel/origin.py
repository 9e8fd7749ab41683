"""Our four top-level packages have common names: makes sure that all of them are ours."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from worldmodel.errors import ConfigError

PACKAGES = ("worldmodel", "envs", "agents", "configs")


def check_origin() -> None:
    """Raises ConfigError when a package of ours is missing, or one of its name lies before it on the path.

    Other distributions, too, install packages called ``agents``, ``envs`` or ``configs``. Importing one of them in
    place of ours fails far from its cause, or does not fail. All four must lie beside this one; none is imported.
    """
    root = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        found = locations(name)
        if not found:
            raise ConfigError(f"there is no package {name!r} beside {root / 'worldmodel'}: reinstall svg-worldmodel")
        for location in found:
            if location != root / name:
                raise ConfigError(_complaint(name, location, root))


def locations(name: str) -> list[Path]:
    """Where Python finds the top-level package (several folders, if no ``__init__.py`` closes it) or module."""
    spec = find_spec(name)
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(folder).resolve() for folder in spec.submodule_search_locations]
    return [Path(spec.origin).resolve()] if spec.origin else []


def _complaint(name: str, culprit: Path, root: Path) -> str:
    owners = sorted(set(_owners(culprit)))
    if owners:
        source = f"installed by {', '.join(owners)}"
        mend = f"`pip uninstall {' '.join(owners)}`, or give this project its own virtual environment (`make setup`)"
    else:
        source = "installed by no distribution"
        mend = f"take {culprit.parent} off PYTHONPATH and sys.path, or run from another folder"
    return f"package {name!r} is {culprit} ({source}) instead of {root / name}: {mend}"


def _owners(path: Path) -> Iterator[str]:
    """Names of the distributions that installed something at or under `path`."""
    for distribution in distributions():
        for file in distribution.files or ():
            # Comparing names first spares resolving the tens of thousands of other files.
            if file.parts[0] == path.name and Path(str(distribution.locate_file(file))).resolve().is_relative_to(path):
                yield distribution.metadata["Name"]
                break
