"""One mining, top to bottom: data, model, embeddings in shards, search, and the file that training reads."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import xxhash
from transformers import set_seed

from mmexp.composition import plain_config
from mmexp.data import Data, OnBadPage
from mmexp.data.negatives import page_positions, write_negatives
from mmexp.data.splits import Split, bad_pages
from mmexp.evaluation.encode import Encoder, Preprocess, Side
from mmexp.evaluation.evaluate import MAX_DOCUMENT_BATCH_SIZE, QUERY_BATCH_SIZE
from mmexp.evaluation.output_cache import determinants
from mmexp.kinds import kind_of
from mmexp.mine.candidates import Candidates
from mmexp.mine.embeddings import Embeddings, check_same
from mmexp.mine.miner import Miner
from mmexp.mine.report import announce, announce_replacing, counts
from mmexp.mine.settings import Mine, MiningExperiment
from mmexp.models.facts import check_modalities, model_facts, weights_checksum
from mmexp.recording.environment import environment
from mmexp.recording.run_files import write_whole
from mmexp.training.arguments import training_arguments

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)


def mine(experiment: MiningExperiment, folder: Path, overrides: list[str]) -> float:
    """Mine the training data of `experiment` into `folder`. Returns how many negatives were mined.

    That is 0 where shards of other processes are missing: the process that finds all of them writes the negatives.
    """
    started = time.perf_counter()
    settings = experiment.mine

    # 1. Everything that can be refused is refused before a weight is read
    if not torch.accelerator.is_available():  # nothing is trained, and trainer.bf16 is most experiments' default
        experiment = replace(experiment, trainer={**experiment.trainer, "bf16": False})
    kind = kind_of(experiment)
    args = training_arguments(experiment, kind, folder)
    set_seed(experiment.seed)
    # All of the evaluation, whatever a run is limited to: none of its pages may be mined.
    data = replace(experiment.data, num_negatives=0, max_eval_queries=None).build()
    bad = bad_candidates(experiment.data, data.train)
    candidates = Candidates(data.train, data.evaluation, settings.document_pattern, bad)
    experiment.model.embedding_dimension()  # reaches for the checkpoint

    # 2. The model, and whether the folder's embeddings are of this model and data
    model = kind.build_model()
    check_modalities(model, data.train)
    facts = model_facts(model)
    log.info("model: %s", facts)
    encoder = Encoder(args.dataloader_num_workers, bf16_autocast=args.bf16)
    asked = Side("query", data.train.queries, list(data.train.relevant), QUERY_BATCH_SIZE)
    document_batch_size = min(MAX_DOCUMENT_BATCH_SIZE, kind.batch_size(facts))
    searched = Side("document", data.train.documents, candidates.pages, document_batch_size)
    parts = embedding_parts(model, encoder, asked, searched)
    check_same(folder / "embeddings" / "made_with.json", parts | {"mine.shard_size": settings.shard_size})

    # 3. Embeddings, by as many processes as share them
    queries, pages = (Embeddings(folder / "embeddings", side, settings.shard_size) for side in (asked, searched))
    if missing := encode_share([queries, pages], settings, model, encoder):
        log.info(
            "%d shards are left to other processes. The process that writes the last one searches; to search in this "
            "one, start it again",
            missing,
        )
        return 0.0

    # 4. Negatives, and what is left of the mining
    miner = Miner(settings, data.train, candidates, queries, pages, model)
    rows = miner.mine()
    counted = counts(rows, settings.num_negatives, miner.refused)
    plain = plain_config(experiment)
    announce_replacing(folder / "negatives.json", plain["mine"])
    write_negatives(folder / "negatives.parquet", rows)
    report = {
        "overrides": overrides,
        **{key: plain[key] for key in ("seed", "mine", "data")},
        "model": {**plain["model"], **asdict(facts), "weights": parts["weights"]},
        "data_fingerprint": parts["data"],
        "num_candidates": candidates.count,
        "num_evaluation_pages": candidates.num_evaluation_pages,
        "skipped_pages": sorted({*data.skipped_pages, *(data.train.documents.ids[page] for page in bad)}),
        **counted,
        "seconds": time.perf_counter() - started,
        "environment": environment(),
    }
    write_whole(folder / "negatives.json", json.dumps(report, indent=2, default=str))
    announce(counted, settings.num_negatives, folder / "negatives.parquet", overrides)
    return counted["num_negatives"]


def bad_candidates(data: Data, train: Split) -> set[int]:
    """The documents that cannot be decoded, where the data is asked to check and to skip them. Raises `BadPage`."""
    if not data.checks_pages:
        return set()
    bad = bad_pages(train.documents, page_positions(train).values())
    if bad and data.on_bad_page is OnBadPage.error:
        raise next(iter(bad.values()))
    return set(bad)


def embedding_parts(model: SentenceTransformer, encoder: Encoder, *sides: Side) -> dict[str, Any]:
    """What the embeddings depend on, by name."""
    samples = {side.name: Preprocess(model, side.name)([side.cells[side.indices[0]]]) for side in sides}
    return {
        **determinants(model, weights_checksum(model), encoder, samples),
        "data": xxhash.xxh3_64_hexdigest("".join(map(_content, sides)).encode()),
    }


def _content(side: Side) -> str:
    """The ids of what is encoded, in order, with what queries ask and the sizes of pages. Reads no page."""
    cells = side.cells
    identity = cells.digest if side.name == "query" else cells.size
    return f"{side.name}: {[(cells.ids[index], identity(index)) for index in side.indices]}\n"


def encode_share(sides: list[Embeddings], settings: Mine, model: SentenceTransformer, encoder: Encoder) -> int:
    """Write those of this process' shards that are not written yet; return how many are missing after that."""
    shards = [(side, number) for side in sides for number in range(len(side.files))]
    for side, number in shards[settings.process or 0 :: settings.num_processes]:
        if number in side.missing():
            side.encode(number, model, encoder)
    return sum(len(side.missing()) for side in sides)
