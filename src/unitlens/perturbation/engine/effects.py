"""What passes give: of the network as it is, and of what each perturbation does."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from unitlens.networks.graph import Values

if TYPE_CHECKING:
    from unitlens.perturbation.engine import fused


@dataclass(frozen=True)
class BasePass:
    """A pass over one batch of the network as it is.

    Attributes
    ----------
    inputs, logits
        The batch, and the logits (samples, ...).
    values
        What plans need of it, where memory holds that; None where it is computed again.
    """

    inputs: Tensor
    logits: Tensor
    values: Values | None = None


@dataclass(frozen=True)
class Effect:
    """What single perturbations do: row of each in a table, sample, and the logits there."""

    table_rows: Tensor
    samples: Tensor
    logits: Tensor


@dataclass(frozen=True)
class SummedEffect:
    """What single perturbations do, summed over samples: row of each in a table, and the sums."""

    table_rows: Tensor
    sums: "fused.Changes"
