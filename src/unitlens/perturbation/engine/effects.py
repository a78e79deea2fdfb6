"""Effects of perturbations, and dense heads of networks, whose effects are summed at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from unitlens.model.graph import Program, Values
from unitlens.model.inputs import AnyInputs
from unitlens.model.rewriting import is_patched
from unitlens.perturbation.engine.device_heads import score_dense_head
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.engine.readers import LayerReader
from unitlens.perturbation.engine.resumption import Resumption, is_relu
from unitlens.perturbation.engine.sample_scores import SampleScores
from unitlens.perturbation.engine.steps import IsDue

if TYPE_CHECKING:
    from unitlens.perturbation.engine.fused import FusedChanges

_DIRECTIONS_OF_THREAD = 512  # that a compiled kernel scores in one step


@dataclass(frozen=True)
class BasePass:
    """A pass of the unperturbed network over one batch.

    Attributes
    ----------
    inputs, logits
        The batch, and its logits (samples, ...).
    values
        Values of the pass that resumed passes need; None where memory does not hold them, so that
        they are computed again.
    """

    inputs: AnyInputs
    logits: Tensor
    values: Values | None = None


@dataclass(frozen=True)
class Effect:
    """Outputs under single perturbations.

    Attributes
    ----------
    table_rows, samples
        For each output, the row of its direction in a table, and its sample, (outputs,).
    logits
        The outputs, (outputs, ...).
    """

    table_rows: Tensor
    samples: Tensor
    logits: Tensor


@dataclass(frozen=True)
class SummedEffect:
    """Changes of loss and hits under single perturbations, summed over the samples of a batch.

    Attributes
    ----------
    table_rows
        Row of each direction in a table, (directions,).
    sums
        The changes of loss, their squares, the changes of hits and their squares, each by direction
        and class.
    """

    table_rows: Tensor
    sums: "FusedChanges | Tensor"


@dataclass(frozen=True)
class DenseHead:
    """Head of a network behind a layer: a dense operation, or two with a ReLU between them.

    Attributes
    ----------
    reader
        The operation that reads the layer.
    last
        The operation that returns the logits; None where it is the reader.
    """

    reader: LayerReader
    last: nn.Linear | None

    def effects(
        self,
        directions: Directions,
        coefficients: Tensor,
        output: Tensor,
        scores: SampleScores,
        is_due: IsDue,
        rows: int,
    ) -> Iterator[SummedEffect]:
        """Yield the changes of loss and hits under each perturbation, summed over samples.

        Parameters
        ----------
        directions
            The directions.
        coefficients
            Coefficient of each direction, (directions, samples, positions ...).
        output
            Output of the reader in the unperturbed network, (samples, out).
        scores
            Labels and scores of the samples.
        is_due
            Function that tells whether a step of some rows runs.
        rows
            Number of pairs of a direction and a sample that a GPU's memory holds at once.
        """
        by_sample, columns = coefficients, directions.columns(self.reader)
        if coefficients.dim() > 2:
            by_sample = self.reader.pooled(coefficients.flatten(0, 1))
            by_sample = by_sample.reshape(coefficients.shape[:2])
        on_cpu = output.device.type == "cpu"
        size = _DIRECTIONS_OF_THREAD * torch.get_num_threads()
        if not on_cpu:
            size = max(1, rows // len(output))
        for start in range(0, len(directions), size):
            some = slice(start, start + size)
            if is_due(by_sample[some].numel()):
                of_some = by_sample[some], columns[some], output
                sums: FusedChanges | Tensor
                if on_cpu:
                    sums = self._score_on_cpu(*of_some, scores)
                else:
                    sums = score_dense_head(*of_some, self.last, scores)
                yield SummedEffect(directions.table_rows[some], sums)

    def _score_on_cpu(
        self, by_sample: Tensor, columns: Tensor, output: Tensor, scores: SampleScores
    ) -> "FusedChanges":
        """Return the changes for coefficients (directions, samples), by direction and class."""
        from unitlens.perturbation.engine import fused

        perturbed = _array(by_sample.t()), _array(columns), _array(output)
        labels, losses, hits = map(_array, (scores.labels, scores.losses, scores.hits))
        if self.last is None:
            return fused.score_output_layer(*perturbed, labels, losses, hits, scores.top)
        weight, bias = self.last.weight.detach(), _bias(self.last)
        last = _array(weight), _array(bias)
        return fused.score_hidden_layer(*perturbed, *last, labels, losses, hits, scores.top)


def find_dense_head(
    program: Program, resumption: Resumption, logits: fx.Node | None
) -> DenseHead | None:
    """Return the dense head behind the readers of a layer; None where the network has more there.

    Parameters
    ----------
    program
        The network's program.
    resumption
        Resumption behind the layer.
    logits
        The node that returns the logits; None where no single node does.
    """
    if logits is None or resumption.explicit or resumption.gathers or len(resumption.readers) != 1:
        return None
    ((node, reader),) = resumption.readers.items()
    weight = reader.module.weight
    kind, dtypes = weight.device.type, (torch.float32, torch.float64)
    fast = weight.dtype in dtypes and (kind == "cpu" or not torch.is_autocast_enabled(kind))
    if not fast or not isinstance(reader.module, nn.Linear) or not reader.by_sample:
        return None
    if logits is node and not resumption.steps:
        return DenseHead(reader, None)
    if len(resumption.steps) != 2:
        return None
    (relu, _), (last, _) = resumption.steps
    module = program.modules.get(last)
    dense = type(module) is nn.Linear and not is_patched(module)
    if logits is last and dense and relu in last.all_input_nodes and is_relu(program, relu):
        return DenseHead(reader, module)  # type: ignore[arg-type]
    return None


def _bias(module: Any) -> Tensor:
    bias: Tensor | None = module.bias
    return module.weight.new_zeros(module.out_features) if bias is None else bias.detach()


def _array(tensor: Tensor) -> Any:
    return tensor.contiguous().numpy()
