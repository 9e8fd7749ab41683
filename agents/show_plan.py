"""Films what a planner thinks: ``python -m agents.show_plan checkpoint=RUN env=cartpole``.

Plays an episode without exploration. Of each decision it shows what the agent saw, what the best plans would lead to as
the model draws it, how the search narrowed, and what plans were expected to earn beside what came.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import hydra
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from agents.closing import FPS
from agents.expectation import compare, realised_returns
from agents.measuring import play
from agents.planners import make_planner
from agents.planning import PlanningAgent, usual_horizon
from agents.seeds import seed_of
from agents.tracing import Iteration, Tracing
from envs import make_env
from worldmodel.checkpoint import resolve
from worldmodel.command import command
from worldmodel.errors import ConfigError, check_whole
from worldmodel.hardware import prepare_threads
from worldmodel.pictures.report import write_report
from worldmodel.pictures.search import Searched, search_film
from worldmodel.pictures.video import write_video
from worldmodel.pretrained import check_fits, from_pretrained
from worldmodel.records import Records, provenance
from worldmodel.run_folder import new_run
from worldmodel.trainer import make_fabric


@hydra.main(version_base="1.3", config_path="pkg://configs", config_name="show_plan")
@command
def main(config: DictConfig) -> None:
    """Hydra's entry point."""
    prepare_threads()
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    for name, least in (("seed", 0), ("decision", 0), ("elites", 1), ("columns", 1), ("scale", 1)):
        check_whole(name, settings[name], least)
    fabric = make_fabric(config.accelerator, 1, config.precision)
    settings["checkpoint"] = config.checkpoint = str(resolve(Path(config.checkpoint)))  # its run may go on
    model = from_pretrained(settings["checkpoint"], feedback=config.feedback, device=fabric.device)
    env = make_env(settings["env"], rendering=config.rendering)
    check_fits(model.spec, env.env_spec, config.checkpoint)
    tracing = Tracing(make_planner(settings["planner"], model.spec, horizon=usual_horizon(model)))
    watched = Watched(
        PlanningAgent(model, tracing, latents=config.latents), tracing, elites=config.elites, columns=config.columns
    )
    episode = play(env, watched, "planner", seed_of(config.seed, "evaluate"), fabric)
    env.close()
    if config.decision >= len(episode):
        raise ConfigError(f"decision is {config.decision}, the episode had {len(episode)}: set one before that")
    run = new_run(config)
    realised = realised_returns(episode, tracing.horizon)
    frames = search_film(watched.searches, watched.expected, realised, scale=config.scale)
    write_video(run / "plan.mp4", frames, fps=FPS / 2)  # there is much to see
    Image.fromarray(frames[config.decision]).save(run / "plan.png")
    found = compare([watched.expected], [episode], tracing.horizon)
    told = {"decisions": found.decisions, "expected": found.expected, "realised": found.realised}
    records = Records(run)
    try:
        records.write("header", 0, **provenance(settings))
        records.write("plans", 0, episode_return=episode.total, horizon=tracing.horizon, **told)
    finally:
        records.close()
    print(f"return {episode.total:.1f} in {len(episode)} decisions")
    if found.expected is not None and found.realised is not None:
        over = f"over {tracing.horizon} decisions plans were expected to earn"
        print(f"{over} {found.expected:.2f}, and {found.realised:.2f} came")
    for path in (run / "plan.png", run / "plan.mp4", run / "metrics.jsonl", write_report(run)):
        print(path)


class Watched:
    """A planning agent, an `Actor` like it, whose searches are noted.

    Args:
        agent: plans with `tracing`.
        elites: best plans whose futures are drawn.
        columns: moments of each future that are drawn at most, evenly spaced, with the last.

    Attributes:
        searches: of each decision of the present episode.
        expected: the return of each decision's plan over its horizon, as `PlanningAgent.expected_return` gives it.
    """

    def __init__(self, agent: PlanningAgent, tracing: Tracing, *, elites: int, columns: int) -> None:
        self._agent = agent
        self._tracing = tracing
        self._elites = elites
        horizon = tracing.horizon
        self._ahead = np.unique(np.linspace(1, horizon, min(columns, horizon)).round().astype(int))
        if columns == 1:
            self._ahead = np.array([horizon])
        self.searches: list[Searched] = []
        self.expected: list[float] = []

    def reset(self, frame: np.ndarray) -> None:
        """An episode begins."""
        self._agent.reset(frame)
        self._frame = frame
        self.searches, self.expected = [], []

    def act(self, generator: torch.Generator, exploration: float = 0.0) -> np.ndarray:
        """The agent's action (a,)."""
        action = self._agent.act(generator, exploration)
        plan = self._agent.plan
        assert plan is not None
        frames, returns = self._agent.futures(plan.elites[: self._elites])
        self.expected.append(self._agent.expected_return())
        self.searches.append(
            Searched(
                frame=np.array(self._frame),
                futures=frames[:, self._ahead - 1],
                returns=returns,
                ahead=self._ahead,
                scores=[_finite(iteration) for iteration in self._tracing.iterations],
                spreads=np.stack([_spread(iteration) for iteration in self._tracing.iterations]),
            )
        )
        return action

    def observe(self, action: np.ndarray, frame: np.ndarray, generator: torch.Generator) -> None:
        """The agent sees it too."""
        self._agent.observe(action, frame, generator)
        self._frame = frame


def _finite(iteration: Iteration) -> np.ndarray:
    scores = iteration.scores.float()
    return scores[scores.isfinite()].cpu().numpy()


def _spread(iteration: Iteration) -> np.ndarray:
    """Of each decision's actions over candidates, (h,)."""
    return iteration.candidates.float().var(0, correction=0).mean(-1).sqrt().cpu().numpy()


if __name__ == "__main__":
    main()
