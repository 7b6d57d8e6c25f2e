"""Features of every customer as of many times, in one shuffle.

Spark evaluates each measure once, before the shuffle and only what is needed; `pack` serializes the rows of a map task
in one binary batch a bucket of customers, `compute_features` makes a bucket's batches the features of its spine rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial, reduce

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from churn.errors import BadInputError
from churn.features.declarations import Feature, resolved
from churn.features.engine.customer_kernel import compute_features
from churn.features.engine.measures import (
    MeasuredSource,
    bucketed,
    build_requests,
    final_column,
    micros,
    windowed_columns,
)
from churn.features.engine.packing import PACKED, pack
from churn.features.engine.plan import SPARK, SPINE, Plan
from churn.features.engine.point_in_time import maybe_visible, visible


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

    `features` may be names, of features or of whole families. `sources` are named like their contracts. `as_ofs` are
    all that the spine has, so that no job runs to collect them; without a zone they are in UTC. `windows` replace those
    of every feature that has several. One task computes a bucket of customers at a time; there are as many buckets as
    shuffle partitions, unless `buckets` is given.

    Raises BadInputError where a feature's source is missing or its Column can't be evaluated there, and without as-ofs.
    """
    times = tuple(sorted({micros(as_of) for as_of in as_ofs}))
    if not times:
        raise BadInputError("as_ofs is empty: name at least one as-of")
    chosen = resolved(features)
    if transactions_only := [feature.name for feature in chosen if feature.transactions_only]:
        raise BadInputError(
            f"{', '.join(transactions_only)}: of transactions, not of customers; use churn.transaction_features() for "
            "them"
        )
    columns = {name: (feature, of) for feature in chosen for name, of in feature.columns(windows).items()}
    computed = windowed_columns(columns.values())
    count = buckets or int(str(spine.sparkSession.conf.get("spark.sql.shuffle.partitions")))
    measured = {
        name: MeasuredSource(name, sources) for feature, _ in computed.values() for name in sorted(feature.frames)
    }
    requests = tuple(build_requests(computed, measured).values())
    measures = {name: source.measures for name, source in measured.items()}
    plan = Plan(requests=requests, measures=measures, as_ofs=times, buckets=count, visible=visible)
    customer = F.col("customer_id").cast("string")
    own = (F.col(name) for name in spine.columns if name != "customer_id")
    frames = {SPINE: bucketed(spine, customer, count, *own)}
    for name, source in measured.items():
        where = maybe_visible(times[0], times[-1], lookback_days=plan.lookback_days(name))
        frames[name] = source.narrow(source.measures, customer, count, where)
    packed = [frame.mapInArrow(partial(pack, source=name, plan=plan), PACKED) for name, frame in frames.items()]
    with_requests = (
        reduce(DataFrame.union, packed)
        .repartitionById(count, F.col("bucket"))
        .mapInArrow(partial(compute_features, plan=plan), _schema(spine, plan))
    )
    return with_requests.select(*spine.columns, *(final_column(name, *of) for name, of in columns.items()))


def _schema(spine: DataFrame, plan: Plan) -> T.StructType:
    own = [field for field in spine.schema if field.name != "customer_id"]
    computed = [T.StructField(request.column, SPARK[plan.result(request)]) for request in plan.requests]
    return T.StructType([T.StructField("customer_id", T.StringType()), *own, *computed])
