"""Distillation: what a teacher makes of the training rows, learned by its student."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from omegaconf import MISSING

from mmexp.losses import EmbedderLoss, RerankerLoss
from mmexp.losses.taught import Taught
from mmexp.models import Model
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from torch import nn

    from mmexp.data.training import Examples
    from mmexp.experiment import Experiment
    from mmexp.training.teacher import Teacher


@dataclass
class MarginDistillation(Taught):
    """How much better the positive is than each negative, as the teacher scores them."""

    teacher: Model = MISSING
    """An embedder or a reranker, such as model@loss.teacher=qwen3_vl_embedding_8b, or loss.teacher.checkpoint=... for
    any. It scores every (query, document) of the training rows once: an embedder by its similarity, a reranker by its
    logit, with its prompt of the direction (text_to_image for an embedder's rows)."""

    teacher_scale: float = 1.0
    """Factor on the teacher's scores, which must be of the size of the student's: logits are about ten times as large
    as the similarities of normalised embeddings."""

    def teach(self, examples: Examples, teacher: Teacher) -> None:
        scores = teacher.scores(examples)
        examples.columns["label"] = [[self.teacher_scale * score for score in row] for row in scores]


class Similarity(Enum):
    dot = "pairwise_dot_score"
    cosine = "pairwise_cos_sim"


@schema("loss", "margin_mse")
@dataclass
class MarginMse(MarginDistillation, EmbedderLoss):
    """An embedder learns the teacher's margins. Takes data.num_negatives=1 or more."""

    min_negatives: ClassVar[int] = 1

    similarity: Similarity = Similarity.dot
    """The student's score: dot or cosine, which are the same for normalised embeddings."""

    def build(self, model: SentenceTransformer) -> nn.Module:
        from sentence_transformers import util
        from sentence_transformers.sentence_transformer.losses import MarginMSELoss

        return MarginMSELoss(model, similarity_fct=getattr(util, self.similarity.value))


@schema("loss", "reranker_margin_mse")
@dataclass
class RerankerMarginMse(MarginDistillation, RerankerLoss):
    """A reranker learns the teacher's margins by its logits."""

    def build(self, model: CrossEncoder) -> nn.Module:
        from sentence_transformers.cross_encoder.losses import MarginMSELoss

        return MarginMSELoss(model)


class EmbeddingDistance(Enum):
    cosine = "cosine"
    mse = "mse"
    l2 = "l2"


@schema("loss", "embed_distill")
@dataclass
class EmbedDistill(Taught, EmbedderLoss):
    """An embedder learns the teacher's embeddings of queries, positives and negatives."""

    needs_embeddings: ClassVar[bool] = True

    teacher: Model = MISSING
    """An embedder, such as model@loss.teacher=qwen3_vl_embedding_8b, or loss.teacher.checkpoint=... for any. It embeds
    every query and document of the training rows once, with its own processor and prompts."""

    distance: EmbeddingDistance = EmbeddingDistance.cosine
    """What is measured between the student's embedding and the teacher's: cosine (1 - similarity), mse, l2."""

    projection_dim: int | None = None
    """Size of the teacher's embeddings, where it is not the student's: a linear layer that is trained with the student,
    and not saved with it, projects the student's embeddings to it. A resumed run starts that layer anew. null: the
    sizes are equal."""

    def build(self, model: SentenceTransformer) -> nn.Module:
        from sentence_transformers.sentence_transformer.losses import EmbedDistillLoss

        return EmbedDistillLoss(model, distance_metric=self.distance.value, projection_dim=self.projection_dim)

    def check(self, experiment: Experiment) -> None:
        super().check(experiment)
        if experiment.dims.trains_several and self.projection_dim is not None:
            raise ConfigError(
                f"loss.projection_dim={self.projection_dim} projects embeddings of the full size, and dims trains "
                "smaller ones too. Use dims=none, or a teacher of the student's size and loss.projection_dim=null."
            )
        if experiment.dims.trains_several and self.distance is not EmbeddingDistance.cosine:
            raise ConfigError(
                f"loss.distance={self.distance.value} compares lengths, and embeddings that dims cuts are normalised "
                "while the teacher's are not. Use loss.distance=cosine, or dims=none."
            )

    def check_teacher(self, student: int | None) -> None:
        super().check_teacher(student)
        self._check_sizes(student, self.teacher.embedding_dimension())

    def teach(self, examples: Examples, teacher: Teacher) -> None:
        embeddings = teacher.embeddings(examples)
        self._check_sizes(teacher.student_dimension, embeddings.dimension)
        examples.labels = embeddings

    def _check_sizes(self, student: int | None, teacher: int | None) -> None:
        learned = self.projection_dim or student
        if learned is None or teacher is None or learned == teacher:
            return
        asked = "" if self.projection_dim is None else f", projected to loss.projection_dim={self.projection_dim}"
        remedy = f"loss.projection_dim={'null' if teacher == student else teacher}"
        raise ConfigError(
            f"loss.teacher has embeddings of {teacher} dimensions, and the model of {student}{asked}: they cannot be "
            f"compared. Use {remedy}, a teacher with {learned} dimensions, or loss=margin_mse, which learns scores."
        )
