"""Environments as pixels, real and imagined.

Importing this imports no simulator, so headless OpenGL can still be chosen, and no torch; it registers the imagined
environment with Gymnasium.
"""

import gymnasium

from envs.make import make_env
from envs.spec import EnvSpec, action_vector, env_action, env_spec

__all__ = ["EnvSpec", "action_vector", "env_action", "env_spec", "make_env"]

gymnasium.register(
    "worldmodel/Imagined-v0",
    entry_point="envs.imagined:imagined_env",
    vector_entry_point="envs.imagined:imagined_vector_env",
)
