"""How many multiply-adds a perturbation needs, whoever computes it.

Only the products of dense and convolutional modules count. Every sample passes the whole network
once, as it is. Beyond that:

* Ablating one unit: for each (unit, sample) whose activation is not zero everywhere already, what
  lies behind the unit's layer. A product that reads a change in one channel only, as the first
  behind a layer does, costs what that one input channel costs: a rank-one update. Batch norm, ReLU,
  pooling, and a sum with what has not changed leave a change within its channel. Products behind
  such a first one cost all they cost.
* A set of a cumulative curve: for each sample, what lies behind the first ablated layer, from those
  inputs and to those outputs that are not ablated: (share kept before) x (share kept behind).
* A variant of the noise: for each sample, all that lies behind the first layer.

That activations are sparse is not used, but for samples on which a unit is zero.
"""

from dataclasses import dataclass

import torch
from torch import fx, nn

from peers import call_of, edited


@dataclass(frozen=True)
class Product:
    """Multiply-adds of one dense or convolutional call a sample, and those of one input channel."""

    macs: int
    of_one_channel: float


class Work:
    """Multiply-adds of a network, a sample, by what lies behind its layers.

    Products must be ``torch.nn.Linear`` or ``torch.nn.Conv2d`` modules, and torch.fx must be able
    to trace the network.
    """

    def __init__(self, model, inputs):
        self._graph = fx.symbolic_trace(model)
        self._products = _Products(self._graph).of(inputs[:1])
        self._model = model
        self.total = sum(product.macs for product in self._products.values())

    def _node(self, layer):
        module, call = call_of(self._model, layer)
        return [node for node in self._graph.graph.nodes if node.target == module][call]

    def _behind(self, layer):
        """Return each product behind a layer, and whether but one of its channels changes."""
        one_channel = {self._node(layer): True}
        found = []
        for node in self._graph.graph.nodes:
            changed = [one_channel[i] for i in node.all_input_nodes if i in one_channel]
            if not changed:
                continue
            one_channel[node] = all(changed)
            if node in self._products:
                found.append((self._products[node], one_channel[node]))
                one_channel[node] = False
        return found

    def behind_one(self, layer):
        """Return what a change of one unit of a layer costs a sample."""
        return sum(p.of_one_channel if one else p.macs for p, one in self._behind(layer))

    def behind_all(self, layer):
        """Return what a change of all units of a layer costs a sample."""
        return sum(product.macs for product, _ in self._behind(layer))

    def behind_sets(self, layers, kept):
        """Return what sets of ablated units cost a sample, of a network without branches.

        Parameters
        ----------
        layers
            Names of the layers, in order.
        kept
            Share of the units of each layer that a set leaves, ``{layer: array (sets,)}``.
        """
        share_of = {self._node(layer): kept[layer] for layer in layers}
        cost, product, share = 0.0, 0.0, None
        for node in self._graph.graph.nodes:
            if node in share_of:
                share = share_of[node]
                cost, product = cost + product * share, 0.0
            elif node in self._products and share is not None:
                cost, product = cost + product, self._products[node].macs * share
                share = 1.0  # what reads this, unless an ablated layer comes before it
        return float((cost + product).sum())


class _Products(fx.Interpreter):
    """Finds the shapes of what products put out."""

    def of(self, inputs):
        """Return the `Product` of each node that is one."""
        self._found = {}
        with torch.inference_mode():
            self.run(inputs)
        return self._found

    def run_node(self, n):
        output = super().run_node(n)
        module = self.fetch_attr(n.target) if n.op == "call_module" else None
        if isinstance(module, nn.Linear):
            macs = module.weight.numel()
            self._found[n] = Product(macs, macs / module.in_features)
        elif isinstance(module, nn.Conv2d):
            macs = output[0, 0].numel() * module.weight.numel()
            self._found[n] = Product(macs, macs / module.in_channels)
        return output


def reached(model, inputs, widths, *, batch):
    """Return for each unit on how many samples its activation is not zero everywhere.

    Parameters
    ----------
    widths
        Number of units of each layer, ``{layer: units}``; they lie on axis 1.
    """
    counts = {layer: torch.zeros(width, dtype=torch.int64) for layer, width in widths.items()}

    def count(layer, output):
        counts[layer] += (
            (output.flatten(2) != 0).any(2).sum(0) if output.dim() > 2 else (output != 0).sum(0)
        )

    edits = {layer: lambda output, name=layer: count(name, output) for layer in widths}
    with torch.inference_mode(), edited(model, edits) as run:
        for rows in torch.split(inputs, batch):
            run(rows)
    return counts
