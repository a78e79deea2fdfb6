"""Small networks for the tests of layers and perturbations, and naive passes with forward hooks."""

from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Pairs:
    """A map-style data set of given inputs and labels."""

    def __init__(self, inputs, labels):
        self.inputs, self.labels = inputs, torch.as_tensor(labels)

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return self.inputs[index], int(self.labels[index])


class Wired(nn.Module):
    """Modules and the function that runs them."""

    def __init__(self, wiring, **parts):
        super().__init__()
        self.wiring = wiring
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.wiring(self, x)


def random_pairs(samples, *shape, classes=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, *shape, generator=generator, dtype=dtype)
    return Pairs(inputs, torch.randint(0, classes, (samples,), generator=generator))


def by_hand():
    """Two inputs, three hidden units (the last is dead), two logits, all weights set.

    h = relu(x0, x1 - x0, -1), logits = (h0 + 2 h2, 2 h1).
    """
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, 0.0]]))
        model[0].bias.copy_(torch.tensor([0.0, 0.0, -1.0]))
        model[2].weight.copy_(torch.tensor([[1.0, 0.0, 2.0], [0.0, 2.0, 0.0]]))
    return model.double()


def seeded(build):
    def network(*arguments, **options):
        torch.manual_seed(0)
        model = build(*arguments, **options)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.track_running_stats:
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.5, 2)
        return model.double()

    return network


@seeded
def mlp(widths=(9, 7), inputs=6):
    layers, before = [], inputs
    for width in widths:
        layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5)]
        before = width
    return nn.Sequential(*layers, nn.Linear(before, 4))


@seeded
def plain_mlp():
    return nn.Sequential(
        nn.Linear(6, 9), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(9, 8), nn.Tanh(),
        nn.Linear(8, 4),
    )  # fmt: skip


@seeded
def convnet():
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(6, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5),
        nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4),
    )  # fmt: skip


class Residual(nn.Module):
    """One in-place ReLU module that is called three times, a sum, and a size that is used late."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 5, 3, padding=1)
        self.first = nn.Conv2d(5, 5, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(5)
        self.second = nn.Conv2d(5, 5, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(5 * 9, 4)

    def forward(self, x):
        samples = x.shape[0]
        identity = self.relu(self.stem(x))
        out = self.relu(self.norm(self.first(identity)))
        out = self.second(out)
        out += identity
        out = functional.adaptive_avg_pool2d(self.relu(out), 3)
        return self.head(out.view(samples, -1))


residual = seeded(Residual)


class Preactivated(nn.Module):
    """A functional in-place ReLU whose result is dropped: later operations read its input."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        hidden = self.first(x)
        torch.relu_(hidden)
        return self.head(functional.gelu(self.second(hidden)) + hidden)


preactivated = seeded(Preactivated)


class Untraceable(nn.Module):
    """Control flow on numbers; one ReLU module, called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 4)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        hidden = self.act(self.first(x))
        if hidden.sum() < -1:
            return self.head(hidden)
        return self.head(self.act(self.second(hidden)))


untraceable = seeded(Untraceable)


@seeded
def batch_dependent():
    """Batch norm without running statistics: samples of one batch depend on each other."""
    return nn.Sequential(
        nn.Linear(6, 5), nn.ReLU(), nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 4)
    )


# Name, builder, shape of an input, and the (module, call) of each layer in order.
NETWORKS = {
    "mlp": (mlp, (6,), [("2", 0), ("6", 0)]),
    "plain_mlp": (plain_mlp, (6,), [("1", 0), ("4", 0)]),
    "convnet": (convnet, (2, 8, 8), [("2", 0), ("6", 0)]),
    "residual": (residual, (2, 7, 7), [("relu", 0), ("relu", 1), ("relu", 2)]),
    "untraceable": (untraceable, (6,), [("act", 0), ("act", 1)]),
    "batch_dependent": (batch_dependent, (6,), [("1", 0)]),
}


@contextmanager
def hooked(model, edits):
    """Run `edits[module, call]` on the outputs of the calls of activation modules."""
    calls, handles = {}, []

    def hook(module, _, output, *, name):
        number = calls.get(name, 0)
        calls[name] = number + 1
        edit = edits.get((name, number))
        return None if edit is None else edit(output.clone())

    for name in {name for name, _ in edits}:
        module = model.get_submodule(name)
        handles.append(
            module.register_forward_hook(lambda m, a, o, name=name: hook(m, a, o, name=name))
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def naive_logits(model, inputs, edits):
    model.eval()
    with hooked(model, edits), torch.no_grad():
        return model(inputs)


def naive_scores(model, pairs, edits):
    """Return loss and hit of each sample."""
    logits = naive_logits(model, pairs.inputs.clone(), edits)
    losses = functional.cross_entropy(logits.double(), pairs.labels, reduction="none").numpy()
    return losses, (logits.argmax(1) == pairs.labels).numpy().astype(float)


def widths(model, pairs, places):
    """Return the number of units (axis 1) of each place."""
    counts = {}

    def note(place):
        def edit(output):
            counts[place] = output.shape[1]
            return output

        return edit

    naive_logits(model, pairs.inputs[:2].clone(), {place: note(place) for place in places})
    return [counts[place] for place in places]


def clamp(channels, values):
    def edit(output):
        for channel, value in zip(channels, values, strict=True):
            output[:, channel] = value
        return output

    return edit


def relative(measured, expected):
    """Return the largest difference in units of the largest expected number."""
    measured, expected = np.asarray(measured), np.asarray(expected)
    return np.max(np.abs(measured - expected)) / max(np.max(np.abs(expected)), 1e-300)


def trained_on_noise():
    """A network of 12 and 10 units, trained for a while on noisy labels; and its data."""
    torch.manual_seed(0)
    inputs = torch.randn(400, 8)
    labels = (inputs @ torch.randn(8, 4) + 2 * torch.randn(400, 4)).argmax(1)
    model = nn.Sequential(
        nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 4)
    )
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return model.double().eval(), Pairs(inputs.double(), labels)
