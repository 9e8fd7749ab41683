"""Who may import whom: the contracts in pyproject.toml, and what they cannot say."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("worldmodel", "envs", "agents")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def modules(root: Path = ROOT) -> dict[str, ast.Module]:
    """Every module of ours, parsed, by its dotted name."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    return {module_name(path.relative_to(root)): ast.parse(path.read_text(), str(path)) for path in paths}


def module_name(path: Path) -> str:
    """``agents/planners/__init__.py`` is ``agents.planners``."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.Module) -> Iterator[str]:
    """Dotted names of everything imported anywhere in a module; ``from a import b`` may mean a.b, so gives both."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_entry_point(tree: ast.Module) -> bool:
    """Whether a module ends as a command does: ``if __name__ == "__main__":``."""
    return any(isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'" for node in tree.body)


def hydra_outside_entry_points(found: dict[str, ast.Module]) -> list[str]:
    return [
        name
        for name, tree in found.items()
        if not is_entry_point(tree)
        and name != "worldmodel.configured"
        and any(top(imported) == "hydra" for imported in imports(tree))
    ]


def imports_of_entry_points(found: dict[str, ast.Module]) -> list[tuple[str, str]]:
    entry_points = {name for name, tree in found.items() if is_entry_point(tree)}
    return sorted((name, imported) for name, tree in found.items() for imported in entry_points & set(imports(tree)))


def top(name: str) -> str:
    return name.partition(".")[0]


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project's code and configuration, to break."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_contracts_are_kept() -> None:
    outcome = lint_imports(ROOT)
    assert outcome.returncode == 0, outcome.stdout
    assert "3 kept, 0 broken" in outcome.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("worldmodel/errors.py", "import envs"),
        ("worldmodel/errors.py", "import gymnasium"),
        ("worldmodel/errors.py", "import dm_control"),
        ("worldmodel/errors.py", "import mujoco"),
        ("worldmodel/errors.py", "import stable_baselines3"),
        ("envs/spec.py", "import agents"),
        ("envs/spec.py", "import stable_baselines3"),
    ],
)
def test_the_contracts_can_break(copy: Path, module: str, line: str) -> None:
    with (copy / module).open("a") as file:
        file.write(f"{line}\n")
    outcome = lint_imports(copy)
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert "BROKEN" in outcome.stdout


def test_only_entry_points_and_what_makes_them_import_hydra() -> None:
    found = modules()
    assert {"agents.cem_plan", "worldmodel.train"} <= {name for name, tree in found.items() if is_entry_point(tree)}
    assert hydra_outside_entry_points(found) == []
    makes = {name for name, tree in found.items() if "worldmodel.configured" in imports(tree)}
    assert makes and all(is_entry_point(found[name]) for name in makes)


def test_nothing_imports_an_entry_point() -> None:
    assert imports_of_entry_points(modules()) == []


def test_both_rules_can_break() -> None:
    found = {
        "agents.run": ast.parse("import hydra\nif __name__ == '__main__':\n    pass"),
        "agents.hides": ast.parse("def f():\n    from hydra.utils import instantiate"),
        "agents.borrows": ast.parse("from agents.run import main"),
        "agents.takes": ast.parse("from agents import run"),
    }
    assert hydra_outside_entry_points(found) == ["agents.hides"]
    assert imports_of_entry_points(found) == [("agents.borrows", "agents.run"), ("agents.takes", "agents.run")]


def test_every_package_folder_is_a_package() -> None:
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")} | {ROOT / "configs"}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_what_is_imported_is_declared() -> None:
    optional = [extra for name, extra in PROJECT["optional-dependencies"].items() if name != "dev"]
    requirements = PROJECT["dependencies"] + [requirement for extra in optional for requirement in extra]
    declared = {normal(re.match(r"[\w.-]+", requirement).group()) for requirement in requirements}  # type: ignore[union-attr]
    providers = packages_distributions()
    imported = {top(name) for tree in modules().values() for name in imports(tree)}
    foreign = imported - set(sys.stdlib_module_names) - {*PACKAGES, "configs"}
    undeclared = {name for name in foreign if declared.isdisjoint(map(normal, providers.get(name, [name])))}
    assert undeclared == set()
    assert {"torch", "numpy", "gymnasium"} <= foreign


def normal(distribution: str) -> str:
    """PEP 503's form of a distribution's name."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
