"""Whether a network gives the same numbers again, from call to call and in any batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unitlens.errors import ArgumentError, ModelError
from unitlens.model.call_watch import BY_CALLS, CALLS_REMEDY
from unitlens.model.inputs import AnyInputs
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork

RANDOM = (
    "the network gives other numbers for the same inputs from call to call, as with dropout that "
    "eval() does not switch off"
)
BY_BATCH = (
    "the network's numbers for a sample depend on the other samples of its batch, as with batch "
    "norm without running statistics or with dynamic quantisation, so results depend on batch_size"
)
REMEDIES = {
    RANDOM: "use torch.nn.Dropout, or dropout(x, training=self.training)",
    BY_BATCH: "give batch norm its running statistics, or use weights that are not quantised",
    BY_CALLS: CALLS_REMEDY,
}
# What counts as rounding, relative to the largest number. Batches of another size move float32
# values of common networks by at most 3e-6; convolutions on a GPU in TF32 move values by 2e-3.
_ROUNDING = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
_PLAIN = 1e-4
_GPU = 1e-2
_OUTPUT = ""  # the name of the output among those of layers


@dataclass(frozen=True)
class Repeatability:
    """How far a network gives the same numbers again.

    Attributes
    ----------
    doubts
        What makes its numbers doubtful, in words; empty where nothing does.
    least_batch
        Fewest samples that the network can be run on: 1 or 2.
    """

    doubts: tuple[str, ...] = ()
    least_batch: int = 1

    def check_batch_size(self, batch_size: int) -> None:
        """Raise ArgumentError where the network cannot be run on batches of a size."""
        if batch_size < self.least_batch:
            raise ArgumentError(
                f"batch_size is {batch_size}, but the model cannot be run on one sample alone; "
                "give a batch_size of at least 2"
            )

    @property
    def is_by_sample(self) -> bool:
        """Whether each sample has its own numbers, alone and in any batch."""
        return not self.doubts and self.least_batch == 1


def find_repeatability(network: UnitNetwork, inputs: AnyInputs) -> Repeatability:
    """Run a few samples twice, and each alone, and compare outputs and activations.

    Parameters
    ----------
    network
        The network, entered.
    inputs
        A few inputs. Up to three are run, so that differences of fewer may go unnoticed.
    """
    three = inputs[torch.arange(3, device=inputs.device) % len(inputs)]
    tolerance = _tolerance(network)
    together, again = _digest(network, three), _digest(network, three)
    runs_alone = _runs_alone(network, three[:1])
    least_batch = 1 if runs_alone else 2
    if together.keys() != again.keys() or not all(
        _agree(again[name], of, of, tolerance) for name, of in together.items()
    ):
        return Repeatability((RANDOM,), least_batch)
    if len(together[_OUTPUT]) != len(three):
        return Repeatability()  # rows that are no samples, which the caller refuses
    for part in (slice(0, 1), slice(1, 2)) if runs_alone else (slice(0, 2),):
        some = _digest(network, three[part])
        if not all(
            _agree(of, together[name][part], together[name], tolerance)
            for name, of in some.items()
            if name in together
        ):
            doubt = BY_CALLS if BY_CALLS in network.doubts else BY_BATCH
            return Repeatability((doubt,), least_batch)
    return Repeatability((), least_batch)


def _runs_alone(network: UnitNetwork, one: AnyInputs) -> bool:
    """Tell whether the network can be run on one sample, with one row of output."""
    try:
        return network.forward_with(one, {}).shape[:1] == (1,)
    except ModelError:
        return False


def _digest(network: UnitNetwork, inputs: AnyInputs) -> dict[str, Tensor]:
    """Return numbers of each sample: its output, and mean and root mean square of each layer.

    Layers that do not run on this batch are left out.
    """

    def of_layer(_: UnitLayer, activation: Tensor) -> Tensor:
        flat = activation.flatten(1).double()
        return torch.stack([flat.mean(1), flat.square().mean(1).sqrt()], dim=1)

    output, by_layer = network.capture(inputs, network.layers, of_layer, partly=True)
    return {_OUTPUT: output.reshape(output.shape or (1,)).double(), **by_layer}


def _agree(numbers: Tensor, expected: Tensor, scale: Tensor, tolerance: float) -> bool:
    """Tell whether numbers are equal but for rounding, relative to the largest of `scale`."""
    if numbers.shape != expected.shape:
        return False
    largest = float(scale.abs().nan_to_num(posinf=0.0).amax()) if scale.numel() else 0.0
    return torch.allclose(
        numbers, expected, rtol=tolerance, atol=tolerance * largest, equal_nan=True
    )


def _tolerance(network: UnitNetwork) -> float:
    dtype = network.dtype
    if torch.is_autocast_enabled(network.device.type):
        dtype = torch.get_autocast_dtype(network.device.type)
    on_gpu = _GPU if network.device.type == "cuda" else 0.0
    return max(_ROUNDING.get(dtype, _PLAIN), on_gpu)
