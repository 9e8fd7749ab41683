"""What a training step takes of memory, before it takes any."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from worldmodel.build import build
from worldmodel.config import ModelConfig
from worldmodel.late_gradients import wide_kernels
from worldmodel.spec import EnvSpec
from worldmodel.trainer import Objective, TrainConfig

GB = 1e9
ADAM = 2  # numbers that it keeps of each weight


@dataclass(frozen=True)
class Memory:
    """Bytes of a training step.

    Attributes:
        parameters: how many numbers are learned.
        weights, gradients, optimiser: of these, all float32.
        average: of a copy, where the weights are averaged.
        activations: that the backward pass needs, weights in the precision of products among them.
    """

    parameters: int
    weights: int
    gradients: int
    optimiser: int
    average: int
    activations: int

    @property
    def total(self) -> int:
        """All of it; what single operations take for a moment comes on top."""
        return self.weights + self.gradients + self.optimiser + self.average + self.activations

    def __str__(self) -> str:
        parts = [f"weights {self.weights / GB:.2f}", f"gradients {self.gradients / GB:.2f}"]
        parts += [f"optimiser {self.optimiser / GB:.2f}"]
        parts += [f"average {self.average / GB:.2f}"] if self.average else []
        parts += [f"activations {self.activations / GB:.2f}"]
        return f"a training step takes about {self.total / GB:.2f} GB of memory: {', '.join(parts)}"


def memory_of(
    model: ModelConfig, train: TrainConfig, spec: EnvSpec, *, bfloat16: bool, device: torch.device | str = "cpu"
) -> Memory:
    """Of a training step, by going through it with tensors that have shapes and no values.

    Args:
        bfloat16: whether autocast computes in it, as ``precision=bf16-mixed`` does.
        device: that would train; a GPU's autocast keeps more in float32. What is neither CPU nor CUDA counts as a CPU.
    """
    device = torch.device(device)
    device = device if device.type == "cuda" else torch.device("cpu")
    b, t = train.batch, train.window
    saved: dict[int, tuple[int, Tensor]] = {}  # by storage; tensors are held, so that no other takes their place

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage.nbytes(), tensor
        return tensor

    still = replace(train, unrolling=replace(train.unrolling, shift=0))  # shifts go by values, and keep nothing
    with torch.device("meta"):
        objective = Objective(build(model, spec), still)
    with FakeTensorMode(allow_non_fake_inputs=True):  # parts that are given their place anew below are not yet
        objective.to_empty(device=device)
        weights = {parameter.untyped_storage()._cdata for parameter in objective.parameters()}
        count = sum(parameter.numel() for parameter in objective.parameters())
        batch = {
            "frames": torch.zeros(b, t, 3, *spec.frame_size, dtype=torch.uint8, device=device),
            "actions": torch.zeros(b, t - 1, spec.action_size, device=device),
            **{name: torch.zeros(b, t - 1, device=device) for name in ("rewards", "continues", "mask")},
        }
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            torch.autocast(device.type, torch.bfloat16, enabled=bfloat16),
        ):
            objective(batch, torch.Generator(device).manual_seed(0))
    kept = sum(size for key, (size, _) in saved.items() if key not in weights)
    if device.type == "cpu":  # what `late_gradients` holds is not saved by autograd
        kept += (2 if bfloat16 else 4) * sum(p.numel() for p in wide_kernels(objective))
    return Memory(
        parameters=count,
        weights=4 * count,
        gradients=4 * count,
        optimiser=4 * ADAM * count,
        average=4 * count if train.ema_decay else 0,
        activations=kept,
    )
