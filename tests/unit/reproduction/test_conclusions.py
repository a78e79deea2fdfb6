"""Verdicts on the paper's conclusions, on made-up rows."""

from fnmatch import fnmatchcase

import pytest

from unitlens.catalogue.figures import FIGURES
from unitlens.reproduction.claims import PAPER_CLAIMS
from unitlens.reproduction.conclusion_verdicts import judge_conclusions, stand_of
from unitlens.reproduction.conclusions import BESIDE_CONCLUSIONS, CONCLUSIONS

MNIST, CIFAR10 = "mnist_ablation/order", "cifar10_ablation/uncorrupted"


def row(path, verdict="not measured", ours="0.5", low="0.4", high="0.6", power=""):
    group, claim = path.split("/")
    untested = verdict == "not measured"
    return {
        "group": group,
        "claim": claim,
        "cause": "",
        "what": f"value of {claim}",
        "paper": "0.5",
        "ours": "" if untested else ours,
        "low": "" if untested else low,
        "high": "" if untested else high,
        "networks": "3",
        "power": power,
        "notes": "no networks" if untested else "",
        "verdict": verdict,
        "experiments": "" if untested else "e",
    }


def judged(number, verdicts, **numbers):
    """Judge one conclusion from the verdicts of claims; other claims are not measured."""
    rows = [
        row(path, verdicts.get(path, "not measured"), **numbers)
        for group, declared in PAPER_CLAIMS.items()
        for path in (f"{group}/{claim.name}" for claim in declared.claims)
    ]
    return judge_conclusions(rows)[number - 1]


def levels(*verdicts):
    """Return verdicts of the six levels of figure 1a."""
    names = [claim.name for claim in PAPER_CLAIMS["mnist_ablation"].claims if claim.name != "order"]
    return {f"mnist_ablation/{name}": v for name, v in zip(names, verdicts, strict=True)}


def test_claims_of_the_paper__belong_to_a_conclusion_or_are_named_beside_them():
    of_conclusions = {
        claim for one in CONCLUSIONS for part in one.parts for claim, _ in part.claims()
    }
    for group, declared in PAPER_CLAIMS.items():
        for claim in declared.claims:
            beside = any(fnmatchcase(f"{group}/{claim.name}", name) for name in BESIDE_CONCLUSIONS)
            assert ((group, claim.name) in of_conclusions) or beside, (group, claim.name)


def test_conclusions__have_deciding_claims_and_figures():
    assert len(CONCLUSIONS) == 10
    for one in CONCLUSIONS:
        assert one.figure in FIGURES
        for part in one.parts:
            claims = [f"{group}/{claim}" for (group, claim), _ in part.claims()]
            for pattern in (*part.deciding, *part.details):  # none that names no claim
                assert any(fnmatchcase(path, pattern) for path in claims), pattern


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ({MNIST: "same order", **levels(*["agrees"] * 6)}, "holds"),
        ({MNIST: "same order", **levels("differs", *["agrees"] * 5)}, "holds in direction"),
        ({MNIST: "same order", **levels("compatible", *["agrees"] * 5)}, "holds in direction"),
        ({MNIST: "differs", **levels(*["agrees"] * 6)}, "fails"),
        ({MNIST: "undecided", **levels(*["agrees"] * 6)}, "could not be tested here"),
        ({MNIST: "compatible"}, "could not be tested here"),
        ({MNIST: "too few networks"}, "could not be tested here"),
        ({}, "could not be tested here"),
    ],
)
def test_conclusion__on_one_data_set(verdicts, expected):
    found = judged(1, verdicts)

    assert found.verdict == found.parts[0].verdict == expected
    assert [part.verdict for part in found.parts[1:]] == ["could not be tested here"] * 2


@pytest.mark.parametrize(
    ("mnist", "cifar10", "expected"),
    [
        ("same order", "differs", "mixed"),
        ("same order", "same direction", "holds in direction"),
        ("differs", "differs", "fails"),
        ("differs", "undecided", "fails"),
    ],
)
def test_conclusion__over_data_sets(mnist, cifar10, expected):
    found = judged(1, {MNIST: mnist, CIFAR10: cifar10})

    assert found.verdict == expected


def test_mixed_conclusion__is_told_by_data_set():
    found = judged(1, {MNIST: "same order", **levels(*["agrees"] * 6), CIFAR10: "differs"})

    assert found.told == "holds on MNIST, fails on CIFAR-10, could not be tested here on ImageNet"
    assert (
        "is 0.5 [0.4,\N{NO-BREAK SPACE}0.6] (differs; in the paper: 0.5)" in found.parts[1].reason
    )
    assert "agree (6)" in found.parts[0].reason
    assert found.experiments == ("e",)


def test_part_that_was_measured__is_told_as_undecided():
    found = judged(1, {MNIST: "undecided", **levels("differs", *["agrees"] * 5)})

    told = "could not be tested here (undecided) on MNIST, could not be tested here on CIFAR-10"
    assert found.told == f"{told} and ImageNet"
    assert "numbers and details that agree (5), differ (1)" in found.parts[0].reason


def test_setting_of_a_row__stands_before_its_quantity():
    rows = [
        {**row(f"{group}/{claim.name}", "differs"), "what": claim.quantity}
        for group, declared in PAPER_CLAIMS.items()
        for claim in declared.claims
    ]
    reasons = {one.conclusion.title: one.reason for one in judge_conclusions(rows)}

    assert (
        ": at dropout 0.1, the accuracy lost when the dropout fraction is ablated, corru"
        in (reasons["Dropout"])
    )
    assert ": the AUC with batch norm minus" in reasons["Batch norm and ablation"]


def test_some_deciding_rows__hold_in_part_and_one_against_fails():
    dropouts = {f"dropout/flat-{share:g}-0": "agrees" for share in (0.1, 0.2)}

    partly = judged(6, dropouts)
    failed = judged(6, {**dropouts, "dropout/first-0.1": "differs"})

    assert (partly.verdict, failed.verdict) == ("holds in part", "fails")
    assert f"support it: {len(dropouts)} of " in partly.reason
    assert "contradict it: 1 of " in failed.reason


@pytest.mark.parametrize(
    ("path", "low", "high", "against", "expected"),
    [
        ("early_stopping/correlation", "0.1", "0.3", 0, "contradicts"),  # -.728 in the paper
        ("early_stopping/correlation", "-0.3", "0.1", 0, "open"),
        ("imagenet_importance/all", "-0.35", "-0.2", 1, "supports"),  # not more important
        ("imagenet_importance/all", "0.1", "0.3", 1, "contradicts"),
        ("imagenet_importance/all", "-0.1", "0.3", 1, "open"),
        ("dropout/flat-0.1-0", "0.1", "0.3", 0, "contradicts"),  # no correlation
    ],
)
def test_number_that_differs__stands_by_the_side_of_its_interval(
    path, low, high, against, expected
):
    assert stand_of(row(path, "differs", low=low, high=high), against) == expected


def test_correlation_of_another_size__holds_in_direction():
    verdicts = {"early_stopping/falls": "same direction"}

    same = judged(4, {**verdicts, "early_stopping/correlation": "same direction"})

    assert same.verdict == "holds in direction"


def test_extra_experiments__decide_nothing():
    changed = row(CIFAR10, "same direction") | {"cause": "width"}

    assert judge_conclusions([changed])[0].verdict == "could not be tested here"
