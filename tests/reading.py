"""The text of an HTML page, and whether the page is self-contained."""

from __future__ import annotations

import re
from html.parser import HTMLParser


def text(page: str) -> str:
    """The visible text, without markup and style, with single spaces."""
    visible = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+([.,])", r"\1", re.sub(r"\s+", " ", visible.replace("&#8239;", " ")))


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.pictures: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        fetching = {"src", "href", "srcset", "action", "data"}
        self.addresses += [value for name, value in attrs if name in fetching and value]
        self.pictures += [values.get("alt") or ""] if tag == "img" else []


def picture_texts(page: str) -> list[str]:
    """The alternative text of each picture. Fails where the page fetches anything or runs code."""
    parsed = _Page()
    parsed.feed(page)
    assert {address.partition(":")[0] for address in parsed.addresses if not address.startswith("#")} == {"data"}
    assert not parsed.tags & {"script", "iframe", "object", "form"}
    assert not re.search(r"url\(|@import", page)
    return parsed.pictures
