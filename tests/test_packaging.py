"""What a user installs: the wheel, and the versions under which it is tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("worldmodel", "envs", "agents", "configs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy, so that no build product is left here or taken from here."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    (path,) = out.iterdir()
    return zipfile.ZipFile(path)


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_all_that_they_read(wheel: zipfile.ZipFile) -> None:
    expected = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for pattern in ("*.py", "*.yaml", "*.html")
        for path in (ROOT / package).rglob(pattern)
    }
    assert {"configs/planner/cem.yaml", "agents/planners/cem.py", "agents/play.html"} <= expected
    assert expected - set(wheel.namelist()) == set()


@pytest.mark.slow
def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {*PACKAGES, "svg_worldmodel-0.1.0.dist-info"}


@pytest.mark.slow
def test_the_wheel_works_on_its_own(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """From another folder: its packages are all its own, and Hydra finds the configuration inside it."""
    site = tmp_path / "site"
    wheel.extractall(site)
    command = [sys.executable, "-m", "worldmodel.summary", "model=svg", "--cfg", "job"]
    environment = os.environ | {"PYTHONPATH": str(site)}
    outcome = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 0, outcome.stderr
    assert "layer: dense" in outcome.stdout
    code = (
        "import worldmodel.origin as o; o.check_origin(); print([str(p) for n in o.PACKAGES for p in o.locations(n)])"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert outcome.stdout.strip() == str([str(site / name) for name in ("worldmodel", "envs", "agents", "configs")])


def test_a_constraint_for_everything_that_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = constraints()
    declared = {
        re.sub(r"[-_.]+", "-", requirement.split(";")[0]).lower()
        for requirement in map(
            requirement_name, sum(project["optional-dependencies"].values(), project["dependencies"])
        )
    }
    assert {"torch", "dm-control", "pytest", "minari"} <= declared
    assert declared - set(pinned) == {"setuptools", "svg-worldmodel"}  # the latter to name its own extras in `dev`


def test_constraints_are_exact_and_free_of_local_builds() -> None:
    pinned = constraints()
    assert pinned["torch"] == "2.13.0"
    assert [f"{name}=={version}" for name, version in pinned.items() if not re.fullmatch(r"[\w.]+", version)] == []


def test_the_constraints_are_what_is_tested() -> None:
    wrong = {}
    for name, pin in constraints().items():
        try:
            installed = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue  # one for another machine
        if installed != pin:
            wrong[name] = (installed, pin)
    assert wrong == {}, "run `make setup`: (installed, pinned)"


def constraints() -> dict[str, str]:
    """Versions by PEP 503 name."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def requirement_name(requirement: str) -> str:
    """``gymnasium[classic-control]>=1.0`` asks for ``gymnasium``."""
    match = re.match(r"[\w.-]+", requirement)
    assert match, requirement
    return match.group()
