"""What acts: planners, actors, and the loops that people run."""
