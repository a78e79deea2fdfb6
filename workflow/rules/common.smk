"""What the rules share: the plan of the configuration and the functions that look into it."""

import json
import re
import sys
from pathlib import Path
from shlex import quote

# The rules run the code beside the Snakefile, in whichever environment they are given; what is
# planned and which code is hashed must be of the same source.
sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from unitlens.catalogue.datasets import DATASETS
from unitlens.config.measurements import MEASUREMENT_FILES
from unitlens.config.reading import parse_config
from unitlens.config.runs import dataset_name
from unitlens.errors import UnitlensError
from unitlens.planning.network_checks import check_networks
from unitlens.planning.plan import make_plan
from unitlens.provenance.digests import code_digest, user_code_digest

try:
    PLAN = make_plan(parse_config(config))
    if workflow.is_main_process:
        check_networks(PLAN)
except UnitlensError as error:
    sys.exit(f"unitlens: {error}")

SOURCE = quote(str(Path(workflow.basedir) / "src"))
shell.prefix(f"export PYTHONPATH={SOURCE}${{{{PYTHONPATH:+:$PYTHONPATH}}}}; ")

RESULTS = PLAN.config.results
# Runs whose networks are recorded in parts, as a pattern; of none, one that nothing matches.
IN_PARTS = "|".join(
    re.escape(run.name)
    for run in PLAN.runs.values()
    if run.measurements.activations.parts > 1
)
IN_PARTS = rf"({IN_PARTS or '(?!)'})(/epoch-\d{{4}})?"


pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    benchmarks=f"{RESULTS}/benchmarks",


wildcard_constraints:
    dataset=r"[^/]+",
    run=r"[^/]+",
    network=r"[^/]+(/epoch-\d{4})?",
    part=r"\d+",
    of=r"\d+",


def as_json(section):
    """Write a section of the configuration, or plain values, as JSON for a command line."""
    if hasattr(section, "model_dump"):
        # Which networks are measured as well, and by how many jobs, changes no number.
        section = section.model_dump(mode="json", exclude={"checkpoints", "parts"})
    return json.dumps(section)


def get_run_spec(wildcards):
    return as_json(PLAN.runs[wildcards.run].spec)


def get_weights(wildcards):
    """Find the weights file that a run starts from, so that another one is noticed."""
    weights = getattr(PLAN.runs[wildcards.run].spec.model, "weights", None)
    return weights if weights and not weights.startswith("torchvision:") else []


def get_dataset(wildcards):
    """Find the prepared data set of a run, or of the run that a network belongs to."""
    name = getattr(wildcards, "run", None) or wildcards.network
    return f"{RESULTS}/datasets/{dataset_name(PLAN.run_of(name).spec.dataset)}/dataset.json"


def get_settings(section):
    """Find how a network is measured, as its experiments say in a section."""

    def find(wildcards):
        return as_json(getattr(PLAN.settings_of(wildcards.network), section))

    return find


def get_parts(wildcards):
    """List the parts of which a network's activations are merged."""
    of = PLAN.settings_of(wildcards.network).activations.parts
    parts = f"{RESULTS}/{wildcards.network}/parts"
    return [f"{parts}/{part}-of-{of}.json" for part in range(1, of + 1)]


def get_checkpoint(wildcards):
    """Find what is declared of a network: kept epochs come with the end of their run."""
    return f"{RESULTS}/{PLAN.run_of(wildcards.network).name}/checkpoint.json"


def get_measures(section):
    """Find the unit measures that a perturbation needs, which depends on its settings."""

    def find(wildcards):
        settings = getattr(PLAN.settings_of(wildcards.network), section)
        needed = settings is not None and settings.needs_measures
        return f"{RESULTS}/{wildcards.network}/unit_measures.nc" if needed else []

    return find


def get_components(wildcards):
    """Find the principal components that the curves of a network are along, if they are."""
    settings = PLAN.settings_of(wildcards.network).cumulative_ablation
    if settings is None or not settings.needs_components:
        return []
    return f"{RESULTS}/{wildcards.network}/principal_components.nc"


def get_tables(wildcards):
    """List everything that the tables are made from."""
    files = [
        f"{RESULTS}/{network}/{kind}.nc"
        for section, kind in MEASUREMENT_FILES.items()
        for network in PLAN.measured(section)
    ]
    return files + [f"{RESULTS}/{run}/checkpoint.json" for run in PLAN.runs]


def get_networks():
    """Map each measured network to the experiments that use it."""
    networks = [*PLAN.runs, *PLAN.measured_kept_epochs()]
    return {network: PLAN.run_of(network).experiments for network in networks}


def get_command():
    """Write the command that these results are made by, for a person to repeat."""
    files = workflow.overwrite_configfiles or []
    named = [quote(os.path.relpath(file, workflow.basedir)) for file in files]
    return " ".join(
        ["snakemake --cores all", *(["--configfile", *named] if named else [])]
    )
