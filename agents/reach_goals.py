"""Measures planning to goal frames: ``python -m agents.reach_goals env=reacher checkpoint=RUN``.

Goals are places that random actions lead to. From the same starts play the random policy, the planner by rewards, and
the planner by each cost of being far from the goal; what counts is the true distance of the simulator's bodies.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from tqdm import tqdm

from agents.actor import Actor, RandomActor
from agents.goals import reach
from agents.planners import make_planner
from agents.planning import UNVALUED, PlanningAgent
from agents.reaching import find_goals, pursue, reaching_table
from agents.seeds import seed_of
from envs import make_env
from worldmodel.configured import configured
from worldmodel.errors import ConfigError, check_number, check_whole
from worldmodel.hardware import prepare_threads
from worldmodel.pictures.report import write_report
from worldmodel.pretrained import check_fits, from_pretrained
from worldmodel.provenance import provenance
from worldmodel.records import Records
from worldmodel.run_folder import new_run
from worldmodel.series import resolve
from worldmodel.settings import check_text
from worldmodel.trainer import make_fabric


@configured("reach_goals")
def main(config: DictConfig) -> None:
    prepare_threads()
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    for key, least in (("seed", 0), ("goals", 1), ("away", 1), ("decisions", 1)):
        check_whole(key, config[key], least)
    check_number("tolerance", config.tolerance, above=0)
    if not isinstance(settings["costs"], list):
        raise ConfigError(f"costs is {config.costs!r}: give a list, such as costs=[features,pixels]")
    check_text("checkpoint", config.checkpoint)
    settings["checkpoint"] = str(resolve(Path(config.checkpoint)))
    env = make_env(settings["env"], rendering=config.rendering)
    fabric = make_fabric(config.accelerator, 1, config.precision)
    model = from_pretrained(settings["checkpoint"], feedback=config.feedback, device=fabric.device)
    check_fits(model.spec, env.env_spec, config.checkpoint)
    planner = make_planner(settings["planner"], model.spec, horizon=UNVALUED)

    for cost in settings["costs"]:
        reach(np.zeros((*model.spec.frame_size, 3), np.uint8), cost)  # refuses here what is no cost
    goals = find_goals(
        env,
        config.goals,
        lambda index: seed_of(config.seed, "goals", index),
        decisions=config.away,
        least=2 * config.tolerance,
    )
    actors: dict[str, list[Actor]] = {
        "random": [RandomActor(model.spec)] * len(goals),
        "by rewards": [PlanningAgent(model, planner, latents=config.latents)] * len(goals),
    }
    for cost in config.costs:
        actors[f"by {cost}"] = [
            PlanningAgent(model, planner, objective=reach(goal.frame, cost), proposals=0, latents=config.latents)
            for goal in goals
        ]
    run = new_run(config)
    records = Records(run)
    records.begin(0, **provenance(settings))
    for index, goal in enumerate(goals):
        Image.fromarray(goal.frame).save(run / f"goal{index:02d}.png")
    distances = {}
    try:
        with tqdm(total=len(actors) * len(goals), unit="goal", disable=None) as bar, fabric.autocast():
            for name, pursuers in actors.items():
                start = time.perf_counter()
                paths = []
                for goal, actor in zip(goals, pursuers, strict=True):
                    paths.append(pursue(env, goal, actor, decisions=config.decisions))
                    bar.update()
                distances[name] = paths
                records.write(
                    "reaching",
                    0,
                    env=model.spec.env,
                    task=model.spec.task,
                    seed=config.seed,
                    policy=name,
                    start=[goal.distance for goal in goals],
                    final=[path[-1] for path in paths],
                    nearest=[min(path) for path in paths],
                    reached=sum(path[-1] <= config.tolerance for path in paths),
                    seconds=round(time.perf_counter() - start, 1),
                )
    finally:
        records.close()
    print(reaching_table(goals, distances, config.tolerance))
    print(run / "metrics.jsonl")
    print(write_report(run))


if __name__ == "__main__":
    main()
