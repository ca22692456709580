"""The experiment: everything a run needs, typed and validated, and the rules that hold across components."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from mmexp.adapters import Adapter
from mmexp.benchmark.settings import Benchmark
from mmexp.composition import freeze
from mmexp.data import Data
from mmexp.dims import Dims
from mmexp.embedder_archs import EmbedderArch
from mmexp.evaluation.reranking_settings import Reranking
from mmexp.evaluation.settings import Evaluation
from mmexp.evaluation.two_stage_settings import TwoStage
from mmexp.launchers import Launcher
from mmexp.losses import Loss
from mmexp.model_kind import ModelKind
from mmexp.models import Model
from mmexp.plan.settings import Plan
from mmexp.ranges import check_folder_name, check_ranges
from mmexp.reranker_archs import RerankerArch
from mmexp.schema import ConfigError
from mmexp.sweep.settings import Sweep
from mmexp.tracking import Tracking
from mmexp.training.parts import Part

# Engines that split the weights over the processes.
SPLIT_WEIGHTS = ("zero3", "fsdp2")
# What to type for each kind of model.
CHOSEN_BY = {
    ModelKind.embedder: "embedder_arch=single_vector reranker_arch=none",
    ModelKind.multi_vector: "embedder_arch=multi_vector reranker_arch=none",
    ModelKind.reranker: "embedder_arch=single_vector reranker_arch=any_to_any",
}
A_LOSS_FOR = {
    ModelKind.embedder: "cached_mnrl",
    ModelKind.multi_vector: "multi_vector_cached_mnrl",
    ModelKind.reranker: "binary_cross_entropy",
}


class Task(Enum):
    train = "train"
    evaluate = "evaluate"
    plan = "plan"


@dataclass
class Hub:
    """Uploads at the end of a run. A failing upload is a warning, never a failed run."""

    model_id: str | None = None
    """Repository to push the trained model to, such as me/my-retriever. null: nothing leaves this machine."""

    private: bool = True
    """Whether a repository that is made by the push is private."""


@dataclass
class Experiment:
    """One experiment. Config groups fill the components; the command line says what a sweep varies."""

    name: str = "experiment"
    """Name of the experiment: the first folder under output_root, and the name of its file in conf/experiment/."""

    task: Task = Task.train
    """train: baseline, train, final evaluation. evaluate: evaluate the model as it is. plan: say what train would
    take, in memory, time, energy and disk, without weights and without a GPU."""

    seed: int = 42
    """Seeds what is drawn at random in training: order of the rows, weights that are not loaded. Data has data.seed."""

    output_root: str = "multirun"
    """Folder for all run folders and caches, relative to where the command is started."""

    best_checkpoint: bool = False
    """Keep the checkpoint with the best primary metric (NDCG@10) rather than the last one."""

    early_stopping_patience: int | None = None
    """Stop after this many evaluations without a better primary metric. null: never. Implies best_checkpoint."""

    profile_steps: int | None = None
    """Profile this many training steps with torch's profiler into profile.json (open it in Perfetto). null: none."""

    model: Model = MISSING
    data: Data = MISSING
    loss: Loss = MISSING
    dims: Dims = MISSING
    embedder_arch: EmbedderArch = MISSING
    reranker_arch: RerankerArch | None = None
    adapter: Adapter | None = None
    freeze: list[Part] = field(default_factory=list)
    """Parts of the model that are not trained: vision, audio, merger, language, query, document, head."""

    learning_rates: dict[Part, float] = field(default_factory=dict)
    """Learning rates of parts that have their own, such as learning_rates.vision=1e-6. The others train at
    trainer.learning_rate."""

    two_stage: TwoStage | None = None
    benchmark: Benchmark | None = None
    reranking: Reranking = field(default_factory=Reranking)
    evaluation: Evaluation = field(default_factory=Evaluation)
    trainer: dict[str, Any] = field(default_factory=dict)
    """Any field of the library's training arguments for the kind of model: SentenceTransformerTrainingArguments,
    MultiVectorEncoderTrainingArguments or CrossEncoderTrainingArguments."""

    launch: Launcher = MISSING
    plan: Plan = field(default_factory=Plan)
    sweep: Sweep = field(default_factory=Sweep)
    tracking: Tracking = MISSING
    hub: Hub = field(default_factory=Hub)

    def __post_init__(self) -> None:
        check_ranges(self)
        check_folder_name("name", self.name, "my_experiment")
        self._check_embedder()
        if self.benchmark is not None:
            self._check_benchmark()
        elif self.two_stage is not None:
            self._check_two_stage()
        elif self.task is not Task.evaluate:
            self._check_kind()
            self._check_adapter()
            self._check_engine()
            self.loss.check(self)
        self.tracking.check(measures=self.task is not Task.plan)

    def _check_adapter(self) -> None:
        quantization = getattr(self.model, "quantization", None)
        if quantization is not None and self.adapter is None:
            raise ConfigError(
                f"model.quantization={quantization.value} keeps weights in 4 bits, which cannot be trained. Train an "
                "adapter over them (adapter=qlora), or use model.quantization=null."
            )
        if quantization is not None and self.selects_best:
            raise ConfigError(
                f"model.quantization={quantization.value} cannot be with best_checkpoint or early_stopping_patience: "
                "the library loads a checkpoint without its 4-bit weights. Use model.quantization=null (adapter=lora), "
                "or none of these."
            )

    def _check_engine(self) -> None:
        engine = self.launch.engine
        self.loss.check_distributed(engine)
        if engine in SPLIT_WEIGHTS and self.adapter is not None and self.adapter.merge:
            raise ConfigError(
                f"adapter.merge=true cannot be with launch/accelerate={engine}: no process has whole weights to work "
                "the adapter into. Use adapter.merge=false, or launch/accelerate=zero2."
            )

    def _check_two_stage(self) -> None:
        if self.task is not Task.evaluate:
            raise ConfigError(
                f"task={self.task.value} cannot be with two_stage, which measures two trained models together. Use "
                "task=evaluate, or train each by itself (+experiment=vdr_tiny, +experiment=reranker_tiny)."
            )
        if self.reranker_arch is not None:
            raise ConfigError(
                "reranker_arch is of the model, which with two_stage is the embedder. Use reranker_arch=none; the "
                "second stage has its own: reranker_arch@two_stage.reranker_arch=any_to_any."
            )

    def _check_benchmark(self) -> None:
        if self.task is Task.train:
            raise ConfigError(
                "task=train cannot be with benchmark, which measures a trained model. Use task=evaluate, or train "
                "without it, and then: +benchmark=... model=hub model.checkpoint=RUN_DIR."
            )
        if self.reranker_arch is not None or self.two_stage is not None:
            key = "two_stage" if self.two_stage is not None else "reranker_arch"
            raise ConfigError(
                f"{key} cannot be with benchmark: its tasks search a whole corpus, which takes an embedder. Use "
                "reranker_arch=none, and no two_stage."
            )

    def _check_embedder(self) -> None:
        """What is said of embeddings must be of the embedder that there is."""
        if self.embedder_arch.kind is not ModelKind.multi_vector:
            return
        if self.reranker_arch is not None:
            raise ConfigError(
                "embedder_arch=multi_vector cannot be with reranker_arch: a reranker has no embeddings. Use "
                "embedder_arch=single_vector for the reranker, or reranker_arch=none for the multi-vector model."
            )
        if self.dims.cuts:
            raise ConfigError(
                "dims names embedding sizes, and the vectors of a multi-vector model have one. Use dims=none with "
                "embedder_arch=multi_vector; embedder_arch.dimension is the size of its vectors."
            )

    def _check_kind(self) -> None:
        """The loss and the sizes must be of the kind of model that embedder_arch and reranker_arch choose."""
        if self.loss.trains is not self.kind:
            raise ConfigError(
                f"{type(self.loss).__name__} is a loss for {self.loss.trains.value}s, and the model is a "
                f"{self.kind.value}. Choose a loss for it (loss={A_LOSS_FOR[self.kind]}), or the loss's kind of model "
                f"({CHOSEN_BY[self.loss.trains]})."
            )
        if self.reranker_arch is not None and self.dims.trains_several:
            raise ConfigError(
                "dims names embedding sizes, and a reranker has no embedding to cut. Use dims=none with reranker_arch."
            )

    def refuse_ignored(self, overrides: list[str]) -> None:
        """Raise `ConfigError` for what was typed and would be read by nobody."""
        of_data = [override for override in overrides if re.match(r"\+{0,2}data(=|\.(?!media))", override)]
        of_plan = [override for override in overrides if re.match(r"\+{0,2}plan\.", override)]
        if self.task is not Task.plan and of_plan:
            raise ConfigError(f"{of_plan[0]} would be ignored: it is for task=plan. Add that, or leave it out.")
        if self.benchmark is not None and of_data:
            raise ConfigError(
                f"{of_data[0]} would be ignored: benchmark.name={self.benchmark.name} brings its own data. Leave it "
                "out, or choose a part of that with benchmark.tasks, benchmark.languages or benchmark.splits."
            )

    def refuse_unknown_tasks(self) -> None:
        """Raise `ConfigError` for a benchmark, or a part of one, that mteb does not know. Imports mteb, for one."""
        if self.benchmark is not None:
            from mmexp.benchmark.tasks import find_tasks

            find_tasks(self.benchmark, Path(self.output_root) / ".cache")

    def start(self, run_dir: Path, overrides: list[str]) -> float:
        """Run the experiment in `run_dir`, where its launcher says; return the primary metric.

        A plan is about the launcher, and made in this process; it freezes nothing, so that no run is to be continued.
        """
        if self.task is Task.plan:
            from mmexp.plan.planning import plan

            return plan(self, run_dir, overrides)
        return self.launch.launch(freeze(self, run_dir, overrides))

    @property
    def kind(self) -> ModelKind:
        """The kind of model: what embedder_arch makes, where nothing says that it is another."""
        if self.benchmark is not None:
            return ModelKind.benchmark
        if self.two_stage is not None:
            return ModelKind.two_stage
        return self.embedder_arch.kind if self.reranker_arch is None else ModelKind.reranker

    @property
    def data_name(self) -> str:
        """The data in a word."""
        if self.benchmark is not None:
            return self.benchmark.name
        return str(getattr(self.data, "path", None) or type(self.data).__name__)

    @property
    def negatives(self) -> dict[str, int]:
        """How many negatives every query has in training, by the key that says so."""
        hard = {"data.num_negatives": self.data.num_negatives}
        drawn = {"reranking.num_sampled_negatives": self.reranking.num_sampled_negatives}
        return hard | drawn if self.kind is ModelKind.reranker else hard

    @property
    def selects_best(self) -> bool:
        """Whether the best checkpoint is kept rather than the last."""
        return self.best_checkpoint or self.early_stopping_patience is not None
