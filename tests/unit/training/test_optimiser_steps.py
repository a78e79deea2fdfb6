import pytest
import torch
from torch import nn

from unitlens.training.dense_gradients import Stepper


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))


def train(model, advance):
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        (model(torch.randn(8, 5, generator=generator)) ** 2).sum().backward()
        advance()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1, fused=True),
        lambda p: torch.optim.SGD(p, lr=0.01, fused=True),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, foreach=False),
        lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    ],
    ids=["momentum", "no-momentum", "not-fused", "adamw"],
)
def test_stepper__equals_the_optimiser_bit_for_bit(make):
    plain, ours = network(), network()
    optimizer = make(plain.parameters())

    def step():
        optimizer.step()
        optimizer.zero_grad()

    expected = train(plain, step)
    own = make(ours.parameters())

    assert torch.equal(train(ours, Stepper(own).step), expected)
    assert all(parameter.grad is None for parameter in ours.parameters())
    one, other = own.state_dict()["state"], optimizer.state_dict()["state"]
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_stepper__leaves_parameters_without_gradient_alone():
    model = network()
    stepper = Stepper(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True))
    before = model[1].weight.clone()
    for _ in range(3):
        model[0](torch.ones(1, 5)).sum().backward()
        stepper.step()

    assert torch.equal(model[1].weight, before)


def test_stepper__follows_the_learning_rate():
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5, fused=True)
    stepper = Stepper(optimizer)
    model.weight.data.fill_(0.0)
    weights = []
    for rate in (1.0, 0.1):
        optimizer.param_groups[0]["lr"] = rate
        model(torch.ones(1, 1)).sum().backward()
        stepper.step()
        weights.append(model.weight.item())

    assert weights == pytest.approx([-1.0, -1.15])  # momentum 1, then .5 + 1
