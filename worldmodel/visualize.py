"""Shows what a model imagines, beside what happened: ``python -m worldmodel.visualize checkpoint=RUN``.

Filters a few frames of an episode that the model was not fitted to, and imagines on under the actions that were taken:
with the mean of each z, and in samples. Writes one sheet (PNG), a film (mp4) and the same as a GIF.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from worldmodel.configured import configured
from worldmodel.episode import load_episode, read_header
from worldmodel.errors import ConfigError, DataError, check_number, check_whole
from worldmodel.hardware import prepare_threads
from worldmodel.held_out import held_out_episodes
from worldmodel.pictures.open_loop import imagine_open_loop
from worldmodel.pictures.png import write_png
from worldmodel.pictures.reel import open_loop_film
from worldmodel.pictures.sheet import open_loop_figure
from worldmodel.pictures.video import write_gif, write_video
from worldmodel.pretrained import check_fits, from_pretrained
from worldmodel.run_folder import new_run
from worldmodel.series import resolve
from worldmodel.settings import check_text
from worldmodel.trainer import make_fabric


@configured("visualize")
def main(config: DictConfig) -> None:
    prepare_threads()
    for name, least in (("context", 1), ("start", 0), ("columns", 2), ("scale", 1)):
        check_whole(name, config[name], least)
    for name, least in (("episode", 0), ("horizon", 1)):
        if config[name] is not None:
            check_whole(name, config[name], least)
    check_number("fps", config.fps)
    if not 0 < config.fps <= 50:
        raise ConfigError(f"fps is {config.fps}: set it above 0, to 50 at most, as GIFs can")
    check_text("checkpoint", config.checkpoint)
    folder = resolve(Path(config.checkpoint))
    files = held_out_episodes(folder, Path(config.data) if config.data else None)
    file = chosen(files, config.episode, config.start + config.context - 1 + (config.horizon or 1))
    fabric = make_fabric(config.accelerator, 1, config.precision)
    model = from_pretrained(folder, feedback=config.feedback, device=fabric.device)
    episode = load_episode(file)
    check_fits(model.spec, episode.spec, config.checkpoint, "episodes")
    with fabric.autocast():
        rollout = imagine_open_loop(
            model,
            episode,
            context=config.context,
            horizon=config.horizon,
            samples=config.samples,
            start=config.start,
            seed=config.seed,
        )
    run = new_run(config)
    print(f"{file}, played by {episode.actor}")
    write_png(run / "open_loop.png", open_loop_figure(rollout, columns=config.columns, scale=config.scale))
    film = open_loop_film(rollout, scale=config.scale)
    write_video(run / "open_loop.mp4", film, fps=config.fps)
    write_gif(run / "open_loop.gif", film, fps=config.fps)
    for name in ("open_loop.png", "open_loop.mp4", "open_loop.gif"):
        print(run / name)


def chosen(files: Sequence[Path], index: int | None, least: int) -> Path:
    """The episode of an index; without one, the first of `least` decisions or more, or else the longest.

    Raises DataError for an index beyond the last.
    """
    if index is not None:
        if index >= len(files):
            raise DataError(f"episode is {index}, there are {len(files)}: set one of 0..{len(files) - 1}")
        return files[index]
    lengths = {file: read_header(file).length for file in files}
    return next((file for file in files if lengths[file] >= least), max(files, key=lambda file: lengths[file]))


if __name__ == "__main__":
    main()
