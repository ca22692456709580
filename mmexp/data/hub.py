"""Data sets in the Hub's layouts, from the Hub or from a local folder: opening them, and their columns as cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmexp.data.cells import Cells, bad_page
from mmexp.data.media import Media, encoded_bytes
from mmexp.schema import ConfigError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def open_dataset(path: str, config: str | None, split: str, revision: str | None) -> Dataset:
    """Open one split of a Hub data set, or of a local folder: parquet, imagefolder, arrow, a copy of a repository."""
    import datasets

    folder = Path(path).expanduser()
    try:
        if (folder / "state.json").exists():
            return datasets.Dataset.load_from_disk(str(folder))
        if (folder / "dataset_dict.json").exists():
            return datasets.DatasetDict.load_from_disk(str(folder))[split]
        if folder.is_dir():
            return datasets.load_dataset(str(folder), config, split=split, cache_dir=_cache_of(folder))
        return datasets.load_dataset(path, config, split=split, revision=revision)
    except (OSError, ValueError, KeyError) as error:  # datasets' own errors derive from these
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"data.path={path} (config {config}, split {split}) cannot be opened: {reason}. Give a Hub data set that "
            "can be reached, or a local folder."
        ) from error


def _cache_of(folder: Path) -> str:
    """A cache folder of its own for every state of a local folder.

    In the cache that it chooses itself, `load_dataset` (datasets 5.2) takes two folders of one name for the same data,
    and a folder whose files have changed for what it was.
    """
    import datasets
    import xxhash

    state = xxhash.xxh3_64(str(folder.resolve()).encode())
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        facts = file.stat()
        state.update(f"{file.relative_to(folder)} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return str(Path(datasets.config.HF_DATASETS_CACHE) / f"mmexp-{state.hexdigest()}")


def require_columns(dataset: Dataset, columns: dict[str, str], path: str) -> None:
    """Raise `ConfigError` unless the data set has every column. `columns` maps config keys to column names."""
    for key, column in columns.items():
        if column not in dataset.column_names:
            raise ConfigError(
                f"data.{key}={column} is no column of {path}, which has {', '.join(dataset.column_names)}."
                f"{did_you_mean(column, dataset.column_names)}"
            )


class ColumnCells(Cells):
    """Cells that lie in columns of a `datasets.Dataset`. Its own features decode images, `media` the rest."""

    def __init__(self, dataset: Dataset, places: Sequence[tuple[str, int]], ids: Sequence[str], media: Media) -> None:
        """`places` holds (column, row) of every cell."""
        self.ids = ids
        self.media = media
        self._places = places
        self._decoders = {column: media.decoder(column, dataset.features[column]) for column, _ in places}
        self._views = {column: dataset.select_columns([column]) for column in self._decoders}
        for column, decode in self._decoders.items():
            if decode is not None:  # datasets would decode it with a library that needs FFmpeg on the machine
                undecoded = dataclasses.replace(dataset.features[column], decode=False)
                self._views[column] = self._views[column].cast_column(column, undecoded)
        self._open()

    def _open(self) -> None:
        self._arrow = {column: _encoded_column(view, column) for column, view in self._views.items()}
        self._in_files = {column for column, array in self._arrow.items() if _are_files(self._views[column], array)}

    def __getstate__(self) -> dict[str, Any]:
        """Without the bytes of the columns: a data set pickles as the path of its file, Arrow arrays as a whole."""
        return {name: value for name, value in vars(self).items() if name != "_arrow"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def __getitem__(self, index: int) -> Any:
        column, row = self._places[index]
        decode = self._decoders[column]
        try:
            cell = self._views[column][row][column]
            return cell if decode is None else decode(encoded_bytes(cell))
        except (OSError, ValueError, SyntaxError) as error:  # what decoders raise on damaged files
            raise bad_page(self.ids[index], error) from error

    def encoded(self, index: int) -> bytes | memoryview:
        column, row = self._places[index]
        value = self._arrow[column][row]
        if column in self._in_files:
            return Path(value.as_py()).read_bytes()
        buffer = value.as_buffer() if hasattr(value, "as_buffer") else None
        return memoryview(buffer) if buffer is not None else repr(value.as_py()).encode()

    def size(self, index: int) -> int:
        column, row = self._places[index]
        value = self._arrow[column][row]
        if column in self._in_files:
            return Path(value.as_py()).stat().st_size
        return value.as_buffer().size if hasattr(value, "as_buffer") and value.is_valid else len(repr(value.as_py()))

    def decoding(self, index: int) -> str:
        return "" if self._decoders[self._places[index][0]] is None else f"@{self.media}"


def _encoded_column(dataset: Dataset, column: str) -> pa.ChunkedArray:
    """The column as stored: for media, the encoded bytes, or the paths where the bytes lie in files of their own."""
    import pyarrow as pa

    # `with_format("arrow")` follows an indices mapping (after a shuffle or a filter) where there is one.
    array = dataset.data.column(column) if dataset._indices is None else dataset.with_format("arrow")[:].column(column)
    if pa.types.is_struct(array.type) and array.type.get_field_index("bytes") >= 0:
        values, paths = (pa.chunked_array([c.field(name) for c in array.chunks]) for name in ("bytes", "path"))
        return values if values.null_count == 0 else paths
    return array


def _are_files(dataset: Dataset, array: pa.ChunkedArray) -> bool:
    """Whether the column of `dataset`, as `_encoded_column` gives it, holds paths of media in files of their own."""
    import pyarrow as pa

    is_media = pa.types.is_struct(dataset.data.schema.field(dataset.column_names[0]).type)
    return is_media and pa.types.is_string(array.type) and len(array) > 0 and Path(str(array[0])).is_file()


def text_ids(name: str, rows: Iterable[int]) -> list[str]:
    """Ids for queries that have none of their own: stable as long as the rows stay in their order."""
    return [f"{name}-{row}" for row in rows]
