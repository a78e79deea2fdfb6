"""What the recordings of a plan take, before anything is recorded."""

from functools import partial
from pathlib import Path

from unitlens.planning.checks import describe_layers
from unitlens.planning.plan import Plan


def estimate_plan(plan: Plan) -> str:
    """Say what the stores of a plan take.

    Parameters
    ----------
    plan
        The plan of a configuration.

    Returns
    -------
    A table, one line a network and split: layers, units, samples, bytes, files and memory; then
    the sum. Networks of the same shape are described once.
    """
    from unitlens.networks.facts import describe_dataset
    from unitlens.networks.layers import choose_layers
    from unitlens.store.estimate import estimate_store

    settings = plan.config.measurements.activations
    data = Path(plan.config.data)
    estimate = partial(estimate_store, dtype=settings.dtype, reductions=settings.reductions)
    known = {}
    lines, total_bytes, total_files = [], 0, 0
    for network in plan.measured_stores():
        run = plan.run_of(network)
        key = (
            run.spec.dataset.model_dump_json(exclude={"corruption"}),
            run.spec.model.model_dump_json(),
        )
        if key not in known:
            facts = describe_dataset(run.spec.dataset, data=data)
            layers = choose_layers(describe_layers(run, data), settings.layers)
            known[key] = {
                split: (layers, samples, estimate(layers, samples))
                for split, samples in facts.samples.items()
            }
        for split, (layers, samples, size) in known[key].items():
            units = sum(layer.units for layer in layers)
            lines.append(
                f"{network} {split}: {len(layers)} layers, {units} units, {samples} samples, {size}"
            )
            total_bytes, total_files = total_bytes + size.bytes, total_files + size.files
    total = (
        f"in all: {len(lines)} stores, {total_bytes / 1e9:.3g} GB before compression, "
        f"{total_files} files"
    )
    return "\n".join([*lines, total])
