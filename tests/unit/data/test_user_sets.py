"""A user's function that is called again must return what it returned when it was prepared."""

import shutil
import sys

import numpy as np
import pytest
import torch

from unitlens.config.networks import DatasetSpec
from unitlens.data.batches import iterate_batches
from unitlens.data.describe import describe_dataset
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.errors import DatasetError

SPEC = DatasetSpec(name="changing:samples")


class Samples:
    """Samples that a test changes."""

    def __init__(self, count):
        random = np.random.default_rng(count)
        self.inputs = random.standard_normal((count, 4)).astype(np.float32)
        self.labels = np.arange(count) % 3

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.inputs[index], self.labels[index]


@pytest.fixture
def sets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unitlens.data.user_sets.MEMORY_LIMIT", 1)
    (tmp_path / "changing.py").write_text("kept = {}\n\ndef samples():\n    return kept\n")
    monkeypatch.delitem(sys.modules, "changing", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    import changing

    changing.kept.update(train=Samples(40), test=Samples(20))
    yield changing.kept
    sys.modules.pop("changing", None)


def read(directory, split="train"):
    dataset = load_dataset(directory, split)
    return dataset.batch(np.arange(len(dataset)))


def test_unchanged_function__reads_the_same(sets, tmp_path):
    prepare_dataset(SPEC, tmp_path / "set", data=tmp_path)
    inputs, labels = read(tmp_path / "set")

    assert load_dataset(tmp_path / "set", "train").streams
    assert np.array_equal(inputs.numpy(), sets["train"].inputs)
    assert np.array_equal(labels.numpy(), sets["train"].labels)


def one_label(sets):
    sets["train"].labels[17] = 0


def fewer(sets):
    sets["train"] = Samples(30)


def other_inputs(sets):
    sets["train"].inputs += 1


def fewer_numbers(sets):
    for samples in sets.values():
        samples.inputs = samples.inputs[:, :3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one_label, "item 17 of changing:samples train has the label 0, but had 2 when"),
        (fewer, "changing:samples train has 30 items, but item 39 was prepared"),
        (other_inputs, r"item 0 of changing:samples train is not what it was when"),
        (fewer_numbers, r"item 0 of changing:samples train is not what it was when"),
    ],
)
def test_changed_function__is_refused_and_preparing_again_helps(sets, tmp_path, change, message):
    prepare_dataset(SPEC, tmp_path / "set", data=tmp_path)
    change(sets)
    with pytest.raises(DatasetError, match=message) as raised:
        read(tmp_path / "set")

    assert f"delete the folder {tmp_path / 'set'} and run" in str(raised.value)
    shutil.rmtree(tmp_path / "set")
    prepare_dataset(SPEC, tmp_path / "set", data=tmp_path)
    assert np.array_equal(read(tmp_path / "set")[0].numpy(), sets["train"].inputs)


def test_random_function__is_refused_when_it_is_prepared(sets, tmp_path):
    class Noisy(Samples):
        def __getitem__(self, index):
            return self.inputs[index] + np.float32(np.random.default_rng().random()), 0

    sets["train"] = Noisy(40)
    with pytest.raises(DatasetError, match=r"item 0 .* is another each time that it is read; ret"):
        prepare_dataset(SPEC, tmp_path / "set", data=tmp_path)


@pytest.mark.parametrize(
    "error", [OSError("image file is\ntruncated"), KeyError("label"), IndexError("out of range")]
)
def test_broken_sample__is_named_and_leaving_it_out_helps(sets, tmp_path, error):
    class Broken(Samples):
        def __getitem__(self, index):
            if index == 57:
                raise error
            return super().__getitem__(index)

    sets["train"] = Broken(100)
    message = rf"item 57 of .* cannot be read \({type(error).__name__}: .*leave it out"
    with pytest.raises(DatasetError, match=message) as raised:
        prepare_dataset(SPEC, tmp_path / "set", data=tmp_path)
    assert "\n" not in str(raised.value)
    with pytest.raises(DatasetError, match=message):
        list(iterate_batches(Broken(100), 10))

    whole = torch.utils.data.Subset(Broken(100), [i for i in range(100) if i != 57])
    sets["train"] = whole
    prepare_dataset(SPEC, tmp_path / "set", data=tmp_path)
    assert len(read(tmp_path / "set")[1]) == 99


ONE_ENTRY = [
    np.array([2], np.uint8),
    np.array([[2]]),
    np.array(2),
    torch.tensor([2]),
    torch.tensor(2),
    torch.tensor([[2]]),
    np.int8(2),
    2.0,
    2,
]


@pytest.mark.parametrize("label", ONE_ENTRY, ids=repr)
def test_label_of_one_entry__is_taken(sets, tmp_path, label):
    items = [(np.zeros(3, np.float32), label)] * 4
    sets.update(train=items, test=items)
    prepare_dataset(SPEC, tmp_path / "set", data=tmp_path)

    assert read(tmp_path / "set")[1].tolist() == [2] * 4
    ((_, _, labels),) = iterate_batches(items, 4)
    assert labels.tolist() == [2] * 4


@pytest.mark.parametrize(
    "label",
    [np.array([0, 1, 0]), torch.tensor([1.5]), float("nan"), "cat", None, np.array([])],
    ids=repr,
)
def test_label_of_no_or_several_entries__is_one_line_with_the_item(sets, tmp_path, label):
    items = [(np.zeros(3, np.float32), 0), (np.zeros(3, np.float32), label)]
    sets.update(train=items, test=items)
    with pytest.raises(DatasetError, match=r"item 1 of .* integer label") as raised:
        prepare_dataset(SPEC, tmp_path / "set", data=tmp_path)
    assert "\n" not in str(raised.value)
    if np.array_equal(label, [0, 1, 0]):  # a one-hot vector, which measurements take
        assert next(iterate_batches(items, 2))[2].tolist() == [0, 1]
        return
    with pytest.raises(DatasetError, match=r"item 1 of the data set is .* label"):
        list(iterate_batches(items, 2))


class Rows(Samples):
    """Items that are dictionaries of some keys."""

    def __init__(self, count, *keys):
        super().__init__(count)
        self.keys = keys

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        row = {"image": image, "mask": 0 * image, "label": label, "text": "a cat", "kind": label}
        return {key: row[key] for key in self.keys}


@pytest.mark.parametrize("limit", [1, 2**30])
@pytest.mark.parametrize(
    ("keys", "options"),
    [
        (("image", "label"), {}),
        (("text", "image", "label"), {}),
        (("image", "mask", "label"), {"input": "image"}),
        (("kind", "image", "text"), {"target": "kind"}),
        (("mask", "image", "label", "kind"), {"input": "image", "target": "kind"}),
        (("image", "label"), {"input": "image", "target": "label", "train_samples": 12}),
    ],
)
def test_items_that_are_dictionaries__are_read_as_pairs(
    sets, tmp_path, monkeypatch, limit, keys, options
):
    monkeypatch.setattr("unitlens.data.user_sets.MEMORY_LIMIT", limit)
    spec = DatasetSpec(name="changing:samples", **options)
    pairs = SPEC.model_copy(update={"train_samples": spec.train_samples})
    prepare_dataset(pairs, tmp_path / "pairs", data=tmp_path)
    expected = {split: read(tmp_path / "pairs", split) for split in ("train", "test")}
    sets.update(train=Rows(40, *keys), test=Rows(20, *keys))
    prepare_dataset(spec, tmp_path / "set", data=tmp_path)
    for split, of_pairs in expected.items():
        for found, wanted in zip(read(tmp_path / "set", split), of_pairs, strict=True):
            assert torch.equal(found, wanted)
    assert np.array_equal(read(tmp_path / "set", "test")[0].numpy(), Samples(20).inputs)
    assert describe_dataset(spec, data=tmp_path).input_shape == (4,)


@pytest.mark.parametrize(
    ("keys", "options", "message"),
    [
        (("image", "mask", "label"), {}, "keys 'image', 'mask' beside the label; name that of the"),
        (("image", "kind"), {}, "none is label, .*; name that of the label by dataset.target"),
        (
            ("image", "kind"),
            {"target": "kinds"},
            "'image', 'kind', but target is 'kinds'; name one",
        ),
        (("image", "label"), {"input": "img"}, "but dataset.input is 'img'; name one of them"),
        (("label",), {}, "has no key beside the target 'label', but needs an input"),
        (("text", "label"), {}, "has texts alone beside the label .'text'.; have the function"),
    ],
)
def test_items_that_are_dictionaries__misfits_are_one_line(sets, tmp_path, keys, options, message):
    sets["train"] = Rows(40, *keys)
    with pytest.raises(
        DatasetError, match=f"^item 0 of changing:samples train .*{message}"
    ) as told:
        prepare_dataset(
            DatasetSpec(name="changing:samples", **options), tmp_path / "set", data=tmp_path
        )
    assert "\n" not in str(told.value)


def test_keys__of_items_that_are_pairs_are_refused(sets, tmp_path):
    spec = DatasetSpec(name="changing:samples", target="label")
    with pytest.raises(DatasetError, match=r"is a tuple, but dataset.input .*; remove these two"):
        prepare_dataset(spec, tmp_path / "set", data=tmp_path)
    with pytest.raises(ValueError, match="target is for a module:function only, not for mnist5k"):
        DatasetSpec(name="mnist5k", target="label")
