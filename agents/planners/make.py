"""Settings to a planner that fits the environment's actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from agents.planners.categorical import CategoricalCEM
from agents.planners.cem import CEM
from agents.planners.planner import Planner
from worldmodel.errors import ConfigError
from worldmodel.spec import EnvSpec


def make_planner(config: Mapping[str, Any], spec: EnvSpec) -> Planner:
    """`CEM` for box actions, `CategoricalCEM` for discrete ones; the config's keys are the planner's attributes.

    Raises ConfigError for unknown or missing keys and for numbers that cannot work together.
    """
    kind = CEM if spec.action_kind == "box" else CategoricalCEM
    known = {field.name: field.default is MISSING for field in fields(kind)}
    listing = ", ".join(known)
    unknown = sorted(str(key) for key in config if key not in known)
    if unknown:
        raise ConfigError(
            f"the planner for {spec.action_kind} actions does not know {', '.join(unknown)}: its settings are {listing}"
        )
    missing = [name for name, required in known.items() if required and name not in config]
    if missing:
        raise ConfigError(f"the planner lacks {', '.join(missing)}: set planner.{missing[0]} (its settings: {listing})")
    return kind(**{str(key): value for key, value in config.items()})
