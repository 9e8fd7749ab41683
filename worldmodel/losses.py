"""The evidence lower bound and the terms beside it, as one pure function."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from worldmodel.errors import ConfigError, check_number
from worldmodel.gaussian import kl
from worldmodel.heads import Statistics
from worldmodel.replay import Batch
from worldmodel.rollout import Drawn, Outputs


@dataclass(frozen=True)
class Weights:
    """What each term of the loss weighs.

    Attributes:
        reconstruction: ``l1`` (SVG′) or ``l2`` (SVG), of standardised frames, mean over pixels and channels.
        beta: of the KL in nats per frame, summed over z; it belongs to that normalisation, and a z that is a map sums
            over its positions.
        observed: of drawing a true frame from its own embedding; it keeps embeddings from collapsing.
        forced: of drawing the one-step prediction.
        open_loop: of drawing what was imagined open-loop.
        feature: of the squared distance between predicted features and the true frames' (no gradient to the latter),
            and of the same between the embeddings they imply and the true ones, where the two differ.
        reward: of the squared error of standardised rewards.
        continuation: of the cross-entropy in nats.
        value: of the critics' squared error, see `temporal_difference`; read where there are critics.
    """

    reconstruction: Literal["l1", "l2"]
    beta: float
    observed: float
    forced: float
    open_loop: float
    feature: float
    reward: float
    continuation: float
    value: float = 0.0

    def __post_init__(self) -> None:
        if self.reconstruction not in ("l1", "l2"):
            raise ConfigError(f"reconstruction is {self.reconstruction!r}: set l1 or l2")
        for field in fields(self):
            if field.name != "reconstruction":
                check_number(f"train.weights.{field.name}", getattr(self, field.name), least=0)


def elbo(outputs: Outputs, batch: Batch, statistics: Statistics, weights: Weights) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss to minimise, and its terms before weighting; padded transitions count nowhere.

    Source: SVG's bound (Denton & Fergus 2018, eq. 2) with its reconstruction weighted 1 and KL weighted beta.
    """
    mask = batch.mask
    nats = kl(outputs.posterior, outputs.prior).flatten(2).sum(2)
    predicted = outputs.forced.times - 1
    terms = {"kl": mean(nats[:, predicted], mask[:, predicted])}
    loss = weights.beta * terms["kl"]
    rewards = statistics.standardise_rewards(batch.rewards)
    kinds = {"observed": outputs.observed, "forced": outputs.forced, "open_loop": outputs.open_loop}
    for kind, rollout in kinds.items():
        if rollout is None:
            continue
        weight = getattr(weights, kind)
        valid = mask[:, rollout.times - 1]
        if rollout.drawn is not None:
            terms[f"{kind}/frame"] = _reconstruction(rollout.drawn, mask, weights.reconstruction)
            loss = loss + weight * terms[f"{kind}/frame"]
        squared = (rollout.rewards - rewards[:, rollout.times - 1]).square()
        terms[f"{kind}/reward"] = mean(squared, valid)
        terms[f"{kind}/continuation"] = mean(
            F.binary_cross_entropy_with_logits(
                rollout.continues, batch.continues[:, rollout.times - 1], reduction="none"
            ),
            valid,
        )
        loss = loss + weights.reward * terms[f"{kind}/reward"]
        loss = loss + weights.continuation * terms[f"{kind}/continuation"]
        if kind != "observed":
            terms[f"{kind}/feature"] = _distance(rollout.features, outputs.features[:, rollout.times], valid)
            loss = loss + weights.feature * terms[f"{kind}/feature"]
        if rollout.embeddings is not None:
            terms[f"{kind}/embedding"] = _distance(rollout.embeddings, outputs.embeddings[:, rollout.times], valid)
            loss = loss + weights.feature * terms[f"{kind}/embedding"]
    return loss, {"loss": loss, **terms}


def _reconstruction(drawn: Drawn, mask: Tensor, norm: str) -> Tensor:
    difference = drawn.frames - drawn.targets
    error = (difference.abs() if norm == "l1" else difference.square()).flatten(1).mean(1)
    return mean(error, mask[drawn.rows, drawn.times - 1])


def _distance(predicted: Tensor, true: Tensor, mask: Tensor) -> Tensor:
    """Mean squared, with no gradient to what is predicted."""
    return mean((predicted - true.detach()).square().flatten(2).mean(2), mask)


def mean(values: Tensor, mask: Tensor) -> Tensor:
    """Of what the mask (0 or 1) counts; 0 of nothing."""
    return (values * mask).sum() / mask.sum().clamp_min(1)
