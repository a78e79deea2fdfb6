"""Scores of nested sets of ablated units, set by set and order by order."""

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from unitlens.model.layers import UnitLayer
from unitlens.perturbation.bases import Basis
from unitlens.perturbation.engine.chains import ChannelValues
from unitlens.perturbation.engine.nested_orders import NestedOrder
from unitlens.perturbation.engine.row_batches import VariantEdit
from unitlens.perturbation.mean_scores import Baseline, VariantScores
from unitlens.perturbation.partial_calls import Ints
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Batch, Session
from unitlens.perturbation.summed_batches import summed_batches
from unitlens.perturbation.values.clamping import Clamping
from unitlens.perturbation.values.unit_values import align_with_activations


class OrderCurves:
    """Scores of every set of every order.

    The sets are the variants of one resumed pass: the inner sets of each order, and the set of all
    units, which all orders share. The empty set is the unperturbed network.

    Parameters
    ----------
    session
        The session.
    ranks
        Rank of each unit or direction, by the name of the order.
    ablated
        Numbers of ablated units or directions, ascending, from none to all.
    clamping
        The value that units are clamped to.
    basis
        The basis; None for the units.

    Attributes
    ----------
    baseline
        Scores of the unperturbed network.
    """

    def __init__(
        self,
        session: Session,
        ranks: Mapping[str, Ints],
        ablated: Ints,
        clamping: Clamping,
        basis: Basis | None,
    ) -> None:
        self._basis = basis
        self._session, self._ablated, self._names = session, ablated, list(ranks)
        self.baseline = Baseline()
        inner = ablated[1:-1]
        order_of = [*np.repeat(np.arange(len(ranks)), len(inner)), 0]
        self._order_of = torch.as_tensor(np.array(order_of), device=session.device)
        counts = [*np.tile(inner, len(ranks)), ablated[-1]]
        self._descending: list[int] = ablated[:0:-1].tolist()
        self._counts = torch.as_tensor(np.array(counts), device=session.device).unsqueeze(1)
        by_order = np.stack(list(ranks.values()))
        self._ranks = (session if basis is None else basis).split(
            torch.as_tensor(by_order, device=session.device)
        )
        self._clamping = clamping
        constants = clamping.constants
        self._values = None if constants is None else _values(session.split(constants))
        self._scores = VariantScores(session, len(counts))

    def add_all(self) -> None:
        """Score all sets on all samples."""
        engine = self._session.engine
        kept_bytes = self._clamping.kept_bytes + engine.memory.score_bytes(len(self._ablated))
        for batch in summed_batches(
            self._session,
            (self.baseline, self._scores),
            "cumulative ablation",
            at_most=engine.samples_together,
            kept_bytes=kept_bytes,
        ):
            self.baseline.add(self._session, batch)
            for sets, outputs in self._outputs(batch):
                self._scores.add(sets, outputs, batch)

    def _outputs(self, batch: Batch) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of the sets and their outputs (sets, samples, ...)."""
        engine = self._session.engine
        if self._values is None or self._basis is not None or not engine.is_chain:
            count, clamp = len(self._counts), self._clamp(batch)
            yield from engine.together(batch.inputs, count, clamp, is_due=batch.is_due)
            return
        last, inner = len(self._counts) - 1, len(self._descending) - 1
        of_orders = engine.nested(
            batch.inputs, self._values, self._orders, self._descending, batch.is_due
        )
        for number, logits in of_orders:
            yield slice(number * inner, (number + 1) * inner), logits[1:].flip(0)
            if number == 0:
                yield slice(last, last + 1), logits[:1]

    @cached_property
    def _orders(self) -> list[NestedOrder]:
        """The orders of units."""
        return [
            NestedOrder.of({name: ranks[number] for name, ranks in self._ranks.items()})
            for number in range(len(self._names))
        ]

    def _clamp(self, batch: Batch) -> VariantEdit:
        """Return the edit that clamps the units, or directions, of each set on a batch."""
        replacement = self._clamping.replacement(batch)

        def clamp(layer: UnitLayer, activations: Tensor, sets: slice) -> Tensor:
            ranks = self._ranks[layer.name][self._order_of[sets]]
            ablated = ranks < self._counts[sets]
            # The replacement of one variant's activation broadcasts over all variants.
            values = replacement(layer, activations[0])
            if self._basis is not None:
                return self._basis.projected(layer, activations, values, ablated)
            ablated = align_with_activations(ablated.unsqueeze(1), layer, activations.dim())
            return _where(ablated, values, activations)

        return clamp

    def table(self) -> xr.Dataset:
        """Return the curves."""
        baseline = self.baseline.attributes()
        variables = {
            name: (("order", "ablated"), self._curves(means, baseline[f"baseline_{name}"]))
            for name, means in self._scores.means().items()
        }
        coordinates = {
            "order": np.array(self._names, dtype=object),
            "ablated_fraction": ("ablated", self._ablated / self._ablated[-1]),
            "ablated_units": ("ablated", self._ablated),
        }
        return self._session.annotated(xr.Dataset(variables, coordinates), "cumulative_ablation")

    def _curves(self, means: Floats, baseline: float) -> Floats:
        curves = np.empty((len(self._names), len(self._ablated)))
        curves[:, 0], curves[:, -1] = baseline, means[-1]
        curves[:, 1:-1] = means[:-1].reshape(len(self._names), -1)
        return curves


def _values(constants: Mapping[str, Tensor]) -> ChannelValues:
    """Return the values of each layer's units, None where all are 0."""
    return {name: values if values.any() else None for name, values in constants.items()}


def _where(condition: Tensor, values: Tensor, activations: Tensor) -> Tensor:
    """Compute ``torch.where(condition, values, activations)``, faster on a CPU.

    It is several times faster where a sample has few values and all numbers are finite. Where each
    position of each sample has a value of its own, ``torch.where`` is as fast.
    """
    if values.numel() >= activations[0].numel():
        return torch.where(condition, values, activations)
    kept = (~condition).to(activations.dtype)
    blended = (activations * kept).add_(values * (1 - kept))
    if torch.isfinite(blended.sum()):
        return blended
    return torch.where(condition, values, activations)
