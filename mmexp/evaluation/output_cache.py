"""What models make of data, kept between runs: the members of a sweep share one baseline, and one teacher's labels.

Also those that start together: one of them computes, and the others wait for it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import xxhash

from mmexp.distributed import ranks
from mmexp.evaluation.encode import Encoder
from mmexp.evaluation.turns import turn
from mmexp.models.facts import processor_parts
from mmexp.recording.run_files import whole_file

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

    from mmexp.data.splits import RetrievalData
    from mmexp.experiment import Experiment

log = logging.getLogger(__name__)


class OutputCache:
    """A folder of embeddings, or of a reranker's scores, under keys that hold everything that determines them."""

    def __init__(self, folder: Path, data_fingerprint: str) -> None:
        self.folder = folder
        self.data_fingerprint = data_fingerprint

    def key(
        self, model: BaseModel, weights: str, encoder: Encoder, samples: dict[str, dict[str, Any]], **more: Any
    ) -> str:
        """A hash of all that `determinants` names, of the data, and of `more`."""
        parts = {**determinants(model, weights, encoder, samples), "data": self.data_fingerprint, **more}
        return xxhash.xxh3_128_hexdigest(json.dumps(parts, sort_keys=True, default=str).encode())

    def file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def find_or_compute(
        self, key: str, compute: Callable[[], dict[str, torch.Tensor]], what: str
    ) -> dict[str, torch.Tensor]:
        """What is kept under `key`; computed, and kept, where there is nothing. The log says `what` was found.

        A collective: rank 0 looks for the file and writes it, so that all ranks have the same, whatever they see of
        its disk.
        """
        found = self._found(key)
        if found is None:
            with turn(self.file(key).with_suffix(".lock"), what):
                found = self._found(key)  # of the run that had its turn before
                if found is None:
                    computed = compute()
                    self._keep(key, computed)
                    return computed
        log.info("found %s in %s", what, self.file(key))
        return found

    def _found(self, key: str) -> dict[str, torch.Tensor] | None:
        from safetensors.torch import load_file

        is_kept = ranks.is_main() and self.file(key).exists()
        return ranks.broadcast(load_file(self.file(key)) if is_kept else None)

    def _keep(self, key: str, tensors: dict[str, torch.Tensor]) -> None:
        """Write whole or not at all, by rank 0. When it is done, every rank may read the file."""
        if ranks.is_main():
            self._write(key, tensors)
        ranks.broadcast(None)

    def _write(self, key: str, tensors: dict[str, torch.Tensor]) -> None:
        from safetensors.torch import save_file

        with whole_file(self.file(key)) as stream:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, stream.name)


def cache_of(experiment: Experiment, data: RetrievalData) -> OutputCache | None:
    """Where the embeddings or scores of an experiment's evaluation are kept. None: it keeps none."""
    if not experiment.evaluation.reuse_baseline:
        return None
    return OutputCache(Path(experiment.output_root) / ".cache", data.fingerprint(as_decoded=True))


def determinants(
    model: BaseModel, weights: str, encoder: Encoder, samples: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """What a model's outputs depend on beside the data, by name: weights, preprocessing, and what computes.

    Preprocessing is recorded as it is configured and, since not everything that changes it is in a config
    (a chat template, a prompt), as `samples`: the input tensors that it makes of an input of each sort.
    """
    import sentence_transformers
    import transformers

    return {
        "weights": weights,
        "modules": str(model),
        "image_processors": [processor.to_json_string() for processor in processor_parts(model, "image_processor")],
        "samples": {sort: _content(features) for sort, features in samples.items()},
        "prompts": model.prompts,
        "device": model.device.type,
        "attention": getattr(model.config, "_attn_implementation", None),
        "bf16_autocast": encoder.bf16_autocast,
        "versions": [torch.__version__, transformers.__version__, sentence_transformers.__version__],
    }


def _content(features: dict[str, Any]) -> dict[str, str]:
    """A hash of every input tensor."""
    return {
        name: xxhash.xxh3_64_hexdigest(value.contiguous().numpy().tobytes()) if torch.is_tensor(value) else str(value)
        for name, value in features.items()
    }
