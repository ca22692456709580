"""The published form of a reranker: modules, pairs with labels, loss, arguments, trainer, the library's evaluator.

The reference that runs with `reranker_arch` are compared with, written for a local checkpoint and given pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from sentence_transformers.cross_encoder import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from sentence_transformers.cross_encoder.modules import LogitScore, Transformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling


@dataclass
class ReferenceReranking:
    """The loss at every logged step, and the metrics by direction, before and after."""

    losses: list[tuple[int, float]]
    baseline: dict[str, dict[str, float]]
    final: dict[str, dict[str, float]]


def reference_reranking(
    checkpoint: Path,
    arch: str,
    prompts: dict[str, str],
    pairs: dict[str, Dataset],
    samples: dict[str, list[dict[str, Any]]],
    output_dir: Path,
    **arguments: Any,
) -> ReferenceReranking:
    """Run it on `pairs` (query, document, label) and evaluate it on `samples`, each by direction."""
    # 1. The model
    transformer = Transformer(
        str(checkpoint),
        transformer_task="any-to-any" if arch == "any_to_any" else "feature-extraction",
        processor_kwargs={"min_pixels": 1024, "max_pixels": 128 * 160},
        processing_kwargs={"chat_template": {"add_generation_prompt": True}},
    )
    one, zero = (transformer.tokenizer.convert_tokens_to_ids(token) for token in "10")
    if arch == "any_to_any":
        modules = [transformer, LogitScore(true_token_id=one, false_token_id=zero)]
    else:
        size = transformer.get_embedding_dimension()
        embeddings = transformer.model.get_input_embeddings().weight.data
        dense = Dense(
            in_features=size,
            out_features=1,
            bias=False,
            activation_function=None,
            init_weight=(embeddings[one] - embeddings[zero]).unsqueeze(0),
            module_output_name="scores",
        )
        modules = [transformer, Pooling(size, pooling_mode="lasttoken"), dense]
    model = CrossEncoder(modules=modules, num_labels=1, prompts=prompts)

    # 2. An evaluator for each direction, before training
    evaluators = {
        name: CrossEncoderRerankingEvaluator(
            samples=rows, prompt_name=name if name in prompts else None, write_csv=False, batch_size=8
        )
        for name, rows in samples.items()
    }
    before = {name: dict(evaluator(model)) for name, evaluator in evaluators.items()}

    # 3. Loss, arguments, trainer
    trainer = CrossEncoderTrainer(
        model=model,
        args=CrossEncoderTrainingArguments(
            output_dir=str(output_dir), prompts=prompts, save_strategy="no", report_to="none", **arguments
        ),
        train_dataset=pairs,
        loss=BinaryCrossEntropyLoss(model),
    )
    trainer.train()
    losses = [(row["step"], row["loss"]) for row in trainer.state.log_history if "loss" in row]
    return ReferenceReranking(losses, before, {name: dict(evaluator(model)) for name, evaluator in evaluators.items()})
