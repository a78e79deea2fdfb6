"""The classes of a recording, and whether the network's output is scored: labels and logits."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unitlens.data.labels import label_remedy
from unitlens.data.map_style import WholeBatches
from unitlens.data.samples import Samples
from unitlens.errors import DatasetError
from unitlens.model.graph import find_logits
from unitlens.model.network import UnitNetwork
from unitlens.model.outputs import (
    OutputChoice,
    OutputReader,
    check_choice,
    choose_logits,
    no_tensor,
)
from unitlens.recording.all_labels import read_all_labels

logger = logging.getLogger("unitlens")


@dataclass(frozen=True)
class RecordedClasses:
    """The classes of a recording.

    Attributes
    ----------
    count
        Number of classes; 1 where there are none.
    logits
        Whether the network puts out logits, so that there are predictions and losses.
    attributes
        What the store tells of labels and logits: ``no_classes`` and ``no_scores``, the reasons why
        there are none; ``class_names``, ``label_names``, ``ignore_index``, ``output``.
    """

    count: int
    logits: bool
    attributes: Mapping[str, Any]

    def scores(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the sample arrays of a batch, and its logits.

        Without logits, losses are NaN, and predictions and logits are 0.

        Parameters
        ----------
        logits
            What is read of the output of the model.
        labels
            Labels of the batch.
        """
        if not self.logits:
            lost = torch.full(labels.shape, torch.nan)
            zeros = torch.zeros_like(labels)
            return {"label": labels, "logits": zeros[:, None], "prediction": zeros, "loss": lost}
        precise = logits if logits.dtype == torch.float64 else logits.float()
        return {
            "label": labels,
            "logits": precise,
            "prediction": logits.argmax(dim=1),
            "loss": cross_entropy(precise, labels, reduction="none"),
        }


def find_classes(
    network: UnitNetwork, samples: Samples, labels: Tensor, choice: OutputChoice
) -> RecordedClasses:
    """Return the classes of a recording, and set what the network's outputs are read as.

    Parameters
    ----------
    network
        The open network.
    samples
        The samples that are recorded.
    labels
        Labels of the samples that the network was opened with.
    choice
        What is chosen of an output; None for the default.

    Raises
    ------
    DatasetError
        Where labels are texts whose number is not that of the logits.
    ModelError
        Where several tensors of the output could be the logits.
    """
    check_choice(choice)
    attributes = samples.attributes()
    if samples.no_labels:
        attributes["no_classes"] = samples.no_labels
        reason = f"there are no classes, for {samples.no_labels}"
        if choice is not None:
            reader = OutputReader(choice)
            reader.chosen(network.example_output)  # it raises an error where there is none
            network.read_output(reader)
    else:
        reason = _read_logits(network, samples, labels, choice)
        names = samples.classes or samples.label_names
        if names is not None and not isinstance(samples.dataset, WholeBatches):
            attributes["class_names"] = list(names)
    if network.output.name != "":
        attributes["output"] = network.output.name
    if not reason:
        width = network.logits(network.example_output).shape[1]
        samples.check_width(width)
        return RecordedClasses(width, logits=True, attributes=attributes)
    return unscored(network, attributes, reason, _count_labels(samples))


def unscored(
    network: UnitNetwork, attributes: Mapping[str, Any], reason: str, count: int
) -> RecordedClasses:
    """Return classes of a number of labels where there are no logits, and tell the reason."""
    network.output = OutputReader(_first_tensor)
    logger.warning("no predictions and losses are recorded: %s", reason)
    return RecordedClasses(count, logits=False, attributes={**attributes, "no_scores": reason})


def _read_logits(
    network: UnitNetwork, samples: Samples, labels: Tensor, choice: OutputChoice
) -> str:
    """Set which tensor of the output is the logits; return why there are none, empty otherwise."""
    output = network.example_output
    if choice is None:
        rows = torch.arange(3) % len(labels)
        classes = None if samples.classes is None else len(samples.classes)
        network.read_output(choose_logits(output, labels.cpu()[rows], classes))
    else:
        network.read_output(OutputReader(choice))
    logits = network.logits(output)
    shape = ("samples", *logits.shape[1:])
    written = f"({', '.join(map(str, shape))})"
    if logits.dim() == 2 and logits.shape[1] == 1:
        return (
            "the model puts out one logit, of which the cross-entropy is always 0; for scores wrap "
            "the model so that it puts out two logits, 0 and this one"
        )
    if logits.dim() != 2 or not logits.is_floating_point():
        return (
            f"the model puts out {written}, not logits of shape (samples, classes); for scores "
            "name the logits by output, or wrap the model"
        )
    return ""


def _count_labels(samples: Samples) -> int:
    if samples.no_labels:
        return 1
    labels = read_all_labels(samples)
    wrong = np.flatnonzero(labels < 0)
    if wrong.size:
        label = int(labels[wrong[0]])
        raise DatasetError(
            f"sample {wrong[0]} has the label {label}, but labels must be at least 0; "
            f"{label_remedy(label)}"
        )
    return int(labels.max()) + 1


def _first_tensor(output: Any) -> Any:
    """Return a tensor of an output that is not scored."""
    found = find_logits(output)
    if isinstance(found, Tensor):
        return found
    entries = output.values() if isinstance(output, Mapping) else output
    for entry in entries:
        if isinstance(entry, Tensor):
            return entry
    raise no_tensor(output)
