"""What the rules share: the plan of the configuration and the functions that look into it."""

import glob
import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from shlex import quote

from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

# The rules run the code beside the Snakefile, in whichever environment they are given; what is
# planned and which code is hashed must be of the same source. A wheel has the files of the workflow
# in a folder of the package itself.
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
if (ROOT / "src/unitlens").is_dir():
    sys.path.insert(0, str(ROOT / "src"))

# What the plan is made with. The other packages are needed by the jobs, in the environments of these.
VERSION = "0.10.1"
PACKAGES = {
    "numpy": "numpy",
    "pydantic": "pydantic",
    "unitlens": f"unitlens=={VERSION}",
    "xxhash": "xxhash",
}
lacking = [
    asked for name, asked in PACKAGES.items() if not importlib.util.find_spec(name)
]
if lacking:
    sys.exit(
        "unitlens: the environment of Snakemake lacks what the plan is made with; run: "
        f"{sys.executable} -m pip install {' '.join(lacking)}"
    )

from unitlens import __version__ as INSTALLED

# A workflow that was deployed from elsewhere runs the installed code.
if INSTALLED != VERSION:
    sys.exit(
        f"unitlens: these rules are of unitlens {VERSION}, but {INSTALLED} is installed; "
        f"run: {sys.executable} -m pip install unitlens=={VERSION}"
    )

from unitlens.catalogue.datasets import DATASETS, ImageFileSource
from unitlens.config.measurements import MEASUREMENT_FILES, PERTURBATIONS
from unitlens.config.reading import check_config_files, parse_config
from unitlens.config.runs import dataset_name, run_identity
from unitlens.errors import UnitlensError, first_line, printable
from unitlens.hashed_files import hash_values, write_json
from unitlens.planning.job_parts import PartCounter
from unitlens.planning.job_sizes import JobSizes
from unitlens.planning.network_checks import (
    check_networks,
    networks_can_be_built,
    user_functions,
)
from unitlens.planning.needed_packages import check_packages
from unitlens.planning.network_steps import NETWORK_STEPS, step_code
from unitlens.planning.one_job import RULE as ONE_JOB_RULE
from unitlens.planning.one_job import (
    STEPS_OF_ONE_JOB,
    networks_of_one_job,
    steps_values,
)
from unitlens.planning.plan import make_plan
from unitlens.planning.plan_file import plan_values
from unitlens.planning.stale_files import find_stale
from unitlens.planning.store_locations import check_locations, stores_elsewhere
from unitlens.planning.stored_files import find_stale_in_storage
from unitlens.planning.table_files import table_files
from unitlens.provenance.digests import code_digest
from unitlens.provenance.misfits import STORE_FILES
from unitlens.provenance.user_source import user_code_digest
from unitlens.reproduction.run_protocol import protocol_hash
from unitlens.workflow.array_jobs import check_array_jobs
from unitlens.workflow.failed_jobs import OwnErrors
from unitlens.workflow.jobs_source import (
    container_image,
    put_first_on_path,
    source_folder,
)
from unitlens.workflow.long_lines import CutFileLists
from unitlens.workflow.repeated_command import repeated_command
from unitlens.workflow.workflow_files import IN_REPOSITORY, SNAKEFILE

# Whether files lie with a storage provider, and a job finds on its disk what its rule declares and
# nothing else. Then what lies beside a declared file is declared, too. On a disk that all jobs share
# it is not: Snakemake would remove it before a job and after a failure, and jobs go on with it.
STORED = workflow.storage_settings.default_storage_provider is not None

logger.addFilter(CutFileLists())

try:
    if workflow.is_main_process:
        check_config_files(workflow.configfiles)
    PLAN = make_plan(parse_config(config))
    if workflow.is_main_process:
        # With conda, the jobs have the packages of envs/, whatever is installed here.
        if not workflow.deployment_settings.deployment_method:
            check_packages(PLAN)
        check_networks(PLAN)
        check_locations(PLAN, stored=STORED)
        logger.addFilter(OwnErrors(workflow))
    # Each file that does not fit the plan, with the reason; jobs of this run look at their own.
    STALE = find_stale(PLAN) if workflow.is_main_process and not STORED else {}
except UnitlensError as error:
    sys.exit(f"unitlens: {printable(error)}")


onstart:
    # Dry runs and listings do not come here: they run nothing of the user's, and write nothing.
    can_build = networks_can_be_built()
    if not can_build and not workflow.deployment_settings.deployment_method:
        sys.exit(
            "unitlens: the environment of Snakemake has no torch, which the jobs need; add --sdm "
            f"conda, or run: {sys.executable} -m pip install unitlens[workflow]=={VERSION}"
        )
    try:
        check_array_jobs(workflow)
        check_locations(PLAN, stored=STORED, write=True)
        unchecked = check_networks(PLAN, run_code=can_build)
    except UnitlensError as error:
        sys.exit(f"unitlens: {printable(error)}")
    if not can_build and unchecked:
        logger.warning(
            f"unitlens: not checked before work, since the environment of Snakemake has no torch: "
            f"{', '.join(unchecked)}; a mistake there is told by the first job that meets it"
        )


# The image of the Dockerfile, which --sdm apptainer runs all jobs in.
if container_image() is not None:

    container: container_image()

elif DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method:
    sys.exit(
        "unitlens: --sdm apptainer needs the image of the Dockerfile; build it, and name it: "
        f"export UNITLENS_CONTAINER=unitlens-{VERSION}.sif (docs/installation.md)"
    )


# Not by shell.prefix, which rules of another workflow share that uses this one as a module.
put_first_on_path(source_folder())

RESULTS = str(Path(PLAN.config.results))
if workflow.modifier.path_modifier.replace_prefix(RESULTS) != RESULTS:
    sys.exit(
        "unitlens: the module statement must not have prefix or replace_prefix: files are found by "
        f"results = {RESULTS!r}; set results in the configuration that the module is given"
    )
if STORED and (RESULTS.startswith("..") or os.path.isabs(RESULTS)):
    sys.exit(
        f"unitlens: results = {RESULTS!r} must be a path inside the working directory where files "
        "lie with a storage provider, which puts it under its prefix; name the place by "
        "--default-storage-prefix"
    )


NETWORK = r"[^/]+(?:/epoch-\d{4}(?:\.\d+)?)?"


pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    benchmarks=f"{RESULTS}/benchmarks",


wildcard_constraints:
    dataset=r"[^/]+",
    run=r"[^/]+",
    network=NETWORK,
    part=r"\d+",
    of=r"\d+",
    perturbation="|".join(PERTURBATIONS),


class Untracked:
    """A parameter that changes no result: Snakemake does not compare it with that of before."""

    def __init__(self, value):
        self._value = value

    def __str__(self):
        return self._value if isinstance(self._value, str) else json.dumps(self._value)

    def __format__(self, spec):
        return format(str(self), spec)


def get_run_spec(wildcards):
    """Find the specification of a run; what of it makes another network is tracked by itself."""
    return Untracked(PLAN.runs[wildcards.run].spec.model_dump(mode="json"))


def get_kept_epochs(wildcards):
    """Find the folders of the kept epochs of a run, as tar is told them."""
    kept = [name for name in PLAN.kept_epochs if name.startswith(f"{wildcards.run}/")]
    names = " ".join(name.rpartition("/")[2] for name in kept)
    return Untracked(names or "--files-from /dev/null")


def get_identity(wildcards):
    """Find what makes a run another network."""
    return run_identity(PLAN.runs[wildcards.run].spec)


def get_dataset_spec(wildcards):
    """Find the specification of a data set, which serves all fractions of corrupted labels."""
    spec = PLAN.datasets[wildcards.dataset].model_dump(mode="json")
    return json.dumps({**spec, "corruption": 0.0})


def get_weights(wildcards):
    """Find the weights file that a run starts from, so that another one is noticed.

    Where jobs share no disk, the file is of the machines that they run on, as raw data is.
    """
    if STORED:
        return []
    weights = getattr(PLAN.runs[wildcards.run].spec.model, "weights", None)
    return weights if weights and not weights.startswith("torchvision:") else []


def get_dataset(wildcards):
    """Find the prepared data set of a run, or of the run that a network belongs to."""
    force_stale()
    name = getattr(wildcards, "run", None) or wildcards.network
    return prepared_files(dataset_name(PLAN.run_of(name).spec.dataset))


def prepared_files(dataset):
    """Name what is declared of a prepared data set: its record, or all its files in one."""
    return (
        f"{RESULTS}/datasets/{dataset}/{'prepared.tar' if STORED else 'dataset.json'}"
    )


def find_network(wildcards):
    """Find the network that a table belongs to."""
    table = getattr(wildcards, "table", None)
    return table.rpartition("/")[0] if table else wildcards.network


def get_settings(section):
    """Find how a network is measured, as its experiments say in a section."""

    def find(wildcards):
        settings = getattr(PLAN.settings_of(find_network(wildcards)), section)
        return json.dumps(settings.content())

    return find


def get_site(section):
    """Find the settings of a section that change no result."""

    def find(wildcards):
        settings = getattr(PLAN.settings_of(wildcards.network), section)
        return Untracked(settings.site())

    return find


def get_steps(wildcards):
    """Find the steps of a network that one job measures; each file states what it is made from."""
    return Untracked(steps_values(PLAN, wildcards.network))


def get_code(section):
    """Find the digest of the code of a step."""
    return lambda wildcards: step_code(section)


def get_nothing(wildcards):
    """Return no file, for a rule that has no input but may have to make its output again."""
    force_stale()
    return []


def get_parts(wildcards):
    """List the parts of which a network's activations are merged."""
    of = count_parts(wildcards.network)
    parts = f"{RESULTS}/{wildcards.network}/parts"
    return [f"{parts}/{part}-of-{of}.json" for part in range(1, of + 1)]


def get_table_parts(wildcards):
    """List the tables of the parts of which a table is joined."""
    network, _, perturbation = wildcards.table.rpartition("/")
    of = count_perturbation_parts(network, perturbation)
    parts = f"{RESULTS}/{network}/parts/{perturbation}"
    return [f"{parts}/{part}-of-{of}.nc" for part in range(1, of + 1)]


def get_perturbation(find):
    """Find by a perturbation's section what a function of a section finds by the network."""

    def find_section(wildcards):
        named = getattr(wildcards, "table", None)
        section = named.rpartition("/")[2] if named else wildcards.perturbation
        return find(section)(wildcards)

    return find_section


def get_checkpoint(wildcards):
    """Find what is declared of a network: kept epochs come with the end of their run."""
    network = find_network(wildcards)
    of_run = f"{RESULTS}/{PLAN.run_of(network).name}/checkpoint.json"
    weights = f"{RESULTS}/{network}/checkpoint"
    beside = where_stored(f"{weights}.json", f"{weights}.safetensors")
    return list(dict.fromkeys([of_run, *beside]))


def get_record(wildcards):
    """Find the record of a network for a rule that asks only whether its training failed."""
    return where_stored(*get_checkpoint(wildcards)[:1])


def get_measures(section):
    """Find the unit measures that a perturbation needs, which depends on its settings."""

    def find(wildcards):
        settings = getattr(PLAN.settings_of(wildcards.network), section)
        needed = settings is not None and settings.needs_measures
        return f"{RESULTS}/{wildcards.network}/unit_measures.nc" if needed else []

    return find


def get_components(wildcards):
    """Find the principal components that the curves of a network are along, if they are."""
    if (
        getattr(wildcards, "perturbation", "cumulative_ablation")
        != "cumulative_ablation"
    ):
        return []
    settings = PLAN.settings_of(wildcards.network).cumulative_ablation
    if settings is None or not settings.needs_components:
        return []
    return f"{RESULTS}/{wildcards.network}/principal_components.nc"


def get_tables(wildcards):
    """List everything that the tables are made from."""
    force_stale()
    files = [
        f"{RESULTS}/{network}/{kind}.nc"
        for section, kind in MEASUREMENT_FILES.items()
        for network in PLAN.measured(section)
    ]
    files += [f"{RESULTS}/{run}/checkpoint.json" for run in PLAN.runs]
    return files + where_stored(
        *[f"{RESULTS}/{run}/history.nc" for run in PLAN.runs],
        *[f"{RESULTS}/{network}/checkpoint.json" for network in PLAN.kept_epochs],
        *[
            f"{RESULTS}/{network}/{file}"
            for network in PLAN.recorded()
            for file in STORE_FILES
        ],
        *map(prepared_files, PLAN.datasets),
    )


def get_command():
    """Write the command that these results are made by, for a person to repeat."""
    here = Path.cwd()
    installed = workflow.main_snakefile == SNAKEFILE and not IN_REPOSITORY
    beside = ROOT if workflow.main_snakefile == SNAKEFILE else Path(workflow.basedir)
    start = here if installed else beside
    files = [
        quote(os.path.relpath(file, start))
        for file in workflow.overwrite_configfiles or []
    ]
    if installed:
        words = ["unitlens run", *files, "--"]
    else:
        words = ["snakemake --cores all"]
        if here.resolve() != start.resolve():
            words += ["--directory", quote(os.path.relpath(here, start))]
        words += ["--configfile", *files] if files else []
    settings = workflow.config_settings.config
    return repeated_command(" ".join(words), settings, user_functions(PLAN), start)
