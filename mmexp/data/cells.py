"""Cells: inputs as sentence-transformers takes them (text, image, audio, video, dict), read when they are accessed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mmexp.schema import ConfigError


class BadPage(ConfigError):
    """A page whose bytes cannot be decoded. `page` is its document id."""

    def __init__(self, message: str, page: str = "") -> None:
        # A data worker's exception is made again, in the main process, from the text of its whole traceback.
        super().__init__(message.rpartition("BadPage: ")[2].strip())
        self.page = page


def bad_page(page: str, reason: object) -> BadPage:
    """The error for a page that could not be decoded, with the remedy."""
    return BadPage(
        f"page {page!r} cannot be decoded: {reason}. Repair or remove it, or leave out the rows that need such pages "
        "with data.on_bad_page=skip.",
        page,
    )


@contextmanager
def naming_page(page: str) -> Iterator[None]:
    """Turn what decoders raise on damaged files, and on images of too many pixels, into `BadPage`."""
    from PIL.Image import DecompressionBombError

    try:
        yield
    except DecompressionBombError as error:  # goes on about attacks
        raise bad_page(page, f"{str(error).partition(',')[0]}: scale it down") from error
    except (OSError, ValueError, SyntaxError, RuntimeError) as error:
        raise bad_page(page, error) from error


class Cells(ABC):
    """A list of cells with an id each. Reading one may open and decode a file; ids, sizes and digests do not."""

    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def __getitem__(self, index: int) -> Any:
        """The cell, decoded. Raises `BadPage`."""

    @abstractmethod
    def encoded(self, index: int) -> bytes | memoryview:
        """The bytes that make the cell what it is: two cells with equal bytes are the same page."""

    def size(self, index: int) -> int:
        """The number of encoded bytes, found without reading them where the source allows."""
        return len(self.encoded(index))

    def source(self, index: int) -> str:
        """The document that the cell is a page of; its own id where the source of the data knows of none."""
        return self.ids[index]

    def stored_digest(self, index: int) -> str:
        """128 bits of xxhash over the encoded bytes, as 32 hexadecimal digits: quick, not meant against an attacker."""
        import xxhash

        return xxhash.xxh3_128_hexdigest(self.encoded(index))

    def decoding(self, index: int) -> str:
        """How the cell is decoded, where there is a choice: the model gets other input. Empty: as it is stored."""
        return ""

    def digest(self, index: int) -> str:
        """Of what a model is given: of what is stored, and of how that is decoded."""
        return self.stored_digest(index) + self.decoding(index)


class Values(Cells):
    """Cells that are in memory as they are: texts, paths, URLs, `{"text":, "image":}` dicts of those."""

    def __init__(self, ids: Sequence[str], values: Sequence[Any]) -> None:
        self.ids = ids
        self.values = values

    def __getitem__(self, index: int) -> Any:
        return self.values[index]

    def encoded(self, index: int) -> bytes:
        return repr(self.values[index]).encode()


class Joined(Cells):
    """Several lists of cells, one after the other."""

    def __init__(self, parts: Sequence[Cells]) -> None:
        self.parts = parts
        self.ids = [id_ for part in parts for id_ in part.ids]
        self._places = [(part, index) for part in parts for index in range(len(part))]

    def __getitem__(self, index: int) -> Any:
        part, inner = self._places[index]
        return part[inner]

    def encoded(self, index: int) -> bytes | memoryview:
        part, inner = self._places[index]
        return part.encoded(inner)

    def size(self, index: int) -> int:
        part, inner = self._places[index]
        return part.size(inner)

    def decoding(self, index: int) -> str:
        part, inner = self._places[index]
        return part.decoding(inner)

    def source(self, index: int) -> str:
        part, inner = self._places[index]
        return part.source(inner)


def text_of(cell: Any) -> str | None:
    """What a person reads of a cell. None: it is an image, a recording or a video alone."""
    if isinstance(cell, dict):
        cell = cell.get("text")
    return cell if isinstance(cell, str) else None


def first_of_each(cells: Cells, indices: Iterable[int]) -> dict[int, int]:
    """Map every index to the first of `indices` whose cell has the same content (itself where it is the first).

    Only cells of equal size can be equal, so only those are read and hashed: among screenshots of pages that
    is a few percent of them.
    """
    sizes = {index: cells.size(index) for index in indices}
    occurrences = Counter(sizes.values())
    first: dict[tuple[int, str], int] = {}
    return {
        index: first.setdefault((size, cells.digest(index)), index) if occurrences[size] > 1 else index
        for index, size in sizes.items()
    }
