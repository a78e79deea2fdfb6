"""Opening results, and the tutorial that asks questions of them."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib import pyplot as plt

from synthetic_results import default_networks, network, write_results
from tutorial_cells import OWN, TUTORIALS, code_cells
from unitlens.errors import TableError
from unitlens.store.reader import open_activations
from unitlens.tables.results import Results, open_results

QUESTIONS = TUTORIALS / "questions.md"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("opened") / "results")


def fake_activations(path):
    """A store as `open_activations` gives it: samples at the root, a node a layer.

    One that was recorded while a test ran is itself.
    """
    if Path(path).with_suffix(".json").exists():
        return open_activations(path)
    rng = np.random.default_rng(0)
    samples = 40
    root = xr.Dataset(coords={"label": ("sample", np.arange(samples) % 10)})
    layer = xr.Dataset(
        {"activation": (("sample", "unit"), rng.random((samples, 24)))},
        coords={"channel": ("unit", np.arange(24))},
    )
    tree = {"/": root.assign_attrs(path=str(path)), "/relu1": layer, "/relu2": layer}
    return xr.DataTree.from_dict(tree)


def test_open_results__says_what_makes_them(tmp_path):
    with pytest.raises(TableError, match=r"there are no results in .*snakemake --cores 8 all"):
        open_results(tmp_path)


def test_principal_components__that_were_not_computed_are_refused(directory):
    results = open_results(directory)
    run = str(results.runs["run"].values[0])
    with pytest.raises(TableError, match=r"not computed .*measurements.principal_components to {}"):
        results.principal_components(run)
    with pytest.raises(TableError, match=r"run = 'nobody': there is none"):
        results.principal_components("nobody")


def test_units__select_by_run_layer_and_channel(directory):
    units = open_results(directory).units
    first, second = (made.name for made in default_networks()[:2])

    one = units.sel(run=first, layer="relu2", channel=3)
    both = units.sel(run=[first, second], layer="relu1")

    assert one.sizes["unit"] == 1
    assert one["depth"].item() == 1
    assert both.sizes["unit"] == 48
    assert set(both["run"].values) == {first, second}
    expected = units["selectivity"].values[units["run"].values == second][:24]
    np.testing.assert_array_equal(both.sel(run=second)["selectivity"], expected)


def test_units__selected_again_joined_grouped_and_averaged(directory):
    units = open_results(directory).units
    names = [made.name for made in default_networks()]
    parts = [units.sel(run=name) for name in names]

    again = xr.concat(parts, "unit")

    assert again.sel(run=names[3]).equals(parts[3])
    product = units["selectivity"] * units["variance"]
    np.testing.assert_array_equal(again["selectivity"] * again["variance"], product)
    assert units.where(units["run"] == names[0], drop=True).sel(layer="relu2").sizes["unit"] == 24
    by_layer = parts[0]["selectivity"].groupby("layer").mean()
    np.testing.assert_allclose(by_layer[0], parts[0].sel(layer="relu1")["selectivity"].mean())


def test_units__refuse_what_no_unit_has(directory):
    units = open_results(directory).units

    with pytest.raises(TableError, match="no unit has layer = 'relu9'; did you mean 'relu"):
        units.sel(layer="relu9")
    first = units.sel(layer="relu1")["selectivity"]
    both = units["selectivity"] + first
    np.testing.assert_array_equal(both.values, 2 * first.values)


def test_numbers__are_read_when_used(directory):
    units = Results(directory).units

    assert not units["class_mean"].variable._in_memory
    assert units["class_mean"].isel(unit=0).values.shape == (10,)


def test_text__comes_back_as_python_strings(directory):
    results = open_results(directory)

    assert results.units["layer"].dtype == object
    assert type(results.runs["dataset"].values[0]) is str
    assert type(results.runs["run"].values[0]) is str


def test_checkpoints__repeat_the_run_and_tell_epochs_apart(directory):
    kept = open_results(directory).checkpoints
    name = next(n.name for n in default_networks() if n.spec.training.checkpoints)

    assert kept.runs["run"].values.tolist() == [name] * 5
    assert kept.runs["epoch"].values.tolist() == [0, 1, 2, 4, 8]
    assert kept.units.sel(run=name, epoch=4).sizes["unit"] == 48
    with pytest.raises(TableError, match="no table 'history'"):
        _ = kept.history


def test_checkpoints__missing_say_how_to_keep_them(tmp_path):
    write_results(tmp_path, [network(("a",))])

    with pytest.raises(TableError, match=r"no table of kept epochs .*training.checkpoints"):
        _ = open_results(tmp_path).checkpoints


def test_activations__of_a_run_or_a_kept_epoch(directory, monkeypatch):
    monkeypatch.setattr("unitlens.store.reader.open_activations", fake_activations, raising=False)
    name = next(n.name for n in default_networks() if n.spec.training.checkpoints)
    for network_name in (name, f"{name}/epoch-0004"):
        (directory / network_name / "test" / "activations.zarr").mkdir(parents=True)
    results = open_results(directory)

    final = results.activations(name, "test")
    kept = results.checkpoints.activations(name, "test", epoch=4)

    assert Path(final.attrs["path"]) == directory / name / "test" / "activations.zarr"
    assert "epoch-0004" in kept.attrs["path"]
    with pytest.raises(TableError, match=r"activations of .* over split = 'train' were not recor"):
        results.activations(name, "train")
    with pytest.raises(TableError, match="run = 'nobody': there is none"):
        results.activations("nobody", "test")


def test_repr__lists_networks_and_tables(directory):
    text = repr(open_results(directory))

    assert "Results of 10 networks" in text
    assert default_networks()[3].name in text
    assert re.search(r"\.units +464 unit x 10 class, \d+\.\d MB", text)
    assert re.search(r"\.history +not made", repr(open_results(directory).checkpoints))


def test_questions__are_answered_by_any_results_folder(directory, monkeypatch, capsys):
    monkeypatch.setattr("unitlens.store.reader.open_activations", fake_activations, raising=False)
    monkeypatch.chdir(directory.parent)
    for made in default_networks():
        path = directory / made.name / "test" / "activations.zarr"
        path.mkdir(parents=True, exist_ok=True)
    page = QUESTIONS.read_text()
    asked = page[page.index("import matplotlib") - len("```{code-cell} ipython3\n") :]
    cells = code_cells(asked[: asked.index("\n## A new experiment")], without=OWN)
    space = {"__name__": "questions"}

    for cell in cells:
        exec(compile(cell, str(QUESTIONS), "exec"), space)
    plt.close("all")

    assert len(re.findall(r"^## \d+\. .*\?$", page, re.MULTILINE)) == 10
    assert len(cells) >= 20
    frame, units = space["frame"], space["results"].units
    for name in ("run", "epoch", "layer", "channel"):
        assert frame[name].tolist() == units[name].values.tolist()
    assert "largest drop of a class among them: 0." in capsys.readouterr().out
