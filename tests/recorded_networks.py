"""Networks and data to record, and a process that records them and waits to be killed."""

import sys
import time
from pathlib import Path

import torch
from torch import nn

from unitlens.recording import record
from unitlens.store.format.layout import Layout

SMALL = Layout(chunk_bytes=2**10, shard_bytes=2**12)


class Samples:
    """Normal inputs with labels, of which some differ from the true ones."""

    def __init__(self, samples, shape, classes=10, seed=0, pause=0.0):
        generator = torch.Generator().manual_seed(seed)
        self.inputs = torch.randn(samples, *shape, generator=generator)
        self.labels = torch.randint(0, classes, (samples,), generator=generator).numpy()
        self.true_labels = self.labels.copy()
        self.true_labels[::3] = (self.true_labels[::3] + 1) % classes
        self.pause = pause

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        time.sleep(self.pause)
        return self.inputs[index], int(self.labels[index])


# Most samples that a recording asks for beside those that it runs: one for the form of the
# targets, eight to find the layers, eight
# twice to see whether they stay the same, 64 to check the list of labels, and those that are
# compared with a store.
COMPARED = 1 + 8 + 16 + 64 + 20


def seeded(build):
    def network():
        torch.manual_seed(0)
        built = build()
        for module in built.modules():
            if isinstance(module, nn.BatchNorm2d):  # statistics that make eval differ from train
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        return built

    return network


@seeded
def mlp():
    return nn.Sequential(
        nn.Linear(12, 20),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(20, 15),
        nn.ReLU(),
        nn.Linear(15, 10),
    )


@seeded
def convnet():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


class Residual(nn.Module):
    """A network with one in-place ReLU that is used three times, and an in-place sum."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.one = nn.Conv2d(6, 6, 3, padding=1)
        self.two = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 10)

    def forward(self, x):
        identity = self.relu(self.stem(x))
        out = self.relu(self.norm(self.one(identity)))
        out = self.two(out)
        out += identity
        return self.head(self.relu(out).mean((2, 3)))


residual = seeded(Residual)

NETWORKS = {"mlp": (mlp, (12,)), "convnet": (convnet, (3, 8, 8)), "residual": (residual, (3, 8, 8))}


def record_small(model, dataset, path, **options):
    """Record into many small shards."""
    whole = record.DEFAULT_LAYOUT
    record.DEFAULT_LAYOUT = SMALL
    try:
        return record.record_activations(model, dataset, path, **options)
    finally:
        record.DEFAULT_LAYOUT = whole


if __name__ == "__main__":
    torch.set_num_threads(1)
    dataset = Samples(600, (3, 8, 8), pause=0.001)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    record_small(convnet(), dataset, Path(sys.argv[1]), batch_size=16, maps={"samples": 30})
