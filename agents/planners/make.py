"""Settings to a planner that fits the environment's actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from agents.planners.categorical import CategoricalCEM
from agents.planners.cem import CEM
from agents.planners.first_proposal import FirstProposal
from agents.planners.icem import ICEM
from agents.planners.mppi import MPPI
from agents.planners.planner import Planner
from agents.planners.random_shooting import CategoricalRandomShooting, RandomShooting
from worldmodel.errors import ConfigError
from worldmodel.spec import EnvSpec

PLANNERS: dict[str, dict[str, type[Any]]] = {
    "cem": {"box": CEM, "discrete": CategoricalCEM},
    "icem": {"box": ICEM},
    "mppi": {"box": MPPI},
    "policy": {"box": FirstProposal, "discrete": FirstProposal},
    "random_shooting": {"box": RandomShooting, "discrete": CategoricalRandomShooting},
}
"""Each planner by its name, for each kind of action that it takes."""


def make_planner(config: Mapping[str, Any], spec: EnvSpec, *, horizon: int) -> Planner:
    """The planner that the key ``kind`` names; the other keys are its attributes.

    `horizon` counts where the configuration's is null.

    Raises ConfigError for a planner that does not exist or does not take the environment's actions, for unknown or
    missing keys, and for numbers that cannot work together.
    """
    if not isinstance(config, Mapping):
        raise ConfigError(f"the planner is {config!r}: give its settings, as configs/planner/ does")
    settings = {str(key): value for key, value in config.items()}
    if "horizon" in settings and settings["horizon"] is None:
        settings["horizon"] = horizon
    name = settings.pop("kind", None)
    if not isinstance(name, str) or name not in PLANNERS:
        raise ConfigError(f"planner.kind is {name!r}: set one of {', '.join(PLANNERS)}")
    kinds = PLANNERS[name]
    if spec.action_kind not in kinds:
        able = ", ".join(other for other, takes in PLANNERS.items() if spec.action_kind in takes)
        raise ConfigError(
            f"{name} does not plan {spec.action_kind} actions, which {spec.task} takes: set planner= to one of {able}"
        )
    planner = kinds[spec.action_kind]
    known = {field.name: field.default is MISSING for field in fields(planner)}
    listing = ", ".join(known)
    unknown = sorted(key for key in settings if key not in known)
    if unknown:
        raise ConfigError(
            f"{name} for {spec.action_kind} actions does not know {', '.join(unknown)}: its settings are {listing}"
        )
    missing = [key for key, required in known.items() if required and key not in settings]
    if missing:
        raise ConfigError(f"{name} lacks {', '.join(missing)}: set planner.{missing[0]} (its settings: {listing})")
    made: Planner = planner(**settings)
    return made
