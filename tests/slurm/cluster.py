"""A Slurm cluster of the tests' own: all of its daemons on this machine, two nodes with two GPUs that are none."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from mmexp.processes.children import die_with_parent

# How each node finds the processes of a job: all descendants get a job's signals, or, as on most real clusters, the
# task alone.
NODES = {"node1": "linuxproc", "node2": "pgid"}
GPUS = 2
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun")
SEARCH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
SECONDS_TO_START = 60

CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A job that is requeued may start this many seconds later.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
FirstJobId={first_job_id}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/{{tracking}}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
ReturnToService=2
KillWait=5
DefMemPerCPU=512
MailProg=/bin/true
GresTypes=gpu
DebugFlags=NO_CONF_HASH
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 RealMemory=65536 Gres=gpu:{gpus}
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8 RealMemory=65536 Gres=gpu:{gpus}
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 PreemptMode=OFF
PartitionName=low Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF
"""


def missing_programs() -> list[str]:
    """Those of Slurm's that are not installed."""
    return [program for program in PROGRAMS if shutil.which(program, path=SEARCH) is None]


class Cluster:
    """Use as a context manager: it ends exactly what it started."""

    def __init__(self, folder: Path) -> None:
        """`folder`: a new one, with a short path, because sockets lie in it."""
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": SEARCH}
        self._daemons: list[subprocess.Popen] = []

    def __enter__(self) -> Cluster:
        self._write_config()
        socket_file = self.folder / "munge.socket"
        paths = {"socket": socket_file, "key-file": self.folder / "munge.key"}
        paths |= {name: self.folder / f"munged.{name}" for name in ("pid-file", "log-file", "seed-file")}
        self._start("munged", "--foreground", "--force", *(f"--{name}={path}" for name, path in paths.items()))
        self._until(socket_file.exists)
        self._start("slurmctld", "-D", "-c")
        for node in NODES:
            self._start("slurmd", "-D", "-N", node, "-f", str(self.folder / f"{node}.conf"))
        self._until(lambda: self.idle_nodes() == set(NODES))
        return self

    def __exit__(self, *error: object) -> None:
        self.ask("scancel", "--full", f"--user={getpass.getuser()}")
        self._until(lambda: not self.ask("squeue", "--noheader"))
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def ask(self, program: str, *arguments: str) -> str:
        """What one of Slurm's programs prints; "" where it fails."""
        environment = {**os.environ, **self.environment}
        return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True).stdout

    def idle_nodes(self) -> set[str]:
        return set(self.ask("sinfo", "--noheader", "--Node", "--states=idle", "--format=%N").split())

    def _write_config(self) -> None:
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (self.folder / "munge.key").chmod(0o600)
        (self.folder / "state").mkdir()
        for node in NODES:
            (self.folder / f"spool-{node}").mkdir()
        for gpu in range(GPUS):  # a device, or Slurm names no GPU to the jobs
            (self.folder / f"nvidia{gpu}").symlink_to("/dev/null")
        gres = f"AutoDetect=off\nNodeName={','.join(NODES)} Name=gpu File={self.folder}/nvidia[0-{GPUS - 1}]\n"
        (self.folder / "gres.conf").write_text(gres)
        conf = CONF.format(
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            folder=self.folder,
            ports=free_ports(1 + len(NODES)),
            first_job_id=1 + secrets.randbelow(9000),  # where runs meet depends on it; clusters share a machine
            nodes=[*NODES],
            gpus=GPUS,
        )
        (self.folder / "slurm.conf").write_text(conf.format(tracking="linuxproc"))
        for node, tracking in NODES.items():
            (self.folder / f"{node}.conf").write_text(conf.format(tracking=tracking))

    def _start(self, program: str, *arguments: str) -> None:
        with (self.folder / f"{program}-{len(self._daemons)}.log").open("wb") as log:
            daemon = subprocess.Popen(
                [str(shutil.which(program, path=SEARCH)), *arguments],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._daemons.append(daemon)

    def _until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + SECONDS_TO_START
        while not condition():
            dead = [daemon.args for daemon in self._daemons if daemon.poll() is not None]
            logs = "\n".join(file.read_text()[-2000:] for file in self.folder.glob("*.log"))
            assert not dead, f"{dead}\n{logs}"
            assert time.monotonic() < deadline, logs
            time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
