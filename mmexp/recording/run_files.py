"""The two kinds of files of a run folder: written whole or not at all, and appended to line by line."""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mmexp.recording.unreadable import as_mapping, reading
from mmexp.schema import ConfigError


def write_whole(file: Path, text: str) -> None:
    """Write a file so that it is never seen half-written, also after a power cut."""
    with whole_file(file) as stream:
        stream.write(text.encode())


def csv_of(rows: list[dict[str, Any]]) -> str:
    """A table with a column for every key, in the order in which they come."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@contextmanager
def whole_file(file: Path) -> Iterator[BinaryIO]:
    """A stream whose content takes the place of `file` when the block ends without an error, and not before."""
    # Processes on machines that share a disk may have the same number.
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def remove_if_only(folder: Path, names: set[str]) -> None:
    """Remove a folder that holds nothing but files or folders of these names."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= names:
        shutil.rmtree(folder)


def hold(file: Path) -> BinaryIO:
    """Lock a file for as long as this process lives, however it ends; its data workers do not hold it on.

    Raises `BlockingIOError` where another process has it. A file system without locks is taken to have no other.
    """
    stream = file.open("ab")
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            stream.close()
            raise BlockingIOError(f"{file} is held by another process") from error
    return stream


def hold_run(run_dir: Path) -> BinaryIO:
    """Lock a run folder, as `hold` does. Raises `ConfigError` where another process runs it."""
    try:
        return hold(run_dir / ".lock")
    except BlockingIOError as error:
        raise ConfigError(
            f"{run_dir} is being run by another process. Wait for it to end, or stop it first."
        ) from error


def refuse_while_run(run_dir: Path) -> None:
    """Raise `ConfigError` where another process runs it: what follows would change its files."""
    if (run_dir / ".lock").exists():
        hold_run(run_dir).close()


def finite(value: Any) -> Any:
    """The value with null for what JSON has no word for: NaN and the infinities."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl. A last line that was cut off while it was written is left out.

    Raises `UnreadableFile` for any other line that is no row.
    """
    if not file.exists():
        return []
    with reading(file):
        lines = file.read_bytes().split(b"\n")[:-1]
        return [_row(line, number) for number, line in enumerate(lines, 1)]


def _row(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = as_mapping(json.loads(line))
        as_mapping(row["metrics"])
    except (ValueError, KeyError) as error:
        raise ValueError(f"line {number} is no row of metrics") from error
    return row


class MetricsFile:
    """metrics.jsonl: a line per row, on disk as soon as it is appended. Nothing is logged twice at one step.

    Attributes:
        rows: what an interrupted run has logged.
        last_step: the last training step that was logged.
    """

    def __init__(self, file: Path) -> None:
        self.rows = read_rows(file)
        self.last_step = 0
        self._logged: set[tuple[int | None, str]] = set()
        for row in self.rows:
            self._remember(row["metrics"], row["step"])
        self._stream = file.open("ab", buffering=0)
        self._stream.truncate(_end_of_last_line(file))

    def new(self, metrics: dict[str, float], step: int) -> dict[str, float]:
        """Those of the metrics that are not logged at this step yet."""
        return {name: value for name, value in metrics.items() if _key(name, step) not in self._logged}

    def append(self, row: dict[str, Any]) -> None:
        self._remember(row["metrics"], row["step"])
        self._stream.write(json.dumps(row, allow_nan=False).encode() + b"\n")

    def close(self) -> None:
        self._stream.close()

    @property
    def is_empty(self) -> bool:
        return not self._logged

    def _remember(self, metrics: dict[str, float], step: int) -> None:
        self._logged |= {_key(name, step) for name in metrics}
        # Over embedding sizes, the size takes the place of the step.
        if not any(name.startswith("matryoshka/") for name in metrics):
            self.last_step = max(self.last_step, step)


def _key(name: str, step: int) -> tuple[int | None, str]:
    """What may come once: a metric at a step; a result in the whole run."""
    return (None if name.startswith("final/") else step), name


def _end_of_last_line(file: Path) -> int:
    return file.read_bytes().rfind(b"\n") + 1
