"""Energy: measured without a network, for the GPUs of this process, and unknown rather than wrong."""

from __future__ import annotations

import os
import sys
import time
from types import SimpleNamespace

import pytest

from mmexp.processes.visible_gpus import visible_gpus
from mmexp.recording.energy import Energy, EnergyMeter
from mmexp.schema import ConfigError
from mmexp.tracking import EnergyMode, Tracking


def test_energy_is_measured_offline_and_grows():
    meter = EnergyMeter(Tracking(grid="174"))
    time.sleep(0.3)
    first = meter.read()
    time.sleep(0.3)
    total = meter.read()
    meter.stop()
    assert first is not None
    assert total is not None
    assert 0 < first.total_kwh < total.total_kwh
    assert total.co2_kg == pytest.approx(total.total_kwh * 0.174, rel=1e-6)
    assert (total - first) + first == total
    assert meter.read() is None


@pytest.mark.parametrize("variable", ["FORCE_CARBON_INTENSITY_G_CO2E_KWH", "REGION", "ELECTRICITYMAPS_API_TOKEN"])
def test_a_country_has_its_own_intensity_whatever_the_environment_says(monkeypatch, variable):
    monkeypatch.setenv(f"CODECARBON_{variable}", "999")
    meter = EnergyMeter(Tracking(grid="ESP", energy_mode=EnergyMode.process))
    time.sleep(0.1)
    total = meter.read()
    meter.stop()
    assert total is not None
    assert 0.15 < total.co2_kg / total.total_kwh < 0.2


def test_energy_leaves_no_file_and_says_what_is_estimated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    meter = EnergyMeter(Tracking(grid="174"))
    source = meter.source()
    assert source is not None
    assert source["ram"] == "estimated"
    assert source["cpu"] in ("measured", "estimated")
    meter.stop()
    assert list(tmp_path.iterdir()) == []


def test_energy_that_is_off_is_none():
    meter = EnergyMeter(Tracking(codecarbon=False))
    assert meter.read() is None
    assert meter.source() is None
    meter.stop()


def test_a_tracker_that_did_not_start_is_refused(monkeypatch):
    monkeypatch.setattr("codecarbon.OfflineEmissionsTracker._ensure_hardware_ready", lambda self: 1 / 0)
    with pytest.raises(ConfigError, match=r"CodeCarbon did not start.*tracking\.codecarbon=false"):
        EnergyMeter(Tracking(grid="174"))


def test_a_tracker_that_fails_later_is_said_once_and_leaves_no_frozen_number(caplog):
    meter = EnergyMeter(Tracking(grid="174"))
    tracker = meter._tracker
    assert meter.read() is not None
    tracker._do_measurements = lambda: 1 / 0
    time.sleep(0.1)
    assert meter.read() is None
    assert meter.read() is None
    assert caplog.text.count("CodeCarbon failed") == 1
    tracker.stop()


UUIDS = ["GPU-aaaa-1", "GPU-bbbb-2", "GPU-cccc-3"]
NVML = SimpleNamespace(
    nvmlInit=lambda: None,
    nvmlDeviceGetCount=lambda: len(UUIDS),
    nvmlDeviceGetHandleByIndex=lambda index: index,
    nvmlDeviceGetUUID=lambda handle: UUIDS[handle],
    nvmlDeviceGetHandleByUUID=lambda uuid: {"MIG-1234": "slice of 2"}[uuid],
    nvmlDeviceGetDeviceHandleFromMigDeviceHandle=lambda handle: int(handle[-1]),
    nvmlDeviceGetIndex=lambda handle: handle,
)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, None),
        ("", []),
        ("-1", []),
        ("1,3", [1, 3]),
        ("1,-1,2", [1]),
        ("GPU-bbbb-2,GPU-aaaa", [0, 1]),
        ("MIG-1234", [2]),
        ("MIG-GPU-bbbb-2/3/0", [1]),
    ],
)
def test_visible_gpus_are_those_that_cuda_would_show(monkeypatch, visible, expected):
    monkeypatch.setitem(sys.modules, "pynvml", NVML)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == expected


def test_gpus_that_cannot_be_looked_up_are_said(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "pynvml", NVML)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-unknown")
    assert visible_gpus() == []
    assert "CUDA_VISIBLE_DEVICES=MIG-unknown cannot be looked up" in caplog.text


def test_the_energy_of_a_job_is_the_sum_over_its_nodes(tmp_path, monkeypatch):
    from mmexp.recording import node_energy
    from mmexp.recording.node_energy import JobMeter, NodeMeter, meters_another_node

    readings = {"0": Energy(1.0, 0.5, 0.25, 0.1), "1": Energy(2.0, 0.5, 0.25, 0.2), "2": Energy(4.0, 0.0, 0.0, 0.4)}
    monkeypatch.setattr(node_energy.EnergyMeter, "__init__", lambda self, tracking: setattr(self, "node", tracking))
    monkeypatch.setattr(node_energy.EnergyMeter, "read", lambda self: readings[self.node])
    monkeypatch.setattr(node_energy.EnergyMeter, "stop", lambda self: None)
    (tmp_path / "energy").mkdir()
    (tmp_path / "energy" / "node-1.json").write_text('{"gpu_kwh": 99}')  # of an earlier part of the run
    job = JobMeter("0", tmp_path)
    for node in ("1", "2"):
        monkeypatch.setenv("GROUP_RANK", node)
        monkeypatch.setenv("LOCAL_RANK", "0")
        assert meters_another_node()
        NodeMeter(node, tmp_path).stop()
    assert job.read() == Energy(7.0, 1.0, 0.5, pytest.approx(0.7))
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not meters_another_node()
    monkeypatch.setenv("LOCAL_RANK", "0")
    readings["2"] = None
    NodeMeter("2", tmp_path).stop()
    assert job.read() is None  # a part of a sum is no sum
    readings["0"] = None
    assert job.read() is None


def test_the_ranks_of_a_run_that_shares_its_machine_are_booked_together(monkeypatch):
    booked = {}
    for local_ranks in ("1", "2"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", local_ranks)
        meter = EnergyMeter(Tracking(grid="ESP", energy_mode=EnergyMode.process))
        booked[local_ranks] = {part._pid for part in meter._tracker._hardware if hasattr(part, "_pid")}
        meter.stop()
    assert booked == {"1": {os.getpid()}, "2": {os.getppid()}}
