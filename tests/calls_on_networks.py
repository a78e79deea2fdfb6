"""Calls that run networks, and small networks to run them on."""

import xarray as xr

import unitlens as ul
from networks_by_hand import convnet, mlp, random_pairs, residual, untraceable

NETWORKS = {
    "mlp": (mlp, (6,)),
    "convnet": (convnet, (2, 8, 8)),
    "residual": (residual, (2, 8, 8)),
    "untraceable": (untraceable, (6,)),
}
VALUES = ("zero", "mean", "position_mean", "class_mean", "resample")
PERTURBATIONS = {
    "unit_ablation": {},
    "group_ablation": {"groups": [[0, 1], [2, 3]]},
    "cumulative_ablation": {"orders": 2, "points": 4},
}


def pairs_of(network, samples=24):
    return random_pairs(samples, *NETWORKS[network][1])


def variances(model, pairs):
    return xr.ones_like(ul.unit_ablation(model, pairs)["loss_increase"])


def random_directions(model, pairs):
    layers = variances(model, pairs).groupby("layer")
    return [ul.random_directions(layer, directions=2, seed=1) for _, layer in layers]


def _perturb(function, value, options):
    def call(model, pairs, **more):
        reference = {} if value == "zero" else {"reference": pairs}
        return getattr(ul, function)(model, pairs, value=value, **reference, **options, **more)

    return call


def _ablate_directions(value):
    def call(model, pairs, *, prepared, **more):
        reference = {} if value == "zero" else {"reference": pairs}
        return ul.direction_ablation(model, pairs, prepared, value=value, **reference, **more)

    return call


def _noise(model, pairs, *, prepared, **more):
    return ul.noise_robustness(model, pairs, [0.5, 1.0], variance=prepared, draws=2, **more)


# What a call takes that another call on the CPU makes.
PREPARED = {
    "direction_ablation zero": random_directions,
    "direction_ablation mean": random_directions,
    "noise_robustness": variances,
}
CALLS = {
    **{
        f"{function} {value}": _perturb(function, value, options)
        for function, options in PERTURBATIONS.items()
        for value in VALUES
    },
    **{f"direction_ablation {value}": _ablate_directions(value) for value in ("zero", "mean")},
    "first_order": _perturb("unit_ablation", "zero", {"first_order": True}),
    "drawn_pairs": _perturb("unit_ablation", "zero", {"rate": 0.5}),
    "drawn_pairs of groups": _perturb(
        "group_ablation", "zero", {**PERTURBATIONS["group_ablation"], "rate": 0.5}
    ),
    "noise_robustness": _noise,
    "network_statistics": ul.network_statistics,
}


def prepared_for(call, network):
    """Return the keyword arguments of a call that another call makes."""
    make = PREPARED.get(call)
    return {} if make is None else {"prepared": make(NETWORKS[network][0](), pairs_of(network))}


def tables(result):
    """Return the tables of a result."""
    if isinstance(result, xr.DataTree):
        return [node.to_dataset() for node in result.leaves]
    return [result]
