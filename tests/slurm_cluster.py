"""A SLURM of two nodes on the loopback, from Debian's packages; what is run on it is in the tests."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

NODES = ("n1", "n2")

#: Daemons lie where only the administrator's PATH looks.
SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo")


def missing_programs() -> list[str]:
    return [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


CONFIGURATION = """
ClusterName=mixbridge-test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdTimeout=2
KillWait=3
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=16000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=16000
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE PriorityTier=1
PartitionName=urgent Nodes=n[1-2] MaxTime=INFINITE PriorityTier=2
"""


class Cluster:
    """The daemons of a cluster; `environment` is what makes its commands find it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": SEARCHED}

    def start(self) -> None:
        for name in ("state", *NODES):
            (self.folder / name).mkdir()
        host, user, ports = socket.gethostname().split(".")[0], getpass.getuser(), free_ports(3)
        text = CONFIGURATION.format(host=host, user=user, ports=ports, folder=self.folder)
        (self.folder / "slurm.conf").write_text(text)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {"key-file": key, "socket": self.folder / "munge.socket"}
        files |= {f"{kind}-file": self.folder / f"munge.{kind}" for kind in ("pid", "log", "seed")}
        options = [f"--{option}={path}" for option, path in files.items()]
        self._daemon("munge", "munged", "--foreground", "--force", "--num-threads=2", *options)
        self.wait_until(lambda: (self.folder / "munge.socket").exists(), "munge's socket")
        self._daemon("controller", "slurmctld", "-D")
        for node in NODES:
            self._daemon(node, "slurmd", "-D", "-N", node)
        self.wait_until(lambda: self.ask("sinfo", "-h", "-N", "-o", "%t").split() == ["idle"] * 2 * len(NODES), "nodes")

    def _daemon(self, name: str, program: str, *arguments: str) -> None:
        path = shutil.which(program, path=SEARCHED)
        assert path is not None
        with (self.folder / f"{name}.out").open("wb") as out:
            # A group of its own, so that all it starts can be ended.
            self.daemons[name] = subprocess.Popen(
                [path, *arguments], stdout=out, stderr=out, env=self.environment, start_new_session=True
            )

    def wait_until(self, true: object, what: str, *, limit_s: float = 30.0) -> None:
        ends_s = time.monotonic() + limit_s
        while not true():  # type: ignore[operator]
            assert time.monotonic() < ends_s, f"no {what}: {self.words()}"
            time.sleep(0.05)

    def words(self) -> str:
        """The last words of all daemons."""
        return "\n".join(f"{p.name}: {p.read_text(errors='replace')[-500:]}" for p in self.folder.glob("*.out"))

    def ask(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout

    def listeners(self) -> set[str]:
        """Addresses that the daemons listen on."""
        return {
            connection.laddr.ip
            for daemon in self.daemons.values()
            for connection in psutil.Process(daemon.pid).net_connections()
            if connection.status == psutil.CONN_LISTEN
        }

    def job_numbers(self, *, node: str = "") -> list[str]:
        """Numbers of jobs, each job of an array having its own."""
        return self.ask("squeue", "-h", "-r", "-o", "%A", *([f"--nodelist={node}"] if node else [])).split()

    def kill_node(self, node: str) -> None:
        """As a power cut does: its daemon, and everything that its jobs have started."""
        numbers = self.job_numbers(node=node)
        daemon = self.daemons.pop(node)
        daemon.kill()
        daemon.wait()
        for number in numbers:
            kill_job(number)

    def stop(self) -> None:
        if "controller" in self.daemons:
            # An orderly end first, so that no job is left alone.
            self.ask("scancel", "--signal=KILL", "--full", f"--user={getpass.getuser()}")
            numbers = self.job_numbers()
            for number in numbers:
                kill_job(number)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for daemon in self.daemons.values():
                with suppress(ProcessLookupError):
                    os.killpg(daemon.pid, number)
            for daemon in self.daemons.values():
                with suppress(subprocess.TimeoutExpired):
                    daemon.wait(timeout=5.0)


def kill_job(number: str) -> None:
    """Kill the processes of a job, all at once: those that look after its steps, and what these have started."""
    keepers = [
        process
        for process in psutil.process_iter(["cmdline"])
        if " ".join(process.info["cmdline"] or ()).startswith(f"slurmstepd: [{number}.")
    ]
    # Held still first: who looks after one step would report that another has failed, which no power cut lets it.
    for process in keepers:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    for process in keepers:
        with suppress(psutil.NoSuchProcess):
            for each in [*process.children(recursive=True), process]:
                with suppress(psutil.NoSuchProcess):
                    each.kill()


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    # A short path: that of munge's socket has a limit.
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        cluster = Cluster(Path(folder))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
