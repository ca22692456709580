"""The evaluation data of a run as its own model embeds it: encoded once, and found again by later calls."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import set_seed

from mmexp.composition import Composition
from mmexp.data.workers import batch_bytes, default_workers, fork_workers
from mmexp.evaluation.encode import Encoder
from mmexp.evaluation.evaluate import Evaluator
from mmexp.evaluation.model_evaluator import no_phase
from mmexp.evaluation.output_cache import cache_of
from mmexp.experiment import Experiment, Task
from mmexp.kinds import kind_of
from mmexp.models.facts import model_facts, weights_checksum
from mmexp.models.hub import HubModel
from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from mmexp.kinds import Kind
    from mmexp.models import Model

log = logging.getLogger(__name__)

INNER_PRODUCTS = ("cosine", "dot")


@dataclass
class Encoded:
    """The embeddings of an evaluation, and what is asked of them."""

    queries: torch.Tensor
    """float32 (queries, full size), as the model gives them."""

    documents: torch.Tensor
    """float32 (documents, full size)."""

    query_ids: list[str]
    document_ids: list[str]
    relevant: list[set[int]]
    """For each query, positions in `documents`."""

    similarity: str
    """The model's: cosine or dot."""

    dims: list[int]
    """The sizes that the run was evaluated at, the full one first."""


def encode(composition: Composition, result: dict[str, Any]) -> Encoded:
    """Embed the evaluation data of a finished run with the model that it left, or find what was embedded before.

    A run of task=evaluate has the model that it was given. Raises `ConfigError` where the model or the data are not
    what they were.
    """
    experiment = with_its_model(composition)
    composition.enter()
    fork_workers()
    set_seed(experiment.seed)
    data = experiment.data.build(for_training=False)
    check_same_data(composition.run_dir, result["data_fingerprint"], data.fingerprint())
    kind = kind_of(experiment)
    model = loaded(kind, composition)
    evaluator = kind.build_evaluator(data.evaluation, model_facts(model), encoder_of(experiment), no_phase)
    assert isinstance(evaluator, Evaluator)
    found = evaluator.found_or_computed(model, weights_checksum(model), cache_of(experiment, data))
    split = evaluator.split
    return Encoded(
        queries=found["queries"],
        documents=found["documents"],
        query_ids=[split.queries.ids[query] for query in evaluator.queries],
        document_ids=[split.documents.ids[document] for document in evaluator.corpus],
        relevant=evaluator.relevant,
        similarity=model.similarity_fn_name,
        dims=evaluator.dims,
    )


def with_its_model(composition: Composition) -> Experiment:
    """The experiment that evaluates the model that the run left, or was given."""
    experiment, folder = composition.experiment, composition.run_dir / "model"
    if experiment.task is Task.evaluate:
        return experiment
    if not folder.is_dir():
        raise ConfigError(
            f"{composition.run_dir} has no model/ any more, which its embeddings are made with. Put the folder back, "
            "or run the experiment again."
        )
    return dataclasses.replace(experiment, task=Task.evaluate, model=saved_model(experiment.model, folder))


def loaded(kind: Kind, composition: Composition) -> SentenceTransformer:
    """The model, at its full size. Raises `ConfigError` where its embeddings are compared by no product."""
    model = kind.build_model()
    if composition.experiment.task is Task.train:
        model.truncate_dim = None  # the size that it was saved with is one of those that the run was evaluated at
    if model.similarity_fn_name not in INNER_PRODUCTS:
        raise ConfigError(
            f"the model of {composition.run_dir} compares embeddings by {model.similarity_fn_name} distance, and int8 "
            "and binary codes are compared by inner products. Give a run whose model compares by "
            f"{' or '.join(INNER_PRODUCTS)}."
        )
    return model


def saved_model(trained: Model, folder: Path) -> Model:
    """The checkpoint in `folder`, loaded as the model that it was trained from."""
    kept = [key for key in ("attention", "trust_remote_code") if hasattr(trained, key)]
    return HubModel(checkpoint=str(folder), **{key: getattr(trained, key) for key in kept})


def encoder_of(experiment: Experiment) -> Encoder:
    """The encoder that the run was evaluated with. Without a GPU there is no autocast."""
    trainer = experiment.trainer
    bf16 = bool(trainer.get("bf16"))
    if bf16 and not torch.accelerator.is_available():
        log.warning("the run was evaluated with trainer.bf16=true, which needs a GPU: encoding without it")
        bf16 = False
    num_workers = trainer.get("dataloader_num_workers") or default_workers(batch_bytes(experiment))
    return Encoder(num_workers, bf16_autocast=bf16)


def check_same_data(run_dir: Path, before: str, now: str) -> None:
    """Raise `ConfigError` where the evaluation data has changed since the run."""
    if before != now:
        raise ConfigError(
            f"the evaluation data of {run_dir} has changed since: its fingerprint was {before} and is {now}. Bring the "
            f"data back, or evaluate the model on what there is, and give that run: task=evaluate model=hub "
            f"model.checkpoint={run_dir}."
        )
