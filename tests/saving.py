"""Small checkpoints, whole and damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from worldmodel.checkpoint import Contexts, write_checkpoint
from worldmodel.spec import EnvSpec

SPEC = EnvSpec("cartpole", "swingup", "box", 2, (-2.0, -1.0), (2.0, 1.0), 8, 1000, (6, 8))
MODEL = {"kind": "conv", "stages": [[8, 1], [16, 2]], "K": 0.5, "skips": True, "name": None}


def contexts() -> Contexts:
    frames = torch.randint(0, 256, (4, 3, 6, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Contexts(frames=frames.permute(0, 1, 4, 2, 3), actions=torch.linspace(-1, 1, 16).reshape(4, 2, 2))


def write(folder: Path, **changes: Any) -> Path:
    parts: dict[str, Any] = {
        "model_config": MODEL,
        "spec": SPEC,
        "weights": {"w": torch.arange(6.0).reshape(2, 3)},
        "contexts": contexts(),
        "trainer": {"updates": 3},
    }
    write_checkpoint(folder, **{**parts, **changes})
    return folder


def flip(path: Path, position: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
