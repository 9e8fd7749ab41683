"""Makes a folder of episodes of a Minari data set: ``python -m agents.minari_import dataset=ID data=FOLDER``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from agents.minari_data import import_dataset
from worldmodel.configured import configured
from worldmodel.settings import check_text


@configured("minari_import")
def main(config: DictConfig) -> None:
    check_text("data", config.data)
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    episodes = import_dataset(config.dataset, Path(config.data), name=config.name, size=settings["size"])
    print(f"{episodes} episodes in {config.data}")


if __name__ == "__main__":
    main()
