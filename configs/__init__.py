"""Hydra's configuration groups; no code."""
