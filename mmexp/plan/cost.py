"""Seconds, energy and CO2 of a training whose throughput is stated, or was measured by another run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmexp.composition import thaw
from mmexp.plan.schedule import needs_final_evaluation
from mmexp.recording.run_files import read_rows
from mmexp.recording.status import read_result
from mmexp.schema import ConfigError

if TYPE_CHECKING:
    from mmexp.models.facts import ModelFacts
    from mmexp.plan.settings import Plan
    from mmexp.tracking import Tracking

JOULES_PER_KWH = 3.6e6


@dataclass
class Work:
    """What there is to do, of all processes together."""

    rows: int
    tokens: int | None
    """That training passes through the model, without what is computed twice. None: not known."""
    flops: int
    """Of training."""
    evaluations: int
    evaluated: int | None
    """Inputs, or pairs, of one evaluation. None: not known."""
    evaluation_flops: int | None
    """Of one evaluation."""
    processes: int


@dataclass
class Cost:
    """None where nothing says it."""

    train_seconds: float | None = None
    evaluation_seconds: float | None = None
    """Of all evaluations."""
    samples_per_second: float | None = None
    kwh: float | None = None
    co2_kg: float | None = None


def cost_of(work: Work, plan: Plan, facts: ModelFacts, tracking: Tracking) -> Cost:
    """By the throughput that `plan` states. Raises `ConfigError` where `plan.like` is of another model."""
    seconds: float | None
    if plan.like is not None:
        measured = Measured(Path(plan.like), facts)
        seconds, evaluation, watts = measured.train(work), measured.evaluation(work), measured.watts
    else:
        seconds, evaluation, watts = stated_seconds(work, plan), None, plan.watts
        if seconds is not None and work.evaluation_flops is not None:
            evaluation = seconds * work.evaluation_flops * work.evaluations / work.flops
    if seconds is None:
        return Cost()
    kwh = None if watts is None else watts * work.processes * (seconds + (evaluation or 0)) / JOULES_PER_KWH
    intensity = grams_per_kwh(tracking)
    return Cost(
        train_seconds=seconds,
        evaluation_seconds=evaluation,
        samples_per_second=work.rows / seconds,
        kwh=kwh,
        co2_kg=None if kwh is None or intensity is None else kwh * intensity / 1000,
    )


def stated_seconds(work: Work, plan: Plan) -> float | None:
    """Of training, evaluations excluded."""
    if plan.samples_per_second is not None:
        return work.rows / plan.samples_per_second
    if plan.tflops is not None:
        return work.flops / (plan.tflops * 1e12 * plan.mfu * work.processes)
    return None


class Measured:
    """What a finished training was measured to take for each of its processes."""

    def __init__(self, run_dir: Path, facts: ModelFacts) -> None:
        self.run_dir = run_dir
        self.result = read_result(run_dir)
        parameters = self.result["model"]["parameters"]
        if parameters != facts.parameters:
            raise ConfigError(
                f"plan.like={run_dir} has trained a model of {parameters:,} parameters, and this one has "
                f"{facts.parameters:,}: its throughput says nothing of it. Name a run of the same model, or state a "
                "throughput: plan.samples_per_second=..."
            )
        self.processes = self.result.get("num_processes") or 1

    def train(self, work: Work) -> float:
        """Seconds by its tokens per second, or by its rows where tokens are not known."""
        throughput = self.result["throughput"]
        if work.tokens is None or not throughput.get("tokens_per_second"):
            amount, rate = work.rows, throughput["samples_per_second"]
        else:
            amount, rate = work.tokens, throughput["tokens_per_second"]
        return amount / rate * self.processes / work.processes

    def evaluation(self, work: Work) -> float | None:
        """Seconds of all evaluations, by those that were computed in its training and after it."""
        rows = read_rows(self.run_dir / "metrics.jsonl")
        in_training = sum(row["step"] > 0 and any(name.startswith("eval/") for name in row["metrics"]) for row in rows)
        inputs = self.result["num_queries"] + self.result["num_documents"]
        if work.evaluated is None or "evaluation" not in self.result["seconds"]:
            return None
        computed = in_training + needs_final_evaluation(thaw(self.run_dir).experiment, in_training)
        of_one = self.result["seconds"]["evaluation"] / computed * self.processes / inputs
        return of_one * work.evaluated * work.evaluations / work.processes

    @property
    def watts(self) -> float | None:
        """While training, of one process."""
        energy = (self.result.get("energy") or {}).get("train")
        if energy is None:
            return None
        kwh = sum(value for name, value in energy.items() if name.endswith("_kwh"))
        return kwh * JOULES_PER_KWH / self.result["seconds"]["train"] / self.processes


def grams_per_kwh(tracking: Tracking) -> float | None:
    """The grid's carbon intensity, as CodeCarbon has it. None where tracking.grid says nothing."""
    if tracking.carbon_intensity is not None or tracking.grid is None:
        return tracking.carbon_intensity
    from codecarbon.core.emissions import Emissions
    from codecarbon.core.units import Energy
    from codecarbon.external.geography import GeoMetadata
    from codecarbon.input import DataSource

    geo = GeoMetadata(country_iso_code=tracking.grid, country_name=tracking.grid)
    return 1000 * Emissions(DataSource()).get_private_infra_emissions(Energy.from_energy(kWh=1.0), geo)
