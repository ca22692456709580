"""Which queries and pages are held out where the data has no evaluation rows, and what is left to train on."""

import json
from pathlib import Path

import pytest

from mmexp.data.cells import Values
from mmexp.data.folder import Folder
from mmexp.data.hub_columns import HubColumns
from mmexp.data.hub_ids import HubIds
from mmexp.data.splits import Row, Split, hold_out_documents
from mmexp.schema import ConfigError
from tests.conftest import page


def split_of(answers: dict[int, list[int]], negatives: dict[int, list[int]] | None = None) -> Split:
    """Rows of {query: pages that answer it}."""
    rows = [Row(query, page, (negatives or {}).get(query, [])) for query, pages in answers.items() for page in pages]
    cells = Values([str(n) for n in range(100)], list(range(100)))
    return Split(cells, cells, rows)


@pytest.mark.parametrize("seed", range(8))
def test_all_pages_that_answer_an_evaluation_query_count_as_answers_and_are_in_no_training_row(seed):
    answers = {query: [query, (query + 1) % 40] if query % 4 else [query] for query in range(40)}  # chains of pages
    negatives = {query: [(query + 7) % 40] for query in answers}
    train, evaluation = hold_out_documents(split_of(answers, negatives), 8, seed)
    assert 8 <= len(evaluation.relevant) <= 9
    assert all(evaluation.relevant[query] == set(answers[query]) for query in evaluation.relevant)
    held_out = set().union(*evaluation.relevant.values())
    assert not train.relevant.keys() & evaluation.relevant.keys()
    assert not held_out & {page for row in train.rows for page in (row.positive, *row.negatives)}


def test_pages_that_share_a_query_go_together_so_that_no_row_is_lost():
    """Twenty groups of three pages, each of which shares a query with the next."""
    answers = {}
    for first in range(0, 60, 3):
        answers |= {first: [first, first + 1], first + 1: [first + 1, first + 2], first + 2: [first + 2]}
    split = split_of(answers)
    train, evaluation = hold_out_documents(split, 6, seed=1)
    assert len(evaluation.relevant) == 6
    assert len(train.rows) + len(evaluation.rows) == len(split.rows)


def test_rows_whose_page_is_held_out_for_another_query_are_counted(caplog):
    """Of a ring of queries and pages, a part is held out: the query at either end loses one of its two pages."""
    split = split_of({query: [query, (query + 1) % 40] for query in range(40)})
    train, evaluation = hold_out_documents(split, 8, seed=0)
    assert (len(evaluation.rows), len(train.rows)) == (16, 62)
    assert "2 training rows are left out: their page answers a query that is held out" in caplog.text


def one_page(folder: Path) -> Path:
    (folder / "pages").mkdir()
    page(1).save(folder / "pages" / "p.png")
    lines = [json.dumps({"query": f"question {n}", "positive": "p"}) for n in range(6)]
    (folder / "train.jsonl").write_text("\n".join(lines))
    return folder


def test_to_hold_out_everything_is_refused_with_what_would_leave_some(doodles, vdr_ids, page_folder, tmp_path):
    (page_folder / "eval.jsonl").unlink()
    columns = {"path": str(doodles), "query_column": "text", "num_negatives": 0}
    refused = {
        "num_eval_queries=300 holds out all 50 .* Use data.num_eval_queries=5, f": HubColumns(**columns),
        "eval_fraction=0.99 holds out all 50 .* Use data.eval_fraction=0.1, f": HubColumns(
            **columns, eval_fraction=0.99
        ),
        "num_eval_queries=300 holds out all 24 .* Use data.num_eval_queries=2, f": HubIds(path=str(vdr_ids)),
        "eval_fraction=0.99 holds out all 18 .* Use data.eval_fraction=0.1, f": Folder(
            path=str(page_folder), eval_fraction=0.99
        ),
        "eval_fraction=0.1 holds out all 6 .* Give it more pages": Folder(path=str(one_page(tmp_path))),
    }
    for message, data in refused.items():
        with pytest.raises(ConfigError, match=rf"^data\.{message}"):
            data.build()
        assert data.build(for_training=False).evaluation.rows
