"""Whole clips as vectors, for distances between sets of them. Clips are (b, t, c, h, w) in [0, 1]."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from worldmodel.errors import ConfigError, DataError
from worldmodel.hashes import check_sha256

Stream = Callable[[Tensor], Tensor]
"""Clips (b, t, c, h, w) in [0, 1] to features (b, d)."""

WIDTHS = (32, 64, 128)  # of the random network's layers; the last one is d


class RandomFeatures(nn.Module):
    """Three layers of random convolutions over time and space, rectified, and their means: no network was trained.

    A Fréchet distance on them is not FVD, whose features are I3D's. Seen on its own, appearance forgives a video that
    stands still; `motion` sees differences of consecutive frames, and does not.

    Args:
        motion: whether clips are differences of frames.
        seed: of the weights.

    Attributes:
        hash: SHA-256 of the weights.
    """

    def __init__(self, *, motion: bool, seed: int = 0) -> None:
        super().__init__()
        self.motion = motion
        generator = torch.Generator().manual_seed(seed)
        layers: list[nn.Module] = []
        digest = hashlib.sha256()
        for before, width in zip((3, *WIDTHS), WIDTHS, strict=False):
            layer = nn.Conv3d(before, width, 3, stride=(1, 2, 2), padding=1)
            assert layer.bias is not None
            nn.init.normal_(layer.weight, std=(2 / (27 * before)) ** 0.5, generator=generator)
            nn.init.normal_(layer.bias, std=0.1, generator=generator)
            digest.update(layer.weight.detach().numpy().tobytes() + layer.bias.detach().numpy().tobytes())
            layers += [layer, nn.ReLU()]
        self.layers = nn.Sequential(*layers).requires_grad_(False)
        self.hash = digest.hexdigest()

    def forward(self, clips: Tensor) -> Tensor:
        """To (b, 128); DataError for clips of fewer than two frames, in which nothing moves."""
        if clips.shape[1] < 2:
            raise DataError(f"clips have {clips.shape[1]} frames: give two or more")
        x = clips[:, 1:] - clips[:, :-1] if self.motion else clips - 0.5
        return self.layers(x.float().transpose(1, 2)).mean((2, 3, 4))


class I3D(nn.Module):
    """The features of FVD (Unterthiner et al. 2019), by a TorchScript file that the user gives.

    TorchScript is code: a file is loaded only if its SHA-256 is the one that the user says it has. The call is that of
    the file which StyleGAN-V published (Skorokhodov et al. 2022): clips (b, c, t, h, w) in [-1, 1], resized by it.

    Attributes:
        hash: SHA-256 of the file.

    Raises ConfigError for another hash, and for a file that is no such network.
    """

    LEAST = 9  # frames of a clip, which its strides would otherwise use up

    def __init__(self, path: Path, expected: str) -> None:
        super().__init__()
        self.hash = check_sha256(path, expected, "weights.i3d_sha256")
        try:
            self._network = torch.jit.load(path, map_location="cpu").eval()
            self(torch.zeros(1, self.LEAST, 3, 16, 16))
        except RuntimeError as error:
            raise ConfigError(f"{path} is no TorchScript of I3D as StyleGAN-V has it: give that file") from error

    @torch.inference_mode()
    def forward(self, clips: Tensor) -> Tensor:
        """To (b, 400); DataError for clips of fewer than `LEAST` frames."""
        self.check_length(clips.shape[1])
        x = 2 * clips.float().transpose(1, 2) - 1
        return self._network(x, rescale=False, resize=True, return_features=True)

    def check_length(self, frames: int) -> None:
        """DataError for clips of fewer than `LEAST` frames."""
        if frames < self.LEAST:
            raise DataError(f"clips have {frames} frames: FVD needs {self.LEAST} or more, set a longer horizon")
