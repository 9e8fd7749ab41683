"""Shares a folder of episodes: ``python -m agents.minari_export data=FOLDER dataset=svg/cartpole-v0``."""

from __future__ import annotations

from pathlib import Path

import hydra
from omegaconf import DictConfig

from agents.minari_data import export_folder
from worldmodel.command import command
from worldmodel.settings import check_text


@hydra.main(version_base="1.3", config_path="pkg://configs", config_name="minari_export")
@command
def main(config: DictConfig) -> None:
    """Hydra's entry point."""
    check_text("data", config.data)
    print(export_folder(Path(config.data), config.dataset))


if __name__ == "__main__":
    main()
