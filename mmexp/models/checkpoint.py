"""What a checkpoint of the Hub or of a local folder says of itself, read without its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class Checkpoint:
    """The files of a checkpoint beside its weights. Methods raise `ConfigError` where it cannot be reached."""

    def __init__(self, path: str, revision: str | None, trust_remote_code: bool) -> None:
        self.path = path
        self.revision = revision
        self.trust_remote_code = trust_remote_code

    def config(self) -> PretrainedConfig | None:
        """The configuration of the checkpoint's transformer, wherever it lies. None where it has none, or several.

        Raises `ConfigError` where the checkpoint cannot be reached.
        """
        from transformers import AutoConfig

        try:
            adapter = json.loads(self.read_file("adapter_config.json") or "{}")
            folder = ""
            if self.is_embedding_model() and not adapter:
                folder = json.loads(self.modules_json())[0]["path"]
                if "model_type" not in (self.read_file("config.json", folder) or ""):
                    return None  # a router, static embeddings
            return AutoConfig.from_pretrained(
                adapter.get("base_model_name_or_path", self.path),
                subfolder=folder,
                revision=adapter.get("revision") if adapter else self.revision,
                trust_remote_code=self.trust_remote_code,
            )
        except (OSError, ValueError) as error:
            raise self.cannot_load(error) from error

    def architectures(self) -> list[str]:
        """The classes that its configuration names."""
        config = self.config()
        return (config.architectures if config is not None else None) or []

    def is_reranker(self) -> bool:
        """Whether it is a reranker, saved by sentence-transformers or as a classifier."""
        if (kind := self.saved_kind()) is not None:
            return kind == "CrossEncoder"
        return not self.is_embedding_model() and any(
            name.endswith("ForSequenceClassification") for name in self.architectures()
        )

    def is_embedding_model(self) -> bool:
        """Whether sentence-transformers saved it, with modules of its own."""
        from sentence_transformers.util import is_sentence_transformer_model

        return is_sentence_transformer_model(self.path, revision=self.revision)

    def brings_projection(self) -> bool:
        """Whether the checkpoint projects its tokens: multi-vector models do, and embedders with a dense layer."""
        retrievers = ("HF_ColBERT", "ForRetrieval")
        return (
            self.saved_kind() in ("MultiVectorEncoder", "ColBERT")
            or self.has_dense()
            or any(name.endswith(retrievers) for name in self.architectures())
        )

    def modules_json(self) -> str:
        """What sentence-transformers says of its modules. Empty: nothing."""
        return self.read_file("modules.json") or ""

    def saved_kind(self) -> str | None:
        """The class that sentence-transformers saved the checkpoint as. None: not saved by it, or by an old one."""
        return json.loads(self.read_file("config_sentence_transformers.json") or "{}").get("model_type")

    def read_file(self, name: str, folder: str = "") -> str | None:
        """The text of one of its files. None: it has none of that name."""
        from sentence_transformers.util import load_file_path

        path = load_file_path(self.path, name, subfolder=folder, revision=self.revision)
        return None if path is None else Path(path).read_text(encoding="utf-8")

    def has_dense(self) -> bool:
        """Whether a dense layer follows the transformer, so that its configuration does not tell the embedding size."""
        return "Dense" in self.modules_json()

    def cannot_load(self, error: Exception) -> ConfigError:
        """The error that names the checkpoint and what to do."""
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if self.path.startswith(("/", ".", "~")) and not Path(self.path).exists():
            reason = "there is no such folder."  # the library takes it for the name of a repository
        return ConfigError(
            f"model.checkpoint={self.path} (revision {self.revision or 'main'}) cannot be loaded: {reason} "
            "Give a local folder, or a Hub model that can be reached from here (HF_HUB_OFFLINE=1 stops all downloads)."
        )


def pools_each_modality(config: Any) -> bool:
    """Whether the architecture is a dual encoder, such as CLIP: one embedding for each text, image or sound."""
    from transformers import MODEL_MAPPING

    return hasattr(MODEL_MAPPING.get(type(config), None), "get_text_features")
