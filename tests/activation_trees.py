"""Activation trees in memory, as unitlens.open_activations would give them, for tests."""

import dask.array as da
import numpy as np
import xarray as xr


def activation_tree(layers, labels, *, chunks=None, ranges=True, **attrs):
    """Build the tree of `layers` (name to array of shape (samples, units)).

    `chunks` is what dask.array.from_array takes; None leaves the arrays in memory. `ranges` says
    whether the layers carry `minimum` and `maximum`.
    """
    labels = np.asarray(labels)
    sample = {
        "index": ("sample", np.arange(len(labels))),
        "label": ("sample", labels),
        "true_label": ("sample", labels),
    }
    nodes = {"/": xr.Dataset(coords=sample, attrs=attrs)}
    for depth, (name, values) in enumerate(layers.items()):
        values = np.asarray(values)
        data = values if chunks is None else da.from_array(values, chunks=chunks)
        variables = {"activation": (("sample", "unit"), data)}
        if ranges:
            variables["minimum"] = ("unit", values.min(axis=0))
            variables["maximum"] = ("unit", values.max(axis=0))
        nodes[f"/{name}"] = xr.Dataset(
            variables,
            coords={"channel": ("unit", np.arange(values.shape[1]))},
            attrs={"layer": name, "depth": depth},
        )
    return xr.DataTree.from_dict(nodes)
