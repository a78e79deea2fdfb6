"""Time an epoch of MNIST against the usual script, the two in turn.

    python benchmarks/training_epoch.py --data ROOT

ROOT holds MNIST in torchvision's layout. Both sides train the same 784-512-512-10 network from
the same weights with SGD, momentum .9, batches of 128, on the same number of threads. The usual
script is that of PyTorch's own examples: a DataLoader over torchvision.datasets.MNIST with
ToTensor and Normalize. `--plain` adds unitlens without its own products and gradients of dense
layers (`unitlens.training.dense_gradients`), which stay only while they pay.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from unittest import mock

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from unitlens.config.networks import DatasetSpec, MLPSpec, TrainingSpec
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.training.epochs import make_optimizer, run_epoch
from unitlens.training.models import build_model
from unitlens.training.scoring import score

BATCH, RATE = 128, 0.05


def network():
    return build_model(MLPSpec(name="mlp"), input_shape=(1, 28, 28), classes=10, seed=0)


class UsualScript:
    def __init__(self, data):
        transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
        )
        train = datasets.MNIST(data, train=True, transform=transform)
        test = datasets.MNIST(data, train=False, transform=transform)
        self.train_loader = DataLoader(train, batch_size=BATCH, shuffle=True)
        self.test_loader = DataLoader(test, batch_size=1000)
        self.model = network()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=RATE, momentum=0.9)

    def train(self):
        self.model.train()
        for inputs, labels in self.train_loader:
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self.model(inputs), labels).backward()
            self.optimizer.step()

    def evaluate(self):
        self.model.eval()
        correct = 0
        with torch.no_grad():
            for inputs, labels in self.test_loader:
                correct += (self.model(inputs).argmax(1) == labels).sum().item()
        return correct / len(self.test_loader.dataset)


class Unitlens:
    def __init__(self, prepared):
        self.train_set = load_dataset(prepared, "train")
        self.test_set = load_dataset(prepared, "test")
        self.model = network()
        self.spec = TrainingSpec(epochs=100, learning_rate=RATE, batch_size=BATCH)
        self.optimizer = make_optimizer(self.model, self.spec)
        self.epoch = 0

    def train(self):
        cpu = torch.device("cpu")
        run_epoch(
            self.model, self.optimizer, self.train_set, self.spec,
            seed=0, epoch=self.epoch, device=cpu,
        )  # fmt: skip
        self.epoch += 1

    def evaluate(self):
        score(self.model, self.train_set)  # the history and the stop rule need it every epoch
        return score(self.model, self.test_set).accuracy


def no_fast_layers(_):
    return contextlib.nullcontext()


class PlainTorch(Unitlens):
    def train(self):
        with mock.patch("unitlens.training.epochs.fast_dense_layers", no_fast_layers):
            super().train()

    def evaluate(self):
        with mock.patch("unitlens.training.scoring.fast_dense_layers", no_fast_layers):
            return super().evaluate()


def seconds(action):
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="root of MNIST in torchvision's layout")
    parser.add_argument("--epochs", type=int, default=5, help="of each side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plain", action="store_true", help="also time plain torch in unitlens")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as prepared:
        prepare_dataset(DatasetSpec(name="mnist"), Path(prepared), data=Path(arguments.data))
        sides = {
            "usual script": UsualScript(arguments.data),
            "unitlens": Unitlens(Path(prepared)),
        }
        if arguments.plain:
            sides["plain torch"] = PlainTorch(Path(prepared))
        compare(sides, arguments.epochs)


def compare(sides, epochs):
    times = {name: [] for name in sides}
    scoring = {name: [] for name in sides}
    for epoch in range(epochs):
        for name, side in sides.items():
            trained, _ = seconds(side.train)
            scored, accuracy = seconds(side.evaluate)
            times[name].append(trained)
            scoring[name].append(scored)
            print(f"epoch {epoch + 1} {name}: train {trained:.2f} s, score {scored:.2f} s, "
                  f"test accuracy {accuracy:.4f}")  # fmt: skip
    both = {
        name: [sum(pair) for pair in zip(times[name], scoring[name], strict=True)] for name in sides
    }
    report("median train pass", times, statistics.median)
    report("fastest train pass", times, min)
    report("median scoring (test set; unitlens: train set too)", scoring, statistics.median)
    report("median of both", both, statistics.median)


def report(what, measured, reduce):
    ours = reduce(measured["unitlens"])
    for name, values in measured.items():
        print(f"{what}: {name} {reduce(values):.2f} s, {reduce(values) / ours:.2f}x unitlens")


if __name__ == "__main__":
    main()
