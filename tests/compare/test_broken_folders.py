"""One folder that is broken is listed with the file and why, and the others are compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmexp.compare.__main__ import main
from mmexp.compare.comparison import Comparison, compare
from mmexp.compare.report.charts import LeftOut
from mmexp.compare.report.learning_chart import learning_curves
from mmexp.compare.runs import find_runs
from mmexp.schema import ConfigError
from tests.compare.given import Given, comparison_of
from tests.compare.run_folders import write_run, write_sweep

BATCH = "trainer.per_device_train_batch_size"
FINAL, BASELINE = "per_query/final.parquet", "per_query/baseline.parquet"


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two runs, of which a test breaks `bad`."""
    for name, batch_size in (("bad", 8), ("good", 16)):
        write_run(tmp_path / name, [1.0, 0.5, 0.0], [0.5, 0.5, 0.0], {BATCH: batch_size})
    return tmp_path


def compared(folder: Path) -> Comparison:
    return compare(find_runs([folder]))


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def without_rows(file: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(parquet.read_table(file).slice(0, 0), file)


def without_ids(file: Path) -> None:
    from pyarrow import parquet

    parquet.write_table(parquet.read_table(file).drop_columns("query_id"), file)


def without_a_number(file: Path) -> None:
    from pyarrow import array, parquet

    table = parquet.read_table(file)
    scores = array([1.0, float("nan"), 0.0])
    parquet.write_table(table.set_column(table.schema.get_field_index("ndcg@10"), "ndcg@10", scores), file)


def damage_best_documents(file: Path) -> None:
    """Make the best documents of each query what no reader takes; the other columns can be read."""
    from pyarrow import array, parquet

    table = parquet.read_table(file)
    parquet.write_table(table.append_column("top", array([["page"]] * len(table))), file)
    group = parquet.ParquetFile(file).metadata.row_group(0)
    chunk = group.column(group.num_columns - 1)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(file.read_bytes())
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    file.write_bytes(content)


def result_with(**fields):
    def change(file: Path) -> None:
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))

    return change


def of_text(text: str):
    return lambda file: file.write_text(text)


@pytest.mark.parametrize(
    ("name", "break_it", "why"),
    [
        (FINAL, cut_off, "magic bytes"),
        (FINAL, of_text(""), "0 bytes"),
        (FINAL, without_rows, "it has no ndcg@10 of dim 128"),
        (FINAL, without_ids, "query_id"),
        (FINAL, without_a_number, "ndcg@10 is no finite number in 1 of 3 rows"),
        (BASELINE, cut_off, "magic bytes"),
        ("result.json", cut_off, "line 1 column"),
        ("result.json", of_text("[1]"), "it is a list, not keys and values"),
        ("result.json", of_text("{}"), "it has no status"),
        ("result.json", result_with(status="failed", error={"type": "OSError"}), "its error lacks type or message"),
        ("result.json", result_with(seconds=None), "its seconds are not a number for each phase"),
        ("result.json", result_with(energy={"train": {"gpu_kwh": 1.0}}), "its energy has not gpu_kwh, cpu_kwh"),
        ("result.json", result_with(by_dim={"all": {}}), "its by_dim names what is no number"),
        ("result.json", result_with(throughput=3), "its throughput is 3"),
        ("config.yaml", of_text("- a\n- b\n"), "it is a list"),
        ("config.yaml", of_text("a: [1\n"), "line"),
        ("config.yaml", of_text("loss: much\n"), "it is a str"),
        ("composition.yaml", of_text("schemas: [1]\n"), "it is a list"),
    ],
)
def test_a_broken_file_is_named_and_the_other_run_is_ranked(folder, name, break_it, why):
    break_it(folder / "bad" / name)
    found = compared(folder)
    assert [run.name for row in found.rows for run in row.setting.runs] == ["good"]
    [bad] = found.unfinished
    assert bad.name == "bad"
    assert bad.error.startswith(f"cannot be read: {name}: ")
    assert why in bad.error
    assert "\n" not in bad.error


def test_the_command_lists_it_and_writes_all_its_files(folder, capsys):
    cut_off(folder / "bad" / "result.json")
    main([str(folder), "--output", str(folder / "out")])
    printed = " ".join(capsys.readouterr().out.split())
    assert "unreadable" in printed
    assert "cannot be read: result.json" in printed
    assert {"comparison.csv", "comparison.json", "index.html"} <= {path.name for path in (folder / "out").iterdir()}


def test_what_only_the_page_reads_is_named_after_the_table_is_printed(folder, capsys):
    damage_best_documents(folder / "bad" / FINAL)
    with pytest.raises(SystemExit) as ended:
        main([str(folder), "--output", str(folder / "out")])
    said = capsys.readouterr()
    assert ended.value.code == 2
    assert "against" in said.out
    assert f"{folder / 'bad' / FINAL} cannot be read: " in said.err
    assert "comparison.csv" in {path.name for path in (folder / "out").iterdir()}


def test_where_all_are_broken_it_is_said_why(folder):
    for name in ("bad", "good"):
        cut_off(folder / name / FINAL)
    with pytest.raises(ConfigError, match=r"none of 2 runs .*bad finished \(cannot be read: per_query/final.parquet"):
        compared(folder)


def test_a_line_in_the_middle_that_is_no_row_leaves_the_history_of_its_run_out(tmp_path):
    runs = [Given({BATCH: size}, [1.0, 0.5], evaluations=[0.1, 0.2, 0.3]) for size in (8, 16)]
    comparison = comparison_of(tmp_path, runs)
    file = tmp_path / "run-0" / "metrics.jsonl"
    file.write_bytes(file.read_bytes() + b'{"metrics": {"eval/nd')
    assert "Left out" not in learning_curves(comparison).reading, "a last line that was cut off is no fault"
    lines = file.read_text().splitlines()
    for number, line in ((2, '{"metrics": {"eval'), (3, "[]")):
        file.write_text("\n".join([*lines[: number - 1], line, *lines[number:-1]]) + "\n")
        chart = learning_curves(comparison)
        assert f"run-0 (metrics.jsonl cannot be read: line {number} is no row of metrics)" in chart.reading
        assert len(chart.table.rows) == 3, "those of the other run"
    (tmp_path / "run-1" / "metrics.jsonl").write_text("\n")
    assert isinstance(learning_curves(comparison), LeftOut)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"members": [3]}', '{"members": [{"hash": "0"}]}'])
def test_a_sweep_json_that_cannot_be_read_is_named_in_one_line(folder, text, capsys):
    write_sweep(folder, {"bad": {}, "good": {}})
    (folder / "sweep.json").write_text(text)
    with pytest.raises(SystemExit) as ended:
        main([str(folder)])
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"mmexp: {folder}/sweep.json cannot be read: ")
