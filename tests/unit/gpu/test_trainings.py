"""Trainings on a GPU: the weights of the CPU."""

import pytest
import torch
import xarray as xr

from simulated_gpu import simulated_gpu
from small_trainings import run_spec
from unitlens.data.batches import iterate_batches
from unitlens.data.prepare import load_dataset, prepare_dataset
from unitlens.training.checkpoints import load_checkpoint
from unitlens.training.train import train

CONVNET = {"name": "convnet", "channels": [4, 4], "strides": [1, 2], "batch_norm": True}
TRAININGS = {
    "sgd": {},
    "adamw": {"optimizer": "adamw", "learning_rate": 0.002},
    "regulariser": {"selectivity_regulariser": 0.1},
    "augmentation": {"augmentation": ["flip", "crop"]},
    "convnet": {"model": CONVNET},
    "batch norm": {"model": {"name": "mlp", "widths": [16, 12], "batch_norm": True}},
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    directory = tmp_path_factory.mktemp("digits")
    prepare_dataset(run_spec().dataset, directory, data=directory)
    return directory


@pytest.mark.parametrize("kind", sorted(TRAININGS))
def test_train__has_the_weights_of_the_cpu(kind, digits, tmp_path):
    spec = run_spec(epochs=1, batch_size=100, **TRAININGS[kind])
    train(spec, digits, tmp_path / "cpu")
    with simulated_gpu() as gpu:
        train(spec, digits, tmp_path / "gpu", device="cuda")

    model, _ = load_checkpoint(tmp_path / "cpu")
    found, record = load_checkpoint(tmp_path / "gpu")
    torch.testing.assert_close(found.state_dict(), model.state_dict(), rtol=1e-3, atol=1e-4)
    histories = [
        xr.load_dataset(tmp_path / where / "history.nc", engine="h5netcdf")
        for where in ("cpu", "gpu")
    ]
    xr.testing.assert_allclose(*histories, rtol=1e-3, atol=1e-4)
    assert "simulated GPU" in str(record)
    steps = 15  # of 1,437 samples
    assert gpu.waits.total() <= 4 * steps + 40


def test_looks__leave_no_trace_in_a_training_on_a_gpu(digits, tmp_path):
    kind = TRAININGS["augmentation"] | TRAININGS["convnet"]
    for name, looks in (("plain", []), ("looked", [0.25, 0.5, 1.5])):
        with simulated_gpu():
            train(run_spec(checkpoints=looks, **kind), digits, tmp_path / name, device="cuda")

    plain, looked = (load_checkpoint(tmp_path / name)[1] for name in ("plain", "looked"))
    assert looked.weights_hash == plain.weights_hash
    assert len(list((tmp_path / "looked").glob("epoch-*/checkpoint.json"))) == 3


def test_batches__of_a_prepared_set_are_normalised_on_the_gpu(digits):
    dataset = load_dataset(digits, "train")
    with simulated_gpu() as gpu:
        found = [(x, y) for _, x, y in iterate_batches(dataset, 600, device="cuda")]
        assert {x.device.type for x, _ in found} == {"cuda"}
        assert gpu.kernels["aten.mul_"] == gpu.kernels["aten.add_"] == len(found)
        inputs = torch.cat([x.cpu() for x, _ in found])
    expected, labels = dataset.batch(range(len(dataset)))
    assert torch.equal(inputs, expected)
    assert torch.equal(torch.cat([y.raw for _, y in found]), labels)
