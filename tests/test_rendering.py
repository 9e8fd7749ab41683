"""Headless OpenGL is chosen before a simulator is imported, once, or its absence is explained."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from envs import rendering
from envs.rendering import choose_gl, draws
from worldmodel.errors import EnvError


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A copy of the process environment with nothing chosen and no display, in place of the real one."""
    chosen = {"MUJOCO_GL", "PYOPENGL_PLATFORM", "DISPLAY"}
    variables = {key: value for key, value in os.environ.items() if key not in chosen}
    monkeypatch.setattr(rendering.os, "environ", variables)
    monkeypatch.setattr(rendering.sys, "platform", "linux")
    return variables


def working(monkeypatch: pytest.MonkeyPatch, *backends: str) -> list[str]:
    """Makes only these backends work; the list returned fills with those tried."""
    tried: list[str] = []

    def fake(backend: str) -> bool:
        tried.append(backend)
        return backend in backends

    monkeypatch.setattr(rendering, "draws", fake)
    return tried


def test_importing_envs_imports_no_simulator() -> None:
    script = (
        "import sys, envs; print([name for name in ('dm_control', 'mujoco', 'pygame', 'torch') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_set_backend_is_respected_without_trying_it(environ, monkeypatch) -> None:
    tried = working(monkeypatch)
    environ["MUJOCO_GL"] = "osmesa"
    assert choose_gl() == "osmesa"
    assert tried == [] and "PYOPENGL_PLATFORM" not in environ


@pytest.mark.parametrize("empty", [{}, {"MUJOCO_GL": ""}])
def test_the_first_backend_that_draws_is_chosen_once_and_inherited(environ, monkeypatch, empty) -> None:
    environ |= empty
    tried = working(monkeypatch, "osmesa", "glfw")
    assert choose_gl() == "osmesa" and choose_gl() == "osmesa"
    assert tried == ["egl", "osmesa"]
    assert environ["MUJOCO_GL"] == environ["PYOPENGL_PLATFORM"] == "osmesa"


def test_a_contradicting_pyopengl_platform_is_overruled(environ, monkeypatch) -> None:
    working(monkeypatch, "egl")
    environ["PYOPENGL_PLATFORM"] = "osmesa"
    choose_gl()
    assert environ["PYOPENGL_PLATFORM"] == "egl"


def test_a_window_is_tried_last_and_only_with_a_display(environ, monkeypatch) -> None:
    tried = working(monkeypatch, "glfw")
    with pytest.raises(EnvError):
        choose_gl()
    assert tried == ["egl", "osmesa"]
    environ["DISPLAY"] = ":0"
    assert choose_gl() == "glfw" and environ["MUJOCO_GL"] == "glfw"
    assert tried == ["egl", "osmesa", "egl", "osmesa", "glfw"]
    assert "PYOPENGL_PLATFORM" not in environ


def test_no_backend_names_the_packages_and_the_way_around(environ, monkeypatch) -> None:
    working(monkeypatch)
    with pytest.raises(EnvError, match=r"egl, osmesa do not work.*libegl1 libgl1.*libosmesa6.*env=cartpole_gym"):
        choose_gl()
    assert "MUJOCO_GL" not in environ


def test_a_backend_that_does_not_exist_does_not_draw() -> None:
    assert not draws("nonsense")


@pytest.mark.parametrize(
    ("script", "expected"), [("pass", True), ("import sys; sys.exit(1)", False), ("import os; os.abort()", False)]
)
def test_a_backend_draws_when_its_own_process_says_so(monkeypatch, script: str, expected: bool) -> None:
    monkeypatch.setattr(rendering, "PROBE", script)
    assert draws("egl") is expected


def test_a_backend_that_hangs_does_not_draw(monkeypatch) -> None:
    monkeypatch.setattr(rendering, "PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(rendering, "PROBE_TIMEOUT_S", 0.2)
    assert not draws("egl")


def test_the_probe_sees_its_variables(monkeypatch) -> None:
    script = "import os, sys; sys.exit(not os.environ['MUJOCO_GL'] == os.environ['PYOPENGL_PLATFORM'] == 'osmesa')"
    monkeypatch.setattr(rendering, "PROBE", script)
    assert draws("osmesa")


def test_what_is_chosen_here_really_draws(environ) -> None:
    try:
        backend = choose_gl()
    except EnvError as error:
        pytest.skip(str(error))
    assert environ["MUJOCO_GL"] == backend and draws(backend)
