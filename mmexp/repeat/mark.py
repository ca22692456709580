"""What tells the folder of a repeat from that of a run: repeat.json, there from its beginning. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmexp.recording.run_files import write_whole
from mmexp.recording.unreadable import UnreadableFile, read_json

REPORT = "repeat.json"


def mark(run_dir: Path, original: Path) -> None:
    """Say what the folder repeats. The verdict comes when the repeat has ended."""
    if not is_repeat(run_dir):
        write_whole(run_dir / REPORT, json.dumps({"original": str(original)}, indent=2))


def is_repeat(run_dir: Path) -> bool:
    """Whether the run repeats another, however far it has come."""
    return (run_dir / REPORT).exists()


def original_of(run_dir: Path) -> Path | None:
    """The folder that a repeat repeats. None: it is no repeat, or does not say."""
    original = _report(run_dir).get("original")
    return Path(original) if isinstance(original, str) else None


def has_verdict(run_dir: Path) -> bool:
    """Whether the repeat was compared with what it repeats."""
    return "verdict" in _report(run_dir)


def _report(run_dir: Path) -> dict[str, Any]:
    try:
        return read_json(run_dir / REPORT) if is_repeat(run_dir) else {}
    except UnreadableFile:
        return {}
