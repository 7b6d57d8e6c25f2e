"""What every page shares: its template, its figures in words, its pictures. Self-contained, nothing fetched."""

from __future__ import annotations

import base64
from datetime import datetime
from math import isnan
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from matplotlib.figure import Figure

from churn.reporting import plots

_NO_FIGURE = "\N{EN DASH}"


def template(name: str) -> Template:
    """A page's template."""
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
    """The figure as an image's address that needs no request; inside images, one's names cannot meet another's."""
    return address(plots.svg(figure))


def address(svg: str) -> str:
    """`picture` of a figure that is drawn already, as SVG."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def number(value: float | None, digits: int = 3) -> str:
    return _NO_FIGURE if value is None or isnan(value) else f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}")


def percent(value: float | None, digits: int = 0) -> str:
    return _NO_FIGURE if value is None or isnan(value) else f"{100 * value:.{digits}f}\N{NARROW NO-BREAK SPACE}%"


def count(value: float) -> str:
    return f"{value:,.0f}"


def day(value: datetime) -> str:
    return f"{value.day} {value:%B %Y}"
