"""What counts as the same recording: a changed network or data set never gets old activations."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Subset, TensorDataset

import unitlens as ul
from recorded_networks import COMPARED, Samples, record_small, seeded
from small_stores import all_files, flip
from unitlens.errors import StoreError
from unitlens.recording.all_labels import read_all_labels
from unitlens.recording.origin import Origin

SHAPE = (3, 8, 8)
# The weights of a network and the classes of its modules are the same before and after a change.
CHANGES = ["slope", "gelu", "eps", "pooling", "padding", "attribute", "forward"]


def make_activation(change, *, changed):
    if change == "slope":
        return nn.LeakyReLU(0.5 if changed else 0.01)
    if change == "gelu":
        return nn.GELU(approximate="tanh" if changed else "none")
    return nn.ReLU()


def define(factor):
    """Define a network as a cell of a notebook does: each time as a class of the same name."""

    class Network(nn.Module):
        def __init__(self, change, *, changed):
            super().__init__()
            self.changed = changed
            self.convolution = nn.Conv2d(
                *(3, 8, 3),
                padding=1,
                padding_mode="circular" if change == "padding" and changed else "zeros",
            )
            self.norm = nn.BatchNorm2d(8, eps=1e-3 if change == "eps" and changed else 1e-5)
            self.activation = make_activation(change, changed=changed)
            size = 5 if change == "pooling" and changed else 3
            self.pool = nn.MaxPool2d(size, 1, size // 2)
            self.hidden, self.activation2 = nn.Linear(8, 12), nn.ReLU()
            self.scale = 1.5 if change == "attribute" and changed else 1.0
            self.head = nn.Linear(12, 10)

        def forward(self, x):
            x = self.pool(self.activation(self.norm(self.convolution(x))))
            return self.head(factor * self.activation2(self.hidden(x.mean((2, 3)) * self.scale)))

    return Network


def make_network(change, *, changed):
    kind = define(2.0 if change == "forward" and changed else 1.0)
    return seeded(lambda: kind(change, changed=changed))().eval()


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "acts.zarr"


class PoweredOffError(BaseException):
    pass


class Dying(Samples):
    """A data set that raises an error at a certain sample, and notes the samples asked for."""

    identity, dies_at = "samples", None

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.asked = []

    def __getitem__(self, index):
        self.asked.append(index)
        if index == self.dies_at:
            raise PoweredOffError
        return super().__getitem__(index)


class Pairs:
    """A data set of pairs, of which nothing is known but its items."""

    def __init__(self, samples, shape=(12,), **attributes):
        data = Samples(samples, shape)
        self.inputs, self.numbers = data.inputs, data.labels
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, index):
        return self.inputs[index], int(self.numbers[index])


def dense():
    return seeded(lambda: nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, 10)))()


def refused(text):
    return pytest.raises(StoreError, match=rf"is finished and holds another recording.*{text}")


@pytest.mark.parametrize("options", [{}, {"dtype": "float16", "reduce": ["max", "mean", "active"]}])
@pytest.mark.parametrize("change", CHANGES)
def test_finished__a_network_that_puts_out_other_values_is_refused(path, change, options):
    dataset = Samples(300, SHAPE)
    before, after = (make_network(change, changed=changed) for changed in (False, True))
    record_small(before, dataset, path, **options)
    files = all_files(path)
    with refused(
        r"(layer '\w+' puts out other values for sample \d+|loss of sample).*; remove it or"
    ):
        record_small(after, dataset, path, **options)
    assert all_files(path) == files
    assert record_small(before, dataset, path, **options) == path

    expected = record_small(after, dataset, path.with_name("other.zarr"), **options)
    shutil.rmtree(path)
    assert all_files(record_small(after, dataset, path, **options)) == all_files(expected)


@pytest.mark.parametrize("change", CHANGES)
def test_begun__a_network_that_puts_out_other_values_starts_over(path, change, caplog):
    dataset = Dying(300, SHAPE)
    dataset.dies_at = 200
    with pytest.raises(PoweredOffError):
        record_small(make_network(change, changed=False), dataset, path, batch_size=10)
    dataset.dies_at = None
    changed = make_network(change, changed=True)
    with caplog.at_level("INFO", "unitlens"):
        record_small(changed, dataset, path, batch_size=10)

    assert "the recording is started over" in caplog.text
    assert "goes on at sample" not in caplog.text
    expected = record_small(changed, dataset, path.with_name("other.zarr"), batch_size=10)
    assert all_files(path) == all_files(expected)


@pytest.mark.parametrize("change", ["slope", "forward"])
def test_parts__of_two_networks_are_never_merged(path, change):
    dataset = Samples(300, SHAPE)
    changed = make_network(change, changed=True)
    record_small(make_network(change, changed=False), dataset, path, part=(1, 2))
    record_small(changed, dataset, path, part=(2, 2))
    with pytest.raises(StoreError, match="missing"):
        ul.merge_activations(path)
    record_small(changed, dataset, path, part=(1, 2))
    ul.merge_activations(path)

    expected = record_small(changed, dataset, path.with_name("other.zarr"))
    assert all_files(path) == all_files(expected)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_repair__refuses_a_network_that_puts_out_other_values(path, change, whole):
    dataset = Samples(300, SHAPE)
    record_small(make_network(change, changed=False), dataset, path)
    if not whole:
        (path / "label/c/2").unlink()
    files = all_files(path)
    with pytest.raises(StoreError, match=r"was recorded from another network or from other data: "):
        ul.repair_activations(make_network(change, changed=True), dataset, path)
    assert all_files(path) == files
    ul.repair_activations(make_network(change, changed=False), dataset, path)
    assert ul.verify_activations(path).whole


def test_maps__that_alone_differ_are_refused(path):
    class Mirrored(nn.Module):
        def __init__(self, *, mirrored):
            super().__init__()
            self.convolution, self.mirrored = nn.Conv2d(3, 8, 3), mirrored
            self.relu, self.head = nn.ReLU(), nn.Linear(8, 10)

        def forward(self, x):
            x = self.convolution(x)
            return self.head(self.relu(x.flip(3) if self.mirrored else x).mean((2, 3)))

    before, after = (seeded(lambda m=m: Mirrored(mirrored=m))() for m in (False, True))
    dataset, maps = Samples(100, SHAPE), {"samples": [41, 77]}
    record_small(before, dataset, path.with_name("plain.zarr"))
    record_small(after, dataset, path.with_name("plain.zarr"))
    record_small(before, dataset, path, maps=maps)
    with refused("layer 'relu' puts out other values for sample (41|77) "):
        record_small(after, dataset, path, maps=maps)


@pytest.mark.parametrize("listed", [None, "targets", "labels"])
def test_labels__one_of_many_that_changed_is_noticed(path, listed):
    numbers = Samples(5000, (12,)).labels

    def make(labels):
        dataset = Pairs(5000, **({listed: labels.tolist()} if listed else {}))
        dataset.numbers = labels
        return dataset

    ul.record_activations(dense(), make(numbers), path)
    changed = numbers.copy()
    changed[3217] = (changed[3217] + 1) % 10
    text = rf"sample 3217 has the label {changed[3217]}, had {numbers[3217]} \(and 1 of 5000 differ"
    with refused(text):
        ul.record_activations(dense(), make(changed), path)
    with pytest.raises(StoreError, match=f"from other data: {text}"):
        ul.repair_activations(dense(), make(changed), path)
    assert ul.record_activations(dense(), make(numbers), path) == path


def test_labels__that_changed_start_a_begun_store_over(path):
    dataset = Dying(600, (12,))
    dataset.dies_at = 500
    with pytest.raises(PoweredOffError):
        record_small(dense(), dataset, path, batch_size=7)
    dataset.dies_at = None
    dataset.labels[17] = (dataset.labels[17] + 1) % 10
    record_small(dense(), dataset, path, batch_size=7)

    assert ul.open_activations(path)["label"].values.tolist() == dataset.labels.tolist()


def test_true_labels__that_changed_are_noticed(path):
    dataset = Samples(200, (12,))
    dataset.identity = "samples"
    record_small(dense(), dataset, path)
    dataset.true_labels[150] += 1
    with refused("sample 150 has the true label"):
        record_small(dense(), dataset, path)


def test_labels__of_a_list_that_does_not_hold_are_those_of_the_items(path):
    """As with a `target_transform`: items have other labels than the list, few or all of them."""
    for name, wrong in (("few", [70]), ("all", slice(None))):
        dataset = Pairs(3000)
        dataset.targets = dataset.numbers.copy()
        dataset.targets[wrong] = (dataset.targets[wrong] + 1) % 10
        store = path.with_name(f"{name}.zarr")
        for _ in range(2):
            ul.record_activations(dense(), dataset, store)
        assert ul.open_activations(store)["label"].values.tolist() == dataset.numbers.tolist()


class Unread(Pairs):
    def __getitem__(self, index):
        raise AssertionError("an input is read")


def test_labels__of_tensors_subsets_and_concatenations_are_read_without_inputs():
    numbers = torch.arange(40) % 7
    tensors = TensorDataset(torch.zeros(40, 2), numbers)
    joined = ConcatDataset([Subset(tensors, [3, 1, 39]), tensors])
    joined.__class__.__getitem__, kept = Unread.__getitem__, joined.__class__.__getitem__
    try:
        labels = read_all_labels(joined)
    finally:
        joined.__class__.__getitem__ = kept
    assert labels.tolist() == [3, 1, 4, *numbers.tolist()]
    assert labels.tolist() == [int(label) for _, label in joined]


@pytest.mark.parametrize("values", [None, [0.5, 1.0], [[1, 2]], ["a", "b"], [1], object()])
def test_labels__of_an_attribute_that_is_no_list_of_labels_are_those_of_the_items(values):
    dataset = Pairs(2, targets=values, labels=values)
    assert read_all_labels(dataset).tolist() == dataset.numbers.tolist()


@pytest.mark.parametrize("identity", [None, "the same name for other data"])
@pytest.mark.parametrize("sample", [0, 999])
def test_inputs__that_changed_at_a_sample_that_is_compared_are_noticed(path, identity, sample):
    dataset = Pairs(1000, **({} if identity is None else {"identity": identity}))
    ul.record_activations(dense(), dataset, path)
    dataset.inputs[sample] += 1
    with refused("" if identity is None else f"puts out other values for sample {sample} "):
        ul.record_activations(dense(), dataset, path)


def test_identity__of_stores_of_earlier_versions_still_holds(path):
    dataset = Pairs(1000)
    former = Origin(dense(), dataset, {})._former_identity
    ul.record_activations(dense(), dataset, path, provenance={"dataset_identity": former})
    assert former != Origin(dense(), dataset, {}).provenance["dataset_identity"]
    files = all_files(path)
    ul.record_activations(dense(), dataset, path)
    assert all_files(path) == files


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rounding__of_other_batches_and_threads_is_no_difference(path, dtype):
    dataset, model = Samples(300, SHAPE), make_network("none", changed=False)
    options = {"dtype": dtype, "reduce": ["mean", "max", "active"]}
    ul.record_activations(model, dataset, path, batch_size=64, **options)
    for threads, batch_size in ((2, 7), (1, 1), (2, 300)):
        torch.set_num_threads(threads)
        ul.record_activations(model, dataset, path, batch_size=batch_size, **options)


def whitened(eps):
    """Return a network whose output for a sample depends on the other samples of its batch."""
    norm = nn.BatchNorm1d(20, eps=eps, track_running_stats=False)
    return seeded(lambda: nn.Sequential(nn.Linear(12, 20), norm, nn.ReLU(), nn.Linear(20, 10)))()


@pytest.mark.filterwarnings("ignore::unitlens.errors.RepeatabilityWarning")
def test_batches__that_an_output_depends_on_are_those_of_the_recording(path):
    dataset = Samples(300, (12,))
    ul.record_activations(whitened(1e-5), dataset, path, batch_size=50)
    ul.record_activations(whitened(1e-5), dataset, path, batch_size=50)
    with refused("layer '2' puts out other values"):
        ul.record_activations(whitened(1e-1), dataset, path, batch_size=50)


def test_nonfinite__values_are_compared_too(path):
    model = dense()
    with torch.no_grad():
        model[0].bias[3] = torch.inf
        model[0].bias[4] = torch.nan
    dataset = Samples(100, (12,))
    ul.record_activations(model, dataset, path)
    ul.record_activations(model, dataset, path)


def test_damage__is_not_taken_for_another_recording(path):
    dataset, model = Samples(300, (12,)), dense()
    record_small(model, dataset, path)
    first, second = (path / f"1/activation/c/{shard}/0" for shard in (0, 1))
    flip(first, 40, 2)
    record_small(model, dataset, path)
    with pytest.raises(StoreError, match=r"1/activation/c/0/0.* is damaged"):
        ul.open_activations(path)["1"].activation.load()
    ul.repair_activations(model, dataset, path)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)
    assert not ul.repair_activations(model, dataset, path).whole
    assert ul.verify_activations(path).whole


def test_finished__few_samples_are_asked_for(path):
    dataset, model = Dying(3000, (12,)), dense()
    ul.record_activations(model, dataset, path)
    dataset.asked = []
    ul.record_activations(model, dataset, path)
    assert 16 < len(dataset.asked) <= COMPARED
    assert np.max(dataset.asked) == 2999
