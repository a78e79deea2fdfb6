"""Ablation on drawn pairs against plain samples and against the exact engine, in one run.

    python benchmarks/sampled_ablation.py --data data --subjects mlp convnet efficientnet

Of each network: by how much the variance of the loss increase falls at equal numbers of pairs,
against plain sampling of samples, layer by layer; how often the intervals hold the exact value; and
the wall time of a tolerance of 2 % of the spread of importance over units, against all pairs.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr

import subjects
import unitlens as ul
from measuring import seconds

RATE = 0.05  # share of pairs at which variances are compared
TOLERANCE = 0.02  # of the spread of importance over units
FEWEST = 50  # pairs of a unit, from which intervals are judged


@dataclass(frozen=True)
class Case:
    """A network, the units of each layer on which it is measured, and the number of seeds.

    A seed chooses the units of a layer too, so that a choice has one seed.
    """

    subject: subjects.Subject
    per_layer: int | None
    seeds: int


def make_case(name, data, size):
    """Return a case; `size` scales its samples and seeds."""
    if name == "mlp":
        return Case(subjects.mlp(data, int(10_000 * size)), None, max(4, int(40 * size)))
    if name == "convnet":
        return Case(
            subjects.trained_convnet(data, int(10_000 * size)), None, max(2, int(20 * size))
        )
    return Case(subjects.efficientnet(data, max(int(500 * size), 20)), 4, 1)


def ablate(case, **arguments):
    return ul.unit_ablation(
        case.subject.model, case.subject.dataset, units_per_layer=case.per_layer, **arguments
    )


def compare(case):
    """Return rows by layer, and the tables and times of the exact and the sampled run."""
    exact_s, exact = seconds(lambda: ablate(case))
    spread = float(exact["loss_increase"].std())
    sampled_s, sampled = seconds(lambda: ablate(case, tolerance=TOLERANCE * spread))
    runs = [ablate(case, rate=RATE, seed=seed) for seed in range(case.seeds)]
    samples = exact.attrs["samples"]
    over_samples = exact["loss_increase_se"].to_numpy() ** 2
    plain = over_samples * (1 / RATE - 1)
    ours = np.mean([run["loss_increase_sampling_se"].to_numpy() ** 2 for run in runs], axis=0)
    expected = exact["loss_increase"].to_numpy()
    held = np.mean(
        [
            (run["loss_increase_low"].to_numpy() <= expected)
            & (expected <= run["loss_increase_high"].to_numpy())
            for run in runs
        ],
        axis=0,
    )
    pairs = np.mean([run["pairs"].to_numpy() for run in runs], axis=0)
    depth, rows = exact["depth"].to_numpy(), []
    for number in np.unique(depth):
        alive = (depth == number) & (plain > 0) & (ours > 0)
        judged = alive & (pairs >= FEWEST)
        rows.append(
            {
                "layer": number + 1,
                "median": np.median(plain[alive] / ours[alive]),
                "of means": plain[alive].mean() / ours[alive].mean(),
                "least": (plain[alive] / ours[alive]).min(),
                "held": held[judged].mean() if judged.any() else np.nan,
            }
        )
    errors = sampled["loss_increase_sampling_se"].to_numpy()
    everywhere = (plain > 0) & (ours > 0)
    return rows, {
        "samples": samples,
        "units": len(expected),
        "median": np.median(plain[everywhere] / ours[everywhere]),
        "exact_s": exact_s,
        "sampled_s": sampled_s,
        "speed": exact_s / sampled_s,
        "share": sampled.attrs["pair_share"],
        "error": errors.mean() / spread,
        "rank": spearmanr(sampled["loss_increase"], expected)[0],
        "reliability": sampled.attrs["ranking_reliability"],
    }


def show(name, case, rows, whole):
    print(f"\n### {name}: {case.subject.text}, {whole['units']} units\n")
    print(
        f"| layer | variance, plain / drawn pairs at {RATE:.0%} (median) | ratio of means "
        "| least unit | intervals that hold |"
    )
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        held = "-" if np.isnan(row["held"]) else f"{row['held']:.2f}"
        print(f"| {row['layer']} | {row['median']:.1f}x | {row['of means']:.1f}x | "
              f"{row['least']:.1f}x | {held} |")  # fmt: skip
    print(
        f"\nAll units: median {whole['median']:.1f}x. A tolerance of {TOLERANCE:.0%} of the "
        f"spread: {whole['sampled_s']:.1f} s against {whole['exact_s']:.1f} s of all pairs "
        f"({whole['speed']:.1f}x), {whole['share']:.1%} of the pairs, mean error "
        f"{whole['error']:.2%} of the spread, rank correlation with the exact importance "
        f"{whole['rank']:.4f}, reliability {whole['reliability']:.4f}.",
        flush=True,
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data", help="folder with MNIST, CIFAR-10, Imagenette")
    parser.add_argument(
        "--subjects", nargs="+", default=["mlp", "convnet", "efficientnet"], metavar="NAME"
    )
    parser.add_argument("--size", type=float, default=1.0, help="share of samples and of seeds")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    for name in given.subjects:
        case = make_case(name, given.data, given.size)
        show(name, case, *compare(case))


if __name__ == "__main__":
    main()
