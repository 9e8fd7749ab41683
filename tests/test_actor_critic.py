import pytest
import torch
from torch import Tensor

from worldmodel.actor_critic import SMOOTHING_LIMIT, ActorCritic
from worldmodel.spec import EnvSpec

BOX = EnvSpec("line", "line", "box", 2, (-1.0, -1.0), (1.0, 1.0), 1, 0, (16, 16))
CHOICES = EnvSpec("line", "line", "discrete", 3, (0.0,) * 3, (1.0,) * 3, 1, 0, (16, 16))


def alive(spec: EnvSpec, shape: tuple[int, ...] = (4,), *, critics: int = 2) -> ActorCritic:
    """With weights that say something, where a new one says zero."""
    torch.manual_seed(0)
    made = ActorCritic(shape, spec, hidden=8, critics=critics, discount=0.9)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.5 * torch.randn_like(parameter))
    return made


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def features(b: int, shape: tuple[int, ...] = (4,)) -> Tensor:
    return torch.randn(b, *shape, generator=seeded())


@pytest.mark.parametrize("shape", [(4,), (4, 2, 2)], ids=["vectors", "maps"])
@pytest.mark.parametrize("spec", [BOX, CHOICES], ids=["box", "discrete"])
def test_actions_fit_the_environment_with_and_without_noise(spec: EnvSpec, shape: tuple[int, ...]) -> None:
    made, seen = alive(spec, shape), features(50, shape)
    plain, noisy = made.act(seen), made.act(seen, noise=made.noise(50, seeded()))
    assert not torch.equal(plain, noisy)
    for actions in (plain, noisy):
        assert actions.shape == (50, spec.action_size)
        if spec is BOX:
            assert actions.abs().max() <= 1
        else:
            assert actions.sum(1).tolist() == [1] * 50 and actions.unique().tolist() == [0, 1]
    assert made.values(seen, plain).shape == made.target_values(seen).shape == (2, 50)


def test_choices_are_drawn_by_their_probabilities() -> None:
    made = alive(CHOICES)
    seen = features(1).repeat(20_000, 1)
    shares = made.act(seen, noise=made.noise(20_000, seeded())).mean(0)
    torch.testing.assert_close(shares, made.policy(seen[:1])[0].softmax(0), atol=0.015, rtol=0)


def test_a_target_value_of_choices_is_the_mean_over_the_policys_probabilities() -> None:
    made, seen = alive(CHOICES), features(1)
    probabilities = made.policy(seen)[0].softmax(0)
    single = torch.stack([made.targets[0](seen, choice[None])[0] for choice in torch.eye(3)])
    torch.testing.assert_close(made.target_values(seen)[0, 0], probabilities @ single)


def test_a_target_value_of_vectors_is_the_value_of_the_policys_action_and_noise_moves_it_little() -> None:
    made, seen = alive(BOX), features(5)
    torch.testing.assert_close(made.target_values(seen)[1], made.targets[1](seen, made.act(seen)))
    far = made.target_values(seen, noise=torch.full((5, 2), 100.0))[0]
    torch.testing.assert_close(far, made.targets[0](seen, (made.act(seen) + SMOOTHING_LIMIT).clamp(-1, 1)))


def test_target_values_teach_the_policy_and_no_critic() -> None:
    made = alive(BOX)
    made.target_values(features(5)).sum().backward()
    assert all(parameter.grad is not None for parameter in made.policy.parameters())
    assert all(parameter.grad is None for parameter in [*made.critics.parameters(), *made.targets.parameters()])


def test_the_slow_copies_start_at_the_critics_and_go_a_share_of_the_way() -> None:
    made = ActorCritic((4,), BOX, hidden=8, critics=1, discount=0.9)
    slow, fast = next(made.targets.parameters()), next(made.critics.parameters())
    assert torch.equal(slow, fast)
    before = slow.clone()
    with torch.no_grad():
        fast += 1
    made.update_targets(0.25)
    torch.testing.assert_close(slow, before + 0.25)


def test_values_are_float32_whatever_the_precision_around() -> None:
    made, seen = alive(BOX), features(5)
    exact = made.target_values(seen)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made.target_values(seen), exact)
