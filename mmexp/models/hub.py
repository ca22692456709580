"""A checkpoint of the Hub or of a local folder: an embedding model as it is, a dual encoder, or a VLM plus pooling."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import MISSING

from mmexp.adapters import work_in_adapters
from mmexp.models import Model
from mmexp.models.checkpoint import Checkpoint, pools_each_modality
from mmexp.models.weights import Attention, Dtype, Quantization, attention_arguments, quantization_arguments
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer
    from sentence_transformers.base.model_card import BaseModelCardData
    from sentence_transformers.base.modules import Transformer

    from mmexp.embedder_archs.multi_vector import MultiVector
    from mmexp.reranker_archs import RerankerArch

log = logging.getLogger(__name__)

# Checkpoints that are no embedder, by the class that they are saved as: what they are, and what loads them as that.
OTHER_KINDS = {
    "CrossEncoder": ("a reranker", "reranker_arch=any_to_any"),
    "MultiVectorEncoder": ("a multi-vector model", "embedder_arch=multi_vector"),
    "ColBERT": ("a multi-vector model", "embedder_arch=multi_vector"),
}

ModelCard = TypeVar("ModelCard", bound="BaseModelCardData")


class PoolingMode(Enum):
    lasttoken = "lasttoken"
    mean = "mean"
    cls = "cls"
    max = "max"


@dataclass
class Card:
    """What the model card says of the trained model."""

    language: str | None = None
    """Language code, such as en."""

    license: str | None = None
    """License identifier, such as apache-2.0."""

    name: str | None = None
    """Title of the card."""

    def build(self, card_class: type[ModelCard]) -> ModelCard:
        """The library's card of the kind of model."""
        return card_class(language=self.language, license=self.license, model_name=self.name)


@schema("model", "hub")
@dataclass
class HubModel(Model):
    """Any checkpoint that `SentenceTransformer` loads, a dual encoder (CLIP, SigLIP, CLAP), or a VLM that is not yet an
    embedding model."""

    checkpoint: str = MISSING
    """A model of the Hub, or a local folder: a checkpoint, or an earlier run."""

    revision: str | None = None
    """Commit, tag or branch of the Hub model. null: its main branch."""

    dtype: Dtype = Dtype.auto
    """Type of the weights. auto: as stored. bfloat16 weights round small updates away; float32 weights under
    trainer.bf16=true (autocast) keep them, for twice the memory of weights, gradients and optimizer."""

    quantization: Quantization | None = None
    """nf4: weights in 4 bits, by bitsandbytes on an NVIDIA GPU; trained by an adapter (adapter=qlora). null: as they
    are."""

    attention: Attention = Attention.flash_attention_2_or_sdpa
    """Attention implementation; the last one falls back to sdpa, and says so, where flash-attn is not installed (to
    eager for architectures without sdpa)."""

    pooling: PoolingMode | None = None
    """How a fresh VLM's token embeddings become one embedding (then normalised). Only for checkpoints that are no
    embedding model yet: those bring their own, and dual encoders pool each modality themselves."""

    prompts: dict[str, str] = field(default_factory=dict)
    """Prompts by name, over those of the checkpoint. `query` and `document` are used in evaluation; training uses
    trainer.prompts, by column."""

    max_seq_length: int | None = None
    """Longest input in tokens. null: as the checkpoint says. Shorter than a page's tokens would cut pages."""

    pad_to_max_length: bool = False
    """Pad every text to max_seq_length rather than to the longest of its batch. SigLIP needs it: its text encoder was
    trained so and reads the embedding off the last position, whatever is there."""

    trust_remote_code: bool = False
    """Run Python code that comes with the checkpoint. Only for checkpoints whose code you have read."""

    card: Card = field(default_factory=Card)
    """What the saved model's card says."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.checkpoint = os.path.expanduser(self.checkpoint)
        if (Path(self.checkpoint) / "result.json").exists():
            self.checkpoint = self._model_of_run(Path(self.checkpoint))
        if self.pad_to_max_length and self.max_seq_length is None:
            raise ConfigError("model.pad_to_max_length=true needs a length. Give it with model.max_seq_length=64.")

    def _model_of_run(self, run_dir: Path) -> str:
        if not (run_dir / "model").is_dir():
            raise ConfigError(
                f"model.checkpoint={run_dir} is the folder of a run that has left no model. Continue it with "
                f"python -m mmexp.resume {run_dir}, or name another."
            )
        return str(run_dir / "model")

    @property
    def source(self) -> Checkpoint:
        """What the checkpoint says of itself."""
        return Checkpoint(self.checkpoint, self.revision, self.trust_remote_code)

    def embedding_dimension(self) -> int | None:
        config = self.source.config()
        if config is None or self.source.has_dense():
            return None
        if pools_each_modality(config) and hasattr(config, "projection_dim"):
            return config.projection_dim
        return getattr(config.get_text_config(), "hidden_size", None)

    def is_reranker(self) -> bool:
        return self.source.is_reranker()

    def is_embedder(self) -> bool:
        return self.source.is_embedding_model() and not self.source.is_reranker()

    def build(self) -> SentenceTransformer:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardData

        shared: dict[str, Any] = {
            "prompts": self.prompts or None,
            "model_card_data": self.card.build(SentenceTransformerModelCardData),
        }
        with self._loading():
            self._refuse_other_kinds("an embedder")
            if not self.source.is_embedding_model():
                model = SentenceTransformer(modules=self._fresh_modules(), **shared)
            elif self.pooling is None:
                model = SentenceTransformer(self.checkpoint, **self.loading_arguments(), **shared)
            else:
                raise ConfigError(
                    f"model.pooling={self.pooling.value} cannot apply: model.checkpoint={self.checkpoint} is an "
                    "embedding model with a pooling of its own. Use model.pooling=null."
                )
        self._finish(model)
        return model

    def build_multi_vector(self, arch: MultiVector) -> MultiVectorEncoder:
        from sentence_transformers import MultiVectorEncoder
        from sentence_transformers.multi_vector_encoder.model_card import MultiVectorEncoderModelCardData

        if self.pooling is not None:
            raise ConfigError(
                f"model.pooling={self.pooling.value} would be ignored: embedder_arch=multi_vector keeps the embedding "
                "of every token. Use model.pooling=null."
            )
        with self._loading():
            self._refuse_other_kinds("a multi-vector model")
            model = MultiVectorEncoder(
                self.checkpoint,
                **self.loading_arguments(),
                prompts=self.prompts or None,
                model_card_data=self.card.build(MultiVectorEncoderModelCardData),
            )
            arch.finish(model, is_new=not self.source.brings_projection())
        self._finish(model)
        return model

    def build_reranker(self, arch: RerankerArch, prompts: dict[str, str]) -> CrossEncoder:
        from sentence_transformers import CrossEncoder
        from sentence_transformers.cross_encoder.model_card import CrossEncoderModelCardData

        if self.pooling is not None:
            raise ConfigError(
                f"model.pooling={self.pooling.value} would be ignored: reranker_arch says how scores are made. "
                "Use model.pooling=null."
            )
        arguments: dict[str, Any] = {
            "prompts": {**prompts, **self.prompts},
            "model_card_data": self.card.build(CrossEncoderModelCardData),
        }
        with self._loading():
            if self.source.saved_kind() == "CrossEncoder":
                log.info("model.checkpoint=%s is a saved reranker, loaded as it is", self.checkpoint)
                model = CrossEncoder(self.checkpoint, **self.loading_arguments(), **arguments)
            else:
                model = arch.build(self, **arguments)
        self._finish(model)
        return model

    def _refuse_other_kinds(self, asked_for: str) -> None:
        is_a, loaded_by = OTHER_KINDS.get(self.source.saved_kind() or "", (asked_for, ""))
        if is_a != asked_for:
            raise ConfigError(
                f"model.checkpoint={self.checkpoint} is {is_a}, and here {asked_for} is asked for. Choose another, or "
                f"{loaded_by} to go on training it (what is saved as {is_a} stays one)."
            )

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Say what cannot be loaded in one line; first, whether the checkpoint can be reached at all.

        Where it cannot, the library would start a model of its own.
        """
        self.source.config()
        try:
            yield
        except ConfigError:
            raise
        except (OSError, ValueError, ImportError) as error:
            raise self.source.cannot_load(error) from error

    def loading_arguments(self) -> dict[str, Any]:
        """What the library's model classes take beside the checkpoint."""
        return {
            "revision": self.revision,
            "trust_remote_code": self.trust_remote_code,
            "model_kwargs": {
                "dtype": self.dtype.value,
                **attention_arguments(self.attention),
                **quantization_arguments(self.quantization),
            },
            "processor_kwargs": {"model_max_length": self.max_seq_length} if self.max_seq_length else {},
        }

    def transformer(self, task: str = "feature-extraction") -> Transformer:
        """Load the checkpoint for one of the library's transformer tasks, without modules after it.

        Errors of the library, and pixel bounds, are left to `build` and `build_reranker`, which call this.
        """
        from sentence_transformers.base.modules import Transformer

        arguments = self.loading_arguments()
        hub = {key: arguments[key] for key in ("revision", "trust_remote_code")}
        return Transformer(
            self.checkpoint,
            transformer_task=task,
            model_kwargs={**hub, **arguments["model_kwargs"]},
            processor_kwargs={**hub, **arguments["processor_kwargs"]},
            config_kwargs=hub,
            # A causal VLM's last token sees everything only when the template ends with the assistant's turn.
            processing_kwargs={"chat_template": {"add_generation_prompt": True}},
        )

    def _fresh_modules(self) -> list[Any]:
        """A dual encoder as it is; transformer, pooling and normalisation around a VLM."""
        from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

        no_pooling = ConfigError(
            f"model.checkpoint={self.checkpoint} is not an embedding model yet: it has no pooling. Choose one with "
            "model.pooling=lasttoken (for causal language models) or model.pooling=mean."
        )
        if self.pooling is None and not pools_each_modality(self.source.config()):
            raise no_pooling  # before a weight is read
        transformer = self.transformer()
        pooled = transformer.module_output_name == "sentence_embedding"
        if self.pooling is None:
            if not pooled:
                raise no_pooling
            return [transformer]
        if pooled:
            raise ConfigError(
                f"model.pooling={self.pooling.value} cannot apply: model.checkpoint={self.checkpoint} "
                f"({type(transformer.model).__name__}) pools each modality itself. Use model.pooling=null."
            )
        pooling = Pooling(transformer.get_embedding_dimension(), self.pooling.value)
        return [transformer, pooling, Normalize()]

    def _finish(self, model: SentenceTransformer | MultiVectorEncoder | CrossEncoder) -> None:
        """What is said to the loaded model's processor, so that it is saved with it; an adapter becomes its weights."""
        self.set_pixel_bounds(model)
        if self.pad_to_max_length:
            transformer: Any = model[0]
            transformer.processing_kwargs.setdefault("text", {})["padding"] = "max_length"
        if self.quantization is None:
            work_in_adapters(model)
