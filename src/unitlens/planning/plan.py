"""The plan of a configuration: its networks, and the measurements of each network."""

import os
import re
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from unitlens.config.experiments import Config
from unitlens.config.measurements import MEASUREMENT_FILES, MeasurementSpec
from unitlens.config.networks import DatasetSpec
from unitlens.config.runs import (
    DIGITS,
    FORMER_DIGITS,
    Run,
    dataset_name,
    expand_runs,
    network_name,
    run_of_network,
)


@dataclass(frozen=True)
class Plan:
    """The runs of a configuration, their networks, and the measurements of each network.

    A run has a network at the end of training (named ``{run}``) and one after each kept epoch
    (``{run}/epoch-0005``, ``{run}/epoch-0000.25``).

    Attributes
    ----------
    config
        The configuration.
    runs
        Name of each run to the run.
    """

    config: Config
    runs: dict[str, Run]

    @property
    def datasets(self) -> dict[str, DatasetSpec]:
        """Data sets that must be prepared, by name."""
        specs = [run.spec.dataset for run in self.runs.values()]
        return {dataset_name(spec): spec for spec in specs}

    @property
    def kept_epochs(self) -> list[str]:
        """Names of the networks of kept epochs."""
        return [
            network_name(name, epoch)
            for name, run in self.runs.items()
            if run.spec.training
            for epoch in run.spec.training.checkpoints
        ]

    @property
    def networks(self) -> list[str]:
        """Names of all networks: those of the runs, then those of the kept epochs."""
        return [*self.runs, *self.kept_epochs]

    def run_of(self, network: str) -> Run:
        """Return the run of a network.

        Parameters
        ----------
        network
            Name of the network.
        """
        return self.runs[run_of_network(network)]

    def settings_of(self, network: str) -> MeasurementSpec:
        """Return the measurement settings of a network.

        Parameters
        ----------
        network
            Name of the network.
        """
        return self.run_of(network).measurements

    def measured(self, measurement: str) -> list[str]:
        """Return the networks on which a measurement is made.

        Parameters
        ----------
        measurement
            A section of the configuration's measurements: ``measures``, ``principal_components``,
            ``unit_ablation``, ``cumulative_ablation`` or ``noise_robustness``.
        """
        return [
            name
            for name in self.networks
            if (settings := getattr(self.settings_of(name), measurement)) is not None
            and (settings.checkpoints or name in self.runs)
        ]

    def files_of_experiments(self) -> dict[str, dict[str, list[str]]]:
        """Return the measurements of each experiment, by the stems of their files.

        Returns
        -------
        Name of each experiment to the files of its ``runs`` and of its ``kept`` epochs.
        """
        files = {}
        for experiment in self.config.experiments:
            settings = self.config.measurements_of(experiment)
            sections = {
                file: section
                for name, file in MEASUREMENT_FILES.items()
                if (section := getattr(settings, name)) is not None
            }
            files[experiment] = {
                "runs": list(sections),
                "kept": [file for file, section in sections.items() if section.checkpoints],
            }
        return files

    def recorded(self) -> list[str]:
        """Return the networks whose activations are recorded."""
        return self._in_order({*self.summarised(), *self.measured("principal_components")})

    def summarised(self) -> list[str]:
        """Return the networks whose class statistics and unit measures are computed."""
        needed = {
            name
            for section in MEASUREMENT_FILES
            for name in self.measured(section)
            if getattr(self.settings_of(name), section).needs_measures
        }
        return self._in_order(needed)

    def measured_kept_epochs(self) -> list[str]:
        """Return the networks of kept epochs on which any measurement is made."""
        measured = {name for section in MEASUREMENT_FILES for name in self.measured(section)}
        return [name for name in self.kept_epochs if name in measured]

    def _in_order(self, names: Container[str]) -> list[str]:
        return [name for name in self.networks if name in names]


def make_plan(config: Config) -> Plan:
    """Expand a configuration into its plan.

    A network whose folder is there already keeps the name of that folder: the identity at the end
    of the name counts, and the rest of a name changes with what the experiments sweep.

    Parameters
    ----------
    config
        The configuration.

    Raises
    ------
    ConfigError
        As :func:`unitlens.config.runs.expand_runs`.
    """
    folders = _folders_by_identity(Path(config.results))
    runs = (_named_as_found(run, folders) for run in expand_runs(config).values())
    return Plan(config, {run.name: run for run in runs})


def _named_as_found(run: Run, folders: Mapping[str, Sequence[str]]) -> Run:
    """Return a run under the name of its folder, if there is one."""
    identity = run.name[-DIGITS:]
    found = folders.get(identity, ())
    if run.name in found:
        return run
    if found:
        return replace(run, name=min(found))
    # A folder of unitlens before 0.3 is adopted by the training of this name.
    former = folders.get(identity[:FORMER_DIGITS], ())
    return replace(run, name=min(former) + identity[FORMER_DIGITS:]) if former else run


def _folders_by_identity(results: Path) -> dict[str, list[str]]:
    """Return the names of the folders of networks that are there, by their last digits."""
    folders: dict[str, list[str]] = {}
    with suppress(OSError), os.scandir(results) as entries:
        for entry in entries:
            digits = re.search(rf"-([0-9a-f]{{{FORMER_DIGITS}}}|[0-9a-f]{{{DIGITS}}})$", entry.name)
            if digits and entry.is_dir():
                folders.setdefault(digits[1], []).append(entry.name)
    return folders


def shape_key(run: Run) -> tuple[str, str]:
    """Return the settings, as text, on which the layers and the samples of a run depend."""
    dataset = run.spec.dataset.model_dump_json(exclude={"corruption"})
    return dataset, run.spec.model.model_dump_json()


def settings_key(run: Run) -> tuple[str, ...]:
    """Return the settings, as text, on which a run's layers, samples and measurements depend."""
    return *shape_key(run), run.measurements.model_dump_json()
