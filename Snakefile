"""unitlens: from a configuration to a report on every unit of every network."""

from snakemake.utils import min_version

min_version("9.15")

if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/networks.smk"
include: "workflow/rules/activations.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/perturbation.smk"
include: "workflow/rules/small_networks.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


rule all:
    """Everything, to the report."""
    default_target: True
    input:
        "<results>/report.html",
        [
            f"{RESULTS}/{network}/principal_components.nc"
            for network in PLAN.measured("principal_components")
        ],
