"""The record of a run: complete however it ends, resumable, and shown in Trackio without a network."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmexp.energy import Energy, EnergyMeter, visible_gpus
from mmexp.record import Record
from mmexp.schema import ConfigError
from mmexp.tracking import EnergyMode, Tracking
from tests.test_run import experiment_of

METRICS = {"ndcg@10": 0.5, "mrr@10": 0.4}


def record_in(folder: Path, *overrides: str) -> Record:
    folder.mkdir(exist_ok=True)
    return Record(folder, experiment_of(folder, "+experiment=vdr_tiny", "tracking=none", *overrides), ["seed=1"])


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
        metric = record.finish({8: {"ndcg@10": 0.2}, 4: {"ndcg@10": 0.1}}, {8: METRICS, 4: METRICS}, None, 123)
        assert not (tmp_path / "result.json").exists()  # written last
    assert metric == 0.5
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["status"] == "finished"
    assert result["by_dim"]["4"] == {"baseline": {"ndcg@10": 0.1}, "final": METRICS}
    assert (result["baseline"], result["final"], result["peak_memory_bytes"]) == ({"ndcg@10": 0.2}, METRICS, 123)
    final = [line for line in lines_of(tmp_path) if "final/ndcg@10" in line["metrics"]]
    assert len(final) == 1
    assert final[0]["metrics"]["final/delta"] == pytest.approx(0.3)


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
    with record_in(tmp_path, "resume=true") as record:
        assert not (tmp_path / "result.json").exists()
        with record.phase("train"):
            record.log({"train/loss": 0.9}, step=2)
            record.log({"train/loss": 0.8}, step=3)
        assert record.seconds("train") >= 0.2
        record.finish(None, {8: METRICS})
    lines = lines_of(tmp_path)
    assert [line["step"] for line in lines if "train/loss" in line["metrics"]] == [1, 2, 3]
    assert lines[2]["metrics"]["x/samples_seen"] == 64


def test_a_line_that_a_power_cut_has_torn_does_not_stop_a_resume(tmp_path):
    with pytest.raises(KeyboardInterrupt), record_in(tmp_path) as record:
        record.log({"train/loss": 1.0}, step=1)
        raise KeyboardInterrupt
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"time": "2026-')
    with record_in(tmp_path, "resume=true") as record:
        record.log({"train/loss": 0.9}, step=2)
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2]


def test_a_grid_that_is_refused_leaves_no_run_behind(tmp_path):
    record = record_in(tmp_path, "tracking.codecarbon=true", "tracking.grid=ESX")
    with pytest.raises(ConfigError, match=r"tracking\.grid=ESX"), record:
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_a_run_is_not_written_over(tmp_path):
    with record_in(tmp_path) as record:
        record.log({"train/loss": 1.0}, step=1)
    with pytest.raises(ConfigError, match="holds a run already"), record_in(tmp_path):
        pass
    assert len(lines_of(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    record = record_in(tmp_path / "run")
    (tmp_path / "run").rmdir()
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ConfigError, match=r"cannot be written to.*output_root=\.\.\."), record:
        pass


CHILD = """
import sys, time
from pathlib import Path
from tests.test_record import record_in
folder = Path(sys.argv[1])
with record_in(folder) as record, record.phase("train"):
    for step in range(1, 1000):
        record.log({"train/loss": 1.0}, step=step)
        if step == 5:
            print("logged", flush=True)
            time.sleep(60)
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_every_logged_row_survives_a_kill_and_sigterm_leaves_a_result(tmp_path, sent):
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", CHILD, str(tmp_path / "run")]
    child = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "logged"
    child.send_signal(sent)
    assert child.wait(30) == (128 + sent if sent == signal.SIGTERM else -sent)
    assert [line["step"] for line in lines_of(tmp_path / "run")] == [1, 2, 3, 4, 5]
    if sent == signal.SIGTERM:
        assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "preempted"
    else:
        assert not (tmp_path / "run" / "result.json").exists()


TRACKIO = """
import json, sys
from pathlib import Path
import trackio
from trackio.sqlite_storage import SQLiteStorage
from mmexp.trackio_view import rebuild, run_name
from tests.test_run import experiment_of
from mmexp.record import Record

folder = Path(sys.argv[1])
folder.mkdir(parents=True)
overrides = ["+experiment=vdr_tiny", "tracking.codecarbon=false", "tracking.project=test"]
with Record(folder, experiment_of(folder, *overrides), overrides) as record:
    record.log({"eval/ndcg@10": 0.1}, step=0)
    record.log({"train/loss": 2.0}, step=1)
    record.finish({8: {"ndcg@10": 0.1}}, {8: {"ndcg@10": 0.5}})

def shown():
    [run] = list(trackio.Api().runs("test"))
    rows = SQLiteStorage.get_logs("test", run.name)
    return run.name, run.config, [{k: v for k, v in row.items() if k != "timestamp"} for row in rows]

name, config, rows = shown()
assert name == run_name(folder), name
assert config["num_negatives"] == 1 and config["experiment"] == "vdr_tiny" and config["cfg"]["seed"] == 42
assert [row["step"] for row in rows] == [0, 1, 1], rows
assert all("x/hours" in row and "x/samples_seen" in row for row in rows)
assert sum("final/ndcg@10" in row for row in rows) == 1
rebuild(folder)
assert shown()[2] == rows
print("same")
"""


def test_trackio_shows_the_run_locally_and_is_rebuilt_from_the_folder(tmp_path):
    """Also with an environment that would send it elsewhere, and a token that would make it ask the Hub."""
    environment = {
        **os.environ,
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "TRACKIO_SPACE_ID": "someone/else",
        "HF_TOKEN": "hf_" + "a" * 34,
        "HF_HUB_OFFLINE": "0",
    }
    command = [sys.executable, "-c", TRACKIO, str(tmp_path / "multirun" / "vdr_tiny" / "now")]
    result = subprocess.run(
        command, cwd=Path(__file__).parents[1], env=environment, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert "same" in result.stdout
    assert "TRACKIO_SPACE_ID ignored" in result.stderr


def test_energy_is_measured_offline_and_grows():
    meter = EnergyMeter(Tracking(grid="174"))
    time.sleep(0.3)
    first = meter.read()
    time.sleep(0.3)
    total = meter.stop()
    assert 0 < first.total_kwh < total.total_kwh
    assert total.co2_kg == pytest.approx(total.total_kwh * 0.174, rel=1e-6)
    assert (total - first) + first == total


def test_a_country_has_its_own_intensity():
    meter = EnergyMeter(Tracking(grid="ESP", energy_mode=EnergyMode.process))
    time.sleep(0.2)
    total = meter.stop()
    assert 0.05 < total.co2_kg / total.total_kwh < 0.4


def test_energy_that_is_off_reads_zero():
    meter = EnergyMeter(Tracking(codecarbon=False))
    assert not meter.is_on
    assert meter.stop() == Energy()


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (None, r"tracking\.grid is not set.*tracking\.grid=ESP"),
        *((g, "neither a country") for g in ("Spain", "esp", "-5", "nan")),
    ],
)
def test_a_grid_that_is_missing_or_no_code_is_refused_at_once(grid, message):
    with pytest.raises(ConfigError, match=message):
        Tracking(grid=grid).check()


def test_a_country_without_an_energy_mix_is_refused():
    with pytest.raises(ConfigError, match=r"tracking\.grid=ESX is no country.*ISO-3166"):
        EnergyMeter(Tracking(grid="ESX"))


@pytest.mark.parametrize(("visible", "expected"), [(None, None), ("", None), ("1,3", [1, 3])])
def test_visible_gpus_by_index(monkeypatch, visible, expected):
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == expected
