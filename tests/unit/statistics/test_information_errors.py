"""The error of the mutual information: by naive loops, by Poisson sums, and against the truth."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import digamma
from scipy.stats import norm, poisson

from activation_trees import activation_tree
from information import true_information
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.measures.information import mutual_information, table_information
from unitlens.statistics.measures.information_errors import LOST_SHARE, SURPLUS, count_terms


def entropy_term(n):
    """Return n times what the jackknife makes of the entropy's ln n, by the definition."""
    return n * (n * np.log(n) - (n - 1) * np.log(n - 1)) if n > 1 else 0.0


def grassberger_term(n):
    """Return the same after Grassberger (2003), whose jumps end at counts of ten."""
    if n == 0:
        return 0.0
    jump = (digamma((n + 1) / 2) - digamma(n / 2)) / 2 * (-1) ** n
    return n * (digamma(n) + jump * max(1 - n / 10, 0)) + n


def of_table(table, term):
    """Return N times the information of a table of counts, with a term for each count."""
    terms = np.vectorize(lambda n: float(term(n)))
    parts = [terms(counts).sum() for counts in (table, table.sum(0), table.sum(1))]
    return parts[0] - parts[1] - parts[2] + float(term(table.sum()))


def halved(table, zero):
    """Return a table with neighbouring filled columns merged, apart from that of zero."""
    merged = [table[:, [zero]]]
    for side in (table[:, :zero], table[:, zero + 1 :]):
        filled = side[:, side.any(0)]
        merged += [filled[:, k : k + 2].sum(1, keepdims=True) for k in range(0, filled.shape[1], 2)]
    return np.concatenate(merged, 1)


def error_by_hand(table, zero):
    """Return the error, leaving out sample after sample."""
    n = table.sum()
    without = []
    for cell in np.argwhere(table):
        left = table.copy()
        left[tuple(cell)] -= 1
        without += [of_table(left, entropy_term) / (n - 1)] * table[tuple(cell)]
    jackknife = (n - 1) / n * np.square(without - np.mean(without)).sum()
    phi = (table**2 / np.maximum(np.outer(table.sum(1), table.sum(0)), 1)).sum() - 1
    surplus = of_table(table, lambda count: SURPLUS[min(count, 3)]) + phi
    filled = [np.count_nonzero(counts) for counts in (table, table.sum(0), table.sum(1))]
    least = (filled[0] - filled[1] - filled[2] + 1) / 2 + phi
    information = of_table(table, entropy_term)
    bias = of_table(table, grassberger_term) - information
    lost = LOST_SHARE * max(information - of_table(halved(table, zero), entropy_term), 0) / n
    spread = np.sqrt(max(jackknife - surplus / n**2, least / n**2))
    middle, stated = (information + bias) / n, max(information / n, 0)
    likely = norm(middle, spread)

    def weighted(x):
        return likely.pdf(x) * (x - stated) ** 2

    total, _ = quad(weighted, 0, middle + 12 * spread, epsabs=1e-13, points=[max(middle, 0)])
    return np.sqrt(total / likely.sf(0) + lost**2)


def test_error__is_that_of_naive_loops():
    rng = np.random.default_rng(0)
    signs = set()
    for shape, most in (((3, 7), 4), ((4, 9), 30), ((2, 5), 12), ((6, 6), 2), ((5, 9), 9)):
        for more in (0, 3 * most):
            table = rng.integers(0, most, shape)
            table[:, 1] = 0
            table[np.arange(4) % shape[0], np.arange(4)] += more
            zero = shape[1] // 2
            information, found = table_information(table[None], table.sum(), zero)
            np.testing.assert_allclose(found, error_by_hand(table, zero), rtol=1e-6)
            signs.add(bool(information > 0))
    assert signs == {True, False}


def test_error__is_0_where_the_counts_know_nothing():
    tables = np.array([[[7, 0, 0], [3, 0, 0]], [[4, 2, 4], [0, 0, 0]]])
    assert table_information(tables, 10)[1].tolist() == [0, 0]


def test_surplus__is_that_of_poisson_counts():
    """The jackknife's variance of a Poisson count, less the variance, by sums over all counts."""
    n = np.arange(400)
    term = np.array([entropy_term(count) for count in range(401)])
    counted = np.where(n < 3, np.take(SURPLUS, np.minimum(n, 3)), SURPLUS[3])
    for mean in np.geomspace(0.1, 100, 40):
        weights = poisson.pmf(n, mean)
        variance = weights @ term[:-1] ** 2 - (weights @ term[:-1]) ** 2
        jackknife = mean * (weights @ np.diff(term) ** 2)
        assert weights @ counted == pytest.approx(jackknife - variance, abs=0.13)


def test_bias_that_is_left__is_that_of_poisson_counts():
    """Of n ln n: the jackknife's is up to -.06 for a count, that with the difference next to 0."""
    step, _, left, _ = count_terms(400)
    n = np.arange(401)
    of_jackknife = []
    for mean in np.geomspace(2, 100, 30):
        weights = poisson.pmf(n, mean)
        truth = mean * np.log(mean)
        of_jackknife.append(weights @ (step - n) - truth)
        assert weights @ (step + left - n) == pytest.approx(truth, abs=0.012)
    assert min(of_jackknife) < -0.055


def test_terms__of_counts_beyond_those_looked_up_go_on():
    """A table of 100,000 samples, most in one cell, against the same terms looked up."""
    table = np.array([[70_000, 9_000, 2], [11_000, 9_990, 8]])
    information, error = table_information(table[None], table.sum(), 1)
    np.testing.assert_allclose(information, of_table(table, entropy_term) / table.sum(), rtol=1e-7)
    smaller = table_information(table[None] // 2, table.sum() // 2, 1)[1]
    np.testing.assert_allclose(error * np.sqrt(2), smaller, rtol=0.02)


def estimates(classes, samples, spread, units, seed):
    """Return estimates of drawn units over drawn labels less the truth, and their errors."""
    rng = np.random.default_rng([classes, samples, int(10 * spread), seed])
    means = spread * rng.normal(size=(units, classes))
    truth = np.array([true_information(row, points=4001) for row in means]) if spread else 0.0
    labels = rng.integers(0, classes, samples)
    values = np.maximum(means[:, labels] + rng.normal(size=(units, samples)), 0).T
    table = mutual_information(class_statistics(activation_tree({"x": values}, labels)))
    return table["mutual_information"].values - truth, table["mutual_information_se"].values


# Share of units with the truth within 1.96 errors, at least, for no information and for more and
# more, as docs/information.md has it; 500 units of 10 classes tell a share of .95 to .010, 160 of
# 100 to .017.
SPREADS = (0.0, 0.2, 0.5, 1.5, 3.0)
COVERED = {
    (10, 1000): (0.98, 0.93, 0.91, 0.92, 0.92),
    (10, 3000): (0.98, 0.92, 0.92, 0.92, 0.92),
    (10, 10_000): (0.98, 0.92, 0.92, 0.92, 0.92),
    (100, 1000): (0.95, 0.95, 0.95, 0.95, 0.86),
    (100, 3000): (0.98, 0.95, 0.95, 0.93, 0.90),
    (100, 10_000): (0.98, 0.93, 0.93, 0.93, 0.88),
}


@pytest.mark.parametrize(("classes", "samples"), COVERED)
def test_coverage__of_the_truth_by_1_96_errors(classes, samples):
    for spread, least in zip(SPREADS, COVERED[classes, samples], strict=True):
        units, draws = (50, 10) if classes == 10 else (20, 8)
        drawn = [estimates(classes, samples, spread, units, seed) for seed in range(draws)]
        away, error = np.concatenate(drawn, axis=1)
        assert (abs(away) <= 1.96 * error).mean() >= least, spread
        if spread >= 0.5:  # not needlessly large
            assert np.sqrt(np.mean(error**2)) < 1.6 * np.sqrt(np.mean(away**2)), spread
