"""Parameters and multiply-adds of a model: ``python -m worldmodel.summary model=svg_prime model.K=1 model.M=1``."""

from __future__ import annotations

import json
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from worldmodel.config import ModelConfig
from worldmodel.configured import configured
from worldmodel.errors import ConfigError, check_whole
from worldmodel.hardware import auto_accelerator, chosen_precision
from worldmodel.memory import memory_of
from worldmodel.size import none_spec, summarise
from worldmodel.trainer import TrainConfig


@configured("summary")
def main(config: DictConfig) -> None:
    settings = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    size, action_size = settings["size"], settings["action_size"]
    if not (isinstance(size, list) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)):
        raise ConfigError(f"size is {size}: set [height, width], whole numbers >= 1")
    check_whole("action_size", action_size, 1)
    model, frame_size = ModelConfig.from_mapping(settings["model"]), (size[0], size[1])
    rows = summarise(model, action_size, frame_size)
    if settings["json"]:
        print(json.dumps(rows))
        return
    print(table(rows))
    bfloat16 = chosen_precision(settings["precision"], "auto").startswith("bf16")
    train = TrainConfig.from_mapping(settings["train"])
    spec = none_spec(action_size, frame_size)
    memory = memory_of(model, train, spec, bfloat16=bfloat16, device=auto_accelerator())
    print(f"{memory}; batches of {train.batch} windows of {train.window} frames")


def table(rows: dict[str, dict[str, int]]) -> str:
    """Aligned text, in millions."""
    lines = [f"{'':<22}{'parameters':>14}{'multiply-adds':>16}"]
    for name, row in rows.items():
        lines.append(f"{name:<22}{row['parameters'] / 1e6:>12.3f} M{row['multiply_adds'] / 1e6:>14.2f} M")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
