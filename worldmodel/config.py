"""The numbers that make a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from worldmodel.errors import ConfigError


@dataclass(frozen=True)
class ModelConfig:
    """A member of the family; `configs/model/` holds the named ones.

    Attributes:
        recurrence: ``dense`` (SVG: features are vectors) or ``conv`` (SVG′: features are maps).
        K: multiplies the encoder's and decoder's channels; fractions shrink.
        M: multiplies the recurrent networks' hidden channels.
        stages: (channels, blocks) a resolution at K = 1, finest first.
        patch: side of the squares of pixels folded into channels before the first stage.
        feature: channels of the feature.
        hidden: channels of the recurrent networks at M = 1.
        layers: cells of the frame predictor; posterior and prior have one.
        latent: channels of z.
        advance: ``residual`` (predicted feature = present + output) or ``bounded`` (= tanh of the output).
        skips: whether the decoder sees the encoder's maps of the last context frame.
        head: hidden width of the reward and continuation heads.
    """

    recurrence: Literal["dense", "conv"]
    K: float
    M: float
    stages: tuple[tuple[int, int], ...]
    patch: int
    feature: int
    hidden: int
    layers: int
    latent: int
    advance: Literal["residual", "bounded"]
    skips: bool
    head: int

    def __post_init__(self) -> None:
        # YAML and JSON give lists
        object.__setattr__(self, "stages", tuple((int(width), int(blocks)) for width, blocks in self.stages))
        for key, allowed in (("recurrence", ("dense", "conv")), ("advance", ("residual", "bounded"))):
            if getattr(self, key) not in allowed:
                raise ConfigError(f"model.{key} is {getattr(self, key)!r}: set one of {', '.join(allowed)}")
        for key in ("K", "M", "patch", "feature", "hidden", "layers", "latent", "head"):
            if getattr(self, key) <= 0:
                raise ConfigError(f"model.{key} is {getattr(self, key)}: set it above 0")
