"""One run, top to bottom: baseline before, training, final after, and what it leaves."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from transformers import set_seed

from mmexp.data.workers import fork_workers
from mmexp.distributed import ranks
from mmexp.evaluation.encode import Encoder
from mmexp.evaluation.evaluate import DimReport
from mmexp.evaluation.output_cache import cache_of
from mmexp.experiment import Task
from mmexp.kinds import kind_of
from mmexp.models.facts import check_modalities, model_facts
from mmexp.recording.figures import plot
from mmexp.recording.record import Record
from mmexp.training.arguments import check_batch_size, training_arguments
from mmexp.training.fit import fit
from mmexp.training.save import peak_memory_bytes, save_model
from mmexp.training.tuning import Tuning

if TYPE_CHECKING:
    from mmexp.composition import Composition
    from mmexp.evaluation.model_evaluator import ModelEvaluator
    from mmexp.evaluation.report import Report

log = logging.getLogger(__name__)


def run(composition: Composition) -> float:
    """Run it, or continue it from its newest checkpoint. Returns the primary metric (NDCG@10) at the end."""
    experiment, run_dir = composition.experiment, composition.run_dir
    fork_workers()
    with Record(composition) as record:
        # 1. Everything that can be refused is refused before a weight is read
        kind = kind_of(experiment)
        args = training_arguments(experiment, kind, run_dir)
        ranks.refuse_unequal(composition.digest, "the composition of the run")
        set_seed(experiment.seed)
        trains = experiment.task is Task.train
        data = kind.build_data(for_training=trains)
        fingerprint = data.fingerprint()
        ranks.refuse_unequal(fingerprint, "the fingerprint of the evaluation data")
        examples = kind.examples(data.train) if trains else {}
        check_batch_size(args, examples, args.world_size)
        kind.check()

        # 2. The model, and what will measure it: at every embedding size, or in every direction
        model = kind.build_model()
        check_modalities(model, data.evaluation)
        tuning = Tuning(experiment, model)
        facts = model_facts(model)
        log.info("model: %s", facts)
        encoder = Encoder(args.dataloader_num_workers, bf16_autocast=args.bf16)
        evaluator = kind.build_evaluator(data.evaluation, facts, encoder, record.phase)
        record.note(
            model=dataclasses.asdict(facts),
            data_fingerprint=fingerprint,
            num_queries=len(evaluator.queries),
            num_documents=len(evaluator.corpus),
            skipped_pages=data.skipped_pages,
            num_processes=ranks.world_size(),
            num_gpus=ranks.world_size() * args.n_gpu,
            **data.facts,
        )

        # 3. Baseline: the model as it is
        with record.phase("baseline"):
            before = evaluator.evaluate(model, cache_of(experiment, data))
        leave(record, evaluator, before, "baseline" if trains else "final")
        if not trains:
            peak = None if evaluator.seconds is None else peak_memory_bytes()
            return record.finish(before.before, before, evaluator.throughput, peak)

        # 4. Train
        record.note(trainable_parameters=tuning.apply(args, run_dir / "base"))
        loss = kind.build_loss(model)
        with record.phase("train"):
            datasets = kind.training_data(examples, model, encoder, record.phase)
            throughput = fit(kind, args, model, loss, datasets, evaluator, record)

        # 5. Final: the same measurement again, of the model as it is saved
        tuning.finish()
        with record.phase("evaluation"):
            after = evaluator.evaluate(model)
        leave(record, evaluator, after, "final")
        save_model(model, run_dir / "model", experiment.dims.truncate_dim)
        if ranks.is_main():
            plot({"baseline": before, "final": after}, run_dir)
        return record.finish(before, after, throughput, peak_memory_bytes())


def leave(record: Record, evaluator: ModelEvaluator[Any], report: Report, stage: str) -> None:
    """Leave one evaluation in the run folder and the dashboard."""
    if ranks.is_main():
        evaluator.write(report, record.run_dir / "per_query" / f"{stage}.parquet")
        if report.before is not None:
            evaluator.write(report.before, record.run_dir / "per_query" / "baseline.parquet")
    if stage == "baseline":
        record.log({f"eval/{name}": value for name, value in evaluator.flat(report).items()}, step=0)
    if isinstance(report, DimReport):
        record.log_by_dimension(stage, report.metrics)
