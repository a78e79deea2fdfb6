"""Items as they come: pairs, dictionaries, several inputs, no target; and how labels are read."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from unitlens.data.batches import iterate_batches
from unitlens.data.items import ItemForm
from unitlens.data.samples import Samples, open_samples
from unitlens.errors import ArgumentError, DatasetError
from unitlens.model.inputs import Inputs

IMAGES = torch.arange(12.0).reshape(6, 2)
LABELS = [2, 0, 1, 2, 1, 0]
PAIRS = list(zip(IMAGES, LABELS, strict=True))


class Named(Dataset):
    classes = ("cow", "ant", "bee")

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return IMAGES[index], self.classes[LABELS[index]]


class TwoArguments(nn.Module):
    def forward(self, ids, mask=None):
        return ids if mask is None else ids * mask


def read(dataset, targets="labels", **form):
    samples = Samples(dataset, ItemForm(**form))
    return samples.read(range(len(samples)), targets)


ITEMS = {
    "pairs": PAIRS,
    "arrays": [(image.numpy(), np.array([label])) for image, label in PAIRS],
    "lists of floats": [(image.tolist(), label) for image, label in PAIRS],
    "dictionaries": [{"image": image, "label": label} for image, label in PAIRS],
    "one-hot": [(image, torch.eye(3)[label]) for image, label in PAIRS],
    "texts": [(image, "abc"[label]) for image, label in PAIRS],
    "named texts": Named(),
    "subset of named texts": Subset(Named(), range(6)),
    "loader": DataLoader(PAIRS, batch_size=4, shuffle=True),
}


@pytest.mark.parametrize("kind", sorted(ITEMS))
def test_read__inputs_and_labels(kind):
    samples = open_samples(ITEMS[kind], model=nn.Linear(2, 3))
    inputs, labels = samples.read(range(6), "labels")

    assert torch.equal(inputs, IMAGES)
    assert labels.tolist() == LABELS
    assert labels.dtype == torch.int64


def test_read__a_dictionary_gives_the_arguments_that_the_network_names(caplog):
    items = [
        {"ids": [i, 1], "mask": [1, 0], "length": 2, "text": "t", "label": i % 2} for i in range(4)
    ]
    samples = open_samples(items, model=TwoArguments())
    inputs, labels = samples.read([3, 1], "labels")

    assert inputs.value["ids"].tolist() == [[3, 1], [1, 1]]
    assert sorted(inputs.value) == ["ids", "mask"]
    assert labels.tolist() == [1, 1]
    assert caplog.messages == [
        "the network has no argument 'length', so these keys of the items are left out"
    ]


@pytest.mark.parametrize(
    ("item", "form", "inputs", "target"),
    [
        ({"a": 1, "b": 5}, {"target": "b"}, [1], [5]),
        (([1, 1], np.array([2]), 5), {"target": -1}, [[[1, 1]], [[2]]], [5]),
        ((5, 1), {"target": 0}, [1], [5]),
        (([1, 1], 5, "name"), {"target": 1}, [[1, 1]], [5]),
    ],
    ids=["key", "last of three", "first of two", "with a text"],
)
def test_read__target_is_named_by_key_or_place(item, form, inputs, target):
    samples = open_samples([item], ItemForm(**form), nn.ReLU())
    read_inputs, targets = samples.read([0], "any")

    tensors = read_inputs.value if isinstance(read_inputs, Inputs) else read_inputs
    assert [t.tolist() for t in tensors] == inputs
    assert targets.tolist() == target


def test_read__an_input_alone_is_the_target_of_a_score():
    inputs, targets = read(TensorDataset(IMAGES), "any")

    assert torch.equal(inputs, IMAGES)
    assert torch.equal(targets, IMAGES)


def pad(items):
    width = max(len(tokens) for tokens, _ in items)
    rows = [tokens + [0] * (width - len(tokens)) for tokens, _ in items]
    mask = [[1] * len(tokens) + [0] * (width - len(tokens)) for tokens, _ in items]
    return {"ids": torch.tensor(rows), "mask": torch.tensor(mask)}, [label for _, label in items]


@pytest.mark.parametrize("given", ["argument", "loader"])
def test_collate_fn__makes_the_batch(given):
    items = [([7] * length, length % 2) for length in (1, 3, 2)]
    dataset = DataLoader(items, batch_size=2, collate_fn=pad) if given == "loader" else items
    inputs, labels = read(dataset, **({} if given == "loader" else {"collate_fn": pad}))

    assert inputs.value["ids"].tolist() == [[7, 0, 0], [7, 7, 7], [7, 7, 0]]
    assert inputs.value["mask"].sum(1).tolist() == [1, 3, 2]
    assert labels.tolist() == [1, 1, 0]


def test_collate_fn__that_fails_or_loses_samples_is_one_line():
    with pytest.raises(DatasetError, match=r"collate_fn cannot join items 0 to 5 .*TypeError"):
        read(PAIRS, collate_fn=lambda items: items[0]["x"])
    with pytest.raises(DatasetError, match=r"has 1 inputs and 6 targets, but must have 6"):
        read(PAIRS, collate_fn=lambda _: (IMAGES[:1], torch.tensor(LABELS)))


def test_ignore_index__leaves_samples_out():
    labels = torch.tensor([2, -100, 1, -100, 0, 0])
    samples = Samples(TensorDataset(IMAGES, labels), ItemForm(ignore_index=-100))
    inputs, kept = samples.read(range(len(samples)), "labels")

    assert kept.tolist() == labels[labels >= 0].tolist()
    assert torch.equal(inputs, IMAGES[labels >= 0])
    assert samples.attributes() == {"ignore_index": -100, "ignored": 2}


class Stream(IterableDataset):
    def __iter__(self):
        return iter(PAIRS)


class NoLength:
    def __getitem__(self, index):
        return PAIRS[index]


class TooLong(NoLength):
    def __len__(self):
        return 9


MISFITS = {
    "None": (None, "the data set is None"),
    "generator": ((pair for pair in PAIRS), r"is a generator, .* list\(dataset\)"),
    "iterable": (Stream(), r"is a Stream, .* read it into a list, list\(dataset\)"),
    "loader of an iterable": (
        DataLoader(Stream()),
        r"of an IterableDataset, .* list\(loader.dataset\)",
    ),
    "no length": (NoLength(), r"NoLength, has no length \(__len__\)"),
    "too long": (TooLong(), r"item 6 .* \(IndexError: .*, or mend the length of the data set, 9"),
    "arrays": ((IMAGES, torch.tensor(LABELS)), r"tuple of 2 arrays, .*TensorDataset\(inputs"),
    "three entries": ([(1, 2, "name")], r"has 3 entries \(int, int, str\), .* target=1"),
    "two targets": (
        [{"x": 1, "label": 0, "labels": 0}],
        r"'label' and 'labels', .* target='label'",
    ),
    "sampler": (
        DataLoader(PAIRS, sampler=SubsetRandomSampler([0, 1])),
        "sampler SubsetRandomSampler, which does not read each item once",
    ),
    "dropped": (DataLoader(PAIRS, batch_size=4, drop_last=True), "leaves out some of its 6 items"),
    "text input": ([("name", 1)], r"has an input of type str, .* collate_fn"),
    "other keys": ([({"a": 1}, 0), ({"b": 1}, 0)], r"item 1 .* with 'b', but item 0 .* with 'a'"),
    "no class": ([(IMAGES[0], 0), (IMAGES[1], "cat")], r"item 1 .* 'cat'\), but must be"),
}


@pytest.mark.parametrize("kind", sorted(MISFITS))
def test_misfit__is_one_line(kind):
    dataset, message = MISFITS[kind]
    with pytest.raises(DatasetError, match=message) as raised:
        list(iterate_batches(dataset, 20))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "form", [{"target": 1.5}, {"collate_fn": "pad"}, {"ignore_index": "x"}], ids=str
)
def test_form__refuses_values_of_other_types(form):
    with pytest.raises(ArgumentError, match=next(iter(form))):
        Samples(PAIRS, ItemForm(**form))


@pytest.mark.parametrize(
    ("targets", "reason"),
    [
        (LABELS, ""),
        (["a", "b", "a", "a", "a", "a"], ""),
        ([0.0, 1.0, 2.0, 0.0, 0.0, 0.0], ""),
        ([0.0, 1.5, 2.0, 0.0, 0.0, 0.0], "the targets are no whole numbers"),
        ([*torch.eye(3), *torch.ones(3, 3)], "the targets have the shape (3,)"),
        ([None] * 6, "the items have no target"),
    ],
)
def test_no_labels__tells_why_targets_are_no_classes(targets, reason):
    assert Samples(list(zip(IMAGES, targets, strict=True))).no_labels == reason


def test_method_batch_of_another_meaning__is_not_called():
    class Grouped(Named):
        def batch(self, size):
            raise AssertionError(f"a method batch of another meaning is called with {size}")

    assert read(ConcatDataset([Grouped()]))[1].tolist() == LABELS
    assert read(Grouped())[1].tolist() == LABELS


def test_texts__need_the_names_of_the_logits_where_their_number_differs():
    texts = [(image, "ab"[label % 2]) for image, label in PAIRS]
    Samples(texts).check_width(2)
    with pytest.raises(DatasetError, match=r"2 texts \['a', 'b'\], .* 3 logits; .* classes"):
        Samples(texts).check_width(3)
    Samples(Named()).check_width(3)
