"""Makes folders of episodes of videos: ``python -m worldmodel.import_videos videos=FOLDER data=FOLDER``.

Files that FFmpeg decodes, or folders of pictures, with or without actions. Some videos are set aside to measure with.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from worldmodel.configured import configured
from worldmodel.episode import episode_path, save_episode
from worldmodel.errors import ConfigError, DataError, check_number, check_whole
from worldmodel.files import check_empty, whole_folder
from worldmodel.settings import check_text
from worldmodel.spec import EnvSpec
from worldmodel.videos import Cut, actions_path, find_videos, read_actions, video_episodes, video_spec


@configured("import_videos")
def main(config: DictConfig) -> None:
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    check_whole("seed", config.seed, 0)
    check_number("test", config.test)
    check_number("bound", config.bound, above=0)
    if not 0 <= config.test < 1:
        raise ConfigError(f"test is {config.test}: set a share in [0, 1)")
    size = settings["size"]
    if not (isinstance(size, list) and len(size) == 2):
        raise ConfigError(f"size is {size}: set [height, width]")
    cut = Cut((size[0], size[1]), settings["every"], settings["length"])
    videos = find_videos(Path(config.videos), config.pattern)
    check_text("data", config.data)
    data = Path(config.data)
    check_empty(data)
    action_size = read_actions(actions_path(videos[0])).shape[1] if config.actions else 0
    spec = video_spec(config.name, cut, action_size=action_size, bound=float(config.bound))
    order = np.random.default_rng(config.seed).permutation(len(videos))
    held_out = max(1, round(config.test * len(videos))) if config.test and len(videos) > 1 else 0
    tested = {int(i) for i in order[:held_out]}
    parts = {"train": [v for i, v in enumerate(videos) if i not in tested]}
    if tested:
        parts["test"] = [video for i, video in enumerate(videos) if i in tested]
    refused: list[str] = []
    with whole_folder(data) as folder:
        for part, chosen in parts.items():
            count = write_part(folder / part, chosen, cut, spec, refused if config.skip_bad else None)
            print(f"{count} episodes of {len(chosen)} videos in {data / part}")
    for reason in refused:
        print(f"left out: {reason}", file=sys.stderr)


def write_part(folder: Path, videos: Sequence[Path], cut: Cut, spec: EnvSpec, refused: list[str] | None) -> int:
    """Files the episodes of some videos, and says how many; what cannot be used goes to `refused`, or is raised."""
    count = 0
    for video in tqdm(videos, desc=folder.name, unit="video", disable=None):
        first = count
        try:
            for episode in video_episodes(video, cut, spec):
                save_episode(episode, episode_path(folder, count))
                count += 1
        except DataError as error:
            if refused is None:
                raise
            refused.append(str(error))
            while count > first:  # what of it was written before
                count -= 1
                episode_path(folder, count).unlink()
    if not count:
        why = f"; the first: {refused[0]}" if refused else ""
        raise DataError(f"none of {len(videos)} videos for {folder.name} can be used{why}")
    return count


if __name__ == "__main__":
    main()
