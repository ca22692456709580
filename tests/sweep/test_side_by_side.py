"""Members side by side: who starts when, with what, and what asking to stop does. The children only pretend."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmexp.composition import freeze
from mmexp.processes.interruption import Preempted
from mmexp.schema import ConfigError
from mmexp.sweep import side_by_side
from mmexp.sweep.side_by_side import OUTPUT, SideBySide
from mmexp.tracking import EnergyMode, Tracking
from tests.test_run import experiment_of

FINISHED = {"status": "finished", "primary_metric": "ndcg@10", "final": {"ndcg@10": 0.5}}
NO_MEMORY = {"status": "failed", "seconds": {"train": 1}, "error": {"type": "OutOfMemoryError", "message": "CUDA"}}
PREEMPTED = {"status": "preempted", "error": {"type": "Preempted", "message": "SIGUSR2: the run was asked to stop"}}


class Children:
    """In place of processes: each takes some polls, and ends with what the test says."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.environments: list[dict[str, str | None]] = []
        self.running = 0
        self.most_at_once = 0
        self.results: dict[str, list[dict]] = {}

    def start(self, command, composition, output=None):
        children, name = self, composition.run_dir.name

        class Child:
            polls = 3

            def poll(self) -> int | None:
                self.polls -= 1
                return 0 if self.polls <= 0 else None

            def result(self) -> dict:
                children.running -= 1
                result = children.results.get(name, [FINISHED]).pop(0) if children.results.get(name) else FINISHED
                (composition.run_dir / "result.json").write_text(json.dumps(result))
                children.events.append(f"{name} {result['status']}")
                return result

            def ask_to_stop(self, number: int) -> None:
                children.events.append(f"{name} asked")
                children.results[name] = [PREEMPTED]

            def end(self) -> None:
                children.events.append(f"{name} ended")

        if output is not None:
            output.write(b"started\n")
        self.events.append(f"{name} started")
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        of_child = {"gpus": os.environ.get("CUDA_VISIBLE_DEVICES"), "command": str(command)}
        self.environments.append({**of_child, "booked": Tracking().booked})
        return Child()


@pytest.fixture
def children(monkeypatch) -> Children:
    pretended = Children()
    monkeypatch.setattr(side_by_side, "Child", pretended.start)
    monkeypatch.setattr(side_by_side.time, "sleep", lambda seconds: None)
    monkeypatch.setattr("mmexp.sweep.shares.os.sched_setaffinity", lambda pid, cores: None)
    return pretended


@pytest.fixture
def gpus(monkeypatch) -> None:
    """Four GPUs, of which a process sees those that CUDA_VISIBLE_DEVICES names."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setattr("mmexp.sweep.shares.visible_gpu_names", visible)
    monkeypatch.setattr("mmexp.launchers.accelerate.num_visible_gpus", lambda: len(visible()))


def visible() -> list[str]:
    return os.environ["CUDA_VISIBLE_DEVICES"].split(",")


@pytest.fixture(scope="module")
def experiment():
    return experiment_of(Path("x"), "+experiment=vdr_tiny", "launch=accelerate")


@pytest.fixture
def members(experiment, tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
    return [freeze(experiment, tmp_path / name, []) for name in "abc"]


def test_one_after_another_with_the_terminal(children, members, experiment):
    results = SideBySide(members, at_once=1).run()
    assert [event for event in children.events if "started" in event] == ["a started", "b started", "c started"]
    assert children.most_at_once == 1
    assert results == [FINISHED] * 3
    assert not list(members[0].run_dir.glob(OUTPUT))


def test_side_by_side_with_a_share_of_the_gpus_and_a_log_of_its_own(gpus, children, members, experiment):
    children.results = {"b": [{"status": "failed", "error": {"type": "OSError", "message": "no space"}}]}
    results = SideBySide(members, at_once=2).run()
    assert children.most_at_once == 2
    assert [result["status"] for result in results] == ["finished", "failed", "finished"]
    assert {environment["gpus"] for environment in children.environments} == {"0,1", "2,3"}
    # A launcher counts the GPUs of the share, not those of the machine.
    assert all("--num_processes 2" in environment["command"] for environment in children.environments)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
    assert {environment["booked"] for environment in children.environments} == {EnergyMode.process}
    assert all("energy_mode: machine" in (member.run_dir / "config.yaml").read_text() for member in members)
    assert all((member.run_dir / OUTPUT).read_text() == "started\n" for member in members)


def launched_with(folder: Path, *overrides: str):
    """A member of a sweep that varies where its members run."""
    folder.mkdir()
    return freeze(experiment_of(folder, "+experiment=vdr_tiny", *overrides), folder, [])


def test_members_that_differ_in_where_they_run_each_run_there(gpus, children, tmp_path):
    counts = {"a": 1, "b": 2, "c": 4}
    members = [
        launched_with(tmp_path / name, "launch=accelerate", f"launch.num_processes={count}")
        for name, count in counts.items()
    ]
    SideBySide(members, at_once=1).run()
    commands = [environment["command"] for environment in children.environments]
    assert "accelerate" not in commands[0]  # one process needs no launcher
    assert "--num_processes 2" in commands[1]
    assert "--num_processes 4" in commands[2]
    submitted = launched_with(tmp_path / "d", "launch=slurm")
    with pytest.raises(ConfigError, match=r"d is to be submitted, and other members .* run on this machine"):
        members[0].experiment.launch.launch_members([*members, submitted], at_once=1)


def test_what_a_share_cannot_run_is_refused_before_any_starts(gpus, children, members, tmp_path):
    too_many = launched_with(tmp_path / "d", "launch=accelerate", "launch.num_processes=3")
    with pytest.raises(
        ConfigError, match=r"launch\.num_processes=3 is more than the GPUs that are visible, which are 2"
    ):
        SideBySide([*members, too_many], at_once=2)
    assert children.events == []


def test_a_member_without_memory_starts_again_with_half_the_mini_batch(children, members, experiment):
    children.results = {"a": [NO_MEMORY, NO_MEMORY | {"halvings": [{"key": "mini_batch_num_tokens"}]}]}
    results = SideBySide(members[:1], at_once=1).run()
    assert children.events == ["a started", "a failed", "a started", "a failed", "a started", "a finished"]
    assert results == [FINISHED]
    assert "mini_batch_num_tokens: 1024" in (members[0].run_dir / "config.yaml").read_text()


def test_asked_to_stop_those_that_run_write_a_checkpoint_and_no_other_starts(
    gpus, children, members, experiment, monkeypatch
):
    polls = iter(range(100))

    def sleep(seconds: float) -> None:
        if next(polls) == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(side_by_side, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    with pytest.raises(Preempted) as raised:
        SideBySide(members, at_once=2).run()
    assert raised.value.code == 143
    assert sorted(children.events) == sorted(
        f"{name} {event}" for name in "ab" for event in ("started", "asked", "preempted")
    )


def test_asked_twice_they_end_at_once(children, members, experiment, monkeypatch):
    # Not time.sleep itself: threads of libraries that sleep would send the signal at any time.
    clock = SimpleNamespace(sleep=lambda seconds: os.kill(os.getpid(), signal.SIGINT), monotonic=time.monotonic)
    monkeypatch.setattr(side_by_side, "time", clock)
    with pytest.raises(Preempted) as raised:
        SideBySide(members, at_once=1).run()
    assert raised.value.code == 130
    assert "a ended" in children.events
    assert "b started" not in children.events
