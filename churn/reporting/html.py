"""What the reports share: templates, formats of numbers, embedded images. Self-contained, nothing fetched."""

from __future__ import annotations

import base64
from datetime import datetime
from math import isnan
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from matplotlib.figure import Figure

from churn.reporting import plots

_MISSING = "\N{EN DASH}"


def template(name: str) -> Template:
    """The template of a report, with filters for numbers and dates."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, percent=percent, count=count, day=day)
    return environment.get_template(name)


def picture(figure: Figure) -> str:
    """The figure as a data URI. Ids of one SVG cannot clash with those of another, as each is an image of its own."""
    return address(plots.svg(figure))


def address(svg: str) -> str:
    """An SVG as a data URI."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def number(value: float | None, digits: int = 3) -> str:
    return _MISSING if value is None or isnan(value) else f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def percent(value: float | None, digits: int = 0) -> str:
    return _MISSING if value is None or isnan(value) else f"{100 * value:.{digits}f}\N{NARROW NO-BREAK SPACE}%"


def count(value: float) -> str:
    return f"{value:,.0f}"


def day(value: datetime) -> str:
    return f"{value.day} {value:%B %Y}"
