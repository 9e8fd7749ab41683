"""Shares a folder of episodes: ``python -m agents.minari_export data=FOLDER dataset=svg/cartpole-v0``."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from agents.minari_data import export_folder
from worldmodel.configured import configured
from worldmodel.settings import check_text


@configured("minari_export")
def main(config: DictConfig) -> None:
    check_text("data", config.data)
    print(export_folder(Path(config.data), config.dataset))


if __name__ == "__main__":
    main()
