"""Learns a world model from pixels and a policy in its dream: ``python -m agents.ppo_imagine env=cartpole``.

SimPLe's loop (Kaiser et al. 2020): play an episode with the policy, fit the model, let PPO learn in the model, and
repeat. Ends with a table, a learning curve, how far the dream can be trusted, a video of what the model dreams, and the
policy for Stable-Baselines3; `configs/ppo_imagine.yaml` lists every setting.
"""

from __future__ import annotations

from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from agents.closing import draw_curve, draw_dream, returns_table
from agents.dream_ppo import DreamPPO, PPOConfig
from agents.forecast import forecast
from agents.learner import Learner
from agents.loop import learn
from agents.run import begin, open_records
from agents.sb3_policy import SB3Actor
from agents.schedule import Progress
from agents.seeds import seed_of
from agents.trust import Trust, measure_trust
from envs.filtered import Filter
from worldmodel.configured import configured
from worldmodel.episode import Episode
from worldmodel.errors import ConfigError
from worldmodel.hardware import prepare_threads
from worldmodel.pictures.report import write_report
from worldmodel.pictures.trust import draw_trust
from worldmodel.records import read_records
from worldmodel.replay import Replay
from worldmodel.run_folder import run_config

FREE = ("episodes", "env_timeout")  # to change in a resumed run
# Collecting, a policy that is a distribution samples from it, whatever the number.
SAMPLED: dict[str, Any] = {"exploration": 1.0, "final_exploration": 1.0, "exploration_episodes": 1}


@configured("ppo_imagine")
def main(config: DictConfig) -> None:
    prepare_threads()
    config = run_config(config, HydraConfig.get().overrides.task, free=FREE)
    learner, ppo = make_learner(config)
    print(f"run folder: {learner.folder}")
    print(f"budget {config.budget}: {estimate(learner, ppo)}", flush=True)
    try:
        if learner.progress == Progress():
            learner.evaluate_random()
        learn(
            learner,
            improve=lambda: dream(learner, ppo),
            judge=lambda episodes: judge(learner, ppo, episodes, config.trust_horizon),
            parts=lambda: {"ppo": ppo.state_dict()},
        )
        finish(learner, ppo, trust_horizon=config.trust_horizon)
    finally:
        learner.close()


def estimate(learner: Learner, ppo: DreamPPO) -> str:
    """What the run will do yet, and how long that takes here; of a round that was stopped within, all of it."""
    played = learner.progress.episodes - (learner.round is not None)
    line = forecast(learner.schedule, learner.env, learner.actor, learner.trainer, played=played, beside=ppo.pace())
    return f"{line}; {ppo.config.steps} imagined decisions after each episode"


def dream(learner: Learner, ppo: DreamPPO) -> None:
    """Lets the policy learn in the model as it is now."""
    played = learner.progress.episodes
    with learner.clock("wall_clock_s") as elapsed:
        replay = Replay(learner.folder / "episodes")
        values = ppo.train(replay, seed=seed_of(learner.schedule.seed, "dream", played))
    learner.record("dream", seconds=elapsed(), **values)


def judge(learner: Learner, ppo: DreamPPO, episodes: list[Episode], horizon: int) -> str:
    """Records how far the dream can be trusted, and says it."""
    found = trust(learner, ppo, episodes, horizon)
    learner.record("trust", **found.summary())
    return f", of which {found.told()}"


def trust(learner: Learner, ppo: DreamPPO, episodes: list[Episode], horizon: int) -> Trust:
    """Of the policy that played these episodes, in the model as it is now."""
    seed = seed_of(learner.schedule.seed, "trust", learner.progress.episodes)
    context = learner.schedule.context
    with learner.trainer.fabric.autocast():
        return measure_trust(learner.model, ppo.actor(), episodes, context=context, horizon=horizon, seed=seed)


def finish(learner: Learner, ppo: DreamPPO, *, trust_horizon: int) -> None:
    """Saves the policy, prints the table, and says where everything is."""
    metrics, folder = learner.folder / "metrics.jsonl", learner.folder
    ppo.ppo.save(folder / "policy.zip")
    chance, played = (read_records(metrics, kind)[-1]["returns"] for kind in ("random_policy", "evaluation"))
    print(returns_table({"random policy": chance, "policy": played}))
    episodes = learner.evaluated()
    found = trust(learner, ppo, episodes, trust_horizon)
    draw_trust(folder / "trust.png", found.imagined, found.real)
    videos = draw_dream(folder, learner.model, episodes[0], context=learner.schedule.context)
    for path in [draw_curve(folder), folder / "trust.png", *videos, folder / "policy.zip", metrics]:
        print(path)
    print(write_report(folder))


def make_learner(config: DictConfig) -> tuple[Learner, DreamPPO]:
    """A run, anew or from its newest checkpoint, in which a policy acts, and what teaches it."""
    run = begin(config, feedback=config.feedback, **SAMPLED)
    settings = PPOConfig.from_mapping(run.settings["ppo"])
    spec = run.model.spec
    decisions = -(-spec.time_limit // spec.action_repeat)
    if spec.time_limit and config.trust_horizon > decisions:
        raise ConfigError(
            f"trust_horizon is {config.trust_horizon}, an episode of {spec.task} has {decisions} decisions: "
            f"set trust_horizon <= {decisions}"
        )
    if settings.observation == "frames" and settings.frame_stack > config.context:
        raise ConfigError(
            f"ppo.frame_stack ({settings.frame_stack}) exceeds context ({config.context}): "
            f"set ppo.frame_stack <= {config.context}, so that trust is measured on what the policy saw"
        )
    seed = seed_of(config.seed, "policy")
    ppo = DreamPPO(run.model, settings, context=config.context, seed=seed, precision=config.precision)
    if run.saved:
        ppo.load_state_dict(run.saved["ppo"])
    eyes = Filter(run.model, num_envs=1, precision=config.precision) if settings.observation == "features" else None
    actor = SB3Actor(ppo.ppo.policy, spec, eyes)
    return Learner(run, actor=actor, name="policy", records=open_records(config, run)), ppo


if __name__ == "__main__":
    main()
