"""What every source says of its queries, for breakdowns."""

import json
import math

import pytest

from mmexp.data.attributes import MAX_LENGTH, attributes_of
from mmexp.data.folder import Folder
from mmexp.data.hub_columns import HubColumns
from mmexp.data.hub_ids import HubIds
from mmexp.data.made_up_pages import MadeUpPages
from mmexp.data.pairs import Direction, judged
from tests.conftest import vdr_columns_rows, write_config, write_readme


def described(split):
    return split.described(lambda row: row.query)


def test_short_texts_numbers_and_truth_values_are_attributes_and_nothing_else_is():
    records = [
        {"query": "a", "language": "en", "year": 2020, "is_scan": True, "words": "x" * (MAX_LENGTH + 1), "score": 0.5},
        {"query": "b", "language": None, "year": "unknown", "is_scan": False, "tags": ["x"], "score": 1},
        {"query": "c", "year": 2021, "is_scan": None, "score": math.nan},
    ]
    expected = {"language": ["en", None, None], "year": ["2020", "unknown", "2021"], "is_scan": [True, False, None]}
    expected["score"] = [0.5, 1.0, None]
    assert type(attributes_of(records, besides={"query"})["score"][1]) is float  # one type in a column
    assert attributes_of(records, besides={"query"}) == expected


def test_made_up_pages_say_what_each_question_is_about():
    data = MadeUpPages(num_train_pages=5, num_eval_pages=10).build()
    found = described(data.evaluation)
    assert list(found) == list(data.evaluation.relevant)
    for query, attributes in found.items():
        assert all(attributes[name] in data.evaluation.queries[query] for name in ("topic", "banner", "chart"))
    assert list(found[0]) == ["document", "topic", "banner", "chart", "chart_color", "table_color", "place"]


def test_columns_of_a_data_set_are_attributes_where_they_are_small(tmp_path):
    from datasets import Image, Value

    rows = vdr_columns_rows(4, 1, 0)
    rows |= {"topic": ["tax", "law", "tax", None], "text": ["w " * 99] * 4, "year": [1, 2, 3, 4]}
    features = {"query": Value("string"), "image": Image(), "negative_0": Image()}
    features |= {"topic": Value("string"), "text": Value("string"), "year": Value("int32")}
    write_config(tmp_path, "all", rows, features)
    write_readme(tmp_path, ["all"])
    train, _ = HubColumns(path=str(tmp_path), train_config="all").read()
    assert train.attributes == {"topic": ["tax", "law", "tax", None], "year": [1, 2, 3, 4]}


def test_languages_are_known_of_every_query_also_of_those_held_out(vdr_ids):
    data = HubIds(path=str(vdr_ids), languages=["en", "de"], num_eval_queries=8).build()
    found = described(data.evaluation)
    assert {attributes["language"] for attributes in found.values()} == {"en", "de"}
    for query, attributes in found.items():
        assert data.evaluation.queries[query].startswith(attributes["language"])


def test_other_keys_of_an_example_are_attributes_and_a_pdf_is_the_document_of_its_pages(page_folder):
    file = page_folder / "eval.jsonl"
    examples = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("\n".join(json.dumps({**example, "language": "en"}) for example in examples))
    data = Folder(path=str(page_folder), check_pages=False).build()
    found = list(described(data.evaluation).values())
    assert [attributes["language"] for attributes in found] == ["en"] * len(examples)
    positives = [example["positive"] for example in examples]
    documents = ["scan.pdf" if positive.startswith("scan-") else None for positive in positives]
    assert "scan.pdf" in documents
    for attributes, document in zip(found, documents, strict=True):
        assert document is None or attributes["document"] == document


@pytest.mark.parametrize("direction", [Direction.text_to_image, Direction.image_to_text])
def test_what_asks_is_described_in_both_directions(direction):
    split = MadeUpPages(num_train_pages=5, num_eval_pages=10).build().evaluation
    view = judged(split, direction)
    assert view.described.keys() == view.relevant.keys()
    for query, answers in view.relevant.items():
        topic = view.described[query]["topic"]
        text = split.queries[query if direction is Direction.text_to_image else min(answers)]
        assert topic in text
