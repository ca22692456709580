"""The published form of the late-interaction job: load, data set, loss, arguments, evaluator, trainer.

The reference that runs with `embedder_arch=multi_vector` are compared with: the same steps in the same order as the
numbered example of sentence-transformers, written for a local checkpoint and data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import load_dataset
from sentence_transformers import MultiVectorEncoder, MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
from sentence_transformers.multi_vector_encoder.evaluation import MultiVectorInformationRetrievalEvaluator
from sentence_transformers.multi_vector_encoder.losses import CachedMultiVectorMultipleNegativesRankingLoss
from transformers import set_seed


@dataclass
class ReferenceMultiVector:
    """The loss at every logged step, and every metric before and after."""

    losses: list[tuple[int, float]]
    baseline: dict[str, float]
    final: dict[str, float]


def reference_multivector(
    checkpoint: Path, data: Path, output_dir: Path, mini_batch: dict[str, int], **arguments: Any
) -> ReferenceMultiVector:
    """Run it. `mini_batch` goes to the cached loss, `arguments` to the training arguments."""
    # 1. A model, with a new projection
    set_seed(arguments["seed"])
    model = MultiVectorEncoder(
        str(checkpoint),
        model_kwargs={"attn_implementation": "sdpa"},
        processor_kwargs={"min_pixels": 1024, "max_pixels": 128 * 160},
    )

    # 2. A data set: one negative per query for training, all four in the evaluation corpus
    train_dataset = load_dataset(str(data), "train", split="train").select_columns(["query", "image", "negative_0"])
    eval_dataset = load_dataset(str(data), "eval", split="train")

    # 3. A loss
    loss = CachedMultiVectorMultipleNegativesRankingLoss(model, **mini_batch)

    # 4. Training arguments
    args = MultiVectorEncoderTrainingArguments(
        output_dir=str(output_dir),
        max_grad_norm=30.0,
        eval_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        **arguments,
    )

    # 5. An evaluator over positives and negatives
    queries = {f"q{row}": sample["query"] for row, sample in enumerate(eval_dataset)}
    columns = ["image", *[name for name in eval_dataset.column_names if name.startswith("negative_")]]
    corpus = {f"eval/{row}/{column}": eval_dataset[row][column] for column in columns for row in range(len(queries))}
    relevant = {f"q{row}": {f"eval/{row}/image"} for row in range(len(queries))}
    evaluator = MultiVectorInformationRetrievalEvaluator(queries, corpus, relevant, write_csv=False)
    before = evaluator(model)

    # 6. The trainer
    trainer = MultiVectorEncoderTrainer(model=model, args=args, train_dataset=train_dataset, loss=loss)
    trainer.train()

    # 7. The same evaluator again
    losses = [(row["step"], row["loss"]) for row in trainer.state.log_history if "loss" in row]
    return ReferenceMultiVector(losses, plain(before), plain(evaluator(model)))


def plain(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics without the name of the similarity."""
    return {name.removeprefix("maxsim_"): value for name, value in metrics.items()}
