"""Recordings without classes or logits, of labels with names, and of samples that are left out."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torch.utils.data import TensorDataset

import unitlens as ul
from unitlens.errors import DatasetError, TableError
from unitlens.statistics.measures.unit_measures import unit_measures
from unitlens.variables.checks import validate

SAMPLES = 40


@pytest.fixture
def path(tmp_path):
    return tmp_path / "acts.zarr"


def inputs():
    return torch.randn(SAMPLES, 6, generator=torch.Generator().manual_seed(2))


def network(width=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, width)).eval()


def hidden(model):
    with torch.no_grad():
        return model[:2](inputs()).numpy()


CLASSLESS = {
    "inputs alone": (TensorDataset(inputs()), "the items have no target"),
    "input as target": (TensorDataset(inputs(), inputs()), "the targets have the shape (6,)"),
    "multi-hot": (
        TensorDataset(inputs(), (inputs()[:, :4] > 0).float()),
        "the targets have the shape (4,)",
    ),
    "regression": (TensorDataset(inputs(), inputs()[:, 0]), "the targets are no whole numbers"),
}


@pytest.mark.parametrize("kind", sorted(CLASSLESS))
def test_targets__that_are_no_classes_are_recorded_without(path, kind):
    dataset, reason = CLASSLESS[kind]
    model = network()
    for _ in range(2):  # the second time the finished store is compared
        ul.record_activations(model, dataset, path)
    activations = ul.open_activations(path)

    assert activations.attrs["no_classes"] == reason
    assert activations.attrs["no_scores"] == f"there are no classes, for {reason}"
    np.testing.assert_allclose(activations["1"].activation, hidden(model), atol=1e-6)
    assert ul.verify_activations(path).whole
    with pytest.raises(TableError, match="no coordinate 'prediction'"):
        ul.class_statistics(activations, by="prediction")


def test_measures__without_classes_are_those_of_all_samples(path):
    model, dataset = network(), TensorDataset(inputs())
    activations = ul.open_activations(ul.record_activations(model, dataset, path))
    table, direct = ul.class_statistics(activations), ul.network_statistics(model, dataset)
    expected = hidden(model)

    np.testing.assert_allclose(table["class_mean"].sel({"class": 0}), expected.mean(0), atol=1e-6)
    np.testing.assert_allclose(ul.empirical_variance(table)["variance"], expected.var(0), atol=1e-6)
    assert table.attrs["no_classes"] == direct.attrs["no_classes"] == "the items have no target"
    np.testing.assert_allclose(direct["class_mean"], table["class_mean"], atol=1e-6)
    spectrum = np.linalg.eigvalsh(np.cov(expected.T, bias=True))[::-1]
    components = ul.principal_components(activations, "1")
    np.testing.assert_allclose(components["explained_variance"], spectrum, atol=1e-6)


CLASS_MEASURES = {
    measure.__name__: measure
    for measure in (
        ul.average_precision,
        ul.ccmas,
        ul.class_correlation,
        ul.class_selectivity,
        ul.informedness,
        ul.mutual_information,
        ul.roc_auc,
        ul.top_precision,
    )
}


@pytest.mark.parametrize("name", sorted(CLASS_MEASURES))
def test_class_measures__are_refused_without_classes(name):
    model, dataset = network(), TensorDataset(inputs())
    table = ul.network_statistics(model, dataset)
    with pytest.raises(TableError, match=r"no classes \(the items have no target\).* by=") as error:
        CLASS_MEASURES[name](table)
    assert name.split("_")[0] in str(error.value) or name == "ccmas"
    by = np.arange(SAMPLES) % 2  # the remedy
    measured = CLASS_MEASURES[name](ul.network_statistics(model, dataset, by=by))
    assert measured.sizes["unit"] == 8


def test_unit_measures__leave_out_what_needs_classes(caplog):
    model = network()
    model[0].bias.data[3] = -100.0  # a dead unit
    table = ul.network_statistics(model, TensorDataset(inputs()))
    norms = xr.DataArray(
        np.arange(8.0), dims="unit", coords={name: table[name] for name in ("layer", "channel")}
    )
    caplog.clear()
    measures = unit_measures(table, table, norms)

    kept = {"dead", "sparsity", "zero_share", "variance", "mean", "l1_norm"}
    assert set(measures.data_vars) == kept
    assert measures.attrs["no_classes"] == "the items have no target"
    assert caplog.messages == ["measures that need classes are left out: the items have no target"]
    expected = hidden(model)
    np.testing.assert_allclose(measures["mean"], expected.mean(0), atol=1e-6)
    np.testing.assert_array_equal(measures["dead"], (expected == 0).all(0))
    validate(measures, "unit_measures")
    with pytest.raises(TableError, match="no variable 'selectivity'"):
        validate(measures.drop_attrs(), "unit_measures")


def test_labels__without_logits_are_the_classes(path):
    labels = torch.arange(SAMPLES) % 5
    model = network(1)
    ul.record_activations(model, TensorDataset(inputs(), labels), path)
    activations = ul.open_activations(path)

    assert activations.attrs["classes"] == 5
    assert activations.attrs["no_scores"].startswith("the model puts out one logit")
    means = ul.class_statistics(activations)["class_mean"].sel({"class": 3})
    np.testing.assert_allclose(means, hidden(model)[labels == 3].mean(0), atol=1e-6)
    labels[7] = -1
    with pytest.raises(DatasetError, match=r"sample 7 has the label -1, .* ignore_index=-1"):
        ul.network_statistics(model, TensorDataset(inputs(), labels))


class NamedLabels:
    classes = ("cow", "ant", "bee")

    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        return inputs()[index], self.classes[index % 2 * 2]


def test_names__of_classes_are_a_coordinate(path):
    ul.record_activations(network(), NamedLabels(), path)
    activations = ul.open_activations(path)

    for table in (
        ul.class_statistics(activations),
        ul.network_statistics(network(), NamedLabels()),
    ):
        assert table["class"].values.tolist() == [0, 2]
        assert table["class_name"].values.tolist() == ["cow", "bee"]
    assert activations["label"].values.tolist() == [index % 2 * 2 for index in range(SAMPLES)]


def test_ignore_index__leaves_samples_out_of_a_store(path):
    labels = torch.arange(SAMPLES) % 3
    labels[[0, 5]] = -100
    model, dataset = network(), TensorDataset(inputs(), labels)
    for _ in range(2):
        ul.record_activations(model, dataset, path, ignore_index=-100)
    activations = ul.open_activations(path)

    assert activations["label"].values.tolist() == labels[labels >= 0].tolist()
    assert (activations.attrs["ignore_index"], activations.attrs["ignored"]) == (-100, 2)
    np.testing.assert_allclose(activations["1"].activation, hidden(model)[labels >= 0], atol=1e-6)
    (path / "1/activation/c/0/0").unlink()
    assert ul.repair_activations(model, dataset, path, ignore_index=-100).faults
    assert ul.verify_activations(path).whole


class MeanOfTokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.relu, self.head = nn.Embedding(5, 4), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, ids, attention_mask):
        hidden = self.relu(self.embed(ids)) * attention_mask.unsqueeze(-1)
        return self.head(hidden.sum(1) / attention_mask.sum(1, keepdim=True))


@pytest.mark.parametrize("padded", [True, False])
def test_padding__in_the_means_over_positions_is_told(path, caplog, padded):
    mask = torch.ones(6, 3, dtype=torch.int64)
    mask[4, 2] = 0 if padded else 1
    items = [
        {"ids": torch.tensor([1, 2, i % 5]), "attention_mask": m, "label": i % 2}
        for i, m in enumerate(mask)
    ]
    ul.record_activations(MeanOfTokens(), items, path)
    told = [message for message in caplog.messages if "include the padding" in message]
    assert len(told) == padded
    ul.unit_ablation(MeanOfTokens(), items, value="mean")
    assert sum("include the padding" in message for message in caplog.messages) == 2 * padded
