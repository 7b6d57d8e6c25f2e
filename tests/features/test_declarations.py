"""Declarations: what they produce, what they refuse, how they are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import Column

from churn.sources.catalog.calls import CALLS
from churn.sources.catalog.transactions import TRANSACTIONS
from churn.errors import BadInputError
from churn.features import EVER, Windowed, catalogue, derived, features, followed, windowed
from churn.features.declarations import check_derived
from churn.features.reference import markdown

pytestmark = pytest.mark.usefixtures("_apart")


def _measure(name: str, doc: str | None = "What it is.") -> Callable[[], Column]:
    def measure() -> Column:
        raise AssertionError("a declaration computes nothing")

    measure.__name__, measure.__doc__ = name, doc
    return measure


def _count(name: str, days: tuple[int, ...] | None = (30, 90), *, after_intent: bool = False) -> Windowed:
    return windowed(TRANSACTIONS, agg="count", days=days, unit="n", fill=0, after_intent=after_intent)(_measure(name))


def test_a_column_for_each_window() -> None:
    feature = _count("deeds", (90, 7))
    assert feature.columns() == {"deeds_7d": 7, "deeds_90d": 90}
    assert feature.columns((14, 28)) == {"deeds_14d": 14, "deeds_28d": 28}


def test_windows_replace_only_several() -> None:
    assert _count("deeds_once", (30,)).columns((14, 28)) == {"deeds_once_30d": 30}
    assert _count("deeds_ever", EVER).columns((14, 28)) == {"deeds_ever": None}


def test_features_are_found_by_feature_and_by_family() -> None:
    made = _count("deeds")
    assert features("deeds") == (made,)
    assert features("test_declare") == (made,)
    assert made in features()


def test_an_intermediate_is_in_no_catalogue() -> None:
    _count("_hidden")
    assert "_hidden" not in {row["name"] for row in catalogue()}
    with pytest.raises(BadInputError, match="no feature or family named '_hidden'"):
        features("_hidden")


def test_the_catalogue_says_all_that_was_declared() -> None:
    _count("deeds", after_intent=True)
    (row,) = (row for row in catalogue() if row["name"] == "deeds")
    assert row == {
        "name": "deeds",
        "family": "test_declare",
        "columns": ["deeds_30d", "deeds_90d"],
        "unit": "n",
        "sources": ["transactions"],
        "of": "customer",
        "by": ["customer_id"],
        "days": [30, 90],
        "fill": 0,
        "after_intent": True,
        "doc": "What it is.",
    }


def test_a_derived_feature_names_its_inputs() -> None:
    deeds, ever = _count("deeds", after_intent=True), _count("ever_done", EVER)

    @derived(days=(7, 30), unit="ratio", fill=0)
    def ratio(deeds: Column, deeds_90d: Column, ever_done: Column, as_of: Column) -> Column:
        """A ratio."""
        return deeds / deeds_90d / ever_done

    assert ratio.columns() == {"ratio_7d": 7, "ratio_30d": 30}
    assert ratio.inputs(7) == {"deeds": (deeds, 7), "deeds_90d": (deeds, 90), "ever_done": (ever, None)}
    assert ratio.sources == {"transactions"}
    assert ratio.after_intent, "a mark is handed on"


def test_sources_of_a_followed_feature() -> None:
    @followed(CALLS, TRANSACTIONS, within_days=3, unit="n", fill=0)
    def bought_after_call() -> tuple[Column, Column]:
        """What was bought after a call."""
        raise AssertionError

    assert bought_after_call.sources == {"calls", "transactions"}


def _derive(*inputs: str) -> Callable[[], None]:
    def declare() -> None:
        _count("deeds")
        _count("ever_done", EVER)
        names = {"__name__": __name__}
        exec(f"def of_these({', '.join(inputs)}):\n    'A doc.'\n", names)  # noqa: S102
        derived(unit="n", fill=0)(names["of_these"])  # type: ignore[arg-type]
        check_derived()

    return declare


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "unknown aggregation": (
        lambda: windowed(TRANSACTIONS, agg="summ", unit="n", fill=0)(_measure("x")),
        "x: no aggregation named 'summ'; did you mean 'sum'?",
    ),
    "parameter left out": (
        lambda: windowed(TRANSACTIONS, agg="repeat", unit="n", fill=0)(_measure("x")),
        r"x: repeat takes \['within_days'\], got \[\]",
    ),
    "parameter too many": (
        lambda: windowed(TRANSACTIONS, agg="sum", unit="n", fill=0, k=2)(_measure("x")),
        r"x: sum takes \[\], got \['k'\]",
    ),
    "parameter not positive": (
        lambda: windowed(TRANSACTIONS, agg="age_of_last", unit="n", fill=0, k=0)(_measure("x")),
        "the parameters of age_of_last must be positive",
    ),
    "no docstring": (
        lambda: windowed(TRANSACTIONS, agg="sum", unit="n", fill=0)(_measure("x", None)),
        "x: a feature needs a docstring",
    ),
    "window in the name": (lambda: _count("x_30d"), "x_30d: the window is added to a name"),
    "window of no days": (lambda: _count("x", (0, 30)), r"x: days is \(0, 30\)"),
    "window twice": (lambda: _count("x", (30, 30)), r"x: days is \(30, 30\)"),
    "name taken": (lambda: (_count("x"), _count("x")), "test_declare already has a feature of that name; rename one"),
    "unknown feature": (lambda: (_count("deeds"), features("deed")), "named 'deed'; did you mean 'deeds'"),
    "unknown input": (_derive("deed_30d"), "no windowed feature named 'deed'; did you mean 'deeds'"),
    "input without its window": (_derive("deeds"), "deeds is no column of deeds; write deeds_30d, or declare days"),
    "input with a window it has not": (_derive("ever_done_30d"), "is no column of ever_done; write ever_done"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    declare, message = REFUSED[case]
    with pytest.raises(BadInputError, match=message):
        declare()


def test_the_reference_page_is_what_the_catalogue_says() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "features.md"
    assert page.read_text("utf-8") == markdown(), "make it anew: see docs/add-a-feature.md"
