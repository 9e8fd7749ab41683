"""Headless OpenGL for MuJoCo: which one works here, and how much of its quality to spend.

MuJoCo and dm_control read ``MUJOCO_GL`` once, when imported; unset, dm_control takes a windowed backend and dies at the
first frame on a machine without a display. So `choose_gl` must run before either is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from worldmodel.errors import EnvError

RENDERINGS = ("standard", "fast")
GL_HELP = (
    "install one (Debian, Ubuntu: `apt-get install libegl1 libgl1`, or `libosmesa6`), "
    "or use env=cartpole_gym, which needs no OpenGL"
)
PROBE_TIMEOUT_S = 60  # a first import from a cold disk is slow

# MuJoCo alone imports in a third of dm_control's time. A broken driver may also draw nothing and report success.
PROBE = """
import sys, mujoco
model = mujoco.MjModel.from_xml_string(
    '<mujoco><visual><quality shadowsize="0" offsamples="0"/></visual>'
    '<worldbody><geom size="1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 16, 16) as renderer:
    renderer.update_scene(data)
    sys.exit(not renderer.render().any())
"""


def choose_gl() -> str:
    """The OpenGL backend of this process; chosen on the first call, and inherited by child processes.

    A set ``MUJOCO_GL`` is respected, untried. Otherwise EGL, OSMesa and, with a display, GLFW are tried in turn, each
    in a process of its own (0.5 to 1.5 s), because OpenGL that fails can take its process down. The first that draws
    is written to ``MUJOCO_GL`` and ``PYOPENGL_PLATFORM``. Raises EnvError when none does.
    """
    if chosen := os.environ.get("MUJOCO_GL"):
        return chosen
    # outside Linux a display is there without saying so
    display = "DISPLAY" in os.environ or sys.platform != "linux"
    backends = ("egl", "osmesa", "glfw") if display else ("egl", "osmesa")
    for backend in backends:
        if draws(backend):
            os.environ.update(gl_variables(backend))
            return backend
    raise EnvError(f"no OpenGL to draw MuJoCo with ({', '.join(backends)} do not work here): {GL_HELP}")


def gl_variables(backend: str) -> dict[str, str]:
    """The environment variables that select a backend; they must agree, or PyOpenGL refuses to load."""
    platform = {"PYOPENGL_PLATFORM": backend} if backend in ("egl", "osmesa") else {}
    return {"MUJOCO_GL": backend} | platform


def draws(backend: str) -> bool:
    """Whether a process of its own can draw 16x16 pixels with `backend`."""
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE],
            env=os.environ | gl_variables(backend),
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return False
    return probe.returncode == 0


def draw_fast(model: Any) -> None:
    """Makes a MuJoCo model cheaper to draw; to be called before its first frame.

    Shadows from a 256x256 map change 64x64 frames by 0.01 to 0.04 grey levels on average. Without multisampling edges
    are jagged: together 0.7 to 1.0 grey levels (cartpole, reacher, cheetah), concentrated along them, so an agent must
    see one rendering throughout. Drawing is about five times faster on a CPU.
    """
    model.vis.quality.shadowsize = 256
    model.vis.quality.offsamples = 0
