"""The loss over the global batch: n processes train as one process with all rows does, under every engine."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from mmexp.embedder_archs.multi_vector import MultiVector
from mmexp.losses.contrastive import OnlineContrastive
from mmexp.losses.cosent import CoSent
from mmexp.losses.gist import CachedGist
from mmexp.losses.mnrl import CachedMnrl, Interaction, Mnrl, PartitionMode
from mmexp.losses.multi_vector_losses import MultiVectorCachedMnrl
from mmexp.models.hub import HubModel
from mmexp.models.tiny_vlm import TinyVlm, write_checkpoint
from tests.conftest import page
from tests.distributed.engines import ENGINES
from tests.distributed.processes import run_ranks
from tests.distributed.training import NUM_STEPS, Case, train_all
from tests.models import tiny_checkpoints

NUM_ROWS = 32
WRAPPERS = {
    "ddp": ("MULTI_CPU", "DistributedDataParallel"),
    "zero1": ("DEEPSPEED", "DeepSpeedEngine"),
    "zero2": ("DEEPSPEED", "DeepSpeedEngine"),
    "zero3": ("DEEPSPEED", "DeepSpeedEngine"),
    "fsdp2": ("FSDP", "FSDP"),
}


def words(num_words: int) -> list[str]:
    """Texts of different lengths, none of them twice."""
    drawn = random.Random(num_words)
    return [" ".join(drawn.choices("abcdefgh", k=num_words + n % 4)) + f" {n}" for n in range(NUM_ROWS)]


def pages(first: int) -> list[Any]:
    return [page(first + n, (64, 64 + 32 * (n % 2))) for n in range(NUM_ROWS)]


TEXTS = {"query": words(2), "positive": words(4)}
NEGATIVES = {"negative_0": words(3), "negative_1": words(5)}
PAGES = {"query": words(2), "positive": pages(0), "negative_0": pages(100), "negative_1": pages(200)}
SYMMETRIC = {"directions": [Interaction.query_to_doc, Interaction.doc_to_query]}


def cases(folder: Path) -> dict[str, Case]:
    torch.manual_seed(0)
    (folder / "vlm").mkdir()
    tiny_checkpoints.minilm(folder / "bert")
    write_checkpoint(TinyVlm(hidden_size=32, num_layers=1, vision_hidden_size=32, vision_num_layers=2), folder / "vlm")
    bert = HubModel(checkpoint=str(folder / "bert"))
    vlm = HubModel(checkpoint=str(folder / "vlm"), min_pixels=1024, max_pixels=128 * 160)
    guide = torch.randn(NUM_ROWS, 4, 1, 8, generator=torch.Generator().manual_seed(1)).tolist()
    guided = CachedGist(guide=HubModel(checkpoint="never read"), mini_batch_size=1)
    return {
        "mnrl": Case(bert, Mnrl(), TEXTS),
        "cached": Case(bert, CachedMnrl(mini_batch_num_tokens=30), TEXTS | NEGATIVES, dims=[32, 8], accumulation=2),
        "pages": Case(vlm, CachedMnrl(mini_batch_num_tokens=50), PAGES, dims=[32, 8]),
        "symmetric": Case(
            bert, CachedMnrl(mini_batch_size=1, partition_mode=PartitionMode.per_direction, **SYMMETRIC), TEXTS
        ),
        "guided": Case(bert, guided, TEXTS | NEGATIVES | {"label": guide}, dims=[32, 8]),
        "cosent": Case(bert, CoSent(), TEXTS | {"label": [n % 5 / 5 for n in range(NUM_ROWS)]}),
        "online": Case(bert, OnlineContrastive(), TEXTS | {"label": [n % 2 for n in range(NUM_ROWS)]}),
        "late": Case(vlm, MultiVectorCachedMnrl(mini_batch_size=1), PAGES, arch=MultiVector(dimension=8)),
        "from_pages": Case(
            vlm,
            CachedMnrl(mini_batch_size=1),
            {"query": pages(0), "positive": words(4)},
            accumulation=2,
            gradient_checkpointing=True,
        ),
    }


def assert_equals_one_process(ranks: list[dict], one: dict, engine: str, case: Case) -> None:
    """The engine ran, on as many processes and rows as it should, and trained what one process trains."""
    for rank in ranks:
        assert (rank["engine"], rank["num_processes"]) == (WRAPPERS[engine][0], len(ranks))
        assert rank["wrapper"].startswith(WRAPPERS[engine][1])
        assert rank["is_sharded"] == (engine in ("zero3", "fsdp2"))
        assert torch.equal(rank["weights"], ranks[0]["weights"])
    rows = [row for rank in ranks for row in rank["rows"]]
    assert len(rows) == len(set(map(tuple, rows))) == NUM_STEPS * case.accumulation * case.batch_size
    assert sorted(rows) == sorted(one["rows"])
    assert one["gradient"].norm() > 0.1
    assert ranks[0]["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert (ranks[0]["gradient"] - one["gradient"]).norm() <= 1e-5 * one["gradient"].norm()


def compare(chosen: dict[str, Case], num_processes: int, engines: tuple[str, ...]) -> None:
    [one] = run_ranks(train_all, 1, None, cases=chosen)
    for engine in engines:
        ranks = run_ranks(train_all, num_processes, engine, cases=chosen)
        for name, case in chosen.items():
            print(engine, name)  # shown where the next line fails
            assert_equals_one_process([rank[name] for rank in ranks], one[name], engine, case)


def test_two_processes_train_as_one_does_under_every_engine(tmp_path):
    chosen = cases(tmp_path)
    compare(chosen, 2, ("ddp",))
    compare({name: chosen[name] for name in ("cached", "pages")}, 2, ENGINES[1:])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_four_processes_train_as_one_does(tmp_path, engine):
    compare(cases(tmp_path), 4, (engine,))
