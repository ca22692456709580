"""Names of the members of a sweep: folders, and runs in the dashboard."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

# The three axes that are swept most get short names; they are on every figure.
SHORT = {
    "trainer.per_device_train_batch_size": "bs",
    "model.max_pixels": "px",
    "data.num_negatives": "neg",
    "trainer.learning_rate": "lr",
}
MAX_LENGTH = 120


def member_name(overrides: Sequence[str], command: Sequence[str]) -> str:
    """Name a member by what the sweep varies: its overrides that do not stand in the command as they are.

    `["+experiment=a", "model.max_pixels=100"]` of `["-m", "+experiment=a", "model.max_pixels=100,200"]` is "px=100".
    Safe as a file name and in a link.
    """
    parts = []
    for override in overrides:
        if override not in command:
            key, _, value = override.lstrip("+~").partition("=")
            parts.append(f"{SHORT.get(key, key)}={value}")
    name = re.sub(r"[^\w.=+-]+", "-", "__".join(parts)).strip("-.")
    if len(name) <= MAX_LENGTH:
        return name or "default"
    return f"{name[: MAX_LENGTH - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
