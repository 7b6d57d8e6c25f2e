"""The panel: many as-ofs for every customer, in one shuffle.

Spark evaluates each measure once, before the shuffle and only what is needed; `pack` turns the rows of a map task into
one binary piece a bucket of customers, `describe` turns a bucket's pieces into the features of its spine rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial, reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn.errors import BadInputError
from churn.features.declarations import Feature, named
from churn.features.engine.customer_kernel import describe
from churn.features.engine.measures import Measured, ask, bucketed, finished, micros, windowed_inputs
from churn.features.engine.packing import PACKED, pack
from churn.features.engine.plan import SPARK, SPINE, Plan
from churn.features.engine.point_in_time import visible, within_reach


def customer_features(
    spine: DataFrame,
    sources: Mapping[str, DataFrame],
    features: Sequence[Feature | str],
    *,
    as_ofs: Iterable[datetime],
    windows: Sequence[int] | None = None,
    buckets: int | None = None,
) -> DataFrame:
    """The features of each spine row (customer_id, as_of), behind the spine's own columns.

    `features` may be names, of features or of whole families. `sources` are named like their contracts. `as_ofs` lists
    the moments on the spine, naive ones in UTC, so that nothing need be run to learn them. `windows` replace those of
    every feature that has several. A bucket of customers is described at a time; there are as many as shuffle
    partitions, unless `buckets` says otherwise.

    Raises BadInputError where a feature's source is missing or its Column can't be evaluated there, and without as-ofs.
    """
    moments = tuple(sorted({micros(as_of) for as_of in as_ofs}))
    if not moments:
        raise BadInputError("as_ofs is empty: name at least one moment to describe")
    chosen = named(features)
    if transactions_only := [feature.name for feature in chosen if feature.transactions_only]:
        raise BadInputError(
            f"{', '.join(transactions_only)}: of transactions, not of customers; use churn.transaction_features() for them"
        )
    wanted = {name: (feature, days) for feature in chosen for name, days in feature.columns(windows).items()}
    asked = windowed_inputs(wanted.values())
    count = buckets or int(str(spine.sparkSession.conf.get("spark.sql.shuffle.partitions")))
    measured = {name: Measured(name, sources) for feature, _ in asked.values() for name in sorted(feature.sources)}
    asks = tuple(ask(asked, measured).values())
    measures = {name: source.measures for name, source in measured.items()}
    plan = Plan(asks=asks, measures=measures, as_ofs=moments, buckets=count, visible=visible)
    customer = F.col("customer_id").cast("string")
    own = (F.col(name) for name in spine.columns if name != "customer_id")
    frames = {SPINE: bucketed(spine, customer, count, *own)}
    frames |= {
        name: source.narrow(
            source.measures, customer, count, within_reach(moments[0], moments[-1], reach=plan.reach(name))
        )
        for name, source in measured.items()
    }
    packed = [frame.mapInArrow(partial(pack, source=name, plan=plan), PACKED) for name, frame in frames.items()]
    described = (
        reduce(DataFrame.union, packed)
        .repartitionById(count, F.col("bucket"))
        .mapInArrow(partial(describe, plan=plan), _schema(spine, plan))
    )
    return described.select(*spine.columns, *(finished(name, *of) for name, of in wanted.items()))


def _schema(spine: DataFrame, plan: Plan) -> T.StructType:
    own = [field for field in spine.schema if field.name != "customer_id"]
    made = [T.StructField(one.column, SPARK[plan.result(one)]) for one in plan.asks]
    return T.StructType([T.StructField("customer_id", T.StringType()), *own, *made])
