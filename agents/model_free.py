"""Learns a policy from pixels without a model: ``python -m agents.model_free env=cartpole algorithm=sac``.

A baseline for `agents.ppo_imagine`: Stable-Baselines3's PPO or SAC in the real environment, for as many simulator
steps, evaluated from the same starts. `metrics.jsonl` holds the same records of returns, so `agents.results` sets the
two beside each other. It ends with a table and a learning curve; `policy.zip` is that of the newest evaluation.
`configs/model_free.yaml` lists every setting. A run that was stopped cannot be resumed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from stable_baselines3.common.base_class import BaseAlgorithm

from agents.actor import Actor, RandomActor
from agents.baselines import make_baseline
from agents.closing import draw_curve, returns_table
from agents.collecting import Failure, outcome, play_evaluation
from agents.run import plain
from agents.sb3_policy import SB3Actor
from envs import make_env
from worldmodel.configured import configured
from worldmodel.errors import check_whole
from worldmodel.hardware import prepare_threads
from worldmodel.pictures.report import write_report
from worldmodel.provenance import provenance
from worldmodel.records import Records, read_records
from worldmodel.run_folder import new_run


@configured("model_free")
def main(config: DictConfig) -> None:
    prepare_threads()
    settings = plain(config)
    for key, least in (("seed", 0), ("env_frames", 1), ("evaluate_every", 1), ("evaluation_episodes", 1)):
        check_whole(key, settings[key], least)
    baseline = make_baseline(settings)
    folder = new_run(config)
    print(f"run folder: {folder}", flush=True)
    records = Records(folder)
    try:
        records.begin(0, **provenance(settings))
        learn(baseline, settings, records, save=folder / "policy.zip")
    finally:
        records.close()
        if (env := baseline.get_env()) is not None:
            env.close()
    metrics = folder / "metrics.jsonl"
    chance, played = (read_records(metrics, kind)[-1]["returns"] for kind in ("random_policy", "evaluation"))
    print(returns_table({"random policy": chance, settings["algorithm"]: played}))
    for path in (draw_curve(folder), folder / "policy.zip", metrics, write_report(folder)):
        print(path)


def learn(baseline: BaseAlgorithm, settings: Mapping[str, Any], records: Records, *, save: Path) -> None:
    """Learns for `env_frames` simulator steps; every few of them it saves the policy to the zip `save`, and evaluates.

    Before that it evaluates the random policy.
    """
    env = make_env(settings["env"], rendering=settings["rendering"], timeout=settings["env_timeout"])
    spec, seed, total = env.env_spec, settings["seed"], settings["env_frames"]
    actors: dict[str, Actor] = {"random_policy": RandomActor(spec), "evaluation": SB3Actor(baseline.policy, spec)}
    learning = evaluating = 0.0

    def evaluate(kind: str) -> None:
        nonlocal evaluating
        start = time.perf_counter()
        count = settings["evaluation_episodes"]
        env_frames = baseline.num_timesteps * spec.action_repeat

        def failed(failure: Failure) -> None:
            records.write("env_failure", env_frames, env_frames=env_frames, **asdict(failure))

        actor = actors[kind]
        episodes = play_evaluation(env, actor, spec=spec, seed=seed, count=count, name=kind, failed=failed)
        evaluating += time.perf_counter() - start
        found = outcome(episodes, seed)
        clocks = {"wall_clock_s": round(learning, 1), "evaluation_s": round(evaluating, 1)}
        records.write(kind, env_frames, env_frames=env_frames, **found, **clocks)
        print(f"{kind} {found['return_mean']:.1f}  [{env_frames} frames, {learning / 60:.1f} min]", flush=True)

    with closing(env):
        evaluate("random_policy")
        for due in (*range(settings["evaluate_every"], total, settings["evaluate_every"]), total):
            start = time.perf_counter()
            # SB3 goes on where it stood, and rounds up to whole rollouts.
            baseline.learn(-(-due // spec.action_repeat) - baseline.num_timesteps, reset_num_timesteps=False)
            learning += time.perf_counter() - start
            baseline.save(save)
            evaluate("evaluation")


if __name__ == "__main__":
    main()
