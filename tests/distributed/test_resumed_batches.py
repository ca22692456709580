"""A run of several processes that is continued: the samples go on where they were."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from mmexp.training.callbacks import EpochOfBatches, WorldSize
from tests.distributed.processes import run_ranks
from tests.distributed.test_batches import NUM_EPOCHS, trainer_of

# Rows and pages, and the step of the checkpoint: in the middle of an epoch that is not the first.
CASES = {"one data set": ([(41, 60)], 9), "two data sets": ([(25, 60), (41, 60)], 16)}


def batches_seen(folder: Path) -> dict[str, tuple[list[Any], list[Any]]]:
    """What this rank is given after the checkpoint, by the run that wrote it and by one that continues it."""
    multiprocessing.set_start_method("fork", force=True)
    return {case: seen_after_checkpoint(folder / case.replace(" ", "-"), *CASES[case]) for case in CASES}


def seen_after_checkpoint(folder: Path, sizes: list[tuple[int, int]], step: int) -> tuple[list[Any], list[Any]]:
    steps = ["trainer.save_strategy=steps", f"trainer.save_steps={step}", "trainer.save_total_limit=null"]
    seen: list[list[Any]] = []
    for resumed in (None, folder / "checkpoints" / f"checkpoint-{step}"):
        trainer = trainer_of(folder, sizes, steps, callbacks=[EpochOfBatches(), WorldSize()])
        given: list[Any] = []
        trainer.loss.register_forward_pre_hook(
            lambda _, inputs, given=given: given.append([column["input_ids"].tolist() for column in inputs[0]])
        )
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        seen.append(given)
        steps_of_epoch = trainer.state.max_steps / NUM_EPOCHS
        assert step > steps_of_epoch
        assert step % steps_of_epoch > 0
    return seen[0][step:], seen[1]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict[str, tuple[list[Any], list[Any]]]]:
    return run_ranks(batches_seen, 2, folder=tmp_path_factory.mktemp("resumed"))


@pytest.mark.parametrize("case", CASES)
def test_a_run_that_continues_in_its_second_epoch_is_given_the_batches_that_would_have_come(ranks, case):
    for rank in ranks:
        expected, found = rank[case]
        assert expected
        assert found == expected
    assert ranks[0][case] != ranks[1][case]
