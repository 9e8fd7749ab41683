"""Planners: pure optimisers of a scoring function. They know neither models nor environments."""

from agents.planners.categorical import CategoricalCEM
from agents.planners.cem import CEM
from agents.planners.make import make_planner
from agents.planners.planner import Plan, Planner, Score

__all__ = ["CEM", "CategoricalCEM", "Plan", "Planner", "Score", "make_planner"]
