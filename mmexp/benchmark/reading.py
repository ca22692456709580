"""Reading tasks of mteb: their queries, documents and relevances, as mteb gives them to a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmexp.benchmark.splits import BenchmarkData, BenchmarkSplit, TaskSplit
from mmexp.benchmark.tasks import find_tasks, load
from mmexp.data.cells import Cells, Joined, first_of_each
from mmexp.data.hub import ColumnCells
from mmexp.data.splits import Row
from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    from mmexp.benchmark.settings import Benchmark
    from mmexp.data.media import Media


class SeveralModalities(Cells):
    """Cells of several columns each: `{"text": ..., "image": ...}`."""

    def __init__(self, columns: dict[str, Cells]) -> None:
        self.columns = columns
        self.ids = next(iter(columns.values())).ids

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {column: cells[index] for column, cells in self.columns.items()}

    def encoded(self, index: int) -> bytes:
        return b"\0".join(bytes(cells.encoded(index)) for cells in self.columns.values())


def read_benchmark(settings: Benchmark, media: Media, folder: Path) -> BenchmarkData:
    """The data of all tasks. `folder` takes mteb's own cache.

    Raises `ConfigError` where a task is not known, or its data cannot be had.
    """
    tasks = find_tasks(settings, folder)
    for task in tasks:
        load(task)
    evaluation = BenchmarkSplit.of([read_task(task, media) for task in tasks])
    return BenchmarkData(evaluation, evaluation, facts={"benchmark": facts(settings.name, tasks)})


def facts(name: str, tasks: Sequence[AbsTaskRetrieval]) -> dict[str, Any]:
    """What result.json says of the benchmark."""
    of_tasks = {
        task.metadata.name: {
            **{key: task.metadata.dataset.get(key) for key in ("path", "revision")},
            "splits": list(task.eval_splits),
            "subsets": list(task.hf_subsets),
            "main_score": task.metadata.main_score.replace("_at_", "@"),
        }
        for task in tasks
    }
    return {"name": name, "tasks": of_tasks}


def read_task(task: AbsTaskRetrieval, media: Media) -> TaskSplit:
    """The queries, documents and relevances of a task that is loaded."""
    queries: list[Cells] = []
    documents: list[Cells] = []
    rows: list[Row] = []
    places: dict[tuple[str, str, str], dict[str, int]] = {}
    parts = [(split, subset) for split in task.eval_splits for subset in task.hf_subsets]
    for split, subset in parts:
        data = task.dataset[subset][split]
        for side, cells in (("query", queries), ("document", documents)):
            rows_of_side = data["queries" if side == "query" else "corpus"]
            start = sum(map(len, cells))
            places[split, subset, side] = {id_: start + n for n, id_ in enumerate(rows_of_side["id"])}
            cells.append(read_cells(task, rows_of_side, side, f"{task.metadata.name}/{split}/{subset}/", media))
        of_queries, of_documents = places[split, subset, "query"], places[split, subset, "document"]
        rows += [
            Row(of_queries[query], of_documents[document], [], float(score), relevant=score > 0)
            for query, scores in data["relevant_docs"].items()
            for document, score in scores.items()
            if query in of_queries and document in of_documents
        ]
    return distinct(task, Joined(queries), Joined(documents), rows, places)


def distinct(
    task: AbsTaskRetrieval, queries: Cells, documents: Cells, rows: list[Row], places: dict[Any, dict[str, int]]
) -> TaskSplit:
    """Documents that are the same are given one place among the embeddings."""
    first = first_of_each(documents, range(len(documents)))
    corpus = sorted(set(first.values()))
    position = {document: n for n, document in enumerate(corpus)}
    for row in rows:
        row.positive = first[row.positive]
    for key, of_side in places.items():
        if key[2] == "document":
            places[key] = {id_: position[first[document]] for id_, document in of_side.items()}
    if not rows:
        raise ConfigError(f"{task.metadata.name} has no query with a document that answers it. Leave it out.")
    return TaskSplit(queries, documents, rows, task=task, places=places, distinct=corpus)


def read_cells(task: AbsTaskRetrieval, rows: Dataset, side: str, prefix: str, media: Media) -> Cells:
    """What mteb gives a model of one side, in the modalities that the task names for it."""
    # mteb's own preparation (titles, instructions, conversations), which only its loaders do.
    from mteb._create_dataloaders import create_dataloader
    from mteb.types import PromptType

    prepared: Any = create_dataloader(rows, task_metadata=task.metadata, prompt_type=PromptType(side)).dataset
    columns = [column for column in ("text", "image", "audio", "video") if column in prepared.column_names]
    ids = [f"{prefix}{id_}" for id_ in rows["id"]]
    cells = {column: ColumnCells(prepared, [(column, n) for n in range(len(ids))], ids, media) for column in columns}
    return cells[columns[0]] if len(columns) == 1 else SeveralModalities(dict(cells))
