"""What a training step is said to take is what it takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from dreaming import BOX, CONV, DENSE, PAIR
from torch import Tensor

from worldmodel import late_gradients
from worldmodel.build import build
from worldmodel.config import ModelConfig
from worldmodel.late_gradients import wide_kernels
from worldmodel.losses import Weights
from worldmodel.memory import memory_of
from worldmodel.rollout import Unrolling
from worldmodel.spec import EnvSpec
from worldmodel.trainer import Objective, TrainConfig

TRAIN = TrainConfig(
    batch=3,
    window=6,
    learning_rate=1e-3,
    clip=1.0,
    unrolling=Unrolling(
        context=2, open_loop=2, stride=2, draw_observed=0.5, draw_forced=0.5, draw_open_loop=0.5, shift=2
    ),
    weights=Weights("l2", beta=1e-3, observed=1, forced=1, open_loop=1, feature=1, reward=1, continuation=1, value=1),
)


def held(config: ModelConfig, spec: EnvSpec) -> int:
    """Bytes that a real forward pass keeps for the backward one, weights aside."""
    torch.manual_seed(0)
    objective = Objective(build(config, spec), TRAIN)
    weights = {parameter.untyped_storage().data_ptr() for parameter in objective.parameters()}
    saved: dict[int, tuple[int, Tensor]] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    steps = {name: torch.ones(3, 5) for name in ("rewards", "continues", "mask")}
    batch = {
        "frames": torch.zeros(3, 6, 3, *spec.frame_size, dtype=torch.uint8),
        "actions": torch.zeros(3, 5, 2),
        **steps,
    }
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        objective(batch, torch.Generator().manual_seed(0))
    return sum(size for key, (size, _) in saved.items() if key not in weights)


@pytest.mark.parametrize(
    "config",
    [DENSE, CONV, replace(PAIR, critics=2), replace(DENSE, recurrence="rssm", layers=1)],
    ids=["dense", "conv", "control", "rssm"],
)
def test_activations_are_those_of_a_real_step(config: ModelConfig) -> None:
    found = memory_of(config, TRAIN, BOX, bfloat16=False)
    assert found.activations == pytest.approx(held(config, BOX), rel=0.02)
    assert found.parameters == sum(parameter.numel() for parameter in build(config, BOX).parameters())
    assert (found.weights, found.gradients, found.optimiser) == tuple(found.parameters * n for n in (4, 4, 8))
    assert found.average == 0 and found.total == 16 * found.parameters + found.activations
    assert memory_of(config, replace(TRAIN, ema_decay=0.9), BOX, bfloat16=False).average == 4 * found.parameters


def test_bfloat16_takes_less_and_the_largest_takes_nothing_here() -> None:
    small = memory_of(CONV, TRAIN, BOX, bfloat16=False)
    assert memory_of(CONV, TRAIN, BOX, bfloat16=True).activations < small.activations
    assert memory_of(CONV, replace(TRAIN, batch=6), BOX, bfloat16=False).activations > 1.8 * small.activations
    wide = ModelConfig(
        **{**vars(CONV), "K": 40.0, "M": 250.0, "patch": 1},  # 0.6 billion
    )
    found = memory_of(wide, replace(TRAIN, batch=1), BOX, bfloat16=True)
    assert found.parameters > 300e6 and found.total > 16 * found.parameters


def test_kernels_held_as_matrices_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autograd saves nothing of such layers but their inputs; their weights are held in the products' precision."""
    for bfloat16, bytes_each in ((True, 2), (False, 4)):
        monkeypatch.setattr(late_gradients, "WIDE", 1)
        numbers = sum(kernel.numel() for kernel in wide_kernels(build(CONV, BOX)))
        held = memory_of(CONV, TRAIN, BOX, bfloat16=bfloat16).activations
        monkeypatch.setattr("worldmodel.memory.wide_kernels", lambda _: [])
        assert numbers > 0 and held - memory_of(CONV, TRAIN, BOX, bfloat16=bfloat16).activations == bytes_each * numbers
        monkeypatch.undo()
