"""The folder of a sweep: what is run when it is called again, with members that only pretend to run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmexp.__main__ import main
from mmexp.composition import Composition, thaw
from mmexp.dashboard.identity import identify
from mmexp.launchers import Launcher
from mmexp.launchers.slurm import Slurm
from mmexp.processes.interruption import Preempted
from mmexp.recording.status import outcome
from mmexp.schema import ConfigError
from mmexp.slurm.jobs import Job
from mmexp.statistics.means import estimates
from mmexp.sweep.folder import INDEX, Asked, SweepFolder
from tests.compare.run_folders import write_scores
from tests.test_run import experiment_of

FINISHED = {
    "status": "finished",
    "primary_metric": "ndcg@10",
    "baseline": {"ndcg@10": 0.2},
    "final": {"ndcg@10": 0.5},
    "delta": 0.3,
    "seconds": {"setup": 36.0, "train": 324.0},
    "error": None,
}
FAILED = {"status": "failed", "seconds": {}, "error": {"type": "OSError", "message": "no\nspace", "traceback": "..."}}


LAUNCH_MEMBERS = Launcher.launch_members


class Pretended:
    """In place of a launcher: notes what is started, and leaves the result that the test says by label."""

    def __init__(self) -> None:
        self.started: list[list[str]] = []
        self.compositions: dict[str, Composition] = {}
        self.results: dict[str, dict | None] = {}

    def launch_members(self, launcher: Launcher, members: list[Composition], at_once: int, queued: list) -> list:
        labels = [member.run_dir.name.rpartition("-")[0] for member in members]
        self.started.append(labels)
        self.compositions |= dict(zip(labels, members, strict=True))
        for name, member in zip(labels, members, strict=True):
            assert json.loads((member.run_dir.parent / INDEX).read_text())["members"]  # listed before any starts
            result = self.results.get(name, FINISHED)
            if result is not None:
                (member.run_dir / "result.json").write_text(json.dumps({**result, "halvings": member.halvings}))
        return [self.results.get(name, FINISHED) for name in labels]


@pytest.fixture
def runs(monkeypatch) -> Pretended:
    pretended = Pretended()
    launch_members = pretended.launch_members
    monkeypatch.setattr(Launcher, "launch_members", lambda *given: launch_members(*given))
    return pretended


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A member by its seed, composed once."""
    made: dict[tuple, Asked] = {}

    def ask(seed: int, *more: str) -> Asked:
        overrides = ["+experiment=vdr_tiny", f"seed={seed}", *more]
        if (seed, *more) not in made:
            made[seed, *more] = Asked(experiment_of(Path("x"), *overrides), overrides, {"seed": str(seed)})
        return made[seed, *more]

    return ask


@pytest.fixture
def call(tmp_path):
    """Call a sweep, as a process of its own would."""

    def run(*members: Asked) -> list[float | None]:
        folder = SweepFolder.open(tmp_path)
        try:
            return folder.run(members)
        finally:
            folder.close()

    return run


def index(path: Path) -> dict[str, dict]:
    return {str(row["parameters"]["seed"]): row for row in json.loads((path / INDEX).read_text())["members"]}


def test_a_larger_grid_runs_only_its_new_members(runs, asked, call, tmp_path):
    assert call(asked(1), asked(2)) == [0.5, 0.5]
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("seed=*/*")}
    assert call(asked(1), asked(2), asked(3)) == [0.5, 0.5, 0.5]
    assert runs.started == [["seed=1", "seed=2"], ["seed=3"]]
    assert before == {file: file.stat().st_mtime_ns for file in before}
    assert list(index(tmp_path)) == ["1", "2", "3"]


def test_a_member_is_the_same_whatever_it_is_called(runs, asked, call, tmp_path):
    call(asked(1))
    (tmp_path / INDEX).unlink()
    call(Asked(asked(1).experiment, asked(1).overrides, {}))
    assert runs.started == [["seed=1"]]
    [folder] = tmp_path.glob("*-*")
    assert folder.name.startswith("seed=1-")


def test_failed_and_interrupted_members_are_run_again_and_finished_ones_are_not(runs, asked, call, tmp_path):
    runs.results = {"seed=2": FAILED, "seed=3": None}
    metrics = call(asked(1), asked(2), asked(3))
    assert metrics == [0.5, None, None]
    found = index(tmp_path)
    assert [row["status"] for row in found.values()] == ["finished", "failed", "waiting"]
    assert (found["1"]["baseline"], found["1"]["final"], found["1"]["delta"], found["1"]["hours"]) == (
        0.2,
        0.5,
        0.3,
        0.1,
    )
    assert found["2"]["error"] == {"type": "OSError", "message": "no\nspace"}
    runs.results = {}
    folder = SweepFolder.open(tmp_path)
    folder.go_on(None, None)
    folder.close()
    assert runs.started[1:] == [["seed=2", "seed=3"]]
    assert {row["status"] for row in index(tmp_path).values()} == {"finished"}


def test_what_a_member_has_come_to_is_said_with_intervals_also_in_sweep_json(runs, asked, call, tmp_path):
    intervals = {"baseline": [0.1, 0.3], "final": [0.41, 0.59], "delta": [0.2, 0.4]}
    runs.results = {"seed=1": {**FINISHED, "intervals": intervals}}
    call(asked(1))
    assert index(tmp_path)["1"]["intervals"] == intervals
    words = outcome(runs.results["seed=1"])
    assert words == "finished, ndcg@10 0.5000 [0.4100, 0.5900] (+0.3000 [+0.2000, +0.4000])"
    # Of a run from before they were kept.
    assert outcome(FINISHED) == "finished, ndcg@10 0.50, interval not known (+0.30, interval not known)"


def test_a_member_goes_on_where_it_is_asked_to_and_as_it_began(runs, asked, call, tmp_path):
    runs.results = {"seed=1": FAILED}
    call(asked(1))
    call(asked(1, "launch=accelerate", "launch.num_processes=2", "tracking=none"))
    [first, second] = runs.started
    assert first == second
    experiment = thaw(runs.compositions["seed=1"].run_dir).experiment
    assert experiment.launch.num_processes == 2
    assert experiment.tracking.trackio is False
    folder = SweepFolder.open(tmp_path)
    folder.go_on(None, at_once=4)
    folder.close()
    experiment = runs.compositions["seed=1"].experiment
    assert (experiment.sweep.at_once, experiment.launch.num_processes) == (4, 2)


def test_a_member_that_lacked_memory_goes_on_with_half_the_mini_batch(runs, asked, call):
    runs.results = {
        "seed=1": {**FAILED, "error": {"type": "OutOfMemoryError", "message": "CUDA"}, "seconds": {"train": 1}}
    }
    call(asked(1))
    call(asked(1))
    call(asked(1))
    composition = runs.compositions["seed=1"]
    assert composition.experiment.loss.mini_batch_num_tokens == 1024
    assert [halving["after"] for halving in composition.halvings] == [2048, 1024]


def job_of_seed(tmp_path: Path, seed: int, job_id: str) -> Job:
    [run_dir] = tmp_path.glob(f"seed={seed}-*")
    job = Job(job_id, run_dir, run_dir / "log")
    job.write()
    return job


def test_members_that_slurm_has_are_left_to_it_and_to_no_other_launcher(runs, asked, call, tmp_path, monkeypatch):
    runs.results = {"seed=1": FAILED}
    call(asked(1))
    job = job_of_seed(tmp_path, 1, "12_0")
    questions = []

    def going_on(run_dirs):
        questions.append(len(run_dirs))
        return [job]

    monkeypatch.setattr("mmexp.sweep.folder.jobs_that_go_on", going_on)
    monkeypatch.setattr(Launcher, "launch_members", LAUNCH_MEMBERS)
    with pytest.raises(ConfigError, match=r"1 members .* Keep launch=slurm, or first: scancel 12_0"):
        call(asked(1), asked(2), asked(3))
    assert questions == [3]
    assert list(index(tmp_path)) == ["1"]

    given = []
    monkeypatch.setattr(Slurm, "launch_members", lambda launcher, *found: given.append((launcher, *found)))
    slurm = ["launch=slurm", "sweep.at_once=3"]
    call(asked(1, *slurm), asked(2, *slurm))
    [(launcher, [member], at_once, queued)] = given
    assert (launcher, at_once, queued) == (asked(2, *slurm).experiment.launch, 3, [job])
    assert member.run_dir.name.startswith("seed=2-")


@pytest.mark.parametrize(
    ("overrides", "waits"),
    [
        ([], True),
        (["launch.dry_run=true"], False),
        (["launch=slurm"], False),
        (["launch=slurm", "launch.wait=true"], True),
    ],
)
def test_a_sweeper_that_needs_results_is_refused_before_anything_is_submitted(asked, overrides, waits):
    one = asked(1, *overrides)
    from hydra_plugins.mmexp_launcher import MembersLauncher

    started = []
    launcher = MembersLauncher()
    launcher._optimises, launcher._compose = True, lambda overrides: one
    launcher._folder = SimpleNamespace(run=lambda members: started.append(members) or [0.5])
    if waits:
        assert launcher.launch([["seed=1"]], 0)[0].return_value == 0.5
    else:
        with pytest.raises(ConfigError, match=r"launch\.wait=true"):
            launcher.launch([["seed=1"]], 0)
    assert started == ([[one]] if waits else [])


def test_where_slurm_cannot_be_asked_a_sweep_goes_on_with_a_warning(runs, asked, call, tmp_path, monkeypatch, caplog):
    runs.results = {"seed=1": FAILED}
    call(asked(1))
    job_of_seed(tmp_path, 1, "12_0")
    monkeypatch.setenv("PATH", "/nowhere")
    runs.results = {}
    assert call(asked(1)) == [0.5]
    assert "no squeue here" in caplog.text
    assert "12_0" in caplog.text


def test_members_that_differ_in_nothing_that_counts_are_refused_before_any_starts(runs, asked, call, tmp_path):
    one = asked(1)
    other = Asked(one.experiment, one.overrides, {"launch": "accelerate"})
    with pytest.raises(ConfigError, match=r"seed=1 and launch=accelerate are one and the same member"):
        call(one, other)
    assert call(one, one) == [0.5, 0.5]  # a sweeper may well propose a member twice
    assert runs.started == [["seed=1"]]


def test_what_cannot_be_started_leaves_nothing(runs, asked, call, tmp_path, monkeypatch):
    call(asked(1))

    def refuse(*given):
        raise ConfigError("sweep.at_once=9 is more than the cores")

    monkeypatch.setattr(Launcher, "launch_members", refuse)
    with pytest.raises(ConfigError):
        call(asked(1), asked(2))
    assert list(index(tmp_path)) == ["1"]
    assert [path.name[:6] for path in tmp_path.glob("seed=*")] == ["seed=1"]


def test_what_was_submitted_stays_whatever_fails_after(runs, asked, call, tmp_path, monkeypatch):
    def submit(launcher, members, *more):
        (members[0].run_dir / "slurm.json").write_text("{}")
        raise ConfigError("Slurm has not answered for 10 minutes")

    monkeypatch.setattr(Launcher, "launch_members", submit)
    with pytest.raises(ConfigError):
        call(asked(1), asked(2))
    assert list(index(tmp_path)) == ["1"]


@pytest.mark.parametrize(("has_begun", "code"), [(False, 2), (True, 1)])
def test_an_error_of_a_sweep_that_has_begun_is_no_folder_that_cannot_be_made(
    runs, asked, call, monkeypatch, capsys, has_begun, code
):
    def fail():
        if has_begun:
            call(asked(1))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SweepFolder, "opened", None)
    monkeypatch.setattr("hydra.main", lambda **options: lambda function: fail)
    monkeypatch.setattr("sys.argv", ["mmexp"])
    monkeypatch.setattr("mmexp.sweep.folder.SweepFolder.conclude", lambda folder: None)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == code
    assert ("the run folder cannot be made" in capsys.readouterr().err) is not has_begun


def test_a_sweep_that_was_asked_to_stop_says_how_to_go_on(runs, asked, call, tmp_path, capsys, monkeypatch):
    def stop(*given):
        raise Preempted(128 + 2)

    monkeypatch.setattr(Launcher, "launch_members", stop)
    with pytest.raises(Preempted) as raised:
        call(asked(1))
    assert raised.value.code == 130
    assert f"python -m mmexp.resume {tmp_path}" in capsys.readouterr().err
    assert index(tmp_path)["1"]["status"] == "waiting"


def test_the_end_shows_every_member_and_fails_where_one_has(runs, asked, call, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    scores = [0.0, 0.5, 1.0, 0.5]
    runs.results = {"seed=1": {**FINISHED, "by_dim": {"128": {"final": {"ndcg@10": 0.5}}}}, "seed=2": FAILED}
    call(asked(1), asked(2))
    [finished] = tmp_path.glob("seed=1-*")
    write_scores(finished / "per_query" / "final.parquet", "dim", {128: scores}, None)
    with pytest.raises(SystemExit) as ended:
        SweepFolder.opened.conclude()
    assert ended.value.code == 1
    shown = capsys.readouterr()
    [interval] = estimates([np.array([scores])])
    assert f"0.5000 [{interval.low:.4f}, {interval.high:.4f}]" in shown.out  # never without its interval
    assert "One seed each" in shown.out
    rows = [line.replace("│", " ").split() for line in shown.out.splitlines() if "│" in line]
    assert rows[-1][1:] == ["failed", "OSError:", "no", "space"]
    assert "seed=2-" in shown.err
    assert "failed: OSError: no space" in shown.err


def test_the_dashboard_groups_members_by_their_sweep_with_flat_parameters(runs, asked, call, tmp_path):
    call(Asked(asked(1).experiment, asked(1).overrides, {"loss.scale": "20", "seed": "1"}))
    composition = runs.compositions["loss.scale=20__seed=1"]
    identity = identify(composition.run_dir, composition.experiment, {"model": {}, "data": {}})
    assert identity["group"] == f"{tmp_path.parent.name}__{tmp_path.name}"
    assert (identity["config"]["loss.scale"], identity["config"]["seed"]) == (20, 1)
    single = tmp_path / "single"
    single.mkdir()
    assert identify(single, composition.experiment, {"model": {}, "data": {}})["group"] == "vdr_tiny"
