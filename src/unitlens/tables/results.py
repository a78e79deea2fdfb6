"""Everything that a finished workflow has left, opened lazily."""

import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from unitlens.config.runs import network_name
from unitlens.errors import MissingTableError, TableError, first_line, nearest
from unitlens.extras import naming_extras
from unitlens.hashed_files import check_files
from unitlens.store.backend.netcdf import read_components, read_netcdf, read_variables
from unitlens.store.backend.places import is_remote, locate
from unitlens.tables.results_words import results_in_words
from unitlens.tables.storage import TABLES, read_table
from unitlens.tables.table_set import PARTIAL
from unitlens.tables.tables_record import (
    AGAIN,
    COMMAND,
    FINAL,
    KEPT,
    TablesRecord,
    read_tables_record,
)
from unitlens.variables.checks import validate
from unitlens.variables.unit_index import index_units

if TYPE_CHECKING:
    from torch import nn

    from unitlens.data.split import SplitDataset
    from unitlens.stored_network import StoredNetwork

WAIT_SECONDS = 2.0  # for a process that joins the tables anew
_POLL_SECONDS = 0.05


class Results:
    """The tables over all networks of one results directory, and the way to their stores.

    Opened by :func:`open_results`. Numbers are read when they are used, and each file is compared
    with its hash in ``tables.json`` when it is read. Tables that are joined anew meanwhile are
    refused with a line: they are never mixed with those that were opened.

    Attributes
    ----------
    directory
        The results directory.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = locate(directory)
        self._networks, self._of = self.directory, FINAL

    @cached_property
    def record(self) -> TablesRecord:
        """What ``tables.json`` says: sizes, hashes, left out runs, and the tables' origin."""
        return read_tables_record(self._networks)

    @property
    def failed(self) -> dict[str, str]:
        """The runs that the tables leave out, each with the reason why its training failed."""
        return dict(self.record.failed)

    @cached_property
    def runs(self) -> xr.Dataset:
        """One row a run: what it is, how well it does, its AUC and other summaries."""
        return self._table("runs")

    @cached_property
    def units(self) -> xr.Dataset:
        """One row a unit of all runs; select by ``units.sel(run=..., layer=..., channel=...)``.

        xarray leaves these names, an index, out of data frames. A data frame has them by
        ``units[variables].drop_indexes(units.xindexes, errors="ignore").to_dataframe()``.
        """
        return index_units(self._table("units"))

    @cached_property
    def curves(self) -> xr.Dataset:
        """Cumulative ablation curves on ``run``, ``order`` and ``ablated``."""
        return self._table("curves")

    @cached_property
    def noise(self) -> xr.Dataset:
        """Noise robustness on ``run``, ``draw`` and ``noise_scale``."""
        return self._table("noise")

    @cached_property
    def history(self) -> xr.Dataset:
        """Accuracy and loss on ``run`` and ``epoch`` of training."""
        return self._table("history")

    @cached_property
    def correlations(self) -> xr.Dataset:
        """Spearman correlations of importance with the measures of the units, a row each."""
        return self._table("correlations")

    @cached_property
    def checkpoints(self) -> "Results":
        """The same tables over the kept epochs: ``run`` repeats, ``epoch`` tells them apart."""
        path = self.directory / KEPT
        if self._of == KEPT or KEPT not in self.record.tables:
            raise MissingTableError(
                f"there is no table of kept epochs in {path}; list epochs under "
                "training.checkpoints, set `checkpoints: true` on a measurement and run: "
                f"{COMMAND}"
            )
        kept = Results(path)
        kept._networks, kept._of = self._networks, KEPT
        kept.record = self.record
        return kept

    def has_table(self, name: str) -> bool:
        """Tell whether there is a table.

        Parameters
        ----------
        name
            Name of the table, such as ``units``.
        """
        return name in self.record.tables[self._of]

    def verify(self) -> None:
        """Compare every file of the tables with its hash, the Parquet files included.

        Tables that are read through this object are compared anyway. Call this before the Parquet
        files are read by another program.

        Raises
        ------
        TableError
            Which names the first file that is missing or damaged.
        """
        check_files(self._networks, self.record.files, error=TableError, remedy=AGAIN)

    def activations(self, run: str, split: str, *, epoch: float | None = None) -> xr.DataTree:
        """Open the activations of a run.

        Parameters
        ----------
        run
            Name of the run.
        split
            ``train`` or ``test``.
        epoch
            A kept epoch, such as 4 or 0.25; the end of training if not given.

        Returns
        -------
        What :func:`unitlens.open_activations` returns: one lazy array (sample, unit) a layer.

        Raises
        ------
        TableError
            Where there is no such run, or its activations were not recorded.
        """
        from unitlens.store.located import locate_store
        from unitlens.store.reader import open_activations

        network = self._network(run, epoch)
        path = network / split / "activations.zarr"
        if not locate_store(path).exists():
            manifest = path.with_suffix(".json")
            state = (
                f"are gone ({path} does not exist); remove {manifest}, then record them again"
                if manifest.exists()
                else f"were not recorded ({path} does not exist); record them"
            )
            raise MissingTableError(
                f"the activations of {network.relative_to(self._networks)} over split = {split!r} "
                f"{state}: {COMMAND}"
            )
        return open_activations(path)

    def principal_components(
        self, run: str, *, epoch: float | None = None
    ) -> dict[str, xr.Dataset]:
        """Read the principal components of a run's layers.

        Parameters
        ----------
        run
            Name of the run.
        epoch
            A kept epoch, such as 4 or 0.25; the end of training if not given.

        Returns
        -------
        For each layer, in the order of the forward pass, what
        :func:`unitlens.principal_components` returns.

        Raises
        ------
        TableError
            Where there is no such run, or its components were not computed.
        """
        path = self._network(run, epoch) / "principal_components.nc"
        if not path.exists():
            raise MissingTableError(
                f"the principal components of {run} were not computed ({path} does not exist); "
                f"set measurements.principal_components to {{}} and run: {COMMAND}"
            )
        return read_components(path)

    @naming_extras()
    def network(self, run: str, *, epoch: float | None = None) -> "nn.Module":
        """Build the network of a run, with its weights.

        Parameters
        ----------
        run
            Name of the run.
        epoch
            A kept epoch, such as 4 or 0.25; the end of training if not given.

        Returns
        -------
        The module, in evaluation mode on the CPU: a new one with each call.

        Raises
        ------
        TableError
            Where there is no such run.
        ModelError
            Where its checkpoint is missing or damaged.

        Examples
        --------
        A new ablation of a stored run::

            model = results.network(run)
            ul.unit_ablation(model, results.dataset(run, "test"), value="mean")
        """
        return self._stored(run, epoch).model_without_data()

    @naming_extras()
    def dataset(self, run: str, split: str) -> "SplitDataset":
        """Open a split of a run's data set, with the labels that the network was trained on.

        Parameters
        ----------
        run
            Name of the run.
        split
            ``train`` or ``test``; test labels are never corrupted.

        Returns
        -------
        A map-style data set of (input, label).

        Raises
        ------
        TableError
            Where there is no such run.
        DatasetError
            Where the prepared data set is missing or damaged.
        """
        return self._stored(run, None).dataset(split)

    def class_statistics(
        self,
        run: str,
        split: str,
        *,
        epoch: float | None = None,
        variables: Sequence[str] | None = None,
    ) -> xr.Dataset:
        """Read the class statistics of a run, with the samples of largest activation.

        Parameters
        ----------
        run
            Name of the run.
        split
            ``train`` or ``test``.
        epoch
            A kept epoch, such as 4 or 0.25; the end of training if not given.
        variables
            Names of the variables that are read, such as ``class_mean``; all if not given.
            Histograms and strongest samples take most of the memory.

        Returns
        -------
        The table that :func:`unitlens.class_statistics` returns.

        Raises
        ------
        TableError
            Where there is no such run, or its statistics were not computed.
        """
        path = self._network(run, epoch) / split / "class_statistics.nc"
        if not path.exists():
            raise MissingTableError(
                f"the class statistics of {run} over split = {split!r} were not computed ({path} "
                f"does not exist); set measurements.measures to {{}} and run: {COMMAND}"
            )
        return read_netcdf(path) if variables is None else read_variables(path, variables)

    def _stored(self, run: str, epoch: float | None) -> "StoredNetwork":
        # The tables open without torch; a network does not.
        from unitlens.stored_network import NetworkOfResults

        return NetworkOfResults(self._network(run, epoch))

    def _network(self, run: str, epoch: float | None) -> Path:
        names = list(map(str, self.runs["run"].values))
        if run not in names:
            raise TableError(
                f"run = {run!r}: there is none in {self.directory}; {nearest(run, names)}"
            )
        return self._networks / network_name(run, epoch)

    def _table(self, name: str) -> xr.Dataset:
        path = self.directory / f"{name}.zarr"
        if not self.has_table(name):
            raise MissingTableError(
                f"there is no table '{name}' in {self.directory}; make it: {COMMAND} "
                "(a measurement that the configuration leaves out has no table)"
            )
        start = f"{path.relative_to(self._networks).as_posix()}/"
        files = self.record.files
        hashes = {key.removeprefix(start): files[key] for key in files if key.startswith(start)}
        try:
            table = read_table(path, hashes)
        except TableError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TableError(f"{path} is no table ({first_line(error)}); {AGAIN}") from error
        validate(table, TABLES[name])
        return table

    def __repr__(self) -> str:
        return results_in_words(self)


def open_results(directory: str | Path = "results") -> Results:
    """Open the results of a workflow.

    Parameters
    ----------
    directory
        The results directory, ``results`` of the configuration, or a URL that it was copied to.

    Returns
    -------
    The tables ``.runs``, ``.units``, ``.curves``, ``.noise``, ``.history`` and
    ``.correlations``, and ``.checkpoints`` for kept epochs; of one run ``.network(run)``,
    ``.dataset(run, split)``, ``.activations(run, split)``, ``.class_statistics(run, split)`` and
    ``.principal_components(run)``.

    Raises
    ------
    TableError
        Where the directory holds no results, its tables are damaged, or unitlens before 0.3 made
        them.

    Examples
    --------
    After ``snakemake --cores 8 all``, ``ul.open_results("results").units`` has one row for each
    unit of all networks. Before:

    >>> import unitlens as ul
    >>> ul.open_results("nowhere")
    Traceback (most recent call last):
    ...
    unitlens.errors.TableError: there are no results in nowhere (no tables.json); make them: ...
    """
    place = locate(directory)
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        results = Results(place)
        try:
            _ = results.runs
        except TableError:
            if time.monotonic() > deadline or not _is_changing(results):
                raise
        else:
            return results
        time.sleep(_POLL_SECONDS)


def _is_changing(results: Results) -> bool:
    """Tell whether the tables are being joined anew, or were while they were opened."""
    if is_remote(results.directory):
        return False
    read = vars(results).get("record")
    try:
        return read_tables_record(results.directory) != read
    except TableError:
        return (results.directory / PARTIAL).exists()
