"""Drawing a report page: a banner with the topic, paragraphs, a chart and a striped table."""

from __future__ import annotations

import functools
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

Box = tuple[int, int, int, int]
Color = tuple[int, int, int]

# A palette for each colored part, so that a color's name says which part it is about.
BANNERS = {
    "black": (28, 28, 34),
    "navy": (22, 40, 116),
    "maroon": (122, 20, 44),
    "olive": (112, 116, 28),
    "teal": (0, 122, 122),
    "grey": (134, 138, 144),
}
CHART_COLORS = {
    "red": (216, 36, 36),
    "blue": (36, 92, 220),
    "green": (36, 156, 64),
    "orange": (244, 136, 16),
    "purple": (136, 54, 176),
}
TABLE_COLORS = {
    "yellow": (240, 206, 40),
    "pink": (240, 120, 176),
    "cyan": (48, 196, 224),
    "lime": (150, 214, 48),
    "brown": (150, 98, 56),
}
TOPICS = ("Energy", "Coffee", "Rail", "Tourism")
CHARTS = ("bar", "line", "pie", "area", "ring")
PLACES = ("above", "below")
BODY_TEXT = (
    "the annual report shows that output in most regions grew while costs "
    "fell and demand stayed firm over several quarters despite weaker trade new "
    "capacity came online and prices moved within a narrow range as analysts expected"
)
NUM_LINES = 64
# On a smaller page, in either direction, there is no room for the title.
LEAST_SIZE = 64
# Heavy strokes, in pixels: the tiny model reads a page at about two thirds of its size.
TITLE_STROKE = 1
LINE_WIDTH = 7
INK = (40, 40, 44)
PAPER = (252, 252, 250)


@dataclass(frozen=True)
class PageContent:
    """What a page shows. `seed` decides what no question asks: text, numbers, the chart's data."""

    topic: str
    banner: str
    chart: str
    chart_color: str
    table_color: str
    place: str
    seed: int


@functools.cache
def _text_mask(text: str, size: int, stroke: int = 0) -> Image:
    """The text as a grey-scale mask. Kept, because setting type takes nine tenths of drawing a page."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text, stroke_width=stroke)
    mask = Image.new("L", (math.ceil(right), math.ceil(bottom)))
    ImageDraw.Draw(mask).text((0, 0), text, font=font, fill=255, stroke_width=stroke)
    return mask.crop((math.floor(left), math.floor(top), mask.width, mask.height))


def _write(draw: ImageDraw, center: tuple[float, float], text: str, size: int, color: Color | str) -> None:
    """Write one line around `center`."""
    mask = _text_mask(text, size)
    draw.bitmap((round(center[0] - mask.width / 2), round(center[1] - mask.height / 2)), mask, fill=color)


@functools.cache
def _title(text: str, room: tuple[int, int]) -> Image:
    """The text as large as the room allows."""
    masks = (_text_mask(text, size, TITLE_STROKE) for size in range(8, 2 * room[1]))
    return [mask for mask in masks if mask.width <= room[0] and mask.height <= room[1]][-1]


@functools.cache
def _lines(width: int, size: int) -> list[Image]:
    """Lines of body text that are at most `width` pixels wide."""
    chance = random.Random(0)
    texts = [" ".join(chance.choices(BODY_TEXT.split(), k=8)) for _ in range(NUM_LINES)]
    return [_text_mask(text, size).crop((0, 0, width, size)) for text in texts]


def draw_page(content: PageContent, size: tuple[int, int]) -> Image:
    """Draw one page of `size` (width, height) pixels."""
    from PIL import Image, ImageDraw

    width, height = size
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    chance = random.Random(content.seed)
    margin, banner, headline = min(size) // 16, height // 10, height // 4
    draw.rectangle((0, 0, width, banner), fill=BANNERS[content.banner])
    title = _title(content.topic, (width - 2 * margin, (headline - banner) * 4 // 5))
    draw.bitmap((margin, (banner + headline - title.height) // 2), title, fill=INK)
    paragraph = (margin, headline + 2, width - margin, headline + height // 9)
    _paragraph(draw, paragraph, chance)
    top, bottom = paragraph[3] + margin // 2, height - margin
    chart_height, gap = (bottom - top) * 3 // 5, margin // 2
    if content.place == "above":
        chart_top, table_top = top, top + chart_height + gap
    else:
        chart_top, table_top = bottom - chart_height, top
    chart_box = (margin, chart_top, width - margin, chart_top + chart_height)
    table_box = (margin, table_top, width - margin, table_top + bottom - top - chart_height - gap)
    CHART_DRAWERS[content.chart](draw, chart_box, CHART_COLORS[content.chart_color], chance)
    _table(draw, table_box, TABLE_COLORS[content.table_color], chance)
    return page


def _paragraph(draw: ImageDraw, box: Box, chance: random.Random) -> None:
    left, top, right, bottom = box
    line = max(6, (bottom - top) // 4)
    for y in range(top, bottom - line, line):
        draw.bitmap((left, y), chance.choice(_lines(right - left, line - 1)), fill=INK)


def _table(draw: ImageDraw, box: Box, color: Color, chance: random.Random) -> None:
    left, top, right, bottom = box
    rows, columns = chance.randint(4, 5), chance.randint(3, 4)
    row_height, column_width = (bottom - top) / rows, (right - left) / columns
    for row in range(rows):
        y = top + row * row_height
        if row % 2 == 0:
            draw.rectangle((left, y, right, y + row_height), fill=_tint(color, 0.0 if row == 0 else 0.45))
        for column in range(columns):
            text = f"Q{column}" if row == 0 else f"{chance.randint(10, 999)}"
            place = (left + (column + 0.5) * column_width, y + row_height / 2)
            _write(draw, place, text, 7, "white" if row == 0 else INK)
    draw.rectangle(box, outline=INK)


def _tint(color: Color, share: float) -> Color:
    """The color mixed with white."""
    red, green, blue = (round(channel + (255 - channel) * share) for channel in color)
    return red, green, blue


def _axes(draw: ImageDraw, box: Box) -> Box:
    """Draw two axes with ticks; return the area between them."""
    left, top, right, bottom = box
    inner = (left + 12, top + 2, right - 2, bottom - 6)
    draw.line((inner[0], top, inner[0], inner[3], right, inner[3]), fill=INK)
    for step in range(4):
        y = inner[3] - step * (inner[3] - inner[1]) // 4
        _write(draw, (left + 5, y), str(step * 25), 6, INK)
    return inner


def _points(box: Box, count: int, chance: random.Random) -> list[tuple[float, float]]:
    left, top, right, bottom = box
    step = (right - left) / count
    return [(left + (n + 0.5) * step, bottom - chance.uniform(0.5, 0.95) * (bottom - top)) for n in range(count)]


def _bar(draw: ImageDraw, box: Box, color: Color, chance: random.Random) -> None:
    inner = _axes(draw, box)
    points = _points(inner, chance.randint(4, 5), chance)
    half = (inner[2] - inner[0]) / len(points) / 4
    for x, y in points:
        draw.rectangle((x - half, y, x + half, inner[3] - 1), fill=color)


def _line(draw: ImageDraw, box: Box, color: Color, chance: random.Random) -> None:
    points = _points(_axes(draw, box), chance.randint(6, 9), chance)
    draw.line(points, fill=color, width=LINE_WIDTH, joint="curve")


def _area(draw: ImageDraw, box: Box, color: Color, chance: random.Random) -> None:
    inner = _axes(draw, box)
    points = _points(inner, chance.randint(6, 9), chance)
    draw.polygon([(points[0][0], inner[3]), *points, (points[-1][0], inner[3])], fill=color)


def _pie(draw: ImageDraw, box: Box, color: Color, chance: random.Random) -> None:
    left, top, right, bottom = box
    radius = min(right - left, bottom - top) / 2 - 1
    x, y = (left + right) / 2, (top + bottom) / 2
    circle = (x - radius, y - radius, x + radius, y + radius)
    draw.ellipse(circle, fill=color)
    angle = chance.uniform(0, 360)
    for _ in range(chance.randint(3, 5)):
        angle += chance.uniform(40, 110)
        end = (x + radius * math.cos(math.radians(angle)), y + radius * math.sin(math.radians(angle)))
        draw.line((x, y, *end), fill=PAPER, width=2)


def _ring(draw: ImageDraw, box: Box, color: Color, chance: random.Random) -> None:
    _pie(draw, box, color, chance)
    left, top, right, bottom = box
    hole = min(right - left, bottom - top) * 0.3
    x, y = (left + right) / 2, (top + bottom) / 2
    draw.ellipse((x - hole, y - hole, x + hole, y + hole), fill=PAPER)


CHART_DRAWERS = {"bar": _bar, "line": _line, "pie": _pie, "area": _area, "ring": _ring}
