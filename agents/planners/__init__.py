"""Planners: pure optimisers of a scoring function. They know neither models nor environments."""

from agents.planners.categorical import CategoricalCEM
from agents.planners.cem import CEM
from agents.planners.first_proposal import FirstProposal
from agents.planners.icem import ICEM
from agents.planners.make import make_planner
from agents.planners.mppi import MPPI
from agents.planners.planner import Plan, Planner, Score
from agents.planners.random_shooting import CategoricalRandomShooting, RandomShooting

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "CategoricalCEM",
    "CategoricalRandomShooting",
    "FirstProposal",
    "Plan",
    "Planner",
    "RandomShooting",
    "Score",
    "make_planner",
]
