"""The optimisation loop, on Lightning Fabric."""

from __future__ import annotations

import copy
import logging
import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from worldmodel.errors import CheckpointError, ConfigError, DivergedError, check_number, check_whole
from worldmodel.hardware import chosen_precision
from worldmodel.late_gradients import late_gradients
from worldmodel.losses import Weights, elbo
from worldmodel.model import Model
from worldmodel.replay import Batch, Replay
from worldmodel.rollout import Unrolling
from worldmodel.rssm import RSSM
from worldmodel.rssm_unroll import unroll_states
from worldmodel.svg import channels_last
from worldmodel.temporal_difference import temporal_difference
from worldmodel.units import change_unit, freeze_statistics, outgrown
from worldmodel.unroll import unroll

TARGET_RATE = 0.02  # of the critics in their targets, at an update
PATIENCE = 20  # updates in a row without a finite loss and gradient before training stops


@dataclass(frozen=True)
class TrainConfig:
    """How a model is fitted; `configs/train/` holds one for each named model.

    Attributes:
        batch: windows an update.
        window: frames a window.
        learning_rate: Adam's.
        clip: largest norm of the gradient.
        unrolling, weights: what is predicted, and what each term counts.
        ema_decay: in [0, 1): what an exponential moving average of the weights keeps at an update; the average is the
            model that acts and is saved. 0: the weights themselves are, and none are held twice.
    """

    batch: int
    window: int
    learning_rate: float
    clip: float
    unrolling: Unrolling
    weights: Weights
    ema_decay: float = 0.0

    def __post_init__(self) -> None:
        for key in ("batch", "window"):
            check_whole(f"train.{key}", getattr(self, key), 1)
        for key in ("learning_rate", "clip"):
            check_number(f"train.{key}", getattr(self, key), above=0)
        check_number("train.ema_decay", self.ema_decay)
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"train.ema_decay is {self.ema_decay}: set a share >= 0 and < 1")
        if self.window <= self.unrolling.context:
            raise ConfigError(
                f"train.window ({self.window} frames) leaves nothing to predict after "
                f"train.unrolling.context ({self.unrolling.context}): set a longer window"
            )

    @classmethod
    def from_mapping(cls, data: dict[str, Any]) -> TrainConfig:
        """From nested plain values, as YAML gives them; raises ConfigError for a key too many or too few."""
        try:
            return cls(**{**data, "unrolling": Unrolling(**data["unrolling"]), "weights": Weights(**data["weights"])})
        except (KeyError, TypeError) as error:
            raise ConfigError(f"train cannot be used as given ({error}): set the keys of configs/train/") from error


def make_fabric(accelerator: str, devices: int | str, precision: str) -> Fabric:
    """A launched Fabric; `precision` may be ``auto``: bfloat16 where the device computes in it, else float32.

    Raises ConfigError for settings that Fabric refuses, more than one device, and precisions that need a scaled loss.
    """
    precision = chosen_precision(precision, accelerator)
    if devices not in (1, "1"):
        raise ConfigError(f"devices is {devices!r}: one device fits and acts, set devices=1")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, precision=cast(Any, precision))
    except (ValueError, MisconfigurationException) as error:
        raise ConfigError(f"accelerator {accelerator}, devices {devices}, precision {precision}: {error}") from error
    fabric.launch()
    return fabric


class Objective(nn.Module):
    """The model under its loss: what Fabric wraps, so that its precision covers both."""

    def __init__(self, model: Model, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(self, tensors: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and its terms (see `elbo`) of a `Batch`'s tensors by name: Fabric takes no frozen dataclass."""
        batch = Batch(**tensors)
        with late_gradients(batch.frames.shape[1]):
            if isinstance(self.model, RSSM):
                outputs = unroll_states(self.model, batch.frames, batch.actions, self.config.unrolling, generator)
            else:
                outputs = unroll(self.model, batch.frames, batch.actions, self.config.unrolling, generator)
        loss, terms = elbo(outputs, batch, self.model.statistics, self.config.weights)
        if outputs.critic_outputs is None or isinstance(self.model, RSSM):
            return loss, terms
        critic, policy, more = temporal_difference(
            outputs.critic_outputs, batch, self.model.value_unit, self.model.discount
        )
        loss = loss + self.config.weights.value * critic + policy
        return loss, {**terms, **more, "policy": policy, "loss": loss}


class Trainer:
    """Fits a model to a replay, some updates at a time.

    With an `ema_decay` the optimiser moves a copy, `online`, and the model itself becomes the average of what that
    copy was: single updates at a constant learning rate scatter, and plans are as uneven as the weights they are made
    with.
    Randomness is the seed given to `fit`, from which each update draws streams of its own, by its number among all that
    there were: nothing but weights, optimiser and the count of updates carries over from one update to the next, so
    these are all that a run needs to go on after any of them.
    Raises ConfigError for critics that would not learn, and for features of two frames predicted from one.
    """

    def __init__(self, model: Model, config: TrainConfig, fabric: Fabric) -> None:
        if model.actor_critic and not (config.unrolling.open_loop and config.weights.value):
            raise ConfigError(
                f"the model has critics, which train.unrolling.open_loop={config.unrolling.open_loop} and "
                f"train.weights.value={config.weights.value} leave untaught: set both > 0, or model.critics=0"
            )
        if model.config.features == "pair" and config.unrolling.context == 1:
            raise ConfigError(
                "a window's first frame lacks the one before it, which model.features=pair needs to know how things "
                "move: set train.unrolling.context >= 2 (it is 1), or model.features=frame"
            )
        self.model = cast(Model, fabric.to_device(channels_last(model)))
        self.online = copy.deepcopy(model) if config.ema_decay else model
        self.config = config
        self.fabric = fabric
        self.updates = 0
        self._skipped = 0  # updates in a row, up to now
        objective = Objective(self.online, config)
        optimizer = torch.optim.Adam(self.online.parameters(), lr=config.learning_rate, fused=True)
        self.objective, self.optimizer = fabric.setup(objective, optimizer)

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs beside the model's weights."""
        state = {"updates": self.updates, "skipped": self._skipped, "optimizer": self.optimizer.state_dict()}
        return {**state, "online": self.online.state_dict()} if self.config.ema_decay else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`'s output, with the model's weights already in place.

        Raises CheckpointError for another version's.
        """
        wanted = {"updates", "skipped", "optimizer", *(("online",) if self.config.ema_decay else ())}
        if missing := sorted(wanted - state.keys()):
            raise CheckpointError(
                f"the state of training lacks {', '.join(missing)}: resume with the version that wrote it"
            )
        self.updates, self._skipped = state["updates"], state["skipped"]
        if self.config.ema_decay:
            self.online.load_state_dict(state["online"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:  # a state brings its own, which a resumed run may have changed
            group["lr"] = self.config.learning_rate

    def rescale_rewards(self, replay: Replay) -> bool:
        """Counts rewards in another unit if those of a growing replay have outgrown it; whether it did.

        See `worldmodel.units`. Adam's moments stay: in the new unit gradients of the last layers are as much smaller as
        these are. Raises DataError for an episode that cannot be read.
        """
        if self.updates == 0:
            return False  # the first fit takes the unit from all that there is
        mean, std = replay.reward_statistics()
        if not outgrown(self.model, std):
            return False
        for model in (self.model, self.online) if self.config.ema_decay else (self.model,):
            change_unit(model, mean, std)
        return True

    def fit(self, replay: Replay, updates: int, *, seed: int) -> Iterator[dict[str, float]]:
        """Runs `updates` updates, yielding each one's terms: the loss's, `gradient` (its norm) and `skipped` (0 or 1).

        The first fit freezes the model's frame and reward statistics. An update whose loss or gradient is not finite
        changes nothing and counts as skipped; `PATIENCE` of them in a row raise DivergedError.
        Raises DataError when no episode is long enough.
        """
        if self.updates == 0:
            freeze_statistics(self.model, replay, np.random.default_rng(seed))
            self.online.statistics.load_state_dict(self.model.statistics.state_dict())
        generator = torch.Generator(self.fabric.device)
        minimum = self.config.unrolling.context + 1
        self.objective.train()
        for _ in range(updates):
            rng = np.random.default_rng([seed, self.updates])
            generator.manual_seed(int(rng.integers(2**62)))
            batch = replay.sample(self.config.batch, self.config.window, rng, minimum=minimum)
            terms = self._update(batch_to(batch, self.fabric.device), generator)
            self._skipped = self._skipped + 1 if terms["skipped"] else 0
            if self._skipped == PATIENCE:
                raise DivergedError(
                    f"{PATIENCE} updates in a row had no finite loss (the last: {terms['loss']}): "
                    "lower train.learning_rate, or look for extreme rewards in the data"
                )
            self.updates += 1
            yield terms
        self.objective.eval()

    def _update(self, batch: Batch, generator: torch.Generator) -> dict[str, float]:
        loss, terms = self.objective(vars(batch), generator)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.objective, self.optimizer, max_norm=self.config.clip, error_if_nonfinite=False
        )
        assert norm is not None  # Fabric clips by norm here, and gives it
        finite = bool(torch.isfinite(loss) & torch.isfinite(norm))
        if finite:
            self.optimizer.step()
            if self.online.actor_critic is not None:
                self.online.actor_critic.update_targets(TARGET_RATE)
            if self.config.ema_decay:
                self._average()
        values = {name: term.item() for name, term in terms.items()}
        return {**values, "gradient": norm.item(), "skipped": float(not finite)}

    @torch.no_grad()
    def _average(self) -> None:
        """Moves the model towards the online weights; a plain mean at first, while there is less to average."""
        decay = min(self.config.ema_decay, self.updates / (self.updates + 1))
        average = get_ema_multi_avg_fn(decay)
        average(list(self.model.parameters()), list(self.online.parameters()), self.updates)


def batch_to(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    moved = {field.name: getattr(batch, field.name).to(device, non_blocking=True) for field in fields(batch)}
    return replace(batch, **moved)


def mean_terms(updates: list[dict[str, float]]) -> dict[str, float | None]:
    """Each term's mean over the updates where it was finite, None if it never was; `skipped` is their sum."""
    collected: dict[str, list[float]] = defaultdict(list)
    for terms in updates:
        for name, value in terms.items():
            collected[name] += [value] if math.isfinite(value) else []
    means = {name: sum(values) / len(values) if values else None for name, values in collected.items()}
    return {**means, "skipped": sum(terms["skipped"] for terms in updates)}
