"""Data sets in the Hub's layouts, from the Hub or from a local folder: opening them, and their columns as cells."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmexp.data.cells import Cells, naming_page
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
            saved = datasets.Dataset.load_from_disk(str(folder))
            _refuse_another(path, (config, split), saved, str(saved.split or "train"))
            return saved
        if (folder / "dataset_dict.json").exists():
            saved = datasets.DatasetDict.load_from_disk(str(folder))[split]
            _refuse_another(path, (config, split), saved, split)
            return saved
        if folder.is_dir():
            return datasets.load_dataset(str(folder), config, split=split, cache_dir=_cache_of(folder))
        return datasets.load_dataset(path, config, split=split, revision=revision)
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError) as error:  # datasets' own errors derive from these
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"data.path={path} (config {config}, split {split}) cannot be opened: {reason}. Give a Hub data set that "
            "can be reached, or a local folder."
        ) from error


def _refuse_another(path: str, asked: tuple[str | None, str], saved: Dataset, its_split: str) -> None:
    """Raise `ConfigError` where another config or split is asked for than `save_to_disk` has kept in a folder.

    Its rows would be given for those: a run would be measured on what it is trained on.
    """
    its_config = saved.info.config_name
    config, split = asked
    if config not in (None, its_config) or split not in (its_split, its_split.partition("[")[0]):
        raise ConfigError(
            f"data.path={path} was written by save_to_disk and holds config {its_config}, split {its_split}, not "
            f"config {config}, split {split}. Ask for those (a config may be null; without data.eval_split, queries "
            "are held out), or save a DatasetDict, which keeps all splits."
        )


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
        self._empty = {column: empty_rows(view, column) for column, view in self._views.items()}

    def _open(self) -> None:
        self._arrow = {column: _stored_columns(view, column) for column, view in self._views.items()}

    def __getstate__(self) -> dict[str, Any]:
        """Without the bytes of the columns: a data set pickles as the path of its file, Arrow arrays as a whole."""
        return {name: value for name, value in vars(self).items() if name != "_arrow"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()

    def __getitem__(self, index: int) -> Any:
        column, row = self._places[index]
        decode = self._decoders[column]
        with naming_page(self.ids[index]):
            if self.is_empty(index):
                raise ValueError("there is nothing in its place")
            cell = self._views[column][row][column]
            return cell if decode is None else decode(encoded_bytes(cell))

    def is_empty(self, index: int) -> bool:
        """Whether there is nothing in the cell's place."""
        column, row = self._places[index]
        return row in self._empty[column]

    def encoded(self, index: int) -> bytes | memoryview:
        if self.is_empty(index):
            return f"nothing at {self.ids[index]}".encode()  # which is like nothing else, and no other page's twin
        value = self._stored(index)
        if isinstance(value, Path):
            return value.read_bytes()
        return memoryview(value.as_buffer()) if hasattr(value, "as_buffer") else repr(value.as_py()).encode()

    def size(self, index: int) -> int:
        value = self._stored(index)
        return value.stat().st_size if isinstance(value, Path) else len(self.encoded(index))

    def _stored(self, index: int) -> pa.Scalar | Path:
        """The value in the cell's place; of media the bytes or, where there are none, their file or else its name."""
        column, row = self._places[index]
        value, *paths = (array[row] for array in self._arrow[column])
        for path in paths:
            if path.is_valid and not value.is_valid:
                return Path(path.as_py()) if os.path.isfile(path.as_py()) else path
        return value

    def decoding(self, index: int) -> str:
        return "" if self._decoders[self._places[index][0]] is None else f"@{self.media}"


def _stored_columns(dataset: Dataset, column: str) -> list[pa.ChunkedArray]:
    """The column as stored: for media, the encoded bytes and the paths of those that lie in files of their own."""
    import pyarrow as pa
    from pyarrow import compute

    # `with_format("arrow")` follows an indices mapping (after a shuffle or a filter) where there is one.
    array = dataset.data.column(column) if dataset._indices is None else dataset.with_format("arrow")[:].column(column)
    if pa.types.is_struct(array.type) and array.type.get_field_index("bytes") >= 0:
        return [compute.struct_field(array, name) for name in ("bytes", "path")]
    return [array]


def empty_rows(dataset: Dataset, column: str) -> set[int]:
    """The rows that have nothing in a column: null, or media with neither bytes nor a path."""
    from pyarrow import compute

    is_empty = functools.reduce(compute.and_, map(compute.is_null, _stored_columns(dataset, column)))
    return set(compute.indices_nonzero(is_empty).to_pylist())


def text_ids(name: str, rows: Iterable[int]) -> list[str]:
    """Ids for queries that have none of their own: stable as long as the rows stay in their order."""
    return [f"{name}-{row}" for row in rows]
