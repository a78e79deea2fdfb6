"""Numbers of samples, directions and rows that are computed at once within a memory limit.

Copies of weights come first. Of the rest, three eighths are for the values of a batch, one eighth
for the coefficients of directions, and two eighths for rows that run again. The last two eighths
allow for memory that the allocator cannot use. A single sample, direction or row always runs,
whatever memory it takes.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from unitlens.model.inputs import AnyInputs
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.model.rewriting import copied_parameter_bytes
from unitlens.perturbation.engine.chains import Chain
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.engine.resumption import (
    EDIT_COPIES,
    NodeStop,
    Resumption,
    Traversal,
    output_stop,
)

# Bytes of the rows that run at once on a CPU. They fit its caches, and stay below the size from
# which the C library returns memory to the system after each operation.
CPU_WORKING_SET = 8 * 2**20
# Bytes of the values of a batch on a CPU: some more than its caches hold, since each batch costs
# some milliseconds of its own.
CPU_BATCH = 64 * 2**20
FEWEST_SAMPLES = 512  # samples per batch, as far as the memory limit allows
FEWEST_ROWS = 8  # rows of large maps: for fewer, reading the weights dominates the time

# Shares of the memory beside copies of weights.
_VALUES, _COEFFICIENTS, _ROWS = 3 / 8, 1 / 8, 1 / 4
_COPIES = 1 / 4  # largest share of the whole limit for a shortcut's copies of weights
_PROCESS = 16e6  # bytes that a process takes beside, such as for threads; less of a small limit
_INPUT_COPIES = 4  # items, their batch, the batch in the network's type, and the next batch
_SCORE_BYTES = 32  # bytes per number of an output while it is scored, several times in float64


class Memory:
    """The memory limit of one network.

    Parameters
    ----------
    network
        The open network.
    layers
        The layers that are perturbed.
    example
        A few inputs.
    budget
        Limit in bytes of all values and copies of weights.
    target_bytes
        Bytes of one sample's target.
    """

    def __init__(
        self,
        network: UnitNetwork,
        layers: Sequence[UnitLayer],
        example: AnyInputs,
        *,
        budget: float,
        target_bytes: int,
    ) -> None:
        self._network, self._layers = network, layers
        self._on_cpu = example.device.type == "cpu"
        self._budget, self._target_bytes = budget, target_bytes
        self._item = network.dtype.itemsize
        self._input_bytes = _INPUT_COPIES * example[0].nbytes
        self._output_numbers = 0
        # Convolutions copy their weights into another order at each call.
        copied = max((p.nbytes for p in network.model.parameters()), default=0)
        copied += network.converted_bytes
        if network.program is not None:
            copied += copied_parameter_bytes(network.program, network.model)
        self._copied = float(copied)
        self._shortcuts = 0
        self._held = 0

    def note_output(self, output: Tensor) -> None:
        """Note the size of the network's output, by its output for some samples."""
        self._output_numbers = output[0].numel()

    def allows(self, weight_bytes: int) -> bool:
        """Tell whether a shortcut may copy weights of some bytes, and count them if it may."""
        if weight_bytes > _COPIES * self._budget:
            return False
        self._shortcuts = max(self._shortcuts, weight_bytes)
        return True

    @property
    def _free(self) -> float:
        process = min(_PROCESS, self._budget / 8)
        return max(self._budget / 8, self._budget - process - self._copied - self._shortcuts)

    def score_bytes(self, outputs: int = 1) -> int:
        """Return the bytes that scoring takes for some outputs of one sample at once."""
        return outputs * (_SCORE_BYTES * self._output_numbers + 2 * self._target_bytes)

    def _bytes_of(self, layer: UnitLayer) -> int:
        return math.prod(layer.shape) * self._item

    def samples(
        self, at_most: int, resumptions: Sequence[Resumption], kept_bytes: int, *, whole: bool
    ) -> int:
        """Return the number of samples per batch.

        Parameters
        ----------
        at_most
            Largest number.
        resumptions
            Resumptions behind the layers.
        kept_bytes
            Bytes per sample that the caller holds meanwhile.
        whole
            Whether whole passes run too, for layers without a resumption.
        """
        copies = EDIT_COPIES if whole else 1
        beside = copies * max(map(self._bytes_of, self._layers), default=0)
        beside += self._input_bytes + self.score_bytes() + kept_bytes
        most = self._fitting(at_most, beside + self._pass_bytes(resumptions, held=True))
        self._held = most if most >= min(at_most, FEWEST_SAMPLES) else 0
        if self._held:
            return most
        sample_bytes = beside + self._pass_bytes(resumptions, held=False)
        return max(1, self._fitting(at_most, sample_bytes, least=FEWEST_SAMPLES))

    def _fitting(self, at_most: int, sample_bytes: int, *, least: int = 0) -> int:
        """Return the number of samples that fit the limit; on a CPU its caches too, or `least`."""
        fitting = min(at_most, int(_VALUES * self._free // max(sample_bytes, 1)))
        if not self._on_cpu:
            return fitting
        return min(fitting, max(least, CPU_BATCH // max(sample_bytes, 1)))

    def holds(self, samples: int) -> bool:
        """Tell whether memory holds all values of a batch that resumptions need.

        Parameters
        ----------
        samples
            Samples of the batch. What memory holds is that of the last call of :meth:`samples`.
        """
        return samples <= self._held

    def _pass_bytes(self, resumptions: Sequence[Resumption], *, held: bool) -> int:
        """Return the bytes of one sample in a pass.

        Parameters
        ----------
        resumptions
            Resumptions at which the pass stops.
        held
            Whether all values that they need are held until the end of the pass.
        """
        program = self._network.program
        if program is None:
            return self._network.memory.peak
        last = output_stop(program, resumptions if held else ())
        stops: list[Resumption | NodeStop] = [*resumptions, last]
        return Traversal(self._network, program, stops).sample_bytes

    def backward_samples(self, kept_bytes: int) -> int:
        """Return the number of samples per batch of a backward pass.

        Parameters
        ----------
        kept_bytes
            Bytes per sample that the caller holds meanwhile.
        """
        sizes = [self._bytes_of(layer) for layer in self._layers]
        sample_bytes = 2 * self._network.memory.total  # values and their gradients
        # Differences of all layers, and products of one layer.
        sample_bytes += sum(sizes) + (2 + 8 // self._item) * max(sizes, default=0)
        sample_bytes += 32 * sum(layer.units for layer in self._layers)  # float64 sums
        sample_bytes += self._input_bytes + self.score_bytes() + kept_bytes
        return max(1, int((_VALUES + _ROWS) * self._free // max(sample_bytes, 1)))

    def rows(self, resumption: Resumption) -> int:
        """Return the number of rows of a resumption that run at once."""
        units = sum(layer.units for layer in self._layers)
        noise_bytes = units * (2 * self._item + 4)
        row_bytes = resumption.peak_row_bytes + self.score_bytes() + noise_bytes
        allowed = _ROWS * self._free // row_bytes
        if self._on_cpu:
            allowed = min(allowed, max(FEWEST_ROWS, CPU_WORKING_SET // resumption.row_bytes))
        return max(1, int(allowed))

    def directions(
        self, directions: Directions, samples: int, resumption: Resumption | None
    ) -> int:
        """Return the number of directions whose coefficients are computed at once.

        Parameters
        ----------
        directions
            The directions.
        samples
            Samples of the batch.
        resumption
            Resumption behind the layer; None where whole passes run.
        """
        layer = directions.layer
        positions = math.prod(layer.shape) // layer.units
        # Coefficients twice and their averages, whether they are zero, and the indices of others.
        direction_bytes = samples * (positions * (3 * self._item + 1) + 24)
        direction_bytes += 40 * self._output_numbers  # sums by class
        allowed, count = _COEFFICIENTS * self._free, len(directions)
        if count * direction_bytes <= allowed:
            return count
        if resumption is not None:
            direction_bytes += column_bytes(resumption) // layer.units
        return max(1, int(allowed // direction_bytes))

    def chain_samples(self, chain: Chain) -> int:
        """Return the number of samples that run through a chain at once."""
        observation = self._network.observation
        nodes = chain.program.nodes[chain.ready :]
        if observation is None:
            return 1
        # The first layer's inputs and the first operation's outputs thrice, then two operations.
        (start,) = chain.needs
        sample_bytes = 3 * observation.sample_bytes(start)
        sample_bytes += 6 * max(map(observation.sample_bytes, nodes))
        sample_bytes += max(observation.scratch.get(node, 0) for node in nodes)
        return max(1, int(_ROWS * self._free // max(sample_bytes, 1)))


def column_bytes(resumption: Resumption) -> int:
    """Return the bytes of the readers' weights, which are copied as columns."""
    weights: list[Tensor] = [reader.module.weight for reader in resumption.readers.values()]
    return sum(weight.nbytes for weight in weights)


def chain_bytes(chain: Chain) -> int:
    """Return the bytes of the weights that a chain reorders, and of their copies meanwhile."""
    weights: list[Tensor] = [block.module.weight for block in chain.blocks[1:]]
    return 2 * sum(weight.nbytes for weight in weights)
