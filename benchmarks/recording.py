"""Time recording against the bare forward passes over the same data, the two in turn.

    python benchmarks/recording.py --data ROOT

ROOT holds MNIST and CIFAR-10 in torchvision's layout. The bare passes are a loop of `model(inputs)`
in inference mode over batches of the same data set, of the size that is fastest for it, and nothing
is kept of them. A recording is a call of `record_activations`, from the untouched model to the
finished store on a local disk. The networks are trained, so that units are zero as often as real
ones.
"""

import argparse
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

import subjects
import unitlens as ul
from measuring import alternate, fastest
from unitlens.config.networks import DatasetSpec
from unitlens.data.batches import iterate_batches
from unitlens.data.prepare import load_dataset, prepare_dataset

ASKED = 0.8
BATCH_SIZES = (100, 250, 500, 1000, 2000, 5000)


@dataclass(frozen=True)
class Case:
    """A network by the data set, split and number of samples that it is recorded over."""

    model: object
    dataset: str
    split: str
    text: str


CASES = {
    "mlp": Case(
        lambda data: subjects.mlp(data, 10).model, "mnist", "train",
        "784-512-512-10, 60,000 MNIST samples",
    ),
    "convnet": Case(
        lambda data: subjects.convnet(data, 10).model, "cifar10", "test",
        "the 11-layer convnet, width 1/4, 10,000 CIFAR-10 images",
    ),
}  # fmt: skip


def prepared(case, data, room):
    """Return the samples as the workflow reads them."""
    directory = Path(room) / case.dataset
    prepare_dataset(DatasetSpec(name=case.dataset), directory, data=Path(data))
    return load_dataset(directory, case.split)


class Race:
    """Both sides, on one network and its samples."""

    def __init__(self, model, dataset, room, **options):
        self.model, self.dataset, self.options = model, dataset, options
        self.path = Path(room) / "recorded" / "acts.zarr"
        self.batch_size = BATCH_SIZES[0]

    def find_batch_size(self):
        sizes = [size for size in BATCH_SIZES if size <= len(self.dataset)] or [len(self.dataset)]
        self.batch_size = fastest(sizes, self._trial)

    def _trial(self, size):
        self._pass(size, range(min(len(self.dataset), max(BATCH_SIZES))))
        return min(len(self.dataset), max(BATCH_SIZES))

    def _pass(self, size, indices):
        with torch.inference_mode():
            batches = iterate_batches(self.dataset, size, indices=indices)
            return sum(len(self.model(inputs)) for _, inputs, _ in batches)

    def bare(self):
        return self._pass(self.batch_size, range(len(self.dataset)))

    def recorded(self):
        return ul.record_activations(self.model, self.dataset, self.path, **self.options)

    def clear(self):
        shutil.rmtree(self.path.parent, ignore_errors=True)


def run(text, race, repeats):
    """Return the row of a race."""
    race.find_batch_size()
    race.recorded()  # what is compiled once is compiled now
    size = sum(file.stat().st_size for file in race.path.rglob("*") if file.is_file())

    def recorded():
        race.clear()  # a few milliseconds
        return race.recorded()

    ours, peer = alternate(recorded, race.bare, repeats, memory=False)
    samples = len(race.dataset)
    row = {
        "work": f"recording {text}",
        "against": f"bare forward passes, batches of {race.batch_size}",
        "asked": ASKED,
        "reached": peer.median / ours.median,
        "unitlens_samples_per_second": samples / ours.median,
        "unitlens_spread": ours.spread,
        "peer_samples_per_second": samples / peer.median,
        "peer_spread": peer.spread,
        "store_mb": size / 1e6,
    }
    race.clear()
    return row


def table(rows):
    """Return the rows in Markdown."""
    lines = [
        (
            "work",
            "against",
            "asked",
            "reached",
            "unitlens samples/s",
            "peer samples/s",
            "MB stored",
        ),
        ("---",) * 7,
    ]
    for row in rows:
        sides = [
            f"{row[f'{side}_samples_per_second']:,.0f} (spread {row[f'{side}_spread']:.0%})"
            for side in ("unitlens", "peer")
        ]
        asked, reached = f"{row['asked']:g}", f"{row['reached']:.2f}"
        lines.append(
            (row["work"], row["against"], asked, reached, *sides, f"{row['store_mb']:.0f}")
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="root of the data sets, torchvision's layout")
    parser.add_argument("--only", action="append", choices=CASES, help="a case; may be repeated")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7, help="of both sides")
    parser.add_argument("--json", type=Path, help="file to write the rows to")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = []
    with tempfile.TemporaryDirectory() as room:
        for name in arguments.only or CASES:
            case = CASES[name]
            samples = prepared(case, arguments.data, room)
            race = Race(case.model(arguments.data), samples, room)
            rows.append(run(case.text, race, arguments.repeats))
            print(f"{name}: {rows[-1]['reached']:.2f}", flush=True)
    print(f"\n{table(rows)}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
