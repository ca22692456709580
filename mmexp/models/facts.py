"""What a loaded model is: what a run says at its start, and what identifies it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmexp.schema import ConfigError

if TYPE_CHECKING:
    import torch
    from sentence_transformers.base.model import BaseModel

    from mmexp.data.splits import Split

A4_AT_200_DPI = (1654, 2339)


@dataclass
class ModelFacts:
    """The line that a run prints of its model."""

    architecture: str
    modules: list[str]
    modalities: list[str]
    embedding_dimension: int | None
    """None for a reranker."""
    parameters: int
    dtype: str
    tokens_per_page: int
    """Tokens of one A4 page scanned at 200 dpi, at the model's pixel bounds; patches for CLIP and its like; 1 for a
    model without a token sequence."""

    def __str__(self) -> str:
        return (
            f"{self.architecture} ({' + '.join(self.modules)}; {self.dtype}): {', '.join(self.modalities)}; "
            f"{self._size()}; {self.parameters:,} parameters; "
            f"{self.tokens_per_page} tokens per page"
        )

    def _size(self) -> str:
        return "scores pairs" if self.embedding_dimension is None else f"{self.embedding_dimension} dimensions"


def model_facts(model: BaseModel) -> ModelFacts:
    """Read the facts off a loaded model. Preprocesses one blank page."""
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    embedder = model if isinstance(model, SentenceTransformer | MultiVectorEncoder) else None
    return ModelFacts(
        architecture=" + ".join(architectures(model)),
        modules=[_module_name(module) for module in model],
        modalities=[m if isinstance(m, str) else "+".join(m) for m in model.modalities],
        embedding_dimension=embedder.get_embedding_dimension() if embedder is not None else None,
        parameters=sum(p.numel() for p in model.parameters()),
        dtype=str(model.dtype).removeprefix("torch."),
        tokens_per_page=tokens_per_page(model),
    )


def architectures(model: BaseModel) -> list[str]:
    """The class of each encoder, each named once: one, or those that a router chooses from."""
    from sentence_transformers.base.modules import Transformer

    names = [type(module.model).__name__ for module in model.modules() if isinstance(module, Transformer)]
    return list(dict.fromkeys(names)) or [type(model[0]).__name__]


def processor_parts(model: BaseModel, name: str) -> list[Any]:
    """The part of that name, such as "image_processor", of each encoder's processor that has it."""
    processors = [getattr(module, "processor", None) for module in model.modules() if module is not model]
    return [getattr(processor, name) for processor in processors if hasattr(processor, name)]


def check_modalities(model: BaseModel, split: Split) -> None:
    """Raise `ConfigError` where the model does not take what the first query or its document is."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modality import format_modality, infer_modality

    queries = [("query", split.queries, row.query) for row in split.samples]
    documents = [("document", split.documents, row.positive) for row in split.samples]
    for role, cells, index in queries + documents:
        modality = infer_modality(cells[index], supported_modalities=model.modalities)
        reason = "" if model.supports(modality) else f"it takes {', '.join(map(format_modality, model.modalities))}"
        if modality == "audio" and not reason:
            check_sampling_rate(model, cells[index])
        if not reason and not isinstance(model, CrossEncoder):
            try:
                model.preprocess([cells[index]], task=role)
            except ValueError as error:  # a router has no way for it, or the encoder behind it does not take it
                reason = str(error)
        if reason:
            raise ConfigError(
                f"the model ({' + '.join(architectures(model))}) cannot take the {role} {cells.ids[index]!r}, which is "
                f"{format_modality(modality)}: {reason}. Choose a model that takes it with model=..., or other data."
            )


def check_sampling_rate(model: BaseModel, recording: Any) -> None:
    """Raise `ConfigError` where no encoder was trained with the recording's samples per second."""
    rates = {extractor.sampling_rate for extractor in processor_parts(model, "feature_extractor")}
    given = recording.get("sampling_rate") if isinstance(recording, dict) else None
    if given is not None and rates and given not in rates:
        rate = next(iter(rates))
        raise ConfigError(
            f"the model ({' + '.join(architectures(model))}) takes recordings of {rate} samples per second, and the "
            f"data has {given}. Use data.media.sampling_rate={rate}."
        )


def _module_name(module: torch.nn.Module) -> str:
    from sentence_transformers.base.modules import Router

    if isinstance(module, Router):
        routes = (
            f"{name}: {' + '.join(_module_name(part) for part in route.children())}"
            for name, route in module.sub_modules.items()
        )
        return f"Router({', '.join(routes)})"
    mode = getattr(module, "pooling_mode", None)
    return f"{type(module).__name__}({mode})" if mode else type(module).__name__


def tokens_per_page(model: BaseModel) -> int:
    """Tokens that the model spends on an A4 page scanned at 200 dpi; a reranker's with an empty query."""
    from PIL import Image
    from sentence_transformers import CrossEncoder

    from mmexp.training.tokens import patch_size, tokens_of_each

    if not model.supports("image"):
        return 1
    page = Image.new("RGB", A4_AT_200_DPI, "white")
    if isinstance(model, CrossEncoder):
        features = model.preprocess([("", page)])
    else:
        try:
            features = model.preprocess([page], task="document")
        except ValueError:  # a router that has no way for documents that are images
            return 1
    return int(tokens_of_each(features, patch_size(model)).sum())


def weights_checksum(model: torch.nn.Module) -> str:
    """16 hexadecimal digits over every parameter and buffer, bit for bit: equal weights, equal checksum, on every rank.

    A collective. Where an engine has sharded the parameters, it is over what each rank has of them. Integer arithmetic
    that wraps, so neither the device nor the order of a reduction changes it; it runs at the speed of the memory that
    holds the weights.
    """
    import torch
    import xxhash

    from mmexp.distributed import ranks

    digest = xxhash.xxh3_64()
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    for name, tensor in model.state_dict(keep_vars=True).items():
        part = own_part(tensor)
        flat = part.contiguous().view(-1)
        bits = flat.view(integers[flat.element_size()]) if flat.is_floating_point() else flat
        total = 0
        for chunk in bits.split(1 << 24):
            weights = torch.arange(1, 2 * len(chunk), 2, device=chunk.device, dtype=torch.int64)
            total = (total * 31 + int((chunk.to(torch.int64) * weights).sum())) % (1 << 64)
        digest.update(f"{name} {tuple(part.shape)} {part.dtype} {total}\n".encode())
    of_ranks = ranks.gather(digest.hexdigest())
    return of_ranks[0] if len(set(of_ranks)) == 1 else xxhash.xxh3_64_hexdigest("".join(of_ranks).encode())


def own_part(tensor: torch.Tensor) -> torch.Tensor:
    """What this rank has of a parameter or buffer: all of it, or a part where ZeRO-3 or FSDP2 has sharded it."""
    from torch.distributed.tensor import DTensor

    own = tensor.to_local() if isinstance(tensor, DTensor) else getattr(tensor, "ds_tensor", tensor)
    return own.detach()
