"""The rows that uplift is learnt from: who was contacted or held out, with features from before and an outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Final

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    DataType,
    DateType,
    NullType,
    NumericType,
    StringType,
    TimestampNTZType,
    TimestampType,
)

from churn.config import NULLS, Config, Source, Uplift
from churn.dataset.cohort import as_of_frame, open_accounts
from churn.dataset.column_summary import GREATEST, greatest, map_in_arrow
from churn.errors import BadInputError, ConfigError, form, nearest
from churn.features import customer_features, features
from churn.labels.closure import Closure
from churn.model_spec import LabelWindow, Sources
from churn.sampling import drawn
from churn.sources.activity import is_activity
from churn.sources.announcements import is_closing
from churn.sources.closed_accounts import closed_accounts
from churn.sources.completeness import ALWAYS, complete_until
from churn.sources.contacts import is_treated
from churn.sources.expressions import check_expression, check_frame
from churn.sources.functions import expanded, tokens
from churn.sources.query_inputs import read_input
from churn.sources.spark_errors import SPARK_ERRORS, first_line, plain_line, unlogged
from churn.sources.versions import known_by
from churn.storage import literal, quoted
from churn.training.preparation import DRAW, ORDER

KEY: Final = "_key"
"""A hash of the row's content: rows are in its order, whatever their partitions were."""
CUSTOMER: Final = "_customer"
"""A hash of the customer; 0 in every row = each row is a customer of its own."""
TREATED: Final = "_treated"
"""Whether the row is of the treated, not of those held out."""
OUTCOME: Final = "_outcome"
"""0 or 1."""
CAMPAIGN: Final = "_campaign"
COST: Final = "_cost"
NOT_CHOSEN: Final = 100_000
"""About so many rows at most of customers who were not chosen."""
FAMILIES: Final = ("calls", "spending", "account", "crossover")
WINDOWS: Final = (30, 90, 180)

_OTHER: Final = {"treated": "_other_treated", "outcome": "_other_outcome"}
"""Columns of the values of a condition that are neither true nor false."""
_CONDITIONS: Final = {"treated": "\"segment = 'mail'\"", "outcome": '"visits > 0"'}
_FREQUENT: Final = 20
"""A value is shown in a message if so many rows have it."""
_SHOWN: Final = 5
_TAKEN: Final = {"as_of", "label", "vector", "uplift", KEY, CUSTOMER, ORDER, DRAW, TREATED, OUTCOME, CAMPAIGN, COST}
"""Names that a feature cannot have: rows are packed, and the model has columns, by these."""


@dataclass(frozen=True)
class UpliftRows:
    """`rows` have KEY, CUSTOMER, TREATED (boolean), OUTCOME (0 or 1), CAMPAIGN (text), COST (a double), and the columns
    `numbers` (doubles) and `texts`; those of contacts have `offer` too, null where none was made or named.
    `counts` says what became of every row that was read."""

    rows: DataFrame
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    counts: Mapping[str, int]
    outcome: str
    """As a sentence has it: "stayed for 60 days"."""
    not_chosen: DataFrame | None = None
    """KEY, CUSTOMER, OUTCOME and the columns of customers who were not chosen for a campaign, on the days of the
    contacts; a sample. None where nothing is known of them."""


def uplift_rows(spark: SparkSession, config: Config, sources: Sources) -> UpliftRows:
    """The rows that `[uplift]` names. Raises ConfigError for SQL or columns that do not fit the input; BadInputError
    where it cannot be read, or where the accepted tables lack what the outcome needs."""
    if config.uplift.input is not None:
        return _of_input(spark, config, config.uplift.input)
    return contact_rows(config.uplift, sources)


# ---------------------------------------------------------------- a log with columns of its own


def _of_input(spark: SparkSession, config: Config, name: str) -> UpliftRows:
    uplift, setting = config.uplift, config.inputs[name]
    found = read_input(spark, Source(), setting, with_file=False)
    log = _Log(spark, uplift, found.table, config.path.name)
    every = found.raw.count()
    kinds = {field.name: field.dataType for field in log.table.schema}
    chosen = _chosen_columns(uplift, kinds, log)
    of_arms = log.named(uplift.treated) | log.named(uplift.outcome) | log.named(uplift.cost)
    needed = {name: kind for name, kind in kinds.items() if name in {*chosen, *of_arms}}
    as_numbers, fractions = _numbers(log.table, needed)
    numbers = {name: as_numbers[name] for name in chosen if name in as_numbers}
    texts = [name for name in chosen if name not in numbers]
    log = log.keyed({name: as_numbers[name] for name in fractions if name in of_arms})
    customer = "0L"
    if uplift.customer:
        named = log.expression("customer", uplift.customer)
        customer = f"if({named} IS NULL, {KEY}, xxhash64(string{named}))"
    conditions = {name: log.condition(name, getattr(uplift, name)) for name in ("treated", "outcome")}
    rows = log.select(
        KEY,
        f"{customer} AS {CUSTOMER}",
        f"{conditions['treated'].sql} AS {TREATED}",
        f"int({conditions['outcome'].sql}) AS {OUTCOME}",
        f"string({log.expression('campaign', uplift.campaign)}) AS {CAMPAIGN}",
        f"try_cast({log.expression('cost', uplift.cost)} AS double) AS {COST}",
        *(f"{value} AS {quoted(column)}" for column, value in numbers.items()),
        *(f"string({quoted(column)}) AS {quoted(column)}" for column in texts),
        *(f"{of.other} AS {_OTHER[name]}" for name, of in conditions.items()),
    )
    (count,) = rows.selectExpr(
        "count(*) AS readable",
        f"count_if({TREATED}) AS treated",
        f"count_if(NOT {TREATED}) AS held_out",
        f"count_if({TREATED} IS NULL) AS in_no_arm",
        f"count_if({TREATED} IS NOT NULL AND {OUTCOME} IS NULL) AS without_outcome",
        *(f"count({column}) AS {column}" for column in _OTHER.values()),
        *(f"min({column}) AS {column}_example" for column in _OTHER.values()),
    ).collect()
    for condition, column in _OTHER.items():
        if count[column]:
            raise ConfigError(
                f"{log.setting(condition)} is neither true nor false in {count[column]:,} of {count['readable']:,} "
                f"rows, such as {form(count[f'{column}_example'])!r}; want a condition, such as "
                f"{_CONDITIONS[condition]}{log.values(getattr(uplift, condition))}"
            )
    if empty := [arm for arm in ("treated", "held_out") if not count[arm]]:
        raise ConfigError(
            f"{log.setting('treated')} leaves no row {empty[0].replace('_', ' ')}: it is true in {count['treated']:,}, "
            f"false in {count['held_out']:,} and null in {count['in_no_arm']:,} of {count['readable']:,} rows; correct "
            f"it, so that both arms have rows{log.values(uplift.treated)}"
        )
    used = count["readable"] - count["in_no_arm"] - count["without_outcome"]
    counts = {"rows_in": every, "used": used, "unreadable": every - count["readable"]}
    counts |= {name: count[name] for name in ("in_no_arm", "without_outcome")}
    used_rows = rows.where(f"{TREATED} IS NOT NULL AND {OUTCOME} IS NOT NULL").drop(*_OTHER.values())
    return UpliftRows(used_rows, tuple(numbers), tuple(texts), counts, uplift.outcome)


@dataclass(frozen=True)
class _Condition:
    """A condition in SQL, null where its value is neither true nor false; `other` is that value as text, else null."""

    sql: str
    other: str


@dataclass(frozen=True)
class _Log:
    """The readable rows of an input, and SQL over their columns, checked."""

    spark: SparkSession
    uplift: Uplift
    table: DataFrame
    file: str

    def expression(self, setting: str, text: str | None) -> str:
        """What may run. Raises ConfigError for what reads the clock or calls what is not allowed."""
        if text is None:
            return "null"
        if refused := check_expression(self.spark, text, self.table.columns):
            raise ConfigError(f"{self.setting(setting)} {refused}")
        plain = expanded(text)
        try:
            with unlogged():
                analysed = self.table.selectExpr(plain)
                problems = check_frame(analysed)
        except SPARK_ERRORS as error:
            message = plain_line(error)
            raise ConfigError(f"{self.setting(setting)} cannot run: {message}") from None
        if problems or len(analysed.columns) != 1:
            raise ConfigError(f"{self.setting(setting)} {'; '.join(problems) or 'is not one value'}")
        return f"({plain}\n)"

    def condition(self, setting: str, text: str | None) -> _Condition:
        """A condition, or what says yes or no: 1 and 0, and the words that Spark takes for a boolean.

        Raises ConfigError for any other kind of value."""
        sql = self.expression(setting, text)
        kind = self.select(f"{sql} AS value").schema[0].dataType
        if isinstance(kind, BooleanType | NullType):
            return _Condition(f"boolean{sql}", "string(null)")
        if isinstance(kind, NumericType):
            condition = f"CASE WHEN {sql} = 1 THEN true WHEN {sql} = 0 THEN false END"
        elif isinstance(kind, StringType):
            condition = f"try_cast({sql} AS boolean)"
        else:
            raise ConfigError(
                f"{self.setting(setting)} is {kind.simpleString()}, want a condition, such as {_CONDITIONS[setting]}"
            )
        return _Condition(condition, f"if(({condition}) IS NULL, string{sql}, null)")

    def keyed(self, numbers: Mapping[str, str]) -> _Log:
        """The same rows with a hash of their content, and with these columns as numbers."""
        columns = self.table.columns
        by_content = f"xxhash64({', '.join(quoted(column) for column in columns)}) AS {KEY}"
        typed = [f"{numbers.get(column, quoted(column))} AS {quoted(column)}" for column in columns]
        return replace(self, table=self.table.selectExpr(*typed, by_content))

    def setting(self, name: str) -> str:
        """A setting as a message names it."""
        return f"{self.file}: [uplift] {name} = {getattr(self.uplift, name)!r}"

    def values(self, text: str | None) -> str:
        """For a message: the most frequent values of the columns that an expression reads, without rare ones, which may
        be of a person."""
        shown = []
        for name in sorted(self.named(text)):
            counted = self.table.groupBy(F.col(quoted(name)).cast("string").alias("value")).count()
            frequent = counted.where(F.col("count") >= _FREQUENT).orderBy(F.desc("count"), "value").take(_SHOWN)
            shown += [f"{name} is {row['value']!r} in {row['count']:,} rows" for row in frequent]
        return "".join(f"; {one}" for one in shown)

    def select(self, *columns: str) -> DataFrame:
        """Raises ConfigError where they cannot be computed together."""
        try:
            with unlogged():
                return self.table.selectExpr(*columns)
        except SPARK_ERRORS as error:
            raise ConfigError(f"{self.file}: [uplift] cannot run: {first_line(error)}") from None

    def named(self, text: str | None) -> set[str]:
        """The columns whose names are parts of an expression."""
        named = {part.text.strip("`").lower() for part in tokens(text or "")}
        return {column for column in self.table.columns if column.lower() in named}


def _chosen_columns(uplift: Uplift, columns: Mapping[str, DataType], log: _Log) -> list[str]:
    """The columns that `features` names, in the order of the input; those that tell the arm or the outcome are no
    features. Raises ConfigError where a name or a pattern fits none."""
    known_after = log.named(uplift.treated) | log.named(uplift.outcome)
    beside = known_after | log.named(uplift.cost) | log.named(uplift.customer)
    chosen: dict[str, None] = {}
    for pattern in uplift.features:
        fitting = [name for name in columns if _fits(name, pattern)]
        if not fitting:
            raise ConfigError(f"{log.file}: [uplift] features {pattern!r} is no column{nearest(pattern, columns)}")
        if pattern in known_after:
            raise ConfigError(
                f"{log.file}: [uplift] features {pattern!r} tells the arm or the outcome of a row, which nobody knows "
                "before the contact; drop it"
            )
        chosen |= dict.fromkeys(fitting)
    for pattern in uplift.exclude:
        if not any(_fits(name, pattern) for name in columns):
            raise ConfigError(f"{log.file}: [uplift] exclude {pattern!r} is no column{nearest(pattern, columns)}")
    left = [
        name
        for name in columns
        if name in chosen and name not in beside and not any(_fits(name, one) for one in uplift.exclude)
    ]
    readable = (NumericType, BooleanType, StringType, DateType, TimestampType, TimestampNTZType)
    if wrong := [name for name in left if not isinstance(columns[name], readable)]:
        raise ConfigError(
            f"{log.file}: [uplift] features {wrong[0]!r} is {columns[wrong[0]].simpleString()}, want a number, a text "
            "or a time; name it in exclude"
        )
    if taken := [name for name in left if name.lower() in _TAKEN]:
        raise ConfigError(
            f"{log.file}: [uplift] features {taken[0]!r} has a name that a column of the model has; name it in exclude"
        )
    if not left:
        raise ConfigError(f"{log.file}: [uplift] features names no column that is left to learn from")
    return left


def _fits(name: str, pattern: str) -> bool:
    """Whether a pattern is the name of a column, as it is written, or fits it.

    >>> _fits("price [EUR]", "price [EUR]"), _fits("price [EUR]", "price*"), _fits("price E", "price [EUR]")
    (True, True, True)
    """
    return name == pattern or fnmatchcase(name, pattern)


def _numbers(table: DataFrame, kinds: Mapping[str, DataType]) -> tuple[dict[str, str], list[str]]:
    """The columns that are numbers, each as a double in SQL: text too, where every value is one; times are days. Then
    those that are text, some of whose numbers are not whole."""
    numbers: dict[str, str] = {}
    for name, kind in kinds.items():
        column = quoted(name)
        if isinstance(kind, NumericType | BooleanType):
            numbers[name] = f"double({column})"
        elif isinstance(kind, DateType | TimestampType | TimestampNTZType):
            numbers[name] = f"unix_seconds(timestamp({column})) / 86400D"
        elif isinstance(kind, StringType):
            numbers[name] = f"try_cast({column} AS double)"
    numbers = {name: f"nullif({value}, double('NaN'))" for name, value in numbers.items()}
    texts = [name for name, kind in kinds.items() if isinstance(kind, StringType)]
    fractions = []
    if texts:  # 0 = no value, 1 = a whole number, 2 = a number with a fraction, 3 = text
        no_values = ", ".join(literal(word) for word in NULLS)
        cells = table.selectExpr(
            *(
                f"CASE WHEN {numbers[name]} IS NOT NULL THEN if(try_cast({quoted(name)} AS bigint) IS NULL, 2Y, 1Y)"
                f" WHEN coalesce(lower({quoted(name)}) IN ({no_values}), true) THEN 0Y ELSE 3Y END AS {quoted(name)}"
                for name in texts
            )
        )
        found = map_in_arrow(cells, greatest, GREATEST).collect()
        for name, *codes in zip(texts, *(row["greatest"] for row in found), strict=True):
            code = max(codes, default=0)
            if code not in (1, 2):
                del numbers[name]
            if code == 2:
                fractions.append(name)
    return numbers, fractions


# ---------------------------------------------------------------- the company's own contacts


def contact_rows(uplift: Uplift, sources: Sources, *, by: datetime = ALWAYS) -> UpliftRows:
    """Contacts with what was known at the midnight before them, and the outcomes since, as they were known `by` a time.

    Raises BadInputError where there are none, or the accepted tables lack what the outcome or all features need.
    """
    if "contacts" not in sources:
        raise BadInputError(
            "there are no accepted contacts to learn uplift from; map [sources.contacts] in churn.toml and ingest it, "
            "or name the 'input' of [uplift]"
        )
    contacts = sources["contacts"].where(known_by(F.lit(by)) & (F.col("event_time") < F.lit(by)))
    contacts = contacts.withColumn("as_of", F.date_trunc("day", "event_time"))
    every = contacts.count()
    decided = _outcomes(contacts, uplift, sources, by)
    used = decided.count()
    as_ofs = sorted(row["as_of"] for row in decided.select("as_of").distinct().collect())
    if not as_ofs:
        raise BadInputError(
            f"none of {every} contacts has an outcome yet: 'outcome = {uplift.outcome}' is known {uplift.days} days "
            "after a contact, of a customer who had not left before it; set fewer days in [uplift], or wait"
        )
    known, columns = contact_features(uplift, sources, decided.select("customer_id", "as_of").distinct(), as_ofs)
    joined = decided.join(known, on=["customer_id", "as_of"], how="inner")
    kinds = {field.name: field.dataType for field in known.schema}
    texts = [name for name in columns if isinstance(kinds[name], StringType)]
    numbers = [name for name in columns if name not in texts]
    rows = joined.select(
        F.xxhash64("customer_id", "contact_id").alias(KEY),
        F.xxhash64("customer_id").alias(CUSTOMER),
        is_treated().alias(TREATED),
        F.col("outcome").alias(OUTCOME),
        F.col("campaign").alias(CAMPAIGN),
        "offer",
        F.coalesce(F.col("cost").cast("double"), F.lit(0.0)).alias(COST),
        *(F.col(name).cast("double").alias(name) for name in numbers),
        *texts,
    )
    counts = {"rows_in": every, "used": used, "without_outcome": every - used}
    not_chosen, spine = None, _not_chosen(uplift, sources, contacts, as_ofs)
    if spine is not None:
        labelled = _outcomes(spine, uplift, sources, by)
        of_others, _ = contact_features(uplift, sources, labelled.select("customer_id", "as_of"), as_ofs)
        not_chosen = labelled.join(of_others, on=["customer_id", "as_of"], how="inner").select(
            F.xxhash64("customer_id", "as_of").alias(KEY),
            F.xxhash64("customer_id").alias(CUSTOMER),
            F.col("outcome").alias(OUTCOME),
            *(F.col(name).cast("double").alias(name) for name in numbers),
            *texts,
        )
    return UpliftRows(rows, tuple(numbers), tuple(texts), counts, _sentence(uplift), not_chosen)


def _not_chosen(uplift: Uplift, sources: Sources, contacts: DataFrame, as_ofs: Sequence[datetime]) -> DataFrame | None:
    """A sample of the customers with an open account on the days of contacts, without those who were chosen for a
    campaign so shortly before or after that it may change the outcome: (customer_id, as_of, event_time), both the day.

    None where there are none, or nothing tells who the customers are, or the outcome needs an offer.
    """
    if uplift.outcome == "accepted" or not {"customers", "transactions", "calls"} & set(sources):
        return None
    members = open_accounts(sources, as_of_frame(contacts.sparkSession, as_ofs))
    apart = F.abs(F.datediff(F.col("chosen.as_of"), F.col("member.as_of"))) >= F.lit(uplift.days)
    near = (F.col("chosen.customer_id") == F.col("member.customer_id")) & ~apart
    unchosen = members.alias("member").join(contacts.select("customer_id", "as_of").alias("chosen"), near, "left_anti")
    count = unchosen.count()
    if not count:
        return None
    share = NOT_CHOSEN / count
    sample = unchosen.where(drawn(["customer_id", "as_of"], f"not chosen {uplift.seed}") < share)
    return sample.withColumn("event_time", F.col("as_of"))


def contact_features(
    uplift: Uplift, sources: Sources, spine: DataFrame, as_ofs: Sequence[datetime]
) -> tuple[DataFrame, list[str]]:
    """The features that uplift is learnt from of each spine row (customer_id, as_of), and the names of their columns.

    Raises BadInputError where none can be made from the sources.
    """
    names = uplift.features or FAMILIES
    usable = [
        feature for feature in features(*names) if feature.sources <= set(sources) and not feature.transactions_only
    ]
    if not usable:
        raise BadInputError(
            f"[uplift] features: none of {', '.join(names)} can be made from {', '.join(sorted(sources))}"
        )
    read = {name: sources[name] for feature in usable for name in feature.sources}
    columns = [column for feature in usable for column in feature.columns(WINDOWS)]
    return customer_features(spine, read, usable, windows=WINDOWS, as_ofs=as_ofs), columns


def _sentence(uplift: Uplift) -> str:
    """
    >>> [_sentence(Uplift(outcome=name)) for name in ("stayed", "bought", "accepted")]
    ['stayed for 60 days', 'bought within 60 days', 'accepted the offer within 60 days']
    """
    what = {"stayed": "stayed for", "accepted": "accepted the offer within"}
    return f"{what.get(uplift.outcome, f'{uplift.outcome} within')} {uplift.days} days"


def _outcomes(contacts: DataFrame, uplift: Uplift, sources: Sources, by: datetime) -> DataFrame:
    """The contacts (customer_id, event_time, as_of) whose `outcome` is known by then: 1 or 0, by what happened in the
    `days` from each contact's own time.

    Left out are those whose `days` have not passed in the data, and those of customers who had left before the contact.
    An offer without an answer after `days` was not accepted.
    """
    needed = {"stayed": "closures", "bought": "transactions", "called": "calls", "accepted": "contacts"}[uplift.outcome]
    if needed not in sources:
        raise BadInputError(
            f"[uplift] outcome = {uplift.outcome!r} needs {needed}; map [sources.{needed}] in churn.toml"
        )
    key = ["customer_id", "event_time"]
    until = complete_until(sources, [needed], by=by)[needed]
    due = contacts.where(F.col("event_time") <= F.lit(until - timedelta(days=uplift.days)))
    reached = due.join(_left_before(due, sources, by), on=key, how="left_anti") if "closures" in sources else due
    if uplift.outcome == "accepted":
        return reached.withColumn("outcome", F.coalesce("accepted", F.lit(False)).cast("int"))
    starts = reached.select("customer_id", F.col("event_time").alias("as_of")).distinct()
    found = _happened(starts, uplift, sources[needed].where(known_by(F.lit(by))))
    return reached.join(found.select("customer_id", F.col("as_of").alias("event_time"), "outcome"), on=key, how="inner")


def _left_before(contacts: DataFrame, sources: Sources, by: datetime) -> DataFrame:
    """The contacts, (customer_id, event_time), of customers whose account was closed before: as was known at the
    midnight before the contact, or became known later."""
    key = ["customer_id", "event_time"]
    closed = closed_accounts(sources, contacts.select("as_of").distinct())
    left = contacts.join(closed, on=["customer_id", "as_of"], how="inner").select(*key)
    closings = sources["closures"].where(is_closing() & known_by(F.lit(by)))
    closings = closings.select("customer_id", F.col("event_time").alias("_closed_at"), "known_time")
    is_seen_later = (F.col("_closed_at") >= F.col("as_of")) | (F.col("known_time") > F.col("as_of"))
    later = contacts.select(*key, "as_of").join(closings, on="customer_id", how="inner")
    return left.union(later.where((F.col("_closed_at") < F.col("event_time")) & is_seen_later).select(*key)).distinct()


def _happened(starts: DataFrame, uplift: Uplift, rows: DataFrame) -> DataFrame:
    """(customer_id, as_of, outcome) of the `days` from each start, by the rows of the source that shows it."""
    window = LabelWindow(lead=0, horizon=uplift.days)
    if uplift.outcome == "stayed":
        return Closure().compute(starts, {"closures": rows}, window).withColumn("outcome", 1 - F.col("label"))
    is_inbound = F.coalesce("direction", F.lit("inbound")) == "inbound"
    counts = is_activity(("purchase",)) if uplift.outcome == "bought" else is_inbound
    events = rows.where(counts).select("customer_id", F.col("event_time").alias("_at"))
    found = starts.join(events, on="customer_id", how="inner").where(window.contains(F.col("_at")))
    ones = found.select("customer_id", "as_of", F.lit(1).alias("outcome")).distinct()
    joined = starts.join(ones, on=["customer_id", "as_of"], how="left")
    return joined.withColumn("outcome", F.coalesce("outcome", F.lit(0)))
