"""What makes the result of a perturbation doubtful: told once, and kept as an attribute."""

import logging
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from unitlens.data.map_style import Indices
from unitlens.errors import ScoreWarning
from unitlens.model.network import UnitNetwork
from unitlens.model.probabilities import find_probabilities
from unitlens.user_warnings import warn_caller

logger = logging.getLogger("unitlens")

_REMEDY = (
    "so losses and importance by loss are wrong, while hits are right; give the network without "
    "its last softmax or sigmoid, or give score=lambda p, y: "
    "(-p.double().clamp_min(1e-300).log().gather(1, y[:, None])[:, 0], (p.argmax(1) == y).double())"
)


class ResultDoubts:
    """Gathers what makes a result doubtful, while the unperturbed network is scored.

    Parameters
    ----------
    found
        What is known to be doubtful, in words.
    """

    summed: ClassVar[tuple[str, ...]] = ("_found", "_seen", "_nonfinite", "_first")

    def __init__(self, found: Sequence[str]) -> None:
        self._found = list(found)
        self._seen = self._nonfinite = 0
        self._first: int | None = None

    def see(
        self, network: UnitNetwork, logits: Tensor | None, losses: Tensor, samples: Indices
    ) -> None:
        """Look at the outputs and losses of the unperturbed network on a batch.

        Parameters
        ----------
        network
            The network.
        logits
            What a built-in score takes for logits, (rows, classes); None where it is none.
        losses
            Losses of the samples.
        samples
            Numbers of the samples in the data set.
        """
        if not self._seen and logits is not None:
            kind = find_probabilities(network, logits)
            if kind is not None:
                self._found.append(kind)
                warn_caller(f"{kind}, {_REMEDY}", ScoreWarning)
        self._seen += len(losses)
        wrong = torch.nonzero(~losses.isfinite())[:, 0]
        if len(wrong) and self._first is None:
            self._first = int(samples[int(wrong[0])])
        self._nonfinite += len(wrong)

    def attributes(self, of_batches: Sequence[str] = ()) -> dict[str, str]:
        """Return the attribute ``doubts`` of a result, nothing where there is no doubt.

        Parameters
        ----------
        of_batches
            What the batches have shown to be doubtful, in words.
        """
        if self._nonfinite:
            doubt = (
                f"the loss of {self._nonfinite} of {self._seen} samples is not finite, first that "
                f"of sample {self._first}, and neither are means over these samples"
            )
            logger.warning("%s; leave out samples whose inputs are not finite", doubt)
            self._found.append(doubt)
            self._nonfinite = 0
        found = dict.fromkeys((*self._found, *of_batches))
        return {"doubts": "; ".join(found)} if found else {}
