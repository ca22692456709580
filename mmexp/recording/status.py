"""What a member has come to, read from its folder, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmexp.recording.result_fields import check_result
from mmexp.recording.unreadable import read_json, reading

# Of a run without result.json.
WAITING, STARTED = "waiting", "started"


def read_result(run_dir: Path) -> dict[str, Any]:
    """result.json; where there is none, the status alone: started, or waiting.

    Raises `UnreadableFile` for one that no run has written.
    """
    file = run_dir / "result.json"
    if not file.exists():
        return {"status": STARTED if (run_dir / "metrics.jsonl").exists() else WAITING}
    with reading(file):
        check_result(result := read_json(file))
    return result


def facts(result: dict[str, Any]) -> dict[str, Any]:
    """What sweep.json says of it: status, the primary metric before and after with intervals, the size and speed of the
    model, hours, error."""
    metric, error = result.get("primary_metric"), result.get("error")
    before, after = result.get("baseline"), result.get("final")
    model, throughput = result.get("model") or {}, result.get("throughput") or {}
    return {
        "status": result["status"],
        "baseline": before[metric] if before else None,
        "final": after[metric] if after else None,
        "delta": result.get("delta"),
        "intervals": result.get("intervals"),
        "num_parameters": model.get("parameters"),
        "embedding_dimension": model.get("embedding_dimension"),
        "bytes_per_document": (after or {}).get("bytes_per_document"),
        "pages_per_second": throughput.get("pages_per_second"),
        "hours": sum(result["seconds"].values()) / 3600 if "seconds" in result else None,
        "error": {key: error[key] for key in ("type", "message")} if error else None,
    }


def error_words(error: dict[str, Any]) -> str:
    """One line; without a type that only says what the status does."""
    words = " ".join(error["message"].split())
    return words if error["type"] in ("Preempted", "Diverged") else f"{error['type']}: {words}"


def outcome(result: dict[str, Any]) -> str:
    """One line."""
    found = facts(result)
    if found["error"] is not None:
        return f"{found['status']}: {error_words(found['error'])}"
    words = found["status"]
    known = found["intervals"] or {}
    if found["final"] is not None:
        words += f", {result['primary_metric']} {_with_interval(found['final'], known.get('final'))}"
    if found["delta"] is not None:
        words += f" ({_with_interval(found['delta'], known.get('delta'), '+')})"
    return words


def _with_interval(value: float, ends: Sequence[float] | None, sign: str = "") -> str:
    """ "0.5000 [0.4100, 0.5900]"; with two digits, and no more, where what it may be off by is not known."""
    if ends is None:
        return f"{value:{sign}.2f}, interval not known"
    low, high = ends
    return f"{value:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]"
