"""Planning in the model: filter what was observed, score candidate actions in imagination, act."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from agents.actor import explored
from agents.planners.planner import Plan, Planner
from agents.search import Search
from worldmodel.errors import ConfigError, WorldModelError
from worldmodel.pixels import pixels
from worldmodel.state import State
from worldmodel.svg import WorldModel

LATENTS = ("mean", "sample")
PROPOSALS = 32  # candidates of the model's policy, if it has one, beside the planner's own
VALUED, UNVALUED = 5, 12  # decisions to look ahead where critics tell what comes after (as TD-MPC), and where none do

_log = logging.getLogger(__name__)

Latents = Callable[[int], Tensor | None]
"""Noise for the z of so many rows (b, *noise_shape), or None for its mean."""


def means(rows: int) -> None:
    """The mean of every z."""
    return None


def samples(model: WorldModel, generator: torch.Generator) -> Latents:
    """A z of each row's own, drawn where the generator lives."""

    def draw(rows: int) -> Tensor:
        noise = torch.randn(rows, *model.noise_shape, generator=generator, device=generator.device)
        return noise.to(model.device)

    return draw


Objective = Callable[[WorldModel, State, Tensor, Latents], Tensor]
"""What a plan is to achieve: model, state (one row) and candidates (n, h, a) to scores (n,), higher wins."""


def imagined_return(model: WorldModel, state: State, candidates: Tensor, latents: Latents) -> Tensor:
    """Returns (n,) of candidates (n, h, a) imagined from `state`, one row, each with its own `latents`.

    A reward counts by the probability that the task has not terminated before it: the transition that terminates
    still earns its reward, what comes after it earns nothing.
    """
    return _imagine(model, state, candidates, latents)[0].sum(1)


def imagined_value(model: WorldModel, state: State, candidates: Tensor, latents: Latents) -> Tensor:
    """The same discounted, and with what the model's policy will earn after the horizon, as its critics say.

    Plans may then be short, and end before the model errs (TD-MPC, Hansen et al. 2022). It is `imagined_return` where
    a model has no critics.
    """
    rewards, alive, after = _imagine(model, state, candidates, latents)
    h = rewards.shape[1]
    discounts = model.discount ** torch.arange(h + 1, device=rewards.device)
    # A sum and no product: autocast would round a product to bfloat16, and tie candidates that differ.
    return (rewards * discounts[:h]).sum(1) + discounts[h] * alive * model.value(after)


def _imagine(model: WorldModel, state: State, candidates: Tensor, latents: Latents) -> tuple[Tensor, Tensor, State]:
    """Rewards (n, h), each by the probability that the task has not terminated before it; that of the end; the end."""
    n, h, _ = candidates.shape
    state = state.repeat(n)
    alive = torch.ones(n, device=candidates.device)
    rewards = []
    for step in range(h):
        prediction = model.imagine(state, candidates[:, step], noise=latents(n))
        rewards.append(alive * prediction.reward)
        alive = alive * prediction.continues
        state = prediction.state
    return torch.stack(rewards, 1), alive, state


def usual_horizon(model: WorldModel) -> int:
    """How far to look ahead in a model, where nobody says."""
    return UNVALUED if model.actor_critic is None else VALUED


def policy_plans(
    model: WorldModel, state: State, count: int, horizon: int, generator: torch.Generator
) -> Tensor | None:
    """What the model's policy would do (count, horizon, a), imagined from `state`, one row; None without a policy.

    Also None for a count of 0. The first as it is, the others with its noise; all with the mean of each z.
    """
    policy = model.actor_critic
    if policy is None or count == 0:
        return None
    state = state.repeat(count)
    plans = []
    for _ in range(horizon):
        drawn = policy.act(state.feature, noise=policy.noise(count, generator).to(model.device))
        action = torch.cat([policy.act(state.feature[:1]), drawn[1:]])
        plans.append(action)
        state = model.imagine(state, action).state
    return torch.stack(plans, 1)


class PlanningAgent:
    """Acts by planning (PlaNet, Hafner et al. 2019, section 3): an `Actor`.

    Each frame is filtered once, into one row of state that every candidate then starts from. A search begins where the
    previous decision's ended, one step on; PlaNet itself starts afresh each time.

    Args:
        objective: what candidates are scored by; rewards, unless there is a goal.
        proposals: candidates that the model's policy makes, if it has one; 0 where the objective is not its own.
        latents: ``mean`` or ``sample`` (as PlaNet): which z is taken from the posterior when filtering, and from the
            prior in each candidate's future.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        *,
        objective: Objective = imagined_value,
        proposals: int = PROPOSALS,
        latents: str = "mean",
    ) -> None:
        if latents not in LATENTS:
            raise ConfigError(f"latents is {latents!r}: set one of {', '.join(LATENTS)}")
        self._model = model
        self._objective = objective
        self._planner = planner
        self._proposals = proposals
        self._latents = latents
        self._search = Search(planner, model.spec, device=model.device)
        self._state: State | None = None
        self._warned = False

    @property
    def plan(self) -> Plan | None:
        """What the last `act` found, before exploration noise; None before the first of an episode."""
        return self._search.plan

    @torch.inference_mode()
    def reset(self, frame: np.ndarray) -> None:
        """Begins an episode with its first frame, (H, W, 3) uint8; raises WorldModelError when it is anything else."""
        first = self._pixels(frame)
        actions = torch.zeros(1, 0, self._model.spec.action_size, device=first.device)
        self._state = self._model.initial(first[:, None], actions, noise=None)
        self._search.reset()
        self._warned = False

    @torch.inference_mode()
    def act(self, generator: torch.Generator, exploration: float = 0.0) -> np.ndarray:
        """Plans and gives the first action, (a,) float32, with exploration noise (see `explored`).

        Raises WorldModelError before the first `reset`, and when no candidate has a finite return.
        """
        state = self._filtered()

        rejected: list[Tensor] = []

        def score(candidates: Tensor) -> Tensor:
            scores = self._objective(self._model, state, candidates, self._drawn(generator))
            rejected.append(~scores.isfinite())
            return scores

        proposals = policy_plans(self._model, state, self._proposals, self._planner.horizon, generator)
        actions = self._search.find(score, generator, proposals=proposals).actions
        self._warn(rejected)
        return explored(actions[0].cpu().numpy().copy(), self._model.spec, generator, exploration)

    @torch.inference_mode()
    def expected_return(self) -> float:
        """What the model says the plan of the last `act` will earn over its horizon, with the mean of each z.

        Not the plan's score, which is the elites' and so the luckier the more candidates there are. Raises
        WorldModelError when there is no plan, as before `act` and after `observe`.
        """
        if self.plan is None:
            raise WorldModelError("there is no plan to expect anything of: call act() first")
        return float(imagined_return(self._model, self._filtered(), self.plan.actions[None], means))

    @torch.inference_mode()
    def futures(self, plans: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """What plans (n, h, a) would lead to from here on, with the mean of each z.

        Returns the frames (n, h, H, W, 3) uint8 that the model draws, and the return (n,) over the horizon.
        """
        state, drawn = self._filtered().repeat(len(plans)), []
        for actions in plans.unbind(1):
            state = self._model.imagine(state, actions).state
            drawn.append(pixels(self._model.decode(state)))
        returns = imagined_return(self._model, self._filtered(), plans, means)
        return np.stack(drawn, 1), returns.float().cpu().numpy()

    @torch.inference_mode()
    def observe(self, action: np.ndarray, frame: np.ndarray, generator: torch.Generator) -> None:
        """Filters the frame (H, W, 3) uint8 that the executed `action` (a,) led to.

        Raises WorldModelError before the first `reset`, and when a shape or type does not fit the model's environment.
        """
        state, spec = self._filtered(), self._model.spec
        if action.shape != (spec.action_size,):
            raise WorldModelError(f"the action is {action.shape}: {spec.task} takes ({spec.action_size},)")
        taken = torch.from_numpy(np.array(action, np.float32))[None].to(self._model.device)
        self._state = self._model.observe(state, taken, self._pixels(frame), noise=self._drawn(generator)(1))
        self._search.advance()

    def _warn(self, rejected: list[Tensor]) -> None:
        """Says it once an episode: planners leave such candidates out, but a model should not give any."""
        if (count := int(sum(found.sum() for found in rejected))) and not self._warned:
            self._warned = True
            _log.warning(
                "%d of the %d candidates of a decision have no finite score and are left out: the model may diverge",
                count,
                sum(map(len, rejected)),
            )

    def _drawn(self, generator: torch.Generator) -> Latents:
        return means if self._latents == "mean" else samples(self._model, generator)

    def _filtered(self) -> State:
        if self._state is None:
            raise WorldModelError("the agent has seen no frame yet: call reset(frame) first")
        return self._state

    def _pixels(self, frame: np.ndarray) -> Tensor:
        """A frame (H, W, 3) as (1, 3, H, W) uint8."""
        expected = (*self._model.spec.frame_size, 3)
        if frame.dtype != np.uint8 or frame.shape != expected:
            raise WorldModelError(
                f"the frame is {frame.dtype} {frame.shape}, the model was trained on uint8 {expected}: "
                "give it frames of the environment it was trained on"
            )
        return torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None].to(self._model.device)
