"""Tells where control is lost: ``python -m agents.ladder env=cartpole``.

The same task with the planner in the true simulator, in a model of good data beside its own, and in one of its own;
how the models err, and what their plans expect beside what comes. It all ends on one page.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from agents.actor import RandomActor
from agents.measuring import Measured, imagined_errors, plan_in, play, simulator_returns, updates_of
from agents.planners import make_planner
from agents.planning import UNVALUED
from agents.rungs import OFFLINE, ONLINE, RANDOM, page
from agents.seeds import seed_of
from agents.stages import Stages
from envs import make_env
from worldmodel.build import build
from worldmodel.checkpoint import read_checkpoint
from worldmodel.config import ModelConfig
from worldmodel.configured import configured
from worldmodel.episode import episode_path, save_episode
from worldmodel.errors import check_number, check_whole
from worldmodel.files import write_atomic
from worldmodel.hardware import prepare_threads
from worldmodel.pictures.errors import draw_errors
from worldmodel.pictures.report import write_report
from worldmodel.pretrained import check_fits, from_pretrained
from worldmodel.provenance import provenance
from worldmodel.records import Records
from worldmodel.run_folder import make_run, run_config
from worldmodel.series import resolve
from worldmodel.trainer import TrainConfig, make_fabric

COUNTS = ("evaluation_episodes", "good_episodes", "good_updates", "workers", "context", "horizon")


@configured("ladder")
def main(config: DictConfig) -> None:
    prepare_threads()
    overrides = HydraConfig.get().overrides.task
    config = run_config(config, overrides, free=("workers",))
    if not config.resume:
        config.given = overrides
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    least = {"seed": 0} | dict.fromkeys(COUNTS, 1)
    for key, minimum in least.items():
        check_whole(key, config[key], minimum)
    check_number("good_exploration", config.good_exploration, least=0)
    env = make_env(settings["env"], rendering=config.rendering)
    spec = env.env_spec
    planner = make_planner(settings["planner"], spec, horizon=UNVALUED)
    build(ModelConfig.from_mapping(settings["model"]), spec, feedback=config.feedback)
    TrainConfig.from_mapping(settings["train"])
    fabric = make_fabric(config.accelerator, 1, config.precision)
    online = resolve(Path(config.online)) if config.online else None
    if online:
        check_fits(read_checkpoint(online).spec, spec, config.online)
    known = simulator_returns(Path(config.simulator), settings["env"]) if config.simulator else None
    run = make_run(config)
    stages = Stages(run, settings, config.given)

    simulator = known or simulator_returns(stages.score_simulator(), settings["env"])
    source = Path(config.online) if config.online else stages.learn_online()
    checkpoints = {OFFLINE: resolve(stages.fit_good_data(source)), ONLINE: online or resolve(source)}
    seeds = [seed_of(config.seed, "evaluate", index) for index in range(config.evaluation_episodes)]
    paths = {
        rung: [episode_path(run / rung.replace(" ", "_"), i) for i in range(len(seeds))]
        for rung in (RANDOM, *checkpoints)
    }
    chance = [play(env, RandomActor(spec), "random", seed, fabric) for seed in seeds]
    for episode, path in zip(chance, paths[RANDOM], strict=True):
        save_episode(episode, path)
    planned = {}
    for rung, checkpoint in checkpoints.items():
        model = from_pretrained(checkpoint, feedback=config.feedback, device=fabric.device)
        planned[rung] = plan_in(model, env, planner, fabric, latents=config.latents, paths=paths[rung], seeds=seeds)
    unseen = [path for played in paths.values() for path in played]
    sizes = {"context": config.context, "horizon": config.horizon}
    models = {
        rung: Measured(
            str(checkpoint),
            updates_of(checkpoint),
            *planned[rung],
            imagined_errors(checkpoint, unseen, fabric, **sizes),
        )
        for rung, checkpoint in checkpoints.items()
    }
    returns = [episode.total for episode in chance]
    text = page(f"{spec.env}/{spec.task}, seed {config.seed}; {planner}", returns, simulator, models)
    print(text)
    write_atomic(run / "ladder.txt", (text + "\n").encode())
    curves = {f"{rung}, {fed}": found for rung, model in models.items() for fed, found in model.errors.items()}
    draw_errors(run / "ladder.png", curves)
    records = Records(run)
    records.begin(0, **provenance(settings))
    measured = {rung: asdict(model) for rung, model in models.items()}
    scores = {"random_returns": returns, "simulator_returns": simulator}
    records.write("ladder", 0, env=spec.env, task=spec.task, seed=config.seed, **scores, models=measured)
    records.close()
    for name in ("ladder.txt", "ladder.png", "metrics.jsonl"):
        print(run / name)
    print(write_report(run))


if __name__ == "__main__":
    main()
