"""One epoch of training: batches, their augmentation, and optimiser steps."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unitlens.config.networks import TrainingSpec
from unitlens.data.batches import Indices, MapStyle, read_batches
from unitlens.errors import ModelError
from unitlens.model.restore import restore_generators, seed_generators
from unitlens.seeds import derived_seed, seeded
from unitlens.training.dense_gradients import DenseStack, Stepper, fast_dense_layers
from unitlens.training.scoring import as_weights, logits_of
from unitlens.training.selectivity_regulariser import SelectivityTerm


def augment(inputs: Tensor, kinds: Sequence[str]) -> Tensor:
    """Change the images of a batch at random, each in its own way.

    Parameters
    ----------
    inputs
        Normalised images of shape (batch, channels, height, width).
    kinds
        ``flip``: left and right change places in half of the images. ``crop``: each image is
        padded by an eighth of its size with zeros (the mean colour) and cut out anew at random.

    Returns
    -------
    New images of the same shape. PyTorch's CPU generator decides; seed it before.

    Raises
    ------
    ModelError
        Where the inputs are not images.
    """
    if kinds and inputs.dim() != 4:
        shape = tuple(inputs.shape[1:])
        raise ModelError(
            f"training.augmentation = {list(kinds)} needs images of shape (channels, height, "
            f"width), but the data set's inputs have shape {shape}; leave it out"
        )
    if "flip" in kinds:
        chosen = (torch.rand(len(inputs)) < 0.5).to(inputs.device)
        inputs = torch.where(chosen[:, None, None, None], inputs.flip(3), inputs)
    return _cropped(inputs) if "crop" in kinds else inputs


def _cropped(inputs: Tensor) -> Tensor:
    samples, channels, height, width = inputs.shape
    tall, wide = max(1, height // 8), max(1, width // 8)
    padded = torch.nn.functional.pad(inputs, (wide, wide, tall, tall))
    tops = torch.randint(2 * tall + 1, (samples,)).to(inputs.device)
    lefts = torch.randint(2 * wide + 1, (samples,)).to(inputs.device)
    rows = tops[:, None] + torch.arange(height, device=inputs.device)
    columns = lefts[:, None] + torch.arange(width, device=inputs.device)
    sample = torch.arange(samples, device=inputs.device)[:, None, None, None]
    channel = torch.arange(channels, device=inputs.device)[None, :, None, None]
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]


def make_optimizer(model: nn.Module, spec: TrainingSpec) -> torch.optim.Optimizer:
    """Return the optimiser of a specification, in its fused form where there is one.

    Raises
    ------
    ModelError
        Where no parameter can be trained.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ModelError(
            "none of the network's parameters requires a gradient, but training needs at least "
            "one; unfreeze some, or set training to null to measure the network as it is"
        )
    fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    rate, decay = spec.learning_rate, spec.weight_decay
    if spec.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=rate, momentum=spec.momentum, weight_decay=decay, fused=fused
        )
    kind = torch.optim.Adam if spec.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, lr=rate, weight_decay=decay, fused=fused)


def learning_rate(spec: TrainingSpec, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 0.

    Parameters
    ----------
    spec
        The training: a constant rate; one multiplied by gamma after each milestone; or half a
        cosine from the rate at the start towards 0 after the last epoch.
    epoch
        Number of epochs that are over.

    Examples
    --------
    >>> spec = TrainingSpec(epochs=4, learning_rate=1.0, schedule={"name": "cosine"})
    >>> [round(learning_rate(spec, epoch), 3) for epoch in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    schedule = spec.schedule
    if schedule.name == "step":
        passed = sum(milestone <= epoch for milestone in schedule.milestones)
        return spec.learning_rate * schedule.gamma**passed
    if schedule.name == "cosine":
        return spec.learning_rate * (1 + math.cos(math.pi * epoch / spec.epochs)) / 2
    return spec.learning_rate


@dataclass(frozen=True)
class Interruption:
    """Where an interrupted epoch goes on: steps that are done, and the generators after them."""

    step: int
    generators: list[Tensor]


def run_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    dataset: MapStyle,
    spec: TrainingSpec,
    *,
    seed: int,
    epoch: int,
    device: torch.device,
    interruption: Interruption | None = None,
    after_step: Callable[[int], None] = lambda _: None,
) -> None:
    """Train for one pass over the training set.

    All randomness (order, augmentation, dropout) follows from the seed and the epoch alone. It
    comes from PyTorch's global generators, so call this within
    :func:`~unitlens.model.restore.own_generators`.

    Parameters
    ----------
    model, optimizer
        What is trained, on `device`.
    dataset
        The training set.
    spec
        The training.
    seed
        The run's seed.
    epoch
        Number of epochs that are over.
    device
        Where to compute.
    interruption
        Where the epoch goes on; at its start if None.
    after_step
        Called with the number of steps done.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(spec, epoch)
    seed_generators(derived_seed(seed, "epoch", epoch), device)
    first_step = 0
    if interruption is not None:
        first_step = interruption.step
        restore_generators(interruption.generators, device)
    order = seeded(seed, "order", epoch).permutation(len(dataset))
    batches = split_order(order, spec.batch_size)[first_step:]
    stepper = Stepper(optimizer)
    term = SelectivityTerm(spec.selectivity_regulariser)
    model.train()
    with term.watching(model):
        find_gradients = _gradient_finder(model, term)
        with fast_dense_layers(model):
            steps = enumerate(read_batches(dataset, batches, device=device), start=first_step + 1)
            for step, (_, inputs, labels) in steps:
                find_gradients(augment(inputs, spec.augmentation), labels)
                stepper.step()
                after_step(step)


def _gradient_finder(model: nn.Module, term: SelectivityTerm) -> Callable[[Tensor, Tensor], None]:
    """Return what sets the gradients of a batch, by the shortest way that a network allows."""
    stack = DenseStack.of(model)
    if stack is not None:
        return stack.find_gradients

    def find_by_autograd(inputs: Tensor, labels: Tensor) -> None:
        logits = logits_of(model(as_weights(inputs, model)), labels)
        loss = nn.functional.cross_entropy(logits, labels)
        term.regularised(loss, labels).backward()  # type: ignore[no-untyped-call]

    return find_by_autograd


def split_order(order: Indices, batch_size: int) -> list[Indices]:
    """Cut an order into batches; a last one of a single sample joins the batch before it.

    Batch norm cannot be trained on a single sample.
    """
    starts = list(range(batch_size, len(order), batch_size))
    if starts and batch_size > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    return np.split(order, starts)
