"""Mining: what is mined and what is not, in shards that are continued and shared, and training with what was mined."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from pyarrow import parquet

from mmexp.__main__ import CONF
from mmexp.data.cells import Values
from mmexp.evaluation.encode import Side
from mmexp.mine.embeddings import Embeddings
from mmexp.mine.mining import _content
from mmexp.mine.settings import MiningExperiment
from mmexp.schema import ConfigError
from mmexp.typed_config import register, to_experiment
from tests.conftest import page, write_config, write_examples, write_readme
from tests.models.test_models import text_checkpoint
from tests.test_run import QUICK, SMALL, run_in

NO_BOUNDS = ["mine.relative_margin=null", "mine.duplicate_score=null"]
MADE_UP = ["model=tiny_vlm", "data=made_up_pages", "data.num_train_pages=30", "data.num_eval_pages=10"]


def mining_of(folder: Path, *overrides: str) -> MiningExperiment:
    register(MiningExperiment)
    small = [override for override in SMALL if "model=hub" not in overrides or not override.startswith("model.")]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("mine", overrides=["+experiment=vdr_tiny", *small, *overrides, f"output_root={folder}"])
    experiment = to_experiment(config)
    assert isinstance(experiment, MiningExperiment)
    return experiment


def mine_in(folder: Path, *overrides: str) -> Path:
    """Mine in this process; return the folder of the mining."""
    mined = folder / "mined"
    mined.mkdir(parents=True, exist_ok=True)
    mining_of(folder, *overrides).start(mined, list(overrides))
    return mined


def rows_in(mined: Path) -> list[dict]:
    return parquet.read_table(mined / "negatives.parquet").to_pylist()


def negatives_in(mined: Path) -> dict[str, list[str]]:
    return {row["positive_id"]: row["negatives"] for row in rows_in(mined)}


def report_in(mined: Path) -> dict:
    return json.loads((mined / "negatives.json").read_text())


@pytest.fixture
def pages(tmp_path) -> Path:
    """Twelve pages, of which ten are asked for and two are not; four pages of one PDF, of which the first is asked."""
    folder = tmp_path / "my-pages"
    (folder / "pages").mkdir(parents=True)
    names = [f"p{number:02d}" for number in range(12)]
    for number, name in enumerate(names):
        page(number).save(folder / "pages" / f"{name}.png")
    scans = [page(100 + number) for number in range(4)]
    scans[0].save(folder / "pages" / "scan.pdf", save_all=True, append_images=scans[1:])
    write_examples(folder / "train.jsonl", [*names[:10], "scan-001"], [*names, "scan-001"], num_negatives=0)
    page(500).save(folder / "pages" / "held-out.png")
    write_examples(folder / "eval.jsonl", ["held-out"], ["held-out"], num_negatives=0)
    return folder


def of(pages: Path) -> list[str]:
    return ["data=folder", f"data.path={pages}", "data.pdf_longest_side=128"]


def test_a_planted_false_negative_is_not_mined(pages, tmp_path):
    copy = page(3)
    copy.putpixel((90, 5), (250, 250, 250))  # another file that answers the query as well, and is not labelled
    copy.save(pages / "pages" / "unlabelled.png")
    everything = ["mine.num_negatives=15", "mine.duplicate_score=null"]
    aware = negatives_in(mine_in(tmp_path, *of(pages), *everything))
    unaware = negatives_in(mine_in(tmp_path, *of(pages), *everything, "mine.relative_margin=null"))
    assert "unlabelled" in unaware["p03"]  # what the margin prevents
    assert "unlabelled" not in aware["p03"]
    assert any("unlabelled" in negatives for negatives in aware.values())
    absolute = [*everything, "mine.relative_margin=null", "mine.absolute_margin=0.01"]
    assert "unlabelled" not in negatives_in(mine_in(tmp_path, *of(pages), *absolute))["p03"]
    distinct = mine_in(tmp_path, *of(pages), "mine.num_negatives=15", "mine.relative_margin=null")
    assert "unlabelled" not in negatives_in(distinct)["p03"]
    assert report_in(distinct)["refused"]["duplicate"] > 0


def test_negatives_fall_in_score_and_stay_below_the_positives(tmp_path):
    rows = rows_in(mine_in(tmp_path, *MADE_UP, "mine.num_negatives=3"))
    assert len(rows) == 30
    assert any(len(row["negatives"]) == 3 for row in rows)
    for row in rows:
        assert row["scores"] == sorted(row["scores"], reverse=True)
        assert len(row["scores"]) == len(row["negatives"]) <= 3
        assert row["positive_id"] not in row["negatives"]
        bound = row["positive_score"] - 0.05 * abs(row["positive_score"])
        assert all(score <= bound + 1e-6 for score in row["scores"])


def test_the_window_skips_the_highest_scores(tmp_path):
    common = [*MADE_UP, *NO_BOUNDS]
    all_of_them = negatives_in(mine_in(tmp_path, *common, "mine.num_negatives=6"))
    skipped = negatives_in(mine_in(tmp_path, *common, "mine.num_negatives=2", "mine.range_min=3", "mine.range_max=5"))
    assert skipped == {positive: negatives[3:5] for positive, negatives in all_of_them.items()}


def test_pages_of_the_positives_own_document_are_not_mined(pages, tmp_path):
    common = [*of(pages), *NO_BOUNDS, "mine.num_negatives=20"]
    mined = mine_in(tmp_path, *common)
    assert not [name for name in negatives_in(mined)["scan-001"] if name.startswith("scan")]
    assert {"scan-001", "scan-002", "scan-003", "scan-004"} < set(negatives_in(mined)["p00"])
    assert report_in(mined)["refused"]["own_document"] == 3
    by_name = negatives_in(mine_in(tmp_path, *common, "mine.document_pattern='^(p0)'"))
    assert set(by_name["p04"]) == {"p10", "p11", "scan-001", "scan-002", "scan-003", "scan-004"}
    with pytest.raises(ConfigError, match=r"mine\.document_pattern=\^\(x\) finds no document in any page id"):
        mine_in(tmp_path, *common, "mine.document_pattern='^(x)'")


def test_a_page_that_occurs_twice_is_one_candidate_and_none_for_its_own_query(pages, tmp_path):
    shutil.copy(pages / "pages" / "p03.png", pages / "pages" / "copy-of-p03.png")
    shutil.copy(pages / "pages" / "p11.png", pages / "pages" / "copy-of-p11.png")
    negatives = negatives_in(mine_in(tmp_path, *of(pages), *NO_BOUNDS, "mine.num_negatives=20"))
    assert not any("copy-of-p03" in names for names in negatives.values())
    assert "p03" not in negatives["p03"]
    assert all(len({"p11", "copy-of-p11"} & set(names)) == 1 for names in negatives.values())


def test_pages_of_the_evaluation_are_never_mined(pages, tmp_path):
    shutil.copy(pages / "pages" / "held-out.png", pages / "pages" / "copy.png")
    mined = mine_in(tmp_path, *of(pages), *NO_BOUNDS, "mine.num_negatives=20")
    assert not any({"held-out", "copy"} & set(names) for names in negatives_in(mined).values())
    assert report_in(mined)["num_evaluation_pages"] == 1
    held_out = [*NO_BOUNDS, "mine.num_negatives=8", *of(pages), "data.eval_fraction=0.3", "data.num_negatives=8"]
    (pages / "eval.jsonl").unlink()
    file = mine_in(tmp_path / "held_out", *held_out) / "negatives.parquet"
    data = mining_of(tmp_path, *held_out).data
    data.negatives = str(file)
    assert data.build().train.rows
    with pytest.raises(ConfigError, match=r"pages that this run evaluates on, such as .* Use the data, and data\.seed"):
        replace(data, seed=43).build()


class Counted:
    """Counts the shards that are encoded, and interrupts before one of them."""

    def __init__(self, monkeypatch, stop_before: int | None = None) -> None:
        self.shards: list[str] = []
        encode = Embeddings.encode

        def counting(embeddings, number, *rest):
            if len(self.shards) == stop_before:
                raise KeyboardInterrupt
            self.shards.append(embeddings.files[number].name)
            encode(embeddings, number, *rest)

        monkeypatch.setattr(Embeddings, "encode", counting)


SHARDED = [*MADE_UP, "mine.shard_size=8", "mine.num_negatives=4"]


def test_an_interrupted_mining_continues_with_the_shards_it_lacks(tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patched:
        whole = Counted(patched)
        expected = rows_in(mine_in(tmp_path / "whole", *SHARDED))
    with monkeypatch.context() as patched:
        first = Counted(patched, stop_before=5)
        with pytest.raises(KeyboardInterrupt):
            mine_in(tmp_path / "parts", *SHARDED)
        assert not (tmp_path / "parts" / "mined" / "negatives.parquet").exists()
    with monkeypatch.context() as patched:
        second = Counted(patched)
        assert rows_in(mine_in(tmp_path / "parts", *SHARDED)) == expected
        assert first.shards + second.shards == whole.shards
        assert (len(whole.shards), len(second.shards)) == (8, 3)
        other_margin = mine_in(tmp_path / "parts", *SHARDED, "mine.relative_margin=0.2")
        assert len(second.shards) == 3  # another margin searches again, and encodes nothing
        assert rows_in(other_margin) != expected
        assert "mined here with mine.relative_margin=0.05 are replaced" in caplog.text


def test_two_processes_and_a_search_equal_one_process(tmp_path, monkeypatch):
    expected = rows_in(mine_in(tmp_path / "one", *SHARDED))
    shared = [*SHARDED, "mine.num_processes=2"]
    counted = Counted(monkeypatch)
    mined = mine_in(tmp_path / "two", *shared, "mine.process=1")
    assert not (mined / "negatives.parquet").exists()
    assert len(counted.shards) == 4
    assert rows_in(mine_in(tmp_path / "two", *shared, "mine.process=0")) == expected
    assert len(set(counted.shards)) == 8


def test_embeddings_of_something_else_are_not_continued(tmp_path):
    mine_in(tmp_path, *SHARDED)
    for other, named in [
        ("model.weights_seed=1", "weights"),
        ("data.num_train_pages=35", "data"),
        ("mine.shard_size=9", r"mine\.shard_size"),
    ]:
        with pytest.raises(ConfigError, match=rf"made with other {named}\. .*hydra\.run\.dir="):
            mine_in(tmp_path, *SHARDED, other)


@pytest.fixture
def texts(tmp_path) -> list[str]:
    """Queries, answers and other passages of a text corpus; the first query has two answers."""
    from datasets import Value

    draw = random.Random(0)
    words = ["page", "of", "a", "book"]
    passages = list(dict.fromkeys(" ".join(draw.choices(words, k=draw.randint(2, 9))) for _ in range(150)))
    queries = [f"{' '.join(draw.choices(words, k=3))} {number}" for number in range(30)]
    queries[1] = queries[0]
    columns = {"query": queries, "image": passages[:30], "negative_0": passages[30:60]}
    features = {name: Value("string") for name in columns}
    write_config(tmp_path / "texts", "train", columns, features)
    evaluation = {name: [f"{name} {n} of a book" for n in range(2)] for name in columns}
    write_config(tmp_path / "texts", "eval", evaluation, features)
    write_readme(tmp_path / "texts", ["train", "eval"])
    return [
        *("model=hub", f"model.checkpoint={text_checkpoint(tmp_path)}", "trainer.bf16=false", "data=vdr_en"),
        f"data.path={tmp_path / 'texts'}",
    ]


@pytest.mark.parametrize(
    "margins", [{"relative_margin": 0.05}, {"relative_margin": None, "absolute_margin": 0.1}, {"relative_margin": None}]
)
def test_a_text_corpus_gives_the_negatives_of_the_librarys_miner(texts, tmp_path, margins):
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    settings = [f"mine.{name}={'null' if value is None else value}" for name, value in margins.items()]
    window = ["mine.num_negatives=5", "mine.range_min=2", "mine.range_max=60", "mine.duplicate_score=null"]
    mined = rows_in(mine_in(tmp_path, *texts, *window, *settings, "mine.shard_size=7"))
    train = mining_of(tmp_path, *texts).data.build().train
    positions = {id_: n for n, id_ in enumerate(train.documents.ids)}
    query_positions = {id_: n for n, id_ in enumerate(train.queries.ids)}
    ours = {
        (train.queries[query_positions[row["query_id"]]], train.documents[positions[row["positive_id"]]]): row
        for row in mined
        if row["negatives"]
    }
    found = mine_hard_negatives(
        Dataset.from_dict({"query": [query for query, _ in ours], "answer": [answer for _, answer in ours]}),
        SentenceTransformer(str(tmp_path / "text")),
        corpus=[train.documents[n] for n in range(len(train.documents))],
        num_negatives=5,
        range_min=2,
        range_max=60,
        output_format="labeled-list",
        output_scores=True,
        verbose=False,
        **margins,
    )
    assert len(found) == len(ours) > 10
    for row in found:
        positive, *negatives = row["answer"]
        own = ours[row["query"], positive]
        assert [train.documents[positions[id_]] for id_ in own["negatives"]] == negatives
        assert [own["positive_score"], *own["scores"]] == pytest.approx(row["scores"], abs=1e-5)


def test_training_takes_as_many_of_the_mined_negatives_as_it_is_told(tmp_path):
    common = [*SMALL, *MADE_UP, *NO_BOUNDS]
    mined = mine_in(tmp_path, *common, "mine.num_negatives=6")
    negatives = negatives_in(mined)
    data = mining_of(tmp_path, *MADE_UP, "data.num_negatives=2").data
    own = data.build()
    data.negatives = str(mined / "negatives.parquet")
    taken = data.build()
    data.negatives = str(mined)  # the folder is good, too
    assert data.build().train.rows == taken.train.rows
    ids = taken.train.documents.ids
    assert {ids[row.positive]: [ids[n] for n in row.negatives] for row in taken.train.rows} == {
        positive: names[:2] for positive, names in negatives.items()
    }
    assert taken.fingerprint() == own.fingerprint()  # the evaluation is the same
    chosen = ["data.num_negatives=5", f"data.negatives={data.negatives}", "trainer.eval_strategy=no"]
    result = run_in(tmp_path, "+experiment=vdr_tiny", *SMALL, *QUICK, "dims=halves", *MADE_UP, *chosen)
    assert result["status"] == "finished"
    data.num_negatives = 7
    with pytest.raises(ConfigError, match=r"data\.num_negatives=7 is more than the data has.* Use .*=6 or less"):
        data.build()
    data.num_negatives = 1
    with pytest.raises(ConfigError, match=r"was mined when query 'train-0000' or a page of it was another"):
        replace(data, seed=7).build()  # draws other pages under the same names


def test_rows_that_were_not_mined_are_left_out_and_counted(pages, tmp_path, caplog):
    mined = mine_in(tmp_path, *of(pages), *NO_BOUNDS, "data.max_train_rows=8", "mine.num_negatives=3")
    data = mining_of(tmp_path, *of(pages), "data.num_negatives=3").data
    data.negatives = str(mined / "negatives.parquet")
    assert len(data.build().train.rows) == 8
    assert "names 8 of 11 training rows" in caplog.text
    assert "3 of 11 training rows have fewer than data.num_negatives=3" in caplog.text


def test_a_file_that_does_not_fit_the_data_is_refused(pages, tmp_path):
    mined = mine_in(tmp_path, *of(pages), *NO_BOUNDS, "mine.num_negatives=3")
    data = mining_of(tmp_path, *of(pages)).data
    data.negatives = str(tmp_path / "nothing.parquet")
    with pytest.raises(ConfigError, match=r"nothing\.parquet cannot be read: .*python -m mmexp\.mine"):
        data.build()
    data.negatives = str(pages / "train.jsonl")
    with pytest.raises(ConfigError, match=r"train\.jsonl holds no mined negatives"):
        data.build()
    data.negatives = str(mined / "negatives.parquet")
    gone = negatives_in(mined)["p00"][0]
    used = [file for file in (pages / "pages").iterdir() if file.stem == gone]
    if not used:
        used = [pages / "pages" / "scan.pdf"]
    lines = (pages / "train.jsonl").read_text().splitlines(keepends=True)
    (pages / "train.jsonl").write_text(lines[0])
    used[0].rename(tmp_path / used[0].name)
    with pytest.raises(ConfigError, match=rf"names page '{gone}' for query 'train-0', and the data has no such page"):
        data.build()
    (pages / "train.jsonl").write_text(json.dumps({"query": "another", "positive": "p09"}))
    with pytest.raises(ConfigError, match=r"names none of the 1 training rows"):
        data.build()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["mine.num_negatives=0"], r"mine\.num_negatives=0 is below 1"),
        (["mine.relative_margin=-0.1"], r"mine\.relative_margin=-0\.1 is below 0"),
        (["mine.range_max=10"], r"mine\.range_max=10 leaves fewer than mine\.num_negatives=16"),
        (["mine.document_pattern=scan"], r"has no group that names the document"),
        (["mine.document_pattern='('"], r"is no regular expression"),
        (["mine.num_processes=2"], r"mine\.process=0 to mine\.process=1"),
        (["mine.process=2", "mine.num_processes=2"], r"mine\.process=2 is none of mine\.num_processes=2"),
        (["data.negatives=x"], r"data\.negatives=x would be ignored"),
        (["reranker_arch=any_to_any", "loss=lambda", "dims=none"], r"mining needs an embedder"),
        (
            ["data=hub_columns", "data.path=x", "data.label_column=y", "loss=cosent", "data.num_negatives=0"],
            r"data\.label_column=y would be",
        ),
    ],
)
def test_what_cannot_be_mined_is_refused(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        mining_of(tmp_path, *overrides)


def cli(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(CONF.parent)}
    command = [sys.executable, "-m", "mmexp.mine", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_what_would_be_ignored_or_lost_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"launch=slurm would be ignored: mining runs in the process that is started"):
        mining_of(tmp_path).start(tmp_path, ["launch=slurm"])
    swept = cli(tmp_path, "-m", "mine.relative_margin=0.05,0.1")
    assert swept.returncode == 2
    assert "mine.relative_margin=0.05,0.1 cannot be swept" in swept.stderr
    assert not list(tmp_path.iterdir())


def test_a_query_that_asks_something_else_is_another_even_under_its_id():
    def content(words: str) -> str:
        return _content(Side("query", Values(["train-0"], [words]), [0], 1))

    assert content("what is a cat") == content("what is a cat") != content("what is a bat")


def test_the_command_leaves_a_folder_and_the_command_that_trains_with_it(tmp_path):
    done = cli(
        tmp_path, *MADE_UP, *SMALL, "mine.num_negatives=2", "mine.relative_margin=0.01", "trainer.bf16=true"
    )  # which is for training
    assert done.returncode == 0, done.stderr[-2000:]
    folder = tmp_path / "multirun" / "mined" / "made_up_pages" / "tiny_vlm"
    assert len(rows_in(folder)) == 30
    report = report_in(folder)
    assert report["mine"]["relative_margin"] == 0.01
    assert report["num_candidates"] == 30
    assert len(report["model"]["weights"]) == 16
    assert f"data.negatives={folder}/negatives.parquet" in done.stdout
    wrong = cli(tmp_path, "mine.num_negativs=3")
    assert wrong.returncode == 2
    assert (
        wrong.stderr
        == "mmexp: mine.num_negativs is no key of the config. Did you mean 'num_negatives'? "
        + (wrong.stderr.partition("'? ")[2])
    )


def test_looking_at_the_config_of_a_mining_imports_no_torch(tmp_path):
    code = (
        "import sys; from mmexp.__main__ import main; from mmexp.mine.settings import MiningExperiment\n"
        "main(['--cfg', 'job'], 'mine', MiningExperiment)\n"
        "assert not {'torch', 'transformers', 'sentence_transformers', 'datasets'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(CONF.parent)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "relative_margin: 0.05" in done.stdout
