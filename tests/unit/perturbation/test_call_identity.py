"""What makes two calls the same: equal networks, arguments and samples, in whichever process."""

import subprocess
import sys
import textwrap
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from unitlens.model.inputs import Inputs
from unitlens.perturbation.call_identity import CallIdentity
from unitlens.perturbation.partial_calls import PartialCall


def hashes(model: nn.Module, **arguments: Any) -> dict[str, str]:
    call = PartialCall("unit_ablation", (0, 2), None, arguments)
    return CallIdentity(call, model).before_data()


def score_with(weight: Any) -> Any:
    def score(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (output[:, 0] - targets) * weight

    return score


def score_by_itself() -> Any:
    def score(output: torch.Tensor, depth: int = 0) -> torch.Tensor:
        return output[:, 0] if depth else score(output, 1)

    return score


class Weighted:
    """A score with state."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (output[:, 0] - targets) * self.weight


def by_channel(values: Any) -> xr.DataArray:
    return xr.DataArray(values, dims="unit", coords={"channel": ("unit", [0, 1])})


PAIRS: list[tuple[Any, Any, Any]] = [
    (1, 1, 2),
    (1.0, 1.0, 1),
    ("1", "1", 1),
    (None, None, 0),
    (np.array([1.0, 2.0]), np.array([1.0, 2.0]), np.array([1.0, 2.0], np.float32)),
    (torch.ones(2), torch.ones(2), torch.ones(1, 2)),
    (torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16), torch.ones(2)),
    (by_channel([1, 2]), by_channel([1, 2]), by_channel([2, 1])),
    ({"a": [1], "b": []}, {"a": [1], "b": []}, {"a": [], "b": [1]}),
    ([[0, 1], [2]], [[0, 1], [2]], [[0], [1, 2]]),
    (score_with(2.0), score_with(2.0), score_with(3.0)),
    (score_with(torch.ones(3)), score_with(torch.ones(3)), score_with(torch.zeros(3))),
    (score_by_itself(), score_by_itself(), score_with(1)),
    (Weighted(1.0), Weighted(1.0), Weighted(2.0)),
    (partial(max, key=abs), partial(max, key=abs), partial(max, key=len)),
    (nn.Linear(2, 2).requires_grad_(False), None, nn.Linear(2, 2)),
]


@pytest.mark.parametrize(("value", "same", "other"), PAIRS, ids=range(len(PAIRS)))
def test_settings__are_told_apart_by_content(value: Any, same: Any, other: Any) -> None:
    model = nn.Linear(1, 1)
    first = hashes(model, value=value)
    assert hashes(model, value=value if same is None else same) == first
    assert hashes(model, value=other)["settings_hash"] != first["settings_hash"]


def test_network__is_told_by_weights_buffers_and_modules() -> None:
    def network(seed: int, *more: nn.Module) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), *more)

    first = hashes(network(0))["network_hash"]
    moved = network(0)
    moved[1].running_mean += 1e-6  # type: ignore[index,operator]
    others = [network(1), network(0, nn.ReLU()), network(0).double(), moved]
    assert hashes(network(0))["network_hash"] == first
    assert len({first, *(hashes(other)["network_hash"] for other in others)}) == 5


def test_data__are_told_apart_in_whichever_batches_they_come() -> None:
    def digest(*sizes: int, shift: float = 0.0) -> str:
        identity = CallIdentity(PartialCall("unit_ablation", (0, 1)), nn.Linear(1, 1))
        inputs, targets = torch.arange(12.0).reshape(6, 2) + shift, torch.arange(6)
        start = 0
        for size in sizes:
            rows = slice(start, start + size)
            identity.see(Inputs({"a": inputs[rows], "b": inputs[rows, 0]}), targets[rows])
            start += size
        return identity.data_hash

    assert digest(6) == digest(2, 4) == digest(1, 2, 3)
    assert len({digest(6), digest(5), digest(6, shift=1e-3)}) == 3


def test_settings__are_the_same_in_another_process() -> None:
    script = textwrap.dedent(
        """
        import torch
        from torch import nn
        from unitlens.perturbation.call_identity import CallIdentity
        from unitlens.perturbation.partial_calls import PartialCall

        classes = {"cat", "dog", "horse", "ship"}
        def make():
            names = classes
            return lambda output, targets: output[:, : len(names)].sum(1)

        torch.manual_seed(0)
        call = PartialCall("unit_ablation", (0, 2), None, {"score": make()})
        print(CallIdentity(call, nn.Linear(3, 2)).before_data())
        """
    )
    runs = {subprocess.check_output([sys.executable, "-c", script], text=True) for _ in range(2)}
    assert len(runs) == 1
