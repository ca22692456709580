"""One run, top to bottom: baseline before, training, final after, and what it leaves."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import set_seed

from mmexp.arguments import check_batch_size, training_arguments
from mmexp.baseline_cache import BaselineCache
from mmexp.encode import Encoder
from mmexp.evaluate import Evaluator
from mmexp.experiment import Experiment, Task
from mmexp.figures import plot_by_dimension
from mmexp.fit import fit
from mmexp.models.facts import model_facts
from mmexp.record import Record
from mmexp.save import peak_memory_bytes, push_model, save_model

if TYPE_CHECKING:
    from mmexp.evaluate import Report

log = logging.getLogger(__name__)


def run(experiment: Experiment, run_dir: Path, overrides: list[str]) -> float:
    """Run `experiment` in `run_dir`. Returns the primary metric (NDCG@10 at the full embedding size) at the end."""
    with Record(run_dir, experiment, overrides) as record:
        # 1. Everything that can be refused is refused before a weight is read
        args = training_arguments(experiment, run_dir)
        set_seed(experiment.seed)
        data = experiment.data.build(experiment.seed)
        if experiment.task is Task.train:
            check_batch_size(args, data.train)
        known_dimension = experiment.model.embedding_dimension()
        if known_dimension is not None:
            experiment.dims.sizes(known_dimension)

        # 2. The model, and what will measure it at every embedding size
        model = experiment.model.build()
        facts = model_facts(model)
        log.info("model: %s", facts)
        evaluator = Evaluator(
            data.evaluation,
            experiment.dims.evaluated(facts.embedding_dimension),
            Encoder(args.dataloader_num_workers, bf16_autocast=args.bf16),
            document_batch_size=max(1, experiment.evaluation.num_tokens // facts.tokens_per_page),
            phase=record.phase,
        )
        fingerprint = data.fingerprint()
        record.note(
            model=dataclasses.asdict(facts),
            data_fingerprint=fingerprint,
            num_queries=len(evaluator.queries),
            num_documents=len(evaluator.corpus),
            skipped_pages=data.skipped_pages,
        )

        # 3. Baseline: the model as it is
        cache = (
            BaselineCache(Path(experiment.output_root) / ".cache", fingerprint)
            if experiment.evaluation.reuse_baseline
            else None
        )
        with record.phase("baseline"):
            before = evaluator.evaluate(model, cache)
        leave(record, evaluator, before, "final" if experiment.task is Task.evaluate else "baseline")
        if experiment.task is Task.evaluate:
            return record.finish(baseline=None, final=before.metrics)

        # 4. Train
        loss = experiment.dims.wrap(model, experiment.loss.build(model))
        with record.phase("train"):
            throughput = fit(experiment, args, model, loss, data.train, evaluator, record)

        # 5. Final: the same measurement again, and the model
        with record.phase("evaluation"):
            after = evaluator.evaluate(model)
        leave(record, evaluator, after, "final")
        save_model(model, run_dir / "model", experiment.dims.truncate_dim)
        plot_by_dimension({"baseline": before.metrics, "final": after.metrics}, run_dir / "ndcg_by_dimension.png")
        metric = record.finish(before.metrics, after.metrics, throughput, peak_memory_bytes())
        push_model(run_dir / "model", experiment.hub)
        return metric


def leave(record: Record, evaluator: Evaluator, report: Report, stage: str) -> None:
    """Leave one evaluation in the run folder and the dashboard."""
    evaluator.write(report, record.run_dir / "per_query" / f"{stage}.parquet")
    if stage == "baseline":
        record.log({f"eval/{name}": value for name, value in evaluator.flat(report).items()}, step=0)
    record.log_by_dimension(stage, report.metrics)
