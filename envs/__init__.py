"""Real environments as pixels. Importing this imports no simulator, so headless OpenGL can still be chosen."""

from envs.make import make_env
from envs.spec import EnvSpec, action_vector, env_action, env_spec

__all__ = ["EnvSpec", "action_vector", "env_action", "env_spec", "make_env"]
