"""An executor of Snakemake for tests: each job runs in its own folder, as on its own machine.

A job finds there what the workflow itself consists of, and what Snakemake brings from the storage.
The folders stay under ``machines``, so that a test can look at what a job has left.
"""

import shutil
import subprocess
from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

SOURCES = ("Snakefile", "workflow", "envs", "tiny.yaml")

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    job_deploy_sources=True,
    auto_deploy_default_storage_provider=False,
    can_transfer_local_files=True,
)


class Executor(RemoteExecutor):
    def __post_init__(self):
        self.next_seconds_between_status_checks = 0.2

    def run_job(self, job):
        machine = Path("machines", f"{job.name}-{job.jobid}").absolute()
        machine.mkdir(parents=True)
        for name in SOURCES:
            copy = shutil.copytree if Path(name).is_dir() else shutil.copy
            copy(name, machine / name)
        command = self.format_job_exec(job)
        log = (machine / "job.log").open("w")
        process = subprocess.Popen(
            command, shell=True, cwd=machine, stdout=log, stderr=subprocess.STDOUT
        )
        log.close()
        self.report_job_submission(
            SubmittedJobInfo(job, external_jobid=machine.name, aux={"process": process})
        )

    async def check_active_jobs(self, active_jobs):
        for submitted in active_jobs:
            status = submitted.aux["process"].poll()
            if status is None:
                yield submitted
            elif status == 0:
                self.report_job_success(submitted)
            else:
                log = Path("machines", submitted.external_jobid, "job.log").read_text()
                self.report_job_error(submitted, msg=f"{log}\n")

    def cancel_jobs(self, active_jobs):
        for submitted in active_jobs:
            submitted.aux["process"].kill()
