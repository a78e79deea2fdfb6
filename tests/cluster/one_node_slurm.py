"""Slurm on this machine alone, for tests: begin it and end it.

    python tests/cluster/one_node_slurm.py start /tmp/slurm     # as root
    sinfo; squeue; cd DIRECTORY; snakemake all --workflow-profile profiles/slurm
    python tests/cluster/one_node_slurm.py stop /tmp/slurm

Debian's packages slurmctld, slurmd, slurm-client, slurm-wlm-basic-plugins and munge are needed.
State, logs, spool and the key of munge lie in the folder. The files slurm.conf, gres.conf and
cgroup.conf of /etc/slurm, the only place where the commands within a job look for them, are
backed up in the folder and restored. Only the processes that were started are ended, by their
numbers. Everything listens on 127.0.0.1.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ETC = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "srun")
PLUGINS = ("select_cons_tres.so", "auth_munge.so")
CGROUPS = Path("/sys/fs/cgroup")
SECONDS = 30  # that a program is waited for

CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MailProg=/bin/true
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/{tracking}
TaskPlugin=task/{tasks}
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
# Jobs stay in squeue until the tests have looked at them.
MinJobAge=3600
# A test waits for a time limit and for the end of a cancelled job.
OverTimeLimit=0
KillWait=2
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=general Nodes={host} Default=YES State=UP
PartitionName=gpu Nodes={host} State=UP
"""


def missing():
    """Return why Slurm cannot be begun here; nothing where it can."""
    programs = [name for name in PROGRAMS if not shutil.which(name, path=_path())]
    if programs:
        return f"Slurm is not installed: no {', '.join(programs)} (.ci/run names Debian's packages)"
    plugins = [name for name in PLUGINS if not list(Path("/usr/lib").glob(f"*/slurm*/{name}"))]
    if plugins:
        return f"Slurm's plugins are not installed: no {', '.join(plugins)}"
    if os.geteuid() != 0:
        return "Slurm on one machine is begun by root alone"
    if subprocess.run(["pidof", "slurmctld", "slurmd"], capture_output=True, check=False).stdout:
        return "another Slurm runs on this machine"
    return ""


def limits_memory():
    """Return whether jobs can be held to their memory: by control groups of version 1."""
    return all((CGROUPS / name / "tasks").exists() for name in ("memory", "freezer"))


def start(folder):
    """Begin munge, the controller and the node's daemon; return when the node is idle."""
    folder.mkdir(parents=True)
    for name in ("state", "spool", "etc"):
        (folder / name).mkdir()
    folder.chmod(0o755)
    _write_configuration(folder)
    try:
        _start_munge(folder)
        _start_program(folder, "slurmctld", "-c")
        _start_program(folder, "slurmd")
        _wait(lambda: "idle" in _output("sinfo", "--noheader", "--format=%T"), "the node")
    except BaseException:
        stop(folder)
        raise


def stop(folder):
    """Cancel all jobs, end the programs that were begun, and restore /etc/slurm."""
    if _output("squeue", "--noheader"):
        _output("scancel", "--user=root")
        _wait(lambda: not _output("squeue", "--noheader"), "the end of all jobs", must=False)
    for name in ("slurmd", "slurmctld", "munge"):
        pid_file = folder / f"{name}.pid"
        if pid_file.is_file():
            _end(int(pid_file.read_text()))
    for name in FILES:
        (ETC / name).unlink(missing_ok=True)
        if (folder / "etc" / name).exists():
            shutil.move(folder / "etc" / name, ETC / name)
    if not any(ETC.iterdir()):
        ETC.rmdir()
    shutil.rmtree(folder)


def _write_configuration(folder):
    ETC.mkdir(exist_ok=True)
    for name in FILES:
        if (ETC / name).exists():
            shutil.copy2(ETC / name, folder / "etc" / name)
    limited = limits_memory()
    megabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    values = {
        "folder": folder,
        "host": socket.gethostname().partition(".")[0],
        "controller": _free_port(),
        "daemon": _free_port(),
        "tracking": "cgroup" if limited else "linuxproc",
        "tasks": "cgroup" if limited else "none",
        "cpus": os.cpu_count(),
        "memory": megabytes - 1000,
    }
    (ETC / "slurm.conf").write_text(CONFIGURATION.format(**values))
    # What is counted as a GPU is none: jobs are given it, and find no CUDA.
    (ETC / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    constrained = "ConstrainRAMSpace=yes\nConstrainSwapSpace=yes\n" if limited else ""
    (ETC / "cgroup.conf").write_text(
        f"CgroupMountpoint={CGROUPS}\nCgroupAutomount=no\n{constrained}"
    )


def _start_munge(folder):
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    names = {"key-file": key, "socket": folder / "munge.socket", "pid-file": folder / "munge.pid"}
    names |= {"log-file": folder / "munge.log", "seed-file": folder / "munge.seed"}
    command = [_which("munged"), "--force", *(f"--{name}={path}" for name, path in names.items())]
    subprocess.run(command, check=True, capture_output=True)
    _wait((folder / "munge.pid").is_file, "munge")


def _start_program(folder, name, *arguments):
    subprocess.run([_which(name), *arguments], check=True)
    _wait((folder / f"{name}.pid").is_file, name)


def _end(pid):
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    if not _wait(lambda: not _runs(pid), "its end", must=False):
        os.kill(pid, signal.SIGKILL)


def _runs(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # ended, and not yet asked for by the process that is its parent


def _output(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _wait(holds, what, *, must=True):
    end = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > end:
            if must:
                sys.exit(f"waited {SECONDS} s for {what}")
            return False
        time.sleep(0.1)
    return True


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _path():
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _which(name):
    return shutil.which(name, path=_path())


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "stop"):
        sys.exit("usage: one_node_slurm.py start|stop FOLDER")
    if sys.argv[1] == "stop":
        stop(Path(sys.argv[2]).absolute())
    elif reason := missing():
        sys.exit(reason)
    else:
        start(Path(sys.argv[2]).absolute())
