"""Small networks with one unusual operation each, before, at or behind a layer of units."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from networks_by_hand import Pairs, Wired, random_pairs

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass
class Odd:
    """Builder of a network, shape of its inputs, and its layers with units on the last axis."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    last: tuple[str, ...] = ()
    integers: bool = False

    def model(self):
        torch.manual_seed(0)
        model = self.build().double().eval()
        for module in model.modules():
            if isinstance(module, NORMS):
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.3)
        return model

    def pairs(self, samples=7):
        pairs = random_pairs(samples, *self.shape)
        return Pairs((pairs.inputs.abs() * 4).long() % 9, pairs.labels) if self.integers else pairs


def dense(wiring, *, out=4, width=None, **parts):
    """Wire six inputs, a layer of eight units, and a head of `out`."""
    parts = {"a": nn.Linear(6, 8), "relu": nn.ReLU(), **parts, "head": nn.Linear(width or 8, out)}
    return Odd(lambda: Wired(wiring, **parts), (6,))


def mlp(*widths, act=nn.ReLU, norm=False):
    def build():
        layers, before = [], 6
        for width in widths:
            layers += [nn.Linear(before, width), *[nn.BatchNorm1d(width)] * norm, act()]
            before = width
        return nn.Sequential(*layers, nn.Linear(before, 4))

    return Odd(build, (6,))


def with_dead_units(*dead):
    def build():
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU())
        model.append(nn.Linear(7, 4))
        with torch.no_grad():
            model[0].weight[list(dead)] = 0
            model[0].bias[list(dead)] = -1
        return model

    return Odd(build, (6,))


class Doubled(nn.Linear):
    """A subclass of a dense layer that squares its inputs first."""

    def forward(self, inputs):
        return super().forward(inputs**2) * 2


def with_own_forward():
    layer = nn.Linear(8, 5)
    layer.forward = lambda inputs: functional.linear(inputs.sin(), layer.weight)
    return layer


def hooked(module, *, before=False):
    """Return a module with a forward hook that changes its input or output."""
    if before:
        module.register_forward_pre_hook(lambda _, args: (args[0] * args[0],))
    else:
        module.register_forward_hook(lambda _, __, output: output.sin() * 3)
    return module


def hidden(module):
    """Return a network with a given dense module between two layers of units."""
    return Odd(
        lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), module(), nn.Tanh(), nn.Linear(5, 4)),
        (6,),
    )


def overwrites_part(m, x):
    hidden = m.relu(m.a(x))
    hidden[:, :2] *= 3
    return m.head(hidden)


def overwrites_view(m, x):
    hidden = m.relu(m.a(x))
    hidden[:, :2].mul_(3)
    return m.head(hidden)


def in_place(m, x):
    hidden = m.a(x).relu_()
    out = m.b(hidden)
    out += hidden
    out.mul_(1.5).tanh_()
    hidden += out
    return m.head(hidden)


def shared_memory(m, x):
    hidden = m.a(x)
    seen = hidden.view(-1, 8)
    functional.relu(hidden, inplace=True)
    return m.head(seen + hidden)


def two_readers(m, x):
    hidden = m.relu(m.a(x))
    return m.head(torch.tanh(m.b(hidden)) + m.c(hidden) + hidden)


def halves(m, x):
    one, other = m.relu(m.a(x)).chunk(2, dim=1)
    return m.head(one * other)


def twice(m, x):
    hidden = m.relu(m.b(m.relu(m.b(m.relu(m.a(x))))))
    return m.head(hidden)


def concatenated(m, x):
    hidden = m.relu(m.a(x))
    return m.head(torch.cat([hidden, x, torch.tanh(m.b(hidden)), hidden[:, :2]], dim=1))


def sizes(m, x):
    samples, features = x.shape
    hidden = m.relu(m.a(x.view(samples, features))).reshape(x.size(0), 2, -1)
    return m.head(hidden.view(samples, hidden.size(1) * hidden.shape[2]) / features)


def gated(m, x):
    hidden = m.relu(m.a(x))
    return m.head(hidden * torch.sigmoid(m.gate(hidden)))


def with_aside(m, x):
    hidden = m.relu(m.a(x))
    return m.head(hidden), m.aside(m.b(hidden))


def in_a_dictionary(m, x):
    hidden = m.relu(m.a(x))
    return {"features": hidden, "logits": m.head(hidden)}


ACTIVATIONS = {
    "gelu": nn.GELU, "gelu_tanh": partial(nn.GELU, approximate="tanh"), "elu": nn.ELU,
    "tanh": nn.Tanh, "leaky_relu": nn.LeakyReLU, "silu": nn.SiLU, "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish, "sigmoid": nn.Sigmoid, "softplus": nn.Softplus, "mish": nn.Mish,
    "prelu": nn.PReLU, "selu": nn.SELU, "hardsigmoid": nn.Hardsigmoid, "softsign": nn.Softsign,
    "logsigmoid": nn.LogSigmoid, "relu_in_place": partial(nn.ReLU, inplace=True),
    "elu_in_place": partial(nn.ELU, inplace=True), "silu_in_place": partial(nn.SiLU, inplace=True),
}  # fmt: skip

DENSE = {
    **{f"activation_{name}": mlp(8, 7, act=act) for name, act in ACTIVATIONS.items()},
    "one_hidden_layer": mlp(9),
    "two_hidden_layers": mlp(9, 7),
    "three_hidden_layers": mlp(5, 9, 7),
    "four_hidden_layers": mlp(5, 9, 7, 6),
    "one_unit": mlp(1),
    "uneven_widths": mlp(300, 1, 2, 17),
    "batch_norm_before": mlp(8, 7, norm=True),
    "dead_unit": with_dead_units(3),
    "dead_layer": with_dead_units(*range(8)),
    "two_readers": dense(two_readers, b=nn.Linear(8, 8), c=nn.Linear(8, 8)),
    "module_used_twice": dense(twice, b=nn.Linear(8, 8)),
    "in_place": dense(in_place, b=nn.Linear(8, 8)),
    "shared_memory": dense(shared_memory),
    "overwrites_part": dense(overwrites_part),
    "overwrites_view": dense(overwrites_view),
    "halves": dense(halves, width=4),
    "largest_of_pairs": dense(lambda m, x: m.head(m.relu(m.a(x)).view(-1, 4, 2).amax(2)), width=4),
    "concatenated": dense(concatenated, b=nn.Linear(8, 3), width=19),
    "sizes": dense(sizes),
    "gated_by_itself": dense(gated, gate=nn.Linear(8, 8)),
    "thresholded": dense(lambda m, x: m.head((h := m.relu(m.a(x))) * (h > 0.3))),
    "normalised_by_norm": dense(
        lambda m, x: m.head((h := m.relu(m.a(x))) / (1 + h.norm(dim=1, keepdim=True)))
    ),
    "dropout": dense(
        lambda m, x: m.head(functional.dropout(m.drop(m.relu(m.a(x))), 0.5, m.training)),
        drop=nn.Dropout(0.5),
    ),
    "layer_norm": dense(lambda m, x: m.head(m.norm(m.relu(m.a(x)))), norm=nn.LayerNorm(8)),
    "softmax": dense(lambda m, x: m.head(m.relu(m.a(x)).softmax(1))),
    "batch_norm_after": dense(
        lambda m, x: m.head(m.norm(m.relu(m.a(x)))), norm=nn.BatchNorm1d(8)
    ),
    "preactivation": dense(
        lambda m, x: m.head(m.relu(m.b(m.relu(m.norm(m.a(x)))))),
        norm=nn.BatchNorm1d(8), b=nn.Linear(8, 8),
    ),
    "activated_inputs": dense(lambda m, x: m.head(m.relu(m.a(torch.tanh(x))))),
    "log_softmax_output": dense(lambda m, x: m.head(m.relu(m.a(x))).log_softmax(1)),
    "logits_read_the_layer": dense(lambda m, x: m.head(h := m.relu(m.a(x))) + h[:, 2:6]),
    "logits_are_flattened": dense(lambda m, x: m.head(m.relu(m.a(x))).view(-1, 2, 2).flatten(1)),
    "sigmoid_output": dense(lambda m, x: m.head(m.relu(m.a(x))).sigmoid()),
    "output_with_aside": dense(with_aside, b=nn.Linear(8, 8), aside=nn.Linear(8, 2)),
    "output_in_a_dictionary": dense(in_a_dictionary),
    "detached": dense(lambda m, x: m.head(m.relu(m.a(x)).detach().clone().contiguous())),
    "silu_written_out": dense(lambda m, x: m.head((h := m.a(x)) * h.sigmoid())),
    "clamped": dense(lambda m, x: m.head(m.a(x).clamp(min=0))),
    "functional_linear": dense(
        lambda m, x: m.head(functional.linear(m.relu(m.a(x)), m.weight)),
        weight=nn.Parameter(torch.randn(8, 8)),
    ),
    "tied_weights": dense(
        lambda m, x: m.head(m.relu(functional.linear(m.relu(m.a(x)), m.a.weight.t()))), width=6
    ),
    "matmul": dense(
        lambda m, x: m.head(torch.tanh(m.relu(m.a(x)) @ m.weight + 1)),
        weight=nn.Parameter(torch.randn(8, 8)),
    ),
    "einsum": dense(
        lambda m, x: m.head(torch.einsum("nu,uv->nv", m.relu(m.a(x)), m.weight)),
        weight=nn.Parameter(torch.randn(8, 8)),
    ),
    "bilinear": dense(lambda m, x: m.b(h := m.relu(m.a(x)), h), b=nn.Bilinear(8, 8, 4)),
    "linear_of_another_forward": hidden(lambda: Doubled(8, 5)),
    "linear_with_its_own_forward": hidden(with_own_forward),
    "linear_without_bias": hidden(lambda: nn.Linear(8, 5, bias=False)),
    "linear_with_hook": hidden(lambda: hooked(nn.Linear(8, 5))),
    "linear_with_pre_hook": hidden(lambda: hooked(nn.Linear(8, 5), before=True)),
    "weight_norm": hidden(lambda: parametrizations.weight_norm(nn.Linear(8, 5))),
    "orthogonal": hidden(lambda: parametrizations.orthogonal(nn.Linear(8, 5))),
    "hooked_model": Odd(lambda: hooked(mlp(8, 5).build()), (6,)),
    "model_with_pre_hook": Odd(lambda: hooked(mlp(8, 5).build(), before=True), (6,)),
    "hooked_block": hidden(
        lambda: hooked(nn.Sequential(nn.Linear(8, 6), nn.GELU(), nn.Linear(6, 5)))
    ),
}  # fmt: skip


def tokens(wiring, *last, width=8, **parts):
    """Wire four tokens of six numbers, and a head for their mean."""
    parts = {"a": nn.Linear(6, 8), "relu": nn.ReLU(), **parts, "head": nn.Linear(width, 4)}
    return Odd(lambda: Wired(wiring, **parts), (4, 6), last or ("relu",))


def attending(m, x):
    hidden = m.relu(m.a(x))
    weights = torch.softmax(m.q(hidden) @ m.k(hidden).transpose(1, 2) / 8**0.5, dim=-1)
    return m.head((weights @ hidden + hidden).mean(1))


def mixing(m, x):
    hidden = m.relu(m.a(x))
    mixed = torch.tanh(m.mix(hidden.transpose(1, 2))).transpose(1, 2)
    return m.head((hidden + mixed).flatten(1))


def embedded():
    parts = {"table": nn.Embedding(9, 6), "a": nn.Linear(6, 8), "head": nn.Linear(8, 4)}
    return Wired(lambda m, x: m.head(torch.relu(m.a(m.table(x).mean(1)))), **parts)


SEQUENCES = {
    "tokens": tokens(lambda m, x: m.head(m.relu(m.a(x)).mean(1))),
    "first_token": tokens(lambda m, x: m.head(m.relu(m.a(x))[:, 0])),
    "tokens_layer_norm": tokens(
        lambda m, x: m.head(m.norm(m.relu(m.a(x))).amax(1)), norm=nn.LayerNorm(8)
    ),
    "attention": tokens(attending, q=nn.Linear(8, 8), k=nn.Linear(8, 8)),
    "multihead_attention": tokens(
        lambda m, x: m.head(m.attend(h := m.relu(m.a(x)), h, h)[0].mean(1)),
        attend=nn.MultiheadAttention(8, 2, batch_first=True),
    ),
    "recurrent": tokens(
        lambda m, x: m.head(m.read(m.relu(m.a(x)))[0][:, -1]),
        "relu",
        "read",
        read=nn.GRU(8, 8, batch_first=True),
    ),
    "mixing": tokens(mixing, "relu", "tanh", mix=nn.Linear(4, 4), width=32),
    "embedded": Odd(embedded, (5,), integers=True),
}

VECTORS = {**DENSE, **SEQUENCES}
