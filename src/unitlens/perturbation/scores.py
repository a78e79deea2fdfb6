"""Scores of a network's output: a loss and a hit for every sample."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from unitlens.errors import ArgumentError, ModelError
from unitlens.model.precision import autocast_disabled
from unitlens.perturbation.engine.row_batches import repeat_last, step, up_to

Floats = npt.NDArray[np.float64]
ScoreFunction = Callable[[Any, Tensor], tuple[Tensor, Tensor] | Tensor]
ScoreChoice = Literal["top1", "top5"] | ScoreFunction

# Names of the built-in scores, and the number of largest logits among which a hit has its label.
BUILT_IN = {"top1": 1, "top5": 5}


@dataclass(frozen=True)
class Score:
    """A loss and a hit for every sample, computed from outputs and targets.

    The loss of a built-in score is the cross-entropy in nats.

    Attributes
    ----------
    name
        ``top1``, ``top5``, or the name of the user's function.
    top
        Number of largest logits: a sample is a hit where its label is among them. Of equal logits
        that of the smaller class comes first. None for a user's function.
    function
        The user's function; None for a built-in score.
    restore
        Function of the rows that are read of an output, which returns what the user's function
        gets; None where the function gets the rows.
    """

    name: str
    top: int | None
    function: ScoreFunction | None = None
    restore: Callable[[Tensor], Any] | None = None

    @property
    def targets(self) -> Literal["labels", "any"]:
        """Kind of targets that the data set must hold beside its inputs."""
        return "any" if self.top is None else "labels"

    def __call__(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Score the output of the network in float64, whatever the network's dtype.

        Parameters
        ----------
        output
            Output of the network, samples on axis 0. A built-in score needs logits of shape
            (samples, classes).
        targets
            Targets, samples on axis 0. A built-in score needs labels of shape (samples,).

        Returns
        -------
        Losses and hits, each of shape (samples,).

        Raises
        ------
        ArgumentError
            Where a user's function does not return one or two tensors of that shape.
        """
        if self.function is not None:
            with autocast_disabled(output.device):
                scored = output if self.restore is None else self.restore(output)
                return self._checked(self.function(scored, targets), len(output))
        losses = functional.cross_entropy(output.double(), targets, reduction="none")
        if self.top == 1:  # equal to the next line, but faster
            return losses, (output.argmax(dim=1) == targets).double()
        return losses, (_logits_before(output, targets) < (self.top or 0)).double()

    def weights(self, targets: Tensor) -> Tensor:
        """Return the weight of each sample in means over samples, float64 (samples,): 1."""
        return torch.ones(len(targets), dtype=torch.float64, device=targets.device)

    def as_logits(self, output: Tensor, targets: Tensor) -> Tensor | None:  # noqa: ARG002  positions need it
        """Return what a built-in score takes for logits, (rows, classes); None where it is none.

        Parameters
        ----------
        output, targets
            Output and targets, samples on axis 0.
        """
        return None if self.top is None else output

    def of_rows(self, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Score rows, each with the same bits whatever rows are beside it.

        Parameters
        ----------
        output, targets
            Output of the network and targets, of any rows, on axis 0. A user's function gets
            copies of the last row too, up to a multiple of a step.

        Returns
        -------
        Losses and hits, each of shape (rows,).
        """
        if self.function is None:
            return self(output, targets)
        every = torch.arange(len(output), device=output.device)
        rows = repeat_last(every, up_to(len(output), step()))
        losses, hits = self(output[rows], targets[rows])
        return losses[: len(output)], hits[: len(output)]

    def of_variants(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Score several variants of the network on the same samples.

        Parameters
        ----------
        outputs
            Outputs of the variants, (variants, samples, ...).
        targets
            Targets of the samples, (samples, ...).

        Returns
        -------
        Losses and hits, each of shape (variants, samples).
        """
        repeated = targets.unsqueeze(0).expand(len(outputs), *targets.shape).flatten(0, 1)
        losses, hits = self.of_rows(outputs.flatten(0, 1), repeated)
        return losses.reshape(outputs.shape[:2]), hits.reshape(outputs.shape[:2])

    def check(self, shape: torch.Size) -> None:
        """Check that outputs of a shape can be scored.

        Parameters
        ----------
        shape
            Shape of an output, samples on axis 0.

        Raises
        ------
        ModelError
            Where the score is built in and the shape is not (samples, classes).
        ArgumentError
            Where the classes are so few that every label would be a hit.
        """
        if self.top is None:
            return
        if len(shape) != 2:
            raise ModelError(
                f"the model's output has shape {tuple(shape)}, but must be logits of shape "
                "(samples, classes); give a function as score for other outputs"
            )
        if shape[1] < 2:
            raise ArgumentError(
                f"score is '{self.name}', but the model puts out one logit, of which the loss is "
                "always 0; give a function of outputs and targets as score, such as binary "
                "cross-entropy, or wrap the model so that it puts out two logits (0 and this one)"
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
            case Tensor() as loss if loss.shape == (samples,):
                hit = torch.full_like(loss.detach(), torch.nan, dtype=torch.float64)
            case _:
                raise ArgumentError(
                    f"the score function '{self.name}' returned a {type(returned).__name__}, but "
                    "must return a pair of tensors, loss and hit, or the loss alone of shape "
                    f"({samples},)"
                )
        for quantity, tensor in (("losses", loss), ("hits", hit)):
            if tensor.shape != (samples,):
                raise ArgumentError(
                    f"the score function '{self.name}' returned {quantity} of shape "
                    f"{tuple(tensor.shape)} for {samples} samples, but must return shape "
                    f"({samples},): one number a sample"
                )
        return loss.double(), hit.double()


def _logits_before(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the number of logits that rank before the label's logit; NaN ranks as infinity."""
    logits = logits.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    own = logits.gather(1, labels.unsqueeze(1))
    smaller = torch.arange(logits.shape[1], device=labels.device) < labels.unsqueeze(1)
    before = (logits > own) | ((logits == own) & smaller)
    return before.sum(dim=1)


def are_classes(targets: Tensor) -> bool:
    """Tell whether targets are classes: one integer per sample."""
    return targets.dim() == 1 and not (targets.is_floating_point() or targets.is_complex())


def make_score(choice: ScoreChoice) -> Score:
    """Return the score for an argument `score`.

    Parameters
    ----------
    choice
        Name of a built-in score, or a function of outputs and targets.

    Raises
    ------
    ArgumentError
        Where the choice is neither.

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
