"""Numbers of jobs that share the perturbation of a network."""

from math import ceil
from pathlib import Path

from unitlens.config.measurements import PERTURBATIONS
from unitlens.config.perturbation import (
    CumulativeAblationSpec,
    NoiseRobustnessSpec,
    UnitAblationSpec,
)
from unitlens.planning import rates
from unitlens.planning.job_estimates import JobEstimator, Machine
from unitlens.planning.network_checks import networks_can_be_built
from unitlens.planning.plan import Plan, settings_key

HOURS_OF_A_JOB = 1 / 6
PerturbationSpec = UnitAblationSpec | CumulativeAblationSpec | NoiseRobustnessSpec


def parts_for(section: PerturbationSpec, hours: float = 0, repeated: float = 0) -> int:
    """Return into how many jobs a perturbation is split.

    Parameters
    ----------
    section
        Settings of the perturbation. ``parts: auto`` makes jobs of about ten minutes; where each
        must repeat passes for more than five, jobs that take twice as long as these.
    hours
        Estimated hours of a single job.
    repeated
        Hours of it that each of several jobs repeats.

    Examples
    --------
    >>> auto = UnitAblationSpec(parts="auto")
    >>> parts_for(auto, 2.05), parts_for(auto, 2, repeated=1), parts_for(UnitAblationSpec(parts=8))
    (13, 1, 8)
    """
    if section.parts == "auto":
        own = max(HOURS_OF_A_JOB - repeated, repeated)
        parts = ceil((hours - repeated) / own) if hours > HOURS_OF_A_JOB else 1
    else:
        parts = section.parts
    return max(1, min(parts, section.most_parts or parts))


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
        self._hours: dict[tuple[str, ...], dict[str, tuple[float, float]]] = {}

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
        if section.parts != "auto":
            return parts_for(section)
        return parts_for(section, *self._hours_of(network).get(perturbation, ()))

    def _hours_of(self, network: str) -> dict[str, tuple[float, float]]:
        """Return the hours of each perturbation, of a single job and of what several repeat.

        Nothing is returned where the user's code would run, or where no network can be built.
        """
        run = self._plan.run_of(network)
        key = settings_key(run)
        if key not in self._hours:
            self._hours[key] = {}
            own_code = ":" in run.spec.model.name or ":" in run.spec.dataset.name
            if not own_code and networks_can_be_built():
                from unitlens.planning.described_networks import describe_network

                described = describe_network(run, Path(self._plan.config.data))
                estimator = JobEstimator(Machine(rates.PASSES.value, rates.READ.value))
                self._hours[key] = {
                    rule: (
                        estimator.hours(rule, described),
                        estimator.repeated_hours(rule, described),
                    )
                    for rule in PERTURBATIONS
                }
        return self._hours[key]
