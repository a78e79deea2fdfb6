"""What a comparison with the paper fixes before networks are trained, as values with a hash.

The Snakefile reads this module, so that it imports no table and no statistics.
"""

from dataclasses import asdict, dataclass
from typing import Any

from unitlens.config.experiments import Config, ExperimentSpec
from unitlens.config.measurements import MEASUREMENT_FILES, MeasurementSpec
from unitlens.config.runs import expand_runs, run_identity
from unitlens.hashed_files import hash_values
from unitlens.reproduction.claim_types import Claim
from unitlens.reproduction.conclusions import CONCLUSION_RULE, CONCLUSIONS
from unitlens.reproduction.follow_ups import CLAIM_GROUPS
from unitlens.reproduction.rule import RULE

MEASUREMENTS = ("activations", "statistics", "principal_components", *MEASUREMENT_FILES)


@dataclass(frozen=True)
class Population:
    """The networks of an experiment, and what is measured of them.

    Attributes
    ----------
    family
        Settings of the experiment.
    networks
        Identity of each network: digits of all that determines its weights.
    measurements
        Settings of the measurements.
    groups
        Groups of results that are measured on the networks.
    """

    family: ExperimentSpec
    networks: tuple[str, ...]
    measurements: MeasurementSpec
    groups: tuple[str, ...]


def populations(config: Config) -> dict[str, Population]:
    """Return the populations of the experiments that ``paper`` names, by experiment.

    Parameters
    ----------
    config
        A configuration. Extra experiments for suspected causes are left out.
    """
    groups: dict[str, list[str]] = {}
    for group, names in config.paper.items():
        for name in names:
            groups.setdefault(name, []).append(group)
    # Each start of the workflow asks: runs are expanded only where any are compared.
    runs = expand_runs(config).values() if groups else ()
    return {
        name: Population(
            family,
            tuple(run_identity(run.spec) for run in runs if name in run.experiments),
            config.measurements_of(name),
            tuple(groups[name]),
        )
        for name, family in config.experiments.items()
        if name in groups
    }


def protocol_hash(config: Config) -> str:
    """Return the hash of the protocol of a configuration.

    Parameters
    ----------
    config
        A configuration.

    Returns
    -------
    A hash that changes with the rule, a claim, a deciding row of a conclusion, a network (setting
    or seed), a kept epoch, a setting of a measurement that changes results, and the experiments
    of a group of results. Directories, numbers of processes and memory do not count.
    """
    return hash_values(_protocol_values(config))


def _protocol_values(config: Config) -> dict[str, Any]:
    of_experiments = populations(config)
    return {
        "rules": [" ".join(rule.split()) for rule in (RULE, CONCLUSION_RULE)],
        "claims": {
            name: {
                "claims": [_claim_values(claim) for claim in group.claims],
                "paper": asdict(group.protocol) if group.protocol else {},
            }
            for name, group in CLAIM_GROUPS.items()
        },
        "conclusions": [[asdict(part) for part in one.parts] for one in CONCLUSIONS],
        "compared": {group: sorted(names) for group, names in config.paper.items()},
        "populations": {name: _population_values(one) for name, one in of_experiments.items()},
    }


def _claim_values(claim: Claim) -> dict[str, Any]:
    return {**asdict(claim), "kind": type(claim.finding).__name__}


def _population_values(population: Population) -> dict[str, Any]:
    training = population.family.training
    return {
        "networks": sorted(population.networks),
        "kept": sorted(training.checkpoints) if training else [],
        "measurements": {
            name: {**section.content(), "kept": getattr(section, "checkpoints", False)}
            for name in MEASUREMENTS
            if (section := getattr(population.measurements, name)) is not None
        },
    }
