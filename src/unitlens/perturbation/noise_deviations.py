"""The standard deviation by which the noise on each unit is scaled."""

import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from torch import Tensor

from unitlens.errors import ArgumentError
from unitlens.model.element_sums import element_moments, has_maps
from unitlens.model.layers import UnitLayer, reduce_positions
from unitlens.perturbation.scores import Floats
from unitlens.perturbation.session import Session
from unitlens.perturbation.values.unit_values import values_by_unit
from unitlens.store.element_moments import ElementMoments, join_moments, moments_of

logger = logging.getLogger("unitlens")

NoisePer = Literal["element", "unit"]
NoiseVariance = xr.Dataset | xr.DataArray | npt.ArrayLike | None
UNIT_VARIANCE, ELEMENT_VARIANCE = "variance", "element_variance"
NOISE_PER = ("element", "unit")


def element_layers(session: Session, per: NoisePer) -> list[UnitLayer]:
    """Return the layers whose elements have noise of their own.

    Raises
    ------
    ArgumentError
        Where `per` is unknown.
    """
    if per not in NOISE_PER:
        raise ArgumentError(f"per is {per!r}, but must be 'element' or 'unit'")
    return [layer for layer in session.layers if per == "element" and has_maps(layer)]


def noise_deviations(
    session: Session, variance: NoiseVariance, reference: Any, per: NoisePer
) -> Floats:
    """Return the standard deviation by which the noise on each unit is scaled, (units,).

    It is that of the unit's elements over samples and positions where each element has noise of its
    own, else that of the unit's mean over positions.

    Parameters
    ----------
    session
        The session.
    variance, reference, per
        As :func:`unitlens.noise_robustness` takes them.

    Raises
    ------
    ArgumentError
        Where a unit has no variance, or a variance that is not a number of at least 0.
    """
    maps = {layer.name for layer in element_layers(session, per)}
    if variance is None:
        by_layer = _measured(session, session.layers, reference, maps)
    elif isinstance(variance, xr.Dataset) or _is_of_units(variance):
        by_layer = _named(session, variance, reference, maps)
    else:
        by_layer = _by_layer(session, variance, UNIT_VARIANCE)
    found = np.concatenate([by_layer[layer.name] for layer in session.layers])
    outside = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
    if outside.size:
        raise ArgumentError(
            f"variance holds {found[outside[0]]} for unit {outside[0]}, but must be at least 0 for "
            "every unit"
        )
    deviations: Floats = np.sqrt(found)
    return deviations


def _is_of_units(variance: Any) -> bool:
    """Tell whether numbers are the variable of a table of unit measures."""
    return isinstance(variance, xr.DataArray) and variance.name == UNIT_VARIANCE


def _by_layer(session: Session, values: Any, argument: str) -> dict[str, Floats]:
    """Return numbers of units by the name of the layer, (units,) each."""
    of_units = values_by_unit(session, values, argument)
    ends = np.cumsum([layer.units for layer in session.layers])[:-1]
    parts = np.split(of_units, ends)
    return {layer.name: part for layer, part in zip(session.layers, parts, strict=True)}


def _named(
    session: Session, variance: Any, reference: Any, maps: AbstractSet[str]
) -> dict[str, Floats]:
    """Return the variances of a table by their names, and measure those of elements it lacks."""
    table = variance if isinstance(variance, xr.Dataset) else variance.to_dataset()
    found: dict[str, Floats] = {}
    if len(maps) < len(session.layers):
        found |= _by_layer(session, table.get(UNIT_VARIANCE, table), UNIT_VARIANCE)
    elements: dict[str, Floats] = {}
    if maps and ELEMENT_VARIANCE in table:
        elements = _by_layer(session, table[ELEMENT_VARIANCE], ELEMENT_VARIANCE)
    known = {name: of for name, of in elements.items() if name in maps and not np.isnan(of).all()}
    lacking = [of for of in session.layers if of.name in maps - known.keys()]
    if not lacking:
        return found | known
    if reference is None:
        raise ArgumentError(
            f"variance has no '{ELEMENT_VARIANCE}' of layer '{lacking[0].name}', which noise per "
            f"element needs ('{UNIT_VARIANCE}' is that of units' means over positions); give the "
            "training set as reference, over which it is then computed, or per='unit'"
        )
    return found | known | _measured(session, lacking, reference, maps)


def _measured(
    session: Session, layers: Sequence[UnitLayer], reference: Any, maps: AbstractSet[str]
) -> dict[str, Floats]:
    """Return the variance of each unit of some layers over a reference, by layer, (units,) each.

    Parameters
    ----------
    session
        The session.
    layers
        The layers.
    reference
        The reference; the data set that is scored if None.
    maps
        Names of the layers of whose elements the variance is taken; of other layers it is that of
        units' means over positions.
    """
    samples = session.open_reference(reference)
    logger.info(
        "the variance of %d units is computed over %d samples of the reference",
        sum(layer.units for layer in layers),
        len(samples),
    )

    def of_layer(layer: UnitLayer, activation: Tensor) -> Tensor:
        if layer.name not in maps:
            activation = reduce_positions(activation, layer)
        return element_moments(layer, activation)

    totals: dict[str, ElementMoments] = {}
    for inputs, _ in session.reference_batches(samples):
        _, by_layer = session.network.capture(inputs, layers, of_layer)
        for name, groups in by_layer.items():
            known = [totals[name]] if name in totals else []
            totals[name] = join_moments([*known, *moments_of(groups.cpu().numpy())])
    return {name: total.variance for name, total in totals.items()}
