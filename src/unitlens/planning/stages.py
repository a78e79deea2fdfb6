"""The rules of a plan: number of jobs, hours and memory of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unitlens.config.measurements import PERTURBATIONS
from unitlens.planning.job_estimates import JobEstimator, Machine
from unitlens.planning.job_parts import parts_for
from unitlens.planning.plan import Plan

if TYPE_CHECKING:
    from unitlens.planning.described_networks import NetworkDescription


@dataclass(frozen=True)
class Stage:
    """The jobs of one rule.

    Attributes
    ----------
    rule
        Name of the rule.
    jobs
        Number of jobs.
    hours
        Hours of all jobs, one after another on one machine.
    longest
        Hours of the longest job.
    memory
        Bytes of memory of the largest job.
    """

    rule: str
    jobs: int
    hours: float
    longest: float
    memory: int


def plan_stages(
    plan: Plan, descriptions: Mapping[str, "NetworkDescription"], machine: Machine
) -> tuple[Stage, ...]:
    """Return the rules of a plan, in the order of the workflow.

    Parameters
    ----------
    plan
        The plan.
    descriptions
        Name of each network of the plan to its description.
    machine
        The machine that runs the jobs.
    """
    estimator = JobEstimator(machine)
    summarised = plan.summarised()
    trainings = [(descriptions[name], run.spec.training) for name, run in plan.runs.items()]

    def stage(rule: str, names: Sequence[str]) -> Stage:
        networks = [descriptions[name] for name in names]
        hours = [estimator.hours(rule, network) for network in networks]
        return _stage(rule, hours, [estimator.memory(rule, network) for network in networks])

    stages = (
        Stage("prepare_dataset", len(plan.datasets), 0.0, 0.0, 0),
        _stage(
            "train",
            [estimator.training_hours(*training) for training in trainings],
            [estimator.training_memory(*training) for training in trainings],
        ),
        *_recordings([descriptions[name] for name in plan.recorded()], estimator),
        stage("class_statistics", summarised),
        stage("unit_measures", summarised),
        stage("principal_components", plan.measured("principal_components")),
        *_perturbations(plan, descriptions, estimator),
        *(Stage(rule, 1, 0.0, 0.0, 0) for rule in _final_rules(plan)),
    )
    return tuple(stage for stage in stages if stage.jobs)


def _perturbations(
    plan: Plan, descriptions: Mapping[str, "NetworkDescription"], estimator: JobEstimator
) -> tuple[Stage, ...]:
    """Return the rules that perturb networks: as a whole, or in parts that are merged."""
    hours: dict[str, list[float]] = {rule: [] for rule in (*PERTURBATIONS, "perturb_part")}
    memory: dict[str, list[int]] = {rule: [] for rule in hours}
    merged = 0
    for perturbation in PERTURBATIONS:
        for network in (descriptions[name] for name in plan.measured(perturbation)):
            section = getattr(network.settings, perturbation)
            whole = estimator.hours(perturbation, network)
            parts = parts_for(section, whole, estimator.repeated_hours(perturbation, network))
            rule = perturbation if parts == 1 else "perturb_part"
            hours[rule] += [estimator.part_hours(perturbation, network, parts)] * parts
            memory[rule] += [estimator.memory(perturbation, network)] * parts
            merged += parts > 1
    merging = Stage("merge_tables", merged, 0.0, 0.0, 0)
    return *(_stage(rule, hours[rule], memory[rule]) for rule in hours), merging


def _final_rules(plan: Plan) -> tuple[str, ...]:
    """Return the rules that take the results of all networks."""
    compared = ("compare_with_paper",) if plan.config.compared else ()
    explorer = ("save_explorer",) if plan.config.explorer else ()
    return ("tabulate", "draw_figures", *compared, *explorer, "write_report")


def _recordings(
    networks: Sequence["NetworkDescription"], estimator: JobEstimator
) -> tuple[Stage, ...]:
    """Return the rules that record networks: as a whole, or in parts that are merged."""
    hours: dict[str, list[float]] = {"record_activations": [], "record_part": []}
    memory: dict[str, list[int]] = {"record_activations": [], "record_part": []}
    for network in networks:
        parts = network.settings.activations.parts
        rule = "record_activations" if parts == 1 else "record_part"
        hours[rule] += [estimator.hours("record_activations", network) / parts] * parts
        memory[rule] += [estimator.memory("record_activations", network)] * parts
    merged = sum(network.settings.activations.parts > 1 for network in networks)
    merging = Stage("merge_activations", merged, 0.0, 0.0, 0)
    return *(_stage(rule, hours[rule], memory[rule]) for rule in hours), merging


def _stage(rule: str, hours: Sequence[float], memory: Sequence[int]) -> Stage:
    longest, largest = max(hours, default=0.0), max(memory, default=0)
    return Stage(rule, len(hours), sum(hours), longest, largest)
