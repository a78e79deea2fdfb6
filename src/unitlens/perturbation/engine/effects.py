"""Effects of perturbations: what passes give, and the fused kernel for a small dense end."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unitlens.model.graph import Program, Values, first_tensor
from unitlens.model.rewriting import is_watched
from unitlens.perturbation.engine.readers import LayerReader
from unitlens.perturbation.engine.resumption import Resumption, is_relu

if TYPE_CHECKING:
    from unitlens.perturbation.engine import fused
    from unitlens.perturbation.engine.fused import FusedChanges


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
    sums: "fused.FusedChanges"


@dataclass(frozen=True)
class Scored:
    """What the fused kernels must know of the samples of a batch.

    Attributes
    ----------
    labels
        Class of each sample.
    losses, hits
        How the network as it is scores on each, float64.
    top
        A label among so many of the largest logits is a hit.
    """

    labels: Tensor
    losses: Tensor
    hits: Tensor
    top: int


@dataclass(frozen=True)
class DenseEnd:
    """A network's end behind a layer: a dense operation, or two with a ReLU between them.

    Attributes
    ----------
    reader
        The operation that reads the layer.
    last
        The one that puts out the logits, where that is another one.
    """

    reader: LayerReader
    last: nn.Linear | None

    def score(
        self, output: Tensor, changes: Tensor, columns: Tensor, scored: Scored
    ) -> "FusedChanges":
        """Sum what perturbations change over the samples of a batch.

        Parameters
        ----------
        output
            What the reader puts out in the network as it is, (samples, out).
        changes
            What each direction takes away, (directions, samples, positions ...).
        columns
            What one unit of each direction does to the reader's output, (directions, out).
        scored
            The samples.
        """
        from unitlens.perturbation.engine import fused

        by_sample = changes
        if changes.dim() > 2:
            by_sample = self.reader.pooled(changes.flatten(0, 1)).reshape(changes.shape[:2])
        changed = _array(by_sample.t()), _array(columns), _array(output)
        labels, losses, hits = (_array(t) for t in (scored.labels, scored.losses, scored.hits))
        if self.last is None:
            return fused.score_output_layer(*changed, labels, losses, hits, scored.top)
        weight, bias = self.last.weight.detach(), _bias(self.last)
        after = _array(weight), _array(bias)
        return fused.score_hidden_layer(*changed, *after, labels, losses, hits, scored.top)


def dense_end(program: Program, plan: Resumption) -> DenseEnd | None:
    """Return the dense end that is left behind a plan's readers, None if there is more."""
    if plan.explicit or plan.folds or len(plan.readers) != 1:
        return None
    ((node, reader),) = plan.readers.items()
    logits = first_tensor(program.output.args[0])
    weight = reader.module.weight
    fast = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64)
    if not fast or not isinstance(reader.module, nn.Linear) or not reader.by_sample:
        return None
    if logits is node and not plan.steps:
        return DenseEnd(reader, None)
    if len(plan.steps) != 2:
        return None
    (relu, _), (last, _) = plan.steps
    module = program.modules.get(last)
    dense = type(module) is nn.Linear and not is_watched(module)
    if logits is last and dense and relu in last.all_input_nodes and is_relu(program, relu):
        return DenseEnd(reader, module)  # type: ignore[arg-type]
    return None


def _bias(module: Any) -> Tensor:
    bias: Tensor | None = module.bias
    return module.weight.new_zeros(module.out_features) if bias is None else bias.detach()


def _array(tensor: Tensor) -> Any:
    return tensor.contiguous().numpy()
