"""Foreign packages under our names are found and named."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worldmodel.origin import PACKAGES, check_origin

ROOT = Path(__file__).resolve().parent.parent
CHECK = "from worldmodel.origin import check_origin; check_origin(); print('all ours')"


def run(path: list[Path], cwd: Path, code: str = CHECK) -> subprocess.CompletedProcess[str]:
    """Runs code with `path` first on sys.path."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run([sys.executable, "-P", "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)


def package(folder: Path, name: str) -> Path:
    """A foreign package."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    return folder / name


def test_our_own_packages_pass() -> None:
    assert {"worldmodel", "envs", "agents", "configs"} == set(PACKAGES)
    check_origin()


@pytest.mark.parametrize("name", ["envs", "agents", "configs"])
def test_a_foreign_package_first_on_the_path_is_named(tmp_path: Path, name: str) -> None:
    foreign = package(tmp_path, name)
    outcome = run([tmp_path, ROOT], tmp_path)
    assert outcome.returncode == 1
    error = outcome.stderr.splitlines()[-1]
    assert f"ConfigError: package {name!r} is {foreign} (installed by no distribution)" in error
    assert f"instead of {ROOT / name}" in error
    assert f"take {tmp_path} off PYTHONPATH" in error


def test_a_foreign_package_behind_ours_does_no_harm(tmp_path: Path) -> None:
    package(tmp_path, "agents")
    assert run([ROOT, tmp_path], tmp_path).stdout == "all ours\n"


def test_a_foreign_module_is_named(tmp_path: Path) -> None:
    (tmp_path / "envs.py").touch()
    assert f"package 'envs' is {tmp_path / 'envs.py'} " in run([tmp_path, ROOT], tmp_path).stderr


def test_the_distribution_that_installed_it_is_named(tmp_path: Path) -> None:
    package(tmp_path, "agents")
    info = tmp_path / "somebodys_agents-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-agents\nVersion: 1.2\n")
    (info / "RECORD").write_text("agents/__init__.py,,\nsomebodys_agents-1.2.dist-info/RECORD,,\n")
    error = run([tmp_path, ROOT], tmp_path).stderr
    assert "(installed by somebodys-agents)" in error
    assert "`pip uninstall somebodys-agents`" in error


def test_a_copy_elsewhere_passes_without_importing_the_others(tmp_path: Path) -> None:
    """As a wheel lies in site-packages: all four side by side, and not in the repository."""
    shutil.copytree(ROOT / "worldmodel", tmp_path / "worldmodel", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("envs", "agents", "configs"):
        (package(tmp_path, name) / "__init__.py").write_text("raise RuntimeError('imported')")
    outcome = run([tmp_path], tmp_path)
    assert outcome.stdout == "all ours\n", outcome.stderr


def test_a_copy_without_one_of_them_says_so(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "worldmodel", tmp_path / "worldmodel", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("envs", "agents"):
        package(tmp_path, name)
    # -S: without site-packages, where an installed project would supply the missing one
    command = [sys.executable, "-S", "-P", "-c", CHECK]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    outcome = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert f"ConfigError: there is no package 'configs' beside {tmp_path / 'worldmodel'}" in outcome.stderr
