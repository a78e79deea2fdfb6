"""The origin of a store: one hash of weights, one of modules, and stores that lack the latter."""

import json
import shutil

import pytest
import torch
from torch import nn

import unitlens as ul
from recorded_networks import Samples, mlp, record_small
from small_stores import all_files
from unitlens.cli import recording_commands, training_commands
from unitlens.data.prepare import load_dataset
from unitlens.errors import StoreError
from unitlens.model.weights import modules_hash, weights_hash
from unitlens.recording import record
from unitlens.recording.origin import Origin, _former_weights_hash
from unitlens.store.format.manifest import read_manifest
from unitlens.training.checkpoints import load_checkpoint


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class PoweredOffError(BaseException):
    pass


class Dying(Samples):
    """A data set that raises an error at a certain sample."""

    identity, dies_at = "samples", None

    def __getitem__(self, index):
        if index == self.dies_at:
            raise PoweredOffError
        return super().__getitem__(index)


@pytest.fixture
def dataset():
    return Dying(600, (12,))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "acts.zarr"


def tanh():
    """Return the network of the stores with another module and the same weights."""
    model = mlp()
    model[1] = nn.Tanh()
    return model


# Provenances that versions and callers give; the entries that are not given are computed.
def former():
    """Return the provenance of a store recorded from Python before there was `modules_hash`."""
    return {"weights_hash": _former_weights_hash(mlp()), "dataset_identity": "samples"}


def workflow():
    """Return the identities that the workflow gives."""
    return {"weights_hash": weights_hash(mlp()), "dataset_identity": "samples"}


def computed():
    return {}


PAIRS = [
    (former, computed),
    (workflow, computed),
    (computed, workflow),
    (workflow, workflow),
    (computed, computed),
]
of_pairs = pytest.mark.parametrize(
    ("stored", "given"), PAIRS, ids=lambda provenance: provenance.__name__
)


def record_as(provenance, model, dataset, path, **options):
    return record_small(model, dataset, path, batch_size=7, provenance=provenance(), **options)


def test_provenance__of_a_store_recorded_from_python(path, dataset):
    record_as(computed, mlp(), dataset, path)

    assert read_manifest(path).contents.provenance == {
        "weights_hash": weights_hash(mlp()),
        "modules_hash": modules_hash(mlp()),
        "dataset_identity": "samples",
    }


def test_provenance__with_weights_given_is_what_was_given(path, dataset):
    record_as(workflow, mlp(), dataset, path)

    assert read_manifest(path).contents.provenance == workflow()


def test_weights_hash__leaves_out_state_that_is_no_tensor():
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"calls": 3}

        def set_extra_state(self, state):
            pass

    model = Extra(2, 2)
    plain = nn.Linear(2, 2)
    plain.weight, plain.bias = model.weight, model.bias

    assert weights_hash(model) == weights_hash(plain)


def test_modules_hash__sees_names_and_classes_and_no_weights():
    before = modules_hash(mlp())
    model = mlp()
    nn.init.zeros_(model[0].weight)

    assert modules_hash(model) == before
    assert modules_hash(tanh()) != before
    assert modules_hash(nn.Sequential(mlp())) != before


@of_pairs
def test_finished__is_left_where_one_side_lacks_modules_hash(
    path, dataset, stored, given, monkeypatch
):
    record_as(stored, mlp(), dataset, path)
    before = all_files(path)
    monkeypatch.setattr(record, "StoreWriter", None)

    assert record_as(given, mlp(), dataset, path) == path
    assert all_files(path) == before


@of_pairs
def test_resume__goes_on_where_one_side_lacks_modules_hash(path, dataset, stored, given, caplog):
    undisturbed = record_as(stored, mlp(), dataset, path.with_name("undisturbed.zarr"))
    dataset.dies_at = 500
    with pytest.raises(PoweredOffError):
        record_as(stored, mlp(), dataset, path)
    dataset.dies_at = None
    with caplog.at_level("INFO", "unitlens"):
        record_as(given, mlp(), dataset, path)

    assert "goes on at sample" in caplog.text
    assert all_files(path) == all_files(undisturbed)
    assert ul.verify_activations(path).whole


@of_pairs
def test_parts__of_which_one_lacks_modules_hash_are_merged(path, dataset, stored, given):
    undisturbed = record_as(stored, mlp(), dataset, path.with_name("undisturbed.zarr"))
    record_as(stored, mlp(), dataset, path, part=(1, 2))
    record_as(given, mlp(), dataset, path, part=(2, 2))
    ul.merge_activations(path)

    assert all_files(path) == all_files(undisturbed)


@of_pairs
def test_repair__where_one_side_lacks_modules_hash(path, dataset, stored, given):
    record_as(stored, mlp(), dataset, path)
    before = all_files(path)
    (path / "1/activation/c/3/0").unlink()
    report = ul.repair_activations(mlp(), dataset, path, provenance=given())

    assert [fault.place for fault in report.faults] == ["1/activation/c/3/0"]
    assert all_files(path) == before


@pytest.mark.parametrize(("stored", "given"), [(former, computed), *PAIRS[2:3], *PAIRS[4:]])
def test_other_modules__are_refused_where_the_store_knows_them(path, dataset, stored, given):
    """A store of which only weights are given, as by the workflow, cannot tell other modules."""
    record_as(stored, mlp(), dataset, path)
    before = all_files(path)
    with pytest.raises(StoreError, match=r"holds another recording, whose provenance is .*; remov"):
        record_as(given, tanh(), dataset, path)
    entry = "weights_hash" if stored is former else "modules_hash"
    expected = rf"from other (weights|modules), whose {entry} is '.*', not '.*'; repair it with"
    with pytest.raises(StoreError, match=expected):
        ul.repair_activations(tanh(), dataset, path, provenance=given())
    assert all_files(path) == before


@pytest.mark.parametrize("given", [former, computed])
def test_other_modules__start_an_unfinished_store_over(path, dataset, given):
    dataset.dies_at = 500
    with pytest.raises(PoweredOffError):
        record_as(given, mlp(), dataset, path)
    dataset.dies_at = None
    record_as(computed, tanh(), dataset, path)
    undisturbed = record_as(computed, tanh(), dataset, path.with_name("undisturbed.zarr"))

    assert all_files(path) == all_files(undisturbed)


def test_journal__that_another_version_wrote_is_no_hindrance(path, dataset, monkeypatch):
    dataset.dies_at = 500
    with pytest.raises(PoweredOffError):
        record_as(computed, mlp(), dataset, path)
    dataset.dies_at = None
    monkeypatch.setattr("unitlens.store.description.parse_contents", lambda values: values["new"])
    record_as(computed, mlp(), dataset, path)

    assert ul.verify_activations(path).whole


@pytest.mark.parametrize(
    ("entry", "differs"), [("weights_hash", True), ("dataset_identity", True), ("seed", False)]
)
def test_find_difference__is_of_identities_alone(dataset, entry, differs):
    origin = Origin(mlp(), dataset, {"seed": 1})
    other = {**origin.provenance, entry: "other"}

    assert origin.find_difference(other) == (entry if differs else None)
    assert not origin.matches(other)
    assert origin.matches(json.loads(json.dumps(origin.provenance)))


def _identity(dataset):
    return Origin(mlp(), dataset, {}).provenance["dataset_identity"]


def test_dataset_identity__of_plain_data_is_a_hash_of_samples():
    assert _identity(Samples(50, (12,))) == _identity(Samples(50, (12,)))
    assert _identity(Samples(50, (12,))) != _identity(Samples(51, (12,)))
    assert _identity(Samples(50, (12,))) != _identity(Samples(50, (12,), seed=1))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Return a network that the workflow's subcommands have trained and recorded."""
    root = tmp_path_factory.mktemp("workflow")
    dataset, directory = root / "digits/dataset.json", root / "network"
    spec = {
        "dataset": {"name": "digits", "corruption": 0.5},
        "model": {"name": "mlp", "widths": [9]},
        "training": {"epochs": 1},
    }
    training_commands.prepare_dataset(dataset, spec=json.dumps(spec["dataset"]))
    training_commands.train(dataset, directory / "checkpoint.json", spec=json.dumps(spec))
    recording_commands.record_activations(dataset, directory, code="0123")
    return directory


@pytest.mark.parametrize("split", ["train", "test"])
def test_repair__of_a_store_of_the_workflow_from_python(network, split, tmp_path):
    stored = network / split / "activations.zarr"
    path = shutil.copytree(stored, tmp_path / stored.name)
    for suffix in (".json", ".journal"):
        shutil.copy2(stored.with_suffix(suffix), tmp_path)
    before = all_files(path)
    model, checkpoint = load_checkpoint(network)
    dataset = load_dataset(
        network.parent / "digits", split, corruption=0.5, seed=checkpoint.spec.seed
    )
    (damaged,) = (path / "relu1/activation/c").rglob("0/0")
    damaged.unlink()
    report = ul.repair_activations(model, dataset, path)

    assert [fault.place for fault in report.faults] == [str(damaged.relative_to(path))]
    assert all_files(path) == before
    assert set(read_manifest(path).contents.provenance) == {
        *(
            "weights_hash",
            "dataset_identity",
            "dataset_hash",
            "network",
            "split",
            "code",
            "settings",
        )
    }

    nn.init.zeros_(model.get_parameter(next(iter(dict(model.named_parameters())))))
    with pytest.raises(StoreError, match=r"was recorded from other weights, whose weights_hash is"):
        ul.repair_activations(model, dataset, path)
