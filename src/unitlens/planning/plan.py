"""The networks of a configuration and what is measured on each."""

from dataclasses import dataclass

from unitlens.config.experiments import Config
from unitlens.config.measurements import MeasurementSpec
from unitlens.config.networks import DatasetSpec
from unitlens.config.runs import Run, dataset_name, expand_runs

MEASUREMENTS = ("unit_ablation", "cumulative_ablation", "noise_robustness")
# Section of the measurements to the name of its file of each network.
FILES = {"measures": "unit_measures"} | {name: name for name in MEASUREMENTS}


@dataclass(frozen=True)
class Plan:
    """The runs of a configuration, their networks, and what is measured on each network.

    A network is a run as it ends (named as the run) or as it was after an epoch that is kept
    (``{run}/epoch-0005``).
    """

    config: Config
    runs: dict[str, Run]

    @property
    def datasets(self) -> dict[str, DatasetSpec]:
        """Data sets that must be prepared, by name."""
        specs = [run.spec.dataset for run in self.runs.values()]
        return {dataset_name(spec): spec for spec in specs}

    def run_of(self, network: str) -> Run:
        """Return the run that a network belongs to."""
        return self.runs[network.partition("/")[0]]

    def settings_of(self, network: str) -> MeasurementSpec:
        """Return how a network is measured."""
        return self.run_of(network).measurements

    def kept(self) -> list[str]:
        """Return the networks of the epochs that are kept."""
        return [
            f"{name}/epoch-{epoch:04d}"
            for name, run in self.runs.items()
            if run.spec.training
            for epoch in run.spec.training.checkpoints
        ]

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
            for name in (*self.runs, *self.kept())
            if (settings := getattr(self.settings_of(name), measurement)) is not None
            and (settings.checkpoints or name in self.runs)
        ]

    def kinds(self) -> dict[str, dict[str, list[str]]]:
        """Return the files of measurements that each experiment wants of runs, and kept epochs."""
        kinds = {}
        for experiment in self.config.experiments:
            settings = self.config.measurements_of(experiment)
            found = {kind: getattr(settings, section) for section, kind in FILES.items()}
            kinds[experiment] = {
                "runs": [kind for kind, of in found.items() if of],
                "kept": [kind for kind, of in found.items() if of and of.checkpoints],
            }
        return kinds

    def recorded(self) -> list[str]:
        """Return the networks whose activations are recorded."""
        needed = {*self.summarised(), *self.measured("principal_components")}
        return [name for name in (*self.runs, *self.kept()) if name in needed]

    def summarised(self) -> list[str]:
        """Return the networks whose class statistics and unit measures are computed."""
        needed = {
            name
            for section in FILES
            for name in self.measured(section)
            if getattr(self.settings_of(name), section).needs_measures
        }
        return [name for name in (*self.runs, *self.kept()) if name in needed]

    def measured_checkpoints(self) -> list[str]:
        """Return the kept epochs on which anything is measured."""
        names = [n for m in FILES for n in self.measured(m)]
        return [name for name in self.kept() if name in set(names)]


def make_plan(config: Config) -> Plan:
    """Expand a configuration into its plan.

    Parameters
    ----------
    config
        The configuration.

    Returns
    -------
    The plan.
    """
    return Plan(config, expand_runs(config))
