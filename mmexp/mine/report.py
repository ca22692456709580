"""What is said of a mining: counts, for negatives.json and for the log, and the command that trains with it."""

from __future__ import annotations

import json
import logging
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

from mmexp.data.negatives import MinedRow

log = logging.getLogger(__name__)


def counts(rows: list[MinedRow], num_negatives: int, refused: Counter[str]) -> dict[str, Any]:
    """What was mined, and what was not."""
    mined = [len(row.negatives) for row in rows]
    return {
        "num_rows": len(rows),
        "num_negatives": sum(mined),
        "num_short_rows": sum(count < num_negatives for count in mined),
        "fewest_negatives": min(mined),
        "refused": dict(refused),
    }


def announce_replacing(file: Path, settings: dict[str, Any]) -> None:
    """Say so where the folder holds negatives that were mined with other settings; `file` is its negatives.json."""
    if not file.exists():
        return
    before = json.loads(file.read_text())["mine"]
    changed = [f"mine.{key}={before.get(key)}" for key in settings if settings[key] != before.get(key)]
    if changed:
        log.warning("the negatives that were mined here with %s are replaced", ", ".join(changed))


def announce(counted: dict[str, Any], asked: int, file: Path, overrides: list[str]) -> None:
    """Say it in the log."""
    refused = counted["refused"]
    log.info(
        "mined %s negatives for %s rows; refused: %s of a positive's own document, %s by the margin, %s duplicates",
        *(f"{counted[key]:,}" for key in ("num_negatives", "num_rows")),
        *(f"{refused[key]:,}" for key in ("own_document", "margin", "duplicate")),
    )
    if counted["num_short_rows"]:
        log.warning(
            "%d of %d rows have fewer than mine.num_negatives=%d, the fewest %d. Training leaves out rows that have "
            "fewer than its data.num_negatives. A lower mine.relative_margin, a larger mine.range_max or a better "
            "model finds more",
            counted["num_short_rows"],
            counted["num_rows"],
            asked,
            counted["fewest_negatives"],
        )
    log.info("train with it: %s", training_command(overrides, file, max(1, counted["fewest_negatives"])))


def training_command(overrides: list[str], file: Path, num_negatives: int) -> str:
    """The command that trains the same experiment with the mined negatives."""
    ours = ("mine.", "hydra.", "data.num_negatives=", "~mine")
    kept = [override for override in overrides if not override.lstrip("+").startswith(ours)]
    chosen = [f"data.negatives={file.resolve()}", f"data.num_negatives={num_negatives}"]
    return shlex.join(["python", "-m", "mmexp", *kept, *chosen])
