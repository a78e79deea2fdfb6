"""What the rules share: the plan of the configuration and the functions that look into it."""

import glob
import json
import os
import re
import sys
from pathlib import Path
from shlex import quote

from snakemake.logging import logger

# The rules run the code beside the Snakefile, in whichever environment they are given; what is
# planned and which code is hashed must be of the same source. A wheel has the files of the workflow
# in a folder of the package itself.
ROOT = Path(workflow.current_basedir).parents[1]
if (ROOT / "src/unitlens").is_dir():
    sys.path.insert(0, str(ROOT / "src"))

from unitlens.catalogue.datasets import DATASETS
from unitlens.config.measurements import MEASUREMENT_FILES, PERTURBATIONS
from unitlens.config.reading import check_config_files, parse_config
from unitlens.config.runs import dataset_name, run_identity
from unitlens.errors import UnitlensError, printable
from unitlens.hashed_files import hash_values, write_json
from unitlens.planning.job_parts import PartCounter
from unitlens.planning.network_checks import check_networks
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
from unitlens.provenance.digests import code_digest
from unitlens.provenance.user_source import user_code_digest
from unitlens.workflow.jobs_source import put_first_on_path, source_folder
from unitlens.workflow.workflow_files import IN_REPOSITORY, SNAKEFILE

try:
    if workflow.is_main_process:
        check_config_files(workflow.configfiles)
    PLAN = make_plan(parse_config(config))
    if workflow.is_main_process:
        check_networks(PLAN)
except UnitlensError as error:
    sys.exit(f"unitlens: {printable(error)}")


onstart:
    # Dry runs and listings do not come here: they run nothing of the user's.
    try:
        check_networks(PLAN, run_code=True)
    except UnitlensError as error:
        sys.exit(f"unitlens: {printable(error)}")


# Not by shell.prefix, which rules of another workflow share that uses this one as a module.
put_first_on_path(source_folder())

RESULTS = str(Path(PLAN.config.results))
if workflow.modifier.path_modifier.replace_prefix(RESULTS) != RESULTS:
    sys.exit(
        "unitlens: the module statement must not have prefix or replace_prefix: files are found by "
        f"results = {RESULTS!r}; set results in the configuration that the module is given"
    )
# Each file that does not fit the plan, with the reason; jobs of this run look at their own files.
STALE = find_stale(PLAN) if workflow.is_main_process else {}


_PREPARED = []


def force_stale():
    """Have Snakemake make the files again that do not fit the plan, and tell why.

    Input functions call this while the jobs are gathered, before Snakemake decides what to run.
    """
    jobs = workflow.dag
    if jobs in _PREPARED:
        return
    _PREPARED.append(jobs)
    for path, reason in STALE.items():
        logger.info(f"unitlens: {path} does not fit: {reason}")
    jobs.forcefiles.update(STALE)
    forget_other_rules(workflow.persistence)


def forget_other_rules(persistence):
    """Have Snakemake forget how a file was made that another rule would make now.

    A network that one job measures now may have been measured by several jobs, or the other way
    round: then settings and inputs of another rule would be compared. The file itself states what
    it was made from, and is judged by that.
    """
    remembered = persistence.metadata
    of_one_job = {
        f"{RESULTS}/{network}/{file}"
        for network in ONE_JOB
        for step in STEPS_OF_ONE_JOB
        for file in NETWORK_STEPS[step].files
    }

    def metadata(path):
        record = remembered(path)
        if record is None or not str(path).startswith(f"{RESULTS}/"):
            return record
        by_one_job = record.rule.endswith(ONE_JOB_RULE)
        return record if by_one_job == (str(path) in of_one_job) else None

    persistence.metadata = metadata


def match_networks(names, others):
    """Write a pattern of networks by the shorter list: by their names, or by those of all others."""
    listed = min(names, others, key=len)
    pattern = f"(?:{'|'.join(map(re.escape, listed)) or '(?!)'})"
    return pattern if listed is names else rf"(?!{pattern}/(?!epoch-)){NETWORK}"


NETWORK = r"[^/]+(?:/epoch-\d{4})?"
# Networks that one job measures. A process that Snakemake starts for a job is told the rule, which
# may be of any network there.
ONE_JOB, OF_ONE_JOB, OF_SEVERAL_JOBS = [], NETWORK, NETWORK
if workflow.is_main_process:
    ONE_JOB = networks_of_one_job(PLAN, STALE)
    SEVERAL_JOBS = sorted({*PLAN.networks} - {*ONE_JOB})
    OF_ONE_JOB = match_networks(ONE_JOB, SEVERAL_JOBS)
    OF_SEVERAL_JOBS = match_networks(SEVERAL_JOBS, ONE_JOB)


def count_parts(network):
    """Return of how many parts a network is recorded: a finished recording keeps its number."""
    directory = f"{RESULTS}/{network}"
    splits = [f"{directory}/{split}/activations.json" for split in ("train", "test")]
    if all(map(os.path.isfile, splits)) and not STALE.keys() & set(splits):
        made = glob.glob(f"{glob.escape(directory)}/parts/1-of-*.json")
        return int(made[0].rpartition("-")[2].removesuffix(".json")) if made else 1
    return PLAN.settings_of(network).activations.parts


# Networks that are recorded in parts, as a pattern; of none, one that nothing matches.
IN_PARTS = "|".join(
    re.escape(network) for network in PLAN.networks if count_parts(network) > 1
)
IN_PARTS = f"({IN_PARTS or '(?!)'})"

PART_COUNTER = PartCounter(PLAN)


def count_perturbation_parts(network, perturbation):
    """Return of how many parts a table is joined: a finished table keeps its number."""
    directory = f"{RESULTS}/{network}"
    table = f"{directory}/{perturbation}.nc"
    if os.path.isfile(table) and table not in STALE:
        made = glob.glob(f"{glob.escape(directory)}/parts/{perturbation}/1-of-*.nc")
        return int(made[0].rpartition("-")[2].removesuffix(".nc")) if made else 1
    return PART_COUNTER.count(network, perturbation)


# Tables that are joined of parts, as a pattern.
IN_TABLE_PARTS = "|".join(
    re.escape(f"{network}/{perturbation}")
    for perturbation in PERTURBATIONS
    for network in PLAN.measured(perturbation)
    if count_perturbation_parts(network, perturbation) > 1
)
IN_TABLE_PARTS = f"({IN_TABLE_PARTS or '(?!)'})"


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


def get_identity(wildcards):
    """Find what makes a run another network."""
    return run_identity(PLAN.runs[wildcards.run].spec)


def get_dataset_spec(wildcards):
    """Find the specification of a data set, which serves all fractions of corrupted labels."""
    spec = PLAN.datasets[wildcards.dataset].model_dump(mode="json")
    return json.dumps({**spec, "corruption": 0.0})


def get_weights(wildcards):
    """Find the weights file that a run starts from, so that another one is noticed."""
    weights = getattr(PLAN.runs[wildcards.run].spec.model, "weights", None)
    return weights if weights and not weights.startswith("torchvision:") else []


def get_dataset(wildcards):
    """Find the prepared data set of a run, or of the run that a network belongs to."""
    force_stale()
    name = getattr(wildcards, "run", None) or wildcards.network
    return f"{RESULTS}/datasets/{dataset_name(PLAN.run_of(name).spec.dataset)}/dataset.json"


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
    return f"{RESULTS}/{PLAN.run_of(find_network(wildcards)).name}/checkpoint.json"


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
    return files + [f"{RESULTS}/{run}/checkpoint.json" for run in PLAN.runs]


def get_command():
    """Write the command that these results are made by, for a person to repeat."""
    files = workflow.overwrite_configfiles or []
    if workflow.main_snakefile == SNAKEFILE and not IN_REPOSITORY:
        return " ".join(
            ["unitlens run", *(quote(os.path.relpath(file)) for file in files)]
        )
    named = [quote(os.path.relpath(file, workflow.basedir)) for file in files]
    return " ".join(
        ["snakemake --cores all", *(["--configfile", *named] if named else [])]
    )
