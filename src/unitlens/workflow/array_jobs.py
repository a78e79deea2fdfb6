"""Job arrays of Slurm: what their executor needs to be able to submit each job."""

from collections import Counter
from typing import Any

from unitlens.errors import ConfigError


def check_array_jobs(workflow: Any) -> None:
    """Refuse settings with which the executor for Slurm waits for ever.

    The executor holds jobs of a rule back until all that are ready have been handed over, and is
    handed over the held jobs once only. Where Snakemake hands over fewer at a time, the rest never
    begin.

    Parameters
    ----------
    workflow
        The workflow of Snakemake, whose jobs are known.

    Raises
    ------
    ConfigError
        Where arrays are on and Snakemake may hand over fewer jobs at a time than are ready.
    """
    arrays = getattr(workflow.executor_settings, "array_jobs", None)
    if not arrays:
        return
    rules = Counter(job.rule.name for job in workflow.dag.needrun_jobs() if not job.is_local)
    count = sum(rules.values())
    named = {rule.strip() for rule in arrays.replace(";", ",").split(",")}
    if not any(rules[rule] > 1 for rule in rules if named & {rule, "all"}):
        return
    limits = {"jobs": workflow.nodes}
    rate = workflow.scheduling_settings.max_jobs_per_timespan
    if rate is not None:
        limits["max-jobs-per-timespan"] = rate.max_jobs
    for name, limit in limits.items():
        if limit is not None and limit < count:
            raise ConfigError(
                f"{name} is {limit}, but {count} jobs are to be submitted, and with "
                f"slurm-array-jobs ({arrays}) those above the limit may never begin; give {name} "
                "at least that many, or turn arrays off (remove slurm-array-jobs from the profile)"
            )
