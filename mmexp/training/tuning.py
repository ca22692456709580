"""What training moves: parts that are frozen, an adapter in place of the weights, a learning rate for each part."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from mmexp.adapters import Adapter, transformers_of, work_in_adapters
from mmexp.experiment import Experiment, Task
from mmexp.schema import ConfigError
from mmexp.training.parts import Part, parameters_by_part, pattern_of, require_parts

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel
    from sentence_transformers.base.training_args import BaseTrainingArguments

log = logging.getLogger(__name__)


class Tuning:
    """What an experiment trains of a loaded model. Made before the baseline, so that what cannot be is known then."""

    def __init__(self, experiment: Experiment, model: BaseModel) -> None:
        """Raises `ConfigError` for parts and layers that the model has not, and for contradictions."""
        self.model = model
        self.frozen: list[Part] = experiment.freeze
        self.learning_rates: dict[Part, float] = experiment.learning_rates
        self.adapter: Adapter | None = experiment.adapter
        self.revision: str | None = getattr(experiment.model, "revision", None)
        require_parts(self.frozen, model, "freeze")
        require_parts(self.learning_rates, model, "learning_rates")
        for part in self.learning_rates:
            if part in self.frozen:
                raise ConfigError(
                    f"learning_rates.{part.value} is of a part that freeze={[p.value for p in self.frozen]} keeps as "
                    "it is. Take it out of one of the two."
                )
            if self.adapter is not None and part not in (*self.adapter.parts, Part.head):
                raise ConfigError(
                    f"learning_rates.{part.value} is of a part that the adapter keeps as it is: it trains "
                    f"{', '.join(p.value for p in self.adapter.parts)}. Take it out, or add it to adapter.parts."
                )
        if set(self.frozen) >= set(parameters_by_part(model)):
            raise ConfigError("freeze names all parts of the model: nothing would be trained. Leave one out.")
        if self.adapter is not None:
            self.adapter.check(model, self.frozen)
        elif experiment.task is not Task.evaluate and not any(
            parameter.requires_grad for parameter in model.parameters()
        ):
            raise ConfigError(
                "nothing of the model would be trained: its weights are in 4 bits, under an adapter that was loaded "
                "with them. Use model.quantization=null, which works the adapter into the weights."
            )

    def apply(self, args: BaseTrainingArguments, folder: Path) -> dict[str, int]:
        """Freeze, add the adapter, and tell the trainer the learning rates. Returns the number of trainable parameters
        of each part.

        `folder` takes the weights under an adapter where the model was made on the spot: its checkpoints need them.
        """
        if self.adapter is not None:
            self.adapter.add(self.model, folder)
            for transformer in transformers_of(self.model).values():
                for config in getattr(transformer, "peft_config", {}).values():
                    config.revision = self.revision
        for part in self.frozen:
            for parameter in parameters_by_part(self.model)[part].values():
                parameter.requires_grad = False
        # The library finds the parameters by a pattern over their names.
        rates = {pattern_of(part, self.model): rate for part, rate in self.learning_rates.items()}
        args.learning_rate_mapping = {**args.learning_rate_mapping, **rates}  # type: ignore[dict-item]
        trainable = {
            part.value: sum(parameter.numel() for parameter in parameters.values() if parameter.requires_grad)
            for part, parameters in parameters_by_part(self.model).items()
        }
        log.info("trainable parameters: %s", ", ".join(f"{part} {count:,}" for part, count in trainable.items()))
        return trainable

    def finish(self) -> None:
        """Make the model what is to be saved of it."""
        if self.adapter is not None and self.adapter.merge:
            work_in_adapters(self.model)
