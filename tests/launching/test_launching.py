"""Runs in processes of their own: what is started, what a fault of one rank does, and how a job is stopped."""

from __future__ import annotations

import dataclasses
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mmexp.__main__ import CONF
from mmexp.composition import freeze, plain_config, thaw
from mmexp.launchers import accelerate
from mmexp.launchers.accelerate import Accelerate
from mmexp.launchers.engine import Engine
from mmexp.resume import resume
from mmexp.schema import ConfigError
from tests.launching.faulty_loss import config_dir
from tests.test_run import environment, experiment_of, losses_of, tiny_command

STEPS = ["trainer.eval_strategy=no", "trainer.save_strategy=no", "trainer.logging_steps=1", "trainer.max_steps=6"]
TWO_RANKS = ["launch=accelerate", "launch.num_processes=2", "trainer.per_device_train_batch_size=4"]


@pytest.fixture
def start(tmp_path):
    """Start a run with `loss=faulty`; what is left of its processes at the end is a failure of the test."""
    children = []

    def start(*overrides: str) -> subprocess.Popen:
        folder = config_dir(tmp_path / "conf")
        command = [*tiny_command(tmp_path / "out", *STEPS, "loss=faulty", *overrides), "--config-dir", str(folder)]
        with (tmp_path / "output").open("wb") as output:
            children.append(
                subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=output, stderr=subprocess.STDOUT)
            )
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()
    assert not ranks_of(tmp_path)


def ranks_of(folder: Path) -> list[psutil.Process]:
    """The processes that run, or watch over, a run below `folder`."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if "mmexp.rank" in command and any(str(folder) in word for word in command):
            found.append(process)
    return found


def run_dir_of(folder: Path) -> Path:
    [run_dir] = (folder / "out" / "vdr_tiny").iterdir()
    return run_dir


def wait_for_step(folder: Path, step: int) -> Path:
    deadline = time.monotonic() + 200
    while True:
        for run_dir in (folder / "out").glob("vdr_tiny/*"):
            if (run_dir / "metrics.jsonl").exists() and any(at >= step for at, _ in losses_of(run_dir)):
                return run_dir
        assert time.monotonic() < deadline, (folder / "output").read_text()
        time.sleep(0.05)


# -- what is started ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
def test_a_composition_is_read_as_it_was_written(name, tmp_path):
    missing = {
        "second_stage_tiny": ["model.checkpoint=a"],
        "two_stage": ["model.checkpoint=a", "two_stage.reranker.checkpoint=b"],
        "two_stage_tiny": ["model.checkpoint=a", "two_stage.reranker.checkpoint=b"],
        "vdr_folder": ["data.path=a"],
    }
    overrides = [f"+experiment={name}", "tracking=none", *missing.get(name, [])]
    written = freeze(experiment_of(tmp_path, *overrides), tmp_path, ["seed=1"])
    read = thaw(tmp_path, written.digest)
    assert plain_config(read.experiment) == plain_config(written.experiment)
    assert read.experiment == written.experiment
    assert (read.overrides, read.working_directory) == (["seed=1"], Path.cwd())


def test_words_that_look_like_another_key_stay_as_they_are(tmp_path):
    words = [r"source ${HOME}/.venv/bin/activate", r"echo \${HOME} \\${HOME}", r"a\b"]
    experiment = experiment_of(tmp_path, "tracking=none", "launch=slurm")
    launch = dataclasses.replace(experiment.launch, setup=words)
    written = freeze(dataclasses.replace(experiment, launch=launch), tmp_path, [f"launch.setup={words}"])
    read = thaw(tmp_path, written.digest)
    assert read.experiment.launch.setup == words
    assert read.overrides == written.overrides


def test_a_run_that_is_running_is_left_alone(tmp_path, monkeypatch):
    composition = freeze(experiment_of(tmp_path, "tracking=none", "launch=accelerate"), tmp_path, [])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    code = "import sys; from pathlib import Path; from mmexp.recording.run_files import hold_run; "
    code += "held = hold_run(Path(sys.argv[1])); print(flush=True); input()"
    held = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with held:
        held.stdout.readline()
        monkeypatch.setattr("sys.argv", ["resume", str(tmp_path), "launch=accelerate", "launch.num_processes=3"])
        with pytest.raises(SystemExit):
            resume()
        with pytest.raises(ConfigError, match="is being run by another process"):
            composition.experiment.launch.launch(composition)
        held.stdin.close()
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.name != ".lock"}
    assert after == before


def test_a_working_directory_that_is_gone_is_named(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    composition = freeze(experiment_of(tmp_path, "tracking=none"), tmp_path, [])
    (tmp_path / "gone").rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match=r"was started in .*gone, where its relative paths begin"):
        composition.enter()


def test_a_composition_that_changed_is_refused_by_its_ranks(tmp_path):
    digest = freeze(experiment_of(tmp_path, "tracking=none"), tmp_path, []).digest
    file = tmp_path / "config.yaml"
    file.write_text(file.read_text().replace("seed: 42", "seed: 43"))
    with pytest.raises(ConfigError, match="was changed meanwhile, or nodes see different files"):
        thaw(tmp_path, digest)
    with pytest.raises(ConfigError, match="on a file system that they share"):
        thaw(tmp_path / "elsewhere", digest)


def test_a_dry_run_prints_a_command_that_works_when_pasted(tmp_path):
    command = tiny_command(tmp_path, *STEPS, "trainer.max_steps=1", "launch.dry_run=true")
    printed = subprocess.run(command, cwd=tmp_path, env=environment(), check=True, capture_output=True, text=True)
    [run_dir] = (tmp_path / "vdr_tiny").iterdir()
    assert not (run_dir / "metrics.jsonl").exists()
    pasted = printed.stdout.splitlines()[-1]
    subprocess.run(pasted, shell=True, cwd="/", env=environment(), check=True, timeout=300, capture_output=True)
    assert json.loads((run_dir / "result.json").read_text())["status"] == "finished"


def test_accelerate_is_told_its_file_its_ranks_and_the_composition(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerate, "num_visible_gpus", lambda: 8)
    experiment = experiment_of(tmp_path, "tracking=none", "launch=accelerate", "launch/accelerate=zero2")
    composition = freeze(experiment, tmp_path, [])
    words = shlex.split(str(experiment.launch.command(composition)))
    assert words[words.index("--num_processes") + 1] == "8"
    assert Path(words[words.index("--config_file") + 1]).name == "zero2.yaml"
    assert words[-3:] == ["mmexp.rank", str(tmp_path), composition.digest]
    assert sys.executable in words


@pytest.mark.parametrize(
    ("launcher", "file", "message"),
    [
        (Accelerate(num_processes=4), None, r"launch\.num_processes=4 is more than the GPUs .* which are 2"),
        (Accelerate(num_processes=2), "num_processes: 8", r"says num_processes: 8, and launch says 2"),
        (Accelerate(), "num_machines: 2", r"says num_machines: 2, .* use launch=slurm for several nodes"),
        (Accelerate(), "distributed_type: MULTI_CPU", r"would start a single process\. Write MULTI_GPU"),
        (Accelerate(), "distributed_type: FSDP\nfsdp_config: {fsdp_version: 1}", r"FSDP version 1"),
        (Accelerate(), "mixed_precision: bf16", r"mixed_precision: bf16.*trainer\.bf16"),
        (Accelerate(), "[not accelerate's]", r"is no file of accelerate"),
    ],
)
def test_what_contradicts_the_machine_or_the_file_is_refused(tmp_path, monkeypatch, launcher, file, message):
    monkeypatch.setattr(accelerate, "num_visible_gpus", lambda: 2)
    content = file or ""
    if file is None or not file.startswith(("distributed_type", "[")):
        content = f"distributed_type: MULTI_GPU\n{content}\n"
    (tmp_path / "own.yaml").write_text(content)
    launcher.accelerate = Engine(config_file=str(tmp_path / "own.yaml"))
    with pytest.raises(ConfigError, match=message):
        launcher.command(freeze(experiment_of(tmp_path, "tracking=none"), tmp_path, []))


def test_a_file_of_ones_own_is_part_of_the_composition(tmp_path, monkeypatch):
    """What it says when the run is composed holds: it may change, or be gone, before the processes start."""
    monkeypatch.setattr(accelerate, "num_visible_gpus", lambda: 2)

    def composed(name: str, text: str):
        file, run_dir = tmp_path / "own.yaml", tmp_path / name
        run_dir.mkdir()
        file.write_text(text)
        keys = ["tracking=none", "launch=accelerate", f"launch.accelerate.config_file={file}"]
        composition = freeze(experiment_of(run_dir, *keys), run_dir, [])
        file.unlink()
        return composition

    first = composed("first", "distributed_type: MULTI_GPU\n")
    thawed = thaw(first.run_dir, first.digest)
    assert thawed.experiment.launch == first.experiment.launch
    words = thawed.experiment.launch.command(thawed).arguments
    file = Path(words[words.index("--config_file") + 1])
    assert file.parent == first.run_dir
    assert file.read_text() == "distributed_type: MULTI_GPU\n"
    other = composed("second", "distributed_type: DEEPSPEED\n")
    assert other.digest != first.digest
    assert (first.experiment.launch.engine, other.experiment.launch.engine) == ("ddp", "zero2")


def test_an_engine_that_cannot_be_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerate, "num_visible_gpus", lambda: 0)
    composition = freeze(experiment_of(tmp_path, "tracking=none"), tmp_path, [])
    for engine, message in (
        (Engine("fsdp2.yaml"), "needs GPUs, and none is visible"),
        (Engine("ddp.yaml", cpu_offload=True), "cannot be with DDP"),
        (Engine("zero9.yaml"), r"is no file\. Did you mean 'zero.*ddp\|fsdp2\|zero1\|zero2\|zero3"),
    ):
        with pytest.raises(ConfigError, match=message):
            Accelerate(num_processes=2, accelerate=engine).command(composition)
    with pytest.raises(ConfigError, match="is no number of processes"):
        Accelerate(num_processes="many")


# -- faults and stops --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [("raise", "ArithmeticError", "a fault to order"), ("killed", "Killed", "rank 1 was killed by SIGKILL")],
)
def test_a_failing_rank_ends_the_job_with_its_own_words(start, tmp_path, fault, kind, message):
    child = start(*TWO_RANKS, f"loss.fault={fault}", "loss.call=12")  # in step 3: each of 5 sizes is a call
    wait_for_step(tmp_path, 2)
    assert child.wait(30) == 1
    result = json.loads((run_dir_of(tmp_path) / "result.json").read_text())
    assert result["status"] == "failed"
    assert (result["error"]["rank"], result["error"]["type"], result["error"]["message"]) == (1, kind, message)
    printed = (tmp_path / "output").read_text()
    assert f"mmexp: rank 1 failed: {kind}: {message}" in printed
    assert fault == "killed" or "raise ArithmeticError" in result["error"]["traceback"]


def test_ranks_that_are_stopped_leave_a_checkpoint_that_one_process_continues(start, tmp_path):
    child = start(*TWO_RANKS, "loss.fault=slow", "loss.rank=-1", "loss.call=1")
    run_dir = wait_for_step(tmp_path, 2)
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) in {128 + signal.SIGTERM, 128 + signal.SIGUSR2}
    assert json.loads((run_dir / "result.json").read_text())["status"] == "preempted"
    [checkpoint] = (run_dir / "checkpoints").glob("checkpoint-*")
    assert int(checkpoint.name.removeprefix("checkpoint-")) >= 2

    resume = [sys.executable, "-m", "mmexp.resume", str(run_dir), "launch=in_process"]
    continued = subprocess.run(resume, cwd="/", env=environment(), timeout=300, capture_output=True, text=True)
    assert continued.returncode == 0, continued.stderr
    assert "was written by 2 processes, and there are 1 now. Each takes 8 rows in place of 4" in continued.stdout
    assert json.loads((run_dir / "result.json").read_text())["status"] == "finished"
    assert [step for step, _ in losses_of(run_dir)] == [1, 2, 3, 4, 5, 6]
    again = subprocess.run(resume, cwd="/", env=environment(), timeout=60, capture_output=True, text=True)
    assert "is finished: there is nothing to continue" in again.stderr


def test_a_parent_that_is_killed_leaves_no_rank_behind(start, tmp_path):
    child = start(*TWO_RANKS, "loss.fault=slow", "loss.rank=-1", "loss.call=1")
    wait_for_step(tmp_path, 1)
    assert len(ranks_of(tmp_path)) >= 2
    child.kill()
    child.wait()
    deadline = time.monotonic() + 10
    while ranks_of(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_ctrl_c_in_one_process_leaves_a_checkpoint(start, tmp_path):
    child = start("loss.fault=slow", "loss.rank=-1", "loss.call=1")
    run_dir = wait_for_step(tmp_path, 2)
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 128 + signal.SIGINT
    assert json.loads((run_dir / "result.json").read_text())["status"] == "preempted"
    assert list((run_dir / "checkpoints").glob("checkpoint-*"))
