"""The published form of the flagship job: load, data set, loss, arguments, trainer, one evaluator per size.

The reference that `mmexp.run` is compared with: the same steps in the same order as the numbered example of
sentence-transformers for visual document retrieval, written for a local checkpoint and data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import load_dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss, MatryoshkaLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers


@dataclass
class ReferenceRun:
    """What the plain script measured: the loss at every logged step, and NDCG@10 by size, before and after."""

    losses: list[tuple[int, float]]
    baseline: dict[int, float]
    final: dict[int, float]


def reference_run(
    checkpoint: Path, data: Path, output_dir: Path, dims: list[int], mini_batch: dict[str, int], **arguments: Any
) -> ReferenceRun:
    """Run it. `mini_batch` goes to the cached loss, `arguments` to the training arguments."""
    # 1. A model
    model = SentenceTransformer(
        str(checkpoint),
        model_kwargs={"attn_implementation": "sdpa"},
        processor_kwargs={"min_pixels": 1024, "max_pixels": 128 * 160},
    )

    # 2. A data set: one negative per query for training, all four in the evaluation corpus
    train_dataset = load_dataset(str(data), "train", split="train").select_columns(["query", "image", "negative_0"])
    eval_dataset = load_dataset(str(data), "eval", split="train")

    # 3. A loss
    loss = CachedMultipleNegativesRankingLoss(model, **mini_batch)
    loss = MatryoshkaLoss(model, loss, matryoshka_dims=dims)

    # 4. Training arguments
    args = SentenceTransformerTrainingArguments(
        output_dir=str(output_dir),
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **arguments,
    )

    # 5. Evaluators over positives and negatives, one per size
    before = ndcg_by_dimension(model, eval_dataset, dims)

    # 6. The trainer
    trainer = SentenceTransformerTrainer(model=model, args=args, train_dataset=train_dataset, loss=loss)
    trainer.train()

    # 7. The same evaluators again
    losses = [(row["step"], row["loss"]) for row in trainer.state.log_history if "loss" in row]
    return ReferenceRun(losses, before, ndcg_by_dimension(model, eval_dataset, dims))


def ndcg_by_dimension(model: SentenceTransformer, eval_dataset: Any, dims: list[int]) -> dict[int, float]:
    """One evaluator per embedding size, each of which encodes everything again."""
    num_rows = len(eval_dataset)
    queries = {f"q{row}": sample["query"] for row, sample in enumerate(eval_dataset)}
    columns = ["image", *[name for name in eval_dataset.column_names if name.startswith("negative_")]]
    corpus = {f"eval/{row}/{column}": eval_dataset[row][column] for column in columns for row in range(num_rows)}
    relevant = {f"q{row}": {f"eval/{row}/image"} for row in range(num_rows)}
    found = {}
    for dim in dims:
        evaluator = InformationRetrievalEvaluator(queries, corpus, relevant, truncate_dim=dim, write_csv=False)
        found[dim] = evaluator(model)["cosine_ndcg@10"]
    return found
