"""Feature maps: of which layers and samples they are kept."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitlens.config.base import parse_at
from unitlens.config.measurements import MapSpec
from unitlens.errors import (
    ArgumentError,
    ConfigError,
    LayerError,
    nearest,
)
from unitlens.model.layers import UnitLayer, choose_layers
from unitlens.seeds import seeded
from unitlens.store.format.layout import FeatureMaps

logger = logging.getLogger("unitlens")

SEED = 0  # the same samples for every network on a data set


def parse_maps(maps: Mapping[str, Any] | MapSpec | None) -> MapSpec | None:
    """Check what feature maps are asked for.

    Parameters
    ----------
    maps
        ``layers`` and ``samples``, as in the configuration; sample numbers may be an array's.

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
        return parse_at(MapSpec, values, ("maps",))
    except ConfigError as error:
        raise ArgumentError(str(error)) from None


def choose_maps(
    spec: MapSpec | None, layers: Sequence[UnitLayer], samples: int
) -> FeatureMaps | None:
    """Say which feature maps are kept of a recording.

    Parameters
    ----------
    spec
        What is asked for.
    layers
        Layers that are recorded.
    samples
        Number of samples in the data set.

    Returns
    -------
    The maps; None where there are none. So many samples are drawn without regard to their labels,
    which a data set need not know before it is run; of the same data set always the same, and
    fewer are among more.

    Raises
    ------
    ArgumentError
        Where the data set has no such samples.
    LayerError
        Where a layer is not recorded or has no maps.
    """
    if spec is None:
        return None
    chosen = _choose_samples(spec.samples, samples)
    of = choose_map_layers(spec, layers)
    if not of:
        logger.info("no layer has feature maps, so none are kept")
        return None
    return FeatureMaps({layer.name: layer.map_shape for layer in of}, chosen)


def _choose_samples(wanted: int | tuple[int, ...], samples: int) -> tuple[int, ...]:
    most = wanted if isinstance(wanted, int) else max(wanted) + 1
    if most > samples:
        what = f"are {wanted}" if isinstance(wanted, int) else f"name sample {most - 1}"
        raise ArgumentError(
            f"maps.samples {what}, but the data set has {samples}, numbered from 0; ask for fewer "
            "or for others"
        )
    if isinstance(wanted, int):
        wanted = tuple(seeded(SEED, "maps").permutation(samples)[:wanted].tolist())
    return tuple(sorted(wanted))


def choose_map_layers(spec: MapSpec, layers: Sequence[UnitLayer]) -> tuple[UnitLayer, ...]:
    """Return those of the recorded `layers` whose maps are asked for.

    Raises
    ------
    LayerError
        Where one is not recorded or has no maps.
    """
    having = tuple(layer for layer in layers if layer.map_shape)
    if not isinstance(spec.layers, tuple):
        return choose_layers(having, spec.layers) if having else ()
    names = [layer.name for layer in layers]
    for name in spec.layers:
        if name not in names:
            raise LayerError(
                f"maps.layers names '{name}', which is not recorded; {nearest(name, names)}"
            )
    chosen = choose_layers(layers, spec.layers)
    for layer in chosen:
        if not layer.map_shape:
            others = [other.name for other in having]
            raise LayerError(
                f"layer '{layer.name}' of maps.layers has no feature maps, for its units have one "
                f"value a sample; name layers that have some ({nearest('', others)})"
            )
    return chosen
