"""Evaluation at seven embedding sizes: one evaluator per size, and one encoding for all."""

from __future__ import annotations

import time
from pathlib import Path

from datasets import load_dataset
from sentence_transformers import SentenceTransformer

from mmexp.data.hub_columns import HubColumns
from mmexp.data.workers import default_workers
from mmexp.evaluation.encode import Encoder
from mmexp.evaluation.evaluate import MAX_DOCUMENT_BATCH_SIZE, Evaluator
from tests.benchmarks.pages import PIXELS, write_data, write_model
from tests.reference_vdr import ndcg_by_dimension

DIMS = [128, 96, 64, 48, 32, 24, 16]


def against_seven_evaluators(folder: Path, num_rounds: int = 5) -> list[tuple[float, float]]:
    """Seconds of the library's evaluators, with their default batch size, and of ours. Both find the same NDCG@10."""
    data, checkpoint = write_data(folder / "data", 8, 38), write_model(folder / "model")
    model = SentenceTransformer(str(checkpoint), processor_kwargs=PIXELS)
    rows = load_dataset(str(data), "eval", split="train")
    source = HubColumns(path=str(data), train_config="train", eval_config="eval", eval_split="train")
    rounds = []
    for _ in range(num_rounds):
        start = time.perf_counter()
        expected = ndcg_by_dimension(model, rows, DIMS)
        middle = time.perf_counter()
        evaluator = Evaluator(
            source.build().evaluation,
            DIMS,
            Encoder(default_workers(1)),
            document_batch_size=MAX_DOCUMENT_BATCH_SIZE,
        )
        found = evaluator.evaluate(model).metrics
        rounds.append((middle - start, time.perf_counter() - middle))
        # An untrained model's scores nearly tie, and batches of another size round otherwise: tests compare exactly.
        assert all(abs(found[dim]["ndcg@10"] - expected[dim]) < 0.05 for dim in DIMS)
    return rounds
