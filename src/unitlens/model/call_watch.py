"""Whether each batch has the calls that the layers of an untraced network were found among."""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from unitlens.errors import ModelError, RepeatabilityWarning, UnitsWarning
from unitlens.model.call_graph import is_single_node
from unitlens.model.inputs import AnyInputs, Inputs, map_structure, tensors_in
from unitlens.model.layers import listed
from unitlens.model.observed_calls import ObservedCall
from unitlens.model.operations import (
    NONLINEAR_MODULES,
    is_nonlinear_function,
    is_rectifying_clamp,
)
from unitlens.model.precision import outputs_agree
from unitlens.user_warnings import warn_caller

_LATE = "it runs for some samples, and not for the first ones"
BY_CALLS = (
    "what the network runs depends on its batch, and so do its numbers for a sample: results "
    "depend on batch_size"
)
CALLS_REMEDY = "have it decide for each sample, or give batch_size=1"
_MIXED = 4  # samples of a batch that run beside the example, and alone
_COMPARISONS = 3  # of batches with other calls, where these make no difference
_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


class CallWatch:
    """Notes the calls of one unperturbed pass.

    Parameters
    ----------
    known
        Names of the calls of the passes in which layers were found.

    Attributes
    ----------
    seen
        Names of the calls of this pass.
    new
        Names of the nonlinearities that did not run in those passes.
    """

    def __init__(self, known: Collection[str]) -> None:
        self._known = known
        self.seen: set[str] = set()
        self.new: list[str] = []

    def see(self, call: ObservedCall) -> None:
        """Note a call."""
        self.seen.add(call.name)
        if call.name not in self._known and _has_units(call):
            self.new.append(call.name)


def _has_units(call: ObservedCall) -> bool:
    if isinstance(call.target, nn.Module):
        kinds = (*NONLINEAR_MODULES, *_RECURRENT)
        return isinstance(call.target, kinds) and is_single_node(call.target)
    return is_nonlinear_function(call.target) or is_rectifying_clamp(
        call.target, call.args, call.kwargs
    )


class OtherCalls:
    """Tells of batches for which a network runs other layers than for the example.

    Parameters
    ----------
    example
        The inputs in whose passes layers were found.
    calls
        Names of the calls of each of these passes.
    left_out
        Why units were left out of the layers, by name; layers that run later are added.
    doubts
        What makes numbers doubtful, in words; what is found is added.

    Attributes
    ----------
    by_name
        Whether the layers were chosen by name, so that others are not missed.
    """

    def __init__(
        self,
        example: AnyInputs,
        calls: Sequence[set[str]],
        left_out: dict[str, str],
        doubts: list[str],
    ) -> None:
        self._example, self._left_out, self._doubts = example, left_out, doubts
        self._known, self._usual = set.union(*calls), set.intersection(*calls)
        self.by_name, self._comparisons = False, _COMPARISONS

    def watch(self) -> CallWatch:
        """Return what notes the calls of a pass."""
        return CallWatch(self._known)

    def tell(
        self, watch: CallWatch, inputs: AnyInputs, alone: Callable[[AnyInputs], Tensor]
    ) -> None:
        """Warn where a batch has other layers, and where other calls make numbers depend on it.

        Parameters
        ----------
        watch
            What noted the calls of the batch.
        inputs
            The batch.
        alone
            Function of inputs that returns what the network puts out for them.
        """
        if self._usual <= watch.seen <= self._known:
            return
        unknown = [name for name in watch.new if name not in self._left_out]
        self._left_out |= dict.fromkeys(unknown, _LATE)
        if unknown and not self.by_name and not any(_LATE in doubt for doubt in self._doubts):
            names = listed([f"'{name}'" for name in unknown])
            lacking = f"the layers of units lack {names}: {_LATE}"
            self._doubts.append(lacking)
            warn_caller(
                f"{lacking}; name the layers to measure by layers=[...], or have the network run "
                "the same layers for all samples",
                UnitsWarning,
            )
        mixed = _joined(self._example, inputs[-_MIXED:]) if self._comparisons else None
        if mixed is None:
            return
        left, self._comparisons = self._comparisons - 1, 0  # samples that run alone come here too
        if _depend_on_others(mixed, alone):
            self._doubts.append(BY_CALLS)
            warn_caller(f"{BY_CALLS}; {CALLS_REMEDY}", RepeatabilityWarning)
        else:
            self._comparisons = left


def _depend_on_others(inputs: AnyInputs, alone: Callable[[AnyInputs], Tensor]) -> bool:
    """Tell whether some samples have other numbers in one batch than alone."""
    singles = [inputs[row : row + 1] for row in range(len(inputs))]
    try:
        together, single = alone(inputs), torch.cat([alone(one) for one in singles])
    except ModelError:
        return False  # it cannot be run on one sample
    return not outputs_agree(single, together)


def _joined(one: AnyInputs, other: AnyInputs) -> AnyInputs | None:
    """Return the samples of two batches as one batch, None where their shapes differ."""
    pairs = list(zip(tensors_in(one), tensors_in(other), strict=True))
    if any(first.shape[1:] != second.shape[1:] for first, second in pairs):
        return None
    joined = iter([torch.cat(pair) for pair in pairs])
    if isinstance(one, Tensor):
        return next(joined)
    return Inputs(
        map_structure(lambda leaf: next(joined) if isinstance(leaf, Tensor) else leaf, one.value)
    )
