"""One epoch of training: batches, augmentation, and steps of the optimiser."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from unitlens.config.networks import TrainingSpec
from unitlens.data.batches import one_tensor, read_batches
from unitlens.data.map_style import Indices, MapStyle
from unitlens.errors import ModelError
from unitlens.model.restore import restore_generators, seed_generators
from unitlens.seeds import derived_seed, seeded
from unitlens.training.dense_gradients import fast_dense_layers
from unitlens.training.scoring import check_logits, to_weights_dtype
from unitlens.training.selectivity_regulariser import SelectivityTerm


def augment(inputs: Tensor, kinds: Sequence[str]) -> Tensor:
    """Augment the images of a batch, each at random.

    Parameters
    ----------
    inputs
        Normalised images of shape (batch, channels, height, width).
    kinds
        ``flip``: half of the images, on average, are flipped horizontally. ``crop``: each image is
        padded on all sides by an eighth of its size with zeros (the mean colour), and cropped to
        its size at a random position.

    Returns
    -------
    New images of the same shape. All random numbers come from PyTorch's CPU generator.

    Raises
    ------
    ModelError
        Where the inputs are not images.
    """
    if kinds and inputs.dim() != 4:
        shape = tuple(inputs.shape[1:])
        raise ModelError(
            f"training.augmentation = {list(kinds)} needs images of shape (channels, height, "
            f"width), but the data set's inputs have shape {shape}; remove the key"
        )
    if "flip" in kinds:
        flipped = (torch.rand(len(inputs)) < 0.5).to(inputs.device)
        inputs = torch.where(flipped[:, None, None, None], inputs.flip(3), inputs)
    return _crop(inputs) if "crop" in kinds else inputs


def _crop(inputs: Tensor) -> Tensor:
    samples, channels, height, width = inputs.shape
    rows_added, columns_added = max(1, height // 8), max(1, width // 8)  # on each side
    padding = (columns_added, columns_added, rows_added, rows_added)
    padded = torch.nn.functional.pad(inputs, padding)
    tops = torch.randint(2 * rows_added + 1, (samples,)).to(inputs.device)
    lefts = torch.randint(2 * columns_added + 1, (samples,)).to(inputs.device)
    rows = tops[:, None] + torch.arange(height, device=inputs.device)
    columns = lefts[:, None] + torch.arange(width, device=inputs.device)
    sample = torch.arange(samples, device=inputs.device)[:, None, None, None]
    channel = torch.arange(channels, device=inputs.device)[None, :, None, None]
    return padded[sample, channel, rows[:, None, :, None], columns[:, None, None, :]]


def make_optimizer(model: nn.Module, spec: TrainingSpec) -> torch.optim.Optimizer:
    """Return the optimiser of a specification, fused where PyTorch has a fused form.

    Parameters
    ----------
    model
        The network; parameters that require no gradient are left out.
    spec
        The training, with optimiser, learning rate, momentum and weight decay.

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
    optimizer_class = torch.optim.Adam if spec.optimizer == "adam" else torch.optim.AdamW
    return optimizer_class(parameters, lr=rate, weight_decay=decay, fused=fused)


def learning_rate(spec: TrainingSpec, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 0.

    Parameters
    ----------
    spec
        The training. Its schedule is ``constant``; ``step``, which multiplies the rate by gamma
        after each milestone; or ``cosine``, half a cosine from the first rate towards 0 after the
        last epoch.
    epoch
        Number of finished epochs.

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
    """The point at which an epoch was interrupted.

    Attributes
    ----------
    step
        Number of finished steps of the epoch.
    generators
        States of the random generators after these steps.
    """

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
    last_step: int | None = None,
    after_step: Callable[[int], None] = lambda _: None,
) -> None:
    """Train a network for one pass over the training set, or for a part of the pass.

    All random numbers (order, augmentation, dropout) follow from the seed and the epoch. They
    come from PyTorch's global generators, so the call belongs inside of
    :func:`~unitlens.model.restore.isolated_generators`.

    Parameters
    ----------
    model
        The network, on `device`.
    optimizer
        The optimiser of its parameters.
    dataset
        The training set.
    spec
        The training.
    seed
        The run's seed.
    epoch
        Number of finished epochs.
    device
        Device to compute on.
    interruption
        Point at which the epoch was interrupted and goes on; None for its beginning.
    last_step
        Number of finished steps of the epoch at which the call ends; None for its end. The
        interruption at this point goes on with the same bits.
    after_step
        Called after each step with the number of finished steps.
    """
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(spec, epoch)
    seed_generators(derived_seed(seed, "epoch", epoch), device)
    first_step = 0
    if interruption is not None:
        first_step = interruption.step
        restore_generators(interruption.generators, device)
    order = seeded(seed, "order", epoch).permutation(len(dataset))
    batches = split_order(order, spec.batch_size)[first_step:last_step]
    term = SelectivityTerm(spec.selectivity_regulariser)
    model.train()

    def set_by_autograd(inputs: Tensor, labels: Tensor) -> None:
        logits = check_logits(model(to_weights_dtype(inputs, model)), labels)
        loss = nn.functional.cross_entropy(logits, labels)
        term.regularised(loss, labels).backward()  # type: ignore[no-untyped-call]

    with term.collecting(model), fast_dense_layers(model) as set_directly:
        set_gradients = set_directly or set_by_autograd
        steps = enumerate(read_batches(dataset, batches, device=device), start=first_step + 1)
        for step, (_, inputs, labels) in steps:
            set_gradients(augment(one_tensor(inputs), spec.augmentation), labels)
            optimizer.step()
            optimizer.zero_grad()
            after_step(step)


def split_order(order: Indices, batch_size: int) -> list[Indices]:
    """Split an order of samples into batches.

    A last batch of a single sample joins the batch before it, because batch norm cannot be trained
    on a single sample.

    Examples
    --------
    >>> [batch.tolist() for batch in split_order(np.arange(5), 2)]
    [[0, 1], [2, 3, 4]]
    """
    starts = list(range(batch_size, len(order), batch_size))
    if starts and batch_size > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    return np.split(order, starts)
