"""Evaluation over several processes: what one process finds, bit by bit, whatever each sees of the cache."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmexp.data.pairs import training_examples
from mmexp.distributed import ranks
from mmexp.evaluation import evaluate, metrics
from mmexp.evaluation.encode import Encoder
from mmexp.evaluation.model_evaluator import no_phase
from mmexp.evaluation.output_cache import OutputCache
from mmexp.kinds import kind_of
from mmexp.losses.distillation import MarginMse
from mmexp.models.facts import model_facts, weights_checksum
from mmexp.models.hub import HubModel
from mmexp.models.tiny_vlm import TinyVlm, write_checkpoint
from mmexp.reranker_archs.any_to_any import AnyToAny
from mmexp.training.arguments import training_arguments
from mmexp.training.teacher import Teacher
from tests.distributed.processes import run_ranks
from tests.test_run import SMALL, experiment_of

NUM_PAGES = 25  # 16 at a time: two batches, fewer than 4 ranks
QUERIES_AT_A_TIME = 5  # of 25: five batches, which neither 2 nor 4 ranks share evenly
CASES = {
    "embedder": ["dims=none", "dims.matryoshka_dims=[32,16,8]"],
    "multi-vector": ["+experiment=multivector_tiny"],
    "reranker": [
        "+experiment=reranker_tiny",
        "reranking.directions=[text_to_image,image_to_text]",
        "reranking.num_eval_negatives=5",
    ],
    "two stages": ["+experiment=two_stage_tiny", "two_stage.top_k=[3,7]"],
}
TIMES = {"pages_per_second", "seconds_per_query"}


def experiment_in(folder: Path, *overrides: str):
    return experiment_of(
        folder,
        *overrides,
        "data.num_train_pages=15",
        f"data.num_eval_pages={NUM_PAGES}",
    )


def evaluations(folder: Path, checkpoints: dict[str, Path], cases: list[str]) -> dict[str, Any]:
    """What this rank finds, by case."""
    multiprocessing.set_start_method("fork", force=True)  # of data workers, as in a process that was not forked itself
    evaluate.QUERY_BATCH_SIZE = metrics.QUERY_BLOCK = QUERIES_AT_A_TIME
    found = {case: evaluation_of(folder / case, CASES[case], checkpoints) for case in cases}
    if cases == list(CASES):
        found |= {"teacher": labels(folder, checkpoints), "checksums": checksums()}
    return {**found, "world": ranks.world_size()}


def evaluation_of(folder: Path, overrides: list[str], checkpoints: dict[str, Path]) -> dict[str, Any]:
    models = SMALL
    if "+experiment=two_stage_tiny" in overrides:
        names = {"model": "embedder", "two_stage.reranker": "reranker"}
        models = [f"{key}.checkpoint={checkpoints[name]}" for key, name in names.items()] + ["tracking=none"]
    experiment = experiment_in(folder, *overrides, *models)
    kind = kind_of(experiment)
    training_arguments(experiment, kind, folder)  # connect the ranks
    split = experiment.data.build().evaluation
    model = kind.build_model()
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))

    def report(disk: str | None) -> dict[str, Any]:
        """Of an evaluator that has measured nothing yet, in front of a disk that this rank may not share."""
        cache = None if disk is None else OutputCache(folder / disk, "data")
        evaluator = kind.build_evaluator(split, model_facts(model), Encoder(1), no_phase)
        calls.clear()
        report = evaluator.evaluate(model, cache)
        fields = {name: vars(report).get(name) for name in ("per_query", "rankings", "scores")}
        return {"metrics": without_times(report.metrics), "calls": len(calls), **fields}

    if "dims=none" not in overrides:  # what is told between ranks of the cache is the same in all cases
        return {"computed": report(None)}
    own_disk = f"disk-{ranks.rank()}"
    found = {"computed": report(None), "missed": report(own_disk), "found": report(own_disk)}
    others = f"others-{ranks.rank()}"
    if ranks.rank() > 0:  # all but rank 0 see a file
        (folder / others).mkdir()
        for file in (folder / "disk-0").iterdir():
            (folder / others / file.name).write_bytes(file.read_bytes())
    ranks.broadcast(None)
    return {**found, "found by others": report(others)}


def without_times(by_part: Any) -> dict[Any, dict[str, float]]:
    return {part: {k: v for k, v in of_part.items() if k not in TIMES} for part, of_part in by_part.items()}


def labels(folder: Path, checkpoints: dict[str, Path]) -> dict[str, Any]:
    """What a teacher makes of training rows: embeddings of the used cells, and a reranker's scores."""
    experiment = experiment_in(folder, *SMALL, "data.num_negatives=1")
    examples = training_examples(experiment.data.build().train)
    found: dict[str, Any] = {}
    for name, checkpoint in checkpoints.items():
        config = HubModel(checkpoint=str(checkpoint))
        teacher = Teacher(MarginMse(teacher=config), 32, Encoder(1), 1000, folder / "teacher")
        found[name] = teacher.scores(examples)
    return found


def checksums() -> dict[str, str]:
    same = TinyVlm(hidden_size=32, num_layers=1, vision_hidden_size=32, vision_num_layers=2).build()
    found = {"same": weights_checksum(same)}
    with torch.no_grad():
        next(same.parameters()).add_(ranks.rank())
    return {**found, "of unequal ranks": weights_checksum(same)}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    tiny = [
        TinyVlm(hidden_size=32, num_layers=1, vision_hidden_size=32, vision_num_layers=2, weights_seed=seed)
        for seed in (0, 1)
    ]
    write_checkpoint(tiny[0], folder / "embedder")
    tiny[1].build_reranker(AnyToAny(), {}).save_pretrained(str(folder / "reranker"))
    return {name: folder / name for name in ("embedder", "reranker")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, checkpoints) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("alone")
    return run_ranks(evaluations, 1, None, folder=folder, checkpoints=checkpoints, cases=list(CASES))[0]


@pytest.fixture(scope="module")
def together(tmp_path_factory, checkpoints) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("together")
    return run_ranks(evaluations, 2, folder=folder, checkpoints=checkpoints, cases=list(CASES))


@pytest.fixture(scope="module")
def four(tmp_path_factory, checkpoints) -> list[dict[str, Any]]:
    """More ranks than there are batches of pages."""
    folder = tmp_path_factory.mktemp("four")
    return run_ranks(evaluations, 4, folder=folder, checkpoints=checkpoints, cases=["embedder"])


@pytest.mark.parametrize(
    ("case", "how"),
    [(case, "computed") for case in CASES] + [("embedder", how) for how in ("missed", "found", "found by others")],
)
def test_every_rank_finds_what_one_process_finds(alone, together, case, how):
    assert_same(together, alone, case, how)


@pytest.mark.parametrize("how", ["computed", "missed", "found", "found by others"])
def test_more_ranks_than_batches_find_the_same(alone, four, how):
    assert_same(four, alone, "embedder", how)
    # Of five batches of queries a rank has two at most, of two batches of pages one, and all call the model as often.
    assert {rank["embedder"]["computed"]["calls"] for rank in four} == {3}


def assert_same(of_ranks: list[dict[str, Any]], alone: dict[str, Any], case: str, how: str) -> None:
    expected = alone[case]["computed"]
    assert alone["world"] == 1
    for rank in of_ranks:
        assert rank["world"] == len(of_ranks)
        for name in ("metrics", "per_query", "rankings", "scores"):
            np.testing.assert_equal(plain(rank[case][how][name]), plain(expected[name]))


def plain(value: Any) -> Any:
    """With rankings as dictionaries, which numpy compares."""
    if isinstance(value, metrics.Ranking):
        return vars(value)
    return {key: plain(inner) for key, inner in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("case", CASES)
def test_every_rank_calls_the_model_equally_often_which_is_its_share(alone, together, case):
    """A forward pass of sharded parameters takes all ranks."""
    whole = alone[case]["computed"]["calls"]
    [calls] = {rank[case]["computed"]["calls"] for rank in together}
    # Two sides or directions, one after the other.
    assert whole / len(together) <= calls < min(whole, whole / len(together) + 2)


def test_what_rank_0_finds_in_the_cache_is_not_computed_by_any_rank_and_what_others_find_is(together):
    found = [rank["embedder"] for rank in together]
    assert {rank["found"]["calls"] for rank in found} == {0}
    assert {rank["found by others"]["calls"] for rank in found} == {found[0]["computed"]["calls"]}


@pytest.mark.parametrize("teacher", ["embedder", "reranker"])
def test_a_teachers_labels_are_those_of_one_process(alone, together, teacher):
    assert np.ptp(alone["teacher"][teacher]) > 0
    for rank in together:
        np.testing.assert_array_equal(rank["teacher"][teacher], alone["teacher"][teacher])


def test_ranks_agree_on_a_checksum_which_is_that_of_one_process_where_they_have_equal_weights(alone, together):
    assert {rank["checksums"]["same"] for rank in together} == {alone["checksums"]["same"]}
    [unequal] = {rank["checksums"]["of unequal ranks"] for rank in together}
    assert unequal not in alone["checksums"].values()
