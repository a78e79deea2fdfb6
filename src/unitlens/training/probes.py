"""Probes: what a network puts out for a few samples, by which a changed network is noticed.

Weights alone do not tell a network: its code and the attributes of its modules count as well.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from unitlens.data.batches import iterate_batches, one_tensor
from unitlens.data.split import SplitDataset
from unitlens.model.graph import find_logits
from unitlens.model.restore import isolated_generators, seed_generators
from unitlens.seeds import seeded
from unitlens.training.scoring import to_weights_dtype

SAMPLES = 4
# Largest difference that counts as rounding, relative to the largest output of the probes. Other
# threads and batch sizes move float32 outputs of the networks of torchvision by less than 1e-5.
# For networks of a lower precision, it is this number of their rounding errors.
TOLERANCE, ROUNDINGS = 1e-4, 4
CPU = torch.device("cpu")

Outputs = tuple[tuple[float, ...], ...]


def probe_samples(dataset: SplitDataset) -> list[int]:
    """Return the samples of a data set that serve as probes: seeded, ascending."""
    count = min(SAMPLES, len(dataset))
    rows = seeded(0, "probes").choice(len(dataset), count, replace=False)
    return sorted(int(row) for row in rows)


def probe_outputs(model: nn.Module, dataset: SplitDataset) -> Outputs:
    """Return the logits of a network for the probes of a data set.

    Parameters
    ----------
    model
        The network, on any device; it computes here on the CPU, in evaluation mode, and comes
        back as it was.
    dataset
        The data set.

    Returns
    -------
    A tuple of logits for each of :func:`probe_samples`, as float32 numbers; an empty tuple where
    a logit is not finite.
    """
    values = _probe_logits(model, dataset).float().numpy()
    if not np.isfinite(values).all():
        return ()
    return tuple(tuple(float(value) for value in row) for row in values)


def _probe_logits(model: nn.Module, dataset: SplitDataset) -> Tensor:
    rows = np.array(probe_samples(dataset))
    _, inputs, _ = next(iterate_batches(dataset, len(rows), indices=rows))
    modes = [(module, module.training) for module in model.modules()]
    # The graphics processor may round float32 numbers to fewer digits.
    device = next((parameter.device for parameter in model.parameters()), CPU)
    model.to(CPU)
    try:
        with torch.inference_mode(), isolated_generators(CPU):
            seed_generators(0, CPU)
            logits: Tensor = find_logits(model.eval()(to_weights_dtype(one_tensor(inputs), model)))
    finally:
        model.to(device)
        for module, training in modes:
            module.training = training
    return logits.reshape(len(rows), -1)


def find_changed_output(
    model: nn.Module, dataset: SplitDataset, recorded: Sequence[Sequence[float]]
) -> str | None:
    """Return where a network puts out other values than were recorded, in words.

    Parameters
    ----------
    model
        The network.
    dataset
        The data set whose probes were recorded.
    recorded
        What :func:`probe_outputs` returned before.

    Returns
    -------
    The first sample and logit that differ by more than rounding; None where none does.
    """
    logits = _probe_logits(model, dataset)
    now, then = logits.float().numpy(), np.array(recorded, dtype=np.float32)
    if now.shape != then.shape:
        return f"its outputs for {len(then)} samples have the shape {now.shape}, not {then.shape}"
    tolerance = max(TOLERANCE, ROUNDINGS * _rounding(logits)) * np.abs(then).max()
    other = ~(np.abs(now - then) <= tolerance)  # also where one is NaN
    if not other.any():
        return None
    row, logit = (int(index[0]) for index in np.nonzero(other))
    sample = probe_samples(dataset)[row]
    return (
        f"for sample {sample} of the test set logit {logit} is {now[row, logit]:.6g}, but was "
        f"{then[row, logit]:.6g}"
    )


def _rounding(values: Tensor) -> float:
    return float(torch.finfo(values.dtype).eps) if values.is_floating_point() else 0.0
