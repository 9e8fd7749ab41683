"""Films an episode of the planner in a checkpoint's model: ``python -m agents.film checkpoint=RUN env=cartpole``.

Without exploration, and captioned with who plays and the return. An episode that was played before may stand beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from agents.closing import FPS
from agents.measuring import play
from agents.policies import make_actor
from agents.seeds import seed_of
from envs import make_env
from worldmodel.configured import configured
from worldmodel.episode import Episode, episode_path, load_episode, save_episode
from worldmodel.errors import CheckpointError, ConfigError, DataError, EnvError, check_whole
from worldmodel.hardware import prepare_threads
from worldmodel.pictures.report import write_report
from worldmodel.pictures.side_by_side import Column, side_by_side
from worldmodel.pictures.video import write_video
from worldmodel.provenance import provenance
from worldmodel.records import Records
from worldmodel.run_folder import new_run
from worldmodel.series import resolve
from worldmodel.settings import check_text
from worldmodel.trainer import make_fabric

SCALE = 5  # 64 pixels become 320, which captions fit into


@configured("film")
def main(config: DictConfig) -> None:
    prepare_threads()
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    check_text("checkpoint", config.checkpoint)
    check_whole("seed", config.seed, 0)
    if config.optional and not config.beside:
        raise ConfigError("optional=true leaves nothing to film where the planner cannot play: set beside=")
    columns = [told(played(Path(config.beside)), config.beside)] if config.beside else []
    fabric = make_fabric(config.accelerator, 1, config.precision)
    player = None
    try:
        settings["checkpoint"] = config.checkpoint = str(resolve(Path(config.checkpoint)))  # its run may go on
        env = make_env(settings["env"], rendering=config.rendering)
        player = env, make_actor(settings | {"policy": "planner"}, env, device=fabric.device)
    except (CheckpointError, EnvError) as error:
        if not config.optional:
            raise
        print(f"the film leaves out {config.env.name}, played by the planner in {config.checkpoint}: {error}")
    run = new_run(config)
    records = Records(run)
    try:
        records.begin(0, **provenance(settings))
        if player:
            episode = play(*player, "planner", seed_of(config.seed, "evaluate"), fabric)
            save_episode(episode, episode_path(run / "evaluation", 0))
            records.write(
                "film",
                0,
                env=episode.spec.env,
                task=episode.spec.task,
                seed=config.seed,
                decisions=len(episode),
                episode_return=episode.total,
            )
            columns.append(told(episode, config.checkpoint))
    finally:
        records.close()
    write_video(run / "film.mp4", side_by_side(columns, scale=SCALE), fps=FPS)
    print(run / "film.mp4")
    print(write_report(run))


def played(path: Path) -> Episode:
    """The episode of a file, or the first of a run folder's newest evaluation; DataError when there is none."""
    file = episode_path(path / "evaluation", 0) if path.is_dir() else path
    if not file.exists():
        raise DataError(f"{file} does not exist: set beside= to an episode's file, or a run folder with an evaluation")
    return load_episode(file)


def told(episode: Episode, place: str) -> Column:
    """An episode under what it earned, who played it, and the end of the path of the model or episode."""
    where = "/".join(Path(place).parts[-2:])
    return Column(episode.frames, (f"{episode.spec.env}: return {episode.total:.1f}", f"{episode.actor}: {where}"))


if __name__ == "__main__":
    main()
