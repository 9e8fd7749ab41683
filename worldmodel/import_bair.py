"""Makes folders of episodes of BAIR's records: ``python -m worldmodel.import_bair records=FOLDER data=FOLDER``."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from tqdm import tqdm

from worldmodel.bair import action_bounds, bair_episodes, bair_spec, find_records
from worldmodel.configured import configured
from worldmodel.episode import episode_path, save_episode
from worldmodel.files import check_empty, whole_folder
from worldmodel.settings import check_text


@configured("import_bair")
def main(config: DictConfig) -> None:
    check_text("data", config.data)
    data = Path(config.data)
    check_empty(data)
    parts = {part: find_records(Path(config.records) / part) for part in ("train", "test")}
    spec = bair_spec(action_bounds(parts["train"]))
    with whole_folder(data) as folder:
        for part, paths in parts.items():
            count = 0
            for path in tqdm(paths, desc=part, unit="file", disable=None):
                for episode in bair_episodes(path, spec):
                    save_episode(episode, episode_path(folder / part, count))
                    count += 1
            print(f"{count} episodes in {data / part}")


if __name__ == "__main__":
    main()
