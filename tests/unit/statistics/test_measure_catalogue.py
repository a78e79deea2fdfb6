"""Each measure is declared once; tables, lists and labels follow from the declaration."""

import inspect
import json
import os
import shutil
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from activation_trees import activation_tree
from unitlens.catalogue.measures import LABELS, MEASURES, ORDER_SCORES
from unitlens.errors import TableError
from unitlens.provenance import digests, kept_values, source
from unitlens.provenance.digests import code_digest
from unitlens.statistics.class_statistics import class_statistics
from unitlens.variables.declarations import VARIABLES
from unitlens.variables.schemas import SCHEMAS, computed_measures

each_computed = pytest.mark.parametrize("measure", computed_measures(), ids=lambda m: m.name)


def function_of(measure):
    module = import_module(f"unitlens.statistics.measures.{measure.module}")
    return getattr(module, measure.name)


@pytest.fixture(scope="module")
def stats():
    values = np.maximum(np.random.default_rng(0).normal(size=(120, 5)), 0)
    return class_statistics(activation_tree({"relu": values}, np.arange(120) % 3))


@each_computed
def test_measure__returns_just_its_declared_variables(measure, stats):
    table = function_of(measure)(stats)

    assert list(table.data_vars) == [variable.name for variable in measure.variables]
    for variable in measure.variables:
        array = table[variable.name]
        assert array.dims == variable.dims
        assert array.dtype.kind in variable.kind
        assert array.attrs["units"] == variable.units
        assert array.attrs["description"] == variable.description
    assert {"layer", "channel"} <= set(table.xindexes)


@each_computed
def test_measure__refuses_samples_without_classes_where_it_needs_them(measure, stats):
    classless = stats.assign_attrs(no_classes="the items have no target")
    if measure.of_classes:
        with pytest.raises(TableError, match="the samples have no classes"):
            function_of(measure)(classless)
    else:
        assert function_of(measure)(classless).equals(function_of(measure)(stats))


@each_computed
def test_measure__takes_the_declared_settings(measure):
    _, *parameters = inspect.signature(function_of(measure)).parameters

    assert tuple(parameters) == measure.settings


def test_catalogue__declares_each_variable_once_and_scores_by_name():
    names = [variable.name for measure in MEASURES for variable in measure.variables]

    assert len(names) == len(set(names))
    for measure in MEASURES:
        assert set(measure.labels) <= {variable.name for variable in measure.variables}
    assert {"unit_measures", "units"} <= {
        name for name, schema in SCHEMAS.items() if set(names) <= {*schema.names}
    }
    assert set(names) <= set(VARIABLES)


def test_catalogue__scores_are_in_the_order_of_the_declarations():
    assert tuple(score for score in LABELS if score in ORDER_SCORES) == ORDER_SCORES


FUNCTION = '''
"""Variation: the standard deviation of a unit in units of its mean."""

import numpy as np
import xarray as xr

from unitlens.statistics.class_table import on_units
from unitlens.statistics.measures.variance import mean_and_variance


def variation(stats: xr.Dataset) -> xr.Dataset:
    """Compute the coefficient of variation of every unit."""
    mean, variance = mean_and_variance(stats)
    return on_units(stats, {"variation": np.sqrt(variance) / mean})
'''
DECLARATION = """    Measure(
        "variation",
        "variation",
        (Variable("variation", UNIT, "f", "1", "coefficient of variation", "standard deviation"),),
        labels={"variation": "variation"},
        agreement=True,
        importance=True,
        orders=True,
    ),
"""
CHECK = """
import json
import numpy as np, xarray as xr
import unitlens as ul
from unitlens.analysis import correlations, measure_agreement
from unitlens.catalogue.measures import LABELS
from unitlens.config.perturbation import CumulativeAblationSpec
from unitlens.provenance.digests import code_digest
from unitlens.statistics.measures.unit_measures import unit_measures

samples = xr.Dataset(coords={"label": ("sample", [0, 0, 1, 1])})
relu = xr.Dataset({"activation": (("sample", "unit"), [[3.0, 1], [1, 1], [0, 1], [0, 1]])})
stats = ul.class_statistics(xr.DataTree.from_dict({"/": samples, "/relu": relu}))
norms = xr.full_like(stats["class_mean"].isel({"class": 0}), 1)
table = unit_measures(stats, stats, norms)
print(json.dumps({
    "table": table["variation"].values.round(3).tolist(),
    "attributes": table["variation"].attrs,
    "public": ul.variation(stats)["variation"].values.round(3).tolist(),
    "label": LABELS["variation"],
    "correlated": list(correlations.rank_correlations(
        table.assign(loss_increase=("unit", [1.0, 2.0])), by=())["measure"].values),
    "agreement": list(measure_agreement.measure_agreement(table.assign_coords(
        run=("unit", ["a", "a"]), epoch=("unit", [1, 1])))["measure"].values),
    "by": list(CumulativeAblationSpec(by=["variation"]).by),
    "digest": code_digest("unit_measures"),
}))
"""


def insert(path, before, text):
    source_text = path.read_text()
    assert source_text.count(before) == 1, (path, before)
    path.write_text(source_text.replace(before, text + before))


def test_recipe__adds_a_measure_in_three_files(tmp_path):
    """The recipe of CONTRIBUTING.md in a copy of the package: function, declaration, export."""
    package = tmp_path / "unitlens"
    # With numba's cache, but without the files that another process is writing.
    shutil.copytree(source.PACKAGE, package, ignore=shutil.ignore_patterns("*.tmp*", "*.lock"))

    (package / "statistics/measures/variation.py").write_text(FUNCTION)
    insert(package / "catalogue/measures.py", ")  # fmt: skip\n", DECLARATION)
    export = '    "unit_ablation": "unitlens'
    insert(
        package / "__init__.py",
        export,
        '    "variation": "unitlens.statistics.measures.variation",\n',
    )

    paths = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", CHECK]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=paths)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["table"] == told["public"] == [1.225, 0.0]
    assert told["attributes"]["long_name"] == "coefficient of variation"
    assert told["label"] == "variation"
    assert told["correlated"] == ["selectivity", "mutual_information", "l1_norm", "variation"]
    assert told["agreement"][-1] == "variation"
    assert told["by"] == ["variation"]
    assert told["digest"] != code_digest("unit_measures")


@pytest.fixture
def edited_digest(tmp_path, monkeypatch):
    """Return the digest of a rule when a text in the catalogue of measures is replaced."""

    def forget():
        cached = (code_digest, digests.reached_symbols)
        for function in (*cached, source.define, source._parse, source._file, kept_values._state):
            function.cache_clear()

    package = tmp_path / "unitlens"
    shutil.copytree(source.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(source, "PACKAGE", package)
    path = package / "catalogue/measures.py"
    original = path.read_text()

    def digest(rule, old, new):
        path.write_text(original.replace(old, new))
        forget()
        return code_digest(rule)

    yield digest
    forget()


def test_digest__of_a_label_changes_pictures_and_pages_alone(edited_digest):
    label = ('{"ccmas": "CCMAS"}', '{"ccmas": "pooled selectivity"}')

    assert edited_digest("unit_measures", *label) == edited_digest("unit_measures", "", "")
    assert edited_digest("draw_figures", *label) != edited_digest("draw_figures", "", "")


def test_digest__of_a_flag_changes_the_tables_that_follow_from_it(edited_digest):
    flag = ('labels={"sparsity": "sparsity"},', 'labels={"sparsity": "sparsity"}, importance=True,')

    assert edited_digest("unit_measures", *flag) == edited_digest("unit_measures", "", "")
    assert edited_digest("tabulate", *flag) != edited_digest("tabulate", "", "")
