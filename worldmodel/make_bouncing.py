"""Makes videos whose future is a matter of chance, and known: ``python -m worldmodel.make_bouncing data=FOLDER``."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from worldmodel.bouncing import bouncing_episode
from worldmodel.configured import configured
from worldmodel.episode import episode_path, save_episode
from worldmodel.errors import check_whole
from worldmodel.files import check_empty, whole_folder
from worldmodel.settings import check_text


@configured("make_bouncing")
def main(config: DictConfig) -> None:
    for name, least in (("episodes", 1), ("tested", 1), ("seed", 0)):
        check_whole(name, config[name], least)
    check_text("data", config.data)
    data = Path(config.data)
    check_empty(data)
    with whole_folder(data) as folder:
        seed = config.seed
        for part, count in (("train", config.episodes), ("test", config.tested)):
            for index in range(count):
                save_episode(bouncing_episode(seed, config.length, config.size), episode_path(folder / part, index))
                seed += 1
            print(f"{count} episodes in {data / part}")


if __name__ == "__main__":
    main()
