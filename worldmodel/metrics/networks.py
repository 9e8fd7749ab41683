"""Networks that see as people do, more or less: VGG16 and AlexNet in plain torch, with weights that the user gives.

The layout is torchvision's, so that its files of weights load; torchvision itself is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldmodel.errors import ConfigError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's frames in [0, 1]
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # widths of each stage


class Backbone(nn.Module):
    """Convolutions of a classifier, and what is seen after some of them.

    Args:
        layers: named and numbered as torchvision's ``features``.
        taps: the layers whose outputs are given.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Sequence[nn.Module], taps: Sequence[int]) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self._taps = frozenset(taps)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Frames (b, 3, h, w) in [0, 1] to maps (b, c, h', w'), each position a vector of length 1 (or 0)."""
        x = (frames.float() - self.mean) / self.std
        seen = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._taps:
                seen.append(F.normalize(x, dim=1, eps=1e-10))
        return seen


def vgg16() -> Backbone:
    """The five stages' last outputs (Simonyan & Zisserman 2015)."""
    layers: list[nn.Module] = []
    taps, before = [], 3
    for widths in VGG16:
        for width in widths:
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        taps.append(len(layers) - 1)
        layers.append(nn.MaxPool2d(2))
    return Backbone(layers[:-1], taps)


def alexnet() -> Backbone:
    """The five convolutions' outputs (Krizhevsky 2014)."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    for before, width in ((192, 384), (384, 256), (256, 256)):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
    return Backbone(layers, (1, 4, 7, 9, 11))


BACKBONES = {"vgg16": vgg16, "alexnet": alexnet}


def both(backbone: Backbone, predicted: Tensor, true: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """By stage, what is seen in frames (b, k, 3, h, w) and, beside each k, in (b, 3, h, w): maps of rank 5."""
    for a, b in zip(backbone(predicted.flatten(0, 1)), backbone(true), strict=True):
        yield a.unflatten(0, predicted.shape[:2]), b[:, None]


class CosineSimilarity(nn.Module):
    """How alike two frames look to VGG16, in [-1, 1]: the cosine of its features, over positions and stages."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, predicted: Tensor, true: Tensor) -> Tensor:
        """Frames (b, k, 3, h, w) and (b, 3, h, w) in [0, 1], to (b, k)."""
        stages = [(a * b).sum(2).mean((2, 3)) for a, b in both(self.backbone, predicted, true)]
        return torch.stack(stages).mean(0)


class LPIPS(nn.Module):
    """Learned perceptual distance, 0 for the same frame (Zhang et al. 2018), version 0.1.

    Args:
        backbone: whose features are compared.
        weights: of each stage's channels (c,), none below 0, as people's judgements taught them.
    """

    def __init__(self, backbone: Backbone, weights: Sequence[Tensor]) -> None:
        super().__init__()
        self.backbone = backbone
        self.weights = nn.ParameterList([nn.Parameter(w[:, None, None], requires_grad=False) for w in weights])

    def forward(self, predicted: Tensor, true: Tensor) -> Tensor:
        """Frames (b, k, 3, h, w) and (b, 3, h, w) in [0, 1], to (b, k)."""
        found = zip(both(self.backbone, predicted, true), self.weights, strict=True)
        stages = [(weight * (a - b).square()).sum(2).mean((2, 3)) for (a, b), weight in found]
        return torch.stack(stages).sum(0)


def load_backbone(name: str, path: Path) -> Backbone:
    """A backbone with torchvision's weights, from a file of them; raises ConfigError where they are not its own."""
    backbone = BACKBONES[name]()
    weights = {key: value for key, value in read_weights(path).items() if key.startswith("features.")}
    try:
        backbone.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(f"{path} does not hold torchvision's weights of {name} ({_first_line(error)})") from error
    return backbone.eval().requires_grad_(False)


def load_lpips(backbone: Backbone, path: Path) -> LPIPS:
    """LPIPS with the linear weights that its authors publish for this backbone; raises ConfigError for others."""
    weights = read_weights(path)
    keys = [f"lin{i}.model.1.weight" for i in range(5)]
    missing = [key for key in keys if key not in weights]
    if missing:
        raise ConfigError(f"{path} does not hold LPIPS's linear weights: it lacks {', '.join(missing)}")
    widths = [weights[key].numel() for key in keys]
    expected = [c.shape[1] for c in backbone(torch.zeros(1, 3, 64, 64))]
    if widths != expected:
        raise ConfigError(f"{path} holds LPIPS's weights of {widths} channels, the backbone has {expected}")
    return LPIPS(backbone, [weights[key].flatten().float() for key in keys]).eval()


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """Tensors of a safetensors file, or of torch's own, from which no code is run; raises ConfigError otherwise."""
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: give the file of weights")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of whatever a damaged file makes them raise
        raise ConfigError(f"{path} cannot be read as weights ({_first_line(error)}): download it again") from error
    if not (isinstance(found, Mapping) and all(isinstance(value, Tensor) for value in found.values())):
        raise ConfigError(f"{path} holds no weights by name: give a state_dict")
    return found


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
