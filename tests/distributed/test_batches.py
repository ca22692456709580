"""Batches of several processes: what is claimed of a batch holds over all of them."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from mmexp.data.cells import Values
from mmexp.data.pairs import training_examples
from mmexp.data.splits import Row, Split
from mmexp.kinds import kind_of
from mmexp.schema import ConfigError
from mmexp.training.arguments import check_batch_size, training_arguments
from mmexp.training.fit import build_trainer
from tests.distributed.processes import run_ranks
from tests.models.tiny_checkpoints import train_tokenizer
from tests.test_run import SMALL, experiment_of

BATCH_SIZE = 4  # of each rank
NUM_EPOCHS = 3
# Rows, and pages that they share: 41 and 87 rows divide by neither 2 nor 4.
CASES: dict[str, tuple[list[tuple[int, int]], list[str]]] = {
    "shared pages": ([(203, 120)], []),
    "seeded otherwise": ([(203, 120)], ["seed=6"]),
    "duplicates allowed": ([(41, 20)], ["trainer.batch_sampler=batch_sampler"]),
    "last batches dropped": ([(41, 2000)], ["trainer.dataloader_drop_last=true"]),
    "two data sets": ([(41, 60), (87, 60)], []),
    "two data sets in turns": ([(41, 60), (87, 60)], ["trainer.multi_dataset_batch_sampler=round_robin"]),
}


def planted(num_rows: int, num_pages: int) -> list[Row]:
    """Rows that share pages, and every eighth query is asked twice."""
    draw = random.Random(num_rows)
    pages = [draw.sample(range(num_pages), 2) for _ in range(num_rows)]
    return [Row(n - (n % 8 == 7), positive, [negative]) for n, (positive, negative) in enumerate(pages)]


def examples_of(num_rows: int, num_pages: int):
    texts = [
        Values([str(n) for n in range(count)], [f"text {n}" for n in range(count)]) for count in (num_rows, num_pages)
    ]
    return training_examples(Split(*texts, planted(num_rows, num_pages)))


def trainer_of(folder: Path, sizes: list[tuple[int, int]], overrides: list[str], callbacks: list[Any] | None = None):
    experiment = experiment_of(
        folder,
        *SMALL,
        f"trainer.per_device_train_batch_size={BATCH_SIZE}",
        f"trainer.num_train_epochs={NUM_EPOCHS}",
        "trainer.eval_strategy=no",
        *overrides,
    )
    kind = kind_of(experiment)
    args = training_arguments(experiment, kind, folder)
    examples = {str(n): examples_of(*size) for n, size in enumerate(sizes)}
    check_batch_size(args, examples, args.world_size)
    model = SentenceTransformer(modules=[StaticEmbedding(train_tokenizer().backend_tokenizer, embedding_dim=8)])
    datasets = {name: of_one.dataset() for name, of_one in examples.items()}
    return build_trainer(kind, args, model, MultipleNegativesRankingLoss(model), datasets, None, callbacks or [])


def batches_of_rank(folder: Path) -> dict[str, Any]:
    """By case: the rows that this rank gets in every epoch, and how many batches were promised."""
    found: dict[str, Any] = {}
    for name, (sizes, overrides) in CASES.items():
        loader = trainer_of(folder, sizes, overrides).get_train_dataloader()
        epochs = []
        for epoch in range(NUM_EPOCHS):
            loader.batch_sampler.batch_sampler.set_epoch(epoch)
            epochs.append(list(loader.batch_sampler))
        found[name] = {"epochs": epochs, "len": len(loader)}
    found["again"] = list(trainer_of(folder, *CASES["shared pages"]).get_train_dataloader().batch_sampler)
    found["refused"] = refusals(folder)
    found["backend"] = torch.distributed.get_backend()
    return found


def refusals(folder: Path) -> list[str]:
    messages = []
    for sizes, override in (
        ([(7, 60)], "seed=1"),
        ([(1, 60)], "seed=1"),
        ([(41, 60)], "trainer.batch_sampler=group_by_label"),
    ):
        with pytest.raises(ConfigError) as refused:
            trainer_of(folder, sizes, [override])
        messages.append(str(refused.value))
    return messages


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request, tmp_path_factory) -> list[dict[str, Any]]:
    return run_ranks(batches_of_rank, request.param, folder=tmp_path_factory.mktemp("batches"))


def epochs_of(ranks: list[dict[str, Any]], case: str) -> list[list[list[list[int]]]]:
    """[epoch][batch][rank] -> rows."""
    return [list(zip(*(rank[case]["epochs"][epoch] for rank in ranks), strict=True)) for epoch in range(NUM_EPOCHS)]


@pytest.mark.parametrize("case", CASES)
def test_ranks_always_have_equally_many_rows_and_batches(ranks, case):
    assert all(rank["backend"] == "gloo" for rank in ranks)
    for epoch in epochs_of(ranks, case):
        assert len(epoch) == ranks[0][case]["len"]
        for batch in epoch:
            assert {len(part) for part in batch} == {len(batch[0])}
            assert 0 < len(batch[0]) <= BATCH_SIZE


@pytest.mark.parametrize("case", CASES)
def test_every_row_comes_once_an_epoch_but_for_fewer_than_there_are_ranks(ranks, case):
    sizes, _ = CASES[case]
    left_out = sum(rows % len(ranks) for rows, _ in sizes)
    if case == "last batches dropped":
        left_out = sizes[0][0] % (BATCH_SIZE * len(ranks))
    for epoch in epochs_of(ranks, case):
        seen = [row for batch in epoch for part in batch for row in part]
        assert len(seen) == len(set(seen))
        if case == "two data sets in turns":  # which ends with the smaller one
            assert sum(row < sizes[0][0] for row in seen) == sizes[0][0] - sizes[0][0] % len(ranks)
        else:
            assert len(seen) == sum(rows for rows, _ in sizes) - left_out


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"duplicates allowed"}))
def test_no_query_and_no_page_is_twice_in_the_batch_of_all_ranks(ranks, case):
    of_all = [(n, row) for n, size in enumerate(CASES[case][0]) for row in planted(*size)]
    for epoch in epochs_of(ranks, case):
        for batch in epoch:
            ids = [of_all[row] for part in batch for row in part]
            queries = [(n, row.query) for n, row in ids]
            pages = [(n, page) for n, row in ids for page in (row.positive, *row.negatives)]
            assert len(queries) == len(set(queries))
            assert len(pages) == len(set(pages))


def test_duplicates_come_together_where_they_are_not_asked_to_stay_apart(ranks):
    """Or the claim above would be empty."""
    rows = planted(*CASES["duplicates allowed"][0][0])
    pages = [
        Counter(page for part in batch for row in part for page in (rows[row].positive, *rows[row].negatives))
        for epoch in epochs_of(ranks, "duplicates allowed")
        for batch in epoch
    ]
    assert max(max(of_batch.values()) for of_batch in pages) > 1


@pytest.mark.parametrize("case", ["two data sets", "two data sets in turns"])
def test_all_ranks_draw_from_the_same_data_set_at_each_step(ranks, case):
    first = CASES[case][0][0][0]
    drawn = [{row < first for part in batch for row in part} for epoch in epochs_of(ranks, case) for batch in epoch]
    assert all(len(of_batch) == 1 for of_batch in drawn)
    assert {True, False} == set().union(*drawn)


def test_the_order_follows_from_the_seed_and_the_epoch(ranks):
    case = "shared pages"
    for rank in ranks:
        assert rank["again"] == rank[case]["epochs"][0]
        assert rank["seeded otherwise"]["epochs"][0] != rank[case]["epochs"][0]
        assert rank[case]["epochs"][0] != rank[case]["epochs"][1]


@pytest.mark.parametrize("case", ["last batches dropped", "duplicates allowed"])
def test_together_the_batches_are_those_of_one_process_with_as_many_rows(ranks, case, tmp_path):
    """Where few rows share pages, but for the last ones: so a run can go on in another world size."""
    sizes, overrides = CASES[case]
    rows = BATCH_SIZE * len(ranks)
    loader = trainer_of(
        tmp_path, sizes, [*overrides, f"trainer.per_device_train_batch_size={rows}"]
    ).get_train_dataloader()
    for epoch in range(2):
        loader.set_epoch(epoch)
        loader.batch_sampler.set_epoch(epoch)
        alone = list(loader.batch_sampler)
        full = [batch for batch in alone if len(batch) == rows]
        together = [[row for part in batch for row in part] for batch in epochs_of(ranks, case)[epoch]]
        assert together[: len(full)] == full
        assert len(full) > 1


def test_what_cannot_be_dealt_out_is_refused_with_what_to_type(ranks):
    for rank in ranks:
        too_large, too_few, unknown = rank["refused"]
        assert f"trainer.per_device_train_batch_size=4 in {len(ranks)} processes is larger" in too_large
        assert f"has 7 examples. Use {7 // len(ranks)} or less" in too_large
        assert f"{len(ranks)} processes cannot share the training data, which has 1 examples" in too_few
        assert f"Use trainer.batch_sampler=batch_sampler or no_duplicates with {len(ranks)} processes" in unknown
