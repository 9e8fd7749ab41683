"""Films what a planner thinks: ``python -m agents.show_plan checkpoint=RUN env=cartpole``.

Plays an episode without exploration. Of each decision it shows what the agent saw, what the best plans would lead to as
the model draws it, how the search narrowed, and what plans were expected to earn beside what came.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from PIL import Image

from agents.closing import FPS
from agents.expectation import compare, realised_returns
from agents.measuring import play
from agents.planners import make_planner
from agents.planning import PlanningAgent, usual_horizon
from agents.seeds import seed_of
from agents.tracing import Tracing, Watched
from envs import make_env
from worldmodel.configured import configured
from worldmodel.errors import ConfigError, check_whole
from worldmodel.hardware import prepare_threads
from worldmodel.pictures.report import write_report
from worldmodel.pictures.search import search_film
from worldmodel.pictures.video import write_video
from worldmodel.pretrained import check_fits, from_pretrained
from worldmodel.provenance import provenance
from worldmodel.records import Records
from worldmodel.run_folder import check_new, new_run
from worldmodel.series import resolve
from worldmodel.settings import check_text
from worldmodel.trainer import make_fabric


@configured("show_plan")
def main(config: DictConfig) -> None:
    prepare_threads()
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    for name, least in (("seed", 0), ("decision", 0), ("elites", 1), ("columns", 1), ("scale", 1)):
        check_whole(name, settings[name], least)
    fabric = make_fabric(config.accelerator, 1, config.precision)
    check_text("checkpoint", config.checkpoint)
    settings["checkpoint"] = config.checkpoint = str(resolve(Path(config.checkpoint)))  # its run may go on
    model = from_pretrained(settings["checkpoint"], feedback=config.feedback, device=fabric.device)
    env = make_env(settings["env"], rendering=config.rendering)
    check_fits(model.spec, env.env_spec, config.checkpoint)
    longest = -(-model.spec.time_limit // model.spec.action_repeat)
    if 0 < longest <= config.decision:
        raise ConfigError(f"decision is {config.decision}, an episode has {longest} at most: set one before that")
    check_new(config)
    tracing = Tracing(make_planner(settings["planner"], model.spec, horizon=usual_horizon(model)))
    watched = Watched(
        PlanningAgent(model, tracing, latents=config.latents), tracing, elites=config.elites, columns=config.columns
    )
    episode = play(env, watched, "planner", seed_of(config.seed, "evaluate"), fabric)
    env.close()
    run = new_run(config)
    realised = realised_returns(episode, tracing.horizon)
    film = search_film(watched.searches, watched.expected, realised, scale=config.scale)
    write_video(run / "plan.mp4", film, fps=FPS / 2)  # there is much to see
    shown = min(config.decision, len(film) - 1)  # an episode may end early
    Image.fromarray(film[shown]).save(run / "plan.png")
    found = compare([watched.expected], [episode], tracing.horizon)
    spec = episode.spec
    told = {"env": spec.env, "task": spec.task, "seed": config.seed, "horizon": tracing.horizon, **asdict(found)}
    records = Records(run)
    try:
        records.begin(0, **provenance(settings))
        records.write("plans", 0, episode_return=episode.total, **told)
    finally:
        records.close()
    print(f"return {episode.total:.1f} in {len(episode)} decisions; the picture is of decision {shown}")
    if found.expected is not None and found.realised is not None:
        over = f"over {tracing.horizon} decisions plans were expected to earn"
        print(f"{over} {found.expected:.2f}, and {found.realised:.2f} came")
    for path in (run / "plan.png", run / "plan.mp4", run / "metrics.jsonl", write_report(run)):
        print(path)


if __name__ == "__main__":
    main()
