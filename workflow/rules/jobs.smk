"""Which jobs there are: what is made again, in how many jobs, where, with how much memory and time."""

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
    take_earlier_code(workflow.persistence)


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


def take_earlier_code(persistence):
    """Have Snakemake take code of an earlier version that is as good for the code of now."""
    remembered = persistence.metadata
    present = {repr(earlier): repr(now) for earlier, now in present_codes().items()}

    def metadata(path):
        record = remembered(path)
        if record is None or present.keys().isdisjoint(record.params or ()):
            return record
        params = sorted(present.get(param, param) for param in record.params)
        return record.model_copy(update={"params": params})

    persistence.metadata = metadata


def match_networks(names, others):
    """Write a pattern of networks by the shorter list: by their names, or by those of all others."""
    listed = min(names, others, key=len)
    pattern = f"(?:{'|'.join(map(re.escape, listed)) or '(?!)'})"
    return pattern if listed is names else rf"(?!{pattern}/(?!epoch-)){NETWORK}"


# Networks that one job measures. A process that Snakemake starts for a job is told the rule, which
# may be of any network there. With a storage provider a job would find nothing but what it
# declares, and not the steps that are finished.
ONE_JOB, OF_ONE_JOB, OF_SEVERAL_JOBS = [], NETWORK, NETWORK
if STORED:
    OF_ONE_JOB = "(?!)"
elif workflow.is_main_process:
    ONE_JOB = networks_of_one_job(PLAN, STALE) if networks_can_be_built() else []
    SEVERAL_JOBS = sorted({*PLAN.networks} - {*ONE_JOB})
    OF_ONE_JOB = match_networks(ONE_JOB, SEVERAL_JOBS)
    OF_SEVERAL_JOBS = match_networks(SEVERAL_JOBS, ONE_JOB)


def count_parts(network):
    """Return of how many parts a network is recorded: a finished recording keeps its number."""
    if STORED:
        return PLAN.settings_of(network).activations.parts
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
    if STORED:
        return PART_COUNTER.count(network, perturbation)
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


# With an executor for a cluster these run where Snakemake was started: they take seconds, less than
# a queue. Of image files or very many networks they take longer, and are submitted like the others.
def is_small(spec):
    """Tell whether a data set is prepared in seconds: its arrays are read from few files."""
    return spec.name in DATASETS and not isinstance(
        DATASETS[spec.name].source, ImageFileSource
    )


if all(map(is_small, PLAN.datasets.values())):

    localrules:
        prepare_dataset,


if len(PLAN.networks) <= 100:

    localrules:
        tabulate,
        draw_figures,
        compare_with_paper,
        write_report,


JOB_SIZES = JobSizes(PLAN)


def asks_scheduler():
    """Tell whether jobs are submitted somewhere: only there the estimates are worth their time."""
    return workflow.executor_plugin is not None and not workflow.local_exec


def get_memory(rule, megabytes):
    """Find the memory of a job: a number at least, more by the estimate, and more at each try."""

    def find(wildcards, attempt):
        estimated = JOB_SIZES.megabytes(rule) if asks_scheduler() else 0
        return attempt * max(megabytes, estimated)

    return find


def get_minutes(rule):
    """Find the time limit of a job, which grows with each try; there is none without a scheduler."""

    def find(wildcards, attempt, threads):
        return attempt * JOB_SIZES.minutes(rule, threads) if asks_scheduler() else None

    return find
