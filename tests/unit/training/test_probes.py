"""What a network puts out for a few samples tells a changed network from rounding."""

import pytest
import torch
from torch import nn

from small_trainings import run_spec
from unitlens.data.prepare import load_dataset
from unitlens.training.checkpoints import load_checkpoint
from unitlens.training.probes import find_changed_output, probe_outputs, probe_samples
from unitlens.training.train import train


def test_probe_outputs__are_the_logits_of_the_model_and_leave_it_as_it_was(digits, tmp_path):
    train(run_spec(), digits, tmp_path)
    model, record = load_checkpoint(tmp_path)
    test_set = load_dataset(digits, "test")
    inputs, _ = test_set.batch(probe_samples(test_set))
    model.train()

    assert probe_outputs(model, test_set) == record.probes
    assert model.training
    assert record.probes == pytest.approx(model.eval()(inputs).detach().numpy(), abs=1e-6)
    assert find_changed_output(model, test_set, record.probes) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_probe_outputs__differ_by_rounding_alone_where_threads_and_batches_do(
    digits, tmp_path, dtype
):
    """Rounding is imitated by the smallest change of the weights."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10)
    ).to(dtype)
    model[2].running_var.fill_(0.01)
    test_set = load_dataset(digits, "test")
    recorded = probe_outputs(model.eval(), test_set)

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + torch.finfo(dtype).eps * (torch.rand_like(parameter) - 0.5))
    assert find_changed_output(model, test_set, recorded) is None
    model[2].eps = 1e-3
    assert "but was" in find_changed_output(model, test_set, recorded)


def test_find_changed_output__notices_what_is_no_number(digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    test_set = load_dataset(digits, "test")
    recorded = probe_outputs(model, test_set)
    with torch.no_grad():
        model[1].bias[3] = torch.nan

    assert probe_outputs(model, test_set) == ()
    assert "logit 3 is nan, but was" in find_changed_output(model, test_set, recorded)
    assert "the shape (4, 10), not (4, 9)" in find_changed_output(
        model, test_set, [row[:9] for row in recorded]
    )
