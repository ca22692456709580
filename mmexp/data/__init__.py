"""Data: queries and a corpus, tied together by ids; pages are read one at a time, when they are needed.

Every source reads into the same `Split`: *rows* of indices (query, positive document, negative documents)
into two lists of cells that are resolved lazily. So another number of negatives costs no new data set,
nothing is stored twice, and duplicates are found by id, never by decoding a page.

    cells.py         what a query or a page is before it is decoded; which cells are the same
    reduced_jpeg.py  JPEG pages decoded at a fraction of their size
    media.py         recordings and videos
    splits.py        rows, splits, and what every source shares: limits, hold-out by document, bad pages
    negatives.py     hard negatives from a file of ids, as mining writes it
    training.py      a split as the columns (query, positive, negative_0, ...) that the library trains on
    the rest         one source per module
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum

from mmexp.data.media import Media
from mmexp.data.negatives import MinedNegatives
from mmexp.data.reduced_jpeg import ReducedJpeg
from mmexp.data.splits import RetrievalData, Split, finish_splits, hold_out_documents, merge_duplicates
from mmexp.schema import ConfigError


class OnBadPage(Enum):
    error = "error"
    skip = "skip"


@dataclass
class Data(ABC):
    """Base of every data config (config group `data`)."""

    num_negatives: int = 1
    """Hard negatives per query in training: 0 to all that the data has. The evaluation corpus always holds all."""

    negatives: str | None = None
    """A negatives.parquet of `python -m mmexp.mine`: its pages, the highest scores first, take the place of the hard
    negatives of the training rows. null: those that the data has."""

    on_bad_page: OnBadPage = OnBadPage.error
    """A page that cannot be decoded: stop and name it, or leave out the rows that need it and count it in result.json.
    `skip` decodes every page once before training, to know which."""

    deduplicate_corpus: bool = True
    """A page that occurs twice (same id, or same encoded bytes) is one document, and never its own negative.
    false: every cell of the evaluation rows is a document of its own, as in the published recipe."""

    jpeg_pixels: int | None = None
    """Decode JPEG pages at 1/2, 1/4 or 1/8 of their size where that leaves at least this many pixels, which is several
    times faster and changes pixels slightly. data.jpeg_pixels=${model.max_pixels} leaves the model as many as it takes;
    a teacher or second stage with larger bounds gets no more. null: whole."""

    seed: int = 42
    """Seeds what is drawn of the data: made-up pages, and which queries are held out. The experiment's `seed` does not
    count here, so that runs with different seeds train and are measured on the same data."""

    media: Media = field(default_factory=Media)
    """How recordings and videos are decoded."""

    max_train_rows: int | None = None
    """Use at most this many training rows (the first ones). null: all."""

    max_eval_queries: int | None = None
    """Use at most this many evaluation queries (the first ones), and their documents only. null: all."""

    def __post_init__(self) -> None:
        if self.num_negatives < 0:
            raise ConfigError(f"data.num_negatives={self.num_negatives} is below 0. Use 0 for in-batch negatives only.")
        if self.negatives is not None and self.num_negatives == 0:
            raise ConfigError(
                f"data.negatives={self.negatives} would be ignored with data.num_negatives=0. Say how many of them to "
                "train with, or use data.negatives=null."
            )
        for key in ("jpeg_pixels", "max_train_rows", "max_eval_queries"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"data.{key}={value} leaves nothing. Use 1 or more, or null for no limit.")

    @property
    def labels_from(self) -> str | None:
        """The column with the data's own labels or scores. None: it has none."""
        return None

    @property
    def checks_pages(self) -> bool:
        """Whether every page is decoded once before training, so that a bad one is known before weights are loaded."""
        return self.on_bad_page is OnBadPage.skip

    @abstractmethod
    def read(self) -> tuple[Split, Split | None]:
        """Index the source: its training and its evaluation split, None where it has none. Reads no pixels."""

    def num_held_out(self, train: Split) -> int:
        """How many queries to hold out of the training split of a source that has no evaluation split."""
        raise NotImplementedError

    @property
    def held_out_key(self) -> str:
        """The config key that says how many those are."""
        raise NotImplementedError

    def build(self, for_training: bool = True) -> RetrievalData:
        """Read the source and make it ready: bad pages, limits, the number of negatives, the evaluation corpus.

        Raises `ConfigError` where the source lacks what was asked of it; of its training rows only `for_training`.
        """
        mined = MinedNegatives(self.negatives) if self.negatives is not None and for_training else None
        train, evaluation = self.read()
        if self.jpeg_pixels is not None:
            for split in filter(None, (train, evaluation)):
                split.documents = ReducedJpeg(split.documents, self.jpeg_pixels)
        train = merge_duplicates(train)
        if evaluation is None:
            whole = train
            train, evaluation = hold_out_documents(whole, self.num_held_out(whole), self.seed)
            if for_training and evaluation.rows and not train.rows:
                raise self._none_left(whole)
        elif self.deduplicate_corpus:
            evaluation = merge_duplicates(evaluation)
        if mined is not None:
            train = mined.replace_negatives(train, evaluation)
        data = finish_splits(
            train,
            evaluation,
            num_negatives=self.num_negatives if for_training else 0,
            max_train_rows=self.max_train_rows,
            max_eval_queries=self.max_eval_queries,
            check_train_pages=self.checks_pages and for_training,
            check_eval_pages=self.checks_pages,
            skip_bad_pages=self.on_bad_page is OnBadPage.skip,
        )
        if for_training and not data.train.rows:
            raise ConfigError(
                f"no training row is left ({len(data.skipped_pages)} pages cannot be decoded). Check the training rows "
                "and the pages of the data."
            )
        return data

    def _none_left(self, whole: Split) -> ConfigError:
        """The error where all queries are held out. It says what leaves some, where anything does."""
        key, value = self.held_out_key, getattr(self, self.held_out_key)
        tenth = max(1, len(whole.relevant) // 10)
        remedy = "Give it more pages, or evaluation rows of its own."
        if hold_out_documents(whole, tenth, self.seed)[0].rows:
            remedy = f"Use data.{key}={0.1 if isinstance(value, float) else tenth}, for example."
        return ConfigError(
            f"data.{key}={value} holds out all {len(whole.relevant)} queries of the data, those of a page together, "
            f"and leaves none to train on. {remedy}"
        )
