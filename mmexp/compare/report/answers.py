"""What runs answered: texts of queries, relevant documents and best documents, and attributes of the queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmexp.data.attributes import PREFIX
from mmexp.recording.unreadable import reading

if TYPE_CHECKING:
    import pyarrow as pa

    from mmexp.compare.runs import Run

TOP = 3


@dataclass(frozen=True)
class Answer:
    """One query, and what a run made of it."""

    text: str | None
    """None: it is a page or a recording, or the run kept no texts."""

    relevant: list[str]
    top: list[str]
    """The best documents, best first."""


class Answers(dict[str, Answer]):
    """{query id, as comparisons name it: answer}."""

    @classmethod
    def of(cls, run: Run, stage: str, part: str | None, query_ids: Sequence[str]) -> Answers:
        """What `run` answered at a stage, of these queries. What it did not keep is left out."""
        import pyarrow as pa
        from pyarrow import compute

        table = read(run, stage, part, ["query", "relevant", "top"])
        is_wanted = compute.is_in(table["query_id"], value_set=pa.array(query_ids, pa.string()))
        rows = table.filter(is_wanted).to_pylist()
        return cls({row["query_id"]: cls._answer(row) for row in rows})

    @staticmethod
    def _answer(row: dict[str, Any]) -> Answer:
        return Answer(row.get("query"), row.get("relevant") or [], (row.get("top") or [])[:TOP])


def texts(run: Run, part: str | None, query_ids: Sequence[str]) -> list[str | None]:
    """The texts of the queries; None where there is none."""
    table = read(run, "final", part, ["query"])
    if "query" not in table.column_names:
        return [None] * len(query_ids)
    known = dict(zip(table["query_id"].to_pylist(), table["query"].to_pylist(), strict=True))
    return [known[query] for query in query_ids]


def attributes(run: Run, part: str | None, query_ids: Sequence[str]) -> dict[str, list[Any]]:
    """What the data says of the queries: {name: values}."""
    table = read(run, "final", part, [])
    names = [name for name in table.column_names if name.startswith(PREFIX)]
    columns = {name.removeprefix(PREFIX): table[name].to_pylist() for name in names}
    place = {query: n for n, query in enumerate(table["query_id"].to_pylist())}
    return {name: [values[place[query]] for query in query_ids] for name, values in columns.items()}


def id_in_data(run: Run, query_id: str) -> str:
    """What the data calls a query."""
    return query_id.partition("/")[2] if run.has_own_queries else query_id


def read(run: Run, stage: str, part: str | None, columns: Sequence[str]) -> pa.Table:
    """Those of the columns that there are, and the attributes, in a row per query of one part of the scores.

    `query_id` is what comparisons name queries by. `part` is by default the whole model: the most dimensions or
    documents reranked, all directions. Raises `UnreadableFile`.
    """
    from pyarrow import compute, parquet

    with reading(file := run.file(stage)):
        names = parquet.read_schema(file).names
        wanted = [name for name in names if name in ("query_id", run.part, *columns) or name.startswith(PREFIX)]
        table = parquet.read_table(file, columns=wanted)
    if not run.has_own_queries:
        return table.filter(compute.equal(table[run.part], run.value_of(part)))
    ids = compute.binary_join_element_wise(table[run.part], table["query_id"], "/")
    table = table.set_column(table.column_names.index("query_id"), "query_id", ids)
    return table if part is None else table.filter(compute.equal(table[run.part], part))
