"""The record of a run: complete however it ends, resumable, and shown in Trackio without a network."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mmexp.composition import Composition
from mmexp.evaluation.evaluate import DimReport
from mmexp.evaluation.reranking import DirectionReport
from mmexp.recording.energy import Energy
from mmexp.recording.environment import git_state
from mmexp.recording.ledger import Ledger
from mmexp.recording.record import Record
from mmexp.recording.result import intervals
from mmexp.schema import ConfigError
from mmexp.statistics.means import estimates, gains
from tests.test_run import experiment_of

METRICS = {"ndcg@10": 0.5, "mrr@10": 0.4}


def by_dim(metrics: dict[int, dict[str, float]]) -> DimReport:
    return DimReport(metrics, per_query={}, rankings={})


def record_in(folder: Path, *overrides: str) -> Record:
    folder.mkdir(exist_ok=True)
    experiment = experiment_of(folder, "+experiment=vdr_tiny", "tracking=none", *overrides)
    return Record(Composition(experiment, folder, ["seed=1"], Path.cwd()))


def lines_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_phase_within_a_phase_interrupts_the_outer_one(tmp_path):
    with record_in(tmp_path) as record:
        with record.phase("train"):
            time.sleep(0.05)
            with record.phase("evaluation"):
                time.sleep(0.3)
            time.sleep(0.05)
        assert 0.1 <= record.seconds("train") < 0.25
        assert 0.3 <= record.seconds("evaluation") < 0.45


def test_a_finished_run_has_its_results_and_logs_final_once(tmp_path):
    with record_in(tmp_path) as record:
        metric = record.finish(
            by_dim({8: {"ndcg@10": 0.2}, 4: {"ndcg@10": 0.1}}), by_dim({8: METRICS, 4: METRICS}), None, 123
        )
        assert not (tmp_path / "result.json").exists()  # written last
    assert metric == 0.5
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["by_dim"]["4"] == {"baseline": {"ndcg@10": 0.1}, "final": METRICS}
    assert (result["baseline"], result["final"], result["peak_memory_bytes"]) == ({"ndcg@10": 0.2}, METRICS, 123)
    assert result["delta"] == pytest.approx(0.3)
    final = [line for line in lines_of(tmp_path) if "final/ndcg@10" in line["metrics"]]
    assert len(final) == 1
    assert final[0]["metrics"]["final/delta"] == pytest.approx(0.3)


def test_a_finished_run_says_what_its_scores_may_be_off_by(tmp_path):
    before, after = np.array([0.0, 0.5, 0.0, 1.0, 0.5]), np.array([1.0, 0.5, 1.0, 1.0, 0.63])
    small = {"ndcg@10": np.zeros(5)}
    stages = [DimReport({8: METRICS, 4: METRICS}, {8: {"ndcg@10": s}, 4: small}, {}) for s in (before, after)]
    with record_in(tmp_path) as record:
        record.finish(*stages)
    expected = [*estimates([before[None]]), *estimates([after[None]]), *gains([after[None]], [before[None]])]
    found = json.loads((tmp_path / "result.json").read_text())["intervals"]
    assert found == {
        name: [one.low, one.high] for name, one in zip(("baseline", "final", "delta"), expected, strict=True)
    }
    assert intervals(None, by_dim({8: METRICS})) == {"baseline": None, "final": None, "delta": None}


def test_the_interval_of_a_reranker_is_around_its_mean_over_directions():
    scores = {"text_to_image": [1.0, 0.0, 0.0, 0.0], "image_to_text": [1.0, 1.0, 0.5, 0.0, 1.0, 1.0]}
    per_query = {name: [{"ndcg@10": score} for score in of_direction] for name, of_direction in scores.items()}
    metrics = {name: {"ndcg@10": float(np.mean(of_direction))} for name, of_direction in scores.items()}
    report = DirectionReport(metrics, per_query, {})
    assert report.full["ndcg@10"] == 0.5
    values, strata = report.sample("ndcg@10")
    [estimate] = estimates([values[None]], strata)
    assert estimate.mean == pytest.approx(0.5)
    assert intervals(None, report)["final"] == (estimate.low, estimate.high)
    assert estimate.low < 0.5 < estimate.high


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("boom"), "failed"), (KeyboardInterrupt(), "preempted")], ids=["error", "ctrl-c"]
)
def test_a_run_that_does_not_finish_says_why(tmp_path, error, status):
    with pytest.raises(type(error)), record_in(tmp_path) as record:
        record.log({"train/loss": 1.0}, step=1)
        raise error
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == status
    assert result["error"]["type"] == type(error).__name__
    assert "Traceback" in result["error"]["traceback"]


def test_numbers_that_json_has_no_word_for_are_null(tmp_path):
    with record_in(tmp_path) as record:
        record.log({"train/loss": float("nan"), "train/grad_norm": float("inf")}, step=1)
    assert lines_of(tmp_path)[0]["metrics"]["train/loss"] is None
    assert lines_of(tmp_path)[0]["metrics"]["train/grad_norm"] is None


def test_a_resumed_run_carries_its_totals_on_and_repeats_no_step(tmp_path):
    with pytest.raises(KeyboardInterrupt), record_in(tmp_path) as record:
        with record.phase("train"):
            time.sleep(0.2)
            record.samples_seen = 64
            record.log({"train/loss": 1.0}, step=1)
            record.log({"train/loss": 0.9}, step=2)
        raise KeyboardInterrupt
    with record_in(tmp_path) as record:
        assert not (tmp_path / "result.json").exists()
        with record.phase("train"):
            record.log({"train/loss": 0.9}, step=2)
            record.log({"train/loss": 0.8}, step=3)
        assert record.seconds("train") >= 0.2
        record.finish(None, by_dim({8: METRICS}))
    lines = lines_of(tmp_path)
    assert [line["step"] for line in lines if "train/loss" in line["metrics"]] == [1, 2, 3]
    resumed = next(line for line in lines if line["step"] == 3)
    assert resumed["metrics"]["x/samples_seen"] == 64
    assert json.loads((tmp_path / "result.json").read_text())["num_resumes"] == 1


def test_time_after_the_last_row_of_an_interrupted_run_is_carried_on(tmp_path):
    with pytest.raises(KeyboardInterrupt), record_in(tmp_path) as record, record.phase("train"):
        record.log({"train/loss": 1.0}, step=1)
        time.sleep(0.3)
        raise KeyboardInterrupt
    with record_in(tmp_path) as record:
        assert record.seconds("train") >= 0.3


def test_a_line_cut_off_by_a_kill_is_left_out_and_the_run_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt), record_in(tmp_path) as record:
        record.log({"train/loss": 1.0}, step=1)
        raise KeyboardInterrupt
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"time": "20')
    with record_in(tmp_path) as record:
        record.log({"train/loss": 0.9}, step=2)
    assert [line["step"] for line in lines_of(tmp_path) if line["metrics"]] == [1, 2]


def test_results_are_logged_once_also_when_the_run_is_interrupted_after_them(tmp_path):
    with pytest.raises(KeyboardInterrupt), record_in(tmp_path) as record:
        record.log({"train/loss": 1.0}, step=7)
        record.finish(None, by_dim({8: METRICS}))
        raise KeyboardInterrupt
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["status"], result["final"]) == ("finished", METRICS)
    with record_in(tmp_path) as record:
        record.finish(None, by_dim({8: METRICS}), {"samples_per_second": 3.0})
    final = [line["step"] for line in lines_of(tmp_path) if "final/ndcg@10" in line["metrics"]]
    assert final == [7]


def test_numbers_of_numpy_and_torch_are_logged(tmp_path):
    import numpy
    import torch

    with record_in(tmp_path) as record:
        record.log({"a": numpy.float32(0.5), "b": torch.tensor(2)}, step=1)
    metrics = lines_of(tmp_path)[0]["metrics"]
    assert (metrics["a"], metrics["b"]) == (0.5, 2.0)


def test_other_ranks_than_the_first_keep_time_and_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "3")
    with record_in(tmp_path) as record:
        with record.phase("train"):
            time.sleep(0.05)
        record.log({"train/loss": 1.0}, step=1)
        assert record.seconds("train") >= 0.05
        assert record.finish(None, by_dim({8: METRICS})) == 0.5
    assert list(tmp_path.iterdir()) == []


def test_energy_of_a_phase_within_a_phase_counts_once():
    readings = iter([0.0, 1.0, 3.0, 7.0, 15.0])
    ledger = Ledger(lambda: Energy(gpu_kwh=next(readings)))
    with ledger.phase("train"), ledger.phase("evaluation"):
        pass
    assert ledger.energy is not None
    assert {phase: energy.gpu_kwh for phase, energy in ledger.energy.items()} == {
        "setup": 1.0,
        "train": 2.0 + 8.0,
        "evaluation": 4.0,
    }


def test_energy_is_unknown_rather_than_too_small_once_it_cannot_be_read():
    readings = iter([Energy(), Energy(cpu_kwh=1.0), None])
    ledger = Ledger(lambda: next(readings))
    ledger.book()
    assert ledger.cost()["x/energy_kwh"] == 1.0
    ledger.book()
    assert ledger.totals()["energy"] is None
    assert "x/energy_kwh" not in ledger.cost()
    assert Ledger(lambda: Energy(), carried=ledger.totals()).energy is None


def test_a_run_that_failed_before_its_first_row_can_be_started_again_in_its_folder(tmp_path):
    with pytest.raises(ValueError, match="no such data"), record_in(tmp_path):
        raise ValueError("no such data")
    with record_in(tmp_path, "data.num_negatives=0") as record:
        record.finish(None, by_dim({8: METRICS}))
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "finished"


def test_energy_that_cannot_be_measured_leaves_no_run_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("codecarbon.OfflineEmissionsTracker._ensure_hardware_ready", lambda self: 1 / 0)
    record = record_in(tmp_path, "tracking.codecarbon=true", "tracking.grid=ESP")
    with pytest.raises(ConfigError, match="CodeCarbon did not start"), record:
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    record = record_in(tmp_path / "run")
    (tmp_path / "run").rmdir()
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot be written to.*output_root=\.\.\."), record:
        pass


def log_five_rows(folder: Path) -> None:
    with record_in(folder) as record, record.phase("train"):
        for step in range(1, 6):
            record.log({"train/loss": 1.0}, step=step)
        time.sleep(60)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_every_logged_row_survives_a_kill_and_sigterm_leaves_a_result(tmp_path, sent):
    child = multiprocessing.get_context("fork").Process(target=log_five_rows, args=(tmp_path,))
    child.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "metrics.jsonl").exists() or len(lines_of(tmp_path)) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert child.pid is not None
    os.kill(child.pid, sent)
    child.join(30)
    assert child.exitcode == (128 + sent if sent == signal.SIGTERM else -sent)
    assert [line["step"] for line in lines_of(tmp_path) if line["metrics"]] == [1, 2, 3, 4, 5]
    if sent == signal.SIGTERM:
        assert json.loads((tmp_path / "result.json").read_text())["status"] == "preempted"
    else:
        assert not (tmp_path / "result.json").exists()


TRACKIO = """
import json, os, shutil, signal, sys
from pathlib import Path
import pytest, trackio
from trackio.sqlite_storage import SQLiteStorage
from mmexp.dashboard.identity import run_name
from mmexp.trackio_view import rebuild
from tests.test_run import experiment_of
from mmexp.composition import Composition
from mmexp.evaluation.evaluate import DimReport
from mmexp.recording.record import Record

folder = Path(sys.argv[1])
overrides = ["+experiment=vdr_tiny", "tracking.codecarbon=false", "tracking.project=test"]

def record(*more):
    folder.mkdir(parents=True, exist_ok=True)
    return Record(Composition(experiment_of(folder, *overrides, *more), folder, overrides, Path.cwd()))

def shown():
    runs = list(trackio.Api().runs("test"))
    rows = [SQLiteStorage.get_logs("test", run.name, run_id=run.id) for run in runs]
    return runs, [[{k: v for k, v in row.items() if k != "timestamp"} for row in of_run] for of_run in rows]

with pytest.raises(KeyboardInterrupt), record() as first:
    first.log({"eval/ndcg@10": 0.1}, step=0)
    first.log({"train/loss": float("nan"), "train/grad_norm": 1.0}, step=1)
    raise KeyboardInterrupt
# As after kill -9: what Trackio had not written yet is in the folder alone.
line = json.loads((folder / "metrics.jsonl").read_text().splitlines()[1])
line["step"] = 2
with (folder / "metrics.jsonl").open("a") as stream:
    stream.write(json.dumps(line) + chr(10))

with record() as resumed:
    resumed.log({"train/grad_norm": 1.0}, step=2)
    resumed.log({"train/grad_norm": 0.5}, step=3)
    resumed.finish(DimReport({8: {"ndcg@10": 0.1}}, {}, {}), DimReport({8: {"ndcg@10": 0.5}}, {}, {}))

[run], [rows] = shown()
assert run.name == run_name(folder), run.name
assert run.id == json.loads((folder / "result.json").read_text())["trackio"]["run_id"]
assert run.config["num_negatives"] == 1 and run.config["experiment"] == "vdr_tiny" and run.config["cfg"]["seed"] == 42
assert [row["step"] for row in rows] == [0, 1, 2, 3, 3], rows
assert all("x/hours" in row and "x/samples_seen" in row for row in rows)
assert [row["final/delta"] for row in rows if "final/ndcg@10" in row] == [0.4]
rebuild(folder)
assert shown()[1] == [rows]

shutil.rmtree(folder)
member = {"hash": "abc", "folder": folder.name, "overrides": [], "parameters": {"loss.scale": 7}}
(folder.parent / "sweep.json").write_text(json.dumps({"members": [member]}))
with record() as anew:
    anew.log({"train/loss": 1.0}, step=1)
runs, rows = shown()
assert sorted(map(len, rows)) == [1, 5], rows
assert {run.config["_Group"] for run in runs} == {"vdr_tiny", "multirun__vdr_tiny"}
assert {run.config.get("loss.scale") for run in runs} == {None, 7}
print("same")
"""


def test_trackio_shows_the_run_locally_and_is_rebuilt_from_the_folder(tmp_path):
    """One run is one run in the dashboard: resumed after a kill, rebuilt, and apart from another one of its name.

    Also with an environment that would send it elsewhere, and a token that would make it ask the Hub.
    """
    environment = {
        **os.environ,
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "TRACKIO_SPACE_ID": "someone/else",
        "TRACKIO_BUCKET_ID": "someone/else",
        "HF_TOKEN": "hf_" + "a" * 34,
        "HF_HUB_OFFLINE": "0",
    }
    command = [sys.executable, "-c", TRACKIO, str(tmp_path / "multirun" / "vdr_tiny" / "now")]
    result = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert "same" in result.stdout
    assert "TRACKIO_SPACE_ID, TRACKIO_BUCKET_ID ignored" in result.stderr


def test_a_failing_dashboard_does_not_fail_the_run(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("mmexp.trackio_view._init_locally", lambda **_: 1 / 0)
    tmp_path.joinpath("run").mkdir()
    overrides = ("+experiment=vdr_tiny", "tracking.codecarbon=false")
    experiment = experiment_of(tmp_path, *overrides)
    with Record(Composition(experiment, tmp_path / "run", list(overrides), Path.cwd())) as record:
        record.log({"train/loss": 1.0}, step=1)
        record.finish(None, by_dim({8: METRICS}))
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "finished"
    assert "not shown in Trackio (division by zero)" in caplog.text


def test_a_run_that_another_process_runs_is_left_alone(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    code = (
        "import time; from pathlib import Path; from mmexp.recording.run_files import hold\n"
        f"held = hold(Path({str(tmp_path / '.lock')!r})); print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="is being run by another process"), record_in(tmp_path):
            pass
        assert (tmp_path / "result.json").exists()
        other.kill()
        other.wait()
        with record_in(tmp_path):
            pass
    finally:
        other.kill()


def test_what_git_does_not_know_is_told_apart_whatever_it_is(tmp_path):
    """An editor's lock is a link to nowhere, and a clone in the checkout is a folder: neither can be read."""

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "first")
    states = [git_state(tmp_path)]
    for change in (
        lambda: (tmp_path / ".#run.py").symlink_to("me@host.1"),
        lambda: git("clone", ".", "clone"),
        lambda: (tmp_path / "new.yaml").write_text("a: 1"),
        lambda: (tmp_path / "new.yaml").write_text("a: 2"),
    ):
        change()
        states.append(git_state(tmp_path))
    assert [state["has_local_changes"] for state in states] == [False, True, True, True, True]
    assert len({state["diff_sha256"] for state in states}) == 5
