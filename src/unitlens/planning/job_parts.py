"""Numbers of jobs that share the perturbation of a network."""

from math import ceil
from pathlib import Path

from unitlens.config.perturbation import (
    CumulativeAblationSpec,
    NoiseRobustnessSpec,
    UnitAblationSpec,
)
from unitlens.planning import rates
from unitlens.planning.job_estimates import JobEstimator, Machine
from unitlens.planning.plan import Plan, settings_key

HOURS_OF_A_JOB = 1 / 6
PerturbationSpec = UnitAblationSpec | CumulativeAblationSpec | NoiseRobustnessSpec


def parts_for(section: PerturbationSpec, hours: float) -> int:
    """Return into how many jobs a perturbation is split.

    Parameters
    ----------
    section
        Settings of the perturbation.
    hours
        Estimated hours of a single job, for ``parts: auto``.

    Examples
    --------
    >>> parts_for(UnitAblationSpec(parts="auto"), 2.05), parts_for(UnitAblationSpec(parts=8), 0)
    (13, 8)
    """
    parts = section.parts
    wanted = max(1, ceil(hours / HOURS_OF_A_JOB)) if parts == "auto" else parts
    return min(wanted, section.most_parts or wanted)


class PartCounter:
    """Counts the jobs of the perturbations of a plan's networks.

    Parameters
    ----------
    plan
        The plan. A network is built, with torch, only for ``parts: auto``, and once for each shape
        and measurements.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._hours: dict[tuple[str, ...], dict[str, float]] = {}

    def count(self, network: str, perturbation: str) -> int:
        """Return into how many jobs a perturbation of a network is split.

        Parameters
        ----------
        network
            Name of the network.
        perturbation
            Section of the measurements, such as ``unit_ablation``.
        """
        section = getattr(self._plan.settings_of(network), perturbation)
        if section is None:
            return 1
        hours = self._hours_of(network).get(perturbation, 0) if section.parts == "auto" else 0
        return parts_for(section, hours)

    def _hours_of(self, network: str) -> dict[str, float]:
        """Return the hours of each perturbation; nothing where the user's code would run."""
        run = self._plan.run_of(network)
        key = settings_key(run)
        if key not in self._hours:
            self._hours[key] = {}
            if ":" not in run.spec.model.name and ":" not in run.spec.dataset.name:
                from unitlens.planning.described_networks import describe_network

                described = describe_network(run, Path(self._plan.config.data))
                estimator = JobEstimator(Machine(rates.PASSES.value, rates.READ.value))
                self._hours[key] = {
                    rule: estimator.hours(rule, described) for rule in described.work
                }
        return self._hours[key]
