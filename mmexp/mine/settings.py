"""What mining takes: an experiment, of which it uses the model and the data, and the settings `mine.*`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from mmexp.experiment import Experiment, Task
from mmexp.model_kind import ModelKind
from mmexp.ranges import check_least
from mmexp.schema import ConfigError


@dataclass
class Mine:
    """Which pages become hard negatives. Names and meaning are those of the library's `mine_hard_negatives`."""

    num_negatives: int = 16
    """Negatives to mine for each query, the highest scores first. Training chooses how many of them it takes."""

    relative_margin: float | None = 0.05
    """A negative scores at most the positive's score less this share of it: 0.05 is 95% of the positive's score. Where
    a query has several positives, the lowest score counts. null: no such bound."""

    absolute_margin: float | None = None
    """A negative scores at most the positive's score less this. null: no such bound."""

    range_min: int = 0
    """Skip this many of the highest scores among those that the margins and duplicate_score leave."""

    range_max: int | None = None
    """Look at this many of the highest scores among those that the margins leave. More than range_min + num_negatives
    makes up for duplicates. null: range_min + twice num_negatives."""

    duplicate_score: float | None = 0.999
    """A page whose embedding has at least this cosine similarity to a positive, or to a negative that is taken already,
    is left out. null: only pages with the same content are duplicates."""

    document_pattern: str | None = None
    """Regular expression that finds, as its first group, the document in a page's id: pages of a positive's document
    are never its negatives. '^(.*)-\\d+$' is for ids such as report-003. null: as the data source knows it, which is
    the PDF file for data=folder, and every page by itself for others."""

    shard_size: int = 4096
    """Pages, or queries, in a shard: what is encoded and written at once, and searched at once."""

    process: int | None = None
    """Where several processes share the encoding: this one's number, from 0. null: this process does all there is."""

    num_processes: int = 1
    """How many processes share the encoding. The one that finds all shards written searches."""

    def __post_init__(self) -> None:
        for key, least in (("num_negatives", 1), ("range_min", 0), ("shard_size", 1), ("num_processes", 1)):
            check_least(f"mine.{key}", getattr(self, key), least)
        for key in ("relative_margin", "absolute_margin"):
            if (getattr(self, key) or 0) < 0:
                raise ConfigError(f"mine.{key}={getattr(self, key)} is below 0. Use 0 or more, or null for no bound.")
        if self.depth < self.range_min + self.num_negatives:
            raise ConfigError(
                f"mine.range_max={self.range_max} leaves fewer than mine.num_negatives={self.num_negatives} after "
                f"mine.range_min={self.range_min}. Use mine.range_max=null, or at least "
                f"{self.range_min + self.num_negatives}."
            )
        self._check_pattern()
        self._check_processes()

    def _check_pattern(self) -> None:
        try:
            groups = re.compile(self.document_pattern or "()").groups
        except re.error as error:
            raise ConfigError(
                f"mine.document_pattern={self.document_pattern} is no regular expression: {error}."
            ) from None
        if not groups:
            raise ConfigError(
                f"mine.document_pattern={self.document_pattern} has no group that names the document. Put parentheses "
                r"around it, such as '^(.*)-\d+$'."
            )

    def _check_processes(self) -> None:
        if self.process is None and self.num_processes > 1:
            raise ConfigError(
                f"mine.num_processes={self.num_processes} needs the number of this process: start each with its own, "
                f"mine.process=0 to mine.process={self.num_processes - 1}."
            )
        if self.process is not None and not 0 <= self.process < self.num_processes:
            raise ConfigError(
                f"mine.process={self.process} is none of mine.num_processes={self.num_processes}. Use 0 to "
                f"{self.num_processes - 1}, and the same mine.num_processes everywhere."
            )

    @property
    def depth(self) -> int:
        """How many candidates of each query are looked at."""
        return self.range_min + 2 * self.num_negatives if self.range_max is None else self.range_max


@dataclass
class MiningExperiment(Experiment):
    """An experiment whose training data is mined with its model. Loss, dims and most of `trainer` play no part."""

    mine: Mine = field(default_factory=Mine)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind is not ModelKind.embedder:
            raise ConfigError(
                f"mining needs an embedder, and this experiment's model is a {self.kind.value}. Mine with an "
                "embedder (model=... data=...), and train the other with data.negatives."
            )
        if self.task is Task.plan:
            raise ConfigError("task=plan plans a training, and mining trains nothing. Leave it out.")
        if self.data.negatives is not None:
            raise ConfigError(
                f"data.negatives={self.data.negatives} would be ignored: mining searches all pages. Leave it out."
            )
        if self.data.labels_from is not None:
            raise ConfigError(
                f"data.label_column={self.data.labels_from} would be ignored: mining takes the page of every row for "
                "an answer. Use data.label_column=null, with a loss of pairs (loss=cached_mnrl)."
            )

    def refuse_ignored(self, overrides: list[str]) -> None:
        """Raise `ConfigError` for what was typed and would be read by nobody."""
        super().refuse_ignored(overrides)
        if of_launch := [override for override in overrides if re.match(r"\+{0,2}launch[=./]", override)]:
            raise ConfigError(
                f"{of_launch[0]} would be ignored: mining runs in the process that is started. Share it with more, in "
                "jobs of your own or side by side: mine.num_processes=4 mine.process=0 to 3."
            )

    def start(self, run_dir: Path, overrides: list[str]) -> float:
        """Mine into `run_dir`; return how many negatives were mined."""
        from mmexp.mine.mining import mine

        self.refuse_ignored(overrides)
        return mine(self, run_dir, overrides)
