"""Features to frames: the VGG encoder's mirror, with skips from the last context frame, and a light one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from worldmodel.encoder import Stages, block

Sight = tuple[Tensor, Tensor, Tensor | None]
"""Maps (b, c, h, w), skips (m, c, h, w), and which of the skips' rows each of the maps' sees (b,): None for its own."""


class SkipConv(nn.Conv2d):
    """A convolution of maps and skips side by side, channels of the skips last; each skip's half is computed once.

    A window's frames all see its one skip, which would be convolved, and copied beside each of them, anew.
    """

    def forward(self, input: Sight) -> Tensor:  # type: ignore[override]  # one argument is what `nn.Sequential` hands on
        """To (b, outputs, h, w)."""
        x, skips, rows = input
        of_x, of_skips = self.weight.split([x.shape[1], skips.shape[1]], 1)
        seen = self._conv_forward(skips, of_skips, self.bias)
        return self._conv_forward(x, of_x, None) + (seen if rows is None else seen.index_select(0, rows))


class Decoder(nn.Module):
    """Features to frames (Villegas et al. 2019, appendix).

    Args:
        channels: of a frame.
        patch, stages: as the encoder's.
        input: turns the feature into a map of the last stage's width at half its resolution.
        skips: whether each stage also sees the encoder's map of the last context frame.
    """

    def __init__(self, *, channels: int, patch: int, stages: Stages, input: nn.Module, skips: bool) -> None:
        super().__init__()
        self.patch = patch
        self.input = input
        self.uses_skips = skips
        widths = [channels * patch**2, *(width for width, _ in stages)]
        reversed_stages = []
        for index in reversed(range(len(stages))):
            width, blocks = stages[index]
            first = 2 * width if skips else width
            inputs = [first, *[width] * (blocks - 1)]
            outputs = [*[width] * (blocks - 1), widths[index]]
            convs = [SkipConv if skips else nn.Conv2d, *[nn.Conv2d] * (blocks - 1)]
            layers = [block(i, o, conv) for i, o, conv in zip(inputs, outputs, convs, strict=True)]
            if index == 0:  # the last layer draws the frame
                layers[-1] = convs[-1](inputs[-1], outputs[-1], 3, padding=1)
            reversed_stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(reversed_stages)

    def forward(self, feature: Tensor, skips: tuple[Tensor, ...], rows: Tensor | None = None) -> Tensor:
        """Features (b, ...) and skips, finest first, to standardised frames (b, c, height, width) in float32.

        `rows` (b,) says which row of the skips (m, c, h, w) each feature sees; by default its own.
        """
        x = self.input(feature)
        if rows is not None and skips and len(rows) < len(skips[0]):  # else hardly any are seen by none
            seen, rows = rows.unique(return_inverse=True)
            skips = tuple(skip[seen] for skip in skips)
        for index, stage in enumerate(self.stages):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = stage((x, skips[-1 - index], rows) if self.uses_skips else x)
        return F.pixel_shuffle(x, self.patch).float()


class LightDecoder(nn.Module):
    """Features to frames for a processor's budget: two dense layers to a coarse map, two convolutions to pixels.

    Dense layers are where a processor is fastest, and the ones that place a thin pole anywhere in the frame.

    Args:
        channels: of a frame.
        shape: (width, h, w) of the map.
        side: of the square of pixels that each of its positions draws.
        feature: channels of the feature.
        hidden: width of the dense layer.
    """

    uses_skips = False

    def __init__(self, *, channels: int, shape: tuple[int, int, int], side: int, feature: int, hidden: int) -> None:
        super().__init__()
        width, h, w = shape
        self.layers = nn.Sequential(
            nn.Linear(feature, hidden),
            nn.LayerNorm(hidden),
            nn.SiLU(),
            nn.Linear(hidden, width * h * w),
            nn.Unflatten(1, shape),
            nn.SiLU(),
            block(width, 2 * width),
            nn.Conv2d(2 * width, channels * side**2, 3, padding=1),
            nn.PixelShuffle(side),
        )

    def forward(self, feature: Tensor, skips: tuple[Tensor, ...], rows: Tensor | None = None) -> Tensor:
        """Features (b, c) to standardised frames (b, channels, height, width) in float32; there are no skips."""
        return self.layers(feature).float()
