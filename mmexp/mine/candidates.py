"""Which pages may be mined, each once, and which of them belong to one document."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable

from mmexp.data.cells import Cells, first_of_each
from mmexp.data.negatives import evaluation_pages, page_positions
from mmexp.data.splits import Split
from mmexp.schema import ConfigError


class Candidates:
    """Every page of the training data's source that may be a negative, whether a training row names it or not.

    Pages of the evaluation are none, and a page that occurs twice is one.

    Attributes:
        pages: indices into the split's documents: first the candidates, then the other positives, which are no
            candidates and are there for their scores. A *position* below is one in this list.
        count: how many of `pages` are candidates.
        num_evaluation_pages: how many pages were left out because they belong to the evaluation.
    """

    def __init__(self, train: Split, evaluation: Split, pattern: str | None, bad: set[int]) -> None:
        positives = dict.fromkeys(row.positive for row in train.rows)
        indices = dict.fromkeys([*positives, *page_positions(train).values()])
        first = first_of_each(train.documents, [index for index in indices if index not in bad])
        distinct = list(dict.fromkeys(first.values()))
        held_out = evaluation_pages(train, evaluation, distinct)
        candidates = [page for page in distinct if page not in held_out]
        self.count = len(candidates)
        self.pages = candidates + [page for page in positives if page in held_out]
        self.num_evaluation_pages = len(held_out)
        self.position = {page: position for position, page in enumerate(self.pages)}
        self._join_documents(first, _source_of(train.documents, pattern, first))

    def _join_documents(self, first: dict[int, int], source: Callable[[int], str]) -> None:
        """Note which documents a page is of, by any of its occurrences, and which pages a document has."""
        self._sources: dict[int, set[str]] = defaultdict(set)
        self._pages: dict[str, set[int]] = defaultdict(set)
        for index, page in first.items():
            if page in self.position:
                self._sources[self.position[page]].add(source(index))
                self._pages[source(index)].add(self.position[page])

    def of_same_documents(self, positions: Iterable[int]) -> set[int]:
        """The positions of all pages of the documents that these pages are of, these among them."""
        return {other for position in positions for source in self._sources[position] for other in self._pages[source]}


def _source_of(documents: Cells, pattern: str | None, indices: Iterable[int]) -> Callable[[int], str]:
    """What names the document of a page: the pattern where it finds one, else the data's source."""
    if pattern is None:
        return documents.source
    found = {index: match[1] for index in indices if (match := re.search(pattern, documents.ids[index])) and match[1]}
    if not found:
        raise ConfigError(
            f"mine.document_pattern={pattern} finds no document in any page id, such as {documents.ids[0]!r}. Change "
            "it, or use mine.document_pattern=null."
        )
    return lambda index: found.get(index) or documents.source(index)
