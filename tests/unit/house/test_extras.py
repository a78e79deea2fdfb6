"""The library needs what pyproject.toml calls its dependencies, and names the extra of the rest."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from unitlens.errors import MissingPackageError
from unitlens.extras import EXTRAS, naming_extras, require
from visible_packages import seeing_alone

ROOT = Path(__file__).parents[3]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

MEASURE = """
import torch
from torch.utils.data import TensorDataset
import unitlens as ul

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)).eval()
dataset = TensorDataset(torch.randn(40, 6), torch.arange(40) % 3)
print(ul.unit_layers(model, dataset[0][0][None]))
ul.record_activations(model, dataset, "acts.zarr")
assert ul.verify_activations("acts.zarr").whole
acts = ul.open_activations("acts.zarr")
stats = ul.class_statistics(acts)
for measure in (
    ul.class_selectivity, ul.ccmas, ul.class_correlation, ul.mutual_information, ul.roc_auc,
    ul.average_precision, ul.informedness, ul.sparsity, ul.top_precision,
):
    assert measure(stats).sizes["unit"] == 5
variance = ul.empirical_variance(stats)
components = ul.principal_components(acts, "1")["component"]
importance = ul.unit_ablation(model, dataset)
ul.group_ablation(model, dataset, ul.random_groups(importance, {"a": [("1", 0)]}, repeats=2))
ul.direction_ablation(model, dataset, components)
curve = ul.cumulative_ablation(model, dataset, orders=2, points=3, seed=0)
ul.area_under_curve(curve)
ul.noise_robustness(model, dataset, [1.0], variance=variance, draws=2, seed=0)
assert {name for name in ul.__all__ if not callable(getattr(ul, name))} == set()
"""
RESULTS = """
from pathlib import Path
import xarray as xr
from unitlens.errors import MissingPackageError
from unitlens.store.backend.netcdf import read_netcdf, write_netcdf
from unitlens.tables.results import Results

class OfStored(Results):
    def _stored(self, run, epoch):
        import torchvision

for call in (
    lambda: write_netcdf(xr.Dataset(), Path("table.nc")),
    lambda: read_netcdf(Path("table.nc")),
    lambda: OfStored(Path("results")).network("run"),
):
    try:
        call()
    except MissingPackageError as error:
        print(error)
"""


def run(code, directory):
    """Run a program with the core alone in a directory, and return what it prints."""
    hides = 'assert {"h5netcdf", "matplotlib", "torchvision", "typer", "snakemake"} <= hidden\n'
    program = seeing_alone(DECLARED["dependencies"], hides + code)
    paths = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, cwd=directory, env=paths, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_core_alone__measures_a_model(tmp_path):
    done = run(MEASURE, tmp_path)

    assert done.returncode == 0, done.stderr
    assert "5 units" in done.stdout


def test_core_alone__names_the_extra_of_what_results_need(tmp_path):
    done = run(RESULTS, tmp_path)

    line = "this needs the package {}, which is not installed; pip install 'unitlens[workflow]' ..."
    told = [text.partition(" installs")[0] for text in done.stdout.splitlines()]
    expected = ["h5netcdf", "h5netcdf", "torchvision"]
    assert told == [line.format(name).removesuffix(" ...") for name in expected], done.stderr


def test_core_alone__has_a_command_line_of_one_line(tmp_path):
    code = "import runpy; runpy.run_module('unitlens', run_name='__main__')"
    done = run(code, tmp_path)

    assert done.returncode == 1
    assert done.stderr == (
        "unitlens: this needs the package typer, which is not installed; "
        "pip install 'unitlens[workflow]' installs it\n"
    )


INSTALLED = packages_distributions()


@pytest.mark.parametrize("package", sorted(EXTRAS))
def test_extras__are_those_that_are_declared(package):
    distribution, extra = EXTRAS[package]
    names = {Requirement(text).name for text in DECLARED["optional-dependencies"][extra]}

    assert distribution in names
    known = {re.sub(r"[-_.]+", "-", name).lower() for name in INSTALLED[package]}
    assert re.sub(r"[-_.]+", "-", distribution).lower() in known


def test_extras__know_all_packages_of_the_workflow():
    declared = DECLARED["optional-dependencies"]["workflow"]
    known = {distribution for distribution, extra in EXTRAS.values() if extra == "workflow"}

    assert known == {Requirement(text).name for text in declared}


def test_require__lets_installed_packages_pass_and_names_the_others(monkeypatch):
    require("altair")
    monkeypatch.setattr("unitlens.extras.find_spec", lambda _: None)

    with pytest.raises(MissingPackageError, match=r"package scikit-learn.*unitlens\[workflow\]"):
        require("sklearn")


def test_naming_extras__leaves_other_errors_as_they_are():
    with pytest.raises(ModuleNotFoundError, match="no_such_module") as caught, naming_extras():
        import no_such_module  # noqa: F401
    assert not isinstance(caught.value, MissingPackageError)
