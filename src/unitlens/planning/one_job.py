"""Networks so small that one job does all their measurements."""

import hashlib
from collections.abc import Container, Iterator
from math import inf
from pathlib import Path

from unitlens.catalogue.datasets import DATASETS, ImageFileSource
from unitlens.config.measurements import PERTURBATIONS
from unitlens.config.runs import dataset_name
from unitlens.errors import UnitlensError
from unitlens.planning import rates
from unitlens.planning.job_estimates import JobEstimator, Machine
from unitlens.planning.network_steps import NETWORK_STEPS, step_code
from unitlens.planning.plan import Plan, settings_key
from unitlens.provenance.kept_values import kept_value
from unitlens.provenance.misfits import CHECKPOINT

# A process starts in two to three seconds of processor time: of six steps that take a minute
# together, the start of six processes would be a fifth.
SECONDS_OF_ONE_JOB = 60
RULE = "measure_network"
STEPS_OF_ONE_JOB = tuple(step for step in NETWORK_STEPS if step != "principal_components")


def networks_of_one_job(plan: Plan, stale: Container[str] = ()) -> list[str]:
    """Return the networks of a plan whose steps are so short that one job does all.

    An unfinished network is among them where it is recorded, has all three perturbations and no
    principal components, is asked for in no parts, and its steps take at most a minute together by
    the estimate; not where the user's code builds it, because the estimate would run the code. A
    finished network is among them where one job has measured it.

    Parameters
    ----------
    plan
        The plan. A network is built, with torch, once for each shape and measurements.
    stale
        Files that must be made again, as :func:`unitlens.planning.stale_files.find_stale` names
        them. A network all of whose files are there and fit is finished.
    """
    named = set(plan.recorded()).intersection(*(plan.measured(name) for name in PERTURBATIONS))
    named -= set(plan.measured("principal_components"))
    logs = Path(plan.config.results) / "logs" / RULE
    short: dict[tuple[str, ...], bool] = {}
    chosen = []
    for name in plan.networks:
        run = plan.run_of(name)
        if name not in named or ":" in run.spec.model.name or ":" in run.spec.dataset.name:
            continue
        if _is_finished(plan, name, stale):
            # It keeps the rule that made it, which its log tells.
            chosen += [name] * (logs / f"{name}.log").is_file()
            continue
        key = settings_key(run)
        if key not in short:
            short[key] = not _is_parted(plan, name) and _seconds(plan, name) <= SECONDS_OF_ONE_JOB
        if short[key]:
            chosen.append(name)
    return chosen


def _is_finished(plan: Plan, network: str, stale: Container[str]) -> bool:
    """Tell whether all files of a network are there and fit, with those that it comes from."""
    run = plan.run_of(network)
    files = [f"{network}/{file}" for step in STEPS_OF_ONE_JOB for file in NETWORK_STEPS[step].files]
    made_of = [
        f"datasets/{dataset_name(run.spec.dataset)}/dataset.json",
        f"{run.name}/{CHECKPOINT}",
    ]
    paths = [f"{Path(plan.config.results)}/{file}" for file in made_of + files]
    return all(path not in stale and Path(path).is_file() for path in paths)


def _is_parted(plan: Plan, network: str) -> bool:
    """Tell whether the settings say that several jobs share a step of a network."""
    settings = plan.settings_of(network)
    sections = (settings.activations, *(getattr(settings, name) for name in PERTURBATIONS))
    return any(section.parts not in (1, "auto") for section in sections)


def _seconds(plan: Plan, network: str) -> float:
    """Return the estimated seconds of all steps of a network, as kept where files say nothing."""
    run = plan.run_of(network)
    declared = DATASETS.get(run.spec.dataset.name)
    if declared is None or isinstance(declared.source, ImageFileSource):
        return _estimate(plan, network)
    key = hashlib.sha256("\0".join(settings_key(run)).encode()).hexdigest()
    return float(kept_value(f"seconds of {key}", lambda: str(_estimate(plan, network))))


def _estimate(plan: Plan, network: str) -> float:
    """Return the estimated seconds of all steps of a network; endless where none can be told."""
    from unitlens.planning.described_networks import describe_network

    try:
        described = describe_network(plan.run_of(network), Path(plan.config.data))
    except UnitlensError:  # is told where it keeps a job from its work
        return inf
    estimator = JobEstimator(Machine(rates.PASSES.value, rates.READ.value))
    return 3600 * sum(estimator.hours(step, described) for step in STEPS_OF_ONE_JOB)


def steps_values(plan: Plan, network: str) -> dict[str, dict[str, object]]:
    """Return the steps of a network that one job measures, as plain values.

    Parameters
    ----------
    plan
        The plan.
    network
        Name of the network.

    Returns
    -------
    Name of each step, in order, to its ``settings``, to those that change no number (``site``), and
    to the digest of its ``code``.
    """
    return dict(_steps_values(plan, network))


def _steps_values(plan: Plan, network: str) -> Iterator[tuple[str, dict[str, object]]]:
    settings = plan.settings_of(network)
    for step in STEPS_OF_ONE_JOB:
        section = getattr(settings, NETWORK_STEPS[step].section)
        yield (
            step,
            {"settings": section.content(), "site": section.site(), "code": step_code(step)},
        )
