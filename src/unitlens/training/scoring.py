"""Loss and accuracy of a network over a data set."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unitlens.data.batches import iterate_batches
from unitlens.data.split import SplitDataset
from unitlens.errors import ModelError
from unitlens.model.graph import first_tensor
from unitlens.training.dense_gradients import fast_dense_layers

BATCH_VALUES = 4_000_000  # input values in a batch, which bounds the memory of a forward pass


@dataclass(frozen=True)
class SplitScore:
    """Mean cross-entropy in nats and share of the samples whose largest logit is the label."""

    loss: float
    accuracy: float


def scored_at_once(values: int) -> int:
    """Return how many samples of so many values each are scored as one batch."""
    return min(1000, max(16, BATCH_VALUES // max(1, values)))


def score(
    model: nn.Module, dataset: SplitDataset, *, device: torch.device | str = "cpu"
) -> SplitScore:
    """Score a network, in evaluation mode, against the labels of a data set.

    Parameters
    ----------
    model
        The network, on `device`. Its mode comes back as it was.
    dataset
        The data set.
    device
        Where to compute.

    Returns
    -------
    Loss and accuracy over all samples, summed in double precision.

    Raises
    ------
    ModelError
        Where the network does not put out one row of logits a sample, or too few of them.
    """
    modes = [(module, module.training) for module in model.modules()]
    batch_size = scored_at_once(dataset[0][0].numel())
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    model.eval()
    with torch.inference_mode(), fast_dense_layers(model):
        for _, inputs, labels in iterate_batches(dataset, batch_size, device=device):
            logits = logits_of(model(as_weights(inputs, model)), labels)
            _check_labels(logits, labels)
            losses = nn.functional.cross_entropy(logits, labels, reduction="none")
            loss += losses.sum(dtype=torch.float64)
            correct += (logits.argmax(1) == labels).sum()
    for module, training in modes:
        module.training = training
    return SplitScore(loss.item() / len(dataset), correct.item() / len(dataset))


def logits_of(output: object, labels: Tensor) -> Tensor:
    """Return the logits of what a network put out, where they are one row a sample.

    Of a container that is its entry or attribute ``logits`` or ``out``, else its first tensor.
    """
    found = first_tensor(output)
    if isinstance(found, Tensor) and found.dim() == 2 and len(found) == len(labels):
        return found
    got = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise ModelError(
        f"the network puts out {got} for {len(labels)} samples, but must put out logits of "
        "shape (samples, classes)"
    )


def as_weights(inputs: Tensor, model: nn.Module) -> Tensor:
    """Bring inputs that are real numbers to the dtype of a network's first real weights."""
    dtypes = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    return inputs.to(next(dtypes, inputs.dtype)) if inputs.is_floating_point() else inputs


def _check_labels(logits: Tensor, labels: Tensor) -> None:
    highest = int(labels.max())
    if highest >= logits.shape[1]:
        raise ModelError(
            f"the network puts out {logits.shape[1]} logits, but the data set has the label "
            f"{highest}; set the network's number of classes, or the labels by class_indices"
        )
