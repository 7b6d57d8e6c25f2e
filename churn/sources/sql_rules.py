"""What SQL of churn.toml may consist of: functions, expressions and plans of Spark, and why others are refused."""

from __future__ import annotations

import re
from typing import Final


def _terms(text: str) -> frozenset[str]:
    return frozenset(text.split())


RERUN = "so a rerun would differ"
CLOCK = f"reads the clock, {RERUN}; use a column instead"
RANDOM = f"draws a random value, {RERUN}; use a hash of a column: xxhash64(id)"
SESSION = f"depends on the user and the session, {RERUN}; write the value itself"
FILE = f"depends on how Spark splits the files, {RERUN}; use the column _file"
SPREAD = f"depends on how Spark spreads the rows, {RERUN}; use the columns that make a row's key"
JAVA = "calls Java; use functions of SQL"
RAISES = "would stop the batch for one row; name the rows to leave out in [sources.NAME.reject]"
READS = "may read files that its arguments name; decode the column before, where the files are made"
XML_OPTIONS = "may read a file that its options name; leave the options out"

DENIED: Final = {
    **dict.fromkeys(
        ("Now", "CurDateExpressionBuilder", "CurrentDate", "CurrentTimestamp", "CurrentTime", "LocalTimestamp"), CLOCK
    ),
    **dict.fromkeys(("Rand", "Randn", "Uuid", "Shuffle", "RandStr", "Uniform"), RANDOM),
    "AesEncrypt": f"draws a random start vector, {RERUN}; hash the column instead: sha2(x, 256)",
    **dict.fromkeys(("MonotonicallyIncreasingID", "SparkPartitionID"), SPREAD),
    **dict.fromkeys(("InputFileName", "InputFileBlockStart", "InputFileBlockLength"), FILE),
    **dict.fromkeys(("CurrentUser", "CurrentCatalog", "CurrentDatabase", "CurrentPath"), SESSION),
    **dict.fromkeys(("CurrentTimeZone", "SparkVersion"), SESSION),
    **dict.fromkeys(("CallMethodViaReflection", "TryReflect"), JAVA),
    **dict.fromkeys(("RaiseErrorExpressionBuilder", "AssertTrue"), RAISES),
    "Measure": "belongs to a metric view; write the aggregate itself",
}
"""Built-in functions that may not be called, by the class that Spark names for all spellings of one, and the reason."""

ROW_GROUPS: Final = frozenset(
    f"{group}_funcs"
    for group in (
        *("array", "bitwise", "collection", "conditional", "conversion", "csv", "datetime", "hash", "json", "lambda"),
        *("map", "math", "misc", "predicate", "st", "string", "struct", "url", "variant", "vector", "xml"),
    )
)
QUERY_GROUPS: Final = frozenset({"agg_funcs", "window_funcs", "generator_funcs"})
SEVERAL_ROWS = "needs several rows; write it in the query of the source"
MORE_ROWS = "makes several rows of one; write it in the query of the source"
GROUPS: Final = {
    "agg_funcs": SEVERAL_ROWS,
    "window_funcs": SEVERAL_ROWS,
    "generator_funcs": MORE_ROWS,
    "avro_funcs": READS,
    "protobuf_funcs": READS,
    "sketch_funcs": f"works on sketches, whose bytes depend on the order of rows, {RERUN}; use exact aggregates",
}
WITHOUT_ARGUMENTS: Final = frozenset({"EulerNumber", "Pi", "CreateArray", "CreateMap", "CreateNamedStruct", "Concat"})
TIME_WINDOWS: Final = frozenset({"TimeWindow", "SessionWindow"})

WITHIN = "{name}(x) within group (order by x)"
ORDERED_AGGREGATES: Final = {
    "First": "min_by(x, event_time)",
    "AnyValue": "min_by(x, event_time)",
    "Last": "max_by(x, event_time)",
    "CollectList": "sort_array({name}(x))",
    "CollectSet": "sort_array({name}(x))",
    "ListAgg": WITHIN,
    "ModeBuilder": "mode() within group (order by x)",
    "ApproximatePercentile": "percentile(x, p)",
    "HistogramNumeric": "count(*) by a column that holds the bin",
}
"""Aggregates whose result depends on the order of rows, by class, and what to write instead."""
SKETCH = re.compile(r"Sketch|Theta|Hll|Kll|Tuple|ApproxTopK")
NEEDS_ORDER: Final = frozenset({"RowNumber", "Lag", "Lead", "NTile", "NthValue", *ORDERED_AGGREGATES})
SORTED_BY: Final = _terms(
    "sort_array array_sort size cardinality array_size array_max array_min array_contains exists forall"
)
"""Functions whose result does not depend on the order of their array."""
ELEMENT_BY_ELEMENT: Final = _terms(
    "filter transform array_distinct array_compact flatten array_remove array_union array_except array_intersect"
    " coalesce"
)
TABLE_FUNCTIONS: Final = _terms(
    "explode explode_outer posexplode posexplode_outer inline inline_outer stack json_tuple variant_explode"
    " variant_explode_outer"
)

CLOCK_NAMES: Final = frozenset({"current_date", "current_timestamp", "current_time", "localtimestamp"})
SESSION_NAMES: Final = frozenset({"current_user", "user", "session_user", "current_path"})
"""Names that are functions, also between backticks, where no column has them."""
VARIABLES: Final = frozenset({"session", "system"})

SPECIAL: Final = re.compile(r"\s*(now|today|tomorrow|yesterday)\b", re.IGNORECASE)
TYPED: Final = frozenset({"date", "timestamp", "timestamp_ntz", "timestamp_ltz", "time"})
TIMES: Final = frozenset({"date", "timestamp", "timestamp_ntz"})
AS_TIMES: Final = _terms(
    "date timestamp to_date try_to_date to_timestamp try_to_timestamp to_timestamp_ltz to_timestamp_ntz"
)

PARSED_BY: Final = _terms(
    "to_date try_to_date to_timestamp try_to_timestamp to_timestamp_ltz to_timestamp_ntz to_unix_timestamp"
    " unix_timestamp to_time try_to_time"
)
WRITTEN_BY: Final = frozenset({"date_format", "from_unixtime"})
PATTERN_OPTIONS: Final = frozenset({"timestampformat", "dateformat", "timestampntzformat"})

PLAIN_EXPRESSIONS: Final = _terms(
    "Add Alias And BitwiseAnd BitwiseNot BitwiseOr BitwiseXor CaseWhen Cast Coalesce Collate Concat CreateNamedStruct"
    " Divide EqualNullSafe EqualTo GreaterThan GreaterThanOrEqual ILike In IntegralDivide IsNotNull IsNotUnknown IsNull"
    " IsUnknown LambdaFunction LessThan LessThanOrEqual Like LikeAll LikeAny Literal Lower Multiply NamePlaceholder"
    " NamedArgumentExpression Not NotLikeAll NotLikeAny Or Overlay RLike Remainder SemiStructuredExtract ShiftLeft"
    " ShiftRight ShiftRightUnsigned StringLocate StringTrim StringTrimLeft StringTrimRight Substring Subtract"
    " TimestampAdd TimestampDiff UnaryMinus UnaryPositive UnresolvedAlias UnresolvedAttribute UnresolvedCollation"
    " UnresolvedExtractValue UnresolvedFunction UnresolvedNamedLambdaVariable UnresolvedStar"
)
QUERY_EXPRESSIONS: Final = _terms(
    "AggregateExpression AnyValue AttributeReference Cube CurrentRow Exists First GroupingSets InSubquery Last"
    " LateralSubquery ListQuery MultiAlias PipeExpression Rollup ScalarSubquery SortOrder SpecifiedWindowFrame"
    " UnboundedFollowing UnboundedPreceding UnresolvedGenerator UnresolvedOrdinal UnresolvedPipeAggregateOrdinal"
    " UnresolvedStarExceptOrReplace UnspecifiedFrame WindowExpression WindowSpecDefinition"
)
PLANS: Final = _terms(
    "Aggregate Distinct Except Filter Generate GlobalLimit Intersect Join LateralJoin LimitAll LocalLimit LocalRelation"
    " Offset OneRowRelation PipeOperator Pivot Project RepartitionByExpression Sort SubqueryAlias Union Unpivot"
    " UnresolvedHaving UnresolvedHint UnresolvedInlineTable UnresolvedQualify UnresolvedRelation"
    " UnresolvedSubqueryColumnAliases UnresolvedTVFAliases UnresolvedTableValuedFunction UnresolvedWith"
)
REFUSED: Final = {
    **dict.fromkeys(
        ("ScalarSubquery", "Exists", "InSubquery", "ListQuery"),
        "has a subquery; read other tables in the query of the source",
    ),
    **dict.fromkeys(
        ("WindowExpression", "UnresolvedWindowExpression"), "has a window (over ...), which " + SEVERAL_ROWS
    ),
    **dict.fromkeys(("AggregateExpression", "First", "Last", "AnyValue"), "has an aggregate, which " + SEVERAL_ROWS),
    **dict.fromkeys(("NamedParameter", "PosParameter"), "has a parameter, which has no value; write the value itself"),
    **dict.fromkeys(("CurrentDate", "CurrentTimestamp", "CurrentTime"), CLOCK),
    **dict.fromkeys(("CurrentUser", "CurrentPath"), SESSION),
    **dict.fromkeys(
        ("ExpressionWithUnresolvedIdentifier", "PlanWithUnresolvedIdentifier"),
        "makes a name of text (identifier(...)); write the name itself",
    ),
}
REFUSED_IN_QUERY: Final = {
    "Sample": f"draws a random sample, {RERUN}; drop tablesample, or filter by pmod(xxhash64(id), 100) < 10",
    "ScriptTransformation": "runs a program (transform ... using); use functions of SQL",
    "RelationTimeTravel": "reads another version of a table; drop version or timestamp as of",
    "NamedStreamingRelation": "reads a stream; name the input alone",
    "UnresolvedEventTimeWatermark": "has a watermark, which only a stream has; drop it",
    "UnresolvedWindowExpression": "names a window; write it out: over (partition by ... order by ...)",
    "WithWindowDefinition": "names a window; write it out: over (partition by ... order by ...)",
    "CompoundBody": "is a script (begin ... end), want one select",
}

FLOATING: Final = _terms(
    "Sum Average StddevSamp StddevPop VarianceSamp VariancePop Corr CovSample CovPopulation Skewness Kurtosis RegrSlope"
    " RegrIntercept RegrR2 RegrSXX RegrSXY RegrSYY RegrAvgX RegrAvgY"
)
ROUNDED: Final = frozenset({"Round", "BRound", "RoundCeil", "RoundFloor", "Ceil", "Floor"})


# --- expressions that need no parser ----------------------------------------------------------------------------------

KEYWORDS: Final = _terms(
    "and or not in when then else case end between like ilike rlike regexp as is null true false div cast try_cast"
)
NOT_SIMPLE: Final = (
    _terms("select from with values table over exists identifier within where distinct interval using map")
    | {"from_xml", "schema_of_xml"}
    | VARIABLES
    | CLOCK_NAMES
    | SESSION_NAMES
)
WITH_PATTERN: Final = PARSED_BY | WRITTEN_BY
