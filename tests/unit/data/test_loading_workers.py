"""Items that other processes read: the same items, in the same order, and no process is left."""

import io
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from unitlens.config.networks import DatasetSpec
from unitlens.data.batches import iterate_batches
from unitlens.data.items_ahead import ItemsAhead
from unitlens.data.loading_workers import LoadingWorkers, loading_workers
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.data.worker_copies import pickled
from unitlens.errors import ArgumentError, DatasetError


class Numbers:
    """Item i holds i and the number of the process that read it."""

    def __init__(self, length=100, at=None, fault=None, pause=0.0):
        self.length, self.at, self.fault, self.pause = length, at, fault, pause

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        time.sleep(self.pause)
        if index == self.at:
            self.fault()
        return torch.tensor([index, os.getpid()]), index % 3


def fail():
    raise OSError("image file is truncated")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    sys.exit(3)


def processes_of_reading():
    # The pool of joblib, which other tests start, outlives them.
    return [
        child
        for child in multiprocessing.active_children()
        if type(child).__name__ != "LokyProcess"
    ]


def read(dataset, workers, **arguments):
    with loading_workers(workers, dataset):
        batches = list(iterate_batches(dataset, 7, **arguments))
    assert processes_of_reading() == []
    return [np.concatenate([np.asarray(batch[part]) for batch in batches]) for part in range(3)]


@pytest.mark.parametrize("workers", [1, 3])
def test_items__come_in_the_order_of_the_indices_from_other_processes(workers):
    order = np.random.default_rng(0).integers(0, 100, 230)
    rows, inputs, labels = read(Numbers(pause=0.0005), workers, indices=order)

    assert np.array_equal(rows, order)
    assert np.array_equal(inputs[:, 0], order)
    assert np.array_equal(labels, order % 3)
    processes = set(inputs[:, 1].tolist())
    assert os.getpid() not in processes
    assert len(processes) == workers


def test_items__are_read_here_without_workers():
    _, inputs, _ = read(Numbers(), 0)

    assert set(inputs[:, 1].tolist()) == {os.getpid()}


def test_two_passes_at_once__do_not_mix():
    dataset = Numbers()
    with loading_workers(2, dataset):
        outer = []
        for rows, inputs, _ in iterate_batches(dataset, 10):
            outer.append(inputs[:, 0])
            ((_, other, _),) = iterate_batches(dataset, 10, indices=99 - rows)
            assert other[:, 0].tolist() == (99 - rows).tolist()
            first_only = next(iterate_batches(dataset, 4, indices=rows))  # the rest goes unread
            assert first_only[1][:, 0].tolist() == rows[:4].tolist()
    assert torch.equal(torch.cat(outer), torch.arange(100))


def test_item_that_is_asked_for_out_of_order__is_right():
    dataset = Numbers()
    workers = LoadingWorkers(dataset, 1)
    workers.start()
    try:
        items = ItemsAhead(workers, np.arange(20), ahead=4)
        found = [int(items[index][0][0]) for index in (0, 7, 1, 1, 2, 3)]
    finally:
        workers.close()
    assert found == [0, 7, 1, 1, 2, 3]


def test_item_that_fails__is_named_as_without_workers():
    dataset = Numbers(at=57, fault=fail)
    with pytest.raises(DatasetError) as plain:
        read(dataset, 0)
    with pytest.raises(DatasetError) as raised:
        read(dataset, 2)

    assert str(raised.value) == str(plain.value)
    assert "item 57 of the data set cannot be read (OSError: image file is trun" in str(plain.value)
    assert "in fail" in raised.value.__cause__.__notes__[0]  # where the data set raised it
    assert processes_of_reading() == []


def test_exception_that_cannot_be_pickled__is_named():
    class OwnError(Exception):
        def __init__(self, file, line):
            super().__init__(f"{file} {line}")

    def fault():
        raise OwnError("a.png", 3)

    with pytest.raises(DatasetError, match=r"item 57 of .*OwnError: a\.png 3"):
        read(Numbers(at=57, fault=fault), 2)


@pytest.mark.parametrize(
    ("fault", "how"),
    [(die, r"signal 9 \(often for want of memory\)"), (leave, "exit code 3")],
    ids=["killed", "left"],
)
def test_worker_that_dies__is_one_line_with_its_items_and_nothing_hangs(fault, how):
    with pytest.raises(DatasetError, match=f"ended with {how} while it read the items") as raised:
        read(Numbers(at=57, fault=fault), 2)

    assert "\n" not in str(raised.value)
    first, last = map(int, re.search(r"items (\d+) to (\d+);", str(raised.value)).groups())
    assert first <= 57 <= last
    assert processes_of_reading() == []


def test_exception_in_the_context__leaves_no_process():
    dataset = Numbers(pause=0.01)
    with pytest.raises(KeyboardInterrupt), loading_workers(2, dataset):  # noqa: PT012
        for _ in iterate_batches(dataset, 10):
            raise KeyboardInterrupt
    assert processes_of_reading() == []


@pytest.mark.parametrize("workers", [-1, 1.5, True, "2"])
def test_number_of_workers__is_checked(workers):
    with (
        pytest.raises(ArgumentError, match=r"workers is .*, but must be a whole number from 0"),
        loading_workers(workers, Numbers()),
    ):
        pass


class HoldingFile(Numbers):
    def __init__(self, file):
        super().__init__()
        self.parts = {"archive": [file]}


class ReopeningFile(HoldingFile):
    def __getstate__(self):
        return {**self.__dict__, "parts": {}}


def test_open_file__is_refused_since_processes_would_share_its_place(tmp_path):
    path = tmp_path / "archive.bin"
    path.write_bytes(b"x")
    with path.open("rb") as file:
        with pytest.raises(DatasetError, match=r"holds an open file .*archive\.bin.*, which proc"):
            read(HoldingFile(file), 2)
        _, inputs, _ = read(ReopeningFile(file), 2)
        assert inputs[:, 0].tolist() == list(range(100))
    # a closed file, and one in memory, are copied like any object
    assert len(read(HoldingFile(file), 2)[0]) == 100
    assert len(read(HoldingFile(io.BytesIO(b"x")), 2)[0]) == 100


def test_cycles_and_local_functions__are_inherited():
    dataset = Numbers()
    dataset.itself, dataset.function = dataset, lambda: dataset
    assert len(read(dataset, 2)[0]) == 100


@pytest.fixture
def spawned(monkeypatch):
    spawn = multiprocessing.get_context("spawn")
    monkeypatch.setattr(multiprocessing, "get_context", lambda: spawn)


def test_new_interpreters__read_the_same_items(spawned):
    inputs = torch.arange(60.0).reshape(20, 3)
    dataset = Subset(TensorDataset(inputs, torch.arange(20) % 3), list(range(19, -1, -1)))

    _, found, labels = read(dataset, 1)

    assert np.array_equal(found, inputs.numpy()[::-1])
    assert labels.tolist() == [index % 3 for index in range(19, -1, -1)]


def test_data_set_that_cannot_be_pickled__is_one_line_in_new_interpreters(spawned):
    class Local(Numbers):
        pass

    with pytest.raises(DatasetError, match=r"Local\) .* pickled.* or set workers to 0") as raised:
        read(Local(), 2)
    assert "\n" not in str(raised.value)
    assert len(read(Local(), 0)[0]) == 100


def test_data_in_memory__starts_no_process():
    dataset = TensorDataset(torch.zeros(9, 2), torch.zeros(9, dtype=torch.int64))
    with loading_workers(3, dataset, None):
        assert processes_of_reading() == []


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(6).reshape(2, 3).T,
        torch.tensor(3.5, dtype=torch.bfloat16),
        torch.empty(0, 3),
        torch.tensor([1 + 2j]).conj(),
        torch.tensor([True, False]),
        torch.tensor([2.0], requires_grad=True),
        torch.eye(3).to_sparse(),
    ],
    ids=str,
)
def test_pickled_tensor__comes_back(value):
    back = pickle.loads(pickled(value))
    # Where pickle read a sparse tensor, torch checks that tensor at the next torch.load.
    torch._utils._sparse_tensors_to_validate.clear()

    assert back.dtype == value.dtype
    assert back.shape == value.shape
    assert torch.equal(back.to_dense(), value.detach().to_dense())


def test_pickled_view__leaves_out_the_rest_of_the_storage():
    assert len(pickled(torch.zeros(1000, 1000)[3])) < 10_000


def test_image_folder__is_read_to_the_same_bits(tmp_path):
    random = np.random.default_rng(0)
    for place in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / place).mkdir(parents=True)
        for number in range(6):
            pixels = random.integers(0, 256, (13, 17, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / place / f"{number}.png")
    folders = {"train": "train", "test": "test"}
    spec = DatasetSpec(name="image_folder", folders=folders, image_size=9)
    prepare_dataset(spec, tmp_path / "set", data=tmp_path)
    dataset = load_dataset(tmp_path / "set", "train")

    plain, ahead = read(dataset, 0), read(dataset, 2)

    for expected, found in zip(plain, ahead, strict=True):
        assert np.array_equal(expected, found)


def test_interrupt_from_the_keyboard__ends_all_processes_without_a_word_of_theirs():
    script = """
        import signal, time, torch
        from unitlens.data.batches import iterate_batches
        from unitlens.data.loading_workers import loading_workers

        # Processes that a shell runs in the background ignore the interrupt, and so do theirs.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Slow:
            def __len__(self):
                return 1000

            def __getitem__(self, index):
                time.sleep(0.05)
                return torch.zeros(2), 0

        dataset = Slow()
        with loading_workers(2, dataset):
            for rows, _, _ in iterate_batches(dataset, 4):
                print(rows[0], flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes
    _, errors = process.communicate(timeout=60)  # ends only when the workers have ended, too

    assert errors.count("Traceback") == 1
    assert errors.rstrip().endswith("KeyboardInterrupt")


class Photos(Numbers):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.samples = [(f"folder/{number}.png", number % 3) for number in range(self.length)]


@pytest.mark.parametrize("workers", [0, 2])
def test_item_of_a_listed_file__is_named_with_the_file(workers):
    message = r"item 57 of the data set \(folder/57\.png\) cannot be read \(OSError: image file is"
    with pytest.raises(DatasetError, match=message):
        read(Photos(at=57, fault=fail), workers)

    subset = Subset(Photos(at=57, fault=fail), list(range(99, -1, -1)))
    with pytest.raises(DatasetError, match=r"item 42 of the data set \(folder/57\.png\) cannot be"):
        read(subset, workers)
