import json
import re
import shutil

import pytest
from PIL import Image

from mmexp.data import OnBadPage
from mmexp.data.cells import BadPage
from mmexp.data.folder import Folder
from mmexp.data.hub_columns import HubColumns
from mmexp.data.hub_ids import HubIds
from mmexp.data.pairs import training_examples
from mmexp.data.splits import RetrievalData
from mmexp.schema import ConfigError
from tests.conftest import page, png, vdr_columns_rows, write_config, write_examples, write_readme

COLUMNS = {"train_config": "train", "eval_config": "eval", "eval_split": "train"}


def test_pages_in_columns_give_the_recipes_rows_and_corpus(vdr_columns):
    data = HubColumns(path=str(vdr_columns), num_negatives=2, **COLUMNS).build()
    assert len(data.train.rows) == 24
    assert len(data.evaluation.relevant) == 6
    assert len(data.evaluation.corpus) == 6 * 5  # positives and all four negatives, whatever num_negatives is
    columns = training_examples(data.train).dataset()
    assert columns.column_names == ["query", "positive", "negative_0", "negative_1"]
    row = columns[3]
    assert row["query"] == "what is on page 3"
    assert row["positive"].tobytes() == page(3).tobytes()
    assert row["negative_1"].tobytes() == page(24 * 2 + 3).tobytes()


@pytest.mark.parametrize("num_negatives", [0, 1, 4])
def test_every_number_of_negatives_is_a_view_of_the_same_rows(vdr_columns, num_negatives):
    data = HubColumns(path=str(vdr_columns), num_negatives=num_negatives, **COLUMNS).build()
    assert len(training_examples(data.train).dataset().column_names) == 2 + num_negatives


def test_more_negatives_than_the_data_has_are_refused_with_the_number_it_has(vdr_columns):
    with pytest.raises(ConfigError, match=r"data\.num_negatives=5 .* Use data\.num_negatives=4 or less"):
        HubColumns(path=str(vdr_columns), num_negatives=5, **COLUMNS).build()


def test_a_page_that_occurs_twice_is_one_document_and_never_its_own_negative(tmp_path):
    from datasets import Image as ImageFeature
    from datasets import Value

    rows = vdr_columns_rows(4, 2, 0)
    rows["negative_0"][0] = rows["image"][0]  # its own negative
    rows["negative_1"][1] = rows["image"][2]  # another row's positive
    features = {"query": Value("string"), **{name: ImageFeature() for name in rows if name != "query"}}
    for config in ("train", "eval"):
        write_config(tmp_path, config, rows, features)
    write_readme(tmp_path, ["train", "eval"])

    merged = HubColumns(path=str(tmp_path), num_negatives=1, **COLUMNS).build()
    assert len(merged.evaluation.corpus) == 4 * 3 - 2
    assert all(row.positive not in row.negatives for row in merged.evaluation.rows + merged.train.rows)
    assert merged.evaluation.rows[1].negatives[1] == merged.evaluation.rows[2].positive

    recipe = HubColumns(path=str(tmp_path), num_negatives=1, deduplicate_corpus=False, **COLUMNS).build()
    assert len(recipe.evaluation.corpus) == 4 * 3
    assert recipe.fingerprint() != merged.fingerprint()


def test_columns_are_ordered_by_role_whatever_their_names_and_order(tmp_path):
    from datasets import Image as ImageFeature
    from datasets import Value

    rows = vdr_columns_rows(5, 1, 0)
    renamed = {
        "wrong_0": rows["negative_0"],
        "answer": rows["image"],
        "score": [0.1, 0.2, 0.3, 0.4, 0.5],
        "question": rows["query"],
    }
    features = {
        "wrong_0": ImageFeature(),
        "answer": ImageFeature(),
        "score": Value("float32"),
        "question": Value("string"),
    }
    write_config(tmp_path, "train", renamed, features)
    write_readme(tmp_path, ["train"])
    data = HubColumns(
        path=str(tmp_path),
        train_config="train",
        eval_config="train",
        eval_split="train",
        query_column="question",
        positive_column="answer",
        negative_columns="wrong_{}",
    ).build()
    row = training_examples(data.train).dataset()[2]
    assert list(row) == ["query", "positive", "negative_0"]
    assert row["query"] == "what is on page 2"
    assert row["positive"].tobytes() == page(2).tobytes()


def test_a_column_that_does_not_exist_is_named_with_the_nearest(vdr_columns):
    with pytest.raises(ConfigError, match=r"data\.query_column=qeury .* Did you mean 'query'"):
        HubColumns(path=str(vdr_columns), query_column="qeury", **COLUMNS).build()


def test_a_data_set_that_cannot_be_reached_is_named():
    with pytest.raises(ConfigError, match=r"data\.path=nobody/nothing .* cannot be opened"):
        HubColumns(path="nobody/nothing", **COLUMNS).build()


def test_two_folders_of_one_name_and_a_folder_that_changes_are_never_mixed_up(tmp_path):
    from datasets import Image as ImageFeature
    from datasets import Value

    features = {"query": Value("string"), "image": ImageFeature(), "negative_0": ImageFeature()}

    def first_query(parent: str, first_page: int) -> str:
        folder = tmp_path / parent / "data"
        if folder.exists():
            shutil.rmtree(folder)
        write_config(folder, "train", vdr_columns_rows(4, 1, first_page), features)
        write_readme(folder, ["train"])
        return HubColumns(path=str(folder), train_config="train", eval_split="train").read()[0].queries[0]

    assert first_query("a", 0) == "what is on page 0"
    assert first_query("b", 100) == "what is on page 100"
    assert first_query("a", 200) == "what is on page 200"


def test_arrow_on_disk_and_imagefolder_are_read_as_columns(tmp_path, vdr_columns):
    from datasets import load_dataset

    load_dataset(str(vdr_columns), "train", split="train").save_to_disk(tmp_path / "arrow")
    from_arrow = HubColumns(path=str(tmp_path / "arrow"), num_eval_queries=4).build()
    assert len(from_arrow.train.rows) == 20

    images = tmp_path / "images"
    images.mkdir()
    for number in range(6):
        page(number).save(images / f"{number}.png")
    lines = [json.dumps({"file_name": f"{n}.png", "query": f"what is on page {n}"}) for n in range(6)]
    (images / "metadata.jsonl").write_text("\n".join(lines))
    from_images = HubColumns(path=str(images), num_negatives=0, num_eval_queries=2).build()
    row = training_examples(from_images.train).dataset()[0]
    assert row["positive"].tobytes() == page(int(row["query"].rsplit(" ", 1)[1])).tobytes()


def test_what_save_to_disk_wrote_is_read_as_nothing_else(tmp_path, vdr_columns):
    from datasets import DatasetDict, load_dataset

    saved = {name: load_dataset(str(vdr_columns), name, split="train") for name in ("train", "eval")}
    saved["train"].save_to_disk(tmp_path / "one")
    load_dataset(str(vdr_columns), "train", split="train[:9]").save_to_disk(tmp_path / "part")
    DatasetDict({"train": saved["train"], "test": saved["eval"]}).save_to_disk(tmp_path / "both")

    def build(name: str, **kwargs) -> RetrievalData:
        return HubColumns(path=str(tmp_path / name), num_eval_queries=4, **kwargs).build()

    for others in [
        {"eval_split": "test"},
        {"train_split": "train[:4]"},
        {"eval_split": "train", "eval_config": "eval"},
    ]:
        with pytest.raises(
            ConfigError, match=r"data\.path=.*one was written by save_to_disk and holds config train, spl"
        ):
            build("one", **others)
    with pytest.raises(ConfigError, match=r"both was written by save_to_disk and holds config train, split train, not"):
        build("both", train_config="eval")
    with pytest.raises(ConfigError, match=r"split dev\) cannot be opened"):
        build("both", eval_split="dev")
    assert len(build("one", train_config="train").train.rows) == 20
    assert len(build("part").train.rows) == 5
    both = build("both", eval_split="test")
    assert (len(both.train.rows), len(both.evaluation.rows)) == (24, 6)


def test_pages_in_files_of_their_own_are_compared_by_content_and_decoded_reduced(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for number in range(6):
        page(number % 5, (400, 600)).save(images / f"{number}.jpg")
    lines = [json.dumps({"file_name": f"{n}.jpg", "query": f"what is in file {n}"}) for n in range(6)]
    (images / "metadata.jsonl").write_text("\n".join(lines))
    data = HubColumns(path=str(images), num_negatives=0, eval_fraction=0.01, jpeg_pixels=100 * 150).build()
    positives = {data.train.queries[row.query]: row.positive for row in [*data.train.rows, *data.evaluation.rows]}
    assert positives["what is in file 0"] == positives["what is in file 5"]
    assert data.train.documents[data.train.rows[0].positive].size == (100, 150)


def test_evaluation_alone_asks_nothing_of_the_training_rows(vdr_columns, doodles):
    """Neither negatives, nor a mined file, nor that their pages can be decoded."""
    data = HubColumns(path=str(doodles), query_column="text", num_eval_queries=4, on_bad_page=OnBadPage.skip)
    with pytest.raises(ConfigError, match=r"data\.num_negatives=1 is more than the data has"):
        data.build()
    assert len(data.build(for_training=False).evaluation.rows) == 4
    mined = HubColumns(path=str(doodles), query_column="text", num_eval_queries=4, negatives="no-such-file")
    assert len(mined.build(for_training=False).evaluation.rows) == 4


def test_negative_ids_are_resolved_within_each_language(vdr_ids):
    data = HubIds(path=str(vdr_ids), languages=["en", "de"], num_negatives=16, num_eval_queries=6, seed=0).build()
    ids = data.train.documents.ids
    for row in data.train.rows:
        language = data.train.queries[row.query].split()[0]
        assert {ids[d].split("/")[0] for d in (row.positive, *row.negatives)} == {language}
    languages = {data.train.queries[row.query].split()[0] for row in data.train.rows}
    assert languages == {"en", "de"}


def test_rows_without_a_query_are_documents_only(vdr_ids):
    data = HubIds(path=str(vdr_ids), languages=["en"], num_negatives=0, num_eval_queries=4).build()
    assert len(data.train.rows) + len(data.evaluation.rows) == 24
    assert "en/en-2" in [data.evaluation.documents.ids[d] for d in range(36)]


def test_a_negative_id_without_a_page_is_named(tmp_path):
    from datasets import Image as ImageFeature
    from datasets import List, Value

    columns = {"id": ["a", "b"], "query": ["x", "y"], "image": [page(1), page(2)], "negatives": [["b"], ["gone"]]}
    features = {
        "id": Value("string"),
        "query": Value("string"),
        "image": ImageFeature(),
        "negatives": List(Value("string")),
    }
    write_config(tmp_path, "en", columns, features)
    write_readme(tmp_path, ["en"])
    with pytest.raises(ConfigError, match="row 'b' names the negative 'gone'"):
        HubIds(path=str(tmp_path)).build()


def test_held_out_pages_are_in_no_training_row(vdr_ids):
    data = HubIds(path=str(vdr_ids), languages=["en", "de"], num_negatives=1, num_eval_queries=8, seed=3).build()
    answers = {row.positive for row in data.evaluation.rows}
    assert len(data.evaluation.relevant) >= 8
    for row in data.train.rows:
        assert row.positive not in answers
        assert not answers & set(row.negatives)


def test_a_folder_holds_images_of_every_kind_and_pdf_pages(page_folder):
    data = Folder(path=str(page_folder), num_negatives=3).build()
    ids = list(data.train.documents.ids)
    assert len(ids) == 24
    scan = data.train.documents[ids.index("scan-002")]
    assert scan.mode == "RGB"
    assert max(scan.size) == 1100
    assert data.train.documents[ids.index("p00")].tobytes() == page(3000).tobytes()
    assert len(data.train.rows) == 18
    assert len(data.evaluation.relevant) == 6


def test_a_folder_without_evaluation_lines_is_split_by_document(page_folder):
    (page_folder / "eval.jsonl").unlink()
    data = Folder(path=str(page_folder), eval_fraction=0.2, num_negatives=1).build()
    answers = {row.positive for row in data.evaluation.rows}
    assert len(answers) == 4
    assert all(not answers & {row.positive, *row.negatives} for row in data.train.rows)
    other = Folder(path=str(page_folder), eval_fraction=0.2, num_negatives=1, seed=1).build()
    assert {row.positive for row in other.evaluation.rows} != answers


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "train.jsonl").write_text('{"query": "a",\n'), r"train\.jsonl, line 1 is not JSON"),
        (lambda f: (f / "train.jsonl").write_text('{"query": "a"}\n'), r"line 1 has no positive"),
        (lambda f: (f / "train.jsonl").write_text('{"query": "", "positive": "p00"}\n'), r"line 1 has no query"),
        (lambda f: (f / "train.jsonl").write_text("[1]\n"), r"line 1 has no query"),
        (
            lambda f: (f / "train.jsonl").write_text('\n{"query": 5, "positive": "p00"}\n'),
            r"line 2 has 5 as query, which is no text",
        ),
        (
            lambda f: (f / "train.jsonl").write_text('{"query": "a", "positive": ["p00"]}\n'),
            r'line 1 has \["p00"\] as positive, which is no text',
        ),
        *(
            (
                lambda f, negatives=negatives: (f / "train.jsonl").write_text(
                    json.dumps({"query": "a", "positive": "p00", "negatives": negatives})
                ),
                rf"line 1 has {re.escape(json.dumps(negatives))} as negatives, which is no list of pages",
            )
            for negatives in ("p01", "", [["p01"]], {"p01": 1}, 0)
        ),
        (
            lambda f: (f / "train.jsonl").write_bytes('{"query": "Café", "positive": "p00"}'.encode("latin-1")),
            r"train\.jsonl, line 1 is not UTF-8: .* Save the file as UTF-8",
        ),
        (lambda f: (f / "train.jsonl").write_text(""), r"holds no examples"),
        (lambda f: (f / "train.jsonl").unlink(), r"train\.jsonl does not exist"),
        (
            lambda f: write_examples(f / "train.jsonl", ["p000"], ["p000", "p01"]),
            r"names page 'p000'.*Did you mean 'p00'",
        ),
        (lambda f: [p.unlink() for p in (f / "pages").iterdir()], r"holds no pages"),
        (lambda f: (f / "pages" / "p00.webp").write_bytes(b""), r"are both page 'p00'"),
        (lambda f: (f / "pages" / "bad.pdf").write_bytes(b"not a PDF"), r"bad\.pdf is no readable PDF"),
    ],
)
def test_a_broken_folder_is_refused_with_the_place_that_is_broken(page_folder, break_it, message):
    break_it(page_folder)
    with pytest.raises(ConfigError, match=message):
        Folder(path=str(page_folder)).build()


def test_negatives_that_are_null_are_none(page_folder):
    example = {"query": "Café", "positive": "p00", "negatives": None}
    (page_folder / "train.jsonl").write_bytes(json.dumps(example, ensure_ascii=False).encode() + b"\r\n\r\n")
    data = Folder(path=str(page_folder), num_negatives=0).build()
    assert (data.train.queries[0], data.train.rows[0].negatives) == ("Café", [])


def test_a_missing_folder_and_pages_without_pixels_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.pdf_longest_side=0 is below 1"):
        Folder(path=str(tmp_path), pdf_longest_side=0)
    with pytest.raises(ConfigError, match=r"data\.path=.*is no folder"):
        Folder(path=str(tmp_path / "nowhere")).build()


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b"no image at all"])
def test_a_corrupt_page_is_named_or_skipped_and_counted(page_folder, damage):
    file = page_folder / "pages" / "p04.png"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(BadPage, match=r"page 'p04' cannot be decoded.*data\.on_bad_page=skip"):
        Folder(path=str(page_folder)).build()

    data = Folder(path=str(page_folder), on_bad_page=OnBadPage.skip, num_negatives=2).build()
    bad = list(data.train.documents.ids).index("p04")
    assert data.skipped_pages == ["p04"]
    assert all(bad not in (row.positive, *row.negatives) for row in data.train.rows + data.evaluation.rows)
    assert len(data.train.rows) == 17


def test_real_pages_are_read(ocr_pages):
    data = Folder(path=str(ocr_pages), num_negatives=1).build()
    assert (len(data.train.rows), len(data.evaluation.relevant)) == (259, 30)
    assert isinstance(data.train.documents[0], Image.Image)


def test_limits_take_the_first_rows_and_only_their_documents(vdr_columns):
    data = HubColumns(path=str(vdr_columns), max_train_rows=5, max_eval_queries=2, **COLUMNS).build()
    assert len(data.train.rows) == 5
    assert len(data.evaluation.corpus) == 2 * 5


def test_cells_may_be_paths_and_dicts_of_text_and_image(tmp_path):
    from datasets import Image as ImageFeature
    from datasets import Value

    from mmexp.models.facts import check_modalities
    from mmexp.models.tiny_vlm import TinyVlm

    page(1).save(tmp_path / "page.png")
    path, text = str(tmp_path / "page.png"), Value("string")
    sources = {
        "paths": ([path] * 3, text),
        "dicts": ([{"text": f"page {n}", "image": path} for n in range(3)], {"text": text, "image": text}),
        "media": (
            [{"text": f"page {n}", "image": {"bytes": png(n), "path": None}} for n in range(3)],
            {"text": text, "image": ImageFeature()},
        ),
    }
    model = TinyVlm(hidden_size=32, num_layers=1, vision_hidden_size=32).build()
    for name, (pages, feature) in sources.items():
        folder = tmp_path / name
        write_config(folder, "train", {"query": ["a", "b", "c"], "image": pages}, {"query": text, "image": feature})
        write_readme(folder, ["train"])
        source = HubColumns(path=str(folder), train_config="train", num_eval_queries=1, num_negatives=0)
        split = source.build(for_training=False).evaluation
        check_modalities(model, split)
        assert "pixel_values" in model.preprocess([split.documents[split.rows[0].positive]]), name
