"""Loss and accuracy of a network over a data set."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unitlens.data.batches import iterate_batches, one_tensor
from unitlens.data.split import SplitDataset
from unitlens.errors import ModelError
from unitlens.model.graph import find_logits
from unitlens.training.dense_gradients import fast_dense_layers

BATCH_VALUES = 4_000_000  # input values of a batch at most: bounds the memory of a forward pass


@dataclass(frozen=True)
class SplitScore:
    """Loss and accuracy of a network over a split.

    Attributes
    ----------
    loss
        Mean cross-entropy in nats.
    accuracy
        Share of the samples whose largest logit is that of the label.
    """

    loss: float
    accuracy: float


def scoring_batch_size(values: int) -> int:
    """Return the number of samples that are scored as one batch.

    Parameters
    ----------
    values
        Number of values of one input.
    """
    return min(1000, max(16, BATCH_VALUES // max(1, values)))


def score(
    model: nn.Module, dataset: SplitDataset, *, device: torch.device | str = "cpu"
) -> SplitScore:
    """Score a network, in evaluation mode, against the labels of a data set.

    Parameters
    ----------
    model
        The network, on `device`. The modes of its modules are restored afterwards.
    dataset
        The data set.
    device
        Device to compute on.

    Returns
    -------
    Loss and accuracy over all samples, summed in double precision.

    Raises
    ------
    ModelError
        Where the network's output has no row of logits for each sample, or a label has no logit.
    """
    modes = [(module, module.training) for module in model.modules()]
    batch_size = scoring_batch_size(dataset[0][0].numel())
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    model.eval()
    with torch.inference_mode(), fast_dense_layers(model):
        for _, inputs, labels in iterate_batches(dataset, batch_size, device=device):
            logits = check_logits(model(to_weights_dtype(one_tensor(inputs), model)), labels)
            _check_labels(logits, labels)
            losses = nn.functional.cross_entropy(logits, labels, reduction="none")
            loss += losses.sum(dtype=torch.float64)
            correct += (logits.argmax(1) == labels).sum()
    for module, training in modes:
        module.training = training
    return SplitScore(loss.item() / len(dataset), correct.item() / len(dataset))


def check_logits(output: object, labels: Tensor) -> Tensor:
    """Return the logits of a network's output.

    Parameters
    ----------
    output
        The output. The logits of a container are its entry or attribute ``logits`` or ``out``,
        else its first tensor.
    labels
        Labels of the batch, of shape (samples,).

    Returns
    -------
    Logits of shape (samples, classes).

    Raises
    ------
    ModelError
        Where the output holds no tensor of that shape.
    """
    logits = find_logits(output)
    if isinstance(logits, Tensor) and logits.dim() == 2 and len(logits) == len(labels):
        return logits
    got = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise ModelError(
        f"the network puts out {got} for {len(labels)} samples, but must put out logits of "
        "shape (samples, classes)"
    )


def to_weights_dtype(inputs: Tensor, model: nn.Module) -> Tensor:
    """Convert floating-point inputs to the dtype of the network's first floating-point weights."""
    dtypes = (parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    return inputs.to(next(dtypes, inputs.dtype)) if inputs.is_floating_point() else inputs


def _check_labels(logits: Tensor, labels: Tensor) -> None:
    highest = int(labels.max())
    if highest >= logits.shape[1]:
        raise ModelError(
            f"the network puts out {logits.shape[1]} logits, but the data set has the label "
            f"{highest}; set the network's number of classes, or the labels by class_indices"
        )
