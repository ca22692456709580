"""A run of several processes that is continued: the samples go on where they were."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from mmexp.callbacks import EpochOfBatches
from tests.distributed.processes import run_ranks
from tests.distributed.test_batches import trainer_of

SIZES = {"one data set": [(41, 60)], "two data sets": [(25, 60), (41, 60)]}
STEPS_BEFORE = 12  # of 41 rows in batches of 8: in the middle of the second epoch, and of 66 rows likewise


def batches_seen(folder: Path) -> dict[str, tuple[list[Any], list[Any]]]:
    """What this rank is given after the checkpoint, by the run that wrote it and by one that continues it."""
    multiprocessing.set_start_method("fork", force=True)
    return {case: seen_after_checkpoint(folder / case.replace(" ", "-"), sizes) for case, sizes in SIZES.items()}


def seen_after_checkpoint(folder: Path, sizes: list[tuple[int, int]]) -> tuple[list[Any], list[Any]]:
    steps = ["trainer.save_strategy=steps", f"trainer.save_steps={STEPS_BEFORE}", "trainer.save_total_limit=null"]
    seen: list[list[Any]] = []
    for resumed in (None, folder / "checkpoints" / f"checkpoint-{STEPS_BEFORE}"):
        trainer = trainer_of(folder, sizes, steps, callbacks=[EpochOfBatches()])
        given: list[Any] = []
        trainer.loss.register_forward_pre_hook(
            lambda _, inputs, given=given: given.append([column["input_ids"].tolist() for column in inputs[0]])
        )
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        seen.append(given)
    return seen[0][STEPS_BEFORE:], seen[1]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict[str, tuple[list[Any], list[Any]]]]:
    return run_ranks(batches_seen, 2, folder=tmp_path_factory.mktemp("resumed"))


@pytest.mark.parametrize("case", SIZES)
def test_a_run_that_continues_in_its_second_epoch_is_given_the_batches_that_would_have_come(ranks, case):
    for rank in ranks:
        expected, found = rank[case]
        assert len(expected) > 3
        assert found == expected
    assert ranks[0][case] != ranks[1][case]
