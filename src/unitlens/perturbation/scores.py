"""How a network's outputs are scored: a loss and a hit for every sample."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from unitlens.errors import ArgumentError, ModelError
from unitlens.model.precision import uncast

Floats = npt.NDArray[np.float64]
ScoreFunction = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
ScoreChoice = Literal["top1", "top5"] | ScoreFunction

BUILT_IN = {"top1": 1, "top5": 5}


@dataclass(frozen=True)
class Score:
    """A loss and a hit for every sample, from what the network puts out and the targets.

    Attributes
    ----------
    name
        ``top1``, ``top5``, or the name of the user's function.
    top
        A built-in score is cross-entropy in nats, and a hit where the label is among so many
        largest logits; of equal ones, the smaller class comes first. None for a user's function.
    function
        The user's function.
    """

    name: str
    top: int | None
    function: ScoreFunction | None = None

    @property
    def targets(self) -> Literal["labels", "any"]:
        """What the data set must hold beside its inputs."""
        return "any" if self.top is None else "labels"

    def __call__(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Score outputs, in float64 whatever the network's own dtype.

        Parameters
        ----------
        output
            What the network puts out, samples on axis 0: logits (samples, classes) for a built-in
            score.
        targets
            Targets of the samples: labels (samples,) for a built-in score.

        Returns
        -------
        Losses and hits, each of shape (samples,).

        Raises
        ------
        ArgumentError
            Where a user's function does not return two tensors of that shape.
        """
        if self.function is not None:
            with uncast(output.device):
                return self._checked(self.function(output, targets), len(output))
        losses = functional.cross_entropy(output.double(), targets, reduction="none")
        if self.top == 1:  # the same as below, but faster
            return losses, (output.argmax(dim=1) == targets).double()
        return losses, (_logits_before(output, targets) < (self.top or 0)).double()

    def of_variants(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Score several variants of the network on the same samples.

        Parameters
        ----------
        outputs
            Shape (variants, samples, ...).
        targets
            Shape (samples, ...).

        Returns
        -------
        Losses and hits, each of shape (variants, samples).
        """
        repeated = targets.unsqueeze(0).expand(len(outputs), *targets.shape).flatten(0, 1)
        losses, hits = self(outputs.flatten(0, 1), repeated)
        return losses.reshape(outputs.shape[:2]), hits.reshape(outputs.shape[:2])

    def check(self, shape: torch.Size) -> None:
        """Refuse outputs that cannot be scored.

        Raises
        ------
        ModelError
            Where a built-in score is asked for, and `shape` is not (samples, classes).
        ArgumentError
            Where there are so few classes that every label would be a hit.
        """
        if self.top is None:
            return
        if len(shape) != 2:
            raise ModelError(
                f"the model's output has shape {tuple(shape)}, but must be logits of shape "
                "(samples, classes); give a function as score for other outputs"
            )
        if self.top > 1 and shape[1] <= self.top:
            raise ArgumentError(
                f"score is '{self.name}', but the model puts out {shape[1]} logits, so every label "
                "would be a hit; use 'top1'"
            )

    def _checked(self, returned: object, samples: int) -> tuple[Tensor, Tensor]:
        match returned:
            case [Tensor() as loss, Tensor() as hit]:
                pass
            case _:
                raise ArgumentError(
                    f"the score function '{self.name}' returned a {type(returned).__name__}, but "
                    "must return a pair of tensors: loss and hit"
                )
        for what, tensor in (("losses", loss), ("hits", hit)):
            if tensor.shape != (samples,):
                raise ArgumentError(
                    f"the score function '{self.name}' returned {what} of shape "
                    f"{tuple(tensor.shape)} for {samples} samples, but must return shape "
                    f"({samples},): one number a sample"
                )
        return loss.double(), hit.double()


def _logits_before(logits: Tensor, labels: Tensor) -> Tensor:
    """Return how many logits come before the label's; NaN is as large as infinity."""
    logits = logits.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    own = logits.gather(1, labels.unsqueeze(1))
    smaller = torch.arange(logits.shape[1], device=labels.device) < labels.unsqueeze(1)
    before = (logits > own) | ((logits == own) & smaller)
    return before.sum(dim=1)


def make_score(choice: ScoreChoice) -> Score:
    """Return the score that a user asks for.

    Raises
    ------
    ArgumentError
        Where it is neither built in nor a function.

    Examples
    --------
    >>> make_score("top5").top
    5
    """
    if isinstance(choice, str) and choice in BUILT_IN:
        return Score(choice, BUILT_IN[choice])
    if callable(choice):
        return Score(getattr(choice, "__name__", type(choice).__name__), None, choice)
    raise ArgumentError(
        f"score is {choice!r}, but must be 'top1', 'top5', or a function of outputs and targets"
    )
