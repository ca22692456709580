"""What can be seen on a page: that it is drawn, and not only there."""

from __future__ import annotations


def svgs_are_drawn(page) -> int:
    """How many there are, each with an extent."""
    boxes = page.evaluate("[...document.querySelectorAll('svg')].map(svg => svg.getBBox().width)")
    assert min(boxes) > 0
    return len(boxes)


def draws(page, group: str) -> None:
    """Wait until the first plot of a group is drawn, which it is when it comes into view."""
    plot = page.locator(".accordion", has_text=group).first.locator(".plot-container").first
    plot.scroll_into_view_if_needed()
    canvas = plot.locator("canvas")
    canvas.wait_for()
    painted = """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
        .some((value, place) => place % 4 == 3 && value > 0)"""
    page.wait_for_function(painted, arg=canvas.element_handle())


def is_rendered(page, images: str) -> int:
    """How many there are, all of which must have been loaded and drawn."""
    page.locator(images).first.wait_for()
    found = page.locator(images)
    for n in range(found.count()):
        found.nth(n).scroll_into_view_if_needed()
        page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=found.nth(n).element_handle())
    return found.count()


def fits(page, tables: str) -> bool:
    """Whether nothing of the tables is cut off at the right."""
    fits = "table => table.offsetWidth <= table.parentElement.clientWidth"
    return page.evaluate(f"tables => [...document.querySelectorAll(tables)].every({fits})", tables)
