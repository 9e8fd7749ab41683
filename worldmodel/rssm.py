"""PlaNet's recurrent state-space model (Hafner et al. 2019): what the video predictors are held against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from worldmodel.actor_critic import ActorCritic
from worldmodel.config import ModelConfig
from worldmodel.decoder import Decoder, LightDecoder
from worldmodel.encoder import Encoder, LightEncoder, in_float32
from worldmodel.errors import ConfigError, DataError
from worldmodel.gaussian import Gaussian, kl
from worldmodel.hardware import without_autocast
from worldmodel.heads import Head, Statistics
from worldmodel.recurrent import Feedforward, GaussianPredictor, dense, perceptron
from worldmodel.spec import EnvSpec
from worldmodel.state import Skips, State
from worldmodel.svg import Prediction, check_context


class Transition(nn.Module):
    """The deterministic part of the state, a step on: a GRU that sees the stochastic part and the action."""

    def __init__(self, *, latent: int, action_size: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.embed = perceptron(dense, [latent + action_size, hidden])
        self.gru = nn.GRUCell(hidden, hidden)

    def forward(self, feature: Tensor, action: Tensor) -> Tensor:
        """Features (b, hidden + latent) and actions (b, a) to (b, hidden), in float32."""
        before, z = feature.split([self.hidden, feature.shape[1] - self.hidden], 1)
        with without_autocast(feature.device):
            return self.gru(self.embed(torch.cat([z.float(), action.float()], 1)), before.float())


class Implied(nn.Module):
    """What the state says that the frame's embedding is, to draw it from."""

    def __init__(self, *, feature: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.up = perceptron(dense, [feature, hidden])
        self.down = nn.Sequential(nn.Linear(hidden, embedding), nn.GroupNorm(1, embedding, affine=False))

    def embedding(self, feature: Tensor) -> Tensor:
        """Features (b, c) to embeddings (b, e), float32, of unit scale as the encoder's."""
        return in_float32(self.down, self.up(feature))


class RSSM(nn.Module):
    """A `WorldModel` whose feature is a state that has a deterministic and a stochastic part, (b, hidden + latent).

    The posterior sees the deterministic part and the frame, the prior the deterministic part alone. The papers' zero
    state before the first frame is the mean of its posterior here. There are no skips.

    Args:
        config: the numbers it was built from, saved with its weights.
        spec: the environment it models.
        other arguments: the parts, as `worldmodel.build` makes them.
    """

    actor_critic: ActorCritic | None = None
    discount: float = 1.0

    def __init__(
        self,
        *,
        config: ModelConfig,
        spec: EnvSpec,
        hidden: int,
        statistics: Statistics,
        encoder: Encoder | LightEncoder,
        decoder: Decoder | LightDecoder,
        reward: Head,
        continuation: Head,
    ) -> None:
        super().__init__()
        self.config = config
        self.spec = spec
        self.noise_shape: tuple[int, ...] = (config.latent,)
        self.statistics = statistics
        self.encoder = encoder
        self.decoder = decoder
        self.features = Implied(feature=hidden + config.latent, hidden=hidden, embedding=config.feature)
        self.frame_predictor = Transition(latent=config.latent, action_size=spec.action_size, hidden=hidden)
        self.posterior, self.prior = (
            GaussianPredictor(
                Feedforward(dense, inputs=inputs, hidden=hidden, layers=config.layers), dense, latent=config.latent
            )
            for inputs in (hidden + config.feature, hidden)
        )
        self.reward = reward
        self.continuation = continuation

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.statistics.frame_mean.device

    def encode(self, frames: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Frames uint8 (b, c, height, width) to embeddings (b, e), as a state that saw one alone implies it; no skips.

        What the encoder gives is seen by the posterior alone, and is nothing that a state could be compared with.
        """
        return self.features.embedding(self.first_feature(self.see(frames))), ()

    def see(self, frames: Tensor) -> Tensor:
        """Frames uint8 (b, c, height, width) to what the posterior sees of them, (b, e)."""
        self.statistics.check_frames(frames)
        return self.encoder(self.statistics.standardise(frames))[0]

    def first_feature(self, seen: Tensor) -> Tensor:
        """Of a frame, as the posterior sees it (b, e), that nothing is known to have come before."""
        nothing = seen.new_zeros((len(seen), self.frame_predictor.hidden))
        return torch.cat([nothing, self.explain(nothing, seen).mean], 1)

    def explain(self, deterministic: Tensor, seen: Tensor) -> Gaussian:
        """The posterior over z (b, latent), of the deterministic part and what `see` gives of the frame."""
        return self.posterior(torch.cat([deterministic, seen], 1), ())[0]

    def expect(self, deterministic: Tensor) -> Gaussian:
        """The prior over z (b, latent)."""
        return self.prior(deterministic, ())[0]

    def initial(self, frames: Tensor, actions: Tensor, *, noise: Tensor | None = None) -> State:
        """Filters a context: frames (b, k, c, height, width) uint8 and the actions (b, k-1, a) between them.

        Raises DataError for actions that are not k-1, or frames that are not uint8 of the model's size.
        """
        check_context(self, frames, actions, noise)
        state = state_of(self.first_feature(self.see(frames[:, 0])))
        for i in range(frames.shape[1] - 1):
            state = self.observe(state, actions[:, i], frames[:, i + 1], noise=None if noise is None else noise[:, i])
        return state

    def observe(self, state: State, action: Tensor, frame: Tensor, *, noise: Tensor | None = None) -> State:
        """Goes on to a frame that was seen: action (b, a), frame (b, c, height, width) uint8; z from the posterior."""
        if len(frame) != len(state):
            raise DataError(f"{len(frame)} frames for {len(state)} rows of state: give one for each")
        deterministic = self.advance(state.feature, action)
        z = self.explain(deterministic, self.see(frame)).sample(noise)
        return state_of(torch.cat([deterministic, z], 1))

    def imagine(self, state: State, action: Tensor, *, noise: Tensor | None = None) -> Prediction:
        """Goes on to a frame that nobody saw: action (b, a); z from the prior."""
        deterministic = self.advance(state.feature, action)
        feature = torch.cat([deterministic, self.expect(deterministic).sample(noise)], 1)
        return Prediction(
            state=state_of(feature),
            reward=self.statistics.rewards(self.reward(state.feature, action, feature)),
            continues=self.continuation(state.feature, action, feature).sigmoid(),
        )

    def advance(self, feature: Tensor, action: Tensor) -> Tensor:
        """The next state's deterministic part (b, hidden); ConfigError for actions of another environment."""
        if action.shape != (len(feature), self.spec.action_size):
            raise ConfigError(
                f"actions are {tuple(action.shape)}: this model was trained on {self.spec.env} "
                f"and takes ({len(feature)}, {self.spec.action_size})"
            )
        return self.frame_predictor(feature, action)

    def embedding(self, state: State) -> Tensor:
        """Of the state's last frame (b, e), as the state implies it."""
        return self.features.embedding(state.feature)

    def value(self, state: State) -> Tensor:
        """0: it has no critics."""
        return torch.zeros(len(state), device=self.device)

    def decode(self, state: State) -> Tensor:
        """Draws the state's frame: (b, c, height, width) in [0, 1]."""
        return self.statistics.restore(self.decoder(self.embedding(state), ()))

    def nats(self, frames: Tensor, actions: Tensor) -> Tensor | None:
        """KL of the posterior from the prior at each transition (b, t-1), all frames (b, t, ...) being given."""
        seen = self.see(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        feature, found = self.first_feature(seen[:, 0]), []
        for i in range(actions.shape[1]):
            deterministic = self.advance(feature, actions[:, i])
            posterior = self.explain(deterministic, seen[:, i + 1])
            found.append(kl(posterior, self.expect(deterministic)).sum(1))
            feature = torch.cat([deterministic, posterior.mean], 1)
        return torch.stack(found, 1)


def state_of(feature: Tensor) -> State:
    """A state that is its feature (b, c), and nothing else."""
    return State(feature, Skips((), torch.arange(len(feature), device=feature.device)), (), (), ())
