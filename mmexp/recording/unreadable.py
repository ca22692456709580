"""Files that a run has left and that cannot be read: cut off, emptied, or changed to something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from omegaconf.errors import OmegaConfBaseException

from mmexp.schema import ConfigError

# Those of the parsers (JSON, Arrow and Unicode derive theirs from ValueError), and of taking apart what they give.
ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError, OmegaConfBaseException)


class UnreadableFile(ConfigError):
    """A file that is not what runs leave. `file` is which, and `why` one line."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} cannot be read: {why}. Bring it back from a copy, or leave its folder out.")
        self.file = file
        self.why = why


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Whatever goes wrong in the block is raised as `UnreadableFile`; another `ConfigError` as it is."""
    try:
        yield
    except ConfigError:
        raise
    except ERRORS as error:
        raise UnreadableFile(file, _in_words(error)) from error


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object. Raises `UnreadableFile` for anything else."""
    with reading(file):
        return as_mapping(json.loads(file.read_text()))


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML mapping. Raises `UnreadableFile` for anything else."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with reading(file):
        return as_mapping(yaml.load(file.read_text(), Loader=loader))


def as_mapping(content: Any) -> dict[str, Any]:
    """The content, which has to be {key: value}. Raises `ValueError` where it is not."""
    if not isinstance(content, dict):
        raise ValueError("it is empty" if content is None else f"it is a {type(content).__name__}, not keys and values")
    return content


def _in_words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(words.split()).rstrip(".") or type(error).__name__
