"""Pages as tests read them: their words, and whether they need anything but themselves."""

from __future__ import annotations

import re
from html.parser import HTMLParser


def text(page: str) -> str:
    """What a reader sees: no markup, no style, one kind of blank."""
    seen = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+([.,])", r"\1", re.sub(r"\s+", " ", seen.replace("&#8239;", " ")))


class _Addresses(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.pictures: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        self.found += [value for name, value in attrs if name in {"src", "href", "srcset", "action", "data"} and value]
        self.pictures += [values.get("alt") or ""] if tag == "img" else []


def pictures_of_a_whole(page: str) -> list[str]:
    """What is said of each picture of a page, which is refused if it fetches anything or runs code."""
    parsed = _Addresses()
    parsed.feed(page)
    assert {address.partition(":")[0] for address in parsed.found if not address.startswith("#")} == {"data"}
    assert not parsed.tags & {"script", "iframe", "object", "form"}
    assert not re.search(r"url\(|@import", page)
    return parsed.pictures
