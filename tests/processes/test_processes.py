"""What a run's processes ended with, as their parent sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmexp.composition import Composition
from mmexp.processes.children import Child
from mmexp.processes.command import Command
from tests.test_run import experiment_of


@pytest.mark.parametrize(
    ("left", "status", "error"),
    [
        ({"status": "finished", "final": {}}, "finished", None),  # it was told to stop when all was done
        ({"status": "failed", "error": {"type": "OSError", "message": "no space"}}, "failed", "OSError"),
        (None, "failed", "Killed"),
    ],
)
def test_what_a_run_left_stays_however_its_process_ends(tmp_path, left, status, error):
    (tmp_path / "result.json").write_text('{"status": "finished"}')  # of an earlier start: says nothing of this one
    leave = "true"
    if left is not None:
        (tmp_path / "left").write_text(json.dumps(left))
        leave = f"cp {tmp_path}/left {tmp_path}/result.json"
    composition = Composition(experiment_of(Path("x"), "+experiment=vdr_tiny"), tmp_path, [], Path.cwd())
    result = Child(Command(["sh", "-c", f"{leave}; kill -KILL $$"]), composition).result()
    assert result["status"] == status
    assert (result.get("error") or {}).get("type") == error
    assert json.loads((tmp_path / "result.json").read_text()) == result
