"""From the embeddings of frames, which draw them, to the features that the dynamics predicts, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from worldmodel.encoder import in_float32
from worldmodel.recurrent import Layer, perceptron, tiled


class FrameFeatures(nn.Module):
    """A frame's embedding is its feature, as in the papers."""

    def forward(self, before: Tensor, action: Tensor, embedding: Tensor) -> Tensor:
        """The embedding (b, ...) itself."""
        return embedding

    def embedding(self, feature: Tensor) -> Tensor:
        """The feature (b, ...) itself."""
        return feature


class PairFeatures(nn.Module):
    """A feature for two frames and the action between them, which fix the state of most mechanical systems.

    What draws a frame well jumps as a thin pole moves by a pixel; what predicts well changes smoothly and knows
    velocities. So the dynamics has features of its own, and a frame is drawn by way of the embedding they imply.

    Args:
        layer: what the networks are made of.
        embedding, action_size, feature: channels of each.
        hidden: channels between.
    """

    def __init__(self, layer: Layer, *, embedding: int, action_size: int, feature: int, hidden: int) -> None:
        super().__init__()
        inputs = 2 * embedding + action_size
        self.up = nn.Sequential(perceptron(layer, [inputs, hidden, hidden]), layer(hidden, feature))
        self.scale = nn.GroupNorm(1, feature, affine=False)  # so that features cannot shrink to be predictable
        self.down = nn.Sequential(perceptron(layer, [feature, hidden]), layer(hidden, embedding))

    def forward(self, before: Tensor, action: Tensor, embedding: Tensor) -> Tensor:
        """Embeddings of two frames (b, e, ...) and the action (b, a) that led from one to the other to (b, c, ...)."""
        x = torch.cat([embedding, embedding - before, tiled(action, embedding)], 1)
        return self.scale(in_float32(self.up[-1], self.up[0](x)))

    def embedding(self, feature: Tensor) -> Tensor:
        """Features (b, c, ...) to the embeddings (b, e, ...) of their second frames, float32."""
        return in_float32(self.down[-1], self.down[0](feature))
