"""The steps that measure a network: their files, their settings, and the digests of their code."""

from dataclasses import dataclass

from unitlens.planning.plan import Plan
from unitlens.provenance.digests import code_digest
from unitlens.provenance.file_provenance import FileProvenance
from unitlens.provenance.misfits import STORE_FILES


@dataclass(frozen=True)
class NetworkStep:
    """A step of the workflow that is done for each network.

    Attributes
    ----------
    name
        Name of the subcommand.
    section
        Section of the measurements that the step reads.
    files
        Files that the step writes, by their paths in the directory of the network.
    """

    name: str
    section: str
    files: tuple[str, ...]


NETWORK_STEPS = {
    step.name: step
    for step in (
        NetworkStep("record_activations", "activations", (*STORE_FILES, "l1_norm.nc")),
        NetworkStep(
            "class_statistics",
            "statistics",
            ("train/class_statistics.nc", "test/class_statistics.nc"),
        ),
        NetworkStep("unit_measures", "measures", ("unit_measures.nc",)),
        NetworkStep("principal_components", "principal_components", ("principal_components.nc",)),
        NetworkStep("unit_ablation", "unit_ablation", ("unit_ablation.nc",)),
        NetworkStep("cumulative_ablation", "cumulative_ablation", ("cumulative_ablation.nc",)),
        NetworkStep("noise_robustness", "noise_robustness", ("noise_robustness.nc",)),
    )
}


def step_code(step: str) -> str:
    """Return the digest of the code that a step computes with."""
    # One job records a network whole, or several jobs record it in parts: the files are the same.
    commands = (step, "record_part") if step == "record_activations" else (step,)
    return code_digest(*commands)


def expected_provenances(plan: Plan) -> dict[str, dict[str, FileProvenance]]:
    """Return the provenance that each file of each network has when it fits a plan.

    Parameters
    ----------
    plan
        The plan.

    Returns
    -------
    Name of each network to its files, by their paths in its directory. Inputs are left empty.
    """
    made = {step.name: set(_networks_of(plan, step)) for step in NETWORK_STEPS.values()}
    expected: dict[str, dict[str, FileProvenance]] = {}
    for network in plan.networks:
        settings = plan.settings_of(network)
        files = expected.setdefault(network, {})
        for step in NETWORK_STEPS.values():
            if network in made[step.name]:
                content = getattr(settings, step.section).content()
                provenance = FileProvenance(step.name, content, step_code(step.name))
                files.update(dict.fromkeys(step.files, provenance))
    return expected


def _networks_of(plan: Plan, step: NetworkStep) -> list[str]:
    if step.name == "record_activations":
        return plan.recorded()
    if step.name in ("class_statistics", "unit_measures"):
        return plan.summarised()
    return plan.measured(step.section)
