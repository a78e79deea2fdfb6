"""How often the 95 % intervals of drawn pairs hold the exact value, over many seeds.

    python benchmarks/sampled_coverage.py --data data --seeds 1000

Each pair of a unit and a sample is run once. Every seed then draws its pairs among them, so that a
seed costs no pass of the network: rates, sums and intervals are those of `unit_ablation`.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import torch

import subjects
import unitlens as ul
from sampled_ablation import FEWEST
from unitlens.data.items import ItemForm
from unitlens.perturbation.engine.effects import Effect
from unitlens.perturbation.engine.perturbed_directions import Units
from unitlens.perturbation.engine.steps import every_step
from unitlens.perturbation.sampling.drawn_directions import DrawnDirections
from unitlens.perturbation.sampling.predicted_changes import Predictions
from unitlens.perturbation.sampling.sampled_importance import PairSampling, SampledAblation
from unitlens.perturbation.session import Settings, open_session
from unitlens.perturbation.values.unit_values import units_of

PAIRS = 60  # of the median unit


@dataclass(frozen=True)
class AllPairs:
    """What all pairs of some units and all samples give.

    Attributes
    ----------
    predictions
        Predictions of all pairs.
    base
        Outputs of the unperturbed network, (samples, classes).
    outputs
        Outputs of all pairs, (units, samples, classes).
    """

    predictions: Predictions
    base: torch.Tensor
    outputs: torch.Tensor


@dataclass(frozen=True)
class Replayed:
    """The ablation of units on one batch, of which all pairs are known."""

    pairs: AllPairs
    samples: torch.Tensor

    def predictions(self):
        whole = self.pairs.predictions
        of_batch = (whole.changes, whole.sizes, whole.changed)
        return Predictions(*(values[:, self.samples] for values in of_batch))

    def outputs(self, drawn, is_due):
        assert is_due(int(drawn.sum()))
        rows, samples = drawn.nonzero(as_tuple=True)
        found = self.pairs.outputs[rows, self.samples[samples]]
        return self.pairs.base[self.samples], [Effect(rows, samples, found)]


def units_by_layer(session):
    """Return the units of each layer, clamped to zero."""
    first, by_layer = 0, []
    for layer in session.layers:
        channels = torch.arange(layer.units)
        zero = lambda _, activation: torch.zeros((), dtype=activation.dtype)  # noqa: E731
        by_layer.append(Units(layer, channels, zero, first + channels))
        first += layer.units
    return by_layer


def run_all_pairs(session):
    """Run every pair of a unit and a sample once."""
    by_layer, predictions, bases = units_by_layer(session), [], []
    outputs = None
    for batch in session.batches("all pairs", at_most=100):
        ablation = DrawnDirections(session, batch, by_layer)
        predictions.append(ablation.predictions())
        base, effects = ablation.outputs(torch.ones_like(predictions[-1].changed), every_step)
        bases.append(base)
        if outputs is None:
            outputs = torch.empty(session.units, session.samples, base.shape[1])
        positions = torch.as_tensor(batch.positions)
        outputs[:, positions] = base
        for effect in effects:
            outputs[effect.table_rows, positions[effect.samples]] = effect.logits
    return AllPairs(Predictions.of_all(predictions), torch.cat(bases), outputs)


def coverage(subject, seeds, pairs=PAIRS):
    """Return rows by layer, with the shares of the seeds whose intervals hold the exact value."""
    settings = Settings(None, None, 0, 1_000_000, "cpu", 4.0, "top1", None, None, ItemForm())
    with open_session(subject.model, subject.dataset, settings, "units") as session:
        everything = run_all_pairs(session)
        exact = ul.unit_ablation(subject.model, subject.dataset)
        changed = everything.predictions.changed.sum(1)
        sampling = PairSampling(min(pairs / float(changed.double().median()), 1.0), None)
        held, drawn = np.zeros(session.units), np.zeros(session.units)
        for seed in range(seeds):
            session.seed = seed
            table = SampledAblation(
                session,
                lambda batch: Replayed(everything, torch.as_tensor(batch.positions)),
                np.arange(session.units),
                sampling,
            ).table(units_of(session.layers), schema="unit_ablation", value="zero")
            low, high = (table[f"loss_increase_{end}"] for end in ("low", "high"))
            held += ((low <= exact["loss_increase"]) & (exact["loss_increase"] <= high)).to_numpy()
            drawn += table["pairs"].to_numpy()
    shares, means, rows = held / seeds, drawn / seeds, []
    depths = exact["depth"].to_numpy()
    for depth in np.unique(depths):
        judged = (depths == depth) & (means >= FEWEST)
        of_layer = shares[judged]
        known = {"median": np.median(of_layer), "least": of_layer.min()} if len(of_layer) else {}
        rows.append({"layer": depth + 1, "units": len(of_layer), "pairs": means[judged].mean()
                     if len(of_layer) else np.nan, **known})  # fmt: skip
    return rows


def show(name, subject, seeds, rows):
    print(f"\n### {name}: {subject.text}, {seeds} seeds, {PAIRS} pairs of the median unit\n")
    print(f"| layer | units with at least {FEWEST} pairs | pairs of a unit | median | least unit |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        shares = " | ".join(f"{row[key]:.3f}" if key in row else "-" for key in ("median", "least"))
        print(f"| {row['layer']} | {row['units']} | {row['pairs']:.0f} | {shares} |", flush=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data", help="folder with MNIST and CIFAR-10")
    parser.add_argument("--subjects", nargs="+", default=["mlp", "convnet"], metavar="NAME")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=1000)
    given = parser.parse_args(arguments)
    make = {"mlp": subjects.mlp, "convnet": subjects.trained_convnet}
    for name in given.subjects:
        subject = make[name](given.data, given.samples)
        show(name, subject, given.seeds, coverage(subject, given.seeds))


if __name__ == "__main__":
    main()
