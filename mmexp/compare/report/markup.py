"""HTML elements, in which every text is escaped."""

from __future__ import annotations

import html


class Markup(str):
    """Text that is HTML already."""


Content = Markup | str | None


def element(tag: str, *contents: Content, **attributes: str | None) -> Markup:
    """`<tag attribute="...">contents</tag>`. What is no `Markup` is escaped, None left out; `class_` is `class`."""
    words = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in ("img", "meta", "line", "rect"):
        return Markup(f"<{tag}{words}>" if tag in ("img", "meta") else f"<{tag}{words}/>")
    return Markup(f"<{tag}{words}>{joined(*contents)}</{tag}>")


def joined(*contents: Content) -> Markup:
    """Contents one after the other."""
    return Markup(
        "".join(
            content if isinstance(content, Markup) else html.escape(content)
            for content in contents
            if content is not None
        )
    )
