"""Learns a world model from pixels and plans in it: ``python -m agents.cem_plan env=cartpole``.

Collects seed episodes, fits the model, plans in it with the cross-entropy method, collects more, and repeats. Ends
with a table, a learning curve and a video of what the model dreams; `configs/cem_plan.yaml` lists every setting.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import hydra
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from agents.closing import draw_curve, draw_dream, returns_table
from agents.forecast import forecast
from agents.goals import frame_distance, reach, read_goal
from agents.learner import Learner, Progress, Schedule, drop_unsaved
from agents.planners import make_planner
from agents.planning import UNVALUED, PlanningAgent, usual_horizon
from agents.seeds import seed_of
from envs import env_spec, make_env
from worldmodel.build import build
from worldmodel.checkpoint import latest, read_checkpoint
from worldmodel.command import command
from worldmodel.config import ModelConfig
from worldmodel.hardware import prepare_threads
from worldmodel.pretrained import check_fits, from_pretrained
from worldmodel.records import Records, provenance, read_records
from worldmodel.run_folder import make_run, run_config
from worldmodel.trainer import TrainConfig, Trainer, make_fabric

# in a resumed run
FIXED = ("seed", "budget", "rendering", "checkpoint", "feedback", "latents", "goal", "goal_cost")


@hydra.main(version_base="1.3", config_path="pkg://configs", config_name="cem_plan")
@command
def main(config: DictConfig) -> None:
    """Hydra's entry point."""
    prepare_threads()
    config = run_config(config, HydraConfig.get().overrides.task, fixed=FIXED)
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
        learner.records.close()


def estimate(learner: Learner) -> str:
    """What the run will do yet, and how long that takes here."""
    played = learner.progress.episodes
    return forecast(learner.schedule, learner.env, learner.planner, learner.trainer, played=played)


def learn(learner: Learner) -> None:
    """Plays, fits, evaluates and saves, an episode at a time."""
    total = learner.schedule.episodes
    with tqdm(total=total, initial=learner.progress.episodes, unit="episode", disable=None) as bar:
        while learner.progress.episodes < total:
            bar.set_postfix_str("playing")
            episode = learner.collect()
            for update in learner.fit():
                bar.set_postfix_str(f"update {update}")
            line = f"episode {learner.progress.episodes:>4} ({episode.actor}): return {episode.total:.1f}"
            if learner.schedule.due(learner.progress.episodes):
                bar.set_postfix_str("evaluating")
                returns = [played.total for played in learner.evaluate()]
                line += f"; evaluation {sum(returns) / len(returns):.1f}"
            learner.save()
            minutes = learner.progress.wall_clock_s / 60
            bar.write(f"{line}  [{learner.progress.env_frames} frames, {minutes:.1f} min]")
            bar.update()
    evaluations = read_records(learner.folder / "metrics.jsonl", "evaluation")
    if not evaluations or evaluations[-1]["episodes"] != learner.progress.episodes:  # resumed with fewer episodes
        learner.evaluate()


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
    for path in [*pictures, metrics]:
        print(path)


def make_learner(config: DictConfig) -> Learner:
    """Everything a run consists of, from its configuration and, when resumed, its newest checkpoint."""
    settings = plain(config)
    folder = Path(config.run)
    fabric = make_fabric(config.accelerator, config.devices, config.precision)
    env = make_env(settings["env"], rendering=config.rendering)
    spec = env_spec(env)
    torch.manual_seed(seed_of(config.seed, "model"))
    saved = latest(folder / "checkpoints") if config.resume else None
    source = config.checkpoint or saved
    if source:
        model = from_pretrained(source, feedback=config.feedback)
        check_fits(model.spec, spec, str(source))
        settings["model"] = asdict(model.config)
    else:
        model = build(ModelConfig.from_mapping(settings["model"]), spec, feedback=config.feedback)
    trainer = Trainer(model, TrainConfig.from_mapping(settings["train"]), fabric)
    progress = Progress()
    if saved:
        state = read_checkpoint(saved).trainer()
        trainer.load_state_dict(state["trainer"])
        progress = Progress(**state["progress"])
    schedule = Schedule(**{field.name: settings[field.name] for field in fields(Schedule)})
    far = UNVALUED if config.goal else usual_horizon(model)  # critics know nothing of goals
    planner = make_planner(settings["planner"], spec, horizon=far)
    if config.goal:
        objective = reach(read_goal(config.goal, spec.frame_size), config.goal_cost)
        agent = PlanningAgent(model, planner, objective=objective, proposals=0, latents=config.latents)
    else:
        agent = PlanningAgent(model, planner, latents=config.latents)
    if config.resume and not config.checkpoint:
        drop_unsaved(folder, progress.episodes)
    records = Records(make_run(config), keep=progress.metrics_bytes)
    records.write("resume" if saved else "header", progress.env_frames, **provenance(settings))
    return Learner(
        folder,
        schedule,
        env=env,
        planner=agent,
        model=model,
        trainer=trainer,
        records=records,
        progress=progress,
    )


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain dictionaries, lists and values."""
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))


if __name__ == "__main__":
    main()
