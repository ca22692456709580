"""Repeating a run: equal to the digit on a CPU, what is found where it is not, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from mmexp.composition import thaw
from mmexp.recording.environment import environment
from mmexp.repeat.__main__ import main
from mmexp.repeat.numbers import cut_losses
from mmexp.repeat.original import Original
from tests.compare.run_folders import write_sweep
from tests.test_run import QUICK, SMALL, run_in


@pytest.fixture(scope="module")
def original(vdr_columns, tmp_path_factory) -> Path:
    """A short run, its data, and a repeat of it."""
    folder = tmp_path_factory.mktemp("repeat")
    shutil.copytree(vdr_columns, folder / "data")
    common = ["+experiment=vdr_2b", "model=tiny_vlm", *SMALL, *QUICK, "dims=halves", f"data.path={folder / 'data'}"]
    run_in(folder, *common, "trainer.max_steps=3", "hub.model_id=me/mine")
    before = content(folder / "run")
    main([str(folder / "run")])
    assert content(folder / "run") == before, "the original was touched"
    return folder / "run"


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def again(original) -> Path:
    """A second repeat that has run and was not compared yet: the first one's files."""
    folder = original.with_name("run-repeat-2")
    shutil.copytree(original.with_name("run-repeat-1"), folder)
    (folder / "repeat.json").unlink()
    yield folder
    shutil.rmtree(folder)


def content(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.rglob("*") if file.is_file()}


def report(folder: Path) -> dict:
    return json.loads((folder / "repeat.json").read_text())


def compared(folder: Path) -> dict[str, dict]:
    return {row["what"]: row for row in report(folder)["compared"]}


def change_loss(folder: Path, step: int, by: float) -> None:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if row["step"] >= step and "train/loss" in row["metrics"]:
            row["metrics"]["train/loss"] += by
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def change_scores(folder: Path, change) -> None:
    file = folder / "per_query" / "final.parquet"
    rows = parquet.read_table(file).to_pylist()
    for n, row in enumerate(rows):
        row["ndcg@10"] = change(n, row["ndcg@10"])
    parquet.write_table(pa.Table.from_pylist(rows), file)


def test_on_a_cpu_a_repeat_is_equal_to_the_digit(original):
    folder = original.with_name("run-repeat-1")
    found = report(folder)
    assert (found["verdict"], found["first_step_apart"]) == ("equal to the digit", None)
    rows = compared(folder)
    assert rows["train/loss"]["num_numbers"] == 3
    assert {"baseline", "final, dim 16", "in training", "final, by query"} <= set(rows)
    assert all(row["num_equal"] == row["num_numbers"] > 0 for row in rows.values())
    (first, second), *_ = found["numbers"]["train/loss"].values()
    assert first == second > 0


def test_a_repeat_uploads_nothing_and_finds_nothing_that_the_original_left(original):
    experiment = thaw(original.with_name("run-repeat-1")).experiment
    assert thaw(original).experiment.hub.model_id == "me/mine"
    assert experiment.hub.model_id is None
    assert not experiment.evaluation.reuse_baseline


def test_losses_that_part_are_named_by_their_first_step(original, again, capsys):
    change_loss(again, step=2, by=1e-9)
    with pytest.raises(SystemExit) as ended:
        main([str(original)])
    assert ended.value.code == 1
    found = report(again)
    assert (found["verdict"], found["first_step_apart"]) == ("differ", "step 2")
    assert compared(again)["train/loss"]["num_equal"] == 1
    out = capsys.readouterr().out
    assert "The losses part at step 2" in out
    assert "all must be equal to the digit" in out
    assert "no difference is shown" not in out


def test_on_a_gpu_scores_that_differ_about_as_often_up_as_down_agree(original, again, monkeypatch, capsys):
    monkeypatch.setattr(Original, "is_determined", False)
    change_scores(again, lambda n, value: abs(value - 0.001 * (-1) ** n))
    main([str(original)])
    found = report(again)
    assert found["verdict"] == "agree within the interval"
    most = max(-found["difference"]["low"], found["difference"]["high"])
    assert f"one of up to {most:.4f} is not ruled out" in " ".join(capsys.readouterr().out.split())


def test_scores_that_are_all_lower_differ_and_the_exit_code_says_so(original, again, capsys):
    change_scores(again, lambda n, value: value - 0.2 - n / 1000)
    with pytest.raises(SystemExit) as ended:
        main([str(original)])
    assert ended.value.code == 1
    found = report(again)
    assert found["verdict"] == "differ"
    assert found["difference"]["high"] < 0
    assert "which leaves 0 out" in capsys.readouterr().out


def refusal(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_other_code_and_packages_are_named_unless_anyway(original, again, capsys, monkeypatch):
    now = environment()
    now["git"] = {"commit": "f" * 40, "diff_sha256": "abcd"}
    now["versions"] = {**now["versions"], "torch": "0.1"}
    monkeypatch.setattr("mmexp.repeat.original.environment", lambda: now)
    line = refusal(capsys, original)
    assert "commit " in line
    assert "(now ffffffffffff)" in line
    assert "(now 0.1)" in line
    assert "pip install torch==" in line
    assert line.endswith("--anyway")
    change_loss(again, step=2, by=1e-9)
    main(["--anyway", str(original)])
    assert report(again)["verdict"] == "agree within the interval"  # what has changed may move digits
    assert {change["what"] for change in report(again)["changes"]} >= {"commit", "torch"}


def test_another_number_of_processes_is_named_and_leaves_no_folder(original, capsys):
    line = refusal(capsys, original, "launch=accelerate", "launch.num_processes=2")
    assert "processes 1 (now 2). Restore them, or" in line
    assert not original.with_name("run-repeat-2").exists()


def test_data_that_is_gone_or_has_changed_is_refused(original, capsys, monkeypatch):
    result = json.loads((original / "result.json").read_text())
    found = Original(thaw(original), {**result, "data_fingerprint": "0" * 16}, environment())
    assert [change.what for change in found.changes(thaw(original))] == ["data"]
    data = original.with_name("data")
    data.rename(data.with_name("elsewhere"))
    try:
        assert "is not there as it was" in refusal(capsys, original)
    finally:
        data.with_name("elsewhere").rename(data)
    assert not original.with_name("run-repeat-2").exists()


def test_a_broken_result_is_named(original, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(original, broken)
    for text in ("[]", "{"):
        (broken / "result.json").write_text(text)
        assert f"{broken}/result.json cannot be read: " in refusal(capsys, broken)


def test_what_is_no_finished_run_is_refused(original, tmp_path, capsys):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(original, unfinished)
    (unfinished / "result.json").unlink()
    assert "is started, and only a finished run" in refusal(capsys, unfinished)
    write_sweep(tmp_path, {"member": {}})
    assert f"is the folder of a sweep. Give one of its members, such as {tmp_path}/member." in refusal(capsys, tmp_path)
    assert "is no run folder" in refusal(capsys, tmp_path / "nothing")


def test_an_interrupted_repeat_goes_on_in_its_folder(original):
    found = Original.read(original)
    begun = found.repeat()
    try:
        assert begun.run_dir.name == "run-repeat-2"
        assert report(begun.run_dir) == {"original": str(original)}
        assert dataclasses.replace(found.repeat(), halvings=[]) == begun
    finally:
        shutil.rmtree(begun.run_dir)


def test_the_loss_of_steps_that_an_interruption_cut_is_not_compared(tmp_path):
    rows = [(3, 9.0, 0), (6, 8.0, 1), (9, 7.0, 1)]
    lines = [
        {"time": "t", "step": step, "metrics": {"train/loss": loss}, "totals": {"num_resumes": resumes}}
        for step, loss, resumes in rows
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert cut_losses(tmp_path) == {"step 6"}
