import numpy as np
import pytest
import torch
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import cos_sim, dot_score

from mmexp.evaluation.metrics import CUTOFFS, per_query_metrics, rank


class FakeModel:
    """Gives embeddings that were made beforehand, as the library's evaluator asks for them."""

    similarity_fn_name = "cosine"
    similarity = staticmethod(cos_sim)

    def __init__(self, queries: torch.Tensor, documents: torch.Tensor) -> None:
        self.embeddings = {"query": queries, "document": documents}
        self.model_card_data = None

    def _encode(self, side: str, inputs: list[str], truncate_dim: int | None) -> torch.Tensor:
        return self.embeddings[side][[int(name) for name in inputs]][:, :truncate_dim]

    def encode_query(self, inputs, truncate_dim=None, **_) -> torch.Tensor:
        return self._encode("query", inputs, truncate_dim)

    def encode_document(self, inputs, truncate_dim=None, **_) -> torch.Tensor:
        return self._encode("document", inputs, truncate_dim)


def library_metrics(queries, documents, document_ids, relevant, dim) -> dict[str, float]:
    evaluator = InformationRetrievalEvaluator(
        queries={f"q{n}": str(n) for n in range(len(queries))},
        corpus={id_: str(n) for n, id_ in enumerate(document_ids)},
        relevant_docs={f"q{n}": {document_ids[d] for d in answers} for n, answers in enumerate(relevant)},
        truncate_dim=dim,
        write_csv=False,
    )
    evaluator.store_metrics_in_model_card_data = lambda *_: None
    metrics = evaluator(FakeModel(queries, documents))
    return {name.removeprefix("cosine_"): value for name, value in metrics.items()}


def our_metrics(queries, documents, document_ids, relevant, dim) -> dict[str, float]:
    ranking = rank(queries[:, :dim], documents[:, :dim], document_ids, cos_sim)
    return {name: values.mean() for name, values in per_query_metrics(ranking, relevant).items()}


def made_up(num_queries, num_documents, levels, seed):
    """Embeddings of few distinct values, so that many scores tie, and one to three relevant documents per query."""
    random = np.random.default_rng(seed)
    draw = lambda *shape: torch.tensor(random.integers(1, levels, shape), dtype=torch.float32)  # noqa: E731
    relevant = [set(random.choice(num_documents, random.integers(1, 4), replace=False)) for _ in range(num_queries)]
    ids = [f"page-{n}" for n in random.permutation(num_documents)]
    return draw(num_queries, 16), draw(num_documents, 16), ids, [set(map(int, answers)) for answers in relevant]


@pytest.mark.parametrize("dim", [16, 4, 2, 1])
@pytest.mark.parametrize(("num_documents", "levels"), [(400, 3), (400, 1000), (7, 1000)])
def test_every_metric_equals_the_librarys_at_every_size_ties_included(dim, num_documents, levels):
    queries, documents, ids, relevant = made_up(30, num_documents, levels, seed=dim)
    if levels == 3:  # the claim about ties is empty without ties across the cut at rank 100
        scores = cos_sim(queries[:, :dim], documents[:, :dim])
        assert max(len(row) - len(row.unique()) for row in scores) > 100
    expected = library_metrics(queries, documents, ids, relevant, dim)
    found = our_metrics(queries, documents, ids, relevant, dim)
    assert set(found) == set(expected) == {f"{name}@{k}" for name, cutoffs in CUTOFFS.items() for k in cutoffs}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


def test_metrics_of_a_ranking_written_by_hand():
    queries = torch.eye(3)[:2]
    documents = torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.0, 0.2, 0.9]])
    ranking = rank(queries, documents, ["a", "b", "c"], lambda q, d: q @ d.T)
    assert ranking.documents.tolist() == [[0, 1, 2], [1, 2, 0]]
    metrics = per_query_metrics(ranking, [{1}, {0, 1}])
    assert metrics["mrr@10"].tolist() == [0.5, 1.0]
    assert metrics["accuracy@1"].tolist() == [0.0, 1.0]
    assert metrics["recall@1"].tolist() == [0.0, 0.5]
    assert metrics["precision@3"].tolist() == pytest.approx([1 / 3, 2 / 3])
    assert metrics["map@100"].tolist() == pytest.approx([0.5, (1 + 2 / 3) / 2])
    assert metrics["ndcg@10"].tolist() == pytest.approx([1 / np.log2(3), (1 + 0.5) / (1 + 1 / np.log2(3))])


def test_equal_scores_are_ranked_by_document_id_not_by_position():
    documents = torch.ones(4, 2)
    ranking = rank(torch.ones(1, 2), documents, ["d", "b", "c", "a"], cos_sim)
    assert ranking.documents.tolist() == [[3, 1, 2, 0]]


def test_ranking_in_blocks_equals_ranking_at_once(monkeypatch):
    # Sums of small integers are exact, so that a block's size cannot change the last bit of a score.
    queries, documents, ids, _ = made_up(30, 200, 3, seed=0)
    whole = rank(queries, documents, ids, dot_score)
    monkeypatch.setattr("mmexp.evaluation.metrics.MAX_SCORES", 400)
    assert (rank(queries, documents, ids, dot_score).documents == whole.documents).all()
