"""Tells where control is lost: ``python -m agents.ladder env=cartpole``.

The same task with the planner in the true simulator, in a model of good data, and in a model that collected its own;
how the models err, and what their plans expect beside what comes. It all ends on one page.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from agents.actor import RandomActor
from agents.measuring import measure, play, simulator_returns
from agents.planners import make_planner
from agents.rungs import OFFLINE, ONLINE, page
from agents.seeds import seed_of
from agents.stages import Stages
from envs import make_env
from worldmodel.checkpoint import read_checkpoint, resolve
from worldmodel.command import command
from worldmodel.errors import ConfigError
from worldmodel.files import write_atomic
from worldmodel.hardware import prepare_threads
from worldmodel.pictures.errors import draw_errors
from worldmodel.pretrained import check_fits
from worldmodel.records import Records, provenance
from worldmodel.run_folder import make_run, run_config
from worldmodel.trainer import make_fabric

COUNTS = ("evaluation_episodes", "good_episodes", "good_updates", "workers", "context", "horizon")


@hydra.main(version_base="1.3", config_path="pkg://configs", config_name="ladder")
@command
def main(config: DictConfig) -> None:
    """Hydra's entry point."""
    prepare_threads()
    overrides = HydraConfig.get().overrides.task
    config = run_config(config, overrides)
    if not config.resume:
        config.given = overrides
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    least = {"seed": 0} | dict.fromkeys(COUNTS, 1)
    for key, minimum in least.items():
        if type(config[key]) is not int or config[key] < minimum:
            raise ConfigError(f"{key} is {config[key]!r}: set a whole number >= {minimum}")
    env = make_env(settings["env"], rendering=config.rendering)
    spec = env.env_spec
    planner = make_planner(settings["planner"], spec)
    make_planner(settings["simulator_planner"], spec)
    fabric = make_fabric(config.accelerator, 1, config.precision)
    if config.online:
        check_fits(read_checkpoint(resolve(Path(config.online))).spec, spec, config.online)
    known = simulator_returns(Path(config.simulator), spec.env, spec.task) if config.simulator else None
    run = make_run(config)
    stages = Stages(run, settings, config.given)

    simulator = known or simulator_returns(stages.score_simulator(), spec.env, spec.task)
    sources = {OFFLINE: stages.fit_good_data(), ONLINE: Path(config.online) if config.online else stages.learn_online()}

    seeds = [seed_of(config.seed, "evaluate", index) for index in range(config.evaluation_episodes)]
    chance = [play(env, RandomActor(spec), "random", seed, fabric).total for seed in seeds]
    models = {
        rung: measure(
            source,
            env,
            planner,
            fabric,
            folder=run / rung.replace(" ", "_"),
            seeds=seeds,
            context=config.context,
            horizon=config.horizon,
        )
        for rung, source in sources.items()
    }
    text = page(f"{spec.env}/{spec.task}, seed {config.seed}", chance, simulator, models)
    print(text)
    write_atomic(run / "ladder.txt", (text + "\n").encode())
    curves = {f"{rung}, {fed}": found for rung, model in models.items() for fed, found in model.errors.items()}
    draw_errors(run / "ladder.png", curves)
    records = Records(run)
    records.write("header", 0, **provenance(settings))
    measured = {rung: asdict(model) for rung, model in models.items()}
    scores = {"random_returns": chance, "simulator_returns": simulator}
    records.write("ladder", 0, env=spec.env, task=spec.task, seed=config.seed, **scores, models=measured)
    records.close()
    for name in ("ladder.txt", "ladder.png", "metrics.jsonl"):
        print(run / name)


if __name__ == "__main__":
    main()
