"""What is submitted, and what is refused before: all that needs no Slurm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmexp.composition import Composition, freeze, thaw
from mmexp.launchers.accelerate_launch import Machine
from mmexp.processes.children import before_listening
from mmexp.processes.interruption import SIGNALS
from mmexp.processes.visible_gpus import num_visible_gpus
from mmexp.schema import ConfigError
from mmexp.slurm import progress
from mmexp.slurm.client import JobState, job_states
from mmexp.slurm.failures import Failures
from mmexp.slurm.jobs import Job, refuse_while_queued
from mmexp.slurm.node import Supervisor, this_machine
from mmexp.slurm.node import main as node_main
from mmexp.slurm.submission import submit_array
from tests.test_run import ROOT, experiment_of

TINY = ["+experiment=vdr_tiny", "tracking=none", "tracking.grid=null"]


def composed(folder: Path, *overrides: str):
    folder.mkdir(exist_ok=True)
    return freeze(experiment_of(folder, *TINY, "launch=slurm", *overrides), folder, list(overrides))


def programs(folder: Path, **scripts: str) -> str:
    """A folder of programs that say what these shell scripts do; returns what PATH must be."""
    folder.mkdir(exist_ok=True)
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


# -- the script --------------------------------------------------------------------------------------------------------


def test_a_dry_run_prints_the_script_that_would_be_submitted(tmp_path, capsys):
    overrides = ["launch.nodes=2", "launch.gpus_per_node=4", "launch.memory=200G", "launch.time=12:00:00"]
    overrides += ["launch.partition=gpu", "launch.account=me", "launch.qos=long", "launch.constraint='a100|h100'"]
    overrides += ["launch.extra=['--exclusive','--comment=two words']", "launch.setup=['module load cuda']"]
    composition = composed(tmp_path, *overrides, "launch.dry_run=true")
    assert composition.experiment.launch.launch(composition) != 0
    printed = capsys.readouterr().out
    assert printed.strip() == (tmp_path / "slurm.sh").read_text().strip()
    subprocess.run(["bash", "-n", str(tmp_path / "slurm.sh")], check=True)
    options = {line.removeprefix("#SBATCH ") for line in printed.splitlines() if line.startswith("#SBATCH")}
    assert options >= {"--nodes=2", "--ntasks-per-node=1", "--gres=gpu:4", "--cpus-per-task=32", "--mem=200G"}
    assert options >= {"--time=12:00:00", "--partition=gpu", "--account=me", "--qos=long", "--constraint=a100|h100"}
    assert options >= {"--exclusive", '--comment="two words"', "--requeue", "--signal=USR2@120", "--open-mode=append"}
    assert options >= {f"--chdir={Path.cwd()}", f"--output={tmp_path}/slurm-%j.log"}
    assert printed.index("module load cuda") < printed.index("srun --ntasks=2")
    assert f"'{composition.digest} {tmp_path}'" in printed
    assert f"{sys.executable} -m mmexp.slurm.node" in printed  # also where launch.setup is given


SRUN = 'echo "$@"; exit ${CODE}'
SCONTROL = """case "$*" in
    "show hostnames"*) echo node7; echo node8;;
    *"show node node7") echo "NodeName=node7 Arch=x NodeAddr=10.0.0.7 Port=1";;
    *"show job "*) echo "JobId=12 PreemptTime=$PREEMPTED Reason=x";;
    requeue*) echo "$@";;
esac"""


@pytest.fixture(scope="module")
def array(tmp_path_factory) -> tuple[Path, list[Composition]]:
    """The folder of a sweep that was submitted to programs that only say so, and its members."""
    folder = tmp_path_factory.mktemp("sweep")
    members = [composed(folder / name, "launch.max_requeues=3") for name in ("a", "b")]
    with pytest.MonkeyPatch.context() as monkeypatch:
        path = programs(folder / "bin", srun=SRUN, scontrol=SCONTROL, sbatch="echo 12", getent="exit 2")
        monkeypatch.setenv("PATH", path)
        (members[0].run_dir / "result.json").write_text("of an earlier start")
        jobs = submit_array(members[0].experiment.launch, members, at_once=1)
    assert [job.job_id for job in jobs] == ["12_0", "12_1"]
    assert not (members[0].run_dir / "result.json").exists()
    return folder, members


@pytest.mark.parametrize(
    ("variables", "requeued"),
    [
        ({"CODE": "0"}, None),
        ({"CODE": "1"}, None),
        ({"CODE": "140"}, "requeue 12"),
        ({"CODE": "143"}, None),
        ({"CODE": "143", "PREEMPTED": "2030-01-01T00:00:00"}, "requeue 12"),
        ({"CODE": "0", "PREEMPTED": "2030-01-01T00:00:00"}, None),
        ({"CODE": "140", "SLURM_RESTART_COUNT": "2"}, "requeue 12"),
        ({"CODE": "140", "SLURM_RESTART_COUNT": "3"}, None),
        # The first job of an array has the array's number, and is not the array.
        ({"CODE": "140", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "1"}, "requeue 12_1"),
    ],
)
def test_the_script_requeues_what_was_asked_to_stop_and_nothing_else(array, variables, requeued):
    folder, members = array
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    environment = {"PATH": path, "SLURM_JOB_ID": "12", "SLURM_JOB_NODELIST": "node[7-8]", "PREEMPTED": "None"}
    script = ["bash", str(folder / "slurm.sh")]
    done = subprocess.run(script, env={**environment, **variables}, capture_output=True, text=True)
    member = members[int(variables.get("SLURM_ARRAY_TASK_ID", "0"))]
    assert f"-m mmexp.slurm.node {member.run_dir} {member.digest} 10.0.0.7" in done.stdout
    assert done.stdout.splitlines()[1:] == ([requeued] if requeued else [])
    assert done.returncode == int(variables["CODE"])
    assert ("launch.max_requeues=3 is reached" in done.stderr) == (variables.get("SLURM_RESTART_COUNT") == "3")


def test_a_start_leaves_no_result_of_an_earlier_one(array):
    folder, [member, other] = array
    for run_dir in (member.run_dir, other.run_dir):
        (run_dir / "result.json").write_text("of an earlier start")
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "CODE": "0", "SLURM_JOB_ID": "12"}
    subprocess.run(["bash", str(folder / "slurm.sh")], env=environment, check=True, capture_output=True)
    assert [(run_dir / "result.json").exists() for run_dir in (member.run_dir, other.run_dir)] == [False, True]


BLOCKED = ("torch", "transformers", "sentence_transformers", "accelerate", "datasets", "deepspeed")
SUBMIT = f"""
import sys
for name in {BLOCKED}:
    sys.modules[name] = None  # importing it raises ImportError
from mmexp.__main__ import main
main()
"""


def test_a_machine_without_torch_submits(tmp_path):
    path = programs(tmp_path / "bin", sbatch='echo "$@" > submitted; echo "31;cluster"')
    command = [sys.executable, "-c", SUBMIT, *TINY, "launch=slurm", f"output_root={tmp_path}/out"]
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    [run_dir] = (tmp_path / "out" / "vdr_tiny").iterdir()
    assert f"job 31 runs {run_dir}" in done.stdout
    assert json.loads((run_dir / "slurm.json").read_text())["job_id"] == "31"
    assert (tmp_path / "submitted").read_text() == f"--parsable {run_dir}/slurm.sh\n"


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["launch.nodes=0"], r"launch\.nodes=0 is too few\. Use 1 or more"),
        (["launch.processes_per_node=2"], r"processes_per_node=2 is more than launch\.gpus_per_node=1"),
        (["launch.gpus_per_node=0", "launch/accelerate=fsdp2"], r"fsdp2 needs GPUs"),
        (["launch.extra=['--nodes=4']"], r"launch\.extra has --nodes=4, which is what launch\.nodes says"),
        (["launch.extra=['-p gpu']"], r"launch\.extra has -p gpu, which is what launch\.partition says"),
        (["launch.extra=[exclusive]"], r"'exclusive', which is no option of sbatch"),
        ([], r"needs Slurm's sbatch, and no folder of PATH has it \(/nowhere\)\. .* launch=accelerate"),
    ],
)
def test_what_cannot_be_submitted_is_refused(tmp_path, monkeypatch, overrides, message):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match=message):
        (composition := composed(tmp_path, *overrides)).experiment.launch.launch(composition)


def test_members_with_other_resources_are_no_array(tmp_path):
    members = [composed(tmp_path / str(nodes), f"launch.nodes={nodes}") for nodes in (1, 2)]
    with pytest.raises(ConfigError, match=r"/2 has other launch\.\* keys than the first"):
        members[0].experiment.launch.launch_members(members, at_once=1)


def test_a_node_whose_driver_shows_no_gpu_says_so(tmp_path, monkeypatch):
    composition = composed(tmp_path)
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    with pytest.raises(ConfigError, match=r"shows 0 .*launch\.extra=\['--exclude=node7'\]"):
        composition.experiment.launch.command_on(Machine(), composition)


@pytest.mark.parametrize(("visible", "count"), [(None, 2), ("0,1", 2), ("1,7,0", 1), ("GPU-a", 1), ("GPU-x", 0)])
def test_names_that_the_driver_does_not_know_are_no_gpus(monkeypatch, visible, count):
    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda handle: ("GPU-aaaa", "GPU-bbbb")[handle],
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert num_visible_gpus() == count
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert num_visible_gpus() == 0


# -- how jobs stand ----------------------------------------------------------------------------------------------------


def test_a_job_that_is_queued_is_not_started_anew_and_one_that_slurm_forgot_is_looked_up(tmp_path, monkeypatch):
    squeue = 'echo "12_3|PENDING|Resources||0:00"; echo "12_4|RUNNING|None|node7|1:02"'
    sacct = 'echo "12_5|CANCELLED by 7|None|node7|0:10"'
    monkeypatch.setenv("PATH", programs(tmp_path / "bin", squeue=squeue, sacct=sacct))
    assert job_states(["12_3", "12_4", "12_5", "12_6"]) == {
        "12_3": JobState("PENDING", "Resources", "", "0:00"),
        "12_4": JobState("RUNNING", "", "node7", "1:02"),
        "12_5": JobState("CANCELLED", "", "node7", "0:10"),
    }
    Job("12_5", tmp_path, tmp_path / "log").write()
    refuse_while_queued(tmp_path)
    Job("12_3", tmp_path, tmp_path / "log").write()
    with pytest.raises(ConfigError, match=r"as job 12_3, which goes on by itself.*scancel 12_3"):
        refuse_while_queued(tmp_path)


def test_ctrl_c_ends_the_waiting_and_not_the_jobs(tmp_path, monkeypatch, capsys):
    def interrupted(job_ids):
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "job_states", interrupted)
    jobs = [Job(f"12_{n}", tmp_path / str(n), tmp_path / "log") for n in range(2)]
    with pytest.raises(SystemExit) as raised:
        progress.wait_for(jobs, 1)
    assert raised.value.code == 130
    assert f"python -m mmexp.slurm {tmp_path}. Cancel them: scancel 12\n" in capsys.readouterr().out


def test_while_waiting_a_question_that_fails_is_asked_again_and_not_for_ever(tmp_path, monkeypatch):
    answers = iter([ConfigError("squeue says: timeout"), {"12": JobState("FAILED")}])

    def answer(job_ids):
        if isinstance(found := next(answers, ConfigError("squeue says: timeout")), ConfigError):
            raise found
        return found

    monkeypatch.setattr(progress, "job_states", answer)
    job = Job("12", tmp_path, tmp_path / "log")
    [result] = progress.wait_for([job], 0)
    assert result["status"] == "failed"
    monkeypatch.setattr(progress, "SECONDS_WITHOUT_NEWS", 0)
    with pytest.raises(ConfigError, match=r"squeue says: timeout\. The jobs go on\. .* scancel 12"):
        progress.wait_for([job], 0)


def test_a_run_that_has_finished_has_whatever_slurm_says(tmp_path):
    (tmp_path / "result.json").write_text('{"status": "finished", "error": null}')
    for state in ("CANCELLED", "TIMEOUT", "NODE_FAIL"):
        assert Job("12", tmp_path, tmp_path / "log").result(JobState(state))["status"] == "finished"


def test_a_row_shows_the_last_step_and_the_last_metric(tmp_path):
    rows = [{"step": n, "metrics": {"train/loss": 3.0 - n, "x/hours": 1}} for n in (1, 2)]
    lines = [json.dumps({"time": "now", **row}) for row in [*rows, {"step": 2, "metrics": {"x/hours": 1}}]]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"time": "now", "cut')
    assert progress.last_row(tmp_path) == ("2", "train/loss 1.0000")
    assert progress.last_row(tmp_path / "none") == ("", "")
    (tmp_path / "metrics.jsonl").write_text('{"time": "now", "step": 3, "metrics": {"train/loss": null}}\n')
    assert progress.last_row(tmp_path) == ("3", "train/loss nan")


# -- on a node ---------------------------------------------------------------------------------------------------------


def test_nodes_meet_at_the_first_and_elsewhere_after_a_requeue(monkeypatch):
    for name, value in (("JOB_ID", "123456"), ("NODEID", "1"), ("JOB_NUM_NODES", "2")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    first = 20000 + 123456 * 101 % 10000
    assert this_machine("node7") == Machine(1, 2, "node7", first)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert this_machine("node7").main_port == first + 2
    monkeypatch.setenv("SLURM_JOB_ID", "123457")
    assert this_machine("node7").main_port == first + 103
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    assert this_machine("node7").main_port == 0  # any that is free


def failure(rank: int, time: float, exit_code: int = 1) -> dict:
    return {"rank": rank, "time": time, "exit_code": exit_code, "type": None, "message": "", "traceback": ""}


def test_the_first_failure_of_all_nodes_counts_and_a_killed_rank_before_all(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setattr("mmexp.slurm.failures.SECONDS_FOR_OTHERS", 0)
    failures = Failures(tmp_path, num_nodes=3)
    assert failures.first() is None
    failures.add(0, failure(rank=0, time=5.0))
    failures.add(1, failure(rank=4, time=4.5))
    assert failures.first()["rank"] == 4
    failures.add(2, failure(rank=8, time=6.0, exit_code=-9))
    assert failures.first()["rank"] == 8
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert Failures(tmp_path, num_nodes=3).first() is None


@pytest.mark.usefixtures("_signals")
def test_a_job_that_lacks_memory_is_requeued_with_half_the_mini_batch(tmp_path, monkeypatch):
    composition = composed(tmp_path, "launch.gpus_per_node=0")
    digest, tokens = composition.digest, composition.experiment.loss.mini_batch_num_tokens
    started = []

    def child(command, composition):
        started.append(composition.experiment.loss.mini_batch_num_tokens)
        return SimpleNamespace(poll=lambda: 1, failure=lambda: failures.pop())

    def node() -> int:
        with pytest.raises(SystemExit) as ended:
            node_main()
        return ended.value.code

    monkeypatch.setattr("mmexp.slurm.node.Child", child)
    monkeypatch.setattr("sys.argv", ["node", str(tmp_path), digest, "node7"])
    monkeypatch.setattr("mmexp.slurm.failures.SECONDS_FOR_OTHERS", 0)
    monkeypatch.chdir(tmp_path)
    for name, value in (("JOB_ID", "12"), ("NODEID", "0"), ("JOB_NUM_NODES", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    failures = [failure(0, 5.0), {**failure(0, 5.0), "type": "OutOfMemoryError"}]
    assert node() == 140
    assert thaw(tmp_path).experiment.loss.mini_batch_num_tokens == tokens // 2
    assert node() == 2  # a first start is of what was submitted
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    (tmp_path / "result.json").unlink()  # as the script does
    assert node() == 1  # another failure
    assert started == [tokens, tokens // 2]


class Stuck:
    """Processes that end when they are ended, and not when they are asked to."""

    asked, ended = 0, False

    def poll(self):
        return -signal.SIGTERM if self.ended else None

    def ask_to_stop(self, number):
        self.asked += 1

    def end(self):
        self.ended = True

    def failure(self):
        return None


@pytest.fixture
def _signals():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR2, 140), (signal.SIGTERM, 143)])
def test_a_checkpoint_that_takes_too_long_is_given_up_in_time_for_a_requeue(tmp_path, monkeypatch, number, code):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    child = Stuck()
    supervisor = Supervisor(child, Failures(tmp_path, 1), signal_seconds=0.2)
    signal.raise_signal(number)
    signal.raise_signal(number)
    assert supervisor.wait(first_rank=0) == (code, None)
    assert (child.asked, child.ended) == (1, True)


LATE = """
import time
from mmexp.processes.interruption import Interruption
print("started", flush=True)
time.sleep(0.5)
Interruption().listen()
"""


def test_a_signal_that_comes_before_a_run_listens_is_kept_for_it():
    child = subprocess.Popen(
        [sys.executable, "-c", LATE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        preexec_fn=before_listening,
    )
    with child:
        assert child.stdout.readline() == b"started\n"
        time.sleep(0.1)
        child.send_signal(signal.SIGUSR2)
        assert child.wait(20) == 140
