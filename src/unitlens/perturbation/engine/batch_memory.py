"""How many samples, directions and rows are worked on at once, so that memory stays in a budget.

Copies of weights come first. Of what they leave, three eighths are for the values of a batch, one
for what directions take away from them, and two for rows that are run again; the rest is what an
allocator cannot use. A single sample, direction or row is worked on whatever it takes.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.model.rewriting import extra_bytes
from unitlens.perturbation.engine.chains import Chain
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.engine.resumption import (
    EDIT_COPIES,
    End,
    Resumption,
    Traversal,
    holding_end,
)

# Bytes that the rows of one folded batch may take on a CPU: what its caches hold, and below the
# size from which the C library gives memory back to the system after each operation.
CPU_WORKING_SET = 8 * 2**20
# Bytes that the values of a batch may take on a CPU: some more samples than its caches hold, for
# each batch costs some milliseconds of its own.
CPU_BATCH = 64 * 2**20
FEWEST_SAMPLES = 512  # of a batch, as far as the budget allows
FEWEST_ROWS = 8  # of large maps: for fewer, reading the weights takes too much of the time

_VALUES, _CHANGES, _ROWS = 3 / 8, 1 / 8, 1 / 4
_COPIES = 1 / 4  # of the whole budget, that copies of weights may take for a shortcut
_INPUT_COPIES = 4  # items, the batch of them, that batch in the network's type, and another one
_SCORE_BYTES = 32  # of each number put out: in float64 more than once


class Memory:
    """What the budget allows for one network.

    Parameters
    ----------
    network
        The network, entered.
    layers
        The layers that are perturbed.
    example
        A few inputs.
    budget
        Bytes that all values and copies of weights may take.
    target_bytes
        Bytes of one sample's target.
    """

    def __init__(
        self,
        network: UnitNetwork,
        layers: Sequence[UnitLayer],
        example: Tensor,
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
        # Convolutions bring their weights into an order of their own at each call.
        copied = max((p.nbytes for p in network.model.parameters()), default=0)
        copied += network.converted_bytes
        if network.program is not None:
            copied += extra_bytes(network.program, network.model)
        self._copied = float(copied)
        self._shortcuts = 0
        self._held = 0

    def expect(self, output: Tensor) -> None:
        """Note what the network puts out for some samples."""
        self._output_numbers = output[0].numel()

    def allows(self, weights: int) -> bool:
        """Tell whether a shortcut may copy so many bytes of weights; they are counted then."""
        if weights > _COPIES * self._budget:
            return False
        self._shortcuts = max(self._shortcuts, weights)
        return True

    @property
    def _free(self) -> float:
        return max(self._budget / 8, self._budget - self._copied - self._shortcuts)

    def score_bytes(self, outputs: int = 1) -> int:
        """Return the bytes that it takes to score so many outputs of one sample at once."""
        return outputs * (_SCORE_BYTES * self._output_numbers + 2 * self._target_bytes)

    def _bytes_of(self, layer: UnitLayer) -> int:
        return math.prod(layer.shape) * self._item

    def samples(
        self, asked: int, plans: Sequence[Resumption], kept_bytes: int, *, whole: bool
    ) -> int:
        """Return how many samples are run at once: what is asked, or fewer.

        Parameters
        ----------
        asked
            At most so many.
        plans
            How passes are resumed.
        kept_bytes
            Bytes that the caller keeps for each sample meanwhile.
        whole
            Whether whole passes are run too, where there is no plan.
        """
        copies = EDIT_COPIES if whole else 1
        beside = copies * max(map(self._bytes_of, self._layers), default=0)
        beside += self._input_bytes + self.score_bytes() + kept_bytes
        most = self._fitting(asked, beside + self._pass_bytes(plans, held=True))
        self._held = most if most >= min(asked, FEWEST_SAMPLES) else 0
        if self._held:
            return most
        taken = beside + self._pass_bytes(plans, held=False)
        return max(1, self._fitting(asked, taken, least=FEWEST_SAMPLES))

    def _fitting(self, asked: int, sample_bytes: int, *, least: int = 0) -> int:
        """Return how many samples fit; on a CPU, so many as its caches hold but `least`."""
        fitting = min(asked, int(_VALUES * self._free // max(sample_bytes, 1)))
        if not self._on_cpu:
            return fitting
        return min(fitting, max(least, CPU_BATCH // max(sample_bytes, 1)))

    def holds(self, samples: int) -> bool:
        """Tell whether memory holds all that plans need of so many samples, as last asked for."""
        return samples <= self._held

    def _pass_bytes(self, plans: Sequence[Resumption], *, held: bool) -> int:
        """Return the bytes of one sample's values, while all that plans need is held or not."""
        program = self._network.program
        if program is None:
            return self._network.memory.peak
        end = holding_end(program, plans if held else ())
        stops: list[Resumption | End] = [*plans, end]
        return Traversal(self._network, program, stops).sample_bytes

    def backward_samples(self, kept_bytes: int) -> int:
        """Return how many samples a backward pass may hold at once."""
        sizes = [self._bytes_of(layer) for layer in self._layers]
        taken = 2 * self._network.memory.total  # values and their gradients
        taken += sum(sizes) + (2 + 8 // self._item) * max(sizes, default=0)  # changes, products
        taken += 32 * sum(layer.units for layer in self._layers)  # float64 sums over positions
        taken += self._input_bytes + self.score_bytes() + kept_bytes
        return max(1, int((_VALUES + _ROWS) * self._free // max(taken, 1)))

    def rows(self, plan: Resumption) -> int:
        """Return how many rows of a plan are run at once."""
        units = sum(layer.units for layer in self._layers)
        taken = plan.peak_row_bytes + self.score_bytes() + units * (2 * self._item + 4)  # noise
        allowed = _ROWS * self._free // taken
        if self._on_cpu:
            allowed = min(allowed, max(FEWEST_ROWS, CPU_WORKING_SET // plan.row_bytes))
        return max(1, int(allowed))

    def directions(self, directions: Directions, samples: int, plan: Resumption | None) -> int:
        """Return along how many directions it is worked out at once what they take away.

        Parameters
        ----------
        directions
            The directions.
        samples
            Samples of the batch.
        plan
            How passes are resumed behind the layer; None where whole ones are run.
        """
        layer = directions.layer
        positions = math.prod(layer.shape) // layer.units
        # The changes twice and averages of them, whether they are zero, and where they are not.
        taken = samples * (positions * (3 * self._item + 1) + 24)
        taken += 40 * self._output_numbers  # sums by class
        allowed, count = _CHANGES * self._free, len(directions)
        if count * taken <= allowed:
            return count
        if plan is not None:
            taken += column_bytes(plan) // layer.units
        return max(1, int(allowed // taken))

    def chain_samples(self, chain: Chain) -> int:
        """Return how many samples run through a chain at once."""
        observation = self._network.observation
        nodes = chain.program.nodes[chain.ready :]
        if observation is None:
            return 1
        # What is revived, and what the first operation puts out, thrice; then two operations.
        (start,) = chain.needs
        taken = 3 * observation.sample_bytes(start)
        taken += 6 * max(map(observation.sample_bytes, nodes))
        taken += max(observation.scratch.get(node, 0) for node in nodes)
        return max(1, int(_ROWS * self._free // max(taken, 1)))


def column_bytes(plan: Resumption) -> int:
    """Return the bytes of the weights that a plan's readers keep in an order of their own."""
    weights: list[Tensor] = [reader.module.weight for reader in plan.readers.values()]
    return sum(weight.nbytes for weight in weights)


def chain_bytes(chain: Chain) -> int:
    """Return the bytes of the weights that a chain orders anew, and of what it takes to do so."""
    weights: list[Tensor] = [block.module.weight for block in chain.blocks[1:]]
    return 2 * sum(weight.nbytes for weight in weights)
