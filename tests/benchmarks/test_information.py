"""The benchmark of mutual information: the truth is true, and what is asked of ours holds."""

import numpy as np
from scipy.integrate import quad
from scipy.stats import norm

from information import draw_units, main, measure, measure_tail, true_information


def test_true_information__equals_adaptive_quadrature():
    means = np.array([-1.0, 0.3, 2.5])

    def integrand(x):
        density = norm.pdf(x - means)
        return np.mean(density * np.log(density / density.mean()))

    silent = norm.cdf(-means)
    expected = np.mean(silent * np.log(silent / silent.mean())) + quad(integrand, 0, 12)[0]
    np.testing.assert_allclose(true_information(means), expected, rtol=1e-6)
    np.testing.assert_allclose(true_information(np.array([-40.0, 40.0])), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(true_information(np.zeros(4)), 0, atol=1e-12)


def test_draw_units__tails_keep_zeros_order_and_truth():
    one, other = draw_units(50, 3, 6), draw_units(50, 3, 6, tail=1.0)
    np.testing.assert_array_equal(one.truth, other.truth)
    np.testing.assert_array_equal(one.values == 0, other.values == 0)
    np.testing.assert_allclose(np.expm1(one.values), other.values, rtol=1e-5)


def test_measure__at_10000_samples_of_10_classes_ours_is_near_and_no_worse_than_the_peer():
    row = measure(10_000, 10, 45)
    ours, peer = row["unitlens"][2], row["scikit-learn"][2]
    assert ours <= 0.01
    assert ours <= peer
    assert row["plug-in"][2] > ours
    assert row["within"] > 0.85


def test_measure_tail__ours_is_as_near_where_tails_are_heavy():
    light, heavy = (measure_tail(tail, 128, 9)[3] for tail in (0.0, 2.0))
    assert heavy < 0.01
    assert abs(heavy - light) < 0.002


def test_main__prints_all_tables_and_draws(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("information.TAILS", (0.0,))
    monkeypatch.setattr("information.CLASSES", (2, 10))
    monkeypatch.setattr("information.measure_tail", lambda tail, fine, _: (tail, fine, 9, 1, 2, 3))
    rows = main(["--units", "3", "--most", "1000", "--figure", str(tmp_path / "f.svg")])
    out = capsys.readouterr().out
    assert [(row["classes"], row["samples"]) for row in rows] == [
        (2, 300), (2, 1000), (10, 300), (10, 1000)
    ]  # fmt: skip
    assert out.count("| 2 | 300 | ") == 1
    assert "| 0 | 1024 | 9 | 1000.0 | 2000.0 | 3000 |" in out
    for level in ("none", "weak", "strong", "very strong"):
        assert out.count(f"| 10 | 1,000 | {level} | ") == 1
    assert (tmp_path / "f.svg").stat().st_size > 5000


def test_figure__same_rows_give_the_same_bytes(tmp_path):
    from information import CLASSES, ESTIMATORS, draw, save

    rows = [
        {"classes": c, "samples": n, **dict.fromkeys(ESTIMATORS, (0.1, 0.2, 0.1))}
        for c in CLASSES
        for n in (300, 3000)
    ]
    for name in ("one", "two"):
        save(draw(rows), str(tmp_path / f"{name}.svg"))
    one, two = ((tmp_path / f"{name}.svg").read_bytes() for name in ("one", "two"))
    assert one == two
