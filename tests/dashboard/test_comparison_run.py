"""`00-comparison` in Trackio: one run, replaced whole, first in the list; and the folders of a project's runs."""

from __future__ import annotations

import shutil
import uuid

import pytest
import trackio
from PIL import Image
from trackio.media import get_project_media_path
from trackio.server import get_runs_for_project
from trackio.sqlite_storage import SQLiteStorage

from mmexp.dashboard.comparison_run import replace
from mmexp.dashboard.project import NAME, find_project
from mmexp.schema import ConfigError
from mmexp.trackio_view import rebuild
from tests.dashboard.run_folders import write_run

HOSTILE = "a,b <img src=x onerror=alert(1)> 'q' \"d\" ü?#&"


@pytest.fixture
def project() -> str:
    """Of Trackio's folder, which all tests of a process share."""
    return f"test-{uuid.uuid4().hex[:8]}"


def shown_in(project: str) -> dict:
    [row] = SQLiteStorage.get_logs(project, NAME, run_id=NAME)
    return row


def log_a_run(project: str, name: str) -> None:
    run = trackio.init(project, name, embed=False, auto_log_gpu=False, auto_log_cpu=False)
    run.log({"eval/ndcg@10": 0.5}, step=0)
    trackio.finish()


def test_it_is_replaced_whole_and_stays_first_in_the_list(project, tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "figure.png")
    for round_ in range(3):
        shown = {
            "ranking": trackio.Table(columns=["run"], data=[[HOSTILE]]),
            "second": trackio.Table(columns=["run"], data=[[str(round_)]]),
            "figure": trackio.Image(tmp_path / "figure.png"),
        }
        replace(project, shown)
        log_a_run(project, f"run-{round_}")
        # The dashboard lists the last of these first.
        runs = get_runs_for_project(project)
        assert [run["name"] for run in runs] == [*(f"run-{n}" for n in range(round_ + 1)), NAME]
        assert runs[-1]["id"] == NAME
    row = shown_in(project)
    assert row["ranking"]["_value"] == [{"run": HOSTILE}]
    assert row["second"]["_value"] == [{"run": "2"}]
    # Media of one step are shown the last first.
    assert [name for name in row if name in shown] == ["figure", "second", "ranking"]
    [image] = (file for file in get_project_media_path(project, run=NAME).rglob("*") if file.is_file())
    assert image.name in row["figure"]["file_path"]


def test_a_projects_runs_are_found_by_their_folders_and_what_is_gone_is_said(project, tmp_path):
    names = ["kept", "moved", "deleted", "again", HOSTILE.replace("/", "")]
    folders = {name: write_run(tmp_path / "out" / name, project, 0.5) for name in names}
    for folder in folders.values():
        rebuild(folder)
    replace(project, {"notes": trackio.Markdown("")})
    log_a_run(project, "not ours")
    assert find_project(project).run_dirs == list(folders.values())

    elsewhere = tmp_path / "elsewhere"
    folders["moved"].rename(elsewhere)
    shutil.rmtree(folders["deleted"])
    shutil.rmtree(folders["again"])
    write_run(folders["again"], project, 0.5)
    found = find_project(project)
    assert found.common_config["cfg"]["data"]["num_eval_pages"] == 40
    assert not {"run_dir", "_Created"} & set(found.common_config)
    assert found.run_dirs == [folders["kept"], folders[names[-1]]]
    assert found.gone == ["out__moved", "out__deleted", "out__again", "not ours"]
    assert all(name in found.notes[0] for name in found.gone)

    rebuild(elsewhere)
    assert elsewhere in find_project(project).run_dirs


def test_a_project_that_trackio_has_not_is_refused_with_those_that_it_has(project):
    log_a_run(project, "one")
    with pytest.raises(ConfigError, match=rf"project {project}x: .*no run of it\. It has .*Did you mean '{project}'\?"):
        find_project(f"{project}x")
