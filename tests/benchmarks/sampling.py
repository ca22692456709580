"""The first batch without duplicates from 10,000 rows of two pages."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from unittest.mock import patch

import torch
from datasets import Image as ImageFeature
from datasets import load_dataset
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

from mmexp.data.hub_columns import HubColumns
from mmexp.data.pairs import training_examples
from mmexp.training.sampler import NoDuplicateIds
from tests.benchmarks.pages import encoded_pages
from tests.conftest import write_config, write_readme

NUM_ROWS = 10_000


def first_batch(folder: Path, num_rounds: int = 3) -> list[tuple[float, float]]:
    """Seconds from an opened data set to the first 64 rows. Ours finds the pages that occur twice, too."""
    write_rows(folder)
    rows = load_dataset(str(folder), "train", split="train")
    source = HubColumns(path=str(folder), train_config="train", eval_split=None, num_eval_queries=10)
    source.read()  # opens it once, as the reference's was above
    rounds = []
    for _ in range(num_rounds):
        start = time.perf_counter()
        next(iter(NoDuplicatesBatchSampler(rows, 64, False, generator=torch.Generator(), seed=1)))
        middle = time.perf_counter()
        with patch.object(ImageFeature, "decode_example", side_effect=AssertionError("a page was decoded")):
            data = source.build()
            next(iter(NoDuplicateIds(training_examples(data.train).dataset(), 64, False, seed=1)))
        rounds.append((middle - start, time.perf_counter() - middle))
    return rounds


def write_rows(folder: Path) -> None:
    """Rows of two pages, no page twice."""
    from datasets import Value

    # Screenshots differ in size; repeated ones would not.
    pages = (page + bytes(n * 7919 % 20011) for n, page in enumerate(encoded_pages(2 * NUM_ROWS)))
    cells = ({"bytes": page, "path": None} for page in pages)
    columns = {
        "query": [f"question {n}" for n in range(NUM_ROWS)],
        "image": list(itertools.islice(cells, NUM_ROWS)),
        "negative_0": list(itertools.islice(cells, NUM_ROWS)),
    }
    features = {"query": Value("string"), "image": ImageFeature(), "negative_0": ImageFeature()}
    write_config(folder, "train", columns, features)
    write_readme(folder, ["train"])
