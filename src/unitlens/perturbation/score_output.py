"""What a score gets of an output: the logits, a chosen entry, or the whole output."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unitlens.errors import ArgumentError, UnitlensError, one_line
from unitlens.memory_errors import lacks_memory
from unitlens.model.graph import find_logits
from unitlens.model.network import UnitNetwork
from unitlens.model.outputs import OutputChoice, OutputReader, check_choice, choose_logits
from unitlens.perturbation.scores import Score


def read_for_score(
    network: UnitNetwork, score: Score, targets: Tensor, choice: OutputChoice, classes: int | None
) -> Score:
    """Set what a network's outputs are read as, and return the score of what is read.

    Parameters
    ----------
    network
        The open network.
    score
        The score.
    targets
        Targets of the samples that the network was opened with.
    choice
        What is chosen of an output; None for the default.
    classes
        Number of classes that the data set states, if any.

    Raises
    ------
    ArgumentError
        Where a score function fails on the output.
    ModelError
        Where the output has no such entry, several tensors could be the logits, or no tensor has a
        row for each sample.
    """
    check_choice(choice)
    rows = torch.arange(3) % len(targets)
    examples = targets[rows].to(network.device)
    output = network.example_output
    if score.top is not None:
        labels = examples if examples.dim() == 1 else None
        network.read_output(
            choose_logits(output, labels, classes) if choice is None else OutputReader(choice)
        )
        return score
    reader = OutputReader(choice, whole=not isinstance(output, Tensor) or choice is not None)
    network.read_output(reader)
    whole = replace(score, restore=reader.restore)
    if choice is not None or isinstance(output, Tensor):
        return whole
    packed = reader(output)
    try:
        whole(packed, examples)
    except Exception as error:
        if lacks_memory(error):
            raise
        if find_logits(output) is None:
            raise ArgumentError(_failure(score, output, error)) from error
        network.output = OutputReader()
        return _checked(score, network, examples)
    return whole


def _checked(score: Score, network: UnitNetwork, targets: Tensor) -> Score:
    """Return a score of the logits, if it can score those of the example."""
    output = network.example_output
    try:
        score(network.output(output), targets)
    except UnitlensError:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        raise ArgumentError(_failure(score, output, error)) from error
    return score


def _failure(score: Score, output: Any, error: Exception) -> str:
    return (
        f"the score function '{score.name}' fails on the model's output, a "
        f"{type(output).__name__} ({type(error).__name__}: {one_line(error)[:200]}); choose an "
        "entry, such as output='logits' or output=0, or mend the function"
    )
