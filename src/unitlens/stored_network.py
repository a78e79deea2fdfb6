"""One network of a results folder: its module, its data, and what was measured on it."""

import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import xarray as xr
from torch import nn

from unitlens.catalogue.values import BASES, VALUES
from unitlens.config.networks import RunSpec
from unitlens.config.runs import dataset_name
from unitlens.data.dataset_record import read_record
from unitlens.data.prepare import load_dataset
from unitlens.data.split import SplitDataset
from unitlens.errors import DatasetError, ModelError
from unitlens.provenance.file_provenance import DATASET
from unitlens.provenance.file_provenance import WEIGHTS as WEIGHTS_INPUT
from unitlens.store.backend.files import read_files
from unitlens.store.backend.netcdf import read_components, read_netcdf
from unitlens.store.backend.places import is_remote, locate
from unitlens.store.element_file import recorded_variances
from unitlens.training.checkpoints import RECORD, WEIGHTS, CheckpointRecord, load_checkpoint
from unitlens.training.checkpoints import read_record as read_checkpoint_record
from unitlens.training.probes import find_changed_output
from unitlens.variables.checks import validate


class StoredNetwork:
    """A trained network as the workflow stores it, read piece by piece when it is used.

    Parameters
    ----------
    directory
        Directory of the network, ``{results}/{run}``, ``{results}/{run}/epoch-0005`` or
        ``{results}/{run}/epoch-0000.25``: a path or a URL.
    dataset_directory
        Directory of the prepared data set of the network; ``{results}/datasets/{name}`` if None.
    """

    def __init__(self, directory: str | Path, dataset_directory: str | Path | None = None) -> None:
        self.directory = locate(directory)
        self._dataset_directory = dataset_directory
        self._splits: dict[str, SplitDataset] = {}

    @cached_property
    def model(self) -> nn.Module:
        """The network with its weights, in evaluation mode on the CPU.

        Its outputs for a few samples of the test set are compared with those that its record
        states.

        Raises
        ------
        ModelError
            Where the network is missing or damaged, or puts out other values than when it was
            trained.
        DatasetError
            Where the test set cannot be read.
        """
        model, record = self._loaded
        if record.probes:
            self._check_outputs(model, record)
        return model

    def model_without_data(self) -> nn.Module:
        """Return the network, and warn that its outputs are not compared where no data is here.

        Raises
        ------
        ModelError
            As :attr:`model` does.
        """
        try:
            return self.model
        except DatasetError as error:
            warnings.warn(
                f"the outputs of the network {self.directory} are not compared with those that it "
                f"had when it was trained, for its data set cannot be read: {error}",
                stacklevel=3,
            )
        return self._loaded[0]

    @property
    def record(self) -> CheckpointRecord:
        """The record beside the weights: specification, scores and hashes."""
        return self._loaded[1]

    @property
    def seed(self) -> int:
        """The seed of the run, which all random choices on the network follow from."""
        return self.record.spec.seed

    @cached_property
    def _loaded(self) -> tuple[nn.Module, CheckpointRecord]:
        if not is_remote(self.directory):
            return load_checkpoint(self.directory)
        with TemporaryDirectory() as copy:
            names = (RECORD, WEIGHTS)
            for name, content in zip(names, read_files(self.directory, names), strict=True):
                if content is None:
                    raise ModelError(
                        f"{self.directory} holds no network: {name} is missing; copy it there"
                    )
                (Path(copy) / name).write_bytes(content)
            return load_checkpoint(Path(copy))

    @property
    def inputs(self) -> dict[str, str]:
        """Hashes of the weights and of the data set, as the provenance of a file states them."""
        return {
            WEIGHTS_INPUT: self.record.weights_hash,
            DATASET: read_record(self._find_dataset()).content_hash,
        }

    def _check_outputs(self, model: nn.Module, record: CheckpointRecord) -> None:
        difference = find_changed_output(model, self.dataset("test"), record.probes)
        if difference is not None:
            raise ModelError(
                f"the network {self.directory} puts out other values than when it was trained "
                f"({difference}): the code of model.name = '{record.spec.model.name}', a file that "
                "it reads, or its data has changed; put these back, or remove "
                f"{self._run / RECORD} and run snakemake again: it trains the network again"
            )

    def dataset(self, split: str) -> SplitDataset:
        """Open a split of the data set of the network, once.

        Parameters
        ----------
        split
            ``train``, with the labels that the network was trained on, or ``test``.
        """
        if split not in self._splits:
            spec = self.record.spec
            self._splits[split] = load_dataset(
                self._find_dataset(), split, corruption=spec.dataset.corruption, seed=spec.seed
            )
        return self._splits[split]

    def _find_dataset(self) -> Path:
        if self._dataset_directory is not None:
            return Path(self._dataset_directory)
        directory = self._run.parent / "datasets" / dataset_name(self.record.spec.dataset)
        if is_remote(directory):
            raise DatasetError(
                f"the data set {directory} lies at a URL, but is read from a disk alone; copy the "
                "results folder to a disk"
            )
        return directory

    @property
    def _run(self) -> Path:
        """The directory of the run, which may hold this network as a kept epoch."""
        is_kept = re.fullmatch(r"epoch-\d+", self.directory.name)
        return self.directory.parent if is_kept else self.directory

    def provenance(
        self, split: str, code: str, settings: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the origin of the activations of a split, as a store keeps it.

        Parameters
        ----------
        split
            ``train`` or ``test``.
        code
            Digest of the code that records.
        settings
            Settings of the recording, as plain values.
        """
        return {
            "weights_hash": self.record.weights_hash,
            "dataset_identity": self.dataset(split).identity,
            "dataset_hash": self.dataset(split).content_hash,
            "network": self.directory.name,
            "split": split,
            "code": code,
            "settings": dict(settings or {}),
        }


def read_measures(stored: StoredNetwork) -> xr.Dataset:
    """Read the measures of every unit, of schema ``unit_measures``."""
    measures = read_netcdf(stored.directory / "unit_measures.nc")
    validate(measures, "unit_measures")
    return measures


def noise_variances(stored: StoredNetwork) -> xr.Dataset:
    """Return the variances that scale noise, over the training set.

    Parameters
    ----------
    stored
        The network.

    Returns
    -------
    Dataset on ``unit`` with ``variance`` of every unit, and ``element_variance`` of the elements of
    feature maps; NaN for units of other layers, and of layers whose elements' variance was not
    recorded, as by unitlens before 0.9.
    """
    measures, inputs = read_measures(stored), stored.inputs
    store = stored.directory / "train" / "activations.zarr"
    recorded = recorded_variances(
        store, weights_hash=inputs[WEIGHTS_INPUT], dataset_hash=inputs[DATASET]
    )
    elements = np.full(measures.sizes["unit"], np.nan)
    for name, variances in recorded.items():
        rows = np.flatnonzero(measures["layer"].values == name)
        elements[rows] = variances[measures["channel"].values[rows]]
    return measures[["variance"]].assign(element_variance=("unit", elements))


def value_arguments(stored: StoredNetwork, value: str) -> dict[str, Any]:
    """Return the arguments ``value`` and ``reference`` of an ablation.

    Parameters
    ----------
    stored
        The network.
    value
        Name of the value that units are clamped to. The mean of a unit is read from the
        measures; other values that need a reference are made from the training set.
    """
    numbers = stored_values(stored, [value])
    return {"value": numbers.get(value, value), "reference": reference_set(stored, [value])}


def stored_values(stored: StoredNetwork, values: Sequence[str]) -> dict[str, xr.DataArray]:
    """Return those values, by name, that are stored as one number a unit."""
    names = [value for value in values if VALUES[value].source == "unit means"]
    return dict.fromkeys(names, read_measures(stored)["mean"]) if names else {}


def stored_bases(stored: StoredNetwork, bases: Sequence[str]) -> dict[str, list[xr.DataArray]]:
    """Return the rows of those bases, by name, that are stored: a DataArray a layer."""
    names = [basis for basis in bases if BASES[basis].stored]
    if not names:
        return {}
    tables = read_components(stored.directory / "principal_components.nc").values()
    rows = [table["component"] for table in tables]
    return {name: rows for name in names}  # noqa: C420  (RUF024 would refuse dict.fromkeys)


def reference_set(stored: StoredNetwork, values: Sequence[str]) -> SplitDataset | None:
    """Return the training set where one of the values is made from it, else None."""
    needed = any(VALUES[value].source == "reference" for value in values)
    return stored.dataset("train") if needed else None


class NetworkOfResults(StoredNetwork):
    """A network of finished results, whose data set opens without the weights.

    The steps of the workflow compute with :class:`StoredNetwork`, and are given the data set.
    """

    @property
    def _run(self) -> Path:
        """The directory of the run, which may hold this network as a kept epoch."""
        is_kept = re.fullmatch(r"epoch-\d+(\.\d+)?", self.directory.name)
        return self.directory.parent if is_kept else self.directory

    def dataset(self, split: str) -> SplitDataset:
        """Return a split of the network's data set.

        Parameters
        ----------
        split
            ``train``, with the labels that the network was trained on, or ``test``.
        """
        if split not in self._splits:
            self._splits[split] = load_dataset(
                self._find_dataset(),
                split,
                corruption=self._spec.dataset.corruption,
                seed=self._spec.seed,
            )
        return self._splits[split]

    @cached_property
    def _spec(self) -> RunSpec:
        """The specification of the run, for which the weights are read at a URL alone."""
        if "_loaded" in vars(self) or is_remote(self.directory):
            return self.record.spec
        return read_checkpoint_record(self.directory / RECORD).spec

    def _find_dataset(self) -> Path:
        if self._dataset_directory is not None or is_remote(self.directory):
            return super()._find_dataset()
        return self._run.parent / "datasets" / dataset_name(self._spec.dataset)
