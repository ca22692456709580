"""Runs as jobs of a real Slurm, and what becomes of them: each equal to the same run in this process."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mmexp.composition import freeze
from mmexp.processes.outcome import RunFailed
from mmexp.schema import SCHEMAS, ConfigError
from mmexp.slurm.client import job_states
from mmexp.slurm.jobs import Job, job_of, refuse_while_queued
from mmexp.slurm.progress import wait_for
from mmexp.user_modules import import_modules_of
from tests.launching.faulty_loss import config_dir
from tests.slurm.cluster import NODES
from tests.test_run import ROOT, SMALL, assert_losses_equal, experiment_of, losses_of, run_in

pytestmark = pytest.mark.slurm

TINY = [
    *("+experiment=vdr_tiny", *SMALL, "dims=none", "data.num_train_pages=60", "data.num_eval_pages=20"),
    *("trainer.per_device_train_batch_size=4", "trainer.logging_steps=1", "trainer.max_steps=6"),
    *("trainer.eval_strategy=no", "trainer.save_strategy=no"),
]
# The cluster's GPUs are none: Slurm gives them to the jobs, which are told to compute on CPUs.
SLURM = [
    *("launch=slurm", "launch.gpus_per_node=0", "launch.extra=['--gres=gpu:1']", "launch.cpus_per_node=1"),
    *("launch.memory=1G", f"launch.python={sys.executable}", "launch.poll_seconds=0.2", "launch.signal_seconds=60"),
]


@pytest.fixture(autouse=True)
def environment(cluster, monkeypatch):
    """What the jobs inherit."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(cluster.folder)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> type:
    """A loss with a fault to order, as a module of a user's own."""
    import_modules_of([config_dir(tmp_path_factory.mktemp("conf"))])
    return SCHEMAS["loss/faulty"]


def compose(folder: Path, *overrides: str, fault: Callable | None = None):
    """The composition of a run in `folder`/run, and its launcher."""
    experiment = experiment_of(folder, *TINY, *SLURM, *overrides)
    if fault is not None:
        experiment = dataclasses.replace(experiment, loss=fault(experiment.loss))
    run_dir = folder / "run"
    run_dir.mkdir(parents=True)
    return freeze(experiment, run_dir, list(overrides))


def with_fault(faulty: type, **fault) -> Callable:
    return lambda loss: faulty(**{f.name: getattr(loss, f.name) for f in dataclasses.fields(loss)}, **fault)


def submit(composition) -> Job:
    composition.experiment.launch.launch(composition)
    job = job_of(composition.run_dir)
    assert job is not None
    return job


def until(condition: Callable, job: Job, seconds: float = 200):
    """What `condition` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, job.log.read_text() if job.log.exists() else job
        time.sleep(0.2)
    return found


def result_of(job: Job) -> dict:
    [result] = wait_for([job], 0.2)
    return result


def assert_finished(result: dict, job: Job) -> None:
    assert result["status"] == "finished", f"{result.get('error')}\n{job.log.read_text()}"


def test_a_job_equals_the_run_in_process(cluster, tmp_path):
    composition = compose(tmp_path / "slurm")
    job = submit(composition)
    assert job_states([job.job_id])[job.job_id].name in ("PENDING", "RUNNING", "CONFIGURING")
    expected = run_in(tmp_path / "here", *TINY)
    result = result_of(job)
    assert_finished(result, job)
    assert_losses_equal(composition.run_dir, losses_of(tmp_path / "here" / "run"), num_logged=6)
    assert result["final"] == pytest.approx(expected["final"], abs=1e-6)
    assert result["baseline"] == pytest.approx(expected["baseline"], abs=1e-6)


def test_a_job_of_two_processes_on_each_of_two_nodes_equals_one_process_on_their_whole_batch(cluster, tmp_path):
    shares = ["launch.nodes=2", "launch.processes_per_node=2", "trainer.per_device_train_batch_size=2"]
    composition = compose(tmp_path / "slurm", *shares)
    job = submit(composition)
    expected = run_in(tmp_path / "here", *TINY, "trainer.per_device_train_batch_size=8")
    result = result_of(job)
    assert_finished(result, job)
    assert result["num_processes"] == 4
    assert_losses_equal(composition.run_dir, losses_of(tmp_path / "here" / "run"), num_logged=6)
    assert result["final"] == pytest.approx(expected["final"], abs=1e-6)


def test_what_fails_first_on_any_node_is_what_a_job_fails_with(cluster, faulty, tmp_path):
    composition = compose(tmp_path, "launch.nodes=2", fault=with_fault(faulty, fault="raise", rank=1, call=2))
    job = submit(composition)
    result = result_of(job)
    assert job_states([job.job_id])[job.job_id].name == "FAILED"
    assert (result["status"], result["error"]["type"], result["error"]["rank"]) == ("failed", "ArithmeticError", 1)
    assert "a fault to order" in result["error"]["traceback"]
    assert restarts_of(job) == 0


def test_members_of_a_sweep_are_an_array_and_one_that_fails_stops_no_other(cluster, faulty, tmp_path):
    fault = with_fault(faulty, fault="raise", rank=0, call=2)
    short = ["trainer.max_steps=3", "launch.wait=true"]
    seeds = {f"m{n}": [*short, f"seed={n}"] for n in range(6)}
    members = []
    for name, overrides in seeds.items():
        member = compose(tmp_path / "sweep" / name, *overrides, fault=fault if name == "m3" else None)
        (member.run_dir.parent / "run").rename(tmp_path / "sweep" / f"run-{name}")
        members.append(dataclasses.replace(member, run_dir=tmp_path / "sweep" / f"run-{name}"))
    results = members[0].experiment.launch.launch_members(members, at_once=2)
    assert [result["status"] for result in results] == ["finished"] * 3 + ["failed"] + ["finished"] * 2
    assert results[3]["error"]["message"] == "a fault to order"
    arrays = {job_of(member.run_dir).job_id.partition("_")[0] for member in members}
    assert len(arrays) == 1
    assert "ArrayTaskThrottle=2" in cluster.ask("scontrol", "show", "job", f"{arrays.pop()}_5")
    for name, member, result in zip(seeds, members, results, strict=True):
        if name != "m3":
            expected = run_in(tmp_path / "here" / name, *TINY, "trainer.max_steps=3", f"seed={name[1:]}")
            assert_losses_equal(member.run_dir, losses_of(tmp_path / "here" / name / "run"), num_logged=3)
            assert result["final"] == pytest.approx(expected["final"], abs=1e-6)


def test_a_job_that_is_preempted_is_requeued_and_goes_on(cluster, faulty, tmp_path):
    assert NODES["node2"] == "pgid"
    on_node2 = ["launch.partition=low", "launch.extra=['--gres=gpu:2','--nodelist=node2']"]
    job = submit(compose(tmp_path, *on_node2, fault=with_fault(faulty, fault="pause", rank=-1, call=3)))
    until(lambda: steps_of(job) == [1, 2], job)
    cluster.ask("sbatch", "--partition=high", "--gres=gpu:2", "--nodelist=node2", "--output=/dev/null", "--wrap=true")
    until(lambda: restarts_of(job) == 1, job)
    assert (job.run_dir / "checkpoints" / "checkpoint-3").is_dir()
    assert_resumed_equals_uninterrupted(job, tmp_path)


def test_a_job_is_not_started_anew_while_it_goes_on_and_is_cancelled_by_its_id(cluster, faulty, tmp_path):
    composition = compose(tmp_path, fault=with_fault(faulty, fault="pause", rank=-1, call=3))
    job = submit(composition)
    until(lambda: steps_of(job) == [1, 2], job)
    with pytest.raises(ConfigError, match=rf"as job {job.job_id}, which goes on by itself"):
        refuse_while_queued(composition.run_dir)
    cluster.ask("scancel", job.job_id)
    result = result_of(job)
    assert result["status"] == "cancelled"
    assert f"job {job.job_id}: Slurm says CANCELLED" in result["error"]["message"]
    assert restarts_of(job) == 0
    refuse_while_queued(composition.run_dir)


def test_a_job_that_reaches_its_time_limit_is_requeued_and_goes_on(cluster, faulty, tmp_path):
    assert NODES["node1"] == "linuxproc"
    on_node1 = ["launch.time=30", "launch.signal_seconds=15", "launch.extra=['--gres=gpu:1','--nodelist=node1']"]
    longer = "if [ $SLURM_RESTART_COUNT ]; then scontrol update JobId=$SLURM_JOB_ID TimeLimit=30; fi"
    fault = with_fault(faulty, fault="pause", rank=-1, call=3)
    job = submit(compose(tmp_path, *on_node1, f"launch.setup=['{longer}']", fault=fault))
    until(lambda: steps_of(job) == [1, 2], job)
    minutes = int(job_states([job.job_id])[job.job_id].elapsed.partition(":")[0])
    cluster.ask("scontrol", "update", f"JobId={job.job_id}", f"TimeLimit={minutes + 1}")
    until(lambda: restarts_of(job) == 1, job)
    assert_resumed_equals_uninterrupted(job, tmp_path)


def test_a_job_that_lacks_memory_on_any_node_is_requeued_with_half_the_mini_batch(cluster, faulty, tmp_path):
    composition = compose(tmp_path, "launch.nodes=2", fault=with_fault(faulty, fault="memory", rank=1, call=3))
    job = submit(composition)
    result = result_of(job)
    assert_finished(result, job)
    assert restarts_of(job) == 1
    before = composition.experiment.loss.mini_batch_num_tokens
    assert result["halvings"] == [{"key": "mini_batch_num_tokens", "before": before, "after": before // 2}]
    assert f"loss.mini_batch_num_tokens={before // 2} in place of {before}" in job.log.read_text()


def assert_resumed_equals_uninterrupted(job: Job, folder: Path) -> None:
    result = result_of(job)
    assert_finished(result, job)
    assert restarts_of(job) == result["num_resumes"] == 1
    assert steps_of(job) == [1, 2, 3, 4, 5, 6]
    expected = run_in(folder / "here", *TINY)
    assert_losses_equal(job.run_dir, losses_of(folder / "here" / "run"), num_logged=6)
    assert result["final"] == pytest.approx(expected["final"], abs=1e-6)


def steps_of(job: Job) -> list[int]:
    return [step for step, _ in losses_of(job.run_dir)] if (job.run_dir / "metrics.jsonl").exists() else []


def restarts_of(job: Job) -> int:
    shown = subprocess.run(["scontrol", "show", "job", job.job_id], capture_output=True, text=True, check=True).stdout
    return int(shown.partition("Restarts=")[2].split()[0])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("launch.gpus_per_node=1", r"the driver of this node shows 0 \(CUDA_VISIBLE_DEVICES=[01]\)"),
        ("launch.extra=['--hold']", "was changed meanwhile, or nodes see different files"),
    ],
)
def test_what_a_node_refuses_reaches_the_user(cluster, tmp_path, override, words):
    composition = compose(tmp_path, override)
    job = submit(composition)
    if "hold" in override:
        file = composition.run_dir / "config.yaml"
        file.write_text(file.read_text().replace("seed: 42", "seed: 43"))
        cluster.ask("scontrol", "release", job.job_id)
    result = result_of(job)
    assert (result["status"], result["error"]["type"]) == ("failed", "ConfigError")
    assert re.search(words, result["error"]["message"])


def test_a_job_that_leaves_no_result_is_lost_with_what_it_printed(cluster, tmp_path):
    composition = compose(tmp_path, "launch.setup=['echo no such module','false']", "launch.wait=true")
    with pytest.raises(RunFailed, match=r"JobLost: job \d+: Slurm says FAILED \(NonZeroExitCode\)") as raised:
        composition.experiment.launch.launch(composition)
    assert raised.value.error["traceback"] == "no such module"
    assert json.loads((composition.run_dir / "result.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("launch.partition=nowhere", r"sbatch says: .*invalid partition specified: nowhere"),
        (
            "launch.memory=10T",
            r"sbatch says: .*(Memory specification|Requested node configuration)",
        ),
    ],
)
def test_a_job_that_slurm_rejects_is_refused_in_its_words(cluster, tmp_path, override, words):
    composition = compose(tmp_path, override)
    with pytest.raises(ConfigError, match=words):
        composition.experiment.launch.launch(composition)
    assert not list(composition.run_dir.glob("slurm*"))
