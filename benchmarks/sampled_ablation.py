"""Ablation on drawn pairs against plain samples and against the exact engine, in one run.

    python benchmarks/sampled_ablation.py --data data --subjects mlp convnet efficientnet

Of each network: by how much the variance of the loss increase falls at equal numbers of pairs,
against plain sampling of samples, layer by layer; how often the intervals hold the exact value; and
the wall time, against all pairs, of the rate whose mean standard error is 2 % of the spread of
importance over units, and of the tolerance that is 2 % of it, which no standard error exceeds.
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import spearmanr

import subjects
import unitlens as ul
from measuring import seconds

RATE = 0.05  # share of pairs at which variances are compared
ERROR = 0.02  # of the spread of importance over units
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


def rate_for(error, reached):
    """Return the rate of a mean standard error, from that which RATE has reached."""
    against = (1 / RATE - 1) * (error / reached) ** 2
    return 1 / (1 + against)


def sample(case, exact, exact_s, **arguments):
    """Return how a sampled run compares with the exact one."""
    took, sampled = seconds(lambda: ablate(case, **arguments))
    spread = float(exact["loss_increase"].std())
    return {
        "seconds": took,
        "speed": exact_s / took,
        "share": sampled.attrs["pair_share"],
        "error": float(sampled["loss_increase_sampling_se"].mean()) / spread,
        "rank": spearmanr(sampled["loss_increase"], exact["loss_increase"])[0],
        "reliability": sampled.attrs["ranking_reliability"],
    }


def compare(case):
    """Return rows by layer, and how the exact and the sampled runs compare as a whole."""
    exact_s, exact = seconds(lambda: ablate(case))
    runs = [ablate(case, rate=RATE, seed=seed) for seed in range(case.seeds)]
    wanted = ERROR * float(exact["loss_increase"].std())
    reached = np.mean([run["loss_increase_sampling_se"].mean() for run in runs])
    mean = sample(case, exact, exact_s, rate=rate_for(wanted, reached))
    largest = sample(case, exact, exact_s, tolerance=wanted)
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
    everywhere = (plain > 0) & (ours > 0)
    return rows, {
        "samples": samples,
        "units": len(expected),
        "median": np.median(plain[everywhere] / ours[everywhere]),
        "exact_s": exact_s,
        "rate": mean,
        "tolerance": largest,
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
    print(f"\nAll units: median {whole['median']:.1f}x. All pairs: {whole['exact_s']:.1f} s.\n")
    print(
        "| setting | s | as fast as all pairs | pairs | mean error / spread "
        "| rank correlation with the exact importance | reliability |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for setting, of in (
        (f"a rate with a mean error of {ERROR:.0%} of the spread", whole["rate"]),
        (f"a tolerance of {ERROR:.0%} of the spread", whole["tolerance"]),
    ):
        print(
            f"| {setting} | {of['seconds']:.1f} | {of['speed']:.1f}x | {of['share']:.1%} "
            f"| {of['error']:.2%} | {of['rank']:.4f} | {of['reliability']:.4f} |",
            flush=True,
        )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data", help="folder with MNIST, CIFAR-10, Imagenette")
    parser.add_argument(
        "--subjects", nargs="+", default=["mlp", "convnet", "efficientnet"], metavar="NAME"
    )
    parser.add_argument("--size", type=float, default=1.0, help="share of samples and of seeds")
    parser.add_argument("--seeds", type=int, help="number of seeds; by default more of small cases")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    for name in given.subjects:
        case = make_case(name, given.data, given.size)
        case = case if given.seeds is None else replace(case, seeds=given.seeds)
        show(name, case, *compare(case))


if __name__ == "__main__":
    main()
