"""Perturbations in whole passes of a network, where no pass can be resumed."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from unitlens.model.graph import Edit
from unitlens.model.inputs import AnyInputs
from unitlens.model.layers import UnitLayer
from unitlens.model.network import UnitNetwork
from unitlens.perturbation.engine.effects import Effect
from unitlens.perturbation.engine.perturbed_directions import Directions
from unitlens.perturbation.engine.readers import PerturbedPairs
from unitlens.perturbation.engine.row_batches import VariantEdit, VariantRows
from unitlens.perturbation.engine.steps import IsDue


def whole_passes(
    network: UnitNetwork,
    inputs: AnyInputs,
    directions: Directions,
    parts: Sequence[Directions],
    is_due: IsDue,
) -> Iterator[Effect]:
    """Perturb along every direction alone, in passes of the whole network.

    Where the directions have no chosen samples, each direction that changes any sample takes one
    pass over all samples. Else the rows of a pass are the chosen pairs of a direction and a sample,
    so that the output of a sample must not depend on other samples.

    Parameters
    ----------
    network
        The open network.
    inputs
        One batch.
    directions
        The directions of one layer.
    parts
        The same directions, in parts whose coefficients memory holds.
    is_due
        Function that tells whether a step of some rows runs.
    """
    if directions.chosen is not None:
        yield from _chosen_pairs(network, inputs, directions, parts, is_due)
        return
    layer, samples = directions.layer, torch.arange(len(inputs), device=inputs.device)

    def changes_any(_: UnitLayer, activation: Tensor) -> Tensor:
        return torch.cat([p.changed(p.coefficients(activation)).any(dim=1) for p in parts])

    _, by_layer = network.capture(inputs, [layer], changes_any)
    for number, changed in enumerate(by_layer[layer.name].tolist()):
        if changed and is_due(len(inputs)):
            edit = directions.edit(number)
            output = network.forward_with(inputs, {layer.name: edit})
            yield Effect(directions.table_rows[number].expand(len(inputs)), samples, output)


def _chosen_pairs(
    network: UnitNetwork,
    inputs: AnyInputs,
    directions: Directions,
    parts: Sequence[Directions],
    is_due: IsDue,
) -> Iterator[Effect]:
    name = directions.layer.name
    _, by_layer = network.capture(inputs, [directions.layer], lambda _, value: value.clone())
    activation = by_layer[name]
    for part in parts:
        coefficients = part.coefficients(activation)
        changed = part.changed(coefficients).nonzero()
        for rows in torch.split(changed, len(inputs)):
            if not is_due(len(rows)):
                continue
            numbers, samples = rows.unbind(1)
            pairs = PerturbedPairs(numbers, samples, coefficients[numbers, samples], len(numbers))
            edit = _replacement(part.perturbed(activation, pairs))
            output = network.forward_with(inputs[samples], {name: edit})
            yield Effect(part.table_rows[numbers], samples, output)


def whole_variants(
    network: UnitNetwork,
    inputs: AnyInputs,
    count: int,
    edit: VariantEdit,
    layers: Sequence[UnitLayer],
    is_due: IsDue,
) -> Iterator[tuple[slice, Tensor]]:
    """Run variants of the network, each with edits in several layers, in a pass each.

    Parameters
    ----------
    network
        The open network.
    inputs
        One batch.
    count
        Number of variants.
    edit
        Function of a layer, its activations and the slice of variants that returns new activations.
    layers
        The layers that are edited.
    is_due
        Function that tells whether a step of some rows runs.
    """
    rows = VariantRows.within(0, len(inputs))
    for number in range(count):
        if is_due(len(inputs)):
            variant = slice(number, number + 1)
            edits = {layer.name: rows.edit(edit, layer, variant) for layer in layers}
            yield variant, network.forward_with(inputs, edits).unsqueeze(0)


def _replacement(perturbed: Tensor) -> Edit:
    return lambda _: perturbed
