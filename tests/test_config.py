from __future__ import annotations

import re
import tomllib
from dataclasses import fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from churn.config import Column, Expect, RawInput, Source, load
from churn.errors import ConfigError, LeakageError
from churn.validation import Frozen, validated


def write(folder: Path, text: str) -> Path:
    path = folder / "churn.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_whole_file_is_read_with_its_paths_absolute_and_its_variables_filled_in(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [storage]
        root = "s3a://${BUCKET}/lake"
        [tracking]
        uri = "sqlite:///runs/mlflow.db"
        experiment = "autumn"
        [sources.calls]
        format = "csv"
        path = "${NOT_SET:-../data}/calls.csv"
        zone = "Europe/Paris"
        max_quarantined = 0.25
        options = { sep = ";", multiLine = true }
        columns = { call_id = "id", talk_seconds = "cast(t as int)" }
        reject = { test = "id like 'T%'" }
        expect = { rows = 10, days = 2 }
        [model.churn]
        lead = 0
        [spark]
        "spark.sql.shuffle.partitions" = 8
        """,
    )

    config = load(path, env={"BUCKET": "company"})

    assert config.root == "s3a://company/lake"
    assert config.tracking_uri == f"sqlite:///{tmp_path}/runs/mlflow.db"
    assert config.experiment == "autumn"
    assert config.models == {"churn": {"lead": 0}}
    assert config.spark == {"spark.sql.shuffle.partitions": "8"}
    assert config.sources == {
        "calls": Source(
            name="calls",
            file=path,
            format="csv",
            path=str(tmp_path.parent / "data" / "calls.csv"),
            zone="Europe/Paris",
            options={"sep": ";", "multiLine": "true"},
            columns={"call_id": Column(sql="id"), "talk_seconds": Column(sql="cast(t as int)")},
            reject={"test": "id like 'T%'"},
            expect=Expect(rows=10, days=2),
            max_quarantined=0.25,
        )
    }


def test_an_empty_file_keeps_the_lake_and_the_runs_beside_itself(tmp_path: Path) -> None:
    config = load(write(tmp_path, ""))

    assert config.root == str(tmp_path / "lake")
    assert config.tracking_uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert config.experiment == "churn"
    assert (config.sources, config.models, config.spark) == ({}, {}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[storag]\nroot = 'x'", "churn.toml line 1: has no setting 'storag'; did you mean 'storage'?"),
        ("[storage]\nrot = 'x'", "churn.toml line 2: [storage] has no setting 'rot'; did you mean 'root'?"),
        ("[storage]\nroot = 3", "churn.toml line 2: [storage] root is 3, want text"),
        ("[plan]\ndays = 999999999", "churn.toml line 2: [plan] days is 999999999, want at most 36500 days"),
        (
            "[offers.gift]\ncost = 1.0\nacceptance = 0.5\nbudget = inf",
            "churn.toml line 4: [offers.gift] budget is inf, want a finite number from 0",
        ),
        ("[value]\nseed = -1", "churn.toml line 2: [value] seed is -1, want a whole number from 0 below 4294967296"),
        ("sources = 3", "churn.toml line 1: sources is 3, want a section [sources]"),
        ("[sources.calls]", "churn.toml line 1: [sources.calls] lacks 'path'; add path = \"...\""),
        (
            "[sources.calls]\npath = 'x'\nzoen = 'UTC'",
            "churn.toml line 3: [sources.calls] has no setting 'zoen'; did you mean 'zone'?",
        ),
        (
            "[sources.calls]\npath = 'x'\nzone = 'Europe/Pari'",
            (
                "churn.toml line 3: [sources.calls] zone is 'Europe/Pari', want an IANA name such as 'Europe/Paris';"
                " did you mean 'Europe/Paris'?"
            ),
        ),
        (
            "[sources.calls]\npath = 'x'\nformat = 'cvs'",
            (
                "churn.toml line 3: [sources.calls] format is 'cvs', want one of csv, json, parquet, delta, jdbc,"
                " query; did you mean 'csv'?"
            ),
        ),
        (
            "[sources.calls]\nformat = 'jdbc'\noptions = { url = 'jdbc:x' }",
            "churn.toml line 3: [sources.calls.options] lacks a place; add url and dbtable (or query)",
        ),
        (
            "[sources.calls]\npath = 'x'\nmax_quarantined = 50",
            "churn.toml line 3: [sources.calls] max_quarantined is 50, want a number from 0 to 1",
        ),
        (
            "[sources.calls]\npath = 'x'\n[sources.calls.expect]\nrows = 1.5",
            "churn.toml line 4: [sources.calls.expect] rows is 1.5, want a whole number from 0",
        ),
        (
            "[sources.calls]\npath = 'x'\n[sources.calls.expect]\nday = 1",
            "churn.toml line 4: [sources.calls.expect] has no setting 'day'; did you mean 'days'?",
        ),
        (
            "[sources.calls]\npath = 'x'\n[sources.calls.columns]\ntransfers = 0",
            (
                "churn.toml line 4: [sources.calls.columns.transfers] is 0, want a Spark SQL expression in quotes,"
                ' such as "other_name"'
            ),
        ),
        (
            "[sources.calls]\npath = '${NOWHERE}/x'",
            (
                "churn.toml line 2: [sources.calls] path is '${NOWHERE}/x', but the environment has no NOWHERE; set it,"
                " or write ${NOWHERE:-default}"
            ),
        ),
        (
            "[sources.calls]\npath = 'x'\nlook_back = 2",
            'churn.toml line 3: [sources.calls] look_back needs a path with a day in it, such as "calls/${day}.csv"',
        ),
        (
            "[sources.calls]\npath = 'x'\nname = 'calls'",  # the code's, not the file's
            (
                "churn.toml line 3: [sources.calls] has no setting 'name'; known: accept, columns, expect, footer,"
                " footer_lines, format, header_line, look_back, max_quarantined, maximum, nulls, options, path,"
                " personal, query, reject, rows, stream, types, zone"
            ),
        ),
        (
            "[sources.calls]\npath = 'x/${day:YYYYMMDD}.csv'",
            (
                "churn.toml line 2: [sources.calls] path has ${day:YYYYMMDD}, in which YYYY is no part of a day; write"
                " ${day:yyyyMMdd}"
            ),
        ),
        (
            "[inputs.calls]\npath = '${day:%d-%m-%y}.csv'",
            (
                "churn.toml line 2: [inputs.calls] path has ${day:%d-%m-%y}, in which %d is no part of a day; write"
                " ${day:dd-MM-yy}"
            ),
        ),
        (
            "[sources.calls]\npath = '${day:yyyyMMddHH}.csv'",
            (
                "churn.toml line 2: [sources.calls] path has ${day:yyyyMMddHH}, in which HH is no part of a day; its"
                " parts are yyyy, yy, MM, M, dd, d, DDD (the day of the year); text stands outside of ${...}, and * for"
                " an hour"
            ),
        ),
        (
            "[sources.calls]\npath = 'y=${day:yyyy}/m=${day:MM}/x.csv'",
            (
                "churn.toml line 2: [sources.calls] path has ${day:yyyy}/m=${day:MM}, which is 2023/m=01 on 2023-01-01"
                " and on 2023-01-02 alike; write year, month and day, such as ${day:yyyyMMdd}"
            ),
        ),
        (
            "[sources.calls]\npath = '${day:yyyyMd}.csv'",
            (
                "churn.toml line 2: [sources.calls] path has ${day:yyyyMd}, which is 2023111 on 2023-01-11 and on"
                " 2023-11-01 alike; write year, month and day, such as ${day:yyyyMMdd}"
            ),
        ),
        (
            "[sources.calls]\npath = '${day:yyyy}/{a,b}/${day:MMdd}.csv'",
            (
                "churn.toml line 2: [sources.calls] path has ${day:yyyy}/{a,b}/${day:MMdd}, with alternatives between"
                " its days; write * in place of {...} there"
            ),
        ),
        (
            "[storage]\nroot = 'lake/${day:yyyy}'",
            (
                "churn.toml line 2: [storage] root is 'lake/${day:yyyy}', but only the path of a source or an input has"
                " days"
            ),
        ),
        (
            "[sources.calls]\npath = 'x'\nstream = { path = '/in/${day}' }",
            (
                "churn.toml line 3: [sources.calls.stream] path is '/in/${day}', want the folder in which files of all"
                " days arrive"
            ),
        ),
        (
            "[sources.calls]\npath = 'x'\nrows = 'a[*]'",
            (
                'churn.toml line 3: [sources.calls] rows is read where format = "json", and here it is "csv"; drop it,'
                " or set format"
            ),
        ),
        (
            "[inputs.calls]\npath = 'x'\nformat = 'parquet'\nheader_line = 2\nfooter_lines = 1\nfooter = '^T'",
            "\n".join(
                f'churn.toml line {line}: [inputs.calls] {name} is read where format = "csv", and here it is "parquet";'
                " drop it, or set format"
                for line, name in ((4, "header_line"), (5, "footer_lines"), (6, "footer"))
            ),
        ),
        (
            "[sources.calls]\nformat = 'jdbc'\npath = 'x'\noptions = { url = 'jdbc:x', dbtable = 't' }",
            (
                "churn.toml line 3: [sources.calls] path is not read by jdbc, whose place is url and dbtable (or query)"
                " under options; drop it"
            ),
        ),
        (
            "[stream]\nfiles = true",
            "churn.toml line 2: [stream] files is True, want a whole number from 1 to 1000000000",
        ),
        ("[stream]\nrows = '3'", "churn.toml line 2: [stream] rows is '3', want a whole number from 1 to 1000000000"),
        (
            "[stream]\nbuckets = 10001",
            "churn.toml line 2: [stream] buckets is 10001, want a whole number from 1 to 10000",
        ),
        ("[storage]\nroot = ['x']", "churn.toml line 2: [storage] root is ['x'], want text"),
        ("[spark]\na = ' '", "churn.toml line 2: [spark] a is ' ', want text"),
        ("[model]\nchurn = 3", "churn.toml line 2: [model] churn is 3, want a section [model.churn]"),
        ("catalog = 3", "churn.toml line 1: catalog is 3, want text"),
        ("[tracking]\nuri = ''", "churn.toml line 2: [tracking] uri is '', want a path or a URI"),
        *(
            (
                text,
                f"churn.toml {place} is '~no-one/x', and that user has no home folder; write the path without ~",
            )
            for text, place in (
                ("[storage]\nroot = '~no-one/x'", "line 2: [storage] root"),
                ("[tracking]\nuri = 'sqlite:///~no-one/x'", "line 2: [tracking] uri"),
                ("catalog = '~no-one/x'", "line 1: catalog"),
            )
        ),
        ("[storage", "churn.toml: not valid TOML: Expected ']' at the end of a table declaration (at end of document)"),
    ],
)
def test_what_cannot_be_right_is_named_with_the_next_step(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, text), env={})
    assert str(error.value) == message


def test_all_wrong_settings_of_a_file_are_listed_at_once_in_its_order(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """# the lake is kept where it is by default
[sources.calls]
path = 3
columns.reason = '''
case topic
zone = 'a line of the text above'
end'''
zone = "Mars"

[sources."calls".expect]
"rows" = -1
[sources.closures]
options = { sep = ";", quote = [] }
[stroage]
""",
    )

    with pytest.raises(ConfigError) as error:
        load(path, env={})

    assert str(error.value).splitlines() == [
        "churn.toml line 3: [sources.calls] path is 3, want text",
        "churn.toml line 8: [sources.calls] zone is 'Mars', want an IANA name such as 'Europe/Paris'",
        "churn.toml line 11: [sources.calls.expect] rows is -1, want a whole number from 0",
        "churn.toml line 12: [sources.closures] lacks 'path'; add path = \"...\"",
        "churn.toml line 13: [sources.closures.options] quote is [], want text",
        "churn.toml line 14: has no setting 'stroage'; did you mean 'storage'?",
    ]


class Window(Frozen):
    lead: Annotated[int, Field(ge=0)] = 7
    days: tuple[Annotated[int, Field(ge=1)], ...] = (30,)

    @model_validator(mode="after")
    def _leads(self) -> Window:
        if self.lead in self.days:
            raise ValueError("lead must not be one of days")
        if self.lead == 99:
            raise LeakageError("lead of 99 days")
        return self


class Model(Frozen):
    label: Literal["closure", "inactivity"] = "closure"
    limit: float | None = None
    window: Window = Window()


SETTINGS = """
[model.churn]
label = "closed"
limit = "2"
[model.churn.window]
lead = true
days = [
  30,
  0,
]
[model.other]
"""


def test_settings_given_as_mappings_are_listed_by_the_lines_of_their_section(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        validated(Model, tomllib.loads(SETTINGS)["model"]["churn"], text=SETTINGS, section="model.churn")

    assert str(error.value).splitlines() == [
        "churn.toml line 3: [model.churn] label is 'closed', want one of closure, inactivity; did you mean 'closure'?",
        "churn.toml line 4: [model.churn] limit is '2', want a number",
        "churn.toml line 6: [model.churn.window] lead is True, want a whole number from 0",
        "churn.toml line 7: [model.churn.window] days[1] is 0, want a whole number from 1",
    ]


def test_a_rule_of_a_whole_section_names_the_section_and_a_file_without_text_no_line() -> None:
    values = {"window": {"lead": 30}}

    with pytest.raises(ConfigError) as error:
        validated(Model, values, section="model.other", text=SETTINGS)
    assert str(error.value) == "churn.toml line 11: [model.other.window] lead must not be one of days"

    with pytest.raises(ConfigError) as error:
        validated(Model, values, section="model.other", where="models/other.py")
    assert str(error.value) == "models/other.py: [model.other.window] lead must not be one of days"


def test_settings_are_frozen_with_lists_as_tuples_and_a_leak_is_a_leak() -> None:
    model = validated(Model, {"limit": 2, "window": {"days": [1, 2]}})

    assert model == Model(limit=2.0, window=Window(days=(1, 2)))
    with pytest.raises(ValidationError, match="frozen"):
        model.limit = 3.0  # type: ignore[misc]
    with pytest.raises(LeakageError, match=r"^lead of 99 days$"):
        validated(Model, {"window": {"lead": 99}})


def test_the_catalog_is_the_folder_beside_the_file_or_a_named_one(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    assert load(path).catalog is None

    (tmp_path / "catalog").mkdir()
    assert load(path).catalog == tmp_path / "catalog"

    (tmp_path / "ours").mkdir()
    assert load(write(tmp_path, 'catalog = "${OURS}"'), env={"OURS": "ours"}).catalog == tmp_path / "ours"

    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, 'catalog = "theirs"'))
    assert str(error.value) == (
        f"churn.toml line 1: catalog is 'theirs', but there is no folder {tmp_path}/theirs; make it, or drop the"
        " setting"
    )


def test_a_source_is_replaced_without_the_checks_of_the_file(tmp_path: Path) -> None:
    source = load(write(tmp_path, '[sources.calls]\npath = "${day}.csv"\nlook_back = 3')).sources["calls"]

    assert (source.name, source.file, source.path) == ("calls", tmp_path / "churn.toml", f"{tmp_path}/${{day}}.csv")
    assert replace(source, path="2026-09-30.csv").look_back == 3


def test_a_missing_file_tells_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"no such file; make one with: churn init {tmp_path}"):
        load(tmp_path / "churn.toml")


def test_the_template_shows_how_files_are_read() -> None:
    template = (files("churn") / "templates" / "churn.toml").read_text("utf-8")
    settings = [one.name for one in fields(RawInput) if one.name not in ("name", "file", "last_files")]
    assert [name for name in settings if not re.search(rf"\b{name}( =|\])", template)] == []


def test_the_template_is_a_configuration(tmp_path: Path) -> None:
    config = load(write(tmp_path, (files("churn") / "templates" / "churn.toml").read_text("utf-8")))

    assert list(config.sources) == ["transactions"]
    assert config.sources["transactions"].columns["kind"].sql == "'purchase'"
