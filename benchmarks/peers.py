"""The same perturbations as others do them: whole forward passes with hooks, and Captum.

Each is as fast as its way allows: inference mode, data in one tensor, activations changed in place,
scores summed in as few calls as there can be. Batch sizes are the caller's, who tries them.
"""

from collections import Counter
from contextlib import contextmanager
from itertools import groupby

import torch
from torch.nn import functional

from unitlens.perturbation.normal_numbers import standard_normal


def call_of(model, layer):
    """Return the module whose call a layer is named after, and which of its calls it is."""
    if layer in dict(model.named_modules()):
        return layer, 0
    module, _, call = layer.rpartition("_")
    return module, int(call)


@contextmanager
def edited(model, edits):
    """Give a function that runs the model while `edits[layer]` changes activations in place."""
    by_module = {}
    for layer, edit in edits.items():
        module, call = call_of(model, layer)
        by_module.setdefault(module, {})[call] = edit
    calls = Counter()

    def hook_of(name, by_call):
        def hook(_module, _arguments, output):
            edit = by_call.get(calls[name])
            calls[name] += 1
            if edit is not None:
                edit(output)

        return hook

    def run(inputs):
        calls.clear()
        return model(inputs)

    handles = [
        model.get_submodule(name).register_forward_hook(hook_of(name, by_call))
        for name, by_call in by_module.items()
    ]
    try:
        yield run
    finally:
        for handle in handles:
            handle.remove()


class ByClass:
    """Sums losses and hits of a batch by class: one product with the labels as one-hot rows."""

    def __init__(self, labels, classes):
        self.one_hot = functional.one_hot(labels, classes).float().t().contiguous()
        self.labels = labels

    def sums(self, logits, rows):
        labels = self.labels[rows]
        losses = functional.cross_entropy(logits, labels, reduction="none")
        hits = (logits.argmax(1) == labels).float()
        return self.one_hot[:, rows] @ torch.stack((losses, hits), 1)


class Zero:
    """Sets one channel to zero."""

    channel = 0

    def __call__(self, output):
        output.select(1, self.channel).zero_()


def ablate_by_hooks(model, inputs, labels, units, *, classes, batch):
    """Zero each of `units`, pairs of (layer, channel), in a pass of its own.

    Returns
    -------
    Sums of losses and hits, (1 + units, classes, 2), float64; the first row is the network as it
    is. Units of one layer should stand together.
    """
    scores = ByClass(labels, classes)
    batches = [slice(start, start + batch) for start in range(0, len(inputs), batch)]
    shape = 1 + len(units), classes, 2
    totals = torch.zeros(shape, dtype=torch.float64, device=inputs.device)
    with torch.inference_mode():
        for rows in batches:
            totals[0] += scores.sums(model(inputs[rows]), rows)
        for layer, group in groupby(enumerate(units, start=1), lambda unit: unit[1][0]):
            zero = Zero()
            with edited(model, {layer: zero}) as run:
                for place, (_, zero.channel) in group:
                    for rows in batches:
                        totals[place] += scores.sums(run(inputs[rows]), rows)
    return totals


def captum_mask(channels, width, dims):
    """Return Captum's mask of features: each of `channels` one, all other units together one."""
    mask = torch.full((width,), len(channels))
    mask[channels] = torch.arange(len(channels))
    return mask.reshape(1, -1, *[1] * (dims - 2))


def ablate_by_captum(model, inputs, labels, layers, *, batch, perturbations):
    """Zero units by Captum's ``LayerFeatureAblation``; the loss of each sample is its output.

    Parameters
    ----------
    layers
        ``{name: mask of features}``, as :func:`captum_mask` makes them. They must be modules.
    batch, perturbations
        Samples a call, and Captum's `perturbations_per_eval`.

    Returns
    -------
    Sum of the losses' increase for each feature, float64, by layer.
    """
    from captum.attr import LayerFeatureAblation

    def losses(inputs, labels):
        return functional.cross_entropy(model(inputs), labels, reduction="none")

    found = {}
    for name, mask in layers.items():
        ablator = LayerFeatureAblation(losses, model.get_submodule(name))
        by_channel = torch.zeros(mask.numel(), dtype=torch.float64, device=inputs.device)
        for start in range(0, len(inputs), batch):
            rows = slice(start, start + batch)
            with torch.inference_mode():
                attributions = ablator.attribute(
                    inputs[rows],
                    additional_forward_args=(labels[rows],),
                    layer_mask=mask,
                    perturbations_per_eval=perturbations,
                )
            # All positions of a map are one feature, so all hold the same number.
            by_position = attributions.reshape(*attributions.shape[:2], -1)
            by_channel -= by_position[:, :, 0].sum(0, dtype=torch.float64)
        found[name] = by_channel
    return found


def pass_with_masks(model, inputs, labels, sets, *, batch):
    """Multiply activations by the masks of each set, ``{layer: mask that broadcasts}``.

    Returns
    -------
    Sums of losses and hits, (sets, 2), float64.
    """
    totals = torch.zeros(len(sets), 2, dtype=torch.float64, device=inputs.device)
    masks = {}
    edits = {layer: lambda output, name=layer: output.mul_(masks[name]) for layer in sets[0]}
    with torch.inference_mode(), edited(model, edits) as run:
        for place, chosen in enumerate(sets):
            masks.update(chosen)
            for start in range(0, len(inputs), batch):
                rows = slice(start, start + batch)
                _score(totals[place], run(inputs[rows]), labels[rows])
    return totals


def pass_with_noise(model, inputs, labels, layers, *, scales, draws, seed, batch):
    """Add noise to all layers at once, one pass for each draw and scale.

    The noise is unitlens' own and drawn here, once for all scales of a draw.

    Parameters
    ----------
    layers
        ``{name: (standard deviations of its units, axes of its activation)}``.

    Returns
    -------
    Sums of losses and hits, (draws, scales, 2), float64.
    """
    totals = torch.zeros(draws, len(scales), 2, dtype=torch.float64, device=inputs.device)
    deviations = torch.cat([deviation for deviation, _ in layers.values()])
    counts = [len(deviation) for deviation, _ in layers.values()]
    noise = {}
    edits = {layer: lambda output, name=layer: output.add_(noise[name]) for layer in layers}
    with torch.inference_mode(), edited(model, edits) as run:
        for start in range(0, len(inputs), batch):
            rows = slice(start, min(start + batch, len(inputs)))
            for draw in range(draws):
                drawn = standard_normal(seed, draw, rows.start, rows.stop, len(deviations))
                drawn = drawn.to(deviations) * deviations
                for place, scale in enumerate(scales):
                    parts = (drawn * float(scale)).split(counts, 1)
                    for (layer, (_, dims)), part in zip(layers.items(), parts, strict=True):
                        noise[layer] = part.reshape(*part.shape, *[1] * (dims - 2))
                    _score(totals[draw, place], run(inputs[rows]), labels[rows])
    return totals


def _score(totals, logits, labels):
    totals[0] += functional.cross_entropy(logits, labels, reduction="sum")
    totals[1] += (logits.argmax(1) == labels).sum()
