"""A teacher: what another model makes of the training rows, computed once and kept on disk."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import xxhash
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder, SentenceTransformer

from mmexp.data.splits import Row, Split
from mmexp.evaluation.encode import Encoder, Preprocess, Side
from mmexp.evaluation.output_cache import OutputCache
from mmexp.evaluation.reranking import PreprocessedPairs, logits
from mmexp.models import named
from mmexp.models.facts import check_modalities, tokens_per_page, weights_checksum
from mmexp.reranker_archs.sequence_classification import SequenceClassification

if TYPE_CHECKING:
    from mmexp.data.training import Examples
    from mmexp.losses.taught import Taught

# The most inputs at a time: texts are short, and how many tokens they have is not known beforehand.
MAX_BATCH_SIZE = 64
# Pairs whose similarity is computed at a time.
NUM_SIMILARITIES = 4096


class Teacher:
    """The other model of a loss. What it makes of examples is kept in `folder`, by everything that determines it."""

    def __init__(
        self, loss: Taught, student_dimension: int | None, encoder: Encoder, num_tokens: int, folder: Path
    ) -> None:
        """`num_tokens` are passed through the model at a time."""
        self.loss = loss
        self.student_dimension = student_dimension
        self.encoder = encoder
        self.num_tokens = num_tokens
        self.folder = folder

    @functools.cached_property
    def model(self) -> SentenceTransformer | CrossEncoder:
        """The model, loaded; a reranker as the reranker that it is."""
        config = self.loss.teacher_model
        with named(self.loss.teacher_key, self.loss.teacher_model):
            return config.build_reranker(SequenceClassification(), {}) if config.is_reranker() else config.build()

    def embeddings(self, examples: Examples, num_axes: int = 2) -> StoredEmbeddings:
        """An embedder's embedding of every column, as labels of `num_axes` axes: (columns, ..., dimension)."""
        self._check_modalities(examples)
        model, used = self.model, UsedCells(examples)
        assert isinstance(model, SentenceTransformer)
        sides = [
            Side("query", examples.queries, used.queries, self._batch_size),
            Side("document", examples.documents, used.documents, self._batch_size),
        ]
        samples = {side.name: Preprocess(model, side.name)([side.cells[side.indices[0]]]) for side in sides}

        def compute() -> dict[str, torch.Tensor]:
            queries, documents = self.encoder.encode(model, *sides)
            return {"queries": queries, "documents": documents}

        return StoredEmbeddings(self._kept(used, samples, compute), used.queries, used.documents, num_axes)

    def scores(self, examples: Examples) -> list[list[float]]:
        """The score of every (query, document) of each example: an embedder's similarity, or a reranker's logit."""
        pairs = list(dict.fromkeys((query, document) for query, *documents in examples.rows for document in documents))
        scores_of = self._logits if isinstance(self.model, CrossEncoder) else self._similarities
        score = dict(zip(pairs, scores_of(examples, pairs).tolist(), strict=True))
        return [[score[query, document] for document in documents] for query, *documents in examples.rows]

    def _similarities(self, examples: Examples, pairs: list[tuple[int, int]]) -> torch.Tensor:
        assert isinstance(self.model, SentenceTransformer)
        embeddings = self.embeddings(examples)
        parts = [pairs[start : start + NUM_SIMILARITIES] for start in range(0, len(pairs), NUM_SIMILARITIES)]
        return torch.cat([self.model.similarity_pairwise(*embeddings.of_pairs(part)) for part in parts])

    def _logits(self, examples: Examples, pairs: list[tuple[int, int]]) -> torch.Tensor:
        self._check_modalities(examples)
        model, used = self.model, UsedCells(examples)
        assert isinstance(model, CrossEncoder)
        prompt = model.prompts.get(examples.direction)
        batches = PreprocessedPairs(model, examples.queries, examples.documents, pairs, self._batch_size, prompt)

        def compute() -> dict[str, torch.Tensor]:
            return {"scores": logits(self.encoder, model, batches, "Score")}

        samples = {"pair": batches.preprocess(pairs[:1])}
        return load_file(self._kept(used, samples, compute, pairs=used.positions(pairs)))["scores"]

    def _check_modalities(self, examples: Examples) -> None:
        query, document, *_ = examples.rows[0]
        with named(self.loss.teacher_key, self.loss.teacher_model):
            check_modalities(self.model, Split(examples.queries, examples.documents, [Row(query, document, [])]))

    @functools.cached_property
    def _batch_size(self) -> int:
        return min(MAX_BATCH_SIZE, max(1, self.num_tokens // tokens_per_page(self.model)))

    def _kept(
        self,
        used: UsedCells,
        samples: dict[str, dict[str, Any]],
        compute: Callable[[], dict[str, torch.Tensor]],
        **more: Any,
    ) -> Path:
        """The file with what is computed."""
        cache = OutputCache(self.folder, used.fingerprint())
        key = cache.key(self.model, weights_checksum(self.model), self.encoder, samples, **more)
        cache.find_or_compute(key, compute, f"what {self.loss.teacher_key} makes of the training rows")
        return cache.file(key)


class UsedCells:
    """The queries and documents that examples name, each once, in the order of the examples."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples
        self.queries = list(dict.fromkeys(query for query, *_ in examples.rows))
        self.documents = list(dict.fromkeys(document for _, *documents in examples.rows for document in documents))

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change when the content of any of them changes, or their order."""
        content = xxhash.xxh3_64()
        for cells, indices in ((self.examples.queries, self.queries), (self.examples.documents, self.documents)):
            content.update(f"{[cells.digest(index) for index in indices]}\n".encode())
        return content.hexdigest()

    def positions(self, pairs: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Pairs of indices as pairs of places in `queries` and `documents`."""
        query = {index: n for n, index in enumerate(self.queries)}
        document = {index: n for n, index in enumerate(self.documents)}
        return [(query[q], document[d]) for q, d in pairs]


class StoredEmbeddings:
    """Embeddings in a file, looked up for a batch of indices: labels of a batch, as `Examples.labels`.

    Every data worker maps the file; pickled, this is the file's path.
    """

    def __init__(self, file: Path, queries: list[int], documents: list[int], num_axes: int) -> None:
        self.file = file
        self.queries = queries
        self.documents = documents
        self.num_axes = num_axes
        self._open()

    def _open(self) -> None:
        stored = load_file(self.file)
        self._of_query, self._of_document = stored["queries"], stored["documents"]
        self._query_place = {index: n for n, index in enumerate(self.queries)}
        self._document_place = {index: n for n, index in enumerate(self.documents)}

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    @property
    def dimension(self) -> int:
        return self._of_query.shape[1]

    def of_pairs(self, pairs: list[tuple[int, int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """The embeddings of queries and of documents: two tensors (pairs, dimension)."""
        queries = self._of_query[[self._query_place[query] for query, _ in pairs]]
        return queries, self._of_document[[self._document_place[document] for _, document in pairs]]

    def __call__(self, batch: dict[str, list[int]]) -> list[torch.Tensor]:
        """For every row, the embeddings of its columns: (columns, ..., dimension)."""
        query, *documents = batch.values()
        columns = [self._of_query[[self._query_place[index] for index in query]]]
        columns += [self._of_document[[self._document_place[index] for index in column]] for column in documents]
        labels = torch.stack(columns, dim=1)
        shape = [len(query), len(columns), *[1] * (self.num_axes - 2), self.dimension]
        return list(labels.reshape(shape))
