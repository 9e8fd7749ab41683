"""The numbers that make a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from worldmodel.errors import ConfigError, check_number, check_whole

# No machine has room for more; a checkpoint of somebody else's could claim anything.
WIDEST, DEEPEST, LARGEST = 2**20, 1000, 1000


@dataclass(frozen=True)
class ModelConfig:
    """A member of the family; `configs/model/` holds the named ones.

    Attributes:
        layer: of what the dynamics is made: ``dense`` (SVG: features are vectors) or ``conv`` (SVG′: they are maps).
        recurrence: ``lstm``, or ``none`` for features that tell all there is to know; ``context`` for a frame predictor
            that sees the first features besides the present one; ``rssm`` for PlaNet's state-space model, whose
            feature is a state of `hidden` and `latent` numbers.
        features: of a ``frame`` (the papers') or of a ``pair`` of frames and the action between, to plan in.
        backbone: encoder and decoder: ``vgg`` (the papers') or ``light`` (vectors without skips only).
        K: multiplies the encoder's and decoder's channels; fractions shrink.
        M: multiplies the recurrent networks' hidden channels.
        stages: (channels, blocks) a resolution at K = 1, finest first.
        patch: side of the squares of pixels folded into channels before the first stage.
        feature: channels of the feature, and of a frame's embedding.
        hidden: channels of the recurrent networks at M = 1.
        layers: of the frame predictor's memory; posterior and prior have one.
        latent: channels of z; 0 for none, and no posterior and prior.
        advance: ``residual`` (predicted feature = present + output) or ``bounded`` (= tanh of the output).
        skips: whether the decoder sees the encoder's maps of the last context frame.
        head: hidden width of the reward and continuation heads, of the policy and of the critics.
        critics: of the policy's actions; 0 for a model without a policy, whose plans end with their horizon.
        discount: in [0, 1), of a reward one decision later, in the critics' eyes; read where there are critics.
        history: how many of the first features the recurrence ``context`` keeps; 0 for the others.
    """

    layer: Literal["dense", "conv"]
    recurrence: Literal["lstm", "none", "context", "rssm"]
    features: Literal["frame", "pair"]
    backbone: Literal["vgg", "light"]
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
    critics: int = 0  # as in checkpoints from before there were any
    discount: float = 0.98
    history: int = 0

    def __post_init__(self) -> None:
        # YAML and JSON give lists
        object.__setattr__(self, "stages", tuple(map(tuple, self.stages)))
        choices = {
            "layer": ("dense", "conv"),
            "recurrence": ("lstm", "none", "context", "rssm"),
            "features": ("frame", "pair"),
            "backbone": ("vgg", "light"),
            "advance": ("residual", "bounded"),
        }
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                raise ConfigError(f"model.{key} is {getattr(self, key)!r}: set one of {', '.join(allowed)}")
        if self.features == "pair" and self.advance == "bounded":
            raise ConfigError(
                "features of a pair of frames have no bounds to keep a predicted one in: set model.advance=residual, "
                "or model.features=frame"
            )
        for key, least, most in (
            *((key, 1, WIDEST) for key in ("patch", "feature", "hidden", "head")),
            *((key, least, DEEPEST) for key, least in (("layers", 1), ("critics", 0), ("history", 0))),
            ("latent", 0, WIDEST),
        ):
            check_whole(f"model.{key}", getattr(self, key), least, most)
        if not isinstance(self.skips, bool):
            raise ConfigError(f"model.skips is {self.skips!r}: set true or false")
        check_number("model.discount", self.discount)
        if (self.history > 0) != (self.recurrence == "context"):
            raise ConfigError(
                f"model.history is {self.history} with recurrence {self.recurrence!r}: recurrence=context keeps 1 "
                "or more of the first features, the others 0"
            )
        if not 0 <= self.discount < 1:
            raise ConfigError(f"model.discount is {self.discount}: set it in [0, 1)")
        if self.recurrence == "rssm":
            asked = {"layer": "dense", "features": "frame", "skips": False, "critics": 0, "advance": "residual"}
            differing = [f"model.{key}={value}" for key, value in asked.items() if getattr(self, key) != value]
            if not self.latent:
                differing.append("model.latent >= 1")
            if differing:
                raise ConfigError(f"a state-space model cannot be of these parts: set {', '.join(differing)}")
        for key in ("K", "M"):
            check_number(f"model.{key}", getattr(self, key), above=0)
            if getattr(self, key) > LARGEST:
                raise ConfigError(f"model.{key} is {getattr(self, key)}: set a number <= {LARGEST}")
        if not self.stages or not all(map(_is_stage, self.stages)):
            raise ConfigError(f"model.stages is {self.stages}: give one (channels, blocks) or more, each >= 1")
        if self.backbone == "light" and (self.layer == "conv" or self.skips):
            raise ConfigError(
                f"the light backbone has no maps for layer {self.layer!r} with skips {self.skips}: "
                "set model.backbone=vgg, or model.layer=dense and model.skips=false"
            )

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> ModelConfig:
        """From plain values, as YAML and JSON give them; raises ConfigError for a key too many or too few."""
        try:
            return cls(**data)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"model cannot be used as given ({error}): set the keys of configs/model/") from error


def _is_stage(stage: tuple[Any, ...]) -> bool:
    """Whether it is (channels, blocks)."""
    return len(stage) == 2 and all(
        type(value) is int and 1 <= value <= most for value, most in zip(stage, (WIDEST, DEEPEST), strict=True)
    )
