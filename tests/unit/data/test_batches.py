import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from unitlens.data.batches import iterate_batches, sample_indices
from unitlens.data.map_style import WholeBatches
from unitlens.errors import ArgumentError, DatasetError

DATA = TensorDataset(torch.arange(14.0).reshape(7, 2), torch.arange(7) % 3)


def test_iterate_batches__reads_any_map_style_set_in_order():
    batches = list(iterate_batches(DATA, 3))

    assert [batch[0].tolist() for batch in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert torch.equal(torch.cat([inputs for _, inputs, _ in batches]), DATA.tensors[0])
    assert torch.cat([labels for *_, labels in batches]).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_iterate_batches__keeps_the_order_of_the_indices():
    ((indices, inputs, labels),) = iterate_batches(DATA, 10, indices=[5, 0, 5])

    assert indices.tolist() == [5, 0, 5]
    assert inputs[:, 0].tolist() == [10.0, 0.0, 10.0]
    assert labels.tolist() == [2, 0, 2]
    assert labels.dtype == torch.int64


def test_iterate_batches__uses_the_batches_of_the_set_itself():
    class Batched(WholeBatches):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            raise AssertionError("samples must not be read one by one")

        def batch(self, indices):
            return torch.from_numpy(indices * 2.0), torch.zeros(len(indices), dtype=torch.int64)

    assert [inputs.tolist() for _, inputs, _ in iterate_batches(Batched(), 2)] == [[0, 2], [4, 6]]


def test_iterate_batches__reads_arrays_and_plain_numbers():
    items = [(np.float32([1, 2]), 1), (np.float32([3, 4]), np.int64(0))]
    ((_, inputs, labels),) = iterate_batches(items, 2)

    assert inputs.tolist() == [[1, 2], [3, 4]]
    assert labels.tolist() == [1, 0]


def test_iterate_batches__refuses_a_batch_size_of_zero():
    with pytest.raises(ArgumentError, match="batch_size is 0, but must be at least 1"):
        next(iterate_batches(DATA, 0))


@pytest.mark.parametrize("item", [torch.zeros(3), (torch.zeros(3),), (torch.zeros(3), None)])
def test_iterate_batches__refuses_items_without_a_label(item):
    with pytest.raises(DatasetError, match=r"item 0 of the data set is a .* without a label"):
        next(iterate_batches([item], 1))


def test_sample_indices__is_sorted_seeded_and_without_repetition():
    indices = sample_indices(1000, 100, 7)

    assert len(np.unique(indices)) == 100
    assert np.array_equal(indices, np.sort(indices))
    assert np.array_equal(indices, sample_indices(1000, 100, 7))
    assert not np.array_equal(indices, sample_indices(1000, 100, 8))


@pytest.mark.parametrize("samples", [None, 5, 9])
def test_sample_indices__takes_all_where_no_fewer_are_asked_for(samples):
    assert sample_indices(5, samples, 0).tolist() == [0, 1, 2, 3, 4]


def test_iterate_batches__refuses_a_label_between_two_classes():
    dataset = [(torch.zeros(3), 1.5)]

    with pytest.raises(DatasetError, match=r"item 0 of the data set is .*1\.5.* an integer label"):
        list(iterate_batches(dataset, 1))


def test_iterate_batches__names_an_input_of_another_shape():
    dataset = [(torch.zeros(3), 0), (torch.zeros(3), 1), (torch.zeros(2), 1)]

    with pytest.raises(DatasetError, match=r"item 2 .* \(2,\), but item 1 .* of shape \(3,\)"):
        list(iterate_batches(dataset, 2, indices=[1, 2]))


def test_iterate_batches__leaves_what_a_data_set_keeps_fit_for_training():
    kept = {}

    class Caching:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return kept.setdefault(index, torch.ones(3)), index

    with torch.inference_mode():
        (batch,) = iterate_batches(Caching(), 2)

    assert batch[1].tolist() == [[1.0] * 3] * 2
    assert not any(value.is_inference() for value in kept.values())


def test_iterate_batches__reads_any_targets():
    image = torch.zeros(2)
    floats = [(image, 0.1), (image, np.float32(2.5))]
    arrays = [(image, np.int16([1, 2])), (image, torch.tensor([3, 4], dtype=torch.int16))]

    ((_, _, plain),) = iterate_batches(floats, 2, targets="any")
    ((_, _, stacked),) = iterate_batches(arrays, 2, targets="any")
    ((_, _, labels),) = iterate_batches(DATA, 7, targets="any")

    assert plain.tolist() == [0.1, 2.5]
    assert plain.dtype == torch.float64
    assert stacked.tolist() == [[1, 2], [3, 4]]
    assert stacked.dtype == torch.int16
    assert torch.equal(labels, DATA.tensors[1])


def test_iterate_batches__refuses_targets_that_are_no_numbers_or_of_two_shapes():
    image = torch.zeros(2)

    with pytest.raises(DatasetError, match=r"item 0 .* array and a number, tensor or array"):
        next(iterate_batches([(image, object())], 1, targets="any"))
    two = [(image, torch.zeros(2)), (image, torch.zeros(3))]
    with pytest.raises(
        DatasetError, match=r"item 1 .* a target of shape \(3,\), .* all targets to"
    ):
        next(iterate_batches(two, 2, targets="any"))
