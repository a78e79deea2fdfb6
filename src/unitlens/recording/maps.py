"""The choice of feature maps: layers and samples whose maps are kept."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitlens.config.base import LastLayers, named_entries, parse_at
from unitlens.config.measurements import MapSpec
from unitlens.errors import ArgumentError, ConfigError, LayerError, nearest
from unitlens.model.layers import UnitLayer, choose_layers
from unitlens.seeds import seeded
from unitlens.store.format.layout import FeatureMaps

logger = logging.getLogger("unitlens")

SEED = 0  # the same samples for every network on a data set


def parse_maps(maps: Mapping[str, Any] | MapSpec | None) -> MapSpec | None:
    """Check a choice of feature maps.

    Parameters
    ----------
    maps
        ``layers`` and ``samples`` as in the configuration. ``layers`` may also be a number of last
        layers, and ``samples`` an array.

    Raises
    ------
    ArgumentError
        Where a key is unknown or a value breaks a rule.
    """
    if maps is None or isinstance(maps, MapSpec):
        return maps
    try:
        values = dict(maps)
        if "samples" in values:
            values["samples"] = np.asarray(values["samples"]).tolist()
        if isinstance(layers := values.get("layers"), int):
            values["layers"] = _last_layers(layers)
        return parse_at(MapSpec, values, ("maps",))
    except ConfigError as error:
        raise ArgumentError(str(error)) from None


def _last_layers(count: int) -> LastLayers:
    if isinstance(count, bool) or count < 1:
        raise ArgumentError(
            f"maps.layers is {count!r}, but must be at least 1 to mean that many last layers with "
            "maps; give a larger number, names of layers, or None for all"
        )
    return LastLayers(last=count)


def choose_maps(
    spec: MapSpec | None, layers: Sequence[UnitLayer], samples: int
) -> FeatureMaps | None:
    """Return the feature maps that a recording keeps.

    Parameters
    ----------
    spec
        Choice of maps.
    layers
        Layers that are recorded.
    samples
        Number of samples in the data set.

    Returns
    -------
    The maps, None where no maps are kept. A number of samples is drawn without regard to labels,
    which are known only when the data set is run. The same samples are drawn for every recording of
    a data set, and a smaller number of samples is a subset of a larger number.

    Raises
    ------
    ArgumentError
        Where the data set lacks a sample.
    LayerError
        Where a layer is not recorded or has no maps.
    """
    if spec is None:
        return None
    map_samples = _choose_samples(spec.samples, samples)
    map_layers = choose_map_layers(spec, layers)
    if not map_layers:
        logger.info("no layer has feature maps, so none are kept")
        return None
    return FeatureMaps({layer.name: layer.map_shape for layer in map_layers}, map_samples)


def _choose_samples(choice: int | tuple[int, ...], available: int) -> tuple[int, ...]:
    needed = choice if isinstance(choice, int) else max(choice) + 1
    if needed > available:
        request = f"are {choice}" if isinstance(choice, int) else f"name sample {needed - 1}"
        raise ArgumentError(
            f"maps.samples {request}, but the data set has {available}, numbered from 0; ask for "
            "fewer or for others"
        )
    if isinstance(choice, int):
        choice = tuple(seeded(SEED, "maps").permutation(available)[:choice].tolist())
    return tuple(sorted(choice))


def choose_map_layers(spec: MapSpec, layers: Sequence[UnitLayer]) -> tuple[UnitLayer, ...]:
    """Return the recorded layers whose maps are kept.

    Parameters
    ----------
    spec
        Choice of maps.
    layers
        Layers that are recorded.

    Raises
    ------
    LayerError
        Where a layer is not recorded or has no maps.
    """
    with_maps = tuple(layer for layer in layers if layer.map_shape)
    if not isinstance(spec.layers, tuple):
        return choose_layers(with_maps, spec.layers) if with_maps else ()
    names = [layer.name for layer in layers]
    chosen = named_entries(spec.layers)
    for name in chosen:
        if name not in names:
            raise LayerError(
                f"maps.layers names '{name}', which is not recorded; {nearest(name, names)}"
            )
    map_layers = choose_layers(layers, chosen)
    for layer in map_layers:
        if not layer.map_shape:
            others = [other.name for other in with_maps]
            raise LayerError(
                f"layer '{layer.name}' of maps.layers has no feature maps, for its units have one "
                f"value a sample; name layers that have some ({nearest('', others)})"
            )
    return map_layers
