"""Declarations: the columns they produce, what is refused, how they are found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import Column

from churn.errors import BadInputError
from churn.features import EVER, Variant, Windowed, catalogue, derived, features, followed, windowed
from churn.features.declarations import check_derived
from churn.features.reference import markdown
from churn.sources.catalog.calls import CALLS
from churn.sources.catalog.transactions import TRANSACTIONS

pytestmark = pytest.mark.usefixtures("_restored_catalogue")


def _measure(name: str, doc: str | None = "What it is.") -> Callable[[], Column]:
    def measure() -> Column:
        raise AssertionError("a declaration computes nothing")

    measure.__name__, measure.__doc__ = name, doc
    return measure


def _count(name: str, days: tuple[int, ...] | None = (30, 90), *, after_intent: bool = False) -> Windowed:
    return windowed(TRANSACTIONS, agg="count", days=days, unit="n", fill=0, after_intent=after_intent)(_measure(name))


def test_a_column_for_each_window() -> None:
    feature = _count("deeds", (90, 7))
    assert feature.columns() == {"deeds_7d": Variant(7), "deeds_90d": Variant(90)}
    assert feature.columns((14, 28)) == {"deeds_14d": Variant(14), "deeds_28d": Variant(28)}


def test_windows_replace_only_several() -> None:
    assert _count("deeds_once", (30,)).columns((14, 28)) == {"deeds_once_30d": Variant(30)}
    assert _count("deeds_ever", EVER).columns((14, 28)) == {"deeds_ever": Variant(EVER)}


def test_features_are_found_by_feature_and_by_family() -> None:
    deeds = _count("deeds")
    assert features("deeds") == (deeds,)
    assert features("test_declarations") == (deeds,)
    assert deeds in features()


def test_an_intermediate_is_in_no_catalogue() -> None:
    _count("_hidden")
    assert "_hidden" not in {row["name"] for row in catalogue()}
    with pytest.raises(BadInputError, match="no feature or family named '_hidden'"):
        features("_hidden")


def test_the_catalogue_has_all_that_was_declared() -> None:
    _count("deeds", after_intent=True)
    (row,) = (row for row in catalogue() if row["name"] == "deeds")
    assert row == {
        "name": "deeds",
        "family": "test_declarations",
        "columns": ["deeds_30d", "deeds_90d"],
        "unit": "n",
        "sources": ["transactions"],
        "of": "customer",
        "by": ["customer_id"],
        "days": [30, 90],
        "parameters": {},
        "fill": 0,
        "after_intent": True,
        "doc": "What it is.",
    }


def test_the_doc_of_a_feature_is_one_line() -> None:
    """Tables, reports and the cells of a plan show it."""
    assert [one.name for one in features() if "\n" in one.doc] == []


def test_a_derived_feature_names_its_inputs() -> None:
    deeds, ever = _count("deeds", after_intent=True), _count("ever_done", EVER)

    @derived(days=(7, 30), unit="ratio", fill=0)
    def ratio(deeds: Column, deeds_90d: Column, ever_done: Column, as_of: Column) -> Column:
        """A ratio."""
        return deeds / deeds_90d / ever_done

    assert ratio.columns() == {"ratio_7d": Variant(7), "ratio_30d": Variant(30)}
    assert ratio.inputs(Variant(7)) == {
        "deeds": (deeds, Variant(7)),
        "deeds_90d": (deeds, Variant(90)),
        "ever_done": (ever, Variant(EVER)),
    }
    assert ratio.sources == {"transactions"}
    assert ratio.after_intent, "as an input is"


def _decayed(name: str, *half_lives: float, days: tuple[int, ...] | None = EVER) -> Windowed:
    declare = windowed(TRANSACTIONS, agg="decayed", days=days, unit="n", fill=0, half_life_days=half_lives)
    return declare(_measure(name))


def _kth(name: str, k: float | tuple[float, ...], days: tuple[int, ...] | None = EVER) -> Windowed:
    return windowed(TRANSACTIONS, agg="age_of_last", days=days, unit="days", fill=None, k=k)(_measure(name))


def test_a_column_for_each_value_of_a_parameter() -> None:
    decayed, kth = _decayed("deeds_decayed", 90, 10), _kth("deed_age", (2, 3))
    assert decayed.columns() == {
        "deeds_decayed_10d": Variant(EVER, {"half_life_days": 10}),
        "deeds_decayed_90d": Variant(EVER, {"half_life_days": 90}),
    }
    assert kth.columns() == {"deed_age_k2": Variant(EVER, {"k": 2}), "deed_age_k3": Variant(EVER, {"k": 3})}
    assert _kth("second_deed_age", 2).columns() == {"second_deed_age": Variant(EVER, {"k": 2})}
    rows = {row["name"]: row for row in catalogue()}
    assert rows["deeds_decayed"]["columns"] == ["deeds_decayed_10d", "deeds_decayed_90d"]
    assert rows["deeds_decayed"]["parameters"] == {"half_life_days": [10, 90]}
    assert rows["second_deed_age"]["parameters"] == {"k": 2}


def test_windows_never_replace_parameters() -> None:
    assert list(_decayed("deeds_decayed", 10, 90).columns((14, 28))) == ["deeds_decayed_10d", "deeds_decayed_90d"]
    both = _kth("deed_age", (2, 3), (30, 90))
    assert list(both.columns()) == ["deed_age_k2_30d", "deed_age_k2_90d", "deed_age_k3_30d", "deed_age_k3_90d"]
    assert list(both.columns((14, 28))) == ["deed_age_k2_14d", "deed_age_k2_28d", "deed_age_k3_14d", "deed_age_k3_28d"]
    assert list(_decayed("deeds_both", 10, days=(30,)).columns()) == ["deeds_both_10d_30d"]


def test_a_derived_feature_names_its_inputs_by_parameter() -> None:
    decayed, kth = _decayed("deeds_decayed", 10, 90), _kth("deed_age", (2, 3), (30, 90))

    @derived(unit="ratio", fill=0, half_life_days=(10, 90))
    def ratio(deeds_decayed: Column, deeds_decayed_90d: Column, deed_age_k3_30d: Column) -> Column:
        """A ratio."""
        return deeds_decayed / deeds_decayed_90d / deed_age_k3_30d

    ten, ninety = Variant(EVER, {"half_life_days": 10}), Variant(EVER, {"half_life_days": 90})
    assert ratio.columns() == {"ratio_10d": ten, "ratio_90d": ninety}
    assert ratio.inputs(ten) == {
        "deeds_decayed": (decayed, ten),
        "deeds_decayed_90d": (decayed, ninety),
        "deed_age_k3_30d": (kth, Variant(30, {"k": 3})),
    }
    check_derived()


def test_sources_of_a_followed_feature() -> None:
    @followed(CALLS, TRANSACTIONS, within_days=3, unit="n", fill=0)
    def bought_after_call() -> tuple[Column, Column]:
        """Purchases after a call."""
        raise AssertionError

    assert bought_after_call.sources == {"calls", "transactions"}


def _derive(*inputs: str, **parameters: tuple[float, ...]) -> Callable[[], None]:
    def declare() -> None:
        _count("deeds")
        _count("ever_done", EVER)
        _kth("deed_age", (2, 3))
        names = {"__name__": __name__}
        exec(f"def of_these({', '.join(inputs)}):\n    'A doc.'\n", names)  # noqa: S102
        derived(unit="n", fill=0, **parameters)(names["of_these"])  # type: ignore[arg-type]
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
        "x: k is 0, want a positive number",
    ),
    "a value twice": (lambda: _kth("x", (2, 2)), r"x: k is \(2, 2\), want .* different whole ones"),
    "no value": (lambda: _kth("x", ()), r"x: k is \(\), want"),
    "a fraction among several": (lambda: _decayed("x", 0.5, 1), r"x: half_life_days is \(0.5, 1\), want .* whole ones"),
    "several values of no parameter": (
        lambda: windowed(TRANSACTIONS, agg="count", unit="n", fill=0, k=(2, 3))(_measure("x")),
        r"x: count takes \[\], got \['k'\]",
    ),
    "another parameter": (
        lambda: windowed(TRANSACTIONS, agg="decayed", unit="n", fill=0, tau=(2, 3))(_measure("x")),
        r"x: decayed takes \['half_life_days'\], got \['tau'\]",
    ),
    "no docstring": (
        lambda: windowed(TRANSACTIONS, agg="sum", unit="n", fill=0)(_measure("x", None)),
        "x: a feature needs a docstring",
    ),
    "window in the name": (lambda: _count("x_30d"), "x_30d: the window is added to a name"),
    "window of no days": (lambda: _count("x", (0, 30)), r"x: days is \(0, 30\)"),
    "window twice": (lambda: _count("x", (30, 30)), r"x: days is \(30, 30\)"),
    "name taken": (
        lambda: (_count("x"), _count("x")),
        "test_declarations already has a feature of that name; rename one",
    ),
    "column taken": (
        lambda: (_kth("x", (2, 3)), _count("x_k3", EVER)),
        "x_k3: test_declarations already has a feature",
    ),
    "name of a column taken": (
        lambda: (_count("x_k3", EVER), _kth("x", (2, 3))),
        "x_k3: test_declarations already has",
    ),
    "unknown feature": (lambda: (_count("deeds"), features("deed")), "named 'deed'; did you mean 'deeds'"),
    "unknown input": (_derive("deed_30d"), "no windowed feature named 'deed'; did you mean 'deeds'"),
    "input without its window": (_derive("deeds"), "deeds is no column of deeds; write deeds_30d, or declare days"),
    "input with a window it has not": (_derive("ever_done_30d"), "is no column of ever_done; write ever_done"),
    "input without its parameter": (
        _derive("deed_age"),
        "deed_age is no column of deed_age; write deed_age_k2, or declare k",
    ),
    "input of another value": (_derive("deed_age", k=(2, 4)), "deed_age is no column of deed_age; write deed_age_k2"),
    "input of an unknown value": (
        _derive("deed_age_k4"),
        "no windowed feature named 'deed_age_k4'; did you mean 'deed_age_k",
    ),
    "parameter without a use": (
        _derive("deed_age_k2", period_days=(30, 60)),
        "of_these: period_days is neither an argument nor a parameter of an input",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    declare, message = REFUSED[case]
    with pytest.raises(BadInputError, match=message):
        declare()


def test_the_reference_page_is_that_of_the_catalogue() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "features.md"
    assert page.read_text("utf-8") == markdown(), "generate it again: see docs/add-a-feature.md"
