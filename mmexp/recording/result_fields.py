"""What readers of result.json take for granted, checked once when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NUMBER = (int, float)
NONE = type(None)
# Fields that are taken apart or calculated with, where they are there.
TYPES: dict[str, tuple[type, ...]] = {
    "primary_metric": (str,),
    "data_fingerprint": (str, NONE),
    "overrides": (list, NONE),
    "ended": (str,),
    "model": (dict, NONE),
    "throughput": (dict, NONE),
    "energy_source": (dict, NONE),
    "baseline": (dict, NONE),
    "final": (dict, NONE),
    "intervals": (dict, NONE),
    "num_gpus": (*NUMBER, NONE),
    "num_documents": (int, NONE),
    "peak_memory_bytes": (*NUMBER, NONE),
}
ENERGY = ("gpu_kwh", "cpu_kwh", "ram_kwh", "co2_kg")
# Parts that are numbers: embedding sizes, and counts of documents.
BY_NUMBER = ("by_dim", "by_top_k")
BY_NAME = ("by_direction", "by_task")


def check_result(result: dict[str, Any]) -> None:
    """Raise `ValueError` with the first field that is not what a run writes."""
    if not isinstance(result.get("status"), str):
        raise ValueError("it has no status")
    if result["status"] == "finished" and "primary_metric" not in result:
        raise ValueError("it is of a finished run, and has no primary_metric")
    for name, allowed in TYPES.items():
        if name in result and not isinstance(result[name], allowed):
            raise ValueError(f"its {name} is {result[name]!r:.40}")
    _check_error(result.get("error"))
    _check_cost(result)
    _check_scores(result)


def _check_error(error: Any) -> None:
    if error is not None and not _has(error, ("type", "message"), (str,)):
        raise ValueError("its error lacks type or message")


def _check_cost(result: dict[str, Any]) -> None:
    seconds, energy = result.get("seconds", {}), result.get("energy")
    if not _has(seconds, seconds, NUMBER):
        raise ValueError("its seconds are not a number for each phase")
    by_phase = {} if energy is None else energy
    if not _has(by_phase, by_phase, (dict,)) or not all(_has(phase, ENERGY, NUMBER) for phase in by_phase.values()):
        raise ValueError(f"its energy has not {', '.join(ENERGY)} for each phase")
    throughput = result.get("throughput") or {}
    if not _has(throughput, throughput, (*NUMBER, NONE)):
        raise ValueError("its throughput is not numbers")


def _check_scores(result: dict[str, Any]) -> None:
    metric = result.get("primary_metric")
    for stage in ("baseline", "final"):
        if result.get(stage) and not _has(result[stage], (metric,), (*NUMBER, NONE)):
            raise ValueError(f"its {stage} has no {metric}")
    for name in (*BY_NUMBER, *BY_NAME):
        parts = result.get(name) or {}
        if not _has(parts, parts, (dict,)):
            raise ValueError(f"its {name} is not scores for each part")
        if name in BY_NUMBER and not all(part.isdecimal() for part in parts):
            raise ValueError(f"its {name} names what is no number")


def _has(value: Any, keys: Any, of: tuple[type, ...]) -> bool:
    """Whether it is a dictionary that has these keys, with values of these types."""
    return isinstance(value, Mapping) and all(isinstance(value.get(key, ...), of) for key in keys)
