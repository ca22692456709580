"""What a run prepares before its first step, without weights: the same steps as in `run`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import set_seed

from mmexp.data.splits import RetrievalData
from mmexp.evaluation.encode import Encoder
from mmexp.evaluation.model_evaluator import no_phase
from mmexp.kinds import Kind, kind_of
from mmexp.losses.taught import Taught
from mmexp.models.facts import ModelFacts, check_modalities, model_facts
from mmexp.plan.stand_ins import StandInTeacher, stand_in_data
from mmexp.plan.weightless import empty, without_weights
from mmexp.training.arguments import check_batch_size, choose_samplers, library_arguments
from mmexp.training.fit import build_trainer
from mmexp.training.tuning import Tuning

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers.base.model import BaseModel
    from sentence_transformers.base.trainer import BaseTrainer
    from sentence_transformers.base.training_args import BaseTrainingArguments
    from torch import nn

    from mmexp.data.training import Examples
    from mmexp.evaluation.model_evaluator import ModelEvaluator
    from mmexp.experiment import Experiment

# What the library's arguments refuse without a GPU. What they ask for is traced.
OF_A_GPU = {"bf16": False, "fp16": False, "tf32": None, "bf16_full_eval": False, "fp16_full_eval": False}


@dataclass
class Prepared:
    """A training that could begin, but for its weights."""

    kind: Kind
    args: BaseTrainingArguments
    data: RetrievalData
    examples: dict[str, Examples]
    model: BaseModel
    facts: ModelFacts
    loss: nn.Module
    trainer: BaseTrainer
    evaluator: ModelEvaluator[Any]
    trainable: dict[str, int]
    """Parameters that train, by part."""
    mode: FakeTensorMode
    """What makes tensors without content."""


def prepare(experiment: Experiment, run_dir: Path, num_ranks: int) -> Prepared:
    """Everything of a run up to its first step. Raises `ConfigError` for what the run would refuse."""
    kind = kind_of(experiment)
    trainer = {key: OF_A_GPU.get(key, value) for key, value in experiment.trainer.items()}
    args = library_arguments(experiment, kind, run_dir, {**trainer, "use_cpu": True, "dataloader_num_workers": 1})
    choose_samplers(args, num_ranks)
    set_seed(experiment.seed)
    data = read_data(experiment)
    examples = kind.examples(data.train)
    check_batch_size(args, examples, num_ranks)
    kind.check()

    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with without_weights(mode):
        model = kind.build_model()
        model.model_card_data.widget = [{"text": ""}]  # else pages are decoded, as examples on a card that none writes
        check_modalities(model, data.evaluation)
        tuning = Tuning(experiment, model)
        facts = model_facts(model)
        evaluator = kind.build_evaluator(data.evaluation, facts, Encoder(1), no_phase)
        trainable = tuning.apply(args, run_dir)
        loss = kind.build_loss(model)
        empty(loss, mode)
        datasets = training_data(experiment, examples, facts)
        trainer_of_library = build_trainer(kind, args, model, loss, datasets, evaluator, [])
    return Prepared(kind, args, data, examples, model, facts, loss, trainer_of_library, evaluator, trainable, mode)


def training_data(experiment: Experiment, examples: dict[str, Examples], facts: ModelFacts) -> dict[str, Dataset]:
    """The examples as data sets, with labels of the right shape where the loss learns from another model."""
    if isinstance(experiment.loss, Taught):
        teacher: Any = StandInTeacher(experiment.loss, facts.embedding_dimension)
        for of_direction in examples.values():
            experiment.loss.teach(of_direction, teacher)
    return {name: of_direction.dataset() for name, of_direction in examples.items()}


def read_data(experiment: Experiment) -> RetrievalData:
    """The data, or as many rows as there are said to be."""
    if experiment.plan.num_rows is None:
        return experiment.data.build(for_training=True)
    num_rows = min(experiment.plan.num_rows, experiment.data.max_train_rows or experiment.plan.num_rows)
    return stand_in_data(num_rows, experiment.data.num_negatives)
