"""From a few numbers to a model: the family's members and their capacity."""

from __future__ import annotations

from typing import Any

from torch import nn

from worldmodel.actor_critic import ActorCritic
from worldmodel.config import ModelConfig
from worldmodel.decoder import Decoder, LightDecoder
from worldmodel.encoder import Encoder, LightEncoder, block
from worldmodel.errors import ConfigError
from worldmodel.features import FrameFeatures, PairFeatures
from worldmodel.feedback import FEEDBACKS, bounded, check_feedback, residual
from worldmodel.heads import Head, Statistics
from worldmodel.model import Model
from worldmodel.recurrent import (
    Context,
    Feedforward,
    GaussianPredictor,
    NoLatent,
    Predictor,
    Recurrent,
    conv3x3,
    dense,
)
from worldmodel.rssm import RSSM
from worldmodel.spec import EnvSpec
from worldmodel.svg import SVG

CHANNELS = 3


def scaled(channels: int, factor: float) -> int:
    """Channels times a capacity factor, in whole groups of 8."""
    return max(8, 8 * round(channels * factor / 8))


def build(config: ModelConfig, spec: EnvSpec, *, feedback: str = "features") -> Model:
    """A new model of an environment.

    Raises ConfigError when the frame's sides are not multiples of what the encoder divides them by, or for a feedback
    that is unknown, or not the model's.
    """
    check_feedback(feedback)
    height, width = spec.frame_size
    shrink = config.patch * 2 ** len(config.stages)
    if height % shrink or width % shrink or min(height, width) < shrink:
        raise ConfigError(f"frames are {height}x{width}: this model needs sides that are multiples of {shrink}")
    h, w = height // shrink, width // shrink
    stages = [(scaled(channels, config.K), blocks) for channels, blocks in config.stages]
    last = stages[-1][0]
    hidden = scaled(config.hidden, config.M)
    conv = config.layer == "conv"
    layer = conv3x3 if conv else dense

    if conv:
        to_feature: list[nn.Module] = [conv3x3(last, config.feature)]
        to_map: nn.Module = block(config.feature, last)
        feature_shape: tuple[int, ...] = (config.feature, h, w)
    else:
        to_feature = [nn.Flatten(), nn.Linear(last * h * w, config.feature)]
        to_map = nn.Sequential(
            nn.Linear(config.feature, last * h * w), nn.Unflatten(1, (last, h, w)), nn.LeakyReLU(0.2)
        )
        feature_shape = (config.feature,)
    # Embeddings of unit scale, so that a squared error means the same in every model and cannot shrink away.
    to_feature.append(nn.Tanh() if config.advance == "bounded" else nn.GroupNorm(1, config.feature, affine=False))

    stack: dict[str, Any] = {"channels": CHANNELS, "patch": config.patch, "stages": stages}
    encoder: Encoder | LightEncoder
    decoder: Decoder | LightDecoder
    if config.backbone == "vgg":
        encoder = Encoder(**stack, output=nn.Sequential(*to_feature))
        decoder = Decoder(**stack, input=to_map, skips=config.skips)
    else:
        side = 2 * config.patch  # the map the decoder draws from has the resolution of the first stage's output
        encoder = LightEncoder(**stack, output=nn.Sequential(*to_feature))
        decoder = LightDecoder(
            channels=CHANNELS,
            shape=(stages[0][0], height // side, width // side),
            side=side,
            feature=config.feature,
            hidden=scaled(2 * config.feature, config.K),
        )
    statistics = Statistics((CHANNELS, height, width))
    if config.recurrence == "rssm":
        if feedback != "features":
            raise ConfigError("a state-space model imagines states, and no pixels are fed back: set feedback=features")
        feature_shape = (hidden + config.latent,)
        return RSSM(
            config=config,
            spec=spec,
            hidden=hidden,
            statistics=statistics,
            encoder=encoder,
            decoder=decoder,
            reward=Head(feature_shape, spec.action_size, hidden=config.head),
            continuation=Head(feature_shape, spec.action_size, hidden=max(8, config.head // 4)),
        )
    features: FrameFeatures | PairFeatures = FrameFeatures()
    if config.features == "pair":
        features = PairFeatures(
            layer, embedding=config.feature, action_size=spec.action_size, feature=config.feature, hidden=hidden
        )
    memory = Recurrent if config.recurrence == "lstm" else Feedforward

    def gaussian() -> GaussianPredictor | NoLatent:
        if not config.latent:
            return NoLatent()
        seen = memory(layer, inputs=config.feature, hidden=hidden, layers=1)
        return GaussianPredictor(seen, layer, latent=config.latent)

    size: dict[str, int] = {"hidden": hidden, "layers": config.layers}
    size["inputs"] = config.feature + config.latent + spec.action_size
    remembers: Recurrent | Feedforward | Context
    if config.recurrence == "context":
        remembers = Context(layer, **size, feature=config.feature, history=config.history)
    else:
        remembers = memory(layer, **size)
    model = SVG(
        config=config,
        spec=spec,
        feedback=FEEDBACKS[feedback],
        noise_shape=(config.latent, *feature_shape[1:]),
        statistics=statistics,
        encoder=encoder,
        features=features,
        decoder=decoder,
        frame_predictor=Predictor(remembers, layer, outputs=config.feature),
        posterior=gaussian(),
        prior=gaussian(),
        advance={"residual": residual, "bounded": bounded}[config.advance],
        reward=Head(feature_shape, spec.action_size, hidden=config.head),
        continuation=Head(feature_shape, spec.action_size, hidden=max(8, config.head // 4)),  # a yes or no needs less
        actor_critic=ActorCritic(
            feature_shape, spec, hidden=config.head, critics=config.critics, discount=config.discount
        )
        if config.critics
        else None,
    )
    if config.advance == "residual":  # starts by predicting that nothing moves
        for parameter in model.frame_predictor.output.parameters():
            nn.init.zeros_(parameter)
    return model
