"""`help` of each public function tells all of its parameters."""

import inspect
import re

import pytest

import unitlens as ul
from unitlens.catalogue.values import VALUES
from unitlens.perturbation.join_curves import ablation_curves

FUNCTIONS = [
    ul.unit_ablation,
    ul.cumulative_ablation,
    ul.group_ablation,
    ul.random_groups,
    ul.direction_ablation,
    ul.noise_robustness,
    ablation_curves,
]
# What is drawn at random, and what a value may be, differs between functions.
OWN = {
    "seed": {*FUNCTIONS},
    "value": {ul.direction_ablation},
    "reference": {ul.direction_ablation, ul.noise_robustness},
    "rate": {ul.direction_ablation, ul.group_ablation},
    "tolerance": {ul.direction_ablation, ul.group_ablation},
    "layers": {ul.direction_ablation, ul.noise_robustness},
    "by": {ul.cumulative_ablation, ablation_curves},
    "orders": {ul.cumulative_ablation, ablation_curves},
    "part": {*FUNCTIONS},
    "checkpoint": {ablation_curves},
}


def sections(function):
    """Return the text of each section of a docstring by its heading."""
    lines = inspect.getdoc(function).split("\n")
    starts = [n for n in range(1, len(lines)) if re.fullmatch("-{3,}", lines[n])]
    ends = [*(n - 1 for n in starts[1:]), len(lines)]
    return {
        lines[start - 1]: "\n".join(lines[start + 1 : end])
        for start, end in zip(starts, ends, strict=True)
    }


def parameters(function):
    """Return the description of each parameter."""
    parts = re.split(r"^(\S.*)\n", sections(function)["Parameters"], flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_docstring__describes_each_parameter_by_itself(function):
    described = parameters(function)

    assert list(described) == list(inspect.signature(function).parameters)
    assert all(len(text) > 20 for text in described.values())
    assert {"Returns", "Raises", "Examples"} <= set(sections(function))
    assert ":mod:`unitlens.perturbation" not in inspect.getdoc(function)


def test_docstrings__say_the_same_of_a_parameter_that_functions_share():
    texts = {}
    for function in FUNCTIONS[:3] + FUNCTIONS[4:]:
        for name, text in parameters(function).items():
            if function not in OWN.get(name, ()):
                texts.setdefault(name, set()).add(text)

    assert {name: len(one) for name, one in texts.items() if len(one) > 1} == {}


@pytest.mark.parametrize("name", VALUES)
def test_docstrings__describe_each_value(name):
    for function in (ul.unit_ablation, ul.cumulative_ablation, ul.group_ablation):
        assert f'``"{name}"``' in parameters(function)["value"]
