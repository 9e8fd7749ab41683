"""Learns a world model from pixels and plans in it: ``python -m agents.cem_plan env=cartpole``.

Collects seed episodes, fits the model, plans in it with the cross-entropy method, collects more, and repeats. Ends
with a table, a learning curve and a video of what the model dreams; `configs/cem_plan.yaml` lists every setting.
"""

from __future__ import annotations

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from agents.closing import draw_curve, draw_dream, returns_table
from agents.forecast import forecast
from agents.goals import frame_distance, reach, read_goal
from agents.learner import Learner
from agents.loop import learn
from agents.planners import make_planner
from agents.planning import UNVALUED, PlanningAgent, usual_horizon
from agents.run import begin, open_records
from agents.schedule import Progress
from worldmodel.configured import configured
from worldmodel.hardware import prepare_threads
from worldmodel.pictures.report import write_report
from worldmodel.records import read_records
from worldmodel.run_folder import run_config

FREE = ("episodes", "env_timeout")  # to change in a resumed run


@configured("cem_plan")
def main(config: DictConfig) -> None:
    prepare_threads()
    config = run_config(config, HydraConfig.get().overrides.task, free=FREE)
    learner = make_learner(config)
    print(f"run folder: {learner.folder}")
    if not config.checkpoint:
        print(f"budget {config.budget}: {estimate(learner)}", flush=True)
    try:
        if learner.progress == Progress():
            learner.evaluate_random()
        if config.checkpoint:
            learner.evaluate()
        else:
            learn(learner)
        finish(learner, config.goal)
    finally:
        learner.close()


def estimate(learner: Learner) -> str:
    """What the run will do yet, and how long that takes here; of a round that was stopped within, all of it."""
    played = learner.progress.episodes - (learner.round is not None)
    return forecast(learner.schedule, learner.env, learner.actor, learner.trainer, played=played)


def finish(learner: Learner, goal: str | None) -> None:
    """Prints the table and says where everything is; with a goal, how near its frame the evaluation came."""
    metrics = learner.folder / "metrics.jsonl"
    chance, planned = (read_records(metrics, kind)[-1]["returns"] for kind in ("random_policy", "evaluation"))
    print(returns_table({"random policy": chance, "planner": planned}))
    if goal:
        there = read_goal(goal, learner.model.spec.frame_size)
        ends = [(episode.frames[0], episode.frames[-1]) for episode in learner.evaluated()]
        start, end = np.mean([[frame_distance(frame, there) for frame in pair] for pair in ends], 0)
        learner.records.write("goal", learner.progress.env_frames, goal=goal, frame_start=start, frame_end=end)
        print("planned for the goal, not for these rewards; from its frame, in root mean square grey levels:")
        print(f"{start:.1f} at the start of an episode, {end:.1f} at the end")
    pictures = [
        draw_curve(learner.folder),
        *draw_dream(learner.folder, learner.model, learner.evaluated()[0], context=learner.schedule.context),
    ]
    for path in [*pictures, metrics, write_report(learner.folder)]:
        print(path)


def make_learner(config: DictConfig) -> Learner:
    """A run, anew or from its newest checkpoint, in which a planner acts."""
    run = begin(config, feedback=config.feedback, checkpoint=config.checkpoint)
    far = UNVALUED if config.goal else usual_horizon(run.model)  # critics know nothing of goals
    planner = make_planner(run.settings["planner"], run.model.spec, horizon=far)
    if config.goal:
        objective = reach(read_goal(config.goal, run.model.spec.frame_size), config.goal_cost)
        agent = PlanningAgent(run.model, planner, objective=objective, proposals=0, latents=config.latents)
    else:
        agent = PlanningAgent(run.model, planner, latents=config.latents)
    return Learner(run, actor=agent, name="planner", records=open_records(config, run))


if __name__ == "__main__":
    main()
