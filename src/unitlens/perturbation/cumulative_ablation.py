"""Cumulative ablation: clamp more and more units together, in many orders."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor, nn

from unitlens.data.batches import MapStyle
from unitlens.errors import ArgumentError
from unitlens.model.layers import UnitLayer
from unitlens.model.precision import Precision
from unitlens.perturbation.bases import (
    Basis,
    BasisChoice,
    ReadBasis,
    basis_name,
    open_basis,
    read_basis,
)
from unitlens.perturbation.engine.engine import VariantEdit
from unitlens.perturbation.scores import Floats, ScoreChoice
from unitlens.perturbation.session import (
    Baseline,
    Batch,
    LayerChoice,
    Session,
    Settings,
    open_session,
)
from unitlens.perturbation.values.clamping import (
    Clamping,
    Value,
    clamp_to,
    value_name,
)
from unitlens.perturbation.values.unit_values import by_unit, on_axis
from unitlens.seeds import seeded

Ints = npt.NDArray[np.int64]


def cumulative_ablation(
    model: nn.Module,
    dataset: MapStyle,
    *,
    orders: int = 10,
    points: int = 21,
    layers: LayerChoice = None,
    value: Value = "zero",
    by: Mapping[str, xr.DataArray] | None = None,
    basis: BasisChoice = "units",
    samples: int | None = None,
    seed: int = 0,
    reference: MapStyle | None = None,
    batch_size: int = 4096,
    device: torch.device | str = "cpu",
    memory_gb: float = 2.0,
    score: ScoreChoice = "top1",
    precision: Precision = None,
) -> xr.Dataset:
    """Ablate more and more units together: how much of the network is needed.

    An order is one of all units of the chosen layers jointly, its sets nested, from none to all.

    Parameters
    ----------
    model, dataset, layers, value, samples, seed, reference, batch_size, device, memory_gb, score,
    precision
        As :mod:`unitlens.perturbation` says.
    orders
        Number of random orders. The first orders do not depend on how many there are.
    points
        Points of a curve, evenly spaced from no unit to all of them and rounded, each once.
    by
        Measures on `unit` with coordinates `layer` and `channel`, by which units are ablated too,
        ascending and descending. NaN comes last in both; equal units come by layer, then channel.
    basis
        ``"units"``, ``"random"`` or your own: see :mod:`unitlens.perturbation.bases`.

    Returns
    -------
    Dataset of the schema ``cumulative_ablation`` on `order` (``random-0``, ...,
    ``selectivity-ascending``, ...) and `ablated`: accuracy and mean cross-entropy in nats, with
    coordinates ``ablated_fraction`` and ``ablated_units``.

    Raises
    ------
    ArgumentError, LayerError, ModelError
        As :mod:`unitlens.perturbation` and ``bases`` say, and where a measure lacks a unit.
    """
    along, layers = read_basis(basis, by, layers)
    _check_counts(orders, points, ordered=bool(by) or isinstance(along, dict))
    settings = Settings(layers, samples, seed, batch_size, device, memory_gb, score, precision)
    with open_session(model, dataset, settings, "together") as session:
        clamping = clamp_to(session, value, reference)
        rows = open_basis(session, along, seed)
        ranks = _ranks(session, rows, orders, _keys(session, by or {}, along, rows), seed)
        curves = _Curves(session, ranks, _points(ranks, points), clamping, rows)
        curves.add_all()
        table = curves.table().assign_attrs(value=value_name(value), basis=basis_name(along))
        return table.assign_attrs(session.attributes(), **curves.baseline.attributes())


def _points(ranks: Mapping[str, Ints], points: int) -> Ints:
    size = len(next(iter(ranks.values())))
    return np.unique(np.round(np.linspace(0, size, points)).astype(np.int64))


def _check_counts(orders: int, points: int, *, ordered: bool) -> None:
    if points < 2:
        raise ArgumentError(f"points is {points}, but must be at least 2: none and all units")
    if orders < 0 or (orders == 0 and not ordered):
        raise ArgumentError(
            f"orders is {orders}, but must be at least 1, or 0 where measures are given in by or "
            "directions in basis"
        )


def _keys(
    session: Session, by: Mapping[str, xr.DataArray], along: ReadBasis, rows: Basis | None
) -> dict[str, Floats]:
    """Return what units, or the directions of a given basis, are ordered by."""
    keys = {name: by_unit(session, given, f"by['{name}']") for name, given in by.items()}
    if rows is not None and isinstance(along, dict):
        keys["basis"] = rows.numbers
    return keys


def _ranks(
    session: Session, rows: Basis | None, orders: int, by: Mapping[str, Floats], seed: int
) -> dict[str, Ints]:
    """Return, for each order, the place in it of each unit, or direction."""
    size = session.units if rows is None else rows.size
    sequences = {
        f"random-{number}": seeded(seed, "order", number).permutation(size)
        for number in range(orders)
    }
    for name, keys in by.items():
        sequences[f"{name}-ascending"] = np.argsort(keys, kind="stable")
        sequences[f"{name}-descending"] = np.argsort(-keys, kind="stable")
    return {name: np.argsort(sequence) for name, sequence in sequences.items()}


class _Curves:
    """Sums over samples for every set of every order; none and all are the same in each order."""

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
        self._counts = torch.as_tensor(np.array(counts), device=session.device).unsqueeze(1)
        by_order = np.stack(list(ranks.values()))
        self._ranks = (session if basis is None else basis).split(
            torch.as_tensor(by_order, device=session.device)
        )
        self._clamping = clamping
        constants = clamping.constants
        self._constants = None if constants is None else session.split(constants)
        self._losses = np.zeros(len(counts))
        self._hits = np.zeros(len(counts))

    def add_all(self) -> None:
        """Score all sets on all samples."""
        engine = self._session.engine
        kept_bytes = self._clamping.kept_bytes + engine.memory.score_bytes(len(self._ablated))
        for batch in self._session.batches(
            "cumulative ablation", at_most=engine.samples_together, kept_bytes=kept_bytes
        ):
            self._add(batch)

    def _add(self, batch: Batch) -> None:
        self.baseline.add(self._session, batch)
        for which, logits in self._sets(batch):
            losses, hits = self._session.score.of_variants(logits, batch.targets)
            self._losses[which] += losses.sum(1).cpu().numpy()
            self._hits[which] += hits.sum(1).cpu().numpy()

    def _sets(self, batch: Batch) -> Iterator[tuple[slice, Tensor]]:
        """Yield slices of the sets and their logits (sets, samples, ...)."""
        engine = self._session.engine
        if self._constants is None or self._basis is not None or not engine.is_chain:
            yield from engine.together(batch.inputs, len(self._counts), self._clamped(batch))
            return
        last = len(self._counts) - 1
        inner = last // len(self._names)
        counts = self._counts[[last, *reversed(range(inner))], 0].tolist()
        orders = [
            {name: ranks[number] for name, ranks in self._ranks.items()}
            for number in range(len(self._names))
        ]
        for number, logits in engine.nested(batch.inputs, self._constants, orders, counts):
            yield slice(number * inner, (number + 1) * inner), logits[1:].flip(0)
            if number == 0:
                yield slice(last, last + 1), logits[:1]

    def _clamped(self, batch: Batch) -> VariantEdit:
        """Return the edit that clamps each set's units, or directions, on a batch."""
        replacement = self._clamping.replacement(batch)

        def clamped(layer: UnitLayer, activations: Tensor, sets: slice) -> Tensor:
            ranks = self._ranks[layer.name][self._order_of[sets]]
            ablated = ranks < self._counts[sets]
            # What replaces one variant's activation broadcasts over all of them.
            values = replacement(layer, activations[0])
            if self._basis is not None:
                return self._basis.projected(layer, activations, values, ablated)
            ablated = on_axis(ablated.unsqueeze(1), layer, activations.dim())
            return _where(ablated, values, activations)

        return clamped

    def table(self) -> xr.Dataset:
        """Return the curves."""
        scores = self.baseline.attributes()
        accuracy = self._curves(self._hits, scores["baseline_accuracy"])
        loss = self._curves(self._losses, scores["baseline_loss"])
        coordinates = {
            "order": np.array(self._names, dtype=object),
            "ablated_fraction": ("ablated", self._ablated / self._ablated[-1]),
            "ablated_units": ("ablated", self._ablated),
        }
        curves = {
            "accuracy": (("order", "ablated"), accuracy),
            "loss": (("order", "ablated"), loss),
        }
        return self._session.annotated(xr.Dataset(curves, coordinates), "cumulative_ablation")

    def _curves(self, sums: Floats, baseline: float) -> Floats:
        means = sums / self._session.samples
        curves = np.empty((len(self._names), len(self._ablated)))
        curves[:, 0], curves[:, -1] = baseline, means[-1]
        curves[:, 1:-1] = means[:-1].reshape(len(self._names), -1)
        return curves


def _where(condition: Tensor, values: Tensor, activations: Tensor) -> Tensor:
    """Do what ``torch.where`` does, faster on a CPU where all numbers are finite.

    Several times so where a sample's values are few; where each position of each sample has a
    value, nothing is spared.
    """
    if values.numel() >= activations[0].numel():
        return torch.where(condition, values, activations)
    kept = (~condition).to(activations.dtype)
    chosen = (activations * kept).add_(values * (1 - kept))
    if torch.isfinite(chosen.sum()):
        return chosen
    return torch.where(condition, values, activations)
