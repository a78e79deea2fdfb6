"""A section hands its keys to its library function; no key lacks a parameter."""

import inspect

import numpy as np
import pytest

from unitlens.config.base import LastLayers
from unitlens.config.measurements import (
    ActivationSpec,
    MeasurementSpec,
    MeasureSpec,
    PrincipalComponentsSpec,
    StatisticsSpec,
)
from unitlens.config.perturbation import (
    CumulativeAblationSpec,
    NoiseRobustnessSpec,
    ScaleSpec,
    UnitAblationSpec,
)
from unitlens.perturbation.cumulative_ablation import cumulative_ablation
from unitlens.perturbation.noise_robustness import noise_robustness, noise_scales
from unitlens.perturbation.unit_ablation import unit_ablation
from unitlens.recording.record import record_activations
from unitlens.statistics.class_statistics import class_statistics
from unitlens.statistics.measures.unit_measures import unit_measures
from unitlens.statistics.subspaces.principal_components import principal_components

FUNCTIONS = {
    ActivationSpec: record_activations,
    StatisticsSpec: class_statistics,
    MeasureSpec: unit_measures,
    PrincipalComponentsSpec: principal_components,
    UnitAblationSpec: unit_ablation,
    CumulativeAblationSpec: cumulative_ablation,
    NoiseRobustnessSpec: noise_robustness,
}
# Keys whose default differs from that of the parameter on purpose: a workflow limits the size of
# its recordings, and always adds the first-order estimate.
OTHER_DEFAULTS = {
    (ActivationSpec, "limit_gb"): (100.0, None),
    (UnitAblationSpec, "first_order"): (True, False),
}


def test_functions__cover_every_section_of_the_measurements():
    sections = {type(section) for _, section in MeasurementSpec() if section is not None}

    assert set(FUNCTIONS) == sections | {PrincipalComponentsSpec}


@pytest.mark.parametrize("section", FUNCTIONS, ids=lambda section: section.__name__)
def test_arguments__are_parameters_with_the_same_defaults(section):
    parameters = inspect.signature(FUNCTIONS[section]).parameters

    for key, value in section().arguments().items():
        assert key in parameters, f"{key} is no parameter of {FUNCTIONS[section].__name__}"
        defaults = value, parameters[key].default
        assert defaults == OTHER_DEFAULTS.get((section, key), (value, value)), key


@pytest.mark.parametrize("section", FUNCTIONS, ids=lambda section: section.__name__)
def test_arguments__are_all_keys_but_those_of_the_workflow(section):
    assert section.workflow_keys <= set(section.model_fields)
    assert set(section().arguments()) == set(section.model_fields) - section.workflow_keys


def test_arguments__are_the_values_themselves():
    values = {"layers": {"last": 2}, "maps": {"samples": [3, 1]}, "parts": 4}
    arguments = ActivationSpec.model_validate(values).arguments()

    assert arguments["layers"] == LastLayers(last=2)
    assert arguments["maps"].samples == (3, 1)
    assert arguments["codec"] == "lz4"


def test_scales__are_log_spaced_between_their_ends():
    scales = noise_scales(**ScaleSpec(minimum=0.5, maximum=8, points=5).model_dump())

    np.testing.assert_allclose(scales, [0.5, 1, 2, 4, 8])
