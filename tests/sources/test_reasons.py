"""Groups of reasons by a company's words."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from churn.config import Reasons, Source, load
from churn.errors import ConfigError
from churn.sources.catalog.calls import CALLS
from churn.sources.ingest import validate
from churn.sources.reasons import reason_groups, ungrouped_reasons
from churn.testing import frame

REASONS = "reason string, queue string"


def groups(spark: SparkSession, rows: list[tuple[str | None, str | None]], reasons: Reasons) -> list[str | None]:
    numbered = frame(spark, [(number, *row) for number, row in enumerate(rows)], f"number int, {REASONS}")
    found = numbered.selectExpr("number", f"{reason_groups(Source(reasons=reasons))} AS groups").orderBy("number")
    return [row["groups"] for row in found.collect()]


@pytest.mark.parametrize(
    ("word", "found", "not_found"),
    [
        ("port", ["port", "PORT out", "re: port-in", "no_port"], ["support", "ports", "port2"]),
        ("cancel%", ["cancel", "Cancelled by phone", "to_cancel"], ["uncancelled"]),
        ("%port", ["support", "port"], ["ports"]),
        ("%port%", ["supporters", "port"], ["por t"]),
        ("close%account", ["close my account", "close-account", "closed account"], ["close", "account close"]),
        (
            "close account",
            ["close_account", "Close  Account!", "to close-account"],
            ["closeaccount", "close my account"],
        ),
        ("Kündigung%", ["KÜNDIGUNGEN", "kundigung", "Ku\u0308ndigung"], ["Kuendigung", "Vertragskündigung"]),
        ("Außenstände", ["AUSSENSTÄNDE", "aussenstande"], ["Außenstand"]),
        ("ЖАЛОБА", ["жалоба клиента"], ["жалобы"]),
        ("解約%", ["解約 申込", "解約申込"], ["約"]),
        ("C&A (neu)", ["c&a neu", "C & A: neu"], ["ca neu"]),
        ("10% off", ["10 minutes off"], ["110 off"]),  # % stands for anything in a word of the owner's
    ],
)
def test_what_a_word_is_found_in(spark: SparkSession, word: str, found: list[str], not_found: list[str]) -> None:
    nothing = dict.fromkeys(Reasons.model_fields, ())
    reasons = Reasons(**{**nothing, "leaving": (word,)})
    rows: list[tuple[str | None, str | None]] = [(text, None) for text in found + not_found]
    assert groups(spark, rows, reasons) == ["leaving"] * len(found) + [None] * len(not_found)


def test_a_call_is_in_every_group_of_its_reason_and_queue(spark: SparkSession) -> None:
    rows: list[tuple[str | None, str | None]] = [
        ("Billing complaint", None),
        ("information", "retention"),
        ("close", "account desk"),  # a phrase does not go over from the reason to the queue
        ("PIN forgotten", "service"),
        ("opinion", "spin"),
        (None, None),
        ("", ""),
    ]
    assert groups(spark, rows, Reasons()) == [
        "complaint billing",
        "leaving",
        None,
        "technical access",
        None,
        None,
        None,
    ]
    none = Reasons(**dict.fromkeys(Reasons.model_fields, ()))
    assert groups(spark, rows[:1], none) == [None]


def test_a_frame_without_groups_has_the_english_ones(spark: SparkSession) -> None:
    calls = frame(
        spark, [("a", "2026-01-01", "cancellation")], "customer_id string, event_time timestamp, reason string"
    )
    complete = CALLS.with_defaults(calls)
    assert complete.columns == [*calls.columns, "reason_groups", "utc_offset", "is_day_off"]
    assert [row["reason_groups"] for row in complete.collect()] == ["leaving"]
    assert CALLS.with_defaults(complete) is complete
    of_company = calls.selectExpr("*", "'billing' AS reason_groups")  # its own classification stays
    assert [row["reason_groups"] for row in CALLS.with_defaults(of_company).collect()] == ["billing"]


def test_validate_names_the_reasons_in_no_group(spark: SparkSession, tmp_path: Path) -> None:
    lines = [("Beschwerde Rechnung", 3), ("Umzug", 2), ("Vertrag", 4), ("", 1)]
    reasons = [reason for reason, times in lines for _ in range(times)]
    rows = "".join(f"{n},c{n},2026-01-01 10:00:00,{reason}\n" for n, reason in enumerate(reasons))
    (tmp_path / "calls.csv").write_text(f"call_id,customer_id,event_time,reason\n{rows}", "utf-8")
    (tmp_path / "churn.toml").write_text("[reasons]\ncomplaint = ['Beschwerde']\n[sources.calls]\npath = 'calls.csv'\n")
    (report,) = validate(spark, load(tmp_path / "churn.toml"))
    assert report.row.accepted == 10
    expected = (
        "calls: 67 % of 9 with a reason are in no group of [reasons]; the most frequent reasons there are"
        " 'Vertrag' (4), 'Umzug' (2); add their words to [reasons] where they belong to one"
    )
    assert expected in report.notes
    with (tmp_path / "churn.toml").open("a") as file:
        file.write("personal = ['reason']\n")
    (report,) = validate(spark, load(tmp_path / "churn.toml"))
    assert any("reasons there are 'Xxxxxxx' (4), 'Xxxxx' (2);" in note for note in report.notes)


def test_without_reasons_there_is_no_note(spark: SparkSession) -> None:
    rows = frame(spark, [(None, None, None)], f"{REASONS}, reason_groups string")
    assert ungrouped_reasons(rows) is None
    all_grouped = frame(
        spark, [("Umzug", None, "leaving"), (None, "retention", "leaving")], f"{REASONS}, reason_groups string"
    )
    assert ungrouped_reasons(all_grouped) == "calls: 0 % of 2 with a reason are in no group of [reasons]"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("complaints = ['x']", r"\[reasons\] has no setting 'complaints'; did you mean 'complaint'\?"),
        ("leaving = ['x', '%']", r"leaving\[1\] is '%', want a word with a letter or a digit"),
        ("leaving = 'x'", r"leaving is 'x', want a list"),
    ],
)
def test_settings_of_reasons_are_checked(tmp_path: Path, setting: str, message: str) -> None:
    (tmp_path / "churn.toml").write_text(f"[reasons]\n{setting}\n")
    with pytest.raises(ConfigError, match=message):
        load(tmp_path / "churn.toml")


def test_a_group_that_is_not_named_has_the_english_patterns(tmp_path: Path) -> None:
    (tmp_path / "churn.toml").write_text(
        "[reasons]\nbilling = ['Rechnung%']\naccess = []\n[sources.calls]\npath = 'x'\n"
    )
    reasons = load(tmp_path / "churn.toml").sources["calls"].reasons
    assert (reasons.billing, reasons.access, reasons.leaving) == (("Rechnung%",), (), Reasons().leaving)
