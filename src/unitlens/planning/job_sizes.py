"""What a scheduler is asked for the jobs of each rule: memory and minutes, by the estimates."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

from unitlens.planning import rates
from unitlens.planning.network_checks import networks_can_be_built, without_user_code
from unitlens.planning.one_job import RULE as ONE_JOB
from unitlens.planning.one_job import SECONDS_OF_ONE_JOB, STEPS_OF_ONE_JOB
from unitlens.planning.plan import Plan
from unitlens.planning.stages import Stage

MEMORY_MARGIN = 1.5  # of the estimated bytes
HOUR_MARGIN = 3  # of the estimated hours: processors and disks differ
START_MINUTES = 15  # of a job that has next to nothing to do, on a busy file system
MOST_MINUTES = 24 * 60  # sites seldom allow more; a job that is ended goes on in its next try
UNKNOWN_MINUTES = 240
RATED_THREADS = 2  # of the machine that the rates were measured on


@dataclass(frozen=True)
class JobSizes:
    """Sizes of the jobs of a plan, by rule: those of the largest network.

    All jobs of a rule are given the same, since a scheduler's array of jobs is. Networks of the
    user's code are not built: their jobs, and all where there is no torch, are of unknown size.

    Attributes
    ----------
    plan
        The plan.
    """

    plan: Plan

    def megabytes(self, rule: str) -> int:
        """Return the memory to ask for a job, by the estimate.

        Parameters
        ----------
        rule
            Name of the rule.

        Returns
        -------
        Megabytes: one and a half times the estimate; 0 for a rule that has none.
        """
        stage = self._stages.get(rule)
        return ceil(MEMORY_MARGIN * stage.memory / 1e6) if stage else 0

    def minutes(self, rule: str, threads: int = 1) -> int:
        """Return the time limit to ask for a job.

        Parameters
        ----------
        rule
            Name of the rule.
        threads
            Threads of the job.

        Returns
        -------
        Minutes: 15, and three times the estimate, a day at most; where networks are of unknown
        size, 240 at least.
        """
        stage = self._stages.get(rule)
        hours = stage.longest * RATED_THREADS / threads if stage else 0.0
        known = min(START_MINUTES + ceil(60 * HOUR_MARGIN * hours), MOST_MINUTES)
        return max(known, UNKNOWN_MINUTES if self._has_unknown or not stage else 0)

    @cached_property
    def _known(self) -> Plan:
        known = without_user_code(self.plan)
        return known if networks_can_be_built() else Plan(known.config, {})

    @property
    def _has_unknown(self) -> bool:
        return len(self._known.runs) < len(self.plan.runs)

    @cached_property
    def _stages(self) -> dict[str, Stage]:
        if not self._known.runs:
            return {}
        from unitlens.planning.plan_estimate import estimate_plan

        found = estimate_plan(self._known, gflops=rates.PASSES.value, read_mb=rates.READ.value)
        stages = {stage.rule: stage for stage in found.stages}
        if found.of_one_job:
            memory = max(stages[step].memory for step in STEPS_OF_ONE_JOB if step in stages)
            hours = SECONDS_OF_ONE_JOB / 3600
            whole = hours * found.of_one_job
            stages[ONE_JOB] = Stage(ONE_JOB, found.of_one_job, whole, hours, memory)
        return stages
