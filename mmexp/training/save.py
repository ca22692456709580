"""What is kept of the trained model, here and on the Hub."""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import PartialState
from sentence_transformers import SentenceTransformer

from mmexp.distributed import ranks
from mmexp.distributed.sharding import is_sharded, whole_weights
from mmexp.training.checkpoints import raise_if_disk_full

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

    from mmexp.experiment import Hub

log = logging.getLogger(__name__)


def save_model(model: BaseModel, folder: Path, truncate_dim: int | None) -> None:
    """Save the model, whole or not at all. An embedder, loaded again, gives embeddings of `truncate_dim` dimensions.

    A collective: every rank takes part in it where weights are split, and rank 0 writes.
    """
    if is_sharded(model):  # the card's example would be computed with the weights of one rank
        card: Any = model.model_card_data
        card.run_usage_snippet = dict
    with whole_weights(model):
        if PartialState().is_main_process:
            _write_model(model, folder, truncate_dim)
    PartialState().wait_for_everyone()


def _write_model(model: BaseModel, folder: Path, truncate_dim: int | None) -> None:
    temporary = folder.with_name(folder.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with model.truncate_embeddings(truncate_dim) if isinstance(model, SentenceTransformer) else nullcontext():
            model.save_pretrained(str(temporary))
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise_if_disk_full(error, folder.parent / "checkpoints")
        raise
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)
    log.info("model saved in %s", folder)


def push_model(folder: Path, hub: Hub) -> None:
    """Upload the saved model if `hub.model_id` says so. A failure is a warning: the run is complete without it."""
    if hub.model_id is None:
        return
    from huggingface_hub import HfApi

    try:
        HfApi().create_repo(hub.model_id, private=hub.private, exist_ok=True)
        HfApi().upload_folder(repo_id=hub.model_id, folder_path=str(folder))
        log.info("model pushed to %s", hub.model_id)
    except Exception as error:  # whatever the network or the Hub raises must not fail a finished run
        log.warning(
            "hub.model_id=%s: the model could not be pushed (%s). It is in %s; push it with: hf upload %s %s",
            hub.model_id,
            error,
            folder,
            hub.model_id,
            folder,
        )


def peak_memory_bytes() -> int:
    """The most memory that a rank held: of the GPU where there is one, else of the machine. A collective."""
    return max(ranks.gather(_own_peak()))


def _own_peak() -> int:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
