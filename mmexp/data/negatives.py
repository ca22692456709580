"""Hard negatives by id, in a file of their own: what mining writes, and what `data.negatives` reads.

A row per (query, positive): query_id, positive_id, negatives (ids, highest score first), scores, positive_score, and a
fingerprint of the query and the pages. Pages are resolved in the data that is trained on, so nothing is stored twice.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mmexp.data.cells import Joined, first_of_each
from mmexp.data.splits import Row, Split
from mmexp.recording.run_files import whole_file
from mmexp.schema import ConfigError

log = logging.getLogger(__name__)


@dataclass
class MinedRow:
    """What was mined for one query and one page that answers it."""

    query_id: str
    positive_id: str
    negatives: list[str]
    scores: list[float]
    positive_score: float
    fingerprint: str


def write_negatives(file: Path, rows: list[MinedRow]) -> None:
    """Write the rows as parquet, whole or not at all."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "query_id": pa.string(),
        "positive_id": pa.string(),
        "negatives": pa.list_(pa.string()),
        "scores": pa.list_(pa.float32()),
        "positive_score": pa.float32(),
        "fingerprint": pa.string(),
    }
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=pa.schema(columns))
    with whole_file(file) as stream:
        parquet.write_table(table, stream)


def fingerprint(split: Split, query: int, pages: Iterable[int]) -> str:
    """16 hexadecimal digits over a query and the ids and sizes of pages. Reads no page."""
    import xxhash

    sizes = [(split.documents.ids[page], split.documents.size(page)) for page in pages]
    return xxhash.xxh3_64_hexdigest(f"{split.queries.digest(query)} {sizes}".encode())


def page_positions(split: Split) -> dict[str, int]:
    """{page id: index of its first occurrence} for every document of the split, whether its rows name it or not."""
    positions: dict[str, int] = {}
    for index, id_ in enumerate(split.documents.ids):
        positions.setdefault(id_, index)
    return positions


def evaluation_pages(train: Split, evaluation: Split, pages: Collection[int]) -> set[int]:
    """Those of the training split's documents `pages` that belong to the evaluation, found by content.

    They answer an evaluation query, or are searched by the evaluation and answer no training query.
    """
    answers = {row.positive for row in evaluation.rows}
    trained = {row.positive for row in train.rows}
    both = Joined([evaluation.documents, train.documents])
    offset = len(evaluation.documents)
    first = first_of_each(both, [*evaluation.corpus, *(offset + page for page in pages)])
    twins = {page: first[offset + page] for page in pages}
    return {page for page, twin in twins.items() if twin in answers or (twin < offset and page not in trained)}


class MinedNegatives:
    """The file of `data.negatives`. Raises `ConfigError` where it is none."""

    def __init__(self, path: str) -> None:
        from pyarrow import ArrowInvalid, parquet

        self.path = path
        remedy = "Give the negatives.parquet that python -m mmexp.mine wrote."
        file = Path(path).expanduser()
        file = file / "negatives.parquet" if path and file.is_dir() else file
        try:
            with file.open("rb") as stream:
                rows = [MinedRow(**row) for row in parquet.read_table(stream).to_pylist()]
        except OSError as error:
            raise ConfigError(f"data.negatives={path} cannot be read: {error}. {remedy}") from error
        except (ArrowInvalid, TypeError) as error:
            raise ConfigError(f"data.negatives={path} holds no mined negatives: {error}. {remedy}") from error
        self._rows = {(row.query_id, row.positive_id): row for row in rows}

    def replace_negatives(self, train: Split, evaluation: Split) -> Split:
        """The training split with the mined negatives in place of its own, all that there are.

        Rows that the file does not name have none. Raises `ConfigError` where the file was mined on other data, or
        names a page that belongs to the evaluation.
        """
        positions = page_positions(train)
        relevant = train.relevant
        rows = []
        for row in train.rows:
            negatives = self._negatives_of(row, train, positions)
            rows.append(replace(row, negatives=[page for page in negatives if page not in relevant[row.query]]))
        self._count_named(train)
        replaced = replace(train, rows=rows)
        self._refuse_evaluation_pages(replaced, evaluation)
        return replaced

    def _negatives_of(self, row: Row, train: Split, positions: dict[str, int]) -> list[int]:
        mined = self._rows.get(_key(row, train))
        if mined is None:
            return []
        query = train.queries.ids[row.query]
        for id_ in mined.negatives:
            if id_ not in positions:
                raise ConfigError(
                    f"data.negatives={self.path} names page {id_!r} for query {query!r}, and the data has no such "
                    "page. Use the data that it was mined on, or mine again."
                )
        negatives = [positions[id_] for id_ in mined.negatives]
        if fingerprint(train, row.query, [row.positive, *negatives]) != mined.fingerprint:
            raise ConfigError(
                f"data.negatives={self.path} was mined when query {query!r} or a page of it was another. Use the data "
                "that it was mined with (negatives.json; of made-up pages, with its data.seed), or mine again."
            )
        return negatives

    def _count_named(self, train: Split) -> None:
        named = sum(_key(row, train) in self._rows for row in train.rows)
        if not named:
            raise ConfigError(
                f"data.negatives={self.path} names none of the {len(train.rows)} training rows: it was mined on other "
                "data. Mine again with this data."
            )
        if named < len(train.rows):
            log.warning(
                "data.negatives=%s names %d of %d training rows; the others have no hard negatives",
                self.path,
                named,
                len(train.rows),
            )

    def _refuse_evaluation_pages(self, train: Split, evaluation: Split) -> None:
        mined = {page for row in train.rows for page in row.negatives}
        if leaked := evaluation_pages(train, evaluation, mined):
            raise ConfigError(
                f"data.negatives={self.path} holds {len(leaked)} pages that this run evaluates on, such as "
                f"{train.documents.ids[min(leaked)]!r}: other pages were held out when it was mined. Use the "
                "data, and data.seed, that it was mined with (negatives.json), or mine again."
            )


def _key(row: Row, split: Split) -> tuple[str, str]:
    return split.queries.ids[row.query], split.documents.ids[row.positive]
