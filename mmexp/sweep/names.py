"""What tells the members of a sweep apart: what it varies, as a label for people and as a hash of all that counts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from mmexp.composition import plain_config, schemas_of

if TYPE_CHECKING:
    from mmexp.experiment import Experiment

# The axes that are swept most get short names; they are on every figure.
SHORT = {
    "trainer.per_device_train_batch_size": "bs",
    "model.max_pixels": "px",
    "data.num_negatives": "neg",
    "trainer.learning_rate": "lr",
}
MAX_LENGTH = 120
# Where and how a run is executed and shown. They change no result, so a member is the same whatever they are; but for
# the number of its processes, each of which has rows of its own in a batch.
VOLATILE = ("output_root", "profile_steps", "evaluation", "launch", "plan", "tracking", "hub", "sweep")


def swept(overrides: Sequence[str], fixed: Sequence[str]) -> dict[str, str]:
    """What the sweep varies of a member: its overrides that are not those of all members, as {key: value}.

    `["+experiment=a", "model.max_pixels=100"]` beside `["+experiment=a", "model.max_pixels=100,200"]` is
    {"model.max_pixels": "100"}.
    """
    parser = OverridesParser.create()

    def read(given: Sequence[str]) -> dict[str, str]:
        parsed = [override for override in parser.parse_overrides(list(given)) if not override.is_sweep_override()]
        return {override.get_key_element(): str(override.get_value_element_as_str()) for override in parsed}

    varied = {one.get_key_element() for one in parser.parse_overrides(list(fixed)) if one.is_sweep_override()}
    of_all = {key: value for key, value in read(fixed).items() if key not in varied}
    return {key.lstrip("+~"): value for key, value in read(overrides).items() if of_all.get(key) != value}


def values(parameters: dict[str, str]) -> dict[str, Any]:
    """The same with numbers, lists and so on in place of their words."""
    parser = OverridesParser.create()
    return {key: parser.parse_override(f"{key}={value}").value() for key, value in parameters.items()}


def short_names(keys: Sequence[str]) -> list[str]:
    """What tables call them: what is swept most by its short name, others by their last part; whole keys where those
    would be the same."""
    short = [SHORT.get(key, key.rpartition(".")[2]) for key in keys]
    return short if len(set(short)) == len(short) else list(keys)


def label(parameters: dict[str, str]) -> str:
    """For people: "bs=8__px=100000". Safe as a file name and in a link."""
    name = "__".join(f"{SHORT.get(key, key)}={value}" for key, value in parameters.items())
    return re.sub(r"[^\w.=+-]+", "-", name)[:MAX_LENGTH].strip("-.") or "default"


def identity(experiment: Experiment) -> str:
    """8 hexadecimal digits over the resolved config without what changes no result: the same, whatever was typed."""
    counts = {
        "config": {key: value for key, value in plain_config(experiment).items() if key not in VOLATILE},
        "schemas": {path: name for path, name in schemas_of(experiment) if path.split(".")[0] not in VOLATILE},
        "num_processes": experiment.launch.num_ranks,
    }
    return hashlib.sha256(json.dumps(counts, sort_keys=True, default=str).encode()).hexdigest()[:8]
