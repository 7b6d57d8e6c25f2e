from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from churn.sources import sql_rules
from churn.sources.expressions import check_expression, check_frame, check_query
from churn.sources.functions import expanded

CLOCK = "reads the clock, so a rerun would differ; use a column instead"
RANDOM = "draws a random value, so a rerun would differ"
SESSION = "depends on the user and the session, so a rerun would differ"
SEVERAL = "needs several rows; write it in the query of the source"
JAVA = "calls Java; use functions of SQL"

REFUSED = [
    # The clock, however it is spelled.
    ("now()", f"calls now(), which {CLOCK}"),
    ("NOW ( )", f"calls NOW(), which {CLOCK}"),
    ("`now`()", f"calls now(), which {CLOCK}"),
    ("builtin.now()", f"calls builtin.now(), which {CLOCK}"),
    ("system.builtin.curdate()", f"calls system.builtin.curdate(), which {CLOCK}"),
    ("curdate/**/()", f"calls curdate(), which {CLOCK}"),
    ("string(now())", f"calls now(), which {CLOCK}"),
    ("curdate -- today\n ()", f"calls curdate(), which {CLOCK}"),
    ("current_date", f"has current_date, which {CLOCK}"),
    ("`current_date`", f"has current_date, which {CLOCK}"),
    ("current_date()", f"calls current_date(), which {CLOCK}"),
    ("coalesce(at, CURRENT_TIMESTAMP)", f"has CURRENT_TIMESTAMP, which {CLOCK}"),
    ("localtimestamp", f"has localtimestamp, which {CLOCK}"),
    ("localtimestamp()", f"calls localtimestamp(), which {CLOCK}"),
    ("current_time(3)", f"calls current_time(), which {CLOCK}"),
    ("unix_timestamp()", f"calls unix_timestamp(), which {CLOCK}"),
    ("transform(xs, x -> now())", f"calls now(), which {CLOCK}"),
    ("case when at > now() then 1 end", f"calls now(), which {CLOCK}"),
    ("at in (now())", f"calls now(), which {CLOCK}"),
    ("xs[minute(now())]", f"calls now(), which {CLOCK}"),
    ("timestamp 'now'", "has timestamp 'now', which may be the time of the run"),
    ("DATE'today'", "has DATE 'today', which may be the time of the run"),
    ("timestamp_ntz /* x */ '\\u006eow'", "has timestamp_ntz '\\u006eow', which may be the time of the run"),
    ("date r'tomorrow'", "has date r'tomorrow', which may be the time of the run"),
    ('date "yesterday"', 'has date "yesterday", which may be the time of the run'),
    ("cast('now' as timestamp)", f"makes a time of 'now', which {CLOCK}"),
    ("' Today '::date", f"makes a time of ' Today ', which {CLOCK}"),
    ("to_timestamp('now')", f"makes a time of 'now', which {CLOCK}"),
    ("date('tomorrow')", f"makes a time of 'tomorrow', which {CLOCK}"),
    # Chance.
    ("rand()", f"calls rand(), which {RANDOM}"),
    ("random(7)", f"calls random(), which {RANDOM}"),
    ("randn(1)", f"calls randn(), which {RANDOM}"),
    ("uuid()", f"calls uuid(), which {RANDOM}"),
    ("shuffle(xs)", f"calls shuffle(), which {RANDOM}"),
    ("randstr(5)", f"calls randstr(), which {RANDOM}"),
    ("uniform(1, 5)", f"calls uniform(), which {RANDOM}"),
    ("aes_encrypt(notes, key)", "calls aes_encrypt(), which draws a random start vector"),
    (
        "monotonically_increasing_id()",
        "which depends on how Spark spreads the rows",
    ),
    ("spark_partition_id()", "calls spark_partition_id(), which depends on how Spark spreads the rows"),
    ("input_file_name()", "use the column _file"),
    ("input_file_block_start()", "use the column _file"),
    # The user, the session, the machine.
    ("current_user()", f"calls current_user(), which {SESSION}"),
    ("CURRENT_USER", f"has CURRENT_USER, which {SESSION}"),
    ("user", f"has user, which {SESSION}"),
    ("session_user", f"has session_user, which {SESSION}"),
    ("current_database()", f"calls current_database(), which {SESSION}"),
    ("current_schema()", f"calls current_schema(), which {SESSION}"),
    ("current_catalog()", f"calls current_catalog(), which {SESSION}"),
    ("current_timezone()", f"calls current_timezone(), which {SESSION}"),
    ("version()", f"calls version(), which {SESSION}"),
    ("session.secret", f"has session.secret, a variable, which {SESSION}"),
    ("system.session.secret", f"has system.session.secret, a variable, which {SESSION}"),
    ("'${env:HOME}'", "has ${, which Spark replaces by a setting or an environment variable"),
    ("concat(a, '${spark.master}')", "has ${, which Spark replaces by a setting or an environment variable"),
    # Java, files, other functions.
    ("reflect('java.lang.System', 'getenv', 'HOME')", f"calls reflect(), which {JAVA}"),
    ("java_method('java.lang.System', 'exit', 1)", f"calls java_method(), which {JAVA}"),
    ("try_reflect('java.util.UUID', 'randomUUID')", f"calls try_reflect(), which {JAVA}"),
    ("from_avro(x, '{}')", "calls from_avro(), which may read files"),
    ("from_protobuf(x, 'M', '/etc/passwd')", "calls from_protobuf(), which may read files"),
    ("from_xml(x, 'a int', map('rowValidationXSDPath', '/etc/passwd'))", "calls from_xml(), which may read a file"),
    ("schema_of_xml('<a/>', map('rowvalidationxsdpath', '/x'))", "calls schema_of_xml(), which may read a file"),
    ("raise_error('x')", "calls raise_error(), which would stop the batch for one row"),
    ("assert_true(a > 1)", "name the rows to leave out in [sources.NAME.reject]"),
    ("my_udf(a)", "calls my_udf(), which is neither a function that Spark has by itself nor one of duration_seconds"),
    ("default.upper(a)", "calls default.upper(), which is neither a function that Spark has by itself"),
    ("default.div(a)", "calls default.div(), which is neither a function that Spark has by itself"),
    ("session.upper(a)", "calls session.upper(), which is neither a function that Spark has by itself"),
    ("system.session.upper(a)", "calls system.session.upper(), which is neither a function"),
    ("identifier('now')()", "makes a name of text (identifier(...)); write the name itself"),
    (":p", "has a parameter, which has no value"),
    # More than one row.
    ("(select max(value) from text.`/etc/passwd`)", "has a subquery; read other tables in the query of the source"),
    ("a in (select 1)", "has a subquery"),
    ("exists (select 1)", "has a subquery"),
    ("a > (select 1) or b", "has a subquery"),
    ("sum(a)", f"calls sum(), which {SEVERAL}"),
    ("count(*)", f"calls count(), which {SEVERAL}"),
    ("first(a)", f"has an aggregate, which {SEVERAL}"),
    ("max(a) over (partition by b)", f"has a window (over ...), which {SEVERAL}"),
    ("row_number() over w", f"has a window (over ...), which {SEVERAL}"),
    ("lag(a)", f"calls lag(), which {SEVERAL}"),
    ("explode(xs)", "calls explode(), which makes several rows of one"),
    ("stack(2, a, b)", "calls stack(), which makes several rows of one"),
    ("window(at, '1 day')", "calls window(), which makes several rows of one"),
    ("hll_sketch_estimate(x)", "calls hll_sketch_estimate(), which works on sketches"),
    ("a /* /* */ now() */", "has a comment inside a comment"),
    ("money(a, 'xx')", "calls money() for 'xx', whose decimal mark is not known"),
    # A name for the value, which a name with a blank would be read as.
    ("Customer ID", "has a value and a name for it, 'ID'"),
    ("`Customer` `ID`", "has a value and a name for it, 'ID'"),
    ("boolean(test) flag", "has a value and a name for it, 'flag'"),
    ("amount as paid", "has a value and a name for it, 'paid'"),
    ("case when a then 1 end paid", "has a value and a name for it, 'paid'"),
]

ALLOWED = [
    "made_at",
    "`call id`",
    "payload.customer.id",
    "xs[0]",
    "m['key']",
    "cast(amount as decimal(18,4))",
    "try_cast(secs as int)",
    "a::timestamp_ntz",
    "cast(cast(id as bigint) as string)",
    "case when lower(trim(kind)) in ('sale', 'buy') then 'purchase' when kind = 'r' then 'refund' else 'fee' end",
    "case status when 'A' then 'approved' else 'declined' end",
    "if(answered = 'Y', talk, 0)",
    "coalesce(nullif(btrim(customer), ''), 'none')",
    "nvl2(a, b, c)",
    "a between 1 and 2 and not (b is null or c <=> d)",
    "status = 'TEST' or amount is null",
    "name like 'test%' escape '!'",
    "name ilike any ('a%', 'b%')",
    "phone rlike '^[0-9]{5}$'",
    "not regexp_like(id, '^\\\\d+$')",
    "regexp_extract(line, '(\\\\d+)/(\\\\d+)', 1)",
    "regexp_replace(amount, '[^0-9.-]', '')",
    "replace(replace(amount, '.', ''), ',', '.')",
    "translate(amount, ',', '.')",
    "split(name, ';')[1]",
    "split_part(name, '@', 2)",
    "substring(country, 1, 2)",
    "substring(country from 1 for 2)",
    "trim(both '\"' from id)",
    "upper(left(code, 2)) || right(code, 3)",
    "lpad(id, 8, '0')",
    "concat_ws('-', branch, account)",
    "format_string('%05d', n)",
    "position('-' in id)",
    "length(notes) > 10",
    "sha2(concat(phone, 'salt'), 256)",
    "md5(email)",
    "xxhash64(id)",
    "decode(code, 1, 'inbound', 2, 'outbound', 'other')",
    "decode(bytes, 'ISO-8859-1')",
    "unbase64(x)",
    "conv(x, 16, 10)",
    "abs(amount) * -1 + round(fee, 2) % 7 div 2",
    "try_divide(total, n)",
    "greatest(a, b, 0)",
    "pi() * e()",
    "timestampadd(SECOND, secs, cast(at as timestamp_ntz))",
    "timestampdiff(second, started, ended)",
    "datediff(ended, started)",
    "date_add(day, 1)",
    "dateadd(hour, 2, at)",
    "to_date(day, 'd.M.yyyy')",
    "cast(try_to_timestamp(concat(day, ' ', time), 'dd/MM/yyyy H:mm') as timestamp_ntz)",
    "to_timestamp(at, \"yyyy-MM-dd'T'HH:mm:ss.SSSXXX\")",
    "date_format(at, 'yyyy-MM-dd HH:mm:ss')",
    "from_unixtime(seconds, 'yyyy-MM-dd')",
    "unix_timestamp(at)",
    "timestamp_seconds(cast(segstart as bigint))",
    "timestamp_millis(ms)",
    "from_utc_timestamp(at, 'Europe/Berlin')",
    "convert_timezone('America/Chicago', 'UTC', at)",
    "make_timestamp_ntz(y, m, d, 0, 0, 0)",
    "at + interval 1 day - interval '2' hour",
    "at >= timestamp '2024-01-01 00:00:00' and day <> date '9999-12-31'",
    "extract(hour from at)",
    "date_trunc('month', at)",
    "last_day(day)",
    "from_json(payload, 'a int, b array<string>').b[0]",
    "from_json(payload, 'at timestamp', map('timestampFormat', 'dd/MM/yyyy HH:mm'))",
    "get_json_object(payload, '$.customer.id')",
    "payload:customer.id",
    "parse_json(payload):a::int",
    "to_json(struct(a, b as c))",
    "from_csv(line, 'a int, b string')",
    "str_to_map(tags, ';', '=')['plan']",
    "transform(split(xs, ','), x -> trim(x))",
    "filter(legs, l -> l.kind = 'transfer')",
    "size(filter(legs, (l, i) -> i > 0))",
    "aggregate(legs, 0, (sum, l) -> sum + l.seconds)",
    "exists(tags, t -> t = 'vip')",
    "array_max(transform(legs, l -> l.ended))",
    "element_at(legs, -1).ended",
    "named_struct('a', 1)",
    "a in (1, 2, 3)",
    "case date '2024-01-01' when a then 1 when b then 2 end",
    "current = 'now'",
    "`current_date ` = 1",
    "money(betrag, 'de')",
    "abs(money(amount))",
    "duration_seconds(ended - started)",
    "serial_day(row_date)",
    "'it''s' || \"now()\"",
    "a /* now() */ + 1 -- now()",
    "case when a then",  # not SQL at all: analysis says so
    "",
]


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_refused_expressions(spark: SparkSession, text: str, reason: str) -> None:
    assert reason in (check_expression(spark, text) or "")


@pytest.mark.parametrize("text", ALLOWED)
def test_allowed_expressions(spark: SparkSession, text: str) -> None:
    assert check_expression(spark, text) is None


def test_a_column_may_have_the_name_of_a_function(spark: SparkSession) -> None:
    assert check_expression(spark, "user", ["User", "id"]) is None
    assert check_expression(spark, "trim(user) = 'x'", ["user"]) is None
    assert check_expression(spark, "`current_date`", ["current_date"]) is None
    assert check_expression(spark, "session.id", ["session"]) is None
    assert check_expression(spark, "user()", ["user"]) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("to_date(a, 'YYYY-MM-DD')", "'YYYY-MM-DD', which Spark does not know; write 'yyyy-MM-dd'"),
        ("try_to_timestamp(a, '%Y-%m-%d')", "'%Y-%m-%d', which Spark does not know; write 'yyyy-MM-dd'"),
        ("to_date(a, '%d/%m/%y')", "write 'dd/MM/yy'"),
        (
            "to_timestamp(a, 'yyyy-mm-dd HH:MM:SS')",
            "mm is the minute and MM is the month and SS is a fraction of a second; write 'yyyy-MM-dd HH:mm:ss'",
        ),
        ("to_date(a, 'DD.MM.YYYY')", "write 'dd.MM.yyyy'"),
        ("to_date(a, 'DD.MM.yyyy')", "in which DD is the day of the year; write 'dd.MM.yyyy'"),
        ("to_timestamp(a, 'dd/mm/yy hh:mm tt')", "write 'dd/MM/yy hh:mm a'"),
        ("to_timestamp(a, 'yyyy-MM-ddThh:mm:ssZ')", "write \"yyyy-MM-dd'T'HH:mm:ssXXX\""),
        ("to_timestamp(a, 'dd.MM.yyyy hh:mm')", "in which hh is the hour of a clock with am and pm, which it lacks"),
        ("to_timestamp(a, 'M/d/yy HH:mm a')", "beside am or pm; write 'M/d/yy hh:mm a'"),
        ("date_format(a, 'yyyymmdd')", "in which mm is the minute; write 'yyyyMMdd'"),
        ("unix_timestamp(a, 'YYYY-MM-DD HH24:MI:SS')", "write 'yyyy-MM-dd HH:mm:ss'"),
        ("to_date(a, 'DD-MON-RR')", "write 'dd-MMM-yy'"),
        ("to_timestamp(a, 'EEE, dd MMM yyyy')", "write 'dd MMM yyyy' after the name of the day is cut off"),
        ("try_to_time(a, 'HH:MM')", "in which MM is the month; write 'HH:mm'"),
        ("from_json(a, 't date', map('dateFormat', 'DD/MM/YYYY'))", "write 'dd/MM/yyyy'"),
        ("to_date(a, 'nonsense')", "which Spark does not know; its letters are y M d H m s S a, text stands in quotes"),
    ],
)
def test_patterns_of_times(spark: SparkSession, text: str, message: str) -> None:
    reason = check_expression(spark, text) or ""
    assert reason.startswith("has the pattern ")
    assert message in reason


@pytest.mark.parametrize(
    "pattern",
    [
        *("yyyy-MM-dd", "yyyy-MM-dd HH:mm:ss", "d/M/yyyy H:mm", "M/d/yy h:mm a", "dd.MM.yy", "yyyyMMddHHmmss"),
        *("dd MMM yyyy", "yyyy-DDD", "HH:mm", "mm:ss", "HHmm", "yyyy", "yyyy-MM-dd HH:mm:ss[.SSSSSS]"),
        *("yyyy-MM-dd HH:mm:ss z", "dd-MMM-yyyy HH.mm.ss", "hh:mm:ss a", "dd/MM/yyyy, HH:mm", "yyyyMMddHHmmssSSS"),
    ],
)
def test_patterns_that_are_right_are_left_alone(spark: SparkSession, pattern: str) -> None:
    assert check_expression(spark, f"to_timestamp(a, '{pattern}')") is None


ORDER = "whose result depends on the order of rows, so a rerun would differ; write"

REFUSED_QUERIES = [
    # Not one select.
    ("insert into legs select 1", "want one select over the inputs"),
    ("create table x as select 1", "want one select over the inputs"),
    ("drop table legs", "want one select over the inputs"),
    ("set spark.sql.ansi.enabled = false", "want one select over the inputs"),
    ("refresh table legs", "want one select over the inputs"),
    ("cache table legs", "want one select over the inputs"),
    ("explain select 1", "want one select over the inputs"),
    ("describe query select 1", "want one select over the inputs"),
    ("show tables", "want one select over the inputs"),
    ("declare v int", "want one select over the inputs"),
    ("execute immediate 'select 1'", "want one select over the inputs"),
    ("call system.p()", "want one select over the inputs"),
    ("begin select 1; end", "is a script (begin ... end), want one select"),
    ("add jar '/tmp/x.jar'", "want one select over the inputs"),
    # Relations.
    ("select * from other", "reads other, want one of the inputs: legs, persons"),
    ("select * from csv.`/etc/passwd`", "reads csv.`/etc/passwd`, want one of the inputs: legs, persons"),
    ("select * from spark_catalog.default.legs", "want one of the inputs: legs, persons"),
    ("select * from identifier('oth' || 'er')", "makes a name of text (identifier(...)); write the name itself"),
    ("table other", "reads other, want one of the inputs"),
    ("select * from legs where a in (select b from other)", "reads other, want one of the inputs"),
    (
        "select (select max(value) from text.`/etc/passwd`) from legs",
        "reads text.`/etc/passwd`, want one",
    ),
    ("with x as (select * from other) select * from x", "reads other, want one of the inputs"),
    ("select * from legs, lateral (select * from other) o", "reads other, want one of the inputs"),
    ("select * from (with x as (select 1) select * from x) y join x", "reads x, want one of the inputs"),
    ("with a as (select * from b), b as (select 1) select * from a", "reads b, want one of the inputs"),
    ("select * from legs version as of 1", "reads another version of a table"),
    ("select * from stream legs", "reads a stream"),
    ("select * from range(10)", "reads the table function range()"),
    ("select * from legs lateral view my_udtf(xs) t", "reads the table function my_udtf()"),
    ("with recursive n as (select 1 x union all select x + 1 from n) select * from n", "is recursive"),
    ("select transform(a) using 'cat' from legs", "runs a program (transform ... using); use functions of SQL"),
    # The clock and the like, in every place.
    ("select now() from legs", f"calls now(), which {CLOCK}"),
    ("select current_date from legs", f"has current_date, which {CLOCK} (a column of that name is t.current_date)"),
    ("select user from legs", "(a column of that name is t.user)"),
    ("select * from legs where at < now()", f"calls now(), which {CLOCK}"),
    ("select a from legs group by a having max(at) < now()", f"calls now(), which {CLOCK}"),
    ("select * from legs join persons on at < now()", f"calls now(), which {CLOCK}"),
    ("select sum(a) filter (where at < now()) from legs", f"calls now(), which {CLOCK}"),
    ("select * from values (now()) as t(a)", f"calls now(), which {CLOCK}"),
    ("select * from values (timestamp 'now') as t(a)", "has timestamp 'now', which may be the time of the run"),
    ("select * from legs where exists (select 1 where at < now())", f"calls now(), which {CLOCK}"),
    ("select * from legs lateral view explode(array(now())) t", f"calls now(), which {CLOCK}"),
    ("select sum(a) over (partition by date(now())) from legs", f"calls now(), which {CLOCK}"),
    ("select * from legs order by rand()", f"calls rand(), which {RANDOM}"),
    ("select a from legs group by cube(a, uuid())", f"calls uuid(), which {RANDOM}"),
    ("select * from legs pivot (sum(a) for b in (1, 2)) where rand() > 0", f"calls rand(), which {RANDOM}"),
    ("select session.v from legs", "a variable, which"),
    ("select '${env:HOME}' from legs", "has ${, which Spark replaces"),
    # The order of rows.
    ("select first(a) from legs", f"calls first(), {ORDER} min_by(x, event_time)"),
    ("select any_value(a) from legs", f"calls any_value(), {ORDER} min_by(x, event_time)"),
    ("select last_value(a) from legs", f"calls last_value(), {ORDER} max_by(x, event_time)"),
    ("select collect_list(a) from legs", f"calls collect_list(), {ORDER} sort_array(collect_list(x))"),
    ("select concat_ws(',', collect_set(a)) from legs", f"calls collect_set(), {ORDER} sort_array(collect_set(x))"),
    ("select array_agg(a)[0] from legs", f"calls array_agg(), {ORDER} sort_array(array_agg(x))"),
    ("select sort_array(transform(collect_list(a), (x, i) -> i)) from legs", f"calls collect_list(), {ORDER}"),
    ("select listagg(a) from legs", f"calls listagg(), {ORDER} listagg(x) within group (order by x)"),
    ("select mode(a) from legs", f"calls mode(), {ORDER} mode() within group (order by x)"),
    ("select approx_percentile(a, 0.5) from legs", f"calls approx_percentile(), {ORDER} percentile(x, p)"),
    ("select hll_sketch_agg(a) from legs", "works on sketches, whose bytes depend on the order of rows"),
    ("select row_number() over (partition by a) from legs", "calls row_number() over a window without order by"),
    ("select row_number() over (order by 1) from legs", "calls row_number() over a window without order by"),
    ("select row_number() over (order by (select null)) from legs", "calls row_number() over a window without order"),
    ("select listagg(a) within group (order by 1) from legs", f"calls listagg(), {ORDER}"),
    ("select * from explode(array(now()))", f"calls now(), which {CLOCK}"),
    ("select lag(a) over (partition by b) from legs", "calls lag() over a window without order by"),
    ("select first(a) over (partition by b) from legs", "calls first() over a window without order by"),
    ("select row_number() over w from legs window w as (order by a)", "names a window; write it out: over ("),
    ("select * from legs limit 5", "has a limit or an offset without order by"),
    ("select * from (select * from legs limit 5)", "has a limit or an offset without order by"),
    ("select * from (select * from legs order by a) offset 5", "has a limit or an offset without order by"),
    ("select * from legs sort by a limit 5", "has a limit or an offset without order by"),
    ("select * from legs tablesample (10 percent)", "draws a random sample"),
]

ALLOWED_QUERIES = [
    "select * from legs",
    "select l.*, p.name from legs l left join persons p using (id)",
    "SELECT * FROM LEGS JOIN `Persons` ON legs.id = persons.id;",
    "with firsts as (select id, min(at) at from legs group by id) select * from firsts join persons using (id)",
    "with a as (select 1 x), b as (select * from a) select * from b",
    "with legs as (select * from legs where ok) select * from legs",
    "select a from legs union all select b from persons",
    "select a, b from legs union select a, b from persons",
    "select * from legs except select * from persons",
    "select distinct id from legs where id in (select id from persons)",
    "select * from legs l where exists (select 1 from persons p where p.id = l.id)",
    "select (select max(at) from persons p where p.id = l.id) from legs l",
    "select * from legs l semi join persons p on l.id = p.id",
    "select id, c.at from legs lateral view explode(calls) t as c",
    "select * from legs, lateral explode(calls) as c",
    "select id, explode(calls) as c from legs",
    "select inline(calls) from legs",
    "select id, count(*), count(distinct agent), min_by(queue, at), max_by(queue, at) from legs group by id",
    "select id, count_if(kind = 'x') from legs group by all having count(*) > 1 order by all",
    "select id, sort_array(collect_list(struct(at, queue))) from legs group by id",
    "select array_join(array_sort(collect_set(queue)), ',') from legs",
    "select concat_ws(',', sort_array(transform(collect_list(queue), q -> lower(q)))) from legs",
    "select size(collect_set(queue)), array_max(collect_list(at)) from legs",
    "select listagg(queue, ',') within group (order by at) from legs",
    "select percentile_cont(0.5) within group (order by seconds) from legs",
    "select mode() within group (order by queue) from legs",
    "select approx_count_distinct(id) from legs",
    "select row_number() over (partition by id order by at, leg) n from legs",
    "select * from legs qualify row_number() over (partition by id order by at) = 1",
    "select first(queue) over (partition by id order by at), lag(at) over (partition by id order by at) from legs",
    "select rank() over (order by at), sum(x) over (partition by id order by at rows unbounded preceding) from legs",
    "select collect_list(queue) over (partition by id order by at) from legs",
    "select * from legs order by at, id limit 5",
    "select * from legs order by at limit 5 offset 2",
    "select * from legs pivot (sum(a) for b in (1, 2))",
    "select * from legs unpivot (a for b in (c, d))",
    "select a, grouping_id() from legs group by grouping sets ((a), ())",
    "select /*+ broadcast(persons) */ * from legs join persons using (id)",
    "select * except (a) from legs",
    "select * from values ('a', 1), ('b', 2) as t(code, n)",
    "from legs |> where a > 1 |> select b |> order by b |> limit 3",
    "select t.user, t.current_date from legs t",
    "select session.id from legs session",
    "select money(amount, 'de') m from legs group by money(amount, 'de')",
    "select to_timestamp(at, 'dd/MM/yyyy HH:mm') from legs -- now()",
    "select * from legs where at >= date'2024-01-01'",
    "select from legs where",  # not SQL at all
]


@pytest.mark.parametrize(("query", "reason"), REFUSED_QUERIES)
def test_refused_queries(spark: SparkSession, query: str, reason: str) -> None:
    assert reason in "; ".join(check_query(spark, query, ["legs", "persons"]))


@pytest.mark.parametrize("query", ALLOWED_QUERIES)
def test_allowed_queries(spark: SparkSession, query: str) -> None:
    assert check_query(spark, query, ["legs", "persons"]) == []


def test_all_reasons_are_given_at_once(spark: SparkSession) -> None:
    reasons = check_query(spark, "select first(a), now() from legs join other limit 5", ["legs"])
    assert [reason.split(",")[0].split(";")[0] for reason in reasons] == [
        "has a limit or an offset without order by",
        "calls first()",
        "calls now()",
        "reads other",
    ]


@pytest.fixture(scope="module")
def cells(spark: SparkSession) -> Iterator[str]:
    columns = "at timestamp, day date, text string, amount double, cents decimal(18,2), n int"
    spark.createDataFrame([], columns).createOrReplaceTempView("typed_cells")
    yield "typed_cells"
    spark.catalog.dropTempView("typed_cells")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("select at > 'now' from {}", "makes a time of a word such as 'now'"),
        ("select cast(concat('no', 'w') as timestamp) from {}", "makes a time of a word such as 'now'"),
        ("select coalesce(day, lower('TODAY')) from {}", "makes a time of a word such as 'now'"),
        ("select n from {} where n > (select count(*) from {} where at < 'tomorrow')", "makes a time of a word"),
        ("select sum(amount) from {}", "has sum(typed_cells.amount), which adds floating-point numbers"),
        ("select sum(text) from {}", "which adds floating-point numbers"),
        (
            "select n, avg(amount) over (partition by n) from {}",
            "has avg(typed_cells.amount), which adds floating-point numbers",
        ),
        ("select n from {} group by n having stddev(n) > 1", "which adds floating-point numbers"),
        ("select at = date '2024-01-01', text = 'now' from {}", None),
        ("select cast(text as timestamp) from {}", None),
        ("select sum(cents), sum(n), avg(n), max(amount), round(sum(amount), 2) from {}", None),
        ("select cast(sum(amount) as decimal(18,2)), sum(cast(amount as decimal(18,4))) from {}", None),
    ],
)
def test_what_only_types_and_constants_show(spark: SparkSession, cells: str, query: str, reason: str | None) -> None:
    found = check_frame(spark.sql(query.replace("{}", cells)))
    assert (reason is None and found == []) or (reason is not None and reason in "; ".join(found))


def test_a_variable_of_the_session_is_found(spark: SparkSession, cells: str) -> None:
    spark.sql("declare or replace variable secret_limit int default 5")
    try:
        assert "has " in check_frame(spark.table(cells).selectExpr("n + secret_limit"))[0]
    finally:
        spark.sql("drop temporary variable secret_limit")


def test_a_function_of_the_session_is_none_of_sparks(spark: SparkSession) -> None:
    spark.udf.register("shout", F.udf(lambda text: text.upper()))
    try:
        assert "neither a function that Spark has by itself" in (check_expression(spark, "shout(a)") or "")
    finally:
        spark.sql("drop temporary function shout")


def test_every_function_of_spark_is_known(spark: SparkSession) -> None:
    """A new one fails here: decide whether it may be called, then write the new digest."""
    jvm = spark._jvm
    assert jvm is not None
    analysis = jvm.org.apache.spark.sql.catalyst.analysis
    names = sorted(
        name.split(".")[-1].strip("`")
        for registry in (analysis.FunctionRegistry, analysis.TableFunctionRegistry)
        for name in registry.builtin().listFunction().mkString("\n").split("\n")
    )
    assert (len(names), hashlib.sha256(" ".join(names).encode()).hexdigest()[:16]) == (578, "6e0a9a9ae56e582b")


def test_what_differs_by_itself_is_denied(spark: SparkSession) -> None:
    """Spark marks what is not deterministic; each such function is denied, or in a group that is."""
    jvm = spark._jvm
    assert jvm is not None
    catalyst = jvm.org.apache.spark.sql.catalyst
    registry = catalyst.analysis.FunctionRegistry.builtin()
    marker = jvm.java.lang.Class.forName("org.apache.spark.sql.catalyst.expressions.Nondeterministic")
    for name in registry.listFunction().mkString("\n").split("\n"):
        info = registry.lookupFunction(catalyst.FunctionIdentifier(name.split(".")[-1].strip("`"))).get()
        if info.getGroup() not in sql_rules.ROW_GROUPS:
            continue
        of_function = jvm.java.lang.Class.forName(info.getClassName())
        if marker.isAssignableFrom(of_function):
            assert info.getClassName().rpartition(".")[2] in sql_rules.DENIED, name


def test_a_simple_expression_takes_less_than_a_millisecond(spark: SparkSession) -> None:
    texts = ["made_at", "try_cast(replace(amount, ',', '.') as decimal(18,4))", "if(answered = 'Y', talk, 0)"]
    for text in texts:
        check_expression(spark, text)
    begin = time.perf_counter()
    for _ in range(20):
        for text in texts:
            check_expression(spark, text)
    assert (time.perf_counter() - begin) / (20 * len(texts)) < 0.001


TEXTS = """select from legs where now ( ) , ' " ` - -- /* */ /*+ . ${ } [ ] -> :: date 'now' cast as over window
 timestamp values with money( 'de' ) sum first * 1 a user \\ \u00e9 \U0001f989 || explode lateral limit \n"""
TOKENS = st.sampled_from(TEXTS.split(" "))


@given(text=st.one_of(st.text(), st.lists(TOKENS).map(" ".join), st.lists(TOKENS).map("".join)))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_has_an_answer(spark: SparkSession, text: str) -> None:
    reason = check_expression(spark, text)
    assert reason is None or (reason and "\n" not in reason.split("'")[0])
    assert all(check_query(spark, text, ["legs"]) or ["none"])


def test_long_and_deep_text_has_an_answer(spark: SparkSession) -> None:
    assert check_expression(spark, " + ".join(["a"] * 300)) is None
    for text in ("(" * 1000 + "a" + ")" * 1000, "a" + " + abs(a" * 500, "f(" * 1000, "case when a then " * 500):
        check_expression(spark, text)
        check_query(spark, "select " + text, ["legs"])


def test_what_is_allowed_runs(spark: SparkSession) -> None:
    """The text that was checked is the text that runs, functions of the library included."""
    row = spark.createDataFrame([("1.234,5",)], "a string").select(F.expr(expanded("money(a, 'de') + 1"))).first()
    assert row is not None
    assert str(row[0]) == "1235.5000"
