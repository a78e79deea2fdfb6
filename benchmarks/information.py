"""Mutual information where the truth is known: ours, scikit-learn's and the uncorrected plug-in.

Units are rectified Gaussians: max(N(mean of the class, 1), 0), with a mean drawn for each unit and
class and classes drawn for each sample. Their information is an integral, found by quadrature.

    python benchmarks/information.py --figure docs/pictures/information.svg
"""

import argparse
import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.ticker import LogLocator, NullLocator
from scipy.stats import norm
from sklearn.feature_selection import mutual_info_classif

from unitlens.plot.style import (
    COLOURS,
    DASHES,
    MARKERS,
    draw_legend,
    new_figure,
    styled,
)
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.measures.information import (
    default_bins,
    merge_bins,
    mutual_information,
    zero_bin,
)

SEPARATIONS = (0.5, 1.5, 3.0)  # deviation of the classes' means, in turn from unit to unit
CLASSES = (2, 10, 100)
SAMPLES = (300, 1000, 3000, 10_000, 30_000, 100_000)
TAILS = (0.0, 0.5, 1.0, 2.0, 4.0)
LEVELS = {"none": 0.0, "weak": 0.5, "strong": 1.5, "very strong": 3.0}  # deviation of the means
DRAWS = 20  # of the labels, for the coverage
ESTIMATORS = ("unitlens", "scikit-learn", "plug-in")


@dataclass(frozen=True)
class Units:
    """Activations (samples, units) with their labels, and the information that they hold."""

    values: np.ndarray
    labels: np.ndarray
    truth: np.ndarray


def true_information(means, points=20_001):
    """Return the information in nats of max(N(mean, 1), 0), for equally likely classes."""
    x = np.linspace(0, max(means.max(), 0) + 9, points)[:, None]
    density = norm.pdf(x - means)
    mean = density.mean(axis=1, keepdims=True)
    above = density * np.log(np.maximum(density, 1e-300) / np.maximum(mean, 1e-300))
    silent = norm.cdf(-means)
    at_zero = silent * np.log(np.maximum(silent, 1e-300) / silent.mean())
    return np.trapezoid(above.mean(axis=1), x[:, 0]) + at_zero.mean()


def draw_units(samples, classes, units, *, tail=0.0, seed=0, separations=SEPARATIONS):
    """Draw units; `tail` > 0 makes x to (exp(tail x) - 1) / tail, which keeps the information."""
    rng = np.random.default_rng([seed, samples, classes])
    spread = np.resize(separations, units)[:, None]
    means = spread * rng.normal(size=(units, classes))
    labels = rng.integers(0, classes, samples)
    values = np.maximum(means[:, labels] + rng.normal(size=(units, samples)), 0).T
    if tail:
        values = np.expm1(tail * values) / tail
    truth = np.array([true_information(row) for row in means])
    return Units(values.astype(np.float32), labels, truth)


def statistics_of(units, **options):
    """Return the class statistics of units that lie in memory."""
    layer = xr.Dataset({"activation": (("sample", "unit"), units.values)})
    root = xr.Dataset(coords={"label": ("sample", units.labels)})
    return class_statistics(xr.DataTree.from_dict({"/": root, "/units": layer}), **options)


def plugin(stats):
    """Return the information of the table of counts in the bins that unitlens takes."""
    histogram, zero = stats["histogram"].to_numpy(), zero_bin(stats["bin_edges"].to_numpy())
    entropy = mutual_information(stats).attrs["class_entropy"]
    share = merge_bins(histogram, zero, default_bins(histogram, zero, entropy))
    share = share / share.sum(axis=(1, 2), keepdims=True)
    outer = share.sum(axis=1, keepdims=True) * share.sum(axis=2, keepdims=True)
    ratio = np.divide(share, outer, out=np.ones_like(share), where=share > 0)
    return (share * np.log(ratio)).sum(axis=(1, 2))


def neighbours(units):
    """Return scikit-learn's estimates, by nearest neighbours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes with a single sample
        return mutual_info_classif(units.values, units.labels, random_state=0)


def measure(samples, classes, units):
    """Return a row: mean, deviation and mean size of the error of each estimator."""
    drawn = draw_units(samples, classes, units)
    stats = statistics_of(drawn)
    ours = mutual_information(stats)
    found = (ours["mutual_information"].to_numpy(), neighbours(drawn), plugin(stats))
    row = {"classes": classes, "samples": samples, "truth": drawn.truth.mean()}
    for name, values in zip(ESTIMATORS, found, strict=True):
        error = values - drawn.truth
        row[name] = (error.mean(), error.std(), np.abs(error).mean())
    stated = ours["mutual_information_se"].to_numpy()
    varies = stated > 0  # not dead
    row["within"] = (np.abs(found[0] - drawn.truth) <= 1.96 * stated)[varies].mean()
    return row


def measure_coverage(samples, classes, level, units):
    """Return how far off estimates are, what they state, and how often the truth is within."""
    away, stated, truth = [], [], []
    for seed in range(DRAWS):
        share = units * 10 // DRAWS
        drawn = draw_units(samples, classes, share, seed=seed + 1, separations=[LEVELS[level]])
        ours = mutual_information(statistics_of(drawn))
        known = ours["mutual_information_se"].to_numpy() > 0  # not dead
        away.append((ours["mutual_information"].to_numpy() - drawn.truth)[known])
        stated.append(ours["mutual_information_se"].to_numpy()[known])
        truth.append(drawn.truth)
    off, error = np.concatenate(away), np.concatenate(stated)
    return {
        "classes": classes, "samples": samples, "level": level,
        "truth": np.concatenate(truth).mean(), "bias": off.mean(), "deviation": off.std(),
        "stated": np.sqrt(np.mean(error**2)), "size": np.sqrt(np.mean(off**2)),
        "within": (np.abs(off) <= 1.96 * error).mean(),
    }  # fmt: skip


def coverage_table(rows):
    """Return the table of the errors that are stated, in thousandths of a nat."""
    names = ("information", "true nats", "bias, deviation", "error", "stated error")
    names += ("within 1.96 errors",)
    lines = [
        f"| classes | samples | {' | '.join(names)} |",
        "| --- " * 8 + "|",
    ]
    lines += [
        f"| {row['classes']} | {row['samples']:,} | {row['level']} | {row['truth']:.3f} | "
        f"{1e3 * row['bias']:+.1f}, {1e3 * row['deviation']:.1f} | {1e3 * row['size']:.1f} | "
        f"{1e3 * row['stated']:.1f} | {row['within']:.0%} |"
        for row in rows
    ]
    return "\n".join(lines)


def measure_tail(tail, fine_bins, units):
    """Return mean bound and mean sizes of the errors at 10,000 samples of 10 classes."""
    drawn = draw_units(10_000, 10, units, tail=tail)
    stats = statistics_of(drawn, fine_bins=fine_bins)
    table = mutual_information(stats)
    ours = table["mutual_information"].to_numpy()
    bound = table["mutual_information_bound"].mean().item()
    filled = (stats["histogram"].sum("class") > 0).sum("bin").mean().item()
    sizes = (np.abs(found - drawn.truth).mean() for found in (ours, neighbours(drawn)))
    return (tail, fine_bins, filled, *sizes, bound)


def table(rows):
    """Return the table of the errors, in thousandths of a nat."""
    names = " | ".join(f"{name}: mean, deviation, mean size" for name in ESTIMATORS)
    lines = [
        f"| classes | samples | true nats | {names} | within 1.96 errors |",
        "| --- " * (4 + len(ESTIMATORS)) + "|",
    ]
    for row in rows:
        errors = " | ".join(
            "{:+.1f}, {:.1f}, {:.1f}".format(*(1e3 * value for value in row[name]))
            for name in ESTIMATORS
        )
        lines.append(
            f"| {row['classes']} | {row['samples']:,} | {row['truth']:.3f} | {errors} | "
            f"{row['within']:.0%} |"
        )
    return "\n".join(lines)


def tail_table(rows):
    lines = [
        "| tail | fine bins | filled | unitlens: mean size | scikit-learn: mean size | bound |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {tail:g} | {fine} | {filled:.0f} | {1e3 * ours:.1f} | {1e3 * peer:.1f} | "
        f"{1e3 * bound:.0f} |"
        for tail, fine, filled, ours, peer, bound in rows
    ]
    return "\n".join(lines)


@styled
def draw(rows):
    """Return the figure: mean error and its deviation against samples, a column a class count."""
    figure = new_figure(height=5.0)
    panels = figure.subplots(2, len(CLASSES), sharex=True, sharey="row")
    for column, classes in enumerate(CLASSES):
        chosen = [row for row in rows if row["classes"] == classes]
        samples = [row["samples"] for row in chosen]
        for place, name in enumerate(ESTIMATORS):
            for part, axes in enumerate(panels[:, column]):
                axes.plot(
                    samples,
                    [row[name][part] for row in chosen],
                    color=COLOURS[place],
                    marker=MARKERS[place],
                    linestyle=DASHES[place],
                    label=name,
                )
        panels[0, column].set_title(f"{classes} classes")
        panels[1, column].set_xlabel("samples")
    panels[0, 0].set_yscale("symlog", linthresh=0.01)
    panels[0, 0].set_ylabel("mean error / nats")
    panels[1, 0].set_yscale("log")
    panels[1, 0].set_ylabel("deviation of the error / nats")
    for axes in panels.flat:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=4))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
    for axes in panels[0]:
        axes.axhline(0, color="black", linewidth=0.8)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    draw_legend(figure, dict(zip(labels, handles, strict=True)))
    return figure


@styled
def save(figure, path):
    figure.savefig(path, metadata={"Date": None} if path.endswith("svg") else None)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=60, help="units of each row")
    parser.add_argument("--most", type=int, default=SAMPLES[-1], help="largest number of samples")
    parser.add_argument("--figure", help="where to write the figure, as SVG or PNG")
    options = parser.parse_args(arguments)
    rows = [
        measure(samples, classes, options.units)
        for classes in CLASSES
        for samples in SAMPLES
        if samples <= options.most
    ]
    print(table(rows), "", sep="\n")
    tails = [measure_tail(t, fine, options.units) for t in TAILS for fine in (128, 1024)]
    print(tail_table(tails), "", sep="\n")
    covered = [
        measure_coverage(samples, classes, level, options.units)
        for classes in (10, 100)
        for samples in (1000, 3000, 10_000)
        for level in LEVELS
        if samples <= options.most
    ]
    print(coverage_table(covered))
    if options.figure:
        save(draw(rows), options.figure)
    return rows


if __name__ == "__main__":
    main()
