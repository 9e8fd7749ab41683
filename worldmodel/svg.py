"""The stochastic recurrent video predictor with actions (SVG: Denton & Fergus 2018; SVG′: Villegas et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from worldmodel.actor_critic import ActorCritic
from worldmodel.config import ModelConfig
from worldmodel.decoder import Decoder, LightDecoder
from worldmodel.encoder import Encoder, LightEncoder
from worldmodel.errors import ConfigError, DataError
from worldmodel.features import FrameFeatures, PairFeatures
from worldmodel.feedback import Advance, Feedback, feed_pixels
from worldmodel.gaussian import kl
from worldmodel.heads import Head, Statistics
from worldmodel.recurrent import Cells, GaussianPredictor, NoLatent, Predictor, tiled
from worldmodel.spec import EnvSpec
from worldmodel.state import Skips, State

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Prediction:
    """One imagined transition.

    Attributes:
        state: after it.
        reward: (b,) that it earns, on the environment's own scale, summed over the action repeat.
        continues: (b,) probability in [0, 1] that the task does not terminate with it.
    """

    state: State
    reward: Tensor
    continues: Tensor


class WorldModel(Protocol):
    """What planners, imagined environments and pictures need of a model; rows never influence each other.

    Frames are uint8 (b, k, c, height, width), actions float (b, k-1, a) in [-1, 1] or one-hot. `noise` is standard
    normal (b, k-1, *noise_shape), or without the axis k-1 for one step; None takes the mean of z.
    """

    spec: EnvSpec
    noise_shape: tuple[int, ...]
    actor_critic: ActorCritic | None
    discount: float  # of rewards in plans that end with `value`; 1 where that is nothing

    @property
    def device(self) -> torch.device: ...

    def initial(self, frames: Tensor, actions: Tensor, *, noise: Tensor | None = None) -> State: ...

    def observe(self, state: State, action: Tensor, frame: Tensor, *, noise: Tensor | None = None) -> State: ...

    def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction: ...

    def embedding(self, state: State) -> Tensor: ...

    def value(self, state: State) -> Tensor: ...

    def decode(self, state: State) -> Tensor: ...

    def nats(self, frames: Tensor, actions: Tensor) -> Tensor | None: ...


class SVG(nn.Module):
    """Encoder, frame predictor, posterior, learned prior, decoder and heads; see `worldmodel.build`.

    Args:
        config: the numbers it was built from, saved with its weights.
        spec: the environment it models.
        feedback: what an imagined step feeds to the next, one of `FEEDBACKS`; not a matter of the weights.
        noise_shape: of one z, (z,) or (z, h, w).
        other arguments: the parts.
    """

    def __init__(
        self,
        *,
        config: ModelConfig,
        spec: EnvSpec,
        feedback: Feedback,
        noise_shape: tuple[int, ...],
        statistics: Statistics,
        encoder: Encoder | LightEncoder,
        features: FrameFeatures | PairFeatures,
        decoder: Decoder | LightDecoder,
        frame_predictor: Predictor,
        posterior: GaussianPredictor | NoLatent,
        prior: GaussianPredictor | NoLatent,
        advance: Advance,
        reward: Head,
        continuation: Head,
        actor_critic: ActorCritic | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.spec = spec
        self.feedback = feedback
        self.noise_shape = noise_shape
        self.statistics = statistics
        self.encoder = encoder
        self.features = features
        self.decoder = decoder
        self.frame_predictor = frame_predictor
        self.posterior = posterior
        self.prior = prior
        self.advance = advance
        self.reward = reward
        self.continuation = continuation
        self.actor_critic = actor_critic
        self.discount = actor_critic.discount if actor_critic else 1.0

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.statistics.frame_mean.device

    def encode(self, frames: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Frames uint8 (b, c, height, width) to embeddings (b, ...) and the skips that the decoder takes."""
        self.statistics.check_frames(frames)
        return self.encode_standardised(self.statistics.standardise(frames))

    def encode_standardised(self, frames: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The same for frames that `Statistics.standardise` gave."""
        embedding, skips = self.encoder(frames)
        return embedding, skips if self.decoder.uses_skips else ()

    def embedding(self, state: State) -> Tensor:
        """Of the state's last frame (b, ...), observed or imagined."""
        return self.features.embedding(state.feature) if state.embedding is None else state.embedding

    def first_feature(self, embedding: Tensor) -> Tensor:
        """Of a frame (b, ...) that nothing is known to have come before: as if it stood still."""
        return self.features(embedding, embedding.new_zeros(len(embedding), self.spec.action_size), embedding)

    def features_of(self, embeddings: Tensor, actions: Tensor) -> Tensor:
        """Of every frame of windows: embeddings (b, t, ...) and the actions (b, t-1, a) between them to (b, t, ...)."""
        before, after = embeddings[:, :-1].flatten(0, 1), embeddings[:, 1:].flatten(0, 1)
        later = self.features(before, actions.flatten(0, 1), after).unflatten(0, actions.shape[:2])
        return torch.cat([self.first_feature(embeddings[:, 0])[:, None], later], 1)

    def initial(self, frames: Tensor, actions: Tensor, *, noise: Tensor | None = None) -> State:
        """Filters a context: frames (b, k, c, height, width) uint8 and the actions (b, k-1, a) between them.

        Raises DataError for actions that are not k-1, or frames that are not uint8 of the model's size.
        """
        check_context(self, frames, actions, noise)
        b, k = frames.shape[:2]
        embedding, maps = self.encode(frames[:, 0])
        feature = self.first_feature(embedding)
        state = State(
            feature=feature,
            skips=Skips(maps, torch.arange(b, device=feature.device)),
            frame_predictor=self.frame_predictor.initial(feature),
            posterior=self.posterior.initial(feature),
            prior=self.prior.initial(feature),
            embedding=embedding,
            frame=self._kept(frames[:, 0]),
        )
        for i in range(k - 1):
            step_noise = None if noise is None else noise[:, i]
            state = self.observe(state, actions[:, i], frames[:, i + 1], noise=step_noise)
        return state

    def observe(self, state: State, action: Tensor, frame: Tensor, *, noise: Tensor | None = None) -> State:
        """Goes on to a frame that was seen: action (b, a), frame (b, c, height, width) uint8; z from the posterior."""
        if len(frame) != len(state):
            raise DataError(f"{len(frame)} frames for {len(state)} rows of state: give one for each")
        self._check_actions(action, len(state))
        embedding, maps = self.encode(frame)
        feature = self.features(self.embedding(state), action, embedding)
        z, posterior = self.posterior(feature, state.posterior)
        _, prior = self.prior(state.feature, state.prior)
        _, cells = self.predict(state.feature, z.sample(noise), action, state.frame_predictor)
        return State(
            feature=feature,
            skips=Skips(maps, torch.arange(len(feature), device=feature.device)),
            frame_predictor=cells,
            posterior=posterior,
            prior=prior,
            embedding=embedding,
            frame=self._kept(frame),
        )

    def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction:
        """Goes on to a frame that nobody saw: action (b, a); z from the prior."""
        z, prior = self.prior(state.feature, state.prior)
        predicted, cells = self.predict(state.feature, z.sample(noise), action, state.frame_predictor)
        feature, embedding, frame = self.feedback(self, state, action, predicted)
        after = replace(state, feature=feature, frame_predictor=cells, prior=prior, embedding=embedding, frame=frame)
        return Prediction(
            state=after,
            reward=self.statistics.rewards(self.reward(state.feature, action, feature)),
            continues=self.continuation(state.feature, action, feature).sigmoid(),
        )

    @property
    def value_unit(self) -> Tensor:
        """What the critics count in, (), on the environment's scale.

        It is about the deviation that the discounted sum would have if each reward were drawn on its own; the mean of
        rewards as a unit would leave values so small that Adam's steps are a large part of them.
        """
        return self.statistics.reward_std / (1 - self.discount) ** 0.5

    def value(self, state: State) -> Tensor:
        """What will be earned from here on (b,), discounted, on the environment's scale; 0 without critics.

        By the policy, as the critics say; they learn from three rewards at a time of whatever played, planner included,
        so where it plays better than the policy they say more than the policy alone earns.
        """
        if self.actor_critic is None:
            return torch.zeros(len(state), device=self.device)
        return self.value_unit * self.actor_critic.target_values(state.feature).mean(0)

    def decode(self, state: State) -> Tensor:
        """Draws the state's frame: (b, c, height, width) in [0, 1]; free under pixel feedback."""
        frame = state.frame
        if frame is None:
            frame = self.decoder(self.embedding(state), state.skips.maps, state.skips.rows)
        return self.statistics.restore(frame)

    def nats(self, frames: Tensor, actions: Tensor) -> Tensor | None:
        """KL of the posterior from the prior at each transition (b, t-1), all frames (b, t, ...) being given.

        None without z.
        """
        if not self.noise_shape[0]:
            return None
        flat, _ = self.encode(frames.flatten(0, 1))
        features = self.features_of(flat.unflatten(0, frames.shape[:2]), actions)
        posterior, _ = self.posterior.sequence(features[:, 1:])
        prior, _ = self.prior.sequence(features[:, :-1])
        return kl(posterior, prior).flatten(2).sum(2)

    def predict(self, feature: Tensor, z: Tensor, action: Tensor, cells: Cells) -> tuple[Tensor, Cells]:
        """One step of the frame predictor: feature (b, ...), z (b, *noise_shape), action (b, a) to the next feature."""
        output, cells = self.frame_predictor(self.inputs(feature, z, action), cells)
        return self.advance(feature, output), cells

    def predict_sequence(self, features: Tensor, z: Tensor, actions: Tensor) -> tuple[Tensor, list[Cells]]:
        """The same from zero cells where every input is known: (b, t, ...) each, and the cells at t + 1 moments."""
        b, t = actions.shape[:2]
        inputs = self.inputs(features.flatten(0, 1), z.flatten(0, 1), actions.flatten(0, 1))
        outputs, cells = self.frame_predictor.sequence(inputs.view(b, t, *inputs.shape[1:]))
        return self.advance(features, outputs), cells

    def inputs(self, feature: Tensor, z: Tensor, action: Tensor) -> Tensor:
        """What the frame predictor sees, side by side: an action is tiled over a map's positions."""
        self._check_actions(action, len(feature))
        return torch.cat([feature, z, tiled(action, feature)], 1)

    def _check_actions(self, action: Tensor, b: int) -> None:
        if action.shape != (b, self.spec.action_size):
            raise ConfigError(
                f"actions are {tuple(action.shape)}: this model was trained on {self.spec.env} "
                f"and takes ({b}, {self.spec.action_size})"
            )

    def _kept(self, frame: Tensor) -> Tensor | None:
        return self.statistics.standardise(frame) if self.feedback is feed_pixels else None


def check_context(model: WorldModel, frames: Tensor, actions: Tensor, noise: Tensor | None) -> None:
    """DataError unless there are actions, and noise if any, for each of a context's frames (b, k, ...) but the last."""
    b, k = frames.shape[:2]
    expected = (b, k - 1, model.spec.action_size)
    if actions.shape != expected:
        raise DataError(f"{b} contexts of {k} frames with actions {tuple(actions.shape)}: give actions {expected}")
    if noise is not None and noise.shape[1] != k - 1:
        raise DataError(f"noise is {tuple(noise.shape)} for {k} frames: give ({b}, {k - 1}, *{model.noise_shape})")


def channels_last(model: M) -> M:
    """The same model, its convolutions in the memory format in which processors and GPUs run them fastest."""
    return cast(M, model.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
