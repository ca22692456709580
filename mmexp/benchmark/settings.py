"""Which benchmark of mteb a model is measured on, typed."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from mmexp.schema import schema


@schema("benchmark", "mteb")
@dataclass
class Benchmark:
    """A benchmark of mteb, whose tasks take the place of `data`.

    The model is measured at one embedding size: `dims.truncate_dim`, or the full one.
    """

    name: str = MISSING
    """A benchmark or a retrieval task that mteb knows, or a task of a module of your own (--config-dir). Names with
    brackets are quoted twice: 'benchmark.name="ViDoRe(v2)"'."""

    tasks: list[str] = field(default_factory=list)
    """Only these of the benchmark's tasks. Empty: all."""

    languages: list[str] = field(default_factory=list)
    """Only the queries in these languages, such as [eng,fra] (ISO 639-3). Tasks that have none of them are left out.
    Empty: all."""

    splits: list[str] = field(default_factory=list)
    """Only these splits of every task, such as [test]. Empty: those that the benchmark is defined on."""
