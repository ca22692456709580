"""The kinds of models: what loading, training and measuring them have not in common."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentence_transformers import (
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
    MultiVectorEncoderTrainer,
    MultiVectorEncoderTrainingArguments,
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)

from mmexp.data.pairs import training_examples
from mmexp.evaluation.evaluate import Evaluator
from mmexp.evaluation.multi_vector import MultiVectorEvaluator
from mmexp.evaluation.reranking import RerankingEvaluator
from mmexp.evaluation.two_stage import TwoStageEvaluator
from mmexp.experiment import Experiment, Task
from mmexp.losses.taught import Taught
from mmexp.model_kind import ModelKind
from mmexp.models import named
from mmexp.models.facts import check_modalities, model_facts
from mmexp.schema import ConfigError
from mmexp.training.teacher import Teacher

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import CrossEncoder, MultiVectorEncoder
    from sentence_transformers.base.model import BaseModel
    from sentence_transformers.base.trainer import BaseTrainer
    from sentence_transformers.base.training_args import BaseTrainingArguments
    from torch import nn

    from mmexp.data.splits import RetrievalData, Split
    from mmexp.data.training import Examples
    from mmexp.evaluation.encode import Encoder
    from mmexp.evaluation.model_evaluator import ModelEvaluator, Phase
    from mmexp.models.facts import ModelFacts

log = logging.getLogger(__name__)

MAX_PAIRS = 64


class Kind(ABC):
    """How an experiment's kind of model is loaded, trained and measured. `run` is the same for all."""

    trainer_class: type[BaseTrainer]
    arguments_class: type[BaseTrainingArguments]
    workers_preprocess: bool
    """Whether data workers also make the model's input tensors, or only decode, which leaves them idle mostly."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    def arguments(self) -> dict[str, Any]:
        """Training arguments that the experiment says elsewhere than in `trainer`."""
        return {}

    def check(self) -> None:
        """Raise `ConfigError` for what can be refused before a weight is read."""
        experiment = self.experiment
        dimension = experiment.model.embedding_dimension()  # reaches for the checkpoint
        if dimension is not None:
            self.check_dimension(dimension)
        if experiment.task is not Task.evaluate and isinstance(experiment.loss, Taught):
            experiment.loss.check_teacher(dimension if experiment.kind is ModelKind.embedder else None)

    def check_dimension(self, dimension: int) -> None:  # noqa: B027  most kinds ask nothing of it
        """Raise `ConfigError` for what does not fit a checkpoint of this embedding size."""

    def build_data(self, for_training: bool) -> RetrievalData:
        """What the model is trained and measured on. Raises `ConfigError` where it cannot be had."""
        return self.experiment.data.build(for_training)

    @abstractmethod
    def build_model(self) -> Any:
        """Load the model, ready to train."""

    @abstractmethod
    def build_evaluator(
        self, evaluation: Split, facts: ModelFacts, encoder: Encoder, phase: Phase
    ) -> ModelEvaluator[Any]:
        """What measures the model."""

    @abstractmethod
    def build_loss(self, model: Any) -> nn.Module:
        """The loss around the model."""

    @abstractmethod
    def examples(self, train: Split) -> dict[str, Examples]:
        """The training rows in the form that the loss takes: one set of them, or one for each direction.

        Raises `ConfigError` for labels that the loss cannot take.
        """

    def training_data(
        self, examples: dict[str, Examples], model: BaseModel, encoder: Encoder, phase: Phase
    ) -> dict[str, Dataset]:
        """The examples as data sets, with a teacher's labels where the loss of `model` learns from one."""
        loss = self.experiment.loss
        if isinstance(loss, Taught):
            with phase("teacher"):
                folder = Path(self.experiment.output_root) / ".cache"
                size = model.get_embedding_dimension() if isinstance(model, SentenceTransformer) else None
                teacher = Teacher(loss, size, encoder, self.experiment.evaluation.num_tokens, folder)
                for of_direction in examples.values():
                    loss.teach(of_direction, teacher)
        return {name: of_direction.dataset() for name, of_direction in examples.items()}

    def batch_size(self, facts: ModelFacts) -> int:
        """Inputs that are evaluated at once."""
        return max(1, self.experiment.evaluation.num_tokens // facts.tokens_per_page)


class EmbedderKind(Kind):
    """One vector per input, at the sizes that `dims` says."""

    trainer_class: type[BaseTrainer] = SentenceTransformerTrainer
    arguments_class: type[BaseTrainingArguments] = SentenceTransformerTrainingArguments
    evaluator_class: type[Evaluator] = Evaluator
    workers_preprocess = True

    def check_dimension(self, dimension: int) -> None:
        self.experiment.dims.sizes(dimension)

    def build_model(self) -> SentenceTransformer | MultiVectorEncoder:
        return self.experiment.embedder_arch.build(self.experiment.model)

    def build_evaluator(
        self, evaluation: Split, facts: ModelFacts, encoder: Encoder, phase: Phase
    ) -> ModelEvaluator[Any]:
        assert facts.embedding_dimension is not None
        dims = self.experiment.dims.evaluated(facts.embedding_dimension)
        return self.evaluator_class(evaluation, dims, encoder, self.batch_size(facts), phase)

    def build_loss(self, model: SentenceTransformer) -> nn.Module:
        return self.experiment.dims.wrap(model, self.experiment.loss.build(model))

    def examples(self, train: Split) -> dict[str, Examples]:
        loss = self.experiment.loss
        loss.check_labels(train)
        return {"train": training_examples(train, loss.rows)}


class MultiVectorKind(EmbedderKind):
    """One vector for every token of an input, at one size."""

    trainer_class = MultiVectorEncoderTrainer
    arguments_class = MultiVectorEncoderTrainingArguments
    evaluator_class = MultiVectorEvaluator


class RerankerKind(Kind):
    """One score per (query, document), in the directions that `reranking` says."""

    trainer_class = CrossEncoderTrainer
    arguments_class = CrossEncoderTrainingArguments
    workers_preprocess = False

    def arguments(self) -> dict[str, Any]:
        return {"prompts": self.experiment.reranking.trained_prompts}

    def build_model(self) -> CrossEncoder:
        assert self.experiment.reranker_arch is not None
        prompts = self.experiment.reranking.trained_prompts
        return self.experiment.model.build_reranker(self.experiment.reranker_arch, prompts)

    def build_evaluator(
        self, evaluation: Split, facts: ModelFacts, encoder: Encoder, phase: Phase
    ) -> RerankingEvaluator:
        return RerankingEvaluator(
            evaluation, self.experiment.reranking, encoder, min(MAX_PAIRS, self.batch_size(facts)), phase
        )

    def build_loss(self, model: CrossEncoder) -> nn.Module:
        return self.experiment.loss.build(model)

    def examples(self, train: Split) -> dict[str, Examples]:
        reranking, loss = self.experiment.reranking, self.experiment.loss
        loss.check_labels(train)
        return {
            direction.value: training_examples(
                train, loss.rows, direction, reranking.num_sampled_negatives, self.experiment.seed
            )
            for direction in reranking.directions
        }


class TwoStageKind(EmbedderKind):
    """An embedder, and a reranker for the best documents that it finds. Measured, not trained."""

    def check(self) -> None:
        super().check()
        assert self.experiment.two_stage is not None
        reranker = self.experiment.two_stage.reranker
        with named("two_stage.reranker", reranker):
            reranker.embedding_dimension()  # reaches for the checkpoint
            if reranker.is_embedder():
                raise ConfigError(
                    "two_stage.reranker is an embedder, which has not learned to score a query and a document "
                    "together. Train a reranker from it (+experiment=second_stage_tiny is an example), or name another."
                )

    def build_evaluator(
        self, evaluation: Split, facts: ModelFacts, encoder: Encoder, phase: Phase
    ) -> TwoStageEvaluator:
        settings = self.experiment.two_stage
        assert settings is not None
        assert facts.embedding_dimension is not None
        dim = self.experiment.dims.truncate_dim or facts.embedding_dimension
        evaluator_class = RETRIEVERS[self.experiment.embedder_arch.kind].evaluator_class
        retriever = evaluator_class(evaluation, [dim], encoder, self.batch_size(facts), phase)
        with named("two_stage.reranker", settings.reranker):
            reranker = settings.reranker.build_reranker(settings.reranker_arch, {})
            check_modalities(reranker, evaluation)
        reranker_facts = model_facts(reranker)
        log.info("reranker: %s", reranker_facts)
        return TwoStageEvaluator(retriever, reranker, settings, min(MAX_PAIRS, self.batch_size(reranker_facts)), phase)


class BenchmarkKind(EmbedderKind):
    """An embedder on the tasks of a benchmark. Measured, not trained."""

    def build_data(self, for_training: bool) -> RetrievalData:
        from mmexp.benchmark.reading import read_benchmark

        assert self.experiment.benchmark is not None
        cache = Path(self.experiment.output_root) / ".cache"
        return read_benchmark(self.experiment.benchmark, self.experiment.data.media, cache)

    def build_evaluator(
        self, evaluation: Split, facts: ModelFacts, encoder: Encoder, phase: Phase
    ) -> ModelEvaluator[Any]:
        from mmexp.benchmark.evaluator import BenchmarkEvaluator, TaskEvaluator
        from mmexp.benchmark.splits import BenchmarkSplit

        assert isinstance(evaluation, BenchmarkSplit)
        assert facts.embedding_dimension is not None
        dim = self.experiment.dims.truncate_dim or facts.embedding_dimension
        evaluator_class = RETRIEVERS[self.experiment.embedder_arch.kind].evaluator_class
        size = self.batch_size(facts)
        tasks = [TaskEvaluator(task, evaluator_class(task, [dim], encoder, size, phase)) for task in evaluation.tasks]
        return BenchmarkEvaluator(tasks, phase)


RETRIEVERS: dict[ModelKind, type[EmbedderKind]] = {
    ModelKind.embedder: EmbedderKind,
    ModelKind.multi_vector: MultiVectorKind,
}
KINDS: dict[ModelKind, type[Kind]] = {
    **RETRIEVERS,
    ModelKind.reranker: RerankerKind,
    ModelKind.two_stage: TwoStageKind,
    ModelKind.benchmark: BenchmarkKind,
}


def kind_of(experiment: Experiment) -> Kind:
    """What the experiment's kind of model needs."""
    return KINDS[experiment.kind](experiment)
