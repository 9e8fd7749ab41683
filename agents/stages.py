"""The commands that make what the ladder measures, each in a folder of its own under the ladder's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worldmodel.errors import WorldModelError


class Stages:
    """Runs each command to its end; what is done already is not done again, and what was stopped goes on.

    Args:
        run: the ladder's folder.
        config: the plain values of `configs/ladder.yaml`.
        overrides: the command line's that began the ladder, of which those for the environment, the model and its
            training are handed on.
    """

    def __init__(self, run: Path, config: Mapping[str, Any], overrides: Sequence[str]) -> None:
        self._run = run
        self._config = config
        self._overrides = overrides
        self._common = [f"{key}={config[key]}" for key in ("seed", "accelerator", "precision")]
        self._rendered = f"rendering={config['rendering']}"

    def score_simulator(self) -> Path:
        """The planner plays in the simulator as many episodes as evaluations have; its `metrics.jsonl`."""
        return self._simulate("simulator", self._config["evaluation_episodes"], 0.0) / "metrics.jsonl"

    def fit_good_data(self, online: Path) -> Path:
        """A model of what the planner in the simulator did, with noise on its actions; its run folder.

        Good episodes alone are too narrow: a planner finds what a model of them wrongly believes of all the rest. So
        the episodes of `online`, a run of the main job, are data too, where it has kept them.
        """
        config = self._config
        data = [self._simulate("good_data", config["good_episodes"], config["good_exploration"]) / "episodes"]
        if (online / "episodes").is_dir():
            data.append(online / "episodes")
        folders = ",".join(json.dumps(str(folder)) for folder in data)  # quoted, for whatever a path may hold
        settings = [f"data=[{folders}]", f"updates={config['good_updates']}", *self._common]
        return self._command("worldmodel.train", "good_model", [*self._given("model", "train"), *settings])

    def learn_online(self) -> Path:
        """The main job, with its own settings; its run folder."""
        given = self._given("env", "model", "train")
        settings = [f"feedback={self._config['feedback']}", f"latents={self._config['latents']}", self._rendered]
        return self._command("agents.cem_plan", "online", [*given, *settings, *self._common])

    def _simulate(self, name: str, episodes: int, exploration: float) -> Path:
        config = self._config
        planner = dict(config["planner"])
        settings = [
            "policy=simulator",
            f"episodes={episodes}",
            f"exploration={exploration}",
            f"workers={config['workers']}",
            f"planner={planner.pop('kind')}",
            *(f"++planner.{key}={value}" for key, value in planner.items()),
        ]
        return self._command("agents.collect", name, [*self._given("env"), *settings, self._rendered, *self._common])

    def _given(self, *groups: str) -> list[str]:
        return [override for override in self._overrides if override.lstrip("+~").split("=")[0].split(".")[0] in groups]

    def _command(self, module: str, name: str, overrides: Sequence[str]) -> Path:
        folder = self._run / name
        resume = ["resume=true"] if (folder / "config.yaml").exists() else []
        call = ["-m", module, *overrides, f"run={folder}", *resume]
        print("$ python", *call, flush=True)
        with subprocess.Popen([sys.executable, *call]) as process:
            try:
                status = process.wait()
            except BaseException:
                process.terminate()  # rather than kill: it ends its own workers in order
                raise
        if status:
            raise WorldModelError("the command above failed: mend what it says, then go on with resume=true")
        return folder
