"""What `00-comparison` says of the runs of a project, and that nothing of it can fail a sweep."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from trackio.sqlite_storage import SQLiteStorage

from mmexp.compare.__main__ import main as compare
from mmexp.dashboard import refresh as refreshing
from mmexp.dashboard.identity import IDENTITY
from mmexp.dashboard.project import NAME
from mmexp.dashboard.refresh import refresh, refresh_after
from mmexp.repeat.mark import mark
from mmexp.trackio_view import rebuild
from tests.dashboard.run_folders import write_run, write_sweep

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def shown(project, tmp_path_factory):
    """What is shown of a project with two sweeps on different data, a repeat, and runs that failed or are gone."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [
        *write_sweep(folder / "vdr_tiny" / "grid", project, [{"loss.scale": scale} for scale in (10, 20, 30)]),
        *write_sweep(folder / "vdr_tiny" / "seeds", project, [{"seed": 1}, {"seed": 2}], fingerprint="other"),
        failed_run(folder / "vdr_tiny" / "failed", project),
    ]
    repeat = write_run(folder / "vdr_tiny" / "failed-repeat-1", project, 0.5, fingerprint="of the repeat")
    mark(repeat, runs[-1])
    for run in (*runs, repeat):
        rebuild(run)
    gone = write_run(folder / "vdr_tiny" / "gone", project, 0.5)
    rebuild(gone)
    (gone / IDENTITY).unlink()
    refresh(project)
    return held_by(project)


def held_by(project: str) -> dict:
    [row] = SQLiteStorage.get_logs(project, NAME, run_id=NAME)
    return row


def failed_run(run_dir: Path, project: str) -> Path:
    write_run(run_dir, project, 0.5)
    result = json.loads((run_dir / "result.json").read_text())
    result |= {
        "status": "failed",
        "final": None,
        "error": {"type": "OSError", "message": "disk\nfull", "traceback": ""},
    }
    (run_dir / "result.json").write_text(json.dumps(result))
    return run_dir


def rows_of(shown: dict, words: str) -> list[list[dict]]:
    return [value["_value"] for name, value in shown.items() if name.startswith(words)]


def test_runs_of_different_evaluation_data_are_in_tables_of_their_own(shown):
    assert sorted(len(rows) for rows in rows_of(shown, "ranking")) == [1, 3]
    [seeds] = [rows for rows in rows_of(shown, "ranking") if len(rows) == 1]
    assert seeds[0]["seeds"] == "2"


def test_every_row_of_a_table_has_the_same_columns_of_words(shown):
    for rows in (*rows_of(shown, "ranking"), *rows_of(shown, "cost"), *rows_of(shown, "not compared")):
        assert len({tuple(row) for row in rows}) == 1
        assert all(isinstance(cell, str) and len(cell) < 70 for row in rows for cell in row.values())
        assert not any(name.replace(".", "").isdigit() for name in rows[0])


def test_no_score_or_difference_is_shown_without_its_interval(shown):
    number = r"[+-]?[01]\.\d{4}"
    interval = rf"{number} \[{number}, {number}\]"
    difference = rf"{interval}, p[=<]0\.\d{{3}}( d=-?\d\.\d\d)? (better|worse|no difference shown)"
    for rows in rows_of(shown, "ranking"):
        assert rows[0]["against #1"] == "reference"
        for row in rows:
            assert re.fullmatch(interval, row["NDCG@10"])
            assert re.fullmatch(difference, row["gain over baseline"])
        assert all(re.fullmatch(difference, row["against #1"]) for row in rows[1:])


def test_beside_each_ranking_is_what_it_cost(shown):
    for ranked, costs in zip(rows_of(shown, "ranking"), rows_of(shown, "cost"), strict=True):
        assert [row["#"] for row in ranked] == [row["#"] for row in costs]
    [[first, *_]] = [rows for rows in rows_of(shown, "cost") if len(rows) == 3]
    assert float(first["points/kWh"]) > 0
    assert {name: cell for name, cell in first.items() if name != "points/kWh"} == {
        **{"#": "1", "scale": "30", "hours": "0.5", "GPU-hours": "0.5", "pages/s": "32"},
        **{"peak GB": "3.5", "kWh": "0.2", "kg CO2": "0.03"},
    }


def test_runs_without_a_result_are_listed_with_the_reason(shown):
    [rows] = rows_of(shown, "not compared")
    assert rows == [{"run": "failed", "status": "failed", "why": "OSError: disk full"}]
    assert "not where they were: vdr_tiny__gone." in shown["notes: project"]["_value"]


def test_what_one_asks_for_is_written_and_what_all_look_at_stays(project, shown, tmp_path, capsys):
    compare(["--project", project, "--part", "64", "--no-pages", "--output", str(tmp_path)])
    printed = " ".join(capsys.readouterr().out.split())
    assert "ndcg@10 at 64 on 40 queries" in printed
    assert "00-comparison was left as it is" in printed
    assert len([*tmp_path.glob("*/comparison.csv")]) == 2
    assert held_by(project) == shown


def test_each_table_has_its_figures(shown):
    images = [name for name, value in shown.items() if isinstance(value, dict) and value["_type"] == "trackio.image"]
    tables = [name.removeprefix("ranking: ") for name in shown if name.startswith("ranking")]
    assert len(tables) == 2
    assert all(any(name.endswith(f"({table})") for name in images) for table in tables)


def test_a_sweep_ends_well_whatever_fails(tmp_path, monkeypatch, caplog):
    run = write_run(tmp_path / "run", "some-project", 0.5)
    monkeypatch.setattr(refreshing, "refresh", lambda project: 1 / 0)
    refresh_after([run])
    (run / IDENTITY).write_text("no JSON")
    refresh_after([run])
    assert len(caplog.records) == 2
    assert "the comparison in Trackio is not up to date (division by zero)" in caplog.text


def test_without_tracking_trackio_is_not_touched(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", "some-project", 0.5)
    (run / IDENTITY).unlink()
    monkeypatch.setattr(refreshing, "refresh", lambda project: pytest.fail("Trackio was touched"))
    refresh_after([run, tmp_path / "waiting"])


AT_THE_END_OF_A_SWEEP = """
import sys
from pathlib import Path
from mmexp.sweep.folder import SweepFolder
from mmexp.dashboard.refresh import refresh_after
from mmexp.trackio_view import rebuild
run = Path(sys.argv[1])
assert not {"trackio", "matplotlib", "pyarrow"} & set(sys.modules)
rebuild(run)
refresh_after([run])
print({"torch", "transformers", "sentence_transformers", "datasets"} & set(sys.modules))
"""


def test_a_comparison_is_made_without_torch_and_says_how_to_see_it(tmp_path):
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "trackio"), "TRACKIO_SPACE_ID": "someone/else"}
    command = [sys.executable, "-c", AT_THE_END_OF_A_SWEEP, str(write_run(tmp_path / "run", "mine", 0.5))]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["To see the comparison: python -m mmexp.dashboard --project mine", "set()"]
    assert "TRACKIO_SPACE_ID ignored" in done.stderr
