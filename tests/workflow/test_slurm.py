"""The workflow on a real Slurm: one node that is this machine, whose two GPUs are made up.

Needs Debian's slurm-wlm and munge (22.05 or later), the plugin of envs/cluster.txt, and root: the
daemons are started from a temporary folder, with a configuration and keys of their own.
"""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import yaml

from modeledit.io.files import read_json
from tests.workflow.conftest import ROOT, copy_project

# One session of Slurm, beside the smoke run that it is compared with.
pytestmark = pytest.mark.xdist_group("smoke")

COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol")
PROFILE = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
CHAIN = "results/smoke/geography-eligible/smollm2-135m"
TABLE = "results/smoke/tables/geography-eligible.iterative.tex"
OPTIONS = (
    *("--workflow-profile", "profiles/slurm", "--configfile", "config/smoke.yaml"),
    *("--config", "compute={device: auto}", "--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "4", "--seconds-between-status-checks", "1"),
    *("--max-status-checks-per-second", "10"),
)

needs_plugin = pytest.mark.skipif(
    importlib.util.find_spec("snakemake_executor_plugin_slurm") is None,
    reason="the Slurm plugin is not installed (pip install -r envs/cluster.txt)",
)


def rules_without_memory() -> set[str]:
    """Rules with a script that ask for no memory and are not run where Snakemake runs."""
    found = set()
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for rule in re.split(r"\n\s*rule ", path.read_text())[1:]:
            if "script:" in rule and "mem_mb=" not in rule and "localrule:" not in rule:
                found.add(rule.split(":")[0])
                found |= set(re.findall(r"\nuse rule \w+ as (\w+) with:", rule))
    return found


def test_every_small_job_shares_a_submission():
    assert set(PROFILE["groups"]) == rules_without_memory()


@needs_plugin
def test_the_profile_is_accepted_and_its_groups_have_no_cycle(untouched):
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm", "-n"]
    done = subprocess.run(command, cwd=untouched.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_plugin
def test_the_profile_asks_for_gpus_where_the_main_process_sees_none(tmp_path):
    """Where Snakemake runs there is no driver, so that "auto" would mean no GPU."""
    folder = copy_project(tmp_path).folder
    written = "results/demo/config.yaml"
    command = [sys.executable, "-m", "snakemake", written, "--executor", "local", "--cores", "1"]
    command += ["--workflow-profile", "profiles/slurm"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    merged = yaml.safe_load((folder / written).read_text())["config"]
    default = yaml.safe_load((folder / "config/config.yaml").read_text())
    assert merged["compute"] == default["compute"] | {"device": "cuda"}


@dataclass
class Slurm:
    """Daemons of a cluster of one node, from `folder`, and what it knows of its jobs."""

    folder: Path
    daemons: list[subprocess.Popen] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """For everything that talks to this cluster, and for its jobs."""
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        return os.environ | {"SLURM_CONF": f"{self.folder}/slurm.conf", "PATH": path}

    def ask(self, *command: str) -> str:
        asked = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        return asked.stdout if asked.returncode == 0 else ""

    def jobs(self) -> list[dict[str, str]]:
        """All jobs so far in the order of their submission, as scontrol describes them."""
        lines = self.ask("scontrol", "--oneliner", "show", "job").splitlines()
        found = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in lines]
        return [job for job in found if "Comment" in job]

    def start(self) -> None:
        """Write the configuration; start munged, slurmctld and slurmd, each when it can."""
        self._configure()
        munge = [f"--{name}={self.folder}/munge.{name}" for name in ("socket", "pid-file")]
        munge += [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "seed", "log")]
        self._start("munged", "--foreground", "--force", *munge)
        self._wait("munged", lambda: (self.folder / "munge.socket").exists())
        self._start("slurmctld", "-D", "-c")
        self._wait("slurmctld", lambda: "UP" in self.ask("scontrol", "ping"))
        self._start("slurmd", "-D")
        self._wait("slurmd", lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"))

    def stop(self) -> None:
        """Cancel what runs, end the daemons, and whatever of this cluster is still there."""
        self.ask("scancel", "--user", "root")
        deadline = time.monotonic() + 30
        while self.ask("squeue", "-h") and time.monotonic() < deadline:
            time.sleep(0.2)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for process in psutil.process_iter():
            if self._owns(process):
                process.kill()

    def _owns(self, process: psutil.Process) -> bool:
        """Whether a process is of this cluster: by its environment, or a socket in the folder
        (the daemon of a job's step overwrites its environment)."""
        try:
            if process.environ().get("SLURM_CONF") == f"{self.folder}/slurm.conf":
                return True
            sockets = [connection.laddr for connection in process.net_connections("unix")]
            return any(str(address).startswith(f"{self.folder}/") for address in sockets)
        except psutil.Error:
            return False

    def _configure(self) -> None:
        host = socket.gethostname().split(".")[0]
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            second.bind(("127.0.0.1", 0))
            ports = first.getsockname()[1], second.getsockname()[1]
        for name in ("state", "spool", "bin"):
            (self.folder / name).mkdir()
        (self.folder / "munge.key").write_bytes(os.urandom(64))
        (self.folder / "munge.key").chmod(0o600)
        # Jobs of the plugin drop SLURM_CONF before they call srun; and "auto" looks for nvidia-smi.
        scripts = {
            "srun": f'SLURM_CONF={self.folder}/slurm.conf exec {shutil.which("srun")} "$@"',
            "nvidia-smi": "exit 0",
        }
        for name, line in scripts.items():
            (self.folder / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
            (self.folder / "bin" / name).chmod(0o755)
        # Devices that can be opened and do nothing.
        gres = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"
        (self.folder / "gres.conf").write_text(gres)
        (self.folder / "slurm.conf").write_text(f"""
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={self.folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=bf_interval=1,batch_sched_delay=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
StateSaveLocation={self.folder}/state
SlurmdSpoolDir={self.folder}/spool
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd.pid
KillWait=2
MinJobAge=3600
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=500000 Gres=gpu:2
PartitionName=cpu Nodes={host} Default=YES OverSubscribe=NO
PartitionName=gpu Nodes={host}
""")

    def _start(self, *command: str) -> None:
        # In a session of its own: an interrupted test must find its daemons alive to stop the jobs.
        with open(self.folder / f"{command[0]}.out", "w") as output:
            self.daemons.append(
                subprocess.Popen(
                    command,
                    env=self.environment,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )

    def _wait(self, name: str, ready) -> None:
        deadline = time.monotonic() + 30
        while not ready():
            if self.daemons[-1].poll() is not None or time.monotonic() > deadline:
                said = (self.folder / f"{name}.out").read_text()[-3000:]
                raise RuntimeError(f"{name} did not start:\n{said}")
            time.sleep(0.1)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    missing = [command for command in COMMANDS if shutil.which(command) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not found (apt-get install slurm-wlm munge)")
    if os.getuid() != 0:
        pytest.skip("only root can start the daemons of Slurm for itself")
    cluster = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@dataclass
class Run:
    """What a run on Slurm left: its folder, its output, its return code, its Slurm jobs."""

    folder: Path
    output: str
    returncode: int
    jobs: list[dict[str, str]]

    def edits(self, method: str, k: int) -> list[dict[str, str]]:
        """Slurm jobs of an iteration, in the order of their submission."""
        wildcards = f"geography-eligible_smollm2-135m_{method}_1_{k}"
        return [job for job in self.jobs if job["Comment"] == f"rule_edit_wildcards_{wildcards}"]


@pytest.fixture(scope="module")
def run(slurm, smoke, tmp_path_factory):
    """config/smoke.yaml on Slurm; one of its edit jobs is cancelled in the middle."""
    folder = copy_project(tmp_path_factory.mktemp("on_slurm")).folder
    shutil.copytree(smoke.folder / "resources", folder / "resources", copy_function=os.link)
    command = [sys.executable, "-m", "snakemake", "metrics", TABLE, *OPTIONS]
    output = folder / "output.txt"
    with open(output, "w") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=slurm.environment, stdout=stream, stderr=stream
        )
    try:
        log = folder / "logs/smoke/geography-eligible/smollm2-135m/MEMIT/trial1/iter1.log"
        while not (log.exists() and "request" in log.read_text()):  # OPTIMIZATION is under way
            assert process.poll() is None, output.read_text()[-5000:]
            time.sleep(0.2)
        (job,) = Run(folder, "", 0, slurm.jobs()).edits("MEMIT", 1)
        slurm.ask("scancel", job["JobId"])
        process.wait(600)
    finally:
        process.kill()
        process.wait()
    return Run(folder, output.read_text(), process.returncode, slurm.jobs())


@pytest.mark.slow
@needs_plugin
def test_a_cancelled_edit_is_submitted_again_with_more_and_the_run_ends_well(run):
    assert run.returncode == 0, run.output[-5000:]
    ended = [(job["Comment"], job["JobState"]) for job in run.jobs if "edit" in job["Comment"]]
    cancelled, again = run.edits("MEMIT", 1)
    assert [state for _, state in ended].count("CANCELLED") == 1
    assert (cancelled["JobState"], again["JobState"]) == ("CANCELLED", "COMPLETED")
    memory = [int(job["MinMemoryNode"].removesuffix("M")) for job in (cancelled, again)]
    assert memory[1] == 2 * memory[0]
    assert (cancelled["TimeLimit"], again["TimeLimit"]) == ("12:00:00", "1-00:00:00")


@pytest.mark.slow
@needs_plugin
def test_the_output_has_a_line_of_progress_now_and_then(run):
    lines = re.findall(r"^(\d+) of (\d+) jobs, .+$", run.output, re.MULTILINE)
    assert lines and len({total for _, total in lines}) == 1
    assert "\x1b" not in run.output


@pytest.mark.slow
@needs_plugin
def test_its_metrics_are_those_of_the_local_run_to_the_byte(run, smoke):
    for path in ("results/smoke/metrics.csv", "results/smoke/picks.csv", TABLE):
        assert (run.folder / path).read_bytes() == (smoke.folder / path).read_bytes()


@pytest.mark.slow
@needs_plugin
def test_jobs_that_run_a_model_ask_for_one_gpu_and_the_others_for_none(run):
    passed_on = {
        job["JobId"]
        for method in ("MEMIT", "NA_MEMIT")
        for k in (1, 2, 3)
        for job in run.edits(method, k)
        if read_json(run.folder / CHAIN / f"{method}/trial1/iter{k}/state.json")["passed_on"]
    }
    assert passed_on
    models = re.compile("rule_(make_contexts|find_eligible|gather_cov|factorize|score_un|edit)")
    for job in run.jobs:
        runs_a_model = models.match(job["Comment"]) and job["JobId"] not in passed_on
        assert job.get("TresPerJob") == ("gres:gpu:1" if runs_a_model else None), job
        assert job["Partition"] == ("gpu" if runs_a_model else "cpu"), job
        assert job["NumCPUs"] == "1" or not runs_a_model, job


@pytest.mark.slow
@needs_plugin
def test_small_jobs_share_submissions(run):
    groups = [job["Comment"] for job in run.jobs if "rule_edit" not in job["Comment"]]
    for group in ("rule_data_", "rule_metrics_", "rule_paper_"):
        assert len([comment for comment in groups if comment.startswith(group)]) == 1, groups


@pytest.mark.slow
@needs_plugin
def test_logs_of_failed_jobs_stay(run):
    """What a job printed goes when it succeeds; each rule's own log stays anyway."""
    cancelled = run.edits("MEMIT", 1)[0]
    logs = list((run.folder / ".snakemake/slurm_logs").rglob("*.log"))
    assert [path.stem for path in logs] == [cancelled["JobId"]]
