"""Made-up report pages and questions about them, from a seed: data for a first run without a network."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmexp.data import Data
from mmexp.data.attributes import attributes_of
from mmexp.data.cells import Cells, Values
from mmexp.data.page_drawing import (
    BANNERS,
    CHART_COLORS,
    CHARTS,
    LEAST_SIZE,
    PLACES,
    TABLE_COLORS,
    TOPICS,
    PageContent,
    draw_page,
)
from mmexp.data.splits import Row, Split
from mmexp.ranges import check_least
from mmexp.schema import ConfigError, schema

if TYPE_CHECKING:
    from PIL.Image import Image

# What a question asks of a page, and the values it may have. Siblings differ in one of those with enough values.
ASKED: dict[str, Sequence[str]] = {
    "topic": TOPICS,
    "banner": tuple(BANNERS),
    "chart": CHARTS,
    "chart_color": tuple(CHART_COLORS),
    "table_color": tuple(TABLE_COLORS),
    "place": PLACES,
}
SIBLINGS = 5
QUESTIONS = (
    "Which {topic} report under a {banner} banner has a {chart_color} {chart} chart {place} a {table_color} table?",
    "Show me the {chart_color} {chart} chart {place} the {table_color} table on the {topic} page with {banner} banner.",
    "I am looking for {topic}: {banner} banner, {chart_color} {chart} chart {place} a {table_color} table.",
    "Find the {topic} page whose {chart} chart, {place} the {table_color} table, is {chart_color}. {banner} banner.",
)


@schema("data", "made_up_pages")
@dataclass
class MadeUpPages(Data):
    """Pages come in families of five that differ in one thing: each page answers its own question, and its four
    siblings are the hard negatives. No page, and no combination of what is asked, is in both splits."""

    num_train_pages: int = 2000
    """Pages, and questions, to train on; a multiple of 5."""

    num_eval_pages: int = 300
    """Pages, and questions, to evaluate on; a multiple of 5."""

    width: int = 192
    """Width of a page in pixels."""

    height: int = 256
    """Height of a page in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("num_train_pages", "num_eval_pages"):
            value = getattr(self, key)
            if value < SIBLINGS or value % SIBLINGS:
                raise ConfigError(
                    f"data.{key}={value} is no multiple of {SIBLINGS} above 0: pages come in families of {SIBLINGS}."
                )
        for key in ("width", "height"):
            check_least(f"data.{key}", getattr(self, key), LEAST_SIZE)

    def read(self) -> tuple[Split, Split]:
        draw = random.Random(self.seed)
        contents = made_up_contents(self.num_train_pages + self.num_eval_pages, draw)
        return (
            self._split("train", contents[: self.num_train_pages], draw),
            self._split("eval", contents[self.num_train_pages :], draw),
        )

    def _split(self, name: str, contents: list[PageContent], draw: random.Random) -> Split:
        ids = [f"{name}-{number:04d}" for number in range(len(contents))]
        questions = [draw.choice(QUESTIONS).format(**vars(content)) for content in contents]
        rows = [Row(n, n, _siblings_of(n, draw)) for n in range(len(contents))]
        pages = DrawnPages(ids, contents, (self.width, self.height))
        return Split(Values(ids, questions), pages, rows, attributes_of([vars(page) for page in contents], {"seed"}))


class DrawnPages(Cells):
    """Pages drawn once, when they are first asked for, and kept as PNG."""

    def __init__(self, ids: Sequence[str], contents: Sequence[PageContent], size: tuple[int, int]) -> None:
        self.ids = ids
        self.contents = contents
        self.page_size = size
        self._png: dict[int, bytes] = {}

    def __getitem__(self, index: int) -> Image:
        from PIL import Image

        return Image.open(io.BytesIO(self.encoded(index))).convert("RGB")

    def encoded(self, index: int) -> bytes:
        if index not in self._png:
            self._png[index] = _png(draw_page(self.contents[index], self.page_size))
        return self._png[index]


def made_up_contents(count: int, draw: random.Random) -> list[PageContent]:
    """`count` pages in families of siblings, no two alike in what is asked."""
    contents: list[PageContent] = []
    seen: set[tuple[str, ...]] = set()
    variable = [name for name, values in ASKED.items() if len(values) >= SIBLINGS]
    while len(contents) < count:
        base = PageContent(**{name: draw.choice(values) for name, values in ASKED.items()}, seed=0)
        varied = draw.choice(variable)
        values = draw.sample(list(ASKED[varied]), SIBLINGS)
        family = [replace(base, **{varied: value}, seed=draw.getrandbits(32)) for value in values]
        asked = {tuple(getattr(page, name) for name in ASKED) for page in family}
        if not asked & seen:
            seen |= asked
            contents += family
    return contents


def _siblings_of(page: int, draw: random.Random) -> list[int]:
    first = page - page % SIBLINGS
    siblings = [sibling for sibling in range(first, first + SIBLINGS) if sibling != page]
    draw.shuffle(siblings)
    return siblings


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
