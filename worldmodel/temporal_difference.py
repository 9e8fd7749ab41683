"""What critics and a policy learn from: rewards that came, and what the target critics say of the rest."""

from __future__ import annotations

import torch
from torch import Tensor

from worldmodel.losses import mean
from worldmodel.replay import Batch
from worldmodel.rollout import CriticOutputs

STEPS = 3  # rewards that came before the critics say the rest


def temporal_difference(
    outputs: CriticOutputs, batch: Batch, unit: Tensor, discount: float
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The critics' loss (), the policy's (), and terms to log.

    Critics are fitted at what was imagined open-loop, up to one step before the end of the longest rollout; the policy
    at true frames. As in TD-MPC (Hansen et al. 2022), but with returns of `STEPS` rewards that came, whoever played,
    and features that the critics do not shape.

    Args:
        unit: () of values, on the rewards' scale.
        discount: of a reward one decision later.
    """
    rewards = batch.rewards / unit
    targets = returns(rewards, batch.continues, batch.mask, outputs.next_values.amin(0), discount)
    taken = outputs.times - 1
    squared = (outputs.values - targets[:, taken]).square().sum(0)
    critic = mean(squared, batch.mask[:, taken])
    policy = -mean(outputs.policy_values.mean(0), batch.mask)
    return critic, policy, {"critic": critic, "value": mean(targets, batch.mask)}


def returns(rewards: Tensor, continues: Tensor, mask: Tensor, values: Tensor, discount: float) -> Tensor:
    """Discounted sums of the next `STEPS` rewards and the value after them; all (b, t), one for each transition.

    Fewer rewards where the window or the episode ends; nothing after a termination.

    Args:
        rewards: in the values' unit.
        continues: 0 for a transition that terminates, else 1.
        mask: 0 for padding.
        values: of where each transition leads.
    """
    estimates = rewards + discount * continues * values
    for _ in range(STEPS - 1):
        longer = rewards[:, :-1] + discount * continues[:, :-1] * estimates[:, 1:]
        followed = mask[:, 1:].bool()
        estimates = torch.cat([torch.where(followed, longer, estimates[:, :-1]), estimates[:, -1:]], 1)
    return estimates
