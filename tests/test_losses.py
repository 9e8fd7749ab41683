"""The loss of outputs made by hand, each of whose terms is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from worldmodel.errors import ConfigError
from worldmodel.gaussian import Gaussian
from worldmodel.heads import Statistics
from worldmodel.losses import Weights, elbo
from worldmodel.replay import Batch
from worldmodel.rollout import Drawn, Outputs, Rollout

B, T = 2, 5
TIMES = {"observed": [1, 2, 3, 4], "forced": [1, 2, 3, 4], "open_loop": [2, 3, 3, 4]}  # from frames 1 and 2
ONES = Weights(
    reconstruction="l2",
    beta=1.0,
    observed=1.0,
    forced=1.0,
    open_loop=1.0,
    feature=1.0,
    reward=1.0,
    continuation=1.0,
)
NONE = Weights("l2", 0, 0, 0, 0, 0, 0, 0)


def statistics() -> Statistics:
    found = Statistics((3, 4, 4))
    found.reward_mean.fill_(5.0)
    found.reward_std.fill_(2.0)
    return found


def batch(mask: list[list[int]] | None = None) -> Batch:
    """Rewards 3, 5, 7, 9, standardised -1, 0, 1, 2; the second window's last transition terminates."""
    continues = torch.ones(B, T - 1)
    continues[1, 3] = 0
    return Batch(
        frames=torch.zeros(B, T, 3, 4, 4, dtype=torch.uint8),
        actions=torch.zeros(B, T - 1, 1),
        rewards=torch.tensor([3.0, 5.0, 7.0, 9.0]).expand(B, -1),
        continues=continues,
        mask=torch.ones(B, T - 1) if mask is None else torch.tensor(mask, dtype=torch.float32),
    )


def features() -> Tensor:
    return torch.arange(B * T * 3.0).view(B, T, 3)


def embeddings() -> Tensor:
    return -features()[..., :2]


def rollout(
    kind: str,
    *,
    feature: float = 0,
    embedding: float | None = None,
    reward: float = 0,
    logit: float = 50,
    picture: float = 0,
) -> Rollout:
    """Right but for what is given: offsets of features, embeddings, standardised rewards and frames; the logits' size.

    Without an offset for them there are no embeddings beside the features.
    """
    times = torch.tensor(TIMES[kind])
    n = len(times)
    rows = torch.arange(B).repeat_interleave(n)
    targets = torch.linspace(-2, 2, B * n * 48).view(B * n, 3, 4, 4)
    return Rollout(
        times=times,
        features=features()[:, times] + feature,
        embeddings=None if embedding is None else embeddings()[:, times] + embedding,
        rewards=(times - 2.0).expand(B, -1) + reward,
        continues=logit * (2 * batch().continues[:, times - 1] - 1),
        drawn=Drawn(frames=targets + picture, targets=targets, rows=rows, times=times.repeat(B)),
    )


def outputs(mean: float = 0.0, latent: tuple[int, ...] = (2,), **errors: dict[str, Any]) -> Outputs:
    """Posteriors N(mean, 1) over priors N(0, 1): mean² / 2 nats an element. `errors`: of each kind of rollout."""
    zeros = torch.zeros(B, T - 1, *latent)
    made = {kind: rollout(kind, **errors.get(kind, {})) for kind in TIMES}
    return Outputs(features(), embeddings(), Gaussian(zeros + mean, zeros), Gaussian(zeros, zeros), **made)


def terms(found: Outputs, data: Batch | None = None, weights: Weights = ONES) -> dict[str, float]:
    loss, named = elbo(found, batch() if data is None else data, statistics(), weights)
    assert torch.equal(loss, named["loss"])
    return {name: term.item() for name, term in named.items()}


WRONG = {
    "observed": {"reward": 1.0, "logit": 1.0, "picture": 2.0},
    "forced": {"feature": 3.0, "reward": 4.0, "logit": 2.0, "picture": 5.0},
    "open_loop": {"feature": 6.0, "reward": 7.0, "logit": 3.0, "picture": 8.0},
}


def surprise(logit: float) -> float:
    """Nats of an answer whose logit is right."""
    return math.log1p(math.exp(-logit))


# Offsets of WRONG squared, and of KL: 2² / 2 nats in each of 2 dimensions.
KNOWN = {
    "kl": 4.0,
    "observed/frame": 4.0,
    "observed/reward": 1.0,
    "observed/continuation": surprise(1),
    "forced/frame": 25.0,
    "forced/feature": 9.0,
    "forced/reward": 16.0,
    "forced/continuation": surprise(2),
    "open_loop/frame": 64.0,
    "open_loop/feature": 36.0,
    "open_loop/reward": 49.0,
    "open_loop/continuation": surprise(3),
}


def test_perfect_predictions_leave_the_kl_alone() -> None:
    found = terms(outputs(mean=1.0), weights=replace(ONES, beta=0.5))
    assert found == pytest.approx({**dict.fromkeys(KNOWN, 0.0), "kl": 1.0, "loss": 0.5}, abs=1e-9)


def test_each_error_is_its_own_term() -> None:
    assert terms(outputs(2.0, **WRONG)) == pytest.approx({**KNOWN, "loss": sum(KNOWN.values())}, rel=1e-5)


def test_without_open_loop_its_terms_are_missing() -> None:
    found = terms(replace(outputs(2.0, **WRONG), open_loop=None))
    rest = {name: value for name, value in KNOWN.items() if not name.startswith("open_loop")}
    assert found == pytest.approx({**rest, "loss": sum(rest.values())}, rel=1e-5)


def test_what_was_not_drawn_has_no_term() -> None:
    found = outputs(2.0, **WRONG)
    undrawn = terms(replace(found, forced=replace(found.forced, drawn=None)))
    rest = {name: value for name, value in KNOWN.items() if name != "forced/frame"}
    assert undrawn == pytest.approx({**rest, "loss": sum(rest.values())}, rel=1e-5)


@pytest.mark.parametrize(
    ("weight", "weighed"),
    [
        ("beta", ["kl"]),
        ("observed", ["observed/frame"]),
        ("forced", ["forced/frame"]),
        ("open_loop", ["open_loop/frame"]),
        ("feature", ["forced/feature", "open_loop/feature"]),
        ("reward", ["observed/reward", "forced/reward", "open_loop/reward"]),
        ("continuation", ["observed/continuation", "forced/continuation", "open_loop/continuation"]),
    ],
)
def test_each_weight_multiplies_its_own_terms(weight: str, weighed: list[str]) -> None:
    found = terms(outputs(2.0, **WRONG), weights=replace(NONE, **{weight: 3.0}))
    assert found["loss"] == pytest.approx(3 * sum(KNOWN[name] for name in weighed), rel=1e-5)
    assert found["kl"] == pytest.approx(4.0)  # terms are told before weighting


@pytest.mark.parametrize(("latent", "nats"), [((1,), 0.5), ((6,), 3.0), ((2, 3, 3), 9.0)])
def test_kl_is_nats_a_frame_summed_over_z(latent: tuple[int, ...], nats: float) -> None:
    assert terms(outputs(1.0, latent))["kl"] == pytest.approx(nats)


def test_kl_is_of_the_posterior_from_the_prior() -> None:
    zeros = torch.zeros(B, T - 1, 1)
    narrow = replace(outputs(), posterior=Gaussian(zeros, zeros + math.log(0.5)), prior=Gaussian(zeros, zeros))
    assert terms(narrow)["kl"] == pytest.approx(math.log(2) + 0.5 * (0.25 - 1))


@pytest.mark.parametrize(("norm", "error"), [("l1", 3.0), ("l2", 9.0)])
def test_the_reconstruction_is_the_mean_over_pixels_of_its_norm(norm: str, error: float) -> None:
    found = terms(outputs(observed={"picture": -3.0}), weights=replace(ONES, reconstruction=norm))
    assert found["observed/frame"] == pytest.approx(error, rel=1e-5)
    assert found["loss"] == pytest.approx(error, rel=1e-5)


def test_padded_transitions_count_nowhere() -> None:
    """What is wrong beyond the ends changes nothing: the first window lacks frames 3 and 4, the second frame 4."""
    mask = [[1, 1, 0, 0], [1, 1, 1, 0]]
    garbage = outputs(2.0, **WRONG)
    beyond = torch.tensor(mask) == 0
    garbage.posterior.mean[beyond] = 1e6
    for wrong in (garbage.observed, garbage.forced, garbage.open_loop):
        lacks = beyond[:, wrong.times - 1]
        for part in (wrong.rewards, wrong.continues, wrong.features):
            part[lacks] = 1e6
        wrong.drawn.frames[beyond[wrong.drawn.rows, wrong.drawn.times - 1]] = 1e6
    assert terms(garbage, batch(mask)) == pytest.approx({**KNOWN, "loss": sum(KNOWN.values())}, rel=1e-5)


def test_means_are_over_the_real_transitions() -> None:
    one_wrong = outputs()
    one_wrong.forced.rewards[0, 0] += 2
    assert terms(one_wrong)["forced/reward"] == pytest.approx(4 / 8)
    assert terms(one_wrong, batch([[1, 1, 0, 0], [1, 1, 1, 0]]))["forced/reward"] == pytest.approx(4 / 5)


def test_nothing_real_is_no_division_by_zero() -> None:
    found = terms(outputs(2.0, **WRONG), batch([[0] * 4] * 2))
    assert found == dict.fromkeys([*KNOWN, "loss"], 0.0)


def test_features_learn_to_be_predicted_and_are_not_pulled_to_predictions() -> None:
    found = outputs(forced={"feature": 1.0})
    found.features.requires_grad_()
    found.forced.features.requires_grad_()
    loss, _ = elbo(found, batch(), statistics(), replace(NONE, feature=1.0))
    loss.backward()
    assert found.features.grad is None or not found.features.grad.any()
    assert (found.forced.features.grad > 0).all()


def test_embeddings_beside_the_features_have_terms_of_their_own() -> None:
    found = outputs(
        observed={"embedding": 2.0}, forced={"embedding": 3.0}, open_loop={"feature": 1.0, "embedding": 4.0}
    )
    found.embeddings.requires_grad_()
    for kind, offset in (("observed", 2.0), ("forced", 3.0), ("open_loop", 4.0)):
        getattr(found, kind).embeddings.requires_grad_()
        assert terms(found)[f"{kind}/embedding"] == pytest.approx(offset**2)
    loss, _ = elbo(found, batch(), statistics(), replace(NONE, feature=2.0))
    assert loss.item() == pytest.approx(2 * (2.0**2 + 3.0**2 + 4.0**2 + 1.0**2), rel=1e-5)
    loss.backward()
    assert found.embeddings.grad is None or not found.embeddings.grad.any()
    assert (found.observed.embeddings.grad > 0).all()


def test_an_unknown_reconstruction_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"train\.weights\.beta is nan: set a finite number >= 0"):
        replace(NONE, beta=float("nan"))
    with pytest.raises(ConfigError, match=r"reconstruction is 'huber': set l1 or l2"):
        replace(ONES, reconstruction="huber")
